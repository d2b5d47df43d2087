//! Replicated objects as gossip's payload.
//!
//! What a writer did to an object is an entry of its own: the join of its deltas. The object is the join of all writers' entries.
//! A newer version of an entry holds everything that the older did, so only the newest travels; and because a join may be taken
//! in any grouping, a share that outgrows a message goes on in another part, under a key of its own.

use std::collections::BTreeMap;

use bytes::Bytes;
use qlab_kernel::wire::put_bytes;
use qlab_kernel::{Sink, Wire, WireError, mutant};

use crate::Actor;
use crate::crdt::{Crdt, ELEMENT_BYTES_MAX, GCounter, GrowSet, LwwRegister, MvRegister, OrSet, PnCounter};
use crate::key::{Key, Kind};
use crate::message::encoded_bytes;
use crate::store::Entry;

/// An object's state, or a delta of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// See [`GrowSet`].
    GrowSet(GrowSet),
    /// See [`GCounter`].
    GCounter(GCounter),
    /// See [`PnCounter`].
    PnCounter(PnCounter),
    /// See [`LwwRegister`].
    LwwRegister(LwwRegister),
    /// See [`MvRegister`].
    MvRegister(MvRegister),
    /// See [`OrSet`].
    OrSet(OrSet),
}

/// What can be done to an object. The operation says which kind of object it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds to a set that only grows.
    Grow(Bytes),
    /// Counts up what only goes up.
    Count(u64),
    /// Counts up what goes both ways.
    Increment(u64),
    /// Counts it down.
    Decrement(u64),
    /// Writes at a time that orders it among others' writes.
    WriteLast {
        /// In a unit that all writers share.
        time: u64,
        /// What.
        value: Bytes,
    },
    /// Writes over everything seen.
    Write(Bytes),
    /// Adds to a set.
    Add(Bytes),
    /// Removes from it.
    Remove(Bytes),
}

impl Operation {
    /// The kind of object that it is for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Grow(_) => Kind::GrowSet,
            Self::Count(_) => Kind::GCounter,
            Self::Increment(_) | Self::Decrement(_) => Kind::PnCounter,
            Self::WriteLast { .. } => Kind::LwwRegister,
            Self::Write(_) => Kind::MvRegister,
            Self::Add(_) | Self::Remove(_) => Kind::OrSet,
        }
    }

    /// Whether its element or value is within [`ELEMENT_BYTES_MAX`].
    pub(crate) fn fits(&self) -> bool {
        match self {
            Self::Count(_) | Self::Increment(_) | Self::Decrement(_) => true,
            Self::Grow(bytes) | Self::Write(bytes) | Self::Add(bytes) | Self::Remove(bytes) => {
                bytes.len() <= ELEMENT_BYTES_MAX
            }
            Self::WriteLast { value, .. } => value.len() <= ELEMENT_BYTES_MAX,
        }
    }
}

impl Object {
    /// Nothing has happened to it.
    ///
    /// `None` for [`Kind::Own`], which is no object.
    #[must_use]
    pub fn bottom(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Own => None,
            Kind::GrowSet => Some(Self::GrowSet(GrowSet::default())),
            Kind::GCounter => Some(Self::GCounter(GCounter::default())),
            Kind::PnCounter => Some(Self::PnCounter(PnCounter::default())),
            Kind::LwwRegister => Some(Self::LwwRegister(LwwRegister::default())),
            Kind::MvRegister => Some(Self::MvRegister(MvRegister::default())),
            Kind::OrSet => Some(Self::OrSet(OrSet::default())),
        }
    }

    /// The delta by which `actor` does it; merging it does it. Panics if the operation is for another kind of object.
    #[must_use]
    pub fn operate(&self, actor: Actor, operation: Operation) -> Self {
        mutant!("crdt: dots name no life", actor = Actor { life: crate::Life::FIRST, ..actor });
        match (self, operation) {
            (Self::GrowSet(_), Operation::Grow(element)) => Self::GrowSet(GrowSet::add(element)),
            (Self::GCounter(counter), Operation::Count(by)) => Self::GCounter(counter.increment(actor, by)),
            (Self::PnCounter(counter), Operation::Increment(by)) => {
                Self::PnCounter(counter.increment(actor, by))
            }
            (Self::PnCounter(counter), Operation::Decrement(by)) => {
                Self::PnCounter(counter.decrement(actor, by))
            }
            (Self::LwwRegister(register), Operation::WriteLast { time, value }) => {
                Self::LwwRegister(register.write(actor, time, value))
            }
            (Self::MvRegister(register), Operation::Write(value)) => {
                Self::MvRegister(register.write(actor, value))
            }
            (Self::OrSet(set), Operation::Add(element)) => Self::OrSet(set.add(actor, element)),
            (Self::OrSet(set), Operation::Remove(element)) => Self::OrSet(set.remove(&element)),
            (object, operation) => panic!("{operation:?} is not for {object:?}"),
        }
    }

    /// Joins another state of the same kind. Panics if it is of another: keys name the kind.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::GrowSet(ours), Self::GrowSet(theirs)) => ours.merge(theirs),
            (Self::GCounter(ours), Self::GCounter(theirs)) => ours.merge(theirs),
            (Self::PnCounter(ours), Self::PnCounter(theirs)) => ours.merge(theirs),
            (Self::LwwRegister(ours), Self::LwwRegister(theirs)) => ours.merge(theirs),
            (Self::MvRegister(ours), Self::MvRegister(theirs)) => ours.merge(theirs),
            (Self::OrSet(ours), Self::OrSet(theirs)) => ours.merge(theirs),
            (ours, theirs) => panic!("{theirs:?} is not of the same kind as {ours:?}"),
        }
    }

    /// The state that `bytes` encode, which must be of that kind.
    pub fn decode(kind: Kind, bytes: Bytes) -> Result<Self, WireError> {
        match kind {
            Kind::Own => Err(WireError::Invalid { what: "kind of an object", value: kind as u64 }),
            Kind::GrowSet => Wire::decode_all(bytes).map(Self::GrowSet),
            Kind::GCounter => Wire::decode_all(bytes).map(Self::GCounter),
            Kind::PnCounter => Wire::decode_all(bytes).map(Self::PnCounter),
            Kind::LwwRegister => Wire::decode_all(bytes).map(Self::LwwRegister),
            Kind::MvRegister => Wire::decode_all(bytes).map(Self::MvRegister),
            Kind::OrSet => Wire::decode_all(bytes).map(Self::OrSet),
        }
    }

    /// The encoding: equal states, and no others, have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        match self {
            Self::GrowSet(state) => state.encode(&mut bytes),
            Self::GCounter(state) => state.encode(&mut bytes),
            Self::PnCounter(state) => state.encode(&mut bytes),
            Self::LwwRegister(state) => state.encode(&mut bytes),
            Self::MvRegister(state) => state.encode(&mut bytes),
            Self::OrSet(state) => state.encode(&mut bytes),
        }
        bytes.into()
    }
}

