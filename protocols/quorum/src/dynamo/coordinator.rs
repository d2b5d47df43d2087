//! The coordinator: whoever is asked brings about what is asked, with as many answers as the quorums want (DeCandia et al. 2007, §4.5).

use bytes::Bytes;
use qlab_clocks::VectorClock;
use qlab_clocks::dotted::SIBLINGS_MAX;
use qlab_kernel::command::{ABSENT, FOUND, FULL};
use qlab_kernel::{Effects, NodeId, NodeSet, Outcome, ReplyBody, Sequence, SessionId, Time, mutant};

use super::content::{Content, State};
use super::digest::Digest;
use super::message::Step;
use super::operation::{Operation, Read, Task, Write};
use super::{Conflicts, Dynamo, SIBLINGS_BYTES_MAX, envelope};

/// Bits of a round that count within a life: at a million a second, for twelve days.
const ROUND_BITS: u32 = 40;

type Client = (SessionId, Sequence);

impl Dynamo {
    /// What a write would come to here: whether there is room beside the values that its author has not read.
    pub(super) fn prospect(&self, key: &[u8], seen: &VectorClock, bytes: usize, outcome: Outcome) -> Outcome {
        let Some(entry) = self.store.get(key) else { return outcome };
        if self.config.conflicts == Conflicts::LastWriterWins {
            return outcome;
        }
        let unread = entry.state.dotted().filter(|(dot, _)| dot.count > seen.get(dot.node));
        let (count, unread_bytes) =
            unread.fold((0, 0), |(count, sum), (_, content)| (count + 1, sum + content.value_bytes()));
        let is_full =
            count >= SIBLINGS_MAX || unread_bytes + bytes > SIBLINGS_BYTES_MAX / self.seat.members.len();
        if is_full { Outcome::of(FULL) } else { outcome }
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
        let round = self.spread(now, Some(client), key, state, outcome, effects);
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
        client: Option<Client>,
        key: Bytes,
        state: State,
        outcome: Outcome,
        effects: &mut Effects<Self>,
    ) -> u64 {
        let (me, homes) = (self.seat.me, self.homes(&key));
        let lsn = self.hold(now, &key, state.clone(), effects);
        let task = Task::Store { state: state.clone(), holders: NodeSet::EMPTY, outcome };
        let round = self.begin(now, Operation { key: key.clone(), homes, client, task });
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
    fn progress_store(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
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
    fn end_store(&mut self, now: Time, round: u64) {
        if let Some(operation) = self.operations.remove(&round) {
            self.lend(now, &operation.key);
        }
    }

    pub(super) fn begin_read(&mut self, now: Time, client: Client, key: &[u8], effects: &mut Effects<Self>) {
        self.counts.reads += 1;
        let key = Bytes::copy_from_slice(key);
        let (me, homes) = (self.seat.me, self.homes(&key));
        let (base, known, lsn) = self.held(&key);
        let read = Read {
            base,
            known,
            joined: State::default(),
            told: Vec::new(),
            asked: self.first_asked(&key, homes),
        };
        let asked = read.asked;
        let has_word = homes.contains(me) || self.store.get(&key).is_some();
        let task = Task::Read(read);
        let round = self.begin(now, Operation { key: key.clone(), homes, client: Some(client), task });
        for peer in asked.without(me).iter() {
            self.ask(peer, round, &key);
        }
        if !has_word {
            return;
        }
        if lsn <= self.durable {
            self.on_same(now, me, round, effects);
        } else {
            self.own.push_back((lsn, round));
        }
    }

    /// Whom a read asks at first: all homes if it is to repair, as many as are enough otherwise.
    fn first_asked(&self, key: &[u8], homes: NodeSet) -> NodeSet {
        if self.config.read_repair {
            return homes;
        }
        let me = homes.iter().filter(|home| *home == self.seat.me);
        let others = self.ring.homes_in_order(key).filter(|home| *home != self.seat.me);
        me.chain(others).take(self.quorums.read).collect()
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
            Task::Bury { .. } => self.stay(now, round),
            Task::Store { .. } => {}
        }
    }

    /// A home has said what it knows: now it can be written.
    fn learnt(&mut self, now: Time, round: u64, state: &State, effects: &mut Effects<Self>) {
        let Some(Operation { key, task: Task::Learn(write), .. }) = self.operations.get(&round) else {
            return;
        };
        let (key, bytes, seen) = (key.clone(), write.content.value_bytes(), write.seen.clone());
        self.absorb(now, &key, state, effects);
        let outcome = write_outcome(&self.operations[&round]);
        if self.prospect(&key, &seen, bytes, outcome) != outcome {
            // No room: it is asked again from time to time whether there is.
            return;
        }
        self.unlearn(&key);
        if let Some(Operation { client: Some(client), task: Task::Learn(write), .. }) =
            self.operations.remove(&round)
        {
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

    /// Answers once enough have told; ends when all that were asked have.
    fn progress_read(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(operation) = self.operations.get_mut(&round) else { return };
        let Task::Read(read) = &operation.task else { return };
        let (heard, asked) = (read.heard(), read.asked);
        if counted(heard, operation.homes, self.config.sloppy) >= self.quorums.read
            && let Some(client) = operation.client.take()
        {
            let body = found(&read.joined);
            self.counts.siblings +=
                read.joined.values().filter(|content| !content.is_deletion()).count() as u64;
            self.waiting.remove(&client);
            // Early: all of it is durable where it was told.
            effects.reply_early(client.0, client.1, body);
        }
        if operation.client.is_none() && asked.iter().all(|node| heard.contains(node)) {
            self.end_read(now, round, effects);
        }
    }

    /// Brings whoever is behind up to date (§5).
    fn end_read(&mut self, now: Time, round: u64, effects: &mut Effects<Self>) {
        let Some(Operation { key, homes, task: Task::Read(read), .. }) = self.operations.remove(&round)
        else {
            return;
        };
        let joined = Digest::of(&key, &read.joined);
        let behind = read.told.iter().filter(|(node, digest)| homes.contains(*node) && *digest != joined);
        let behind: NodeSet = behind.map(|(node, _)| *node).collect();
        if behind.is_empty() || !self.config.read_repair || read.joined.context().is_empty() {
            return;
        }
        if behind.contains(self.seat.me) {
            self.counts.repairs += 1;
            self.absorb(now, &key, &read.joined, effects);
        }
        for peer in behind.without(self.seat.me).iter() {
            self.counts.repairs += 1;
            // Early: all of it is durable where it was told. Nobody waits for the answer: what is lost, trees will find.
            let (key, state) = (key.clone(), read.joined.clone());
            self.outbox.early(peer, Step::Store { round, key, state });
        }
    }

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
        let lsn = self.store.get(&key).map_or(qlab_kernel::Lsn::ZERO, |entry| entry.lsn);
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
fn counted(nodes: NodeSet, homes: NodeSet, sloppy: bool) -> usize {
    if sloppy { nodes.len() } else { nodes.iter().filter(|node| homes.contains(*node)).count() }
}

fn write_outcome(operation: &Operation) -> Outcome {
    match &operation.task {
        Task::Learn(write) => write.outcome,
        Task::Read(_) | Task::Store { .. } | Task::Bury { .. } => unreachable!("asked of writes alone"),
    }
}

/// What a client is told of a state.
fn found(state: &State) -> ReplyBody {
    let is_there = state.values().any(|content: &Content| !content.is_deletion());
    ReplyBody::Found { status: if is_there { FOUND } else { ABSENT }, value: envelope::reading(state) }
}
