//! One simulated process: a core, its journal on a disk that forgets, its state machine and its clients' desk.
//!
//! It does what a real host does, in the same order, but in pieces that the world calls when it likes: collect a burst, step and
//! flush it, commit the journal, die.

use std::collections::VecDeque;

use bytes::Bytes;
use qlab_journal::{FaultDisk, Identity, Journal, JournalError, JournalOptions, MemoryDisk};
use qlab_kernel::{
    Commit, Effects, Event, Index, Input, Lsn, NodeId, Outgoing, Protocol, Refused, Reply, Request, Seat,
    SessionId, Ticket, Time, Wire,
};
use qlab_machines::{Application, Command, Locks, Machine as _, MachineKind, answers, kv};

use crate::desk::{ClientNumber, Desk};

/// Small, so that segments are begun, recycled and removed within seconds; large enough for an image of a simulated state.
pub(crate) const SEGMENT_BYTES: u64 = 128 << 10;
/// The ticket of what a replica asks for on its own account: nobody is told of a refusal.
const OWN_TICKET: Ticket = Ticket(u64::MAX);
/// Whose journals these are.
const CLUSTER: u64 = 0x51;

/// A replica that runs.
#[derive(Debug)]
pub(crate) struct Running<P: Protocol> {
    pub(crate) core: P,
    effects: Effects<P>,
    journal: Journal<FaultDisk>,
    application: Application,
    me: NodeId,
    desk: Desk,
    gated: VecDeque<Outgoing<P::Message>>,
    gated_replies: Vec<Reply>,
    /// What the core has been told is durable.
    told: Lsn,
    /// Something waits for the next commit.
    uncommitted: bool,
    /// Images that the core asked for, for its next burst.
    next: Vec<Input<P::Message>>,
}

/// What a burst brought about.
#[derive(Debug)]
pub struct Harvest<P: Protocol> {
    /// Records it added to the journal.
    pub records: Vec<(Lsn, P::Record)>,
    /// Messages that may leave: some wait no longer, others never had to.
    pub released: Vec<Outgoing<P::Message>>,
    /// What the state machine did.
    pub done: Vec<Done>,
    /// What observers were told.
    pub events: Vec<Event>,
    /// Requests handed back.
    pub refused: usize,
    /// Frames for clients.
    pub answers: Vec<(ClientNumber, Bytes)>,
}

impl<P: Protocol> Default for Harvest<P> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            released: Vec::new(),
            done: Vec::new(),
            events: Vec::new(),
            refused: 0,
            answers: Vec::new(),
        }
    }
}

impl<P: Protocol> Harvest<P> {
    /// Empty again; capacity stays.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.released.clear();
        self.done.clear();
        self.events.clear();
        self.refused = 0;
        self.answers.clear();
    }
}

/// One thing the state machine did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It executed an entry.
    Applied {
        /// Which.
        index: Index,
        /// The hash of everything applied up to it.
        hash: [u8; 32],
    },
    /// It answered queries from the state after `index`.
    Queried {
        /// The last entry applied.
        index: Index,
        /// Whose queries, and the first one's number.
        queries: Vec<(SessionId, u64)>,
    },
    /// It made an image.
    Captured {
        /// The last entry in it.
        index: Index,
        /// The hash of its bytes.
        hash: [u8; 32],
    },
    /// It became what an image holds.
    Restored {
        /// The last entry in it.
        index: Index,
        /// The hash of everything applied up to it, as the image says.
        hash: [u8; 32],
    },
}

impl<P: Protocol> Running<P> {
    /// Starts from what the disk holds.
    pub(crate) fn start(
        seat: Seat,
        config: &P::Config,
        machine: MachineKind,
        disk: FaultDisk,
        now: Time,
        harvest: &mut Harvest<P>,
    ) -> Result<Self, JournalError> {
        let (journal, records) = Journal::open(disk, options(seat.me))?;
        let last = journal.durable();
        let mut effects = Effects::new(last);
        let records = records.into_iter().map(|(lsn, bytes)| {
            (lsn, P::Record::decode_all(bytes).expect("what was recovered is what was encoded"))
        });
        let core = P::recover(seat, config, now, records, &mut effects);
        let mut running = Self {
            core,
            effects,
            journal,
            application: Application::new(machine),
            me: seat.me,
            desk: Desk::new(P::EVERY_REPLICA_ANSWERS),
            gated: VecDeque::new(),
            gated_replies: Vec::new(),
            told: last,
            uncommitted: false,
            next: Vec::new(),
        };
        running.carry_out(now, harvest)?;
        Ok(running)
    }

