//! Requests that are known and not executed: first come, first served for each client, and all clients in turn.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use qlab_kernel::Time;

use crate::config::Config;
use crate::keys::Digest;
use crate::request::{ClientRequest, REQUESTS_MAX};

/// Executed requests that are remembered at the most.
const DONE_MAX: usize = 1 << 16;

/// What became of a request that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It waits now.
    New,
    /// It waited already.
    Known,
    /// There is no room for it, or for more of its client.
    Full,
}

/// Bounded by bytes, for each client and in all.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    known: BTreeMap<Digest, Known>,
    /// What is to be proposed, by client.
    queues: BTreeMap<u16, VecDeque<Digest>>,
    client_bytes: BTreeMap<u16, usize>,
    bytes: usize,
    /// Whose turn was last.
    turn: u16,
    /// Oldest first; what is executed is skipped.
    arrivals: VecDeque<(Time, Digest)>,
    /// What was executed not long ago, oldest first: what others say of it late is no news.
    done: VecDeque<(Time, Digest)>,
    done_at: BTreeMap<Digest, Time>,
}

#[derive(Debug)]
struct Known {
    request: ClientRequest,
    at: Time,
    /// Whether it is in its client's queue, and not in a proposal.
    queued: bool,
}

impl Backlog {
    pub(crate) fn add(&mut self, now: Time, request: ClientRequest, config: &Config) -> Added {
        if self.known.contains_key(request.digest()) {
            return Added::Known;
        }
        let bytes = request.len();
        let of_client = self.client_bytes.entry(request.client()).or_default();
        if self.bytes + bytes > config.intake_bytes_max || *of_client + bytes > config.client_bytes_max {
            return Added::Full;
        }
        *of_client += bytes;
        self.bytes += bytes;
        self.arrivals.push_back((now, *request.digest()));
        self.queues.entry(request.client()).or_default().push_back(*request.digest());
        self.known.insert(*request.digest(), Known { request, at: now, queued: true });
        Added::New
    }

    /// It was executed.
    pub(crate) fn finish(&mut self, now: Time, digest: &Digest) {
        self.remove(digest);
        self.done.push_back((now, *digest));
        self.done_at.insert(*digest, now);
        while self.done.len() > DONE_MAX
            && let Some((at, oldest)) = self.done.pop_front()
        {
            if self.done_at.get(&oldest) == Some(&at) {
                self.done_at.remove(&oldest);
            }
        }
    }

    /// Whether it was executed so short a time ago that nobody need do it again.
    pub(crate) fn is_done(&self, now: Time, digest: &Digest, memory: Duration) -> bool {
        self.done_at.get(digest).is_some_and(|at| now < *at + memory)
    }

    /// Everything was executed elsewhere, or its clients will ask again.
    pub(crate) fn forget_all(&mut self) {
        *self = Self { turn: self.turn, ..Self::default() };
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&ClientRequest> {
        self.known.get(digest).map(|known| &known.request)
    }

    /// Whether anything waits to be proposed.
    pub(crate) fn is_idle(&self) -> bool {
        self.queues.is_empty()
    }

    /// The next entry's requests, one of each client in turn: as many as fit into `bytes_max`, at least one.
    pub(crate) fn take(&mut self, bytes_max: usize) -> Vec<ClientRequest> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < REQUESTS_MAX
            && let Some((client, digest)) = self.front()
        {
            let known = self.known.get_mut(&digest).expect("what is queued is known");
            if !taken.is_empty() && bytes + known.request.len() > bytes_max {
                break;
            }
            bytes += known.request.len();
            known.queued = false;
            taken.push(known.request.clone());
            self.turn = client;
            self.drop_front(client);
        }
        taken
    }

    /// The next client's oldest request.
    fn front(&self) -> Option<(u16, Digest)> {
        let after = self.turn.checked_add(1).and_then(|next| self.queues.range(next..).next());
        let (client, queue) = after.or_else(|| self.queues.iter().next())?;
        Some((*client, *queue.front().expect("empty queues are dropped")))
    }

