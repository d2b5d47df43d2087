//! The loop: wait for a burst of inputs, step through it, flush once, carry out what the core wants done.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use qlab_journal::{Counters, JournalThread, Pressure};
use qlab_kernel::client::split_request;
use qlab_kernel::limits::BURST_INPUTS_MAX;
use qlab_kernel::{
    Effects, Event, Index, Input, Lsn, Message, NodeId, Outgoing, Protocol, Refusal, Reply, Request, Ticket,
    Time, Wire,
};
use qlab_machines::answers;
use qlab_transport::{Arrival, ClientId, Endpoint, Inbox, LinkControl, LinkRule};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep};

use crate::clients::Clients;
use crate::clock::{self, Oscillator};
use crate::control::{JournalStatus, Order, Report, Status, report};
use crate::observed::Observations;
use crate::state::State;
use crate::usage::usage;

/// What the journal's thread tells the host's.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    lsn: AtomicU64,
    failure: std::sync::Mutex<Option<String>>,
    told: Notify,
}

impl Durability {
    pub(crate) fn durable(&self, lsn: Lsn) {
        self.lsn.store(lsn.0, Ordering::Release);
        self.told.notify_one();
    }

    pub(crate) fn failed(&self, reason: String) {
        *self.failure.lock().expect("nothing panics while it is held") = Some(reason);
        self.told.notify_one();
    }

    fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(Ordering::Acquire))
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().expect("nothing panics while it is held").take()
    }
}

/// The ticket of what a replica asks for on its own account: no connection has this number, and nobody is told of a refusal.
const OWN_TICKET: Ticket = Ticket(u64::MAX);
const JOURNAL_FAILED: &str = "the journal failed, and a replica that cannot write must not speak";

/// A replica with everything around it.
pub(crate) struct Host<P: Protocol> {
    pub(crate) core: P,
    pub(crate) effects: Effects<P>,
    pub(crate) state: State,
    pub(crate) clients: Clients,
    pub(crate) endpoint: Endpoint,
    pub(crate) inbox: Inbox,
    pub(crate) journal: JournalThread,
    pub(crate) journal_counters: Arc<Counters>,
    pub(crate) durability: Arc<Durability>,
    pub(crate) link: Option<LinkControl>,
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Messages that wait for the journal, by the record they wait for.
    pub(crate) gated: VecDeque<Outgoing<P::Message>>,
    /// Replies that do.
    pub(crate) gated_replies: Vec<Reply>,
    pub(crate) durable: Lsn,
    pub(crate) pressure: Pressure,
    pub(crate) counts: Status,
    pub(crate) observations: Observations,
    /// What the core takes for its clock.
    pub(crate) oscillator: Oscillator,
    /// Inputs that came about while the last burst was carried out.
    pub(crate) next: Vec<Input<P::Message>>,
}

