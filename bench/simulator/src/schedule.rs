//! What one seed decides before its world begins: how large it is, what its network and disks are like, and what strikes when.
//!
//! It is data, so that a failing world can be cut down: without this strike, without that fault, still failing?

use std::time::Duration;

use qlab_kernel::Time;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::faults::{Choice, Fault, FaultSet};

/// The first strike comes after the cluster had time to begin.
const QUIET: Duration = Duration::from_millis(200);

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Where its randomness comes from.
    pub seed: u64,
    /// Replicas.
    pub nodes: usize,
    /// Clients that ask one thing after the other.
    pub clients: usize,
    /// Keys they ask for.
    pub keys: u64,
    /// How long misfortune lasts; then everything is healed and must come right.
    pub fire: Duration,
    /// Kinds of faults that are on.
    pub faults: FaultSet,
    /// What the network, the disks and the processes are like.
    pub weather: Weather,
    /// What strikes, in order of time.
    pub strikes: Vec<Strike>,
}

/// Properties of the first phase.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Messages lost, in a hundred.
    pub loss_percent: u32,
    /// Messages that arrive twice, in a hundred.
    pub duplicate_percent: u32,
    /// Old messages sent again, for a hundred new ones.
    pub replay_percent: u32,
    /// Whether messages overtake each other.
    pub reorder: bool,
    /// Messages that take long, in a hundred.
    pub late_percent: u32,
    /// How long those take at most.
    pub late_max: Duration,
    /// How long others take at most.
    pub flight_max: Duration,
    /// How long a process collects inputs before it steps them at most.
    pub burst_wait_max: Duration,
    /// Inputs in one burst at most.
    pub burst_inputs_max: usize,
    /// How long a sync takes at most.
    pub sync_max: Duration,
    /// How long a client waits before it asks again at most.
    pub think_max: Duration,
}

/// One misfortune at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// When.
    pub at: Time,
    /// What.
    pub fault: Fault,
    /// Whom.
    pub aim: Aim,
    /// How long it lasts.
    pub lasts: Duration,
    /// What else is random about it, so that it stays the same when others are left out.
    pub salt: u64,
}

/// Whom a strike hits, resolved when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Whoever leads; the first process if nobody does.
    Leader,
    /// This process.
    Process(usize),
}

impl Schedule {
    /// The world of a seed, for a system of which a cluster of so many replicas has `nodes`.
    #[must_use]
    pub fn of(seed: u64, choice: Choice, nodes: fn(usize) -> usize) -> Self {
        // Another stream than the world's own.
        let mut chance = Pcg32::seed_from_u64(seed ^ 0x5CED_u64 << 40);
        let faults = choice.draw(&mut chance);
        let nodes = nodes([1, 2, 3, 3, 3, 3, 5, 5][chance.random_range(0..8)]);
        let fire = Duration::from_millis(chance.random_range(1_000..6_000));
        let mut schedule = Self {
            seed,
            nodes,
            clients: chance.random_range(2..=8),
            keys: chance.random_range(1..=5),
            fire,
            faults,
            weather: Weather::of(faults, &mut chance),
            strikes: Vec::new(),
        };
        schedule.strikes = strikes(&schedule, &mut chance);
        schedule
    }

    /// The world in a few lines, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { nodes, clients, keys, fire, .. } = self;
        let faults: Vec<&str> = self.faults.iter().map(Fault::name).collect();
        let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(" ") };
        format!("{nodes} replicas, {clients} clients, {keys} keys, {fire:?} of these faults: {faults}")
    }

    /// The same world in half the time.
    pub(crate) fn hurry(&mut self) {
        self.fire /= 2;
        for strike in &mut self.strikes {
            (strike.at.0, strike.lasts) = (strike.at.0 / 2, strike.lasts / 2);
        }
    }

    /// The same world without a kind of fault.
    #[must_use]
    pub fn without(&self, fault: Fault) -> Self {
        let mut milder = self.clone();
        milder.faults = self.faults.without(fault);
        milder.strikes.retain(|strike| strike.fault != fault);
        milder.weather.forget(fault);
        milder
    }
}

