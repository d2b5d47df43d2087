//! What has arrived, for the one loop that a host runs: bursts, not frames, change hands.
//!
//! Peers and clients have a queue and a limit each, so that a flood of requests holds up no heartbeat. A full queue stops
//! the readers behind it; then QUIC's flow control stops their senders.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use qlab_kernel::{Lane, NodeId};
use tokio::sync::Notify;

/// A client's connection: never the same number twice while an endpoint lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// One thing that the network has for the host. Whoever is named was proven by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A replica can be sent to from now on.
    PeerUp(NodeId),
    /// A replica's connection is gone. It is being redialled.
    PeerDown(NodeId),
    /// A frame from a replica; each lane keeps its order, but that of datagrams.
    Peer {
        /// From whom.
        from: NodeId,
        /// On which lane.
        lane: Lane,
        /// The frame.
        frame: Bytes,
    },
    /// A client has connected.
    ClientUp {
        /// The name of its connection.
        client: ClientId,
        /// Its place in the roster's list of clients.
        index: usize,
    },
    /// A client's connection is gone. Nothing follows from it.
    ClientDown(ClientId),
    /// A frame from a client, in order.
    Client {
        /// From whom.
        from: ClientId,
        /// The frame.
        frame: Bytes,
    },
}

/// The host's end: there is one per endpoint.
#[derive(Debug)]
pub struct Inbox {
    arrivals: Arc<Arrivals>,
}

impl Inbox {
    pub(crate) fn new(arrivals: Arc<Arrivals>) -> Self {
        Self { arrivals }
    }

    /// Waits until something has arrived, then appends up to `max` arrivals to `burst`: half of the room for each of peers
    /// and clients, and whatever one leaves for the other. Cancel safe.
    pub async fn receive(&mut self, burst: &mut Vec<Arrival>, max: usize) {
        while self.try_receive(burst, max) == 0 {
            self.arrivals.filled.notified().await;
        }
    }

    /// The same without waiting; the number of arrivals appended.
    pub fn try_receive(&mut self, burst: &mut Vec<Arrival>, max: usize) -> usize {
        let before = burst.len();
        let mut queues = self.arrivals.lock();
        let clients = queues.clients.arrivals.len().min(max / 2);
        let (mut room, from_peers) = (false, max - clients);
        room |= queues.peers.take(burst, from_peers);
        let left = max - (burst.len() - before);
        room |= queues.clients.take(burst, left);
        drop(queues);
        if room {
            self.arrivals.emptied.notify_waiters();
        }
        burst.len() - before
    }
}

/// The readers' end.
#[derive(Debug)]
pub(crate) struct Arrivals {
    queues: Mutex<Queues>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct Queues {
    peers: Queue,
    clients: Queue,
}

#[derive(Debug)]
struct Queue {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    limit_bytes: usize,
}

/// Which queue, and with it which limit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Peer,
    Client,
}

impl Arrivals {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let queue = || Queue { arrivals: VecDeque::new(), bytes: 0, limit_bytes };
        let queues = Mutex::new(Queues { peers: queue(), clients: queue() });
        Self { queues, filled: Notify::new(), emptied: Notify::new() }
    }

    /// Hands news over at once: there are never more than a few per connection.
    pub(crate) fn announce(&self, source: Source, news: Arrival) {
        self.lock().of(source).push(news);
        self.filled.notify_one();
    }

    /// Waits for room; then a burst may be delivered, which may exceed the limit by itself.
    pub(crate) async fn room(&self, source: Source) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if !self.lock().of(source).is_full() {
                return;
            }
            emptied.await;
        }
    }

    /// Hands a burst over.
    pub(crate) fn deliver(&self, source: Source, burst: impl Iterator<Item = Arrival>) {
        let mut queues = self.lock();
        let was_empty = queues.peers.arrivals.is_empty() && queues.clients.arrivals.is_empty();
        let queue = queues.of(source);
        burst.for_each(|arrival| queue.push(arrival));
        drop(queues);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing panics while it is held.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn of(&mut self, source: Source) -> &mut Queue {
        match source {
            Source::Peer => &mut self.peers,
            Source::Client => &mut self.clients,
        }
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.bytes >= self.limit_bytes
    }

    fn push(&mut self, arrival: Arrival) {
        self.bytes += footprint_bytes(&arrival);
        self.arrivals.push_back(arrival);
    }

    /// Moves up to `max` arrivals out; true if that made room in a full queue.
    fn take(&mut self, burst: &mut Vec<Arrival>, max: usize) -> bool {
        let was_full = self.is_full();
        let taken = self.arrivals.len().min(max);
        for arrival in self.arrivals.drain(..taken) {
            self.bytes -= footprint_bytes(&arrival);
            burst.push(arrival);
        }
        was_full && !self.is_full()
    }
}

/// What an arrival occupies: empty frames must count, too.
fn footprint_bytes(arrival: &Arrival) -> usize {
    let payload = match arrival {
        Arrival::Peer { frame, .. } | Arrival::Client { frame, .. } => frame.len(),
        _ => 0,
    };
    size_of::<Arrival>() + payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_client(number: u64) -> Arrival {
        Arrival::Client { from: ClientId(number), frame: Bytes::from_static(&[0; 100]) }
    }

    fn from_peer(number: u16) -> Arrival {
        Arrival::Peer { from: NodeId(number), lane: Lane::Control, frame: Bytes::new() }
    }

    #[test]
    fn a_flood_of_clients_leaves_room_for_peers_and_the_other_way_round() {
        let arrivals = Arc::new(Arrivals::new(1 << 20));
        let mut inbox = Inbox::new(Arc::clone(&arrivals));
        arrivals.deliver(Source::Client, (0..100).map(from_client));
        arrivals.deliver(Source::Peer, (0..3).map(from_peer));
        let mut burst = Vec::new();
        assert_eq!(inbox.try_receive(&mut burst, 10), 10);
        assert_eq!(burst[..4], [from_peer(0), from_peer(1), from_peer(2), from_client(0)]);
        arrivals.deliver(Source::Peer, (0..100).map(from_peer));
        burst.clear();
        inbox.try_receive(&mut burst, 10);
        assert_eq!(burst.iter().filter(|arrival| matches!(arrival, Arrival::Client { .. })).count(), 5);
    }

    #[tokio::test]
    async fn a_full_queue_holds_its_readers_back_until_the_host_has_taken_something() {
        let arrivals = Arc::new(Arrivals::new(150));
        let mut inbox = Inbox::new(Arc::clone(&arrivals));
        arrivals.deliver(Source::Client, (0..2).map(from_client));
        let blocked =
            tokio::time::timeout(std::time::Duration::from_millis(5), arrivals.room(Source::Client));
        assert!(blocked.await.is_err(), "the clients' queue is full");
        arrivals.room(Source::Peer).await;
        let waiting = {
            let arrivals = Arc::clone(&arrivals);
            tokio::spawn(async move { arrivals.room(Source::Client).await })
        };
        tokio::task::yield_now().await;
        assert_eq!(inbox.try_receive(&mut Vec::new(), 10), 2);
        waiting.await.unwrap();
    }
}
