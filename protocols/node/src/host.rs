//! The loop: wait for a burst of inputs, step through it, flush once, carry out what the core wants done.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use qlab_journal::{Counters, JournalThread, Pressure};
use qlab_kernel::limits::BURST_INPUTS_MAX;
use qlab_kernel::{
    Effects, Event, Input, Lsn, Message, NodeId, Outgoing, Protocol, Refusal, Request, Ticket, Time, Wire,
};
use qlab_transport::{Arrival, ClientId, Endpoint, Inbox, LinkControl, LinkRule};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep};

use crate::clients::Clients;
use crate::clock;
use crate::control::{JournalStatus, Order, Report, Status};
use crate::process::{report, usage};
use crate::state::State;

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
    pub(crate) durable: Lsn,
    pub(crate) pressure: Pressure,
    pub(crate) counts: Status,
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
        self.carry_out()?;
        loop {
            self.wait(&mut arrivals, &mut alarm).await;
            // Read after the burst has been received: a lease that holds now covers every read in it.
            let now = clock::now();
            self.collect(&mut arrivals, &mut burst, now)?;
            for input in burst.drain(..) {
                self.core.step(now, input, &mut self.effects);
            }
            self.core.flush(now, &mut self.effects);
            self.core.check();
            self.counts.bursts += 1;
            self.carry_out()?;
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order, Order::Stop) {
                    return self.stop().await;
                }
                self.obey(order)?;
            }
            // The streams' tasks live on this thread: let them send what was queued and read what has come.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until there is an input, a deadline or an order.
    async fn wait(&mut self, arrivals: &mut Vec<Arrival>, alarm: &mut Pin<Box<Sleep>>) {
        if !self.next.is_empty() || self.inbox.try_receive(arrivals, BURST_INPUTS_MAX) > 0 {
            return;
        }
        if self.durability.lsn() > self.durable {
            return;
        }
        self.set_alarm(alarm);
        tokio::select! {
            biased;
            () = self.inbox.receive(arrivals, BURST_INPUTS_MAX) => {}
            () = self.durability.told.notified() => {}
            () = alarm.as_mut() => {}
            order = self.orders.recv() => {
                // The pipe is closed: nobody is left to measure for.
                self.next_order(order.unwrap_or(Order::Stop));
            }
        }
    }

    /// Deadlines mostly move away: an alarm that rings early is cheaper than one that is set anew for every burst.
    fn set_alarm(&self, alarm: &mut Pin<Box<Sleep>>) {
        let Some(deadline) = self.core.deadline() else { return };
        let at = Instant::now() + deadline.since(clock::now());
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
            return Err(anyhow!(reason).context("the journal failed"));
        }
        for arrival in arrivals.drain(..) {
            burst.extend(self.take_in(arrival));
        }
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            burst.push(Input::Timeout);
        }
        Ok(())
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
            Arrival::ClientUp { client, .. } => self.clients.arrive(client),
            Arrival::ClientDown(client) => self.clients.leave(client),
            Arrival::PeerUp(node) => tracing::info!(%node, "peer connected"),
            Arrival::PeerDown(node) => tracing::info!(%node, "peer gone"),
        }
        None
    }

    fn take_request(&mut self, from: ClientId, frame: Bytes) -> Option<Input<P::Message>> {
        let request = match Request::decode_all(frame) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(client = from.0, %error, "a client sent a frame without meaning");
                self.endpoint.reject_client(from);
                return None;
            }
        };
        let (Request::Write(batch) | Request::Read(batch)) = &request;
        if matches!(request, Request::Write(_)) && self.pressure == Pressure::High {
            self.counts.refused += 1;
            self.clients.refuse(from, batch, Refusal::Busy);
            return None;
        }
        self.clients.note(from, batch);
        Some(Input::Request { ticket: Ticket(from.0), request })
    }

    /// Does what the core wants done; anything that comes of it is an input of the next burst.
    fn carry_out(&mut self) -> anyhow::Result<()> {
        if self.effects.records().len() > 0 {
            let (records, needed_from) = (self.effects.records(), self.effects.needed_from());
            self.pressure = self.journal.submit(records, needed_from).context("the journal failed")?;
        } else {
            self.pressure = self.journal.pressure();
        }
        let durable = self.durability.lsn();
        let mut sends = std::mem::take(&mut self.gated);
        for outgoing in self.effects.take_sends() {
            if outgoing.after <= self.durable {
                send::<P>(&self.endpoint, &mut self.counts, outgoing);
            } else {
                sends.push_back(outgoing);
            }
        }
        self.gated = sends;
        let commits: Vec<_> = self.effects.take_commits().collect();
        for commit in commits {
            let image = self.state.execute(commit, &mut self.clients).context("a snapshot cannot be restored")?;
            self.next.extend(image.map(|(index, image)| Input::Captured { index, image }));
        }
        for refused in self.effects.take_refusals() {
            self.counts.refused += 1;
            self.clients.refuse(ClientId(refused.ticket.0), &refused.batch, refused.refusal);
        }
        for event in self.effects.take_events() {
            observe(event, &mut self.counts, &mut self.clients, self.core.leader());
        }
        self.clients.flush();
        self.effects.clear();
        debug_assert!(durable >= self.durable);
        Ok(())
    }

    fn open_gate(&mut self) {
        while let Some(outgoing) = self.gated.pop_front_if(|outgoing| outgoing.after <= self.durable) {
            send::<P>(&self.endpoint, &mut self.counts, outgoing);
        }
    }

    fn next_order(&mut self, order: Order) {
        self.counts.bursts += 0;
        let _ = order;
    }

    fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Status => report(&Report::Status(Box::new(self.status()))),
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
        self.link.as_ref().context("this replica was started without emulated_link: its link cannot be disturbed")
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.journal.shutdown();
        self.endpoint.close().await;
        Ok(())
    }
}
