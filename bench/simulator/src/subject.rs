//! What can be simulated: a protocol, how seeds configure it, and the laws of its own.

mod clock;
mod gossip;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use qlab_checker::Model;
use qlab_kernel::{NodeId, Protocol, Request, Time};
use qlab_paxos::single::FirstBallot;
use qlab_paxos::{MultiPaxos, Paxos, multi, single};
use qlab_pbft::{Authentication, Keyring, Pbft};
use qlab_quorum::{Abd, Dynamo, Quorums, abd, dynamo};
use qlab_raft::{Config, LeaderWrite, Raft, Reads};
use qlab_unreplicated::Unreplicated;
use rand::RngExt;
use rand_pcg::Pcg32;

use crate::byzantine::{Byzantine, pbft};
use crate::laws::abd::AbdLaws;
use crate::laws::dynamo::DynamoLaws;
use crate::laws::multi_paxos::MultiPaxosLaws;
use crate::laws::paxos::PaxosLaws;
use crate::laws::pbft::PbftLaws;
use crate::laws::raft::RaftLaws;
use crate::laws::{Laws, NoLaws};
use crate::schedule::Schedule;

/// What a clock that is true shows when a world begins.
pub const TRUE_TIME_STARTS: Time = Time(1 << 40);

/// A protocol that can be simulated.
pub trait Subject: Protocol {
    /// The laws of its own, beside those of every system.
    type Laws: Laws<Self>;

    /// Whether it survives replicas that lie: then worlds have some.
    const SURVIVES_LIARS: bool = false;

    /// What clients find behind each key.
    const MODEL: Model = Model::Kv;

    /// Whether it can compare before it writes.
    const COMPARES: bool = true;

    /// Whether a session belongs to the replica that opened it, and is not known anywhere else.
    const SESSIONS_STAY: bool = false;

    /// Whether what clients see is linearizable. If not, the laws of its own say what it is instead.
    const LINEARIZABLE: bool = true;

    /// Whether clients say with each write what they had read, as [`qlab_quorum::dynamo::envelope`] has it.
    const CONTEXTS: bool = false;

    /// Whether replicas do something by themselves, as [`act`](Self::act) says, rather than at the wish of clients.
    const ACTS: bool = false;

    /// Whether every clock runs at one rate for ever, whichever that is.
    const STEADY_CLOCKS: bool = false;

    /// A configuration: small windows and images, so that every path is taken often.
    fn config(chance: &mut Pcg32) -> Self::Config;

    /// The laws of a cluster.
    fn laws(nodes: usize, config: &Self::Config) -> Self::Laws;

    /// By how much two clocks may run apart, in parts per million.
    fn clock_drift_ppm(config: &Self::Config) -> u32;

    /// Whether safety rests on clocks, so that none may jump.
    fn trusts_clocks(config: &Self::Config) -> bool;

    /// How long after healing everything must have come right.
    fn patience(config: &Self::Config) -> Duration;

    /// How many replicas a world of `drawn` has.
    fn nodes(drawn: usize) -> usize {
        drawn
    }

    /// A replica does something that no client asked for.
    fn act(_core: &mut Self, _now: Time, _chance: &mut Pcg32) {}

    /// Whether this replica's clock shows the time that the others are to find out: [`TRUE_TIME_STARTS`] when the world begins,
    /// and never wrong.
    fn has_true_time(_node: NodeId, _config: &Self::Config) -> bool {
        false
    }

    /// Changes a world that was drawn for any system.
    fn shape(_schedule: &mut Schedule) {}

    /// How many of so many replicas may be lost for good, or lie if this system survives liars.
    fn faulty_max(nodes: usize) -> usize {
        (nodes - 1) / 2
    }

    /// One of the ways in which this replica can lie; `None` where replicas believe each other, and no world has liars.
    fn liar(
        _node: NodeId,
        _nodes: usize,
        _config: &Self::Config,
        _chance: &mut Pcg32,
    ) -> Option<Box<dyn Byzantine<Self>>> {
        None
    }

