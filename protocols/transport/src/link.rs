//! The emulated link: delay, jitter, loss, duplication, reordering, bandwidth and partitions at the UDP socket, under QUIC,
//! so that QUIC's own timers, windows and retransmissions are part of what is measured.
//!
//! What leaves a socket is emulated there; what arrives is only ever blocked. A segmented transmit is several datagrams, and
//! each has its own fate. Datagrams that must wait are copied into a heap and sent later by a task, in whole milliseconds:
//! the resolution of the runtime's timer. A rule without effect passes transmits through as they are.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Bytes on their way through one socket's emulated links; what exceeds them is lost, as in a router.
pub const LINK_BYTES_MAX: usize = 16 << 20;

/// What happens to datagrams in one direction. The default lets them pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkRule {
    /// How long each takes.
    pub delay: Duration,
    /// How much longer at most, drawn evenly for each: what makes datagrams overtake each other.
    pub jitter: Duration,
    /// Probability of vanishing, 0 to 1.
    pub loss: f64,
    /// Probability of arriving twice, 0 to 1.
    pub duplication: f64,
    /// Bytes that pass per second, one after the other; `None` for no limit.
    pub bytes_per_second: Option<u64>,
}

/// What has happened to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Lost by chance.
    pub lost: u64,
    /// Sent twice by chance.
    pub duplicated: u64,
    /// Lost as too many bytes were on their way.
    pub overflowed: u64,
    /// Transmits and receipts suppressed by a partition.
    pub blocked: u64,
}

/// The handle by which links are changed while they are in use. Clones control the same links.
#[derive(Clone, Debug)]
pub struct LinkControl {
    shared: Arc<Control>,
}

#[derive(Debug)]
struct Control {
    /// Whether any rule or block is set: the one thing looked at when none is.
    active: AtomicBool,
    rules: Mutex<Rules>,
}

#[derive(Debug)]
struct Rules {
    otherwise: LinkRule,
    towards: HashMap<SocketAddr, LinkRule>,
    blocked_to: HashSet<SocketAddr>,
    blocked_from: HashSet<SocketAddr>,
    chance: Pcg64Mcg,
    counts: LinkCounts,
}

impl LinkControl {
    /// Links that let everything pass; their chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let rules = Rules {
            otherwise: LinkRule::default(),
            towards: HashMap::new(),
            blocked_to: HashSet::new(),
            blocked_from: HashSet::new(),
            chance: Pcg64Mcg::new(seed.into()),
            counts: LinkCounts::default(),
        };
        Self { shared: Arc::new(Control { active: AtomicBool::new(false), rules: Mutex::new(rules) }) }
    }

    /// The rule towards every address that has none of its own.
    pub fn set(&self, rule: LinkRule) {
        self.change(|rules| rules.otherwise = rule);
    }

    /// The rule towards one address.
    pub fn set_towards(&self, remote: SocketAddr, rule: LinkRule) {
        self.change(|rules| _ = rules.towards.insert(remote, rule));
    }

    /// Lets nothing through to `remote`.
    pub fn block_to(&self, remote: SocketAddr) {
        self.change(|rules| _ = rules.blocked_to.insert(remote));
    }

    /// Lets nothing in from `remote`.
    pub fn block_from(&self, remote: SocketAddr) {
        self.change(|rules| _ = rules.blocked_from.insert(remote));
    }

    /// Ends all partitions. Rules stay.
    pub fn heal(&self) {
        self.change(|rules| {
            rules.blocked_to.clear();
            rules.blocked_from.clear();
        });
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> LinkCounts {
        self.rules().counts
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.rules();
        change(&mut rules);
        self.shared.active.store(rules.have_effect(), Relaxed);
    }

    fn is_active(&self) -> bool {
        self.shared.active.load(Relaxed)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        // Nothing panics while it is held.
        self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn have_effect(&self) -> bool {
        let blocks = !self.blocked_to.is_empty() || !self.blocked_from.is_empty();
        let mut rules = self.towards.values().chain([&self.otherwise]);
        blocks || rules.any(|rule| *rule != LinkRule::default())
    }

    fn towards(&self, remote: SocketAddr) -> LinkRule {
        self.towards.get(&remote).copied().unwrap_or(self.otherwise)
    }

    /// How often a datagram arrives: 0, 1 or 2 times.
    fn copies(&mut self, rule: &LinkRule) -> usize {
        if self.chance.random::<f64>() < rule.loss {
            self.counts.lost += 1;
            return 0;
        }
        let twice = self.chance.random::<f64>() < rule.duplication;
        self.counts.duplicated += u64::from(twice);
        1 + usize::from(twice)
    }

    fn travel_time(&mut self, rule: &LinkRule) -> Duration {
        rule.delay + rule.jitter.mul_f64(self.chance.random::<f64>())
    }
}

/// A socket whose datagrams obey a [`LinkControl`].
#[derive(Debug)]
pub(crate) struct EmulatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    control: LinkControl,
    air: Arc<Air>,
}

