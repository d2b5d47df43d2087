//! What each lie does to what a correct replica hears and says. Those that the simulator's liars tell are told by its code.

use std::collections::VecDeque;
use std::time::Duration;

use qlab_kernel::{Batch, Effects, Input, Lsn, NodeSet, Outgoing, Request, SessionId, Time};
use qlab_pbft::{Message, Pbft};
use qlab_simulator::byzantine::Byzantine;
use qlab_simulator::byzantine::pbft::{BadSignatures, Equivocating, Forger, WrongBodies};
use rand_pcg::Pcg32;

use super::Lie;

/// A lie at work.
pub(super) trait Telling {
    /// Takes an input before the core sees it, and hands on what it likes.
    fn hear(&mut self, _: Time, input: Input<Message>) -> Option<Input<Message>> {
        Some(input)
    }

    /// What it kept back and hands on by this time.
    fn recall(&mut self, _: Time) -> Vec<Input<Message>> {
        Vec::new()
    }

    /// When it hands on something that it keeps back.
    fn recalls_at(&self) -> Option<Time> {
        None
    }

    /// Adds, drops and changes what it likes, after each flush.
    fn rewrite(&mut self, _: Time, _: &mut Effects<Pbft>, _: &mut Pcg32) {}
}

/// The lie, of a replica that holds these keys.
pub(super) fn begin(lie: Lie, forger: &Forger) -> Box<dyn Telling> {
    match lie {
        Lie::Silent => Box::new(Silent),
        Lie::Slow => Box::new(Slow::within(&forger.config)),
        Lie::Equivocating => {
            let peers = NodeSet::first(forger.nodes).without(forger.me);
            let half = peers.iter().take(peers.len() / 2).collect();
            Box::new(OfTheSimulator(Equivocating::deceiving(forger.clone(), half)))
        }
        Lie::Censoring => Box::new(Censoring::default()),
        Lie::Forging => {
            Box::new(Forging { signatures: BadSignatures, proofs: WrongBodies::new(forger.clone()) })
        }
    }
}

/// Says nothing that only a primary says.
struct Silent;

impl Telling for Silent {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, _: &mut Pcg32) {
        let sends: Vec<Outgoing<Message>> = effects.take_sends().collect();
        for Outgoing { to, after, message } in sends {
            match message {
                Message::PrePrepare(_) | Message::NewView(_) => {}
                _ if after == Lsn::ZERO => effects.send_early(to, message),
                _ => effects.send(to, message),
            }
        }
    }
}

/// Hears of each request when backups have nearly lost their patience, if they heard of it at once.
struct Slow {
    delay: Duration,
    held: VecDeque<(Time, Input<Message>)>,
}

impl Slow {
    /// What is left of the view timeout is for the agreement itself.
    fn within(config: &qlab_pbft::Config) -> Self {
        Self { delay: config.view_timeout - config.status_interval, held: VecDeque::new() }
    }
}

impl Telling for Slow {
    fn hear(&mut self, now: Time, input: Input<Message>) -> Option<Input<Message>> {
        if asked(&input).is_none() {
            return Some(input);
        }
        self.held.push_back((now + self.delay, input));
        None
    }

    fn recall(&mut self, now: Time) -> Vec<Input<Message>> {
        std::iter::from_fn(|| self.held.pop_front_if(|(at, _)| *at <= now)).map(|(_, input)| input).collect()
    }

    fn recalls_at(&self) -> Option<Time> {
        self.held.front().map(|(at, _)| *at)
    }
}

/// Is deaf to the first session that it hears of.
#[derive(Default)]
struct Censoring {
    censored: Option<SessionId>,
}

impl Telling for Censoring {
    fn hear(&mut self, _: Time, input: Input<Message>) -> Option<Input<Message>> {
        let sessions: Vec<SessionId> =
            asked(&input).into_iter().flat_map(Batch::bursts).map(|burst| burst.session).collect();
        self.censored = self.censored.or(sessions.first().copied());
        let is_censored = self.censored.is_some_and(|censored| sessions.contains(&censored));
        (!is_censored).then_some(input)
    }
}

/// Signs badly, and spoils what clients prove.
struct Forging {
    signatures: BadSignatures,
    proofs: WrongBodies,
}

impl Telling for Forging {
    fn rewrite(&mut self, now: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        self.proofs.rewrite(now, effects, chance);
        self.signatures.rewrite(now, effects, chance);
    }
}

/// A liar of simulated worlds, in this one.
struct OfTheSimulator<B>(B);

impl<B: Byzantine<Pbft>> Telling for OfTheSimulator<B> {
    fn hear(&mut self, _: Time, input: Input<Message>) -> Option<Input<Message>> {
        self.0.hear(input)
    }

    fn rewrite(&mut self, now: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        self.0.rewrite(now, effects, chance);
    }
}