    fn drop_front(&mut self, client: u16) {
        if let Some(queue) = self.queues.get_mut(&client) {
            queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&client);
            }
        }
    }

    /// It is in an entry already.
    pub(crate) fn proposed(&mut self, digest: &Digest) {
        let Some(known) = self.known.get_mut(digest).filter(|known| known.queued) else { return };
        known.queued = false;
        let client = known.request.client();
        if let Some(queue) = self.queues.get_mut(&client) {
            queue.retain(|waiting| waiting != digest);
            if queue.is_empty() {
                self.queues.remove(&client);
            }
        }
    }

    /// It was executed, or is not to be.
    pub(crate) fn remove(&mut self, digest: &Digest) {
        self.proposed(digest);
        let Some(Known { request, .. }) = self.known.remove(digest) else { return };
        let client = request.client();
        self.bytes -= request.len();
        if let Some(bytes) = self.client_bytes.get_mut(&client) {
            *bytes -= request.len();
            if *bytes == 0 {
                self.client_bytes.remove(&client);
            }
        }
        let known = &self.known;
        while self
            .arrivals
            .pop_front_if(|(at, digest)| known.get(digest).is_none_or(|k| k.at != *at))
            .is_some()
        {}
    }

    /// Gives up what waits to be proposed of these clients; what that is, each client's oldest first.
    pub(crate) fn withdraw(&mut self, of: impl Fn(u16) -> bool) -> Vec<ClientRequest> {
        let queues = self.queues.iter().filter(|(client, _)| of(**client));
        let digests: Vec<Digest> = queues.flat_map(|(_, queue)| queue).copied().collect();
        let requests = digests.iter().filter_map(|digest| self.get(digest).cloned()).collect();
        digests.iter().for_each(|digest| self.remove(digest));
        requests
    }

    /// What came so long ago that it should be executed by now, oldest first.
    pub(crate) fn waiting_since(&self, now: Time, waits: Duration) -> impl Iterator<Item = &ClientRequest> {
        let arrived = self.arrivals.iter().take_while(move |(at, _)| *at + waits <= now);
        let known = arrived.filter_map(|(at, digest)| self.known.get(digest).filter(|known| known.at == *at));
        known.map(|known| &known.request)
    }

    /// When the oldest of all came.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.arrivals.front().map(|(at, _)| *at)
    }

    /// What was proposed counts no more: everything waits again, in order of arrival.
    pub(crate) fn requeue(&mut self) {
        self.queues.clear();
        for (at, digest) in &self.arrivals {
            if let Some(known) = self.known.get_mut(digest).filter(|known| known.at == *at) {
                known.queued = true;
                self.queues.entry(known.request.client()).or_default().push_back(*digest);
            }
        }
    }

    /// Keeps the oldest requests that fit into `bytes_max` and forgets the others; what is kept.
    pub(crate) fn keep_oldest(&mut self, bytes_max: usize) -> Vec<ClientRequest> {
        let (mut kept, mut gone, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (at, digest) in &self.arrivals {
            let Some(known) = self.known.get(digest).filter(|known| known.at == *at) else { continue };
            bytes += known.request.len();
            if bytes <= bytes_max {
                kept.push(known.request.clone());
            } else {
                gone.push(*digest);
            }
        }
        gone.iter().for_each(|digest| self.remove(digest));
        kept
    }

    pub(crate) fn check(&self) {
        let queued: usize = self.queues.values().map(VecDeque::len).sum();
        assert!(queued <= self.known.len(), "{queued} requests wait of {} known", self.known.len());
        assert!(self.arrivals.len() >= self.known.len(), "a request is known that never came");
        assert_eq!(self.bytes, self.client_bytes.values().sum::<usize>(), "bytes are counted twice");
    }
}