    /// How many of so many replicas must say the same before a client believes it.
    fn matching(_nodes: usize) -> usize {
        1
    }

    /// What proves to replicas that the client of this number asks.
    fn proof(_config: &Self::Config, _client: u16, _request: &Request) -> Bytes {
        Bytes::new()
    }
}

impl Subject for Raft {
    type Laws = RaftLaws;

    fn config(chance: &mut Pcg32) -> Config {
        let mut pick = |choices: &[usize]| choices[chance.random_range(0..choices.len())];
        Config {
            election_timeout_max: Duration::from_millis(pick(&[200, 300]) as u64),
            window_entries: pick(&[1, 2, 8, 64]),
            window_bytes: pick(&[100, 1 << 20]),
            entry_bytes: pick(&[1, 200, 16 << 10]),
            leader_write: if pick(&[0, 0, 1]) == 1 { LeaderWrite::First } else { LeaderWrite::Parallel },
            clock_drift_ppm: pick(&[0, 10_000, 300_000]) as u32,
            reads: if pick(&[0, 1]) == 1 { Reads::Lease } else { Reads::Index },
            batching: pick(&[0, 1, 1]) == 1,
            snapshot_log_bytes: pick(&[300, 3_000, 1 << 20]),
            retained_log_bytes: pick(&[0, 500, 1 << 20]),
            ..Config::default()
        }
    }

    fn laws(nodes: usize, _: &Config) -> RaftLaws {
        RaftLaws::new(nodes)
    }

    fn clock_drift_ppm(config: &Config) -> u32 {
        // ReadIndex rests on no clock at all; clocks that run twice as fast only make elections come early.
        if config.reads == Reads::Lease { config.clock_drift_ppm } else { 600_000 }
    }

    fn trusts_clocks(config: &Config) -> bool {
        config.reads == Reads::Lease
    }

    fn patience(config: &Config) -> Duration {
        // Thirty elections at least: each succeeds with a good chance once the network is calm.
        config.election_timeout_max.max(Duration::from_millis(300)) * 30
    }
}

impl Subject for MultiPaxos {
    type Laws = MultiPaxosLaws;

    fn config(chance: &mut Pcg32) -> multi::Config {
        let mut pick = |choices: &[usize]| choices[chance.random_range(0..choices.len())];
        multi::Config {
            window_entries: pick(&[1, 2, 8, 64]),
            window_bytes: pick(&[100, 1 << 20]),
            entry_bytes: pick(&[1, 200, 16 << 10]),
            clock_drift_ppm: pick(&[0, 10_000, 300_000]) as u32,
            reads: if pick(&[0, 1]) == 1 { multi::Reads::Lease } else { multi::Reads::Confirm },
            batching: pick(&[0, 1, 1]) == 1,
            snapshot_log_bytes: pick(&[300, 3_000, 1 << 20]),
            retained_log_bytes: pick(&[0, 500, 1 << 20]),
            thrifty: [None, None, Some(Duration::from_millis(5))][pick(&[0, 1, 2])],
            ..multi::Config::default()
        }
    }

    fn laws(nodes: usize, config: &multi::Config) -> MultiPaxosLaws {
        MultiPaxosLaws::new(nodes, config)
    }

    fn clock_drift_ppm(config: &multi::Config) -> u32 {
        // Confirmed reads rest on no clock at all.
        if config.reads == multi::Reads::Lease { config.clock_drift_ppm } else { 600_000 }
    }

    fn trusts_clocks(config: &multi::Config) -> bool {
        config.reads == multi::Reads::Lease
    }

    fn patience(config: &multi::Config) -> Duration {
        config.election_timeout_max * 30
    }
}

impl Subject for Paxos {
    type Laws = PaxosLaws;

    const MODEL: Model = Model::WriteOnce;

