//! Law L2 on clocks that drift as far as they may: no holder believes in a lease that has ended.
//!
//! Replicas and clients see only their own clocks; the test knows true time. Ticks and renewals are proposed by anyone, reordered,
//! delayed and repeated before they are committed, and answers come whenever they like.

use std::collections::BTreeMap;

use proptest::prelude::*;
use qlab_kernel::{Outcome, Sequence, Time};
use qlab_machines::Machine;
use qlab_machines::lock::lease::CLOCK_DRIFT_PPM_MAX;
use qlab_machines::lock::{Command, Holder, Locks, Metronome, OwnerId};

use crate::laws::Broken;

const REPLICAS: usize = 3;
const CLIENTS: usize = 3;
const TTL_NS: u64 = 20_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Move {
    /// A replica proposes a tick.
    Tick(usize),
    /// A client renews its lease, or asks again if it has no answer yet.
    Renew(usize),
    /// One of the proposals is committed; a tick may stay on its way, too.
    Commit(usize, bool),
    /// A replica executes what is committed.
    Execute(usize),
    /// One of the answers arrives.
    Answer(usize),
}

/// How far each clock is off, replicas' first, and what happens after how many nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct LifeOnClocks {
    drifts_ppm: Vec<i64>,
    moves: Vec<(u64, Move)>,
}

pub(crate) fn life_on_clocks() -> impl Strategy<Value = LifeOnClocks> {
    let most = CLOCK_DRIFT_PPM_MAX as i64;
    let drift = prop_oneof![Just(-most), Just(0), Just(most)];
    let what = prop_oneof![
        3 => (0..REPLICAS).prop_map(Move::Tick),
        2 => (0..CLIENTS).prop_map(Move::Renew),
        4 => (0..8_usize, any::<bool>()).prop_map(|(which, stays)| Move::Commit(which, stays)),
        3 => (0..REPLICAS).prop_map(Move::Execute),
        2 => (0..8_usize).prop_map(Move::Answer),
    ];
    (prop::collection::vec(drift, REPLICAS + CLIENTS), prop::collection::vec((0..TTL_NS / 8, what), 1..200))
        .prop_map(|(drifts_ppm, moves)| LifeOnClocks { drifts_ppm, moves })
}