    /// Opens the gate for what has become durable, steps the inputs, flushes, and does what the core wants done. An error is the
    /// journal's, and the end of the process.
    pub(crate) fn burst(
        &mut self,
        now: Time,
        inputs: impl Iterator<Item = Input<P::Message>>,
        tamper: impl FnOnce(&mut Effects<P>),
        harvest: &mut Harvest<P>,
    ) -> Result<(), JournalError> {
        self.catch_up(now, harvest);
        for input in inputs {
            self.take_in(now, input);
        }
        self.propose(now);
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.core.step(now, Input::Timeout, &mut self.effects);
        }
        self.conclude(now, tamper, harvest)
    }

    /// The same, but no timer rings: who wants that says so by an input.
    pub(crate) fn burst_without_timer(
        &mut self,
        now: Time,
        inputs: impl Iterator<Item = Input<P::Message>>,
        tamper: impl FnOnce(&mut Effects<P>),
        harvest: &mut Harvest<P>,
    ) -> Result<(), JournalError> {
        self.catch_up(now, harvest);
        for input in inputs {
            self.take_in(now, input);
        }
        self.conclude(now, tamper, harvest)
    }

    /// Makes everything durable that was persisted so far.
    pub(crate) fn commit(&mut self) -> Result<(), JournalError> {
        self.uncommitted = false;
        self.journal.commit().map(drop)
    }

    /// Whether the journal has something to commit.
    pub(crate) const fn wants_commit(&self) -> bool {
        self.uncommitted
    }

    /// The last record on stable storage, whether the core knows or not.
    pub(crate) const fn durable(&self) -> Lsn {
        self.journal.durable()
    }

    /// Whether there is something to do without any further input.
    pub(crate) fn is_restless(&self) -> bool {
        !self.next.is_empty() || self.journal.durable() > self.told
    }

    /// How far it has applied, and the hash up to there.
    pub(crate) const fn chain(&self) -> qlab_kernel::Chain {
        self.application.chain()
    }

    /// When it has something to do if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let own = self.application.deadline().filter(|_| self.leads());
        self.core.deadline().into_iter().chain(own).min()
    }

    /// The lock service, if that is its machine.
    pub(crate) const fn locks(&self) -> Option<&Locks> {
        self.application.locks()
    }

    /// What the state machine holds under a key.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut query = Vec::new();
        Command::Get { key }.encode(&mut query);
        let value = self.application.kv()?.query(&query);
        (value.status == kv::FOUND).then(|| value.bytes.into_owned())
    }

    /// Steps what has happened since the last burst without anybody's doing: images that were made, records that are durable.
    fn catch_up(&mut self, now: Time, harvest: &mut Harvest<P>) {
        for input in std::mem::take(&mut self.next) {
            self.core.step(now, input, &mut self.effects);
        }
        if self.journal.durable() > self.told {
            self.told = self.journal.durable();
            self.open_gate(harvest);
            self.core.step(now, Input::Durable(self.told), &mut self.effects);
        }
    }

    fn conclude(
        &mut self,
        now: Time,
        tamper: impl FnOnce(&mut Effects<P>),
        harvest: &mut Harvest<P>,
    ) -> Result<(), JournalError> {
        self.core.flush(now, &mut self.effects);
        self.core.check();
        tamper(&mut self.effects);
        self.carry_out(now, harvest)
    }

    fn leads(&self) -> bool {
        self.core.leader() == Some(self.me)
    }

    /// Asks for what the machine needs of whoever leads.
    fn propose(&mut self, now: Time) {
        if self.leads()
            && let Some(batch) = self.application.propose(now)
        {
            let request = Request::Write(batch);
            let input = Input::Request { ticket: OWN_TICKET, request, proof: Bytes::new() };
            self.core.step(now, input, &mut self.effects);
        }
    }

    fn take_in(&mut self, now: Time, input: Input<P::Message>) {
        if let Input::Request { ticket, request: Request::Write(batch) | Request::Read(batch), .. } = &input {
            if !batch.belongs_to(ticket.0 as usize) {
                // As a host does: nobody speaks in another's session.
                return;
            }
            self.desk.note(ticket.0, batch);
        }
        self.core.step(now, input, &mut self.effects);
    }

    fn open_gate(&mut self, harvest: &mut Harvest<P>) {
        while let Some(outgoing) = self.gated.pop_front_if(|outgoing| outgoing.after <= self.told) {
            harvest.released.push(outgoing);
        }
    }

    /// Packs the replies that wait for nothing any more. Those that wait come out with the burst that finds them durable.
    fn answer(&mut self) {
        let told = self.told;
        let released: Vec<Reply> = self.gated_replies.extract_if(.., |reply| reply.after <= told).collect();
        answers::pack(released.into_iter(), &mut self.desk);
    }

    fn carry_out(&mut self, now: Time, harvest: &mut Harvest<P>) -> Result<(), JournalError> {
        self.write(harvest)?;
        for outgoing in self.effects.take_sends() {
            if outgoing.after <= self.told {
                harvest.released.push(outgoing);
            } else {
                self.gated.push_back(outgoing);
            }
        }
        for commit in self.effects.take_commits() {
            let done = execute(&mut self.application, &mut self.desk, now, &mut self.next, commit);
            harvest.done.push(done);
        }
        self.application.conclude(now, &mut self.desk);
        self.gated_replies.extend(self.effects.take_replies());
        self.answer();
        for Refused { ticket, batch, refusal } in self.effects.take_refusals() {
            if ticket == OWN_TICKET {
                continue;
            }
            let Ticket(client) = ticket;
            self.desk.refuse(client, &batch, refusal);
            harvest.refused += 1;
        }
        for event in self.effects.take_events() {
            if let Event::Deposed(_) | Event::ViewEntered(_) = event {
                self.desk.moved(self.core.leader());
            }
            harvest.events.push(event);
        }
        self.desk.take_frames(&mut harvest.answers);
        self.effects.clear();
        Ok(())
    }

    fn write(&mut self, harvest: &mut Harvest<P>) -> Result<(), JournalError> {
        for (lsn, record) in self.effects.records() {
            match self.journal.append(lsn, record) {
                Err(JournalError::Full { .. }) => {
                    self.journal.commit()?;
                    self.journal.append(lsn, record)?;
                }
                other => other?,
            }
            harvest.records.push((lsn, record.clone()));
        }
        // What nobody waits for reaches the disk with what somebody does.
        self.uncommitted |= self.effects.awaited() > self.journal.durable();
        self.journal.release_below(self.effects.needed_from());
        Ok(())
    }
}