    fn config(chance: &mut Pcg32) -> single::Config {
        let mut pick = |choices: &[u64]| choices[chance.random_range(0..choices.len())];
        single::Config {
            first_ballot: if pick(&[0, 1]) == 1 { FirstBallot::Promised } else { FirstBallot::Prepare },
            retry_interval: Duration::from_millis(pick(&[20, 50, 100])),
            back_off: Duration::from_micros(pick(&[100, 1_000, 4_000])),
            tell_interval: Duration::from_millis(pick(&[1, 10, 100])),
            commands_max: pick(&[1, 4, 1 << 15]) as usize,
            rewrite_log_bytes: pick(&[300, 3_000, 1 << 20]) as usize,
            ..single::Config::default()
        }
    }

    fn laws(nodes: usize, config: &single::Config) -> PaxosLaws {
        PaxosLaws::new(nodes, config)
    }

    fn clock_drift_ppm(_: &single::Config) -> u32 {
        600_000
    }

    fn trusts_clocks(_: &single::Config) -> bool {
        false
    }

    fn patience(_: &single::Config) -> Duration {
        // Some fifty questions and as many pauses, the longest there are.
        Duration::from_secs(20)
    }
}

/// Everybody's keys, in all worlds of PBFT.
pub(crate) fn keys() -> Keyring {
    static KEYS: LazyLock<Keyring> = LazyLock::new(|| Keyring::simulated(7, 64, 0));
    KEYS.clone()
}

impl Subject for Pbft {
    type Laws = PbftLaws;

    const SURVIVES_LIARS: bool = true;

    fn config(chance: &mut Pcg32) -> qlab_pbft::Config {
        let mut pick = |choices: &[usize]| choices[chance.random_range(0..choices.len())];
        let log_window = pick(&[4, 8, 32]);
        qlab_pbft::Config {
            authentication: [Authentication::Macs, Authentication::Signatures][pick(&[0, 1])],
            view_timeout: Duration::from_millis(pick(&[100, 200]) as u64),
            status_interval: Duration::from_millis(pick(&[50, 50]) as u64),
            batching: pick(&[0, 1, 1]) == 1,
            entry_bytes: pick(&[1, 200, 16 << 10]),
            window_entries: pick(&[1, 2, 4]),
            log_window,
            checkpoint_entries: pick(&[1, 2, log_window / 2]),
            checkpoint_bytes: pick(&[300, 1 << 20]),
            ..qlab_pbft::Config::new(keys())
        }
    }

    fn laws(nodes: usize, config: &qlab_pbft::Config) -> PbftLaws {
        PbftLaws::new(nodes, config)
    }

    fn clock_drift_ppm(_: &qlab_pbft::Config) -> u32 {
        600_000
    }

    fn trusts_clocks(_: &qlab_pbft::Config) -> bool {
        false
    }

    /// Fire of three seconds makes no replica wait for longer than twice as long, as patience doubles. Each of the next views costs
    /// twice the time of the one before: those of f liars in a row, and one of each honest primary that a client convinces and that
    /// cannot convince the others. Then one must come to something.
    fn patience(config: &qlab_pbft::Config) -> Duration {
        let waits = Duration::from_secs(6).max(config.view_timeout * 2);
        waits * (1 + 2 + 4 + 8 + 16 + 32 + 64)
    }

    fn nodes(drawn: usize) -> usize {
        if drawn == 1 { 7 } else { 4 }
    }

    /// An operation is a hundred messages: fewer of them, in less time.
    fn shape(schedule: &mut Schedule) {
        schedule.hurry();
        schedule.clients = schedule.clients.div_ceil(2);
        // A replica that takes in one message at a time is slower than seven talk.
        schedule.weather.burst_inputs_max = schedule.weather.burst_inputs_max.max(64);
        schedule.weather.think_max = schedule.weather.think_max.max(Duration::from_millis(10)) * 2;
    }

    fn faulty_max(nodes: usize) -> usize {
        (nodes - 1) / 3
    }

    fn liar(
        node: NodeId,
        nodes: usize,
        config: &qlab_pbft::Config,
        chance: &mut Pcg32,
    ) -> Option<Box<dyn Byzantine<Self>>> {
        pbft::liar(node, nodes, config, chance)
    }

    fn matching(nodes: usize) -> usize {
        Self::faulty_max(nodes) + 1
    }

