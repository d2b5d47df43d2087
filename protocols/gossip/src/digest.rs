//! How much a node knows, said in a few bytes.

use qlab_kernel::{Reader, Sink, Wire, WireError, mutant};

use crate::Actor;
use crate::store::Delta;

/// What is known of one writer: all its entries up to `version`, but deletions up to `forgotten`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whose.
    pub origin: Actor,
    /// Deletions up to here are forgotten: keys deleted by them are just not there.
    pub forgotten: u64,
    /// The newest version known.
    pub version: u64,
    /// Stands for the versions of the entries held. Two who know the same may hold other entries as long as whoever told them
    /// knew more than it had room to tell: an entry that is replaced by a later one is told no more.
    pub fingerprint: u64,
}

/// Bytes of a summary on the wire.
pub const SUMMARY_BYTES: usize = 30;

impl Summary {
    /// Of whom nothing is known.
    #[must_use]
    pub const fn nothing(origin: Actor) -> Self {
        Self { origin, forgotten: 0, version: 0, fingerprint: 0 }
    }

    /// Whether `theirs` may lack a deletion that is forgotten here: only beginning anew can tell them.
    #[must_use]
    pub const fn forgets_what_misses(&self, theirs: &Self) -> bool {
        self.forgotten > theirs.forgotten && self.forgotten > theirs.version
    }

    /// Whether something is known here that helps whoever knows `theirs`.
    #[must_use]
    pub fn has_news_for(&self, theirs: &Self) -> bool {
        self.forgotten > theirs.forgotten || (self.version > theirs.version && self.may_continue(theirs))
    }

    /// Whether both know the same and yet hold other entries: then each amends the other.
    #[must_use]
    pub fn differs_from(&self, theirs: &Self) -> bool {
        let same = (self.forgotten, self.version) == (theirs.forgotten, theirs.version);
        mutant!("gossip: who knows the same is not compared", same = false);
        same && self.fingerprint != theirs.fingerprint
    }

    /// Whether `theirs` can be continued from here. Whoever has begun anew and not caught up yet must not listen to those
    /// who have forgotten less: between their entries may be some whose deletion nobody would tell any more.
    fn may_continue(&self, theirs: &Self) -> bool {
        mutant!("gossip: whoever begins anew listens to those who forgot less", { return true });
        self.forgotten >= theirs.forgotten || theirs.version >= theirs.forgotten
    }

    /// Whether `delta` follows on this: by beginning anew (`Some(true)`), by continuing (`Some(false)`), or not.
    #[must_use]
    pub fn accepts(&self, delta: &Delta) -> Option<bool> {
        let Delta { origin, forgotten, version, .. } = *delta;
        let theirs = Self { forgotten, version, ..Self::nothing(origin) };
        if theirs.forgets_what_misses(self) {
            let anew = mutant!(true, "gossip: what was deleted and forgotten comes back", false);
            return (delta.after == 0).then_some(anew);
        }
        (delta.after <= self.version && theirs.may_continue(self)).then_some(false)
    }
}

impl Wire for Summary {
    fn encode(&self, sink: &mut impl Sink) {
        self.origin.encode(sink);
        self.forgotten.encode(sink);
        self.version.encode(sink);
        self.fingerprint.encode(sink);
    }
    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let origin = Actor::decode(reader)?;
        let [forgotten, version, fingerprint] = [reader.u64()?, reader.u64()?, reader.u64()?];
        Ok(Self { origin, forgotten, version, fingerprint })
    }
}

/// Everything a node knows of the writers from `from` on and before `until`: of those not listed, nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The first writer it may name.
    pub from: Actor,
    /// What is known of the writers, in their order.
    pub summaries: Vec<Summary>,
    /// The first writer that it does not tell about; `None` if it tells about all from `from` on.
    pub until: Option<Actor>,
}

impl Digest {
    /// What it says of a writer in its range.
    #[must_use]
    pub fn summary(&self, origin: Actor) -> Summary {
        let at = self.summaries.binary_search_by_key(&origin, |summary| summary.origin);
        at.map_or(Summary::nothing(origin), |at| self.summaries[at])
    }
}

impl Wire for Digest {
    fn encode(&self, sink: &mut impl Sink) {
        self.from.encode(sink);
        put_summaries(sink, &self.summaries);
        self.until.encode(sink);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let digest = Self {
            from: Actor::decode(reader)?,
            summaries: take_summaries(reader)?,
            until: Option::decode(reader)?,
        };
        let (first, last) = (digest.summaries.first(), digest.summaries.last());
        let ordered = first.is_none_or(|first| first.origin >= digest.from)
            && digest.until.is_none_or(|until| until > digest.from)
            && last.is_none_or(|last| digest.until.is_none_or(|until| last.origin < until));
        if ordered {
            Ok(digest)
        } else {
            Err(WireError::Invalid { what: "range of a digest", value: digest.summaries.len() as u64 })
        }
    }
}

/// Writes a counted list of summaries.
pub(crate) fn put_summaries(sink: &mut impl Sink, summaries: &[Summary]) {
    u32::try_from(summaries.len()).expect("digests are bounded far below 2^32 writers").encode(sink);
    for summary in summaries {
        summary.encode(sink);
    }
}

/// Reads a counted list of summaries, whose writers must ascend.
pub(crate) fn take_summaries(reader: &mut Reader) -> Result<Vec<Summary>, WireError> {
    let count = reader.u32()?;
    let mut summaries: Vec<Summary> = Vec::new();
    for at in 0..count {
        let summary = Summary::decode(reader)?;
        if summaries.last().is_some_and(|last| last.origin >= summary.origin) {
            return Err(WireError::Invalid { what: "order of writers", value: at.into() });
        }
        summaries.push(summary);
    }
    Ok(summaries)
}
