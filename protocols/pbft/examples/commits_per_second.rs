//! What agreement costs in computing alone: four replicas pumped in one thread, without network, disk or state machine.
//!
//! `cargo run --release -p qlab-pbft --example commits_per_second`

use std::time::{Duration, Instant};

use bytes::Bytes;
use qlab_kernel::{
    BatchBuilder, Commit, Effects, Input, Lsn, NodeId, NodeSet, Protocol, Request, Seat, Sequence, SessionId,
    Ticket, Time,
};
use qlab_pbft::keys::{ClientKeys, public_key};
use qlab_pbft::{Authentication, Config, Keyring, Message, Pbft, Prover};

const REPLICAS: u16 = 4;
const COMMAND_BYTES: usize = 64;
const MEASURE: Duration = Duration::from_secs(2);

struct Replica {
    core: Pbft,
    effects: Effects<Pbft>,
    inbox: Vec<Input<Message>>,
    entries: u64,
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn main() {
    println!(
        "{:<11} {:<11} {:>9} {:>12} {:>12} {:>14}",
        "keys", "requests", "per burst", "entries/s", "requests/s", "verified/entry"
    );
    for authentication in [Authentication::Macs, Authentication::Signatures] {
        for per_burst in [1, 64] {
            let simulated = Keyring::simulated(usize::from(REPLICAS), 1, 1);
            let prover = simulated.prover(0, authentication);
            let rings = vec![simulated; usize::from(REPLICAS)];
            report(
                "simulated",
                authentication,
                per_burst,
                &measure(&rings, &prover, authentication, per_burst),
            );
            let (rings, prover) = real(authentication);
            report(
                "Ed25519",
                authentication,
                per_burst,
                &measure(&rings, &prover, authentication, per_burst),
            );
        }
    }
}

struct Measured {
    entries: f64,
    requests: f64,
    verified: f64,
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn report(keys: &str, authentication: Authentication, per_burst: usize, measured: &Measured) {
    let authentication = format!("{authentication:?}").to_lowercase();
    let Measured { entries, requests, verified } = measured;
    println!(
        "{keys:<11} {authentication:<11} {per_burst:>9} {entries:>12.0} {requests:>12.0} {verified:>14.1}"
    );
}

/// Proper keys for everybody.
fn real(authentication: Authentication) -> (Vec<Keyring>, Prover) {
    let secret = |place: u8| [place + 1; 32];
    let mac = |place: u8| [place + 100; 32];
    let client_secret = [99; 32];
    let publics: Vec<[u8; 32]> = (0..REPLICAS as u8).map(|place| public_key(&secret(place))).collect();
    let ring = |place: u8| {
        let client = ClientKeys { public: public_key(&client_secret), mac: mac(place) };
        Keyring::new(NodeId(place.into()), &secret(place), &publics, &[client])
            .expect("keys made for each other")
    };
    let prover = match authentication {
        Authentication::Macs => Prover::macs((0..REPLICAS as u8).map(mac).collect()),
        Authentication::Signatures => Prover::signing(&client_secret),
    };
    ((0..REPLICAS as u8).map(ring).collect(), prover)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads a clock, here")]
fn measure(rings: &[Keyring], prover: &Prover, authentication: Authentication, per_burst: usize) -> Measured {
    let mut replicas: Vec<Replica> =
        rings.iter().enumerate().map(|(place, keys)| start(place as u16, keys, authentication)).collect();
    let mut requests = (1..).map(|sequence| request(sequence, prover));
    settle(&mut replicas);
    let (begin, mut asked) = (Instant::now(), 0);
    // Made outside the time that counts: clients run elsewhere.
    let mut elsewhere = Duration::ZERO;
    while begin.elapsed() < MEASURE {
        let making = Instant::now();
        let burst: Vec<Input<Message>> = requests.by_ref().take(per_burst).collect();
        elsewhere += making.elapsed();
        asked += burst.len();
        replicas[0].inbox.extend(burst);
        settle(&mut replicas);
    }
    let seconds = (begin.elapsed() - elsewhere).as_secs_f64();
    let entries = replicas.iter().map(|replica| replica.entries).min().expect("there are replicas") as f64;
    let verified = replicas.iter().map(|replica| replica.core.work().verified()).sum::<u64>() as f64;
    Measured { entries: entries / seconds, requests: asked as f64 / seconds, verified: verified / entries }
}

fn start(place: u16, keys: &Keyring, authentication: Authentication) -> Replica {
    let seat = Seat { me: NodeId(place), members: NodeSet::first(usize::from(REPLICAS)), seed: 1 };
    let config = Config { authentication, ..Config::new(keys.clone()) };
    let mut effects = Effects::new(Lsn::ZERO);
    let core = Pbft::recover(seat, &config, Time(0), std::iter::empty(), &mut effects);
    Replica { core, effects, inbox: vec![Input::Timeout], entries: 0 }
}

fn request(sequence: u64, prover: &Prover) -> Input<Message> {
    let mut builder = BatchBuilder::new();
    builder.begin(SessionId(1), Sequence(sequence), Sequence(sequence));
    builder.push_bytes(&[7; COMMAND_BYTES]);
    let request = Request::Write(builder.finish());
    let proof = prover.prove(&request);
    Input::Request { ticket: Ticket(1), request, proof }
}

/// Passes messages around until there are none.
fn settle(replicas: &mut [Replica]) {
    let now = Time(1);
    while replicas.iter().any(|replica| !replica.inbox.is_empty()) {
        for place in 0..replicas.len() {
            let Replica { core, effects, inbox, entries } = &mut replicas[place];
            if inbox.is_empty() {
                continue;
            }
            inbox.drain(..).for_each(|input| core.step(now, input, effects));
            core.flush(now, effects);
            if effects.records().len() > 0 {
                inbox.push(Input::Durable(effects.last()));
            }
            for commit in effects.take_commits() {
                match commit {
                    Commit::Apply { index, .. } => *entries = index.0,
                    // The state machine of this world has no state.
                    Commit::Capture => {
                        inbox.push(Input::Captured { index: core.executed(), image: Bytes::new() });
                    }
                    Commit::Query { .. } | Commit::Restore { .. } => {}
                }
            }
            let sends: Vec<_> = effects.take_sends().collect();
            effects.clear();
            let from = NodeId(place as u16);
            for outgoing in sends {
                let input = Input::Message { from, message: outgoing.message };
                replicas[usize::from(outgoing.to.0)].inbox.push(input);
            }
        }
    }
}