    fn proof(config: &qlab_pbft::Config, client: u16, request: &Request) -> Bytes {
        config.keys.prover(client, config.authentication).prove(request)
    }
}

impl Subject for Abd {
    type Laws = AbdLaws;

    const COMPARES: bool = false;

    const SESSIONS_STAY: bool = true;

    fn config(chance: &mut Pcg32) -> abd::Config {
        let mut pick = |choices: &[u64]| choices[chance.random_range(0..choices.len())];
        abd::Config {
            retry_interval: Duration::from_millis(pick(&[20, 50, 100])),
            commands_max: pick(&[1, 4, 1 << 15]) as usize,
            rewrite_log_bytes: pick(&[300, 3_000, 1 << 20]) as usize,
            ..abd::Config::default()
        }
    }

    fn laws(nodes: usize, config: &abd::Config) -> AbdLaws {
        AbdLaws::new(nodes, config)
    }

    fn clock_drift_ppm(_: &abd::Config) -> u32 {
        600_000
    }

    fn trusts_clocks(_: &abd::Config) -> bool {
        false
    }

    fn patience(_: &abd::Config) -> Duration {
        // A hundred questions.
        Duration::from_secs(10)
    }
}

impl Subject for Dynamo {
    type Laws = DynamoLaws;

    const SESSIONS_STAY: bool = true;

    const LINEARIZABLE: bool = false;

    const CONTEXTS: bool = true;

    fn config(chance: &mut Pcg32) -> dynamo::Config {
        let mut pick = |choices: &[u64]| choices[chance.random_range(0..choices.len())];
        dynamo::Config {
            copies: [None, Some(3), Some(3)][pick(&[0, 1, 2]) as usize],
            quorums: Quorums { read: pick(&[1, 2]) as usize, write: pick(&[1, 2]) as usize },
            sloppy: pick(&[0, 1]) == 1,
            read_repair: pick(&[0, 1]) == 1,
            read_repair_interval: Duration::from_millis(pick(&[1, 10, 100])),
            retry_interval: Duration::from_millis(pick(&[20, 50, 100])),
            anti_entropy_interval: Duration::from_millis(pick(&[20, 100, 500])),
            tombstone_grace: Duration::from_millis(pick(&[50, 300, 600_000])),
            commands_max: pick(&[1, 4, 1 << 15]) as usize,
            rewrite_log_bytes: pick(&[300, 3_000, 1 << 20]) as usize,
            ..dynamo::Config::default()
        }
    }

    fn laws(nodes: usize, config: &dynamo::Config) -> DynamoLaws {
        DynamoLaws::new(nodes, config)
    }

    fn clock_drift_ppm(_: &dynamo::Config) -> u32 {
        600_000
    }

    fn trusts_clocks(_: &dynamo::Config) -> bool {
        false
    }

    fn patience(config: &dynamo::Config) -> Duration {
        // Every two homes compare every range a few times.
        Duration::from_secs(10) + config.anti_entropy_interval * 60
    }

    /// As many as leave R and W of three homes.
    fn faulty_max(nodes: usize) -> usize {
        usize::from(nodes > 2)
    }
}

impl Subject for Unreplicated {
    type Laws = NoLaws;

    fn config(chance: &mut Pcg32) -> qlab_unreplicated::Config {
        let snapshot_log_bytes = [300, 3_000, 1 << 20][chance.random_range(0..3)];
        qlab_unreplicated::Config { snapshot_log_bytes, ..qlab_unreplicated::Config::default() }
    }

    fn laws(_: usize, _: &qlab_unreplicated::Config) -> NoLaws {
        NoLaws
    }

    fn clock_drift_ppm(_: &qlab_unreplicated::Config) -> u32 {
        600_000
    }

    fn trusts_clocks(_: &qlab_unreplicated::Config) -> bool {
        false
    }

    fn patience(_: &qlab_unreplicated::Config) -> Duration {
        Duration::from_secs(5)
    }

    fn nodes(_: usize) -> usize {
        1
    }
}