/// All objects as this node knows them, and its own shares of them.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    objects: BTreeMap<(Kind, Bytes), Object>,
    /// The part of this node's share that still grows.
    shares: BTreeMap<(Kind, Bytes), Share>,
}

#[derive(Clone, Debug)]
struct Share {
    part: u32,
    state: Object,
}

/// An operation's outcome before it is stored.
pub(crate) struct Change {
    /// Where this node's share goes.
    pub(crate) key: Key,
    /// Its encoding.
    pub(crate) value: Bytes,
    delta: Object,
    share: Share,
}

impl Objects {
    pub(crate) fn get(&self, kind: Kind, name: &Bytes) -> Option<&Object> {
        self.objects.get(&(kind, name.clone()))
    }

    /// Every object in the order of kinds and names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &Bytes, &Object)> {
        self.objects.iter().map(|((kind, name), object)| (*kind, name, object))
    }

    /// What an operation would change: nothing is changed yet. `None` if not even its delta fits `entry_bytes_max`.
    pub(crate) fn prepare(
        &self,
        actor: Actor,
        name: &Bytes,
        operation: Operation,
        entry_bytes_max: usize,
    ) -> Option<Change> {
        let at = (operation.kind(), name.clone());
        let bottom = Object::bottom(at.0).expect("operations are for objects");
        let delta = self.objects.get(&at).unwrap_or(&bottom).operate(actor, operation);
        let mut grown = self.shares.get(&at).cloned().unwrap_or(Share { part: 0, state: bottom });
        grown.state.merge(&delta);
        let next = Share { part: grown.part + 1, state: delta.clone() };
        [grown, next].into_iter().find_map(|share| {
            let key = Key { kind: at.0, name: name.clone(), part: share.part };
            let value = share.state.encode();
            let entry = Entry { version: 1, key, value: Some(value.clone()) };
            let fits = encoded_bytes(&entry) <= entry_bytes_max;
            fits.then(|| Change { key: entry.key, value, delta: delta.clone(), share })
        })
    }

    /// The change has been stored.
    pub(crate) fn commit(&mut self, change: Change) {
        let at = (change.key.kind, change.key.name);
        self.shares.insert(at.clone(), change.share);
        self.merge(at, &change.delta);
    }

    /// Joins a share that came from elsewhere.
    pub(crate) fn join(&mut self, entry: &Entry) -> Result<(), WireError> {
        let Some(value) = &entry.value else { return Ok(()) };
        let share = Object::decode(entry.key.kind, value.clone())?;
        self.merge((entry.key.kind, entry.key.name.clone()), &share);
        Ok(())
    }

    fn merge(&mut self, at: (Kind, Bytes), state: &Object) {
        match self.objects.get_mut(&at) {
            Some(object) => object.merge(state),
            None => drop(self.objects.insert(at, state.clone())),
        }
    }

    /// Writes everything that the objects hold, in one form: equal objects have equal bytes.
    pub(crate) fn encode(&self, sink: &mut impl Sink) {
        for ((kind, name), object) in &self.objects {
            Key { kind: *kind, name: name.clone(), part: 0 }.encode(sink);
            put_bytes(sink, &object.encode());
        }
    }
}
