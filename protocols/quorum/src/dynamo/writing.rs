//! Writes: named here, held by as many as are wanted.

use bytes::Bytes;
use qlab_clocks::VectorClock;
use qlab_clocks::dotted::SIBLINGS_MAX;
use qlab_kernel::command::FULL;
use qlab_kernel::{Effects, NodeId, NodeSet, Outcome, ReplyBody, Time, mutant};

use super::content::State;
use super::coordinator::{Client, counted};
use super::message::Step;
use super::operation::{Operation, Task, Write};
use super::{Conflicts, Dynamo, SIBLINGS_BYTES_MAX};

impl Dynamo {
    /// What a write would come to here: whether there is room beside the values that its author has not read.
    pub(super) fn prospect(&self, key: &[u8], write: &Write) -> Outcome {
        let Write { seen, content, outcome } = write;
        let Some(entry) = self.store.get(key) else { return *outcome };
        if self.config.conflicts == Conflicts::LastWriterWins {
            return *outcome;
        }
        let unread = entry.state.dotted().filter(|(dot, _)| dot.count > seen.get(dot.node));
        let (count, unread_bytes) =
            unread.fold((0, 0), |(count, sum), (_, content)| (count + 1, sum + content.value_bytes()));
        let is_full = count >= SIBLINGS_MAX
            || unread_bytes + content.value_bytes() > SIBLINGS_BYTES_MAX / self.seat.members.len();
        if is_full { Outcome::of(FULL) } else { *outcome }
    }

    pub(super) fn begin_write(
        &mut self,
        now: Time,
        client: Client,
        key: Bytes,
        write: Write,
        effects: &mut Effects<Self>,
    ) {
        self.counts.writes += 1;
        let homes = self.homes(&key);
        if homes.contains(self.seat.me) {
            self.write(now, client, key, write, effects);
            return;
        }
        // Names of earlier writes from here are known to every home, and perhaps no longer here.
        *self.learning.entry(key.clone()).or_default() += 1;
        let task = Task::Learn(write);
        let round = self.begin(now, Operation { key: key.clone(), homes, client: Some(client), task });
        let first = self.ring.homes_in_order(&key).next();
        self.ask(first.expect("every key has a home"), round, &key);
    }

    /// Writes beside or over what is held here, which knows every name that this replica has given for the key.
    fn write(&mut self, now: Time, client: Client, key: Bytes, write: Write, effects: &mut Effects<Self>) {
        let Write { seen, content, outcome } = write;
        let mut state = self.store.get(&key).map(|entry| entry.state.clone()).unwrap_or_default();
        mutant!(self.skip_names(&mut state), "dynamo: names begin again after a key was forgotten", ());
        let seen = match self.config.conflicts {
            Conflicts::Siblings => {
                mutant!(
                    seen,
                    "dynamo: a write replaces what its author has not read",
                    state.context().clone()
                )
            }
            Conflicts::LastWriterWins => VectorClock::new(),
        };
        state.write(self.seat.me, &seen, content).expect("whoever lets it in sees that there is room");
        self.resolve(&mut state);
        let round = self.spread(now, client, key, state, outcome, effects);
        self.progress_store(now, round, effects);
    }

    /// Names of forgotten keys are not given again: this one may be among those.
    fn skip_names(&self, state: &mut State) {
        if state.context().get(self.seat.me) < self.named {
            state.skip(self.seat.me, self.named);
        }
    }

    /// Holds a state, and tells all homes to.
    fn spread(
        &mut self,
        now: Time,
        client: Client,
        key: Bytes,
        state: State,
        outcome: Outcome,
        effects: &mut Effects<Self>,
    ) -> u64 {
        let (me, homes) = (self.seat.me, self.homes(&key));
        let lsn = self.hold(now, &key, state.clone(), effects);
        let task = Task::Store { state: state.clone(), holders: NodeSet::EMPTY, outcome };
        let round = self.begin(now, Operation { key: key.clone(), homes, client: Some(client), task });
        if let Some(entry) = self.store.get_mut(&key) {
            entry.owed = homes.without(me);
            entry.round = round;
        }
        for home in homes.without(me).iter() {
            // Gated: the write's name must not be given to another one after a crash.
            self.say_after(lsn, home, Step::Store { round, key: key.clone(), state: state.clone() });
        }
        if lsn <= self.durable {
            self.stored_here(round);
        } else {
            self.own.push_back((lsn, round));
        }
        round
    }

