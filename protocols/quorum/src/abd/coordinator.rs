//! The coordinator: the two phases of a write, the one or two of a read (Lynch, Shvartsman 1997, §4).

use bytes::Bytes;
use qlab_kernel::{Effects, NodeId, NodeSet, Sequence, SessionId, Time, mutant};

use super::Abd;
use super::message::Step;
use super::operation::{Operation, Phase, Wish};
use super::tag::{Tag, Version};

/// Bits of a round that count within a life: at a million a second, for twelve days.
const ROUND_BITS: u32 = 40;

impl Abd {
    /// First phase of a write.
    pub(super) fn begin_write(
        &mut self,
        now: Time,
        (session, sequence): (SessionId, Sequence),
        key: &[u8],
        value: Option<&[u8]>,
        effects: &mut Effects<Self>,
    ) {
        self.counts.writes += 1;
        let key = Bytes::copy_from_slice(key);
        let value = value.map(Bytes::copy_from_slice);
        let wish = if value.is_some() { Wish::Put } else { Wish::Delete };
        let phase = Phase::AskingTag { value, told: NodeSet::EMPTY, highest: Tag::ZERO };
        let own = self.registers.tag(&key);
        let round = self.begin(now, Operation { session, sequence, key, wish, phase });
        mutant!("abd: a write goes above its own replica's tag alone", {
            for peer in self.seat.peers().iter() {
                self.on_told_tag(now, peer, round, own, effects);
            }
        });
        self.on_told_tag(now, self.seat.me, round, own, effects);
    }

    pub(super) fn on_told_tag(
        &mut self,
        now: Time,
        from: NodeId,
        asked: u64,
        tag: Tag,
        effects: &mut Effects<Self>,
    ) {
        let Some(operation) = self.operations.get_mut(&asked) else { return };
        let Phase::AskingTag { value, told, highest } = &mut operation.phase else { return };
        told.insert(from);
        *highest = tag.max(*highest);
        if told.len() < self.quorums.read {
            return;
        }
        let (value, highest) = (value.take(), *highest);
        // Above what this life gave meanwhile, too: its own replica holds that.
        let highest = highest.max(self.registers.tag(&operation.key));
        let tag = highest.next_of(self.seat.me, self.incarnation);
        mutant!("abd: a tag without its writer", tag = Tag { writer: NodeId(0), incarnation: 0, ..tag });
        self.store(now, asked, Version { tag, value }, NodeSet::EMPTY, effects);
    }

    /// First phase of a read.
    pub(super) fn begin_read(
        &mut self,
        now: Time,
        (session, sequence): (SessionId, Sequence),
        key: &[u8],
        effects: &mut Effects<Self>,
    ) {
        self.counts.reads += 1;
        let key = Bytes::copy_from_slice(key);
        let (own, lsn) = self.held(&key);
        let phase =
            Phase::Asking { told: NodeSet::EMPTY, highest: Version::default(), holders: NodeSet::EMPTY };
        let round = self.begin(now, Operation { session, sequence, key, wish: Wish::Get, phase });
        if lsn <= self.durable {
            self.on_told(now, self.seat.me, round, own, effects);
        } else {
            self.own.push_back((lsn, Step::Told { round, version: own }));
        }
    }

    pub(super) fn on_told(
        &mut self,
        now: Time,
        from: NodeId,
        asked: u64,
        version: Version,
        effects: &mut Effects<Self>,
    ) {
        let Some(operation) = self.operations.get_mut(&asked) else { return };
        let Phase::Asking { told, highest, holders } = &mut operation.phase else { return };
        told.insert(from);
        if version.tag > highest.tag {
            *highest = version;
            *holders = NodeSet::from_iter([from]);
        } else if version.tag == highest.tag {
            holders.insert(from);
        }
        if told.len() < self.quorums.read {
            return;
        }
        let holders = *holders;
        let version = std::mem::take(highest);
        let enough = mutant!(
            self.quorums.write,
            "abd: one holder too few and nothing is written back",
            self.quorums.write - 1
        );
        mutant!("abd: reads do not write back", enough = 0);
        // Nothing was ever written as far as a read quorum knows, or a write quorum holds it already.
        if version.tag == Tag::ZERO || holders.len() >= enough {
            self.conclude(asked, version, effects);
        } else {
            self.counts.write_backs += 1;
            self.store(now, asked, version, holders, effects);
        }
    }

    /// Second phase: a write quorum holds the version, then its client is answered. Some hold it already.
    fn store(
        &mut self,
        now: Time,
        asked: u64,
        version: Version,
        holders: NodeSet,
        effects: &mut Effects<Self>,
    ) {
        let Some(operation) = self.operations.remove(&asked) else { return };
        let key = operation.key.clone();
        let phase = Phase::Storing { version: version.clone(), stored: holders };
        // The own replica holds it before anybody else does: what this life writes next to this key goes above it.
        let lsn = self.hold(&key, &version, effects);
        let round = self.begin(now, Operation { phase, ..operation });
        if holders.contains(self.seat.me) {
            return;
        }
        if lsn <= self.durable {
            self.on_stored(self.seat.me, round, effects);
        } else {
            self.own.push_back((lsn, Step::Stored { round, tag: version.tag }));
        }
    }

    pub(super) fn on_stored(&mut self, from: NodeId, asked: u64, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get_mut(&asked) else { return };
        let Phase::Storing { version, stored } = &mut operation.phase else { return };
        stored.insert(from);
        let enough =
            mutant!(self.quorums.write, "abd: one replica too few stores it", self.quorums.write - 1);
        if stored.len() >= enough {
            let version = std::mem::take(version);
            self.conclude(asked, version, effects);
        }
    }

    fn conclude(&mut self, round: u64, version: Version, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.remove(&round) else { return };
        let Operation { session, sequence, wish, .. } = operation;
        self.waiting.remove(&(session, sequence));
        // Early: a write quorum's disks hold it, or nobody holds anything, whatever this replica's does.
        effects.reply_early(session, sequence, wish.answer(version));
    }

    /// Asks whoever has not been heard of what the operation's phase asks; the number of the question.
    fn begin(&mut self, now: Time, operation: Operation) -> u64 {
        self.rounds += 1;
        let round = u64::from(self.incarnation) << ROUND_BITS | self.rounds;
        self.counts.round_trips += 1;
        self.operations.insert(round, operation);
        self.ask(round);
        self.alarms.push_back((now + self.config.retry_interval, round));
        round
    }

    fn ask(&mut self, round: u64) {
        let Some(Operation { key, phase, .. }) = self.operations.get(&round) else { return };
        let step = match phase {
            Phase::AskingTag { .. } => Step::AskTag { round, key: key.clone() },
            Phase::Asking { .. } => Step::Ask { round, key: key.clone() },
            Phase::Storing { version, .. } => {
                Step::Store { round, key: key.clone(), version: version.clone() }
            }
        };
        let heard = phase.heard();
        for peer in self.seat.peers().iter().filter(|peer| !heard.contains(*peer)) {
            // Early: a question promises nothing; and a tag carries the number of this life, so that nobody ever gives it to
            // another value, whether the own replica's record of it survives or not.
            self.outbox.early(peer, step.clone());
        }
    }

    /// Asks again what has not been answered for a while.
    pub(super) fn on_timeout(&mut self, now: Time) {
        while let Some((_, round)) = self.alarms.pop_front_if(|(at, _)| *at <= now) {
            if self.operations.contains_key(&round) {
                self.counts.repeats += 1;
                self.ask(round);
                self.alarms.push_back((now + self.config.retry_interval, round));
            }
        }
    }
}