/// What an input asks for, if a client says it or somebody for one.
fn asked(input: &Input<Message>) -> Option<&Batch> {
    match input {
        Input::Request { request: Request::Write(batch) | Request::Read(batch), .. } => Some(batch),
        Input::Message { message: Message::Relay(request), .. } => Some(request.batch()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use qlab_kernel::{BatchBuilder, Index, NodeId, Sequence, Term, Ticket};
    use qlab_pbft::keys::{Digest, Keyring, SIGNATURE_BYTES, Signature};
    use qlab_pbft::message::PrePrepare;
    use qlab_pbft::request::{ClientRequest, Requests};

    use super::*;

    fn forger() -> Forger {
        Forger { me: NodeId(0), nodes: 4, config: qlab_pbft::Config::new(Keyring::simulated(4, 1, 1)) }
    }

    fn request(session: u64) -> Input<Message> {
        let mut batch = BatchBuilder::new();
        batch.begin(SessionId::owned(0, session), Sequence(1), Sequence(1));
        batch.push_bytes(b"x");
        Input::Request { ticket: Ticket(1), request: Request::Write(batch.finish()), proof: Bytes::new() }
    }

    /// What becomes of a proposal and of a vote to each of three others.
    fn rewritten(lie: &mut dyn Telling) -> Vec<(NodeId, Message)> {
        let mut effects = Effects::new(Lsn::ZERO);
        let (view, seq, signature) = (Term(0), Index(1), Signature([0; SIGNATURE_BYTES]));
        for to in (1..4).map(NodeId) {
            let pre_prepare = PrePrepare { view, seq, requests: Requests::new(vec![of_client()]), signature };
            effects.send_early(to, Message::PrePrepare(pre_prepare));
            effects.send(to, Message::Commit { view, seq, digest: Digest::default(), signature: None });
        }
        lie.rewrite(Time(1), &mut effects, &mut rand::SeedableRng::seed_from_u64(1));
        effects.take_sends().map(|outgoing| (outgoing.to, outgoing.message)).collect()
    }

    fn of_client() -> ClientRequest {
        let Input::Request { request, proof, .. } = request(7) else { unreachable!("it is one") };
        ClientRequest::new(request, proof).unwrap()
    }

    #[test]
    fn a_silent_primary_proposes_nothing_and_votes() {
        let said = rewritten(&mut *begin(Lie::Silent, &forger()));
        assert_eq!(said.len(), 3);
        assert!(said.iter().all(|(_, message)| matches!(message, Message::Commit { .. })));
    }

    #[test]
    fn a_slow_replica_hears_of_requests_alone_late_and_in_order() {
        let mut lie = begin(Lie::Slow, &forger());
        let ms = |ms: u64| Time(ms * 1_000_000);
        assert!(lie.hear(ms(0), Input::Timeout).is_some());
        assert!(lie.hear(ms(0), request(1)).is_none());
        assert!(lie.hear(ms(30), request(2)).is_none());
        assert_eq!(lie.recalls_at(), Some(ms(400)));
        assert_eq!(lie.recall(ms(399)).len(), 0);
        assert_eq!(lie.recall(ms(400)).len(), 1);
        assert_eq!(lie.recall(Time(u64::MAX)).len(), 1);
        assert_eq!(lie.recalls_at(), None);
    }

    #[test]
    fn an_equivocating_primary_says_one_thing_to_one_half_and_another_to_the_other() {
        let said = rewritten(&mut *begin(Lie::Equivocating, &forger()));
        let proposed = |to: u16| {
            let to_it = said.iter().filter(|(whom, _)| *whom == NodeId(to));
            let digests = to_it.filter_map(|(_, message)| match message {
                Message::PrePrepare(pre_prepare) => Some(*pre_prepare.requests.digest()),
                _ => None,
            });
            digests.collect::<Vec<_>>()
        };
        assert_eq!(proposed(2), proposed(3));
        assert_eq!((proposed(1).len(), proposed(2).len()), (1, 1));
        assert_ne!(proposed(1), proposed(2));
    }

    #[test]
    fn a_censoring_replica_is_deaf_to_one_session() {
        let mut lie = begin(Lie::Censoring, &forger());
        assert!(lie.hear(Time(0), request(5)).is_none());
        assert!(lie.hear(Time(0), request(6)).is_some());
        assert!(lie.hear(Time(0), request(5)).is_none());
        let relay = |request| Input::Message { from: NodeId(2), message: Message::Relay(request) };
        assert!(lie.hear(Time(0), relay(of_client())).is_some());
    }

    #[test]
    fn a_forging_replica_says_everything_and_some_of_it_badly() {
        let mut lie = begin(Lie::Forging, &forger());
        let honest = rewritten(&mut Honest);
        let said: Vec<_> = (0..20).flat_map(|_| rewritten(&mut *lie)).collect();
        assert_eq!(said.len(), 20 * honest.len());
        assert!(said.iter().any(|message| !honest.contains(message)));
    }

    struct Honest;

    impl Telling for Honest {}
}
