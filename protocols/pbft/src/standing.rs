//! Whose requests are believed: clients' proofs, and what others say of those that show nothing here.
//!
//! A client that shares a key with each replica can convince some and not others (Clement et al., "Making Byzantine Fault Tolerant
//! Systems Tolerate Byzantine Faults", NSDI '09: the "big MAC" attack). Here f + 1 replicas that are convinced convince the rest.
//! Where there are fewer, an entry stalls, and the view changes; but everybody to whom such a client showed nothing remembers it,
//! as does the primary, whom f + 1 others tell. As primaries they propose for it only what f + 1 others vouch for before: it costs
//! one view for each primary at most, and none after that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use qlab_kernel::{Effects, NodeId, NodeSet, Refusal, Request, Ticket, Time};

use crate::Pbft;
use crate::intake::Added;
use crate::keys::{Authentication, Claim, Digest, SIGNATURE_BYTES, Signature, Signer};
use crate::message::Message;
use crate::request::{ClientRequest, Requests};

/// Requests that others' opinions are collected about; the oldest make room.
const OPINIONS_MAX: usize = 1024;
/// Bytes of those that only opinions can bring in.
const OPINION_BYTES_MAX: usize = 16 << 20;
/// Bytes of requests that a backup tells a new primary of; clients ask again for the rest.
const HAND_OVER_BYTES: usize = 1 << 20;

/// What is thought of clients and of single requests.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Clients whose proofs convinced one replica and not another.
    bad: BTreeSet<u16>,
    opinions: BTreeMap<Digest, Opinion>,
    order: VecDeque<Digest>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Opinion {
    /// What is proposed once enough vouch for it, if it is not in the backlog.
    request: Option<ClientRequest>,
    vouchers: NodeSet,
    doubters: NodeSet,
}

impl Standing {
    fn about(&mut self, digest: Digest, request: Option<ClientRequest>) -> &mut Opinion {
        if !self.opinions.contains_key(&digest) {
            self.order.push_back(digest);
        }
        let opinion = self.opinions.entry(digest).or_default();
        if opinion.request.is_none() && request.is_some() {
            self.bytes += request.as_ref().map_or(0, ClientRequest::len);
            opinion.request = request;
        }
        while self.opinions.len() > OPINIONS_MAX || self.bytes > OPINION_BYTES_MAX && self.order.len() > 1 {
            self.forget_oldest();
        }
        self.opinions.entry(digest).or_default()
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front().and_then(|digest| self.opinions.remove(&digest));
        self.bytes -= oldest.and_then(|opinion| opinion.request).map_or(0, |request| request.len());
    }

    fn is_bad(&self, client: u16) -> bool {
        self.bad.contains(&client)
    }
}

impl Pbft {
    /// Whether this client's requests are proposed only after others vouched for them.
    #[must_use]
    pub fn is_in_bad_standing(&self, client: u16) -> bool {
        self.standing.is_bad(client)
    }

    pub(crate) fn on_request(
        &mut self,
        now: Time,
        ticket: Ticket,
        request: Request,
        proof: Bytes,
        effects: &mut Effects<Self>,
    ) {
        let (Request::Write(batch) | Request::Read(batch)) = request.clone();
        let request = ClientRequest::new(request, proof);
        // Whose proof shows nothing gets no answer: who asks is not known.
        let Some(request) = request.filter(|request| self.is_proved(request)) else { return };
        if self.is_primary() {
            if self.take_as_primary(now, request, None, effects) == Added::Full {
                effects.refuse(ticket, batch, Refusal::Busy);
            }
            return;
        }
        let primary = self.active.then(|| self.quorum.primary(self.view));
        if self.backlog.is_done(now, request.digest(), self.config.view_timeout) {
            // Its answer was lost, or is on its way. The primary has it executed again.
            effects.refuse(ticket, batch, Refusal::NotLeader(primary));
            return;
        }
        let added = self.backlog.add(now, request.clone(), &self.config);
        if added == Added::Full {
            effects.refuse(ticket, batch, Refusal::Busy);
            return;
        }
        self.standing.about(*request.digest(), None);
        self.ask_all(&request, effects);
        effects.refuse(ticket, batch, Refusal::NotLeader(primary));
    }

    /// Whether others believe it, too.
    fn ask_all(&self, request: &ClientRequest, effects: &mut Effects<Self>) {
        for peer in self.seat.peers().iter() {
            // Early: it is the client's word, not this replica's.
            effects.send_early(peer, Message::Relay(request.clone()));
        }
    }

    pub(crate) fn on_relay(
        &mut self,
        now: Time,
        from: NodeId,
        request: ClientRequest,
        effects: &mut Effects<Self>,
    ) {
        let digest = *request.digest();
        if self.backlog.is_done(now, &digest, self.config.view_timeout) {
            return;
        }
        if self.is_primary() {
            self.take_as_primary(now, request, Some(from), effects);
        } else if !self.is_proved(&request) {
            effects.send_early(from, Message::Doubt { request: digest });
        } else if self.backlog.add(now, request, &self.config) != Added::Full && self.active {
            // Early, both: an opinion, and no word about any entry.
            effects.send_early(self.quorum.primary(self.view), Message::Vouch { request: digest });
        }
    }