impl Weather {
    fn of(faults: FaultSet, chance: &mut Pcg32) -> Self {
        let mut weather = Self {
            loss_percent: chance.random_range(1..=30),
            duplicate_percent: chance.random_range(1..=50),
            replay_percent: chance.random_range(1..=20),
            reorder: true,
            late_percent: chance.random_range(1..=10),
            late_max: Duration::from_millis([100, 1_000, 10_000][chance.random_range(0..3)]),
            flight_max: Duration::from_micros([100, 500, 5_000][chance.random_range(0..3)]),
            burst_wait_max: Duration::from_micros([1, 50, 2_000][chance.random_range(0..3)]),
            burst_inputs_max: [1, 4, 64, 1024][chance.random_range(0..4)],
            sync_max: Duration::from_micros([1, 200, 5_000][chance.random_range(0..3)]),
            think_max: Duration::from_millis([1, 10, 100][chance.random_range(0..3)]),
        };
        Fault::ALL
            .into_iter()
            .filter(|fault| !faults.contains(*fault))
            .for_each(|fault| weather.forget(fault));
        weather
    }

    fn forget(&mut self, fault: Fault) {
        match fault {
            Fault::Loss => self.loss_percent = 0,
            Fault::Duplicate => self.duplicate_percent = 0,
            Fault::Replay => self.replay_percent = 0,
            Fault::Reorder => self.reorder = false,
            Fault::Delay => self.late_percent = 0,
            _ => {}
        }
    }

    /// The same, without anything that hurts.
    pub(crate) fn calm(&self) -> Self {
        let mut calm = self.clone();
        Fault::ALL.into_iter().for_each(|fault| calm.forget(fault));
        calm
    }
}

fn strikes(schedule: &Schedule, chance: &mut Pcg32) -> Vec<Strike> {
    let kinds: Vec<Fault> = schedule.faults.iter().filter(|fault| fault.strikes()).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    // Some worlds hardly come to rest between two strikes.
    let count_max = (4 + 2 * kinds.len()) * [1, 1, 4][chance.random_range(0..3)];
    let count = chance.random_range(1..=count_max);
    let mut strikes: Vec<Strike> = (0..count)
        .map(|_| {
            let fault = kinds[chance.random_range(0..kinds.len())];
            strike(fault, schedule, chance)
        })
        .collect();
    strikes.sort_by_key(|strike| strike.at);
    strikes
}

fn strike(fault: Fault, schedule: &Schedule, chance: &mut Pcg32) -> Strike {
    let (from, to) = (QUIET.as_nanos() as u64, schedule.fire.as_nanos() as u64);
    // Half are aimed at the leader: who leads is who can do most harm.
    let aim = if chance.random_bool(0.5) {
        Aim::Leader
    } else {
        Aim::Process(chance.random_range(0..schedule.nodes))
    };
    let lasts_ms_max = match fault {
        Fault::DiskStall => [100, 1_000, 30_000][chance.random_range(0..3)],
        Fault::Kill | Fault::PowerLoss | Fault::Blackout => [10, 1_000][chance.random_range(0..2)],
        _ => [50, 300, 1_500][chance.random_range(0..3)],
    };
    Strike {
        at: Time(chance.random_range(from..to)),
        fault,
        aim,
        lasts: Duration::from_millis(chance.random_range(1..=lasts_ms_max)),
        salt: chance.random(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seed: u64, choice: Choice) -> Schedule {
        Schedule::of(seed, choice, |nodes| nodes)
    }

    #[test]
    fn a_seed_is_always_the_same_world_and_a_swarm_has_all_kinds() {
        let mut seen = FaultSet::default();
        for seed in 0..200 {
            let schedule = of(seed, Choice::Swarm);
            assert_eq!(format!("{schedule:?}"), format!("{:?}", of(seed, Choice::Swarm)));
            seen = seen.with(Fault::Loss);
            schedule.strikes.iter().for_each(|strike| seen = seen.with(strike.fault));
            assert!(schedule.strikes.is_sorted_by_key(|strike| strike.at));
        }
        assert!(Fault::ALL.into_iter().filter(|fault| fault.strikes()).all(|fault| seen.contains(fault)));
    }

    #[test]
    fn a_world_without_faults_is_calm_and_one_without_a_kind_never_sees_it() {
        let calm = of(3, Choice::Only(FaultSet::default()));
        assert!(calm.strikes.is_empty() && calm.weather.loss_percent == 0 && !calm.weather.reorder);
        let stormy = of(3, Choice::Only(Fault::ALL.into_iter().collect()));
        let milder = stormy.without(Fault::Kill).without(Fault::Loss);
        assert!(stormy.weather.loss_percent > 0 && milder.weather.loss_percent == 0);
        assert!(milder.strikes.iter().all(|strike| strike.fault != Fault::Kill));
    }
}