/// Lives such a life; the law if it is broken.
pub(crate) fn live_on_clocks(life: &LifeOnClocks) -> Result<(), Broken> {
    let mut world = World::new(&life.drifts_ppm);
    for (wait_ns, what) in &life.moves {
        world.true_ns += wait_ns;
        world.take(*what);
        world.judge()?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Proposal {
    Tick { after: u64, elapsed_ns: u64 },
    Renewal(usize, Sequence),
}

struct World {
    true_ns: u64,
    drifts_ppm: Vec<i64>,
    locks: Locks,
    metronomes: Vec<Metronome>,
    clients: Vec<Client>,
    proposals: Vec<Proposal>,
    /// What the session table is for.
    executed: BTreeMap<(usize, Sequence), Outcome>,
    answers: Vec<(usize, Sequence, Outcome)>,
}

struct Client {
    owner: OwnerId,
    holder: Holder,
    number: Sequence,
    answered: bool,
}

impl World {
    /// Every client has opened its owner just now.
    fn new(drifts_ppm: &[i64]) -> Self {
        let mut world = Self {
            true_ns: 1_000_000_000,
            drifts_ppm: drifts_ppm.to_vec(),
            locks: Locks::default(),
            metronomes: vec![Metronome::default(); REPLICAS],
            clients: Vec::new(),
            proposals: Vec::new(),
            executed: BTreeMap::new(),
            answers: Vec::new(),
        };
        for client in 0..CLIENTS {
            let mut holder = Holder::new(TTL_NS);
            let number = Sequence(1);
            holder.ask(number, world.clock(REPLICAS + client));
            let opened = world.locks.apply(&Command::Open { ttl_ns: TTL_NS }.to_bytes());
            world.clients.push(Client { owner: OwnerId(opened.number), holder, number, answered: false });
            world.answers.push((client, number, opened));
        }
        world
    }

    /// What a clock shows.
    fn clock(&self, whose: usize) -> Time {
        let rate = u128::from((1_000_000 + self.drifts_ppm[whose]).unsigned_abs());
        Time((u128::from(self.true_ns) * rate / 1_000_000) as u64)
    }

    fn take(&mut self, what: Move) {
        match what {
            Move::Tick(replica) => {
                if let Some(Command::Tick { after, elapsed_ns }) =
                    self.metronomes[replica].tick(self.clock(replica))
                {
                    self.proposals.push(Proposal::Tick { after, elapsed_ns });
                }
            }
            Move::Renew(client) => self.renew(client),
            Move::Commit(which, stays) if !self.proposals.is_empty() => {
                let at = which % self.proposals.len();
                let proposal = if stays { self.proposals[at] } else { self.proposals.remove(at) };
                self.commit(proposal);
            }
            Move::Execute(replica) => {
                let now = self.clock(replica);
                self.metronomes[replica].hear(self.locks.ticks(), now);
            }
            Move::Answer(which) if !self.answers.is_empty() => {
                let (client, number, outcome) = self.answers.remove(which % self.answers.len());
                let now = self.clock(REPLICAS + client);
                let client = &mut self.clients[client];
                client.answered |= number == client.number;
                client.holder.hear(number, outcome, now);
            }
            Move::Commit(..) | Move::Answer(_) => {}
        }
    }

    fn renew(&mut self, at: usize) {
        let now = self.clock(REPLICAS + at);
        let client = &mut self.clients[at];
        if std::mem::take(&mut client.answered) {
            client.number = client.number.next();
        }
        client.holder.ask(client.number, now);
        if client.number > Sequence(1) {
            self.proposals.push(Proposal::Renewal(at, client.number));
        }
    }

    fn commit(&mut self, proposal: Proposal) {
        match proposal {
            Proposal::Tick { after, elapsed_ns } => {
                self.locks.apply(&Command::Tick { after, elapsed_ns }.to_bytes());
            }
            Proposal::Renewal(client, number) => {
                let renew = Command::Renew { owner: self.clients[client].owner };
                let locks = &mut self.locks;
                let execute = || locks.apply(&renew.to_bytes());
                let outcome = *self.executed.entry((client, number)).or_insert_with(execute);
                self.answers.push((client, number, outcome));
            }
        }
    }

    fn judge(&self) -> Result<(), Broken> {
        for (at, client) in self.clients.iter().enumerate() {
            let open = self.locks.owners().any(|(owner, _)| owner == client.owner);
            if !open && client.holder.may_believe(self.clock(REPLICAS + at)) {
                return Err("L2: a holder believes in a lease that has ended".to_owned());
            }
        }
        Ok(())
    }
}

/// Ticks every `tick_ns` by the fastest clock there is, and a holder with the slowest: the true nanoseconds from its only
/// renewal to the end of its belief and to that of its lease.
pub(crate) fn worst_clocks(tick_ns: u64) -> (u64, u64) {
    let most = CLOCK_DRIFT_PPM_MAX as i64;
    let mut world = World::new(&[most, most, most, -most, -most, -most]);
    let began_ns = world.true_ns;
    for client in 0..CLIENTS {
        world.take(Move::Answer(client));
    }
    let mut belief_ns = None;
    while world.locks.owners().next().is_some() {
        world.take(Move::Execute(0));
        world.true_ns += tick_ns;
        world.take(Move::Tick(0));
        world.take(Move::Commit(0, false));
        if !world.clients[0].holder.may_believe(world.clock(REPLICAS)) {
            belief_ns.get_or_insert(world.true_ns - began_ns);
        }
        assert!(world.true_ns - began_ns < 2 * TTL_NS, "a lease must end");
    }
    let ended_ns = world.true_ns - began_ns;
    (belief_ns.unwrap_or(u64::MAX), ended_ns)
}