impl<P: Protocol> Host<P> {
    /// Runs until it is told to stop, nobody is left to tell it anything, or something fails for good.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut arrivals = Vec::with_capacity(BURST_INPUTS_MAX);
        let mut burst = Vec::with_capacity(BURST_INPUTS_MAX);
        let mut alarm = Box::pin(tokio::time::sleep(Duration::ZERO));
        // What recovery asked for.
        self.carry_out(clock::now())?;
        loop {
            if let Some(order) = self.wait(&mut arrivals, &mut alarm).await {
                if matches!(order, Order::Stop) {
                    return self.stop().await;
                }
                self.obey(order)?;
            }
            // Read after the burst has been received: a lease that holds now covers every read in it.
            let host_now = clock::now();
            let now = self.oscillator.read(host_now);
            self.collect(&mut arrivals, &mut burst, now)?;
            for input in burst.drain(..) {
                self.core.step(now, input, &mut self.effects);
            }
            self.core.flush(now, &mut self.effects);
            self.core.check();
            self.counts.bursts += 1;
            self.carry_out(host_now)?;
            // The streams' tasks live on this thread: let them send what was queued and read what has come.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until there is an input, a deadline or an order, which is the answer.
    async fn wait(&mut self, arrivals: &mut Vec<Arrival>, alarm: &mut Pin<Box<Sleep>>) -> Option<Order> {
        match self.orders.try_recv() {
            Ok(order) => return Some(order),
            // The pipe is closed: nobody is left to measure for.
            Err(TryRecvError::Disconnected) => return Some(Order::Stop),
            Err(TryRecvError::Empty) => {}
        }
        let arrived = self.inbox.try_receive(arrivals, BURST_INPUTS_MAX);
        if arrived > 0 || !self.next.is_empty() || self.durability.lsn() > self.durable {
            return None;
        }
        self.set_alarm(alarm);
        tokio::select! {
            biased;
            () = self.inbox.receive(arrivals, BURST_INPUTS_MAX) => None,
            () = self.durability.told.notified() => None,
            () = alarm.as_mut() => None,
            order = self.orders.recv() => Some(order.unwrap_or(Order::Stop)),
        }
    }

    /// Deadlines mostly move away: an alarm that rings early is cheaper than one that is set anew for every burst.
    fn set_alarm(&self, alarm: &mut Pin<Box<Sleep>>) {
        // Without a deadline, look in once a minute.
        let own = self.state.deadline().filter(|_| self.leads());
        let deadline = self.core.deadline().into_iter().chain(own).min();
        let wait = deadline
            .map_or(Duration::from_secs(60), |deadline| deadline.since(self.oscillator.read(clock::now())));
        let at = Instant::now() + wait;
        if alarm.is_elapsed() || at < alarm.deadline() {
            alarm.as_mut().reset(at);
        }
    }

    fn collect(
        &mut self,
        arrivals: &mut Vec<Arrival>,
        burst: &mut Vec<Input<P::Message>>,
        now: Time,
    ) -> anyhow::Result<()> {
        burst.append(&mut self.next);
        let durable = self.durability.lsn();
        if durable > self.durable {
            self.durable = durable;
            self.open_gate();
            burst.push(Input::Durable(durable));
        }
        if let Some(reason) = self.durability.failure() {
            return Err(anyhow!(reason).context(JOURNAL_FAILED));
        }
        for arrival in arrivals.drain(..) {
            burst.extend(self.take_in(arrival));
        }
        if self.leads()
            && let Some(batch) = self.state.propose(now)
        {
            let request = Request::Write(batch);
            burst.push(Input::Request { ticket: OWN_TICKET, request, proof: Bytes::new() });
        }
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            burst.push(Input::Timeout);
        }
        Ok(())
    }

    fn leads(&self) -> bool {
        self.core.leader() == Some(self.endpoint.node())
    }

    fn take_in(&mut self, arrival: Arrival) -> Option<Input<P::Message>> {
        match arrival {
            Arrival::Peer { from, frame, .. } => match P::Message::decode_all(frame) {
                Ok(message) => return Some(Input::Message { from, message }),
                Err(error) => {
                    tracing::warn!(%from, %error, "a peer sent a frame without meaning");
                    self.endpoint.reject_peer(from);
                }
            },
            Arrival::Client { from, frame } => return self.take_request(from, frame),
            Arrival::ClientUp { client, index } => self.clients.arrive(client, index),
            Arrival::ClientDown(client) => self.clients.leave(client),
            Arrival::PeerUp(node) => tracing::info!(%node, "peer connected"),
            Arrival::PeerDown(node) => tracing::info!(%node, "peer gone"),
        }
        None
    }

    fn take_request(&mut self, from: ClientId, frame: Bytes) -> Option<Input<P::Message>> {
        let (request, proof) = match split_request(frame) {
            Ok(split) => split,
            Err(error) => {
                tracing::warn!(client = from.0, %error, "a client sent a frame without meaning");
                self.endpoint.reject_client(from);
                return None;
            }
        };
        let (Request::Write(batch) | Request::Read(batch)) = &request;
        if !self.clients.owns(from, batch) {
            tracing::warn!(client = from.0, "a client asked in another's session");
            self.endpoint.reject_client(from);
            return None;
        }
        let choked = matches!(request, Request::Write(_)) && self.pressure == Pressure::High;
        if choked || !self.clients.note(from, batch) {
            self.counts.refused += 1;
            self.clients.refuse(from, batch, Refusal::Busy);
            return None;
        }
        Some(Input::Request { ticket: Ticket(from.0), request, proof })
    }