fn options(node: NodeId) -> JournalOptions {
    let identity = Identity { cluster: CLUSTER, node };
    JournalOptions { segment_bytes: SEGMENT_BYTES, ..JournalOptions::new(identity) }
}

/// Writes records to an empty disk, as if the replica had run before.
pub(crate) fn furnish<R: Wire>(
    node: NodeId,
    disk: FaultDisk,
    records: &[(Lsn, R)],
) -> Result<(), JournalError> {
    let (mut journal, _) = Journal::open(disk, options(node))?;
    for (lsn, record) in records {
        journal.append(*lsn, record)?;
    }
    journal.commit().map(drop)
}

/// Whether a replica would start from this disk.
pub(crate) fn opens(node: NodeId, image: &MemoryDisk) -> bool {
    Journal::open(image.clone(), options(node)).is_ok()
}

fn execute<M>(
    application: &mut Application,
    desk: &mut Desk,
    now: Time,
    next: &mut Vec<Input<M>>,
    commit: Commit,
) -> Done {
    match commit {
        Commit::Apply { index, batch } => {
            application.apply(index, &batch, desk);
            Done::Applied { index, hash: application.chain().hash }
        }
        Commit::Query { batch, .. } => {
            application.query(&batch, now, desk);
            let queries = batch.bursts().map(|burst| (burst.session, burst.first.0)).collect();
            Done::Queried { index: application.chain().index, queries }
        }
        Commit::Capture => {
            let (index, image) = (application.chain().index, application.capture());
            let hash = blake3::hash(&image).into();
            next.push(Input::Captured { index, image });
            Done::Captured { index, hash }
        }
        Commit::Restore { index, image } => {
            application.restore(index, image).expect("an image that a replica keeps is whole");
            Done::Restored { index, hash: application.chain().hash }
        }
    }
}