/// Datagrams on their way.
#[derive(Debug, Default)]
struct Air {
    held: Mutex<Held>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    heap: BinaryHeap<Reverse<Datagram>>,
    bytes: usize,
    sequence: u64,
    /// When each link with a bandwidth has put everything so far on the wire.
    free_at: HashMap<SocketAddr, Instant>,
    closed: bool,
}

/// Ordered by when it is due, then by when it was sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    sequence: u64,
    destination: SocketAddr,
    ecn: Option<u8>,
    contents: Vec<u8>,
}

impl EmulatedSocket {
    /// Must be called within a tokio runtime, which then carries the datagrams.
    pub(crate) fn wrap(inner: Arc<dyn AsyncUdpSocket>, control: LinkControl) -> Arc<Self> {
        let air = Arc::new(Air::default());
        tokio::spawn(carry(Arc::clone(&inner), Arc::clone(&air)));
        Arc::new(Self { inner, control, air })
    }

    fn send_by_rule(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut rules = self.control.rules();
        if rules.blocked_to.contains(&transmit.destination) {
            rules.counts.blocked += 1;
            return Ok(());
        }
        let rule = rules.towards(transmit.destination);
        if rule == LinkRule::default() {
            drop(rules);
            return self.inner.try_send(transmit);
        }
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let mut held = self.air.lock();
        for contents in transmit.contents.chunks(segment) {
            for _ in 0..rules.copies(&rule) {
                let travel = rules.travel_time(&rule);
                let kept = held.launch(transmit, contents, travel, rule.bytes_per_second);
                rules.counts.overflowed += u64::from(!kept);
            }
        }
        drop(held);
        self.air.changed.notify_one();
        Ok(())
    }
}

impl AsyncUdpSocket for EmulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.control.is_active() { self.send_by_rule(transmit) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(cx, buffers, metas))?;
        if self.control.is_active() {
            let mut rules = self.control.rules();
            for meta in &mut metas[..count] {
                if rules.blocked_from.contains(&meta.addr) {
                    rules.counts.blocked += 1;
                    // quinn takes an empty buffer for no datagram.
                    meta.len = 0;
                }
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl Drop for EmulatedSocket {
    fn drop(&mut self) {
        self.air.lock().closed = true;
        self.air.changed.notify_one();
    }
}

impl Air {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Sends a datagram off; false if there is no room left.
    fn launch(
        &mut self,
        transmit: &Transmit<'_>,
        contents: &[u8],
        travel: Duration,
        bytes_per_second: Option<u64>,
    ) -> bool {
        if self.bytes + contents.len() > LINK_BYTES_MAX {
            return false;
        }
        let on_the_wire = self.transmitted(transmit.destination, contents.len(), bytes_per_second);
        self.bytes += contents.len();
        self.sequence += 1;
        self.heap.push(Reverse(Datagram {
            due: on_the_wire + travel,
            sequence: self.sequence,
            destination: transmit.destination,
            ecn: transmit.ecn.map(|codepoint| codepoint as u8),
            contents: contents.to_vec(),
        }));
        true
    }

    /// When the last bit has left, on a wire that carries one datagram at a time.
    fn transmitted(&mut self, to: SocketAddr, bytes: usize, bytes_per_second: Option<u64>) -> Instant {
        let now = Instant::now();
        let Some(rate) = bytes_per_second else { return now };
        let free_at = self.free_at.entry(to).or_insert(now);
        *free_at = now.max(*free_at) + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *free_at
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|datagram| datagram.0.due)
    }

    fn land(&mut self, now: Instant) -> Option<Datagram> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(datagram) = self.heap.pop()?;
        self.bytes -= datagram.contents.len();
        Some(datagram)
    }
}

/// Sends datagrams when they are due, until the socket is dropped.
async fn carry(socket: Arc<dyn AsyncUdpSocket>, air: Arc<Air>) {
    let mut poller = Arc::clone(&socket).create_io_poller();
    while !air.lock().closed {
        while let Some(datagram) = {
            let mut held = air.lock();
            held.land(Instant::now())
        } {
            send(&*socket, poller.as_mut(), &datagram).await;
        }
        let due = air.lock().next_due();
        match due {
            None => air.changed.notified().await,
            Some(due) => tokio::select! {
                () = sleep_until(due) => {}
                () = air.changed.notified() => {}
            },
        }
    }
}

/// A datagram that the system refuses is lost: that, too, is what networks do.
async fn send(socket: &dyn AsyncUdpSocket, mut poller: Pin<&mut dyn UdpPoller>, datagram: &Datagram) {
    let transmit = Transmit {
        destination: datagram.destination,
        ecn: datagram.ecn.and_then(EcnCodepoint::from_bits),
        contents: &datagram.contents,
        segment_size: None,
        src_ip: None,
    };
    while let Err(error) = socket.try_send(&transmit) {
        let waited = poll_fn(|cx| poller.as_mut().poll_writable(cx));
        if error.kind() != io::ErrorKind::WouldBlock || waited.await.is_err() {
            return;
        }
    }
}
