//! The coordinator: whoever is asked brings about what is asked, with as many answers as the quorums want (DeCandia et al. 2007, §4.5).
//! What is under way takes answers here, and is asked again.

use bytes::Bytes;
use qlab_kernel::{Effects, Lsn, NodeId, NodeSet, Sequence, SessionId, Time};

use super::Dynamo;
use super::content::State;
use super::digest::Digest;
use super::message::Step;
use super::operation::{Operation, Task};

/// Bits of a round that count within a life: at a million a second, for twelve days.
const ROUND_BITS: u32 = 40;

/// Whose command it is.
pub(super) type Client = (SessionId, Sequence);

impl Dynamo {
    /// Begins an operation; the number of its question.
    pub(super) fn begin(&mut self, now: Time, operation: Operation) -> u64 {
        let round = self.next_round();
        self.operations.insert(round, operation);
        self.alarms.push_back((now + self.config.retry_interval, round));
        round
    }

    /// A number that nothing else has, in any life.
    pub(super) fn next_round(&mut self) -> u64 {
        self.rounds += 1;
        u64::from(self.incarnation) << ROUND_BITS | self.rounds
    }

    pub(super) fn ask(&mut self, peer: NodeId, round: u64, key: &Bytes) {
        let known = match self.operations.get(&round).map(|operation| &operation.task) {
            Some(Task::Read(read)) => read.known,
            Some(Task::Bury { deletion, .. }) => *deletion,
            _ => Digest::default(),
        };
        // Early: a question promises nothing.
        self.outbox.early(peer, Step::Ask { round, key: key.clone(), known });
    }

    pub(super) fn on_same(&mut self, now: Time, from: NodeId, round: u64, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get_mut(&round) else { return };
        match &mut operation.task {
            Task::Read(read) => {
                read.hear_same(from);
                self.progress_read(now, round, effects);
            }
            Task::Learn(_) => self.learnt(now, round, &State::default(), effects),
            Task::Bury { .. } => self.agreed(now, from, round, effects),
            Task::Store { .. } => {}
        }
    }

    pub(super) fn on_told(
        &mut self,
        now: Time,
        from: NodeId,
        round: u64,
        state: &State,
        effects: &mut Effects<Self>,
    ) {
        let Some(operation) = self.operations.get_mut(&round) else { return };
        match &mut operation.task {
            Task::Read(read) => {
                read.hear(from, Digest::of(&operation.key, state), state);
                self.progress_read(now, round, effects);
            }
            Task::Learn(_) => self.learnt(now, round, state, effects),
            // It holds nothing: nothing older, then.
            Task::Bury { .. } if state.context().is_empty() => self.agreed(now, from, round, effects),
            Task::Bury { .. } => self.disagreed(now, round, state, effects),
            Task::Store { .. } => {}
        }
    }

    /// Looks at operations that have waited for a while: what nobody waits for ends, the rest is asked again.
    pub(super) fn look_at_operations(&mut self, now: Time, effects: &mut Effects<Self>) {
        while let Some((_, round)) = self.alarms.pop_front_if(|(at, _)| *at <= now) {
            let Some(operation) = self.operations.get(&round) else { continue };
            match &operation.task {
                Task::Store { .. } if operation.client.is_none() => self.end_store(now, round),
                Task::Read(_) if operation.client.is_none() => self.end_read(now, round, effects),
                Task::Bury { .. } => self.stay(now, round),
                _ => self.ask_again(now, round),
            }
        }
    }

    fn ask_again(&mut self, now: Time, round: u64) {
        self.counts.repeats += 1;
        let Some(operation) = self.operations.get_mut(&round) else { return };
        let (key, homes) = (operation.key.clone(), operation.homes);
        let stand_ins: NodeSet = self.ring.stand_ins(&key).filter(|_| self.config.sloppy).collect();
        let all: NodeSet = homes.iter().chain(stand_ins.iter()).collect();
        let (heard, state) = match &mut operation.task {
            Task::Read(read) => {
                read.asked = all;
                (read.heard(), None)
            }
            Task::Store { holders, state, .. } => (*holders, Some(state.clone())),
            Task::Learn(_) | Task::Bury { .. } => (NodeSet::EMPTY, None),
        };
        let asked = if matches!(operation.task, Task::Learn(_)) { homes } else { all };
        let lsn = self.store.get(&key).map_or(Lsn::ZERO, |entry| entry.lsn);
        for peer in asked.without(self.seat.me).iter().filter(|peer| !heard.contains(*peer)) {
            match &state {
                Some(state) => {
                    let step = Step::Store { round, key: key.clone(), state: state.clone() };
                    self.say_after(lsn, peer, step);
                }
                None => self.ask(peer, round, &key),
            }
        }
        self.alarms.push_back((now + self.config.retry_interval, round));
    }
}

/// How many of these count for a quorum.
pub(super) fn counted(nodes: NodeSet, homes: NodeSet, sloppy: bool) -> usize {
    if sloppy { nodes.len() } else { nodes.iter().filter(|node| homes.contains(*node)).count() }
}