    /// Does what the core wants done; what comes of it is for the next burst.
    fn carry_out(&mut self, now: Time) -> anyhow::Result<()> {
        // Empty, too: what may be let go of travels with it.
        let (records, awaited) = (self.effects.records(), self.effects.awaited());
        let submitted = self.journal.submit(records, self.effects.needed_from(), awaited);
        self.pressure = submitted.context(JOURNAL_FAILED)?;
        for outgoing in self.effects.take_sends() {
            if outgoing.after <= self.durable {
                send::<P>(&self.endpoint, &mut self.counts, outgoing);
            } else {
                self.gated.push_back(outgoing);
            }
        }
        for commit in self.effects.take_commits() {
            let image =
                self.state.execute(commit, &mut self.clients).context("a snapshot cannot be restored")?;
            self.next.extend(image.map(|(index, image)| Input::Captured { index, image }));
        }
        self.state.conclude(&mut self.clients);
        self.gated_replies.extend(self.effects.take_replies());
        self.answer();
        for refused in self.effects.take_refusals() {
            self.counts.refused += 1;
            self.clients.refuse(ClientId(refused.ticket.0), &refused.batch, refused.refusal);
        }
        for event in self.effects.take_events() {
            if self.observations.note(&event, now) {
                continue;
            }
            tracing::info!(?event);
            match event {
                Event::Elected(_) => self.counts.elected += 1,
                Event::Deposed(_) | Event::ViewEntered(_) => self.clients.moved(self.core.leader()),
                Event::Misbehaved(_) => self.counts.misbehaved += 1,
                _ => {}
            }
        }
        self.clients.flush();
        self.effects.clear();
        Ok(())
    }

    fn open_gate(&mut self) {
        while let Some(outgoing) = self.gated.pop_front_if(|outgoing| outgoing.after <= self.durable) {
            send::<P>(&self.endpoint, &mut self.counts, outgoing);
        }
    }

    /// Lets go of the replies that wait for nothing any more; those that never had to wait overtake the others.
    fn answer(&mut self) {
        let durable = self.durable;
        let released: Vec<Reply> =
            self.gated_replies.extract_if(.., |reply| reply.after <= durable).collect();
        self.counts.replies += released.len() as u64;
        answers::pack(released.into_iter(), &mut self.clients);
    }

    fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Status => report(&Report::Status(Box::new(self.status()))),
            Order::Observations => report(&self.observations.take()),
            Order::Yield { to } => self.next.push(Input::Yield { to: to.map(NodeId) }),
            Order::SyncDelay { ms } => self.journal.set_sync_delay(Duration::from_millis(ms)),
            Order::Link { delay_ms, jitter_ms, loss } => {
                let (delay, jitter) = (Duration::from_millis(delay_ms), Duration::from_millis(jitter_ms));
                self.link()?.set(LinkRule { delay, jitter, loss, ..LinkRule::default() });
            }
            Order::Partition { from } => {
                let link = self.link()?;
                link.heal();
                for address in from {
                    link.block_to(address);
                    link.block_from(address);
                }
            }
            Order::Start { .. } | Order::Stop => {}
        }
        Ok(())
    }

    fn link(&self) -> anyhow::Result<&LinkControl> {
        self.link
            .as_ref()
            .context("this replica was started without emulated_link: its link cannot be disturbed")
    }

    fn status(&self) -> Status {
        let (chain, usage, now) = (self.state.chain(), usage(), clock::now());
        Status {
            node: self.endpoint.node().0,
            at_ns: now.0,
            leader: self.core.leader().map(|node| node.0),
            applied_index: chain.index.0,
            chain: (chain.index > Index::ZERO)
                .then(|| chain.hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            cpu_us: usage.cpu_us,
            memory_peak_kib: usage.memory_peak_kib,
            commands: self.state.commands,
            entries: self.state.entries,
            queries: self.state.queries,
            images: self.state.images,
            journal: journal_status(&self.journal_counters),
            transport: self.endpoint.counts(),
            counters: self
                .core
                .counters(self.oscillator.read(now))
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            ..self.counts.clone()
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.journal.shutdown();
        self.endpoint.close().await;
        Ok(())
    }
}

fn send<P: Protocol>(endpoint: &Endpoint, counts: &mut Status, outgoing: Outgoing<P::Message>) {
    counts.messages += 1;
    // A peer that cannot be reached is told again when it matters: protocols expect loss.
    let _ = endpoint.send(outgoing.to, outgoing.message.lane(), |sink| outgoing.message.encode(sink));
}

fn journal_status(counters: &Counters) -> JournalStatus {
    JournalStatus {
        commits: counters.commits.load(Ordering::Relaxed),
        syncs: counters.syncs.load(Ordering::Relaxed),
        records: counters.records.load(Ordering::Relaxed),
        bytes: counters.bytes.load(Ordering::Relaxed),
        commit_ns_total: counters.commit_ns_total.load(Ordering::Relaxed),
        commit_ns_max: counters.commit_ns_max.load(Ordering::Relaxed),
    }
}