    /// A request that is to be proposed, if this replica believes it or enough others do.
    fn take_as_primary(
        &mut self,
        now: Time,
        request: ClientRequest,
        voucher: Option<NodeId>,
        effects: &mut Effects<Self>,
    ) -> Added {
        let is_proved = self.is_proved(&request);
        if is_proved && !self.standing.is_bad(request.client()) {
            return self.backlog.add(now, request, &self.config);
        }
        let digest = *request.digest();
        let is_new = !self.standing.opinions.contains_key(&digest);
        if is_proved && is_new {
            self.ask_all(&request, effects);
        }
        if let Some(voucher) = voucher.filter(|_| !is_proved) {
            effects.send_early(voucher, Message::Doubt { request: digest });
        }
        let opinion = self.standing.about(digest, Some(request));
        if let Some(voucher) = voucher {
            opinion.vouchers.insert(voucher);
        }
        self.take_if_vouched(now, &digest);
        Added::Known
    }

    fn take_if_vouched(&mut self, now: Time, digest: &Digest) {
        let Some(opinion) = self.standing.opinions.get(digest) else { return };
        if opinion.vouchers.len() >= self.quorum.weak()
            && let Some(request) = &opinion.request
        {
            self.backlog.add(now, request.clone(), &self.config);
        }
    }

    pub(crate) fn on_vouch(&mut self, now: Time, from: NodeId, digest: Digest) {
        if !self.is_primary() {
            return;
        }
        if let Some(opinion) = self.standing.opinions.get_mut(&digest) {
            opinion.vouchers.insert(from);
            self.take_if_vouched(now, &digest);
        }
    }

    /// Somebody is not convinced. If f + 1 are not, one of them is correct, and the client is to blame or whoever relayed it.
    pub(crate) fn on_doubt(&mut self, now: Time, from: NodeId, digest: Digest, effects: &mut Effects<Self>) {
        let Some(request) = self.backlog.get(&digest).cloned() else { return };
        if !self.is_primary() && !self.standing.opinions.contains_key(&digest) {
            self.ask_all(&request, effects);
        }
        let opinion = self.standing.about(digest, None);
        opinion.doubters.insert(from);
        if opinion.doubters.len() < self.quorum.weak() {
            return;
        }
        if self.is_primary() {
            self.standing.bad.insert(request.client());
            self.withhold(now, effects);
        } else {
            self.backlog.remove(&digest);
        }
    }

    /// What waits to be proposed here of clients in bad standing waits for others' word, too, however it came here.
    fn withhold(&mut self, now: Time, effects: &mut Effects<Self>) {
        let standing = &self.standing;
        for request in self.backlog.withdraw(|client| standing.is_bad(client)) {
            self.ask_all(&request, effects);
            let digest = *request.digest();
            self.standing.about(digest, Some(request));
            self.take_if_vouched(now, &digest);
        }
    }

    /// The requests of a proposal whose proofs show nothing here.
    pub(crate) fn doubts(&self, requests: &Requests) -> Vec<Digest> {
        let is_known = |request: &&ClientRequest| {
            self.backlog.get(request.digest()).is_none_or(|known| known.proof() != request.proof())
        };
        let unknown: Vec<&ClientRequest> = requests.iter().filter(is_known).collect();
        let verdicts = match self.config.authentication {
            Authentication::Macs => unknown.iter().map(|request| self.is_proved(request)).collect(),
            Authentication::Signatures => {
                self.verify_all(&unknown.iter().map(|request| signed(request)).collect::<Vec<_>>())
            }
        };
        let doubted = unknown.into_iter().zip(verdicts).filter(|(_, good)| !good);
        doubted.map(|(request, _)| *request.digest()).collect()
    }

    fn is_proved(&self, request: &ClientRequest) -> bool {
        self.count_proof();
        let Self { seat, config, .. } = self;
        let (client, digest, proof) = (request.client(), request.digest(), request.proof());
        config.keys.proves(seat.me, config.authentication, client, digest, proof)
    }

    /// Remembers whose proofs stalled the view that ends.
    pub(crate) fn blame_clients(&mut self) {
        let doubted = self.slots.after(self.executed).filter_map(|(_, slot)| slot.doubted.as_ref());
        let mut blamed = Vec::new();
        for doubted in doubted {
            let doubts = self.doubts(&doubted.requests);
            let requests = doubted.requests.iter().filter(|request| doubts.contains(request.digest()));
            blamed.extend(requests.map(ClientRequest::client));
        }
        self.standing.bad.extend(blamed);
    }

    /// What waits here is proposed anew, or told to the new primary.
    pub(crate) fn hand_over_backlog(&mut self, now: Time, effects: &mut Effects<Self>) {
        if self.is_primary() {
            self.backlog.requeue();
            for (_, slot) in self.slots.after(self.executed) {
                let body = slot.accepted.and_then(|accepted| slot.body(&accepted.digest));
                body.into_iter().flat_map(Requests::iter).for_each(|r| self.backlog.proposed(r.digest()));
            }
            self.withhold(now, effects);
            return;
        }
        let primary = self.quorum.primary(self.view);
        for request in self.backlog.keep_oldest(HAND_OVER_BYTES) {
            // Early: it is the client's word, not this replica's.
            effects.send_early(primary, Message::Relay(request));
        }
    }
}

/// A signed request as a claim. A proof of another length is no signature.
fn signed(request: &ClientRequest) -> Claim {
    let signature =
        <[u8; SIGNATURE_BYTES]>::try_from(&request.proof()[..]).unwrap_or([0xff; SIGNATURE_BYTES]);
    Claim {
        signer: Signer::Client(request.client()),
        statement: *request.digest(),
        signature: Signature(signature),
    }
}
