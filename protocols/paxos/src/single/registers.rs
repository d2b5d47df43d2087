//! All instances that this replica knows of: what its acceptor has promised and accepted in each, and whether that is decided.

use std::collections::HashMap;

use bytes::Bytes;

use super::message::{Accepted, Value};
use super::record::{Change, Image};
use crate::Ballot;

/// Where a register lies.
pub(crate) type Place = usize;

/// What a register weighs besides its key and value: about its share of the tables.
const REGISTER_BYTES: usize = 192;

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) key: Bytes,
    pub(crate) promised: Ballot,
    /// In [`Ballot::CHOSEN`] once it is decided.
    pub(crate) accepted: Option<Accepted>,
}

impl Register {
    pub(crate) fn decided(&self) -> Option<&Value> {
        self.accepted.as_ref().filter(|accepted| accepted.ballot == Ballot::CHOSEN).map(|a| &a.value)
    }

    pub(crate) fn image(&self) -> Image {
        Image { promised: self.promised, accepted: self.accepted.clone() }
    }

    /// Whether nothing was ever promised or accepted here.
    pub(crate) fn is_untouched(&self) -> bool {
        self.promised == Ballot::ZERO && self.accepted.is_none()
    }

    fn weight_bytes(&self) -> usize {
        REGISTER_BYTES + self.key.len() + self.accepted.as_ref().map_or(0, |a| a.value.bytes.len())
    }
}

/// Registers by key, and by place in order of appearance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    // Keys are chosen by clients, so the map hashes them with a key of its own; it is asked, never walked.
    places: HashMap<Bytes, Place>,
    all: Vec<Register>,
    /// Places of registers that were given back.
    vacant: Vec<Place>,
    weight_bytes: usize,
    decided: usize,
}

impl Registers {
    pub(crate) fn get(&self, place: Place) -> &Register {
        &self.all[place]
    }

    pub(crate) fn place(&self, key: &[u8]) -> Option<Place> {
        self.places.get(key).copied()
    }

    /// The place of a key's register, which is made if there is none.
    pub(crate) fn enter(&mut self, key: &[u8]) -> Place {
        if let Some(place) = self.place(key) {
            return place;
        }
        // A copy: the frame that the key came in must not live as long as the register.
        let key = Bytes::copy_from_slice(key);
        let register = Register { key: key.clone(), promised: Ballot::ZERO, accepted: None };
        self.weight_bytes += register.weight_bytes();
        let place = match self.vacant.pop() {
            Some(place) => {
                self.all[place] = register;
                place
            }
            None => {
                self.all.push(register);
                self.all.len() - 1
            }
        };
        self.places.insert(key, place);
        place
    }

    /// Gives a register back that nobody ever used: a read of a key that is not there leaves nothing behind.
    pub(crate) fn leave(&mut self, place: Place) {
        if self.all[place].is_untouched() && self.places.remove(&self.all[place].key).is_some() {
            self.weight_bytes -= self.all[place].weight_bytes();
            self.vacant.push(place);
        }
    }

    pub(crate) fn promise(&mut self, place: Place, ballot: Ballot) {
        let promised = &mut self.all[place].promised;
        *promised = ballot.max(*promised);
    }

    /// Accepts a value, or learns that it is chosen; what was accepted in a lower ballot counts no more.
    pub(crate) fn accept(&mut self, place: Place, ballot: Ballot, value: &Value) {
        let register = &mut self.all[place];
        if register.accepted.as_ref().is_some_and(|accepted| accepted.ballot >= ballot) {
            return;
        }
        if ballot == Ballot::CHOSEN {
            self.decided += 1;
        } else {
            register.promised = ballot.max(register.promised);
        }
        self.weight_bytes -= register.weight_bytes();
        let kept = register.accepted.take().filter(|accepted| accepted.value == *value);
        let value = kept.map_or_else(|| copied(value), |accepted| accepted.value);
        register.accepted = Some(Accepted { ballot, value });
        self.weight_bytes += register.weight_bytes();
    }

    /// Takes in what a record says: the highest counts.
    pub(crate) fn replay_change(&mut self, key: &[u8], change: &Change) {
        let place = self.enter(key);
        match change {
            Change::Promise { ballot } => self.promise(place, *ballot),
            Change::Accept { ballot, value } => self.accept(place, *ballot, value),
        }
    }

    /// The same for a whole register.
    pub(crate) fn replay_image(&mut self, key: &[u8], image: &Image) {
        let place = self.enter(key);
        self.promise(place, image.promised);
        if let Some(Accepted { ballot, value }) = &image.accepted {
            self.accept(place, *ballot, value);
        }
    }

    /// What all of them weigh, in bytes.
    pub(crate) const fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// How many are decided.
    pub(crate) const fn decided(&self) -> usize {
        self.decided
    }

    /// Places there are, vacant ones included.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All that hold something, in order of appearance.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Register> {
        self.all.iter().filter(|register| !register.is_untouched())
    }
}

/// A copy, so that the frame a value came in does not live as long as the value.
fn copied(value: &Value) -> Value {
    Value { bytes: Bytes::copy_from_slice(&value.bytes), ..value.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlab_kernel::{NodeId, Sequence, SessionId};

    fn value(bytes: usize) -> Value {
        Value { session: SessionId(1), sequence: Sequence(1), bytes: vec![7; bytes].into() }
    }

    #[test]
    fn weights_follow_what_is_there_and_what_nobody_used_leaves_nothing() {
        let mut registers = Registers::default();
        let read = registers.enter(b"absent");
        registers.leave(read);
        assert_eq!((registers.weight_bytes(), registers.place(b"absent")), (0, None));
        let place = registers.enter(b"key");
        assert_eq!(place, read, "the place is used again");
        let ballot = Ballot::ZERO.next_of(NodeId(1));
        registers.accept(place, ballot, &value(10));
        registers.leave(place);
        assert_eq!(registers.weight_bytes(), REGISTER_BYTES + 13);
        registers.accept(place, Ballot::CHOSEN, &value(20));
        assert_eq!((registers.weight_bytes(), registers.decided()), (REGISTER_BYTES + 23, 1));
        registers.accept(place, ballot.next_of(NodeId(2)), &value(30));
        assert_eq!(registers.get(place).decided(), Some(&value(20)), "what is chosen stays");
        assert_eq!(registers.get(place).promised, ballot, "that something is chosen promises nothing");
    }
}