    /// What this replica holds for an operation is durable.
    pub(super) fn hear_own(&mut self, now: Time, effects: &mut Effects<Self>) {
        while let Some((_, round)) = self.own.pop_front_if(|(lsn, _)| *lsn <= self.durable) {
            match self.operations.get(&round).map(|operation| &operation.task) {
                Some(Task::Store { .. }) => {
                    self.stored_here(round);
                    self.progress_store(now, round, effects);
                }
                Some(Task::Read(_)) => self.on_same(now, self.seat.me, round, effects),
                Some(Task::Learn(_) | Task::Bury { .. }) | None => {}
            }
        }
    }

    fn stored_here(&mut self, round: u64) {
        if let Some(Operation { task: Task::Store { holders, .. }, .. }) = self.operations.get_mut(&round) {
            holders.insert(self.seat.me);
        }
    }

    pub(super) fn on_stored(
        &mut self,
        now: Time,
        from: NodeId,
        round: u64,
        key: &[u8],
        effects: &mut Effects<Self>,
    ) {
        if let Some(Operation { task: Task::Store { holders, .. }, .. }) = self.operations.get_mut(&round) {
            holders.insert(from);
            self.progress_store(now, round, effects);
        }
        if let Some(entry) = self.store.get_mut(key).filter(|entry| entry.round == round) {
            entry.owed.remove(from);
            self.hand_over(key, effects);
        }
    }

    /// Answers once enough hold it; ends when all homes do.
    pub(super) fn progress_store(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get_mut(&round) else { return };
        let Task::Store { holders, outcome, .. } = &operation.task else { return };
        let (held, outcome, homes) = (*holders, *outcome, operation.homes);
        let enough =
            mutant!(self.quorums.write, "dynamo: one replica too few stores it", self.quorums.write - 1);
        if counted(held, homes, self.config.sloppy) >= enough
            && let Some(client) = operation.client.take()
        {
            self.waiting.remove(&client);
            // Early: as many disks as are wanted hold it, whatever this replica's does.
            effects.reply_early(client.0, client.1, ReplyBody::Written(outcome));
        }
        let operation = &self.operations[&round];
        if operation.client.is_none() && homes.iter().all(|home| held.contains(home)) {
            self.end_store(now, round);
        }
    }

    /// Whoever has not said that it holds it is owed it from now on.
    pub(super) fn end_store(&mut self, now: Time, round: u64) {
        if let Some(operation) = self.operations.remove(&round) {
            self.lend(now, &operation.key);
        }
    }

    /// A home has said what it knows: now it can be written. Without room beside what that is, it is asked again from time to time.
    pub(super) fn learnt(&mut self, now: Time, round: u64, state: &State, effects: &mut Effects<Self>) {
        let Some(key) = self.operations.get(&round).map(|operation| operation.key.clone()) else { return };
        self.absorb(now, &key, state, effects);
        let Some(Operation { client: Some(client), task: Task::Learn(write), .. }) =
            self.operations.get(&round)
        else {
            return;
        };
        if self.prospect(&key, write) == write.outcome {
            let (client, write) = (*client, write.clone());
            self.operations.remove(&round);
            self.unlearn(&key);
            self.write(now, client, key, write, effects);
        }
    }

    fn unlearn(&mut self, key: &[u8]) {
        if let Some(learning) = self.learning.get_mut(key) {
            *learning -= 1;
            if *learning == 0 {
                self.learning.remove(key);
            }
        }
    }
}
