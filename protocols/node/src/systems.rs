//! Every protocol by name, and its options.
//!
//! Options come as a table, from a plan or a configuration file; an unknown key is an error that lists the valid ones.

mod clock;
mod gossip;

use std::time::Duration;

use qlab_clocks::sync::Clock;
use qlab_gossip::Gossip;
use qlab_kernel::Protocol;
use qlab_machines::MachineKind;
use qlab_paxos::single::FirstBallot;
use qlab_paxos::{MultiPaxos, Paxos, multi, single};
use qlab_pbft::{Authentication, Keyring, Pbft};
use qlab_quorum::dynamo::{Conflicts, Guarantee};
use qlab_quorum::{Abd, Dynamo, Quorums, abd, dynamo};
use qlab_raft::{LeaderWrite, Raft, Reads};
use qlab_unreplicated::Unreplicated;
use serde::Deserialize;

use self::clock::ClockOptions;
pub(crate) use self::clock::clock;
use self::gossip::GossipOptions;
pub(crate) use self::gossip::gossip;

/// Every system's name.
pub const NAMES: [&str; 9] = [
    Unreplicated::NAME,
    Raft::NAME,
    MultiPaxos::NAME,
    Paxos::NAME,
    Pbft::NAME,
    Abd::NAME,
    Dynamo::NAME,
    Gossip::NAME,
    Clock::NAME,
];

/// Why options do not make a configuration.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// There is no such system.
    #[error("unknown system \"{0}\"; there are {names}", names = NAMES.join(", "))]
    UnknownSystem(String),
    /// The system cannot carry the machine: choose another of either.
    #[error("{system} cannot carry the machine {machine}: {reason}")]
    Machine {
        /// The system.
        system: String,
        /// The machine.
        machine: MachineKind,
        /// Why not.
        reason: &'static str,
    },
    /// A key or value is not valid.
    #[error("options of {system}: {reason}")]
    Invalid {
        /// The system.
        system: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// Checks a system's name and its options, for a cluster of so many replicas, without starting anything.
pub fn check(system: &str, options: &toml::Table, replicas: usize) -> Result<(), OptionsError> {
    match system {
        Unreplicated::NAME => unreplicated(options).map(drop),
        Raft::NAME => raft(options).map(drop),
        MultiPaxos::NAME => multi_paxos(options, replicas).map(drop),
        Paxos::NAME => paxos(options).map(drop),
        // Whose keys they are makes no difference to the options, and nothing is started with them.
        Pbft::NAME => pbft(options, replicas, Keyring::simulated(0, 0, 0)).map(drop),
        Abd::NAME => abd(options, replicas).map(drop),
        Dynamo::NAME => dynamo(options, replicas).map(drop),
        Gossip::NAME => gossip(options).map(drop),
        Clock::NAME => clock(options, replicas).map(drop),
        other => Err(OptionsError::UnknownSystem(other.into())),
    }
}

/// Checks that a system can carry a machine.
pub fn check_machine(system: &str, machine: MachineKind) -> Result<(), OptionsError> {
    let reason = match (system, machine) {
        (_, MachineKind::Kv) | (Unreplicated::NAME | Raft::NAME | MultiPaxos::NAME, _) => return Ok(()),
        (Paxos::NAME, _) => "it decides registers one by one, and locks need one log",
        (Abd::NAME | Dynamo::NAME, _) => "it keeps registers, and locks need a log",
        (Gossip::NAME | Clock::NAME, _) => "it has no log, and locks need one",
        // One that may lie may say that time has passed, and end leases whose holders believe in them.
        (Pbft::NAME, _) => {
            "leases go by the clock of whoever leads, and its replicas do not believe each other"
        }
        (other, _) => return Err(OptionsError::UnknownSystem(other.into())),
    };
    Err(OptionsError::Machine { system: system.into(), machine, reason })
}

/// Checks that a system has an option and that the value is of its kind; whether options go together is for [`check`].
pub fn check_option(system: &str, key: &str, value: toml::Value) -> Result<(), OptionsError> {
    let options = toml::Table::from_iter([(key.to_owned(), value)]);
    match system {
        Unreplicated::NAME => read::<UnreplicatedOptions>(Unreplicated::NAME, &options).map(drop),
        Raft::NAME => read::<RaftOptions>(Raft::NAME, &options).map(drop),
        MultiPaxos::NAME => read::<MultiPaxosOptions>(MultiPaxos::NAME, &options).map(drop),
        Paxos::NAME => read::<PaxosOptions>(Paxos::NAME, &options).map(drop),
        Pbft::NAME => read::<PbftOptions>(Pbft::NAME, &options).map(drop),
        Abd::NAME => read::<AbdOptions>(Abd::NAME, &options).map(drop),
        Dynamo::NAME => read::<DynamoOptions>(Dynamo::NAME, &options).map(drop),
        Gossip::NAME => read::<GossipOptions>(Gossip::NAME, &options).map(drop),
        Clock::NAME => read::<ClockOptions>(Clock::NAME, &options).map(drop),
        other => Err(OptionsError::UnknownSystem(other.into())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnreplicatedOptions {
    snapshot_log_bytes: Option<u64>,
}

pub(crate) fn unreplicated(options: &toml::Table) -> Result<qlab_unreplicated::Config, OptionsError> {
    let options: UnreplicatedOptions = read(Unreplicated::NAME, options)?;
    let defaults = qlab_unreplicated::Config::default();
    let config = qlab_unreplicated::Config {
        snapshot_log_bytes: options.snapshot_log_bytes.unwrap_or(defaults.snapshot_log_bytes),
        ..defaults
    };
    config.validate().map_err(|error| invalid(Unreplicated::NAME, error))?;
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RaftOptions {
    election_timeout_min_ms: Option<u64>,
    election_timeout_max_ms: Option<u64>,
    heartbeat_interval_ms: Option<u64>,
    batching: Option<bool>,
    entry_bytes: Option<usize>,
    window_entries: Option<usize>,
    window_bytes: Option<usize>,
    leader_write: Option<LeaderWriteName>,
    reads: Option<ReadsName>,
    snapshot_log_bytes: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LeaderWriteName {
    Parallel,
    First,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReadsName {
    ReadIndex,
    Lease,
}

pub(crate) fn raft(options: &toml::Table) -> Result<qlab_raft::Config, OptionsError> {
    let options: RaftOptions = read(Raft::NAME, options)?;
    let defaults = qlab_raft::Config::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let config = qlab_raft::Config {
        election_timeout_min: milliseconds(options.election_timeout_min_ms, defaults.election_timeout_min),
        election_timeout_max: milliseconds(options.election_timeout_max_ms, defaults.election_timeout_max),
        heartbeat_interval: milliseconds(options.heartbeat_interval_ms, defaults.heartbeat_interval),
        batching: options.batching.unwrap_or(defaults.batching),
        entry_bytes: options.entry_bytes.unwrap_or(defaults.entry_bytes),
        window_entries: options.window_entries.unwrap_or(defaults.window_entries),
        window_bytes: options.window_bytes.unwrap_or(defaults.window_bytes),
        leader_write: match options.leader_write {
            None | Some(LeaderWriteName::Parallel) => LeaderWrite::Parallel,
            Some(LeaderWriteName::First) => LeaderWrite::First,
        },
        reads: match options.reads {
            None | Some(ReadsName::ReadIndex) => Reads::Index,
            Some(ReadsName::Lease) => Reads::Lease,
        },
        snapshot_log_bytes: options.snapshot_log_bytes.unwrap_or(defaults.snapshot_log_bytes),
        ..defaults
    };
    config.validate().map_err(|error| invalid(Raft::NAME, error))?;
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MultiPaxosOptions {
    election_timeout_min_ms: Option<u64>,
    election_timeout_max_ms: Option<u64>,
    heartbeat_interval_ms: Option<u64>,
    batching: Option<bool>,
    entry_bytes: Option<usize>,
    window_entries: Option<usize>,
    window_bytes: Option<usize>,
    reads: Option<MultiPaxosReadsName>,
    snapshot_log_bytes: Option<usize>,
    quorum_1: Option<usize>,
    quorum_2: Option<usize>,
    thrifty_hedge_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum MultiPaxosReadsName {
    Confirm,
    Lease,
}

pub(crate) fn multi_paxos(options: &toml::Table, replicas: usize) -> Result<multi::Config, OptionsError> {
    let options: MultiPaxosOptions = read(MultiPaxos::NAME, options)?;
    let defaults = multi::Config::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let config = multi::Config {
        election_timeout_min: milliseconds(options.election_timeout_min_ms, defaults.election_timeout_min),
        election_timeout_max: milliseconds(options.election_timeout_max_ms, defaults.election_timeout_max),
        heartbeat_interval: milliseconds(options.heartbeat_interval_ms, defaults.heartbeat_interval),
        batching: options.batching.unwrap_or(defaults.batching),
        entry_bytes: options.entry_bytes.unwrap_or(defaults.entry_bytes),
        window_entries: options.window_entries.unwrap_or(defaults.window_entries),
        window_bytes: options.window_bytes.unwrap_or(defaults.window_bytes),
        reads: match options.reads {
            None | Some(MultiPaxosReadsName::Confirm) => multi::Reads::Confirm,
            Some(MultiPaxosReadsName::Lease) => multi::Reads::Lease,
        },
        snapshot_log_bytes: options.snapshot_log_bytes.unwrap_or(defaults.snapshot_log_bytes),
        quorums: Some(multi::Quorums::given(options.quorum_1, options.quorum_2, replicas)),
        thrifty: options.thrifty_hedge_ms.map(Duration::from_millis),
        ..defaults
    };
    config.validate(replicas).map_err(|error| invalid(MultiPaxos::NAME, error))?;
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaxosOptions {
    first_ballot: Option<FirstBallotName>,
    retry_interval_ms: Option<u64>,
    back_off_us: Option<u64>,
    tell_interval_ms: Option<u64>,
    commands_max: Option<usize>,
    registers_bytes_max: Option<usize>,
    rewrite_log_bytes: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FirstBallotName {
    Prepare,
    Promised,
}

pub(crate) fn paxos(options: &toml::Table) -> Result<single::Config, OptionsError> {
    let options: PaxosOptions = read(Paxos::NAME, options)?;
    let defaults = single::Config::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let config = single::Config {
        first_ballot: match options.first_ballot {
            None | Some(FirstBallotName::Prepare) => FirstBallot::Prepare,
            Some(FirstBallotName::Promised) => FirstBallot::Promised,
        },
        retry_interval: milliseconds(options.retry_interval_ms, defaults.retry_interval),
        back_off: options.back_off_us.map_or(defaults.back_off, Duration::from_micros),
        tell_interval: milliseconds(options.tell_interval_ms, defaults.tell_interval),
        commands_max: options.commands_max.unwrap_or(defaults.commands_max),
        registers_bytes_max: options.registers_bytes_max.unwrap_or(defaults.registers_bytes_max),
        rewrite_log_bytes: options.rewrite_log_bytes.unwrap_or(defaults.rewrite_log_bytes),
    };
    config.validate().map_err(|error| invalid(Paxos::NAME, error))?;
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PbftOptions {
    authentication: Option<AuthenticationName>,
    view_timeout_ms: Option<u64>,
    status_interval_ms: Option<u64>,
    batching: Option<bool>,
    entry_bytes: Option<usize>,
    window_entries: Option<usize>,
    log_window: Option<usize>,
    checkpoint_entries: Option<usize>,
    checkpoint_bytes: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AuthenticationName {
    Macs,
    Signatures,
}

/// How clients prove who they are, and replicas what they committed.
pub(crate) fn authentication(options: &toml::Table) -> Result<Authentication, OptionsError> {
    let options: PbftOptions = read(Pbft::NAME, options)?;
    Ok(options.authentication())
}

pub(crate) fn pbft(
    options: &toml::Table,
    replicas: usize,
    keys: Keyring,
) -> Result<qlab_pbft::Config, OptionsError> {
    let options: PbftOptions = read(Pbft::NAME, options)?;
    let defaults = qlab_pbft::Config::new(keys);
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let config = qlab_pbft::Config {
        authentication: options.authentication(),
        view_timeout: milliseconds(options.view_timeout_ms, defaults.view_timeout),
        status_interval: milliseconds(options.status_interval_ms, defaults.status_interval),
        batching: options.batching.unwrap_or(defaults.batching),
        entry_bytes: options.entry_bytes.unwrap_or(defaults.entry_bytes),
        window_entries: options.window_entries.unwrap_or(defaults.window_entries),
        log_window: options.log_window.unwrap_or(defaults.log_window),
        checkpoint_entries: options.checkpoint_entries.unwrap_or(defaults.checkpoint_entries),
        checkpoint_bytes: options.checkpoint_bytes.unwrap_or(defaults.checkpoint_bytes),
        ..defaults
    };
    config.validate(replicas).map_err(|error| invalid(Pbft::NAME, error))?;
    Ok(config)
}

impl PbftOptions {
    fn authentication(&self) -> Authentication {
        match self.authentication {
            None | Some(AuthenticationName::Macs) => Authentication::Macs,
            Some(AuthenticationName::Signatures) => Authentication::Signatures,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbdOptions {
    quorum_read: Option<usize>,
    quorum_write: Option<usize>,
    retry_interval_ms: Option<u64>,
    commands_max: Option<usize>,
    registers_bytes_max: Option<usize>,
    rewrite_log_bytes: Option<usize>,
}

pub(crate) fn abd(options: &toml::Table, replicas: usize) -> Result<abd::Config, OptionsError> {
    let options: AbdOptions = read(Abd::NAME, options)?;
    let defaults = abd::Config::default();
    let config = abd::Config {
        quorums: Some(Quorums::given(options.quorum_read, options.quorum_write, replicas)),
        retry_interval: options.retry_interval_ms.map_or(defaults.retry_interval, Duration::from_millis),
        commands_max: options.commands_max.unwrap_or(defaults.commands_max),
        registers_bytes_max: options.registers_bytes_max.unwrap_or(defaults.registers_bytes_max),
        rewrite_log_bytes: options.rewrite_log_bytes.unwrap_or(defaults.rewrite_log_bytes),
    };
    config.validate(replicas).map_err(|error| invalid(Abd::NAME, error))?;
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DynamoOptions {
    copies: Option<usize>,
    quorum_read: Option<usize>,
    quorum_write: Option<usize>,
    sloppy: Option<bool>,
    read_repair: Option<bool>,
    read_repair_interval_ms: Option<u64>,
    conflicts: Option<ConflictsName>,
    retry_interval_ms: Option<u64>,
    anti_entropy_interval_ms: Option<u64>,
    tombstone_grace_ms: Option<u64>,
    commands_max: Option<usize>,
    store_bytes_max: Option<usize>,
    rewrite_log_bytes: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ConflictsName {
    Siblings,
    LastWriterWins,
}

/// What is promised with these options, to be said beside every figure.
pub fn dynamo_guarantee(options: &toml::Table, replicas: usize) -> Result<Guarantee, OptionsError> {
    Ok(dynamo(options, replicas)?.guarantee(replicas))
}

pub(crate) fn dynamo(options: &toml::Table, replicas: usize) -> Result<dynamo::Config, OptionsError> {
    let options: DynamoOptions = read(Dynamo::NAME, options)?;
    let defaults = dynamo::Config::default();
    let milliseconds = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
    let config = dynamo::Config {
        copies: options.copies,
        quorums: Quorums {
            read: options.quorum_read.unwrap_or(defaults.quorums.read),
            write: options.quorum_write.unwrap_or(defaults.quorums.write),
        },
        sloppy: options.sloppy.unwrap_or(defaults.sloppy),
        read_repair: options.read_repair.unwrap_or(defaults.read_repair),
        read_repair_interval: milliseconds(options.read_repair_interval_ms, defaults.read_repair_interval),
        conflicts: match options.conflicts {
            None | Some(ConflictsName::Siblings) => Conflicts::Siblings,
            Some(ConflictsName::LastWriterWins) => Conflicts::LastWriterWins,
        },
        retry_interval: milliseconds(options.retry_interval_ms, defaults.retry_interval),
        anti_entropy_interval: milliseconds(options.anti_entropy_interval_ms, defaults.anti_entropy_interval),
        tombstone_grace: milliseconds(options.tombstone_grace_ms, defaults.tombstone_grace),
        commands_max: options.commands_max.unwrap_or(defaults.commands_max),
        store_bytes_max: options.store_bytes_max.unwrap_or(defaults.store_bytes_max),
        rewrite_log_bytes: options.rewrite_log_bytes.unwrap_or(defaults.rewrite_log_bytes),
    };
    config.validate(replicas).map_err(|error| invalid(Dynamo::NAME, error))?;
    Ok(config)
}

fn read<T: for<'a> Deserialize<'a>>(system: &'static str, options: &toml::Table) -> Result<T, OptionsError> {
    options.clone().try_into().map_err(|error: toml::de::Error| invalid(system, error.message()))
}

fn invalid(system: &'static str, reason: impl ToString) -> OptionsError {
    OptionsError::Invalid { system, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(system: &str, options: &str) -> String {
        check(system, &options.parse().unwrap(), 3).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_and_what_would_be_right_is_said() {
        assert_eq!(
            complaint("raff", ""),
            "unknown system \"raff\"; there are unreplicated, raft, multi-paxos, paxos, pbft, abd, dynamo, gossip, clock"
        );
        assert!(complaint("raft", "windw_entries = 3").contains("expected one of `election_timeout_min_ms`"));
        assert!(complaint("raft", "reads = \"quick\"").contains("`read-index` or `lease`"));
        assert!(complaint("raft", "heartbeat_interval_ms = 200").contains("heartbeat_interval"));
        assert!(complaint("raft", "window_entries = 0").contains("window_entries"));
        assert!(complaint("unreplicated", "snapshot_log_bytes = 0").contains("snapshot_log_bytes"));
        assert!(check("raft", &"reads = \"lease\"\nwindow_entries = 8".parse().unwrap(), 3).is_ok());
        assert!(complaint("multi-paxos", "quorum_2 = 1").contains("their sum must be above 3"));
        assert!(complaint("multi-paxos", "reads = \"quick\"").contains("`confirm` or `lease`"));
        assert!(complaint("paxos", "first_ballot = \"free\"").contains("`prepare` or `promised`"));
        assert!(complaint("paxos", "back_off_us = 0").contains("back_off"));
        assert!(check("paxos", &"first_ballot = \"promised\"".parse().unwrap(), 3).is_ok());
        assert!(complaint("abd", "quorum_read = 1\nquorum_write = 2").contains("their sum must be above 3"));
        assert!(check("abd", &"quorum_write = 3".parse().unwrap(), 3).is_ok());
        assert!(complaint("dynamo", "copies = 2\nquorum_write = 3").contains("it must be 1 to 2"));
        assert!(complaint("dynamo", "conflicts = \"merge\"").contains("`siblings` or `last-writer-wins`"));
        assert!(
            check("dynamo", &"quorum_read = 1\nquorum_write = 1\nsloppy = true".parse().unwrap(), 3).is_ok()
        );
        assert!(complaint("gossip", "exchange = \"pull-push\"").contains("`push`, `pull`, `push-pull`"));
        assert!(complaint("gossip", "fanout = 0").contains("fanout is 0"));
        assert!(complaint("clock", "references = 4").contains("only 3 replicas"));
        assert!(complaint("clock", "poll_interval_ms = 0").contains("poll_interval"));
        assert!(check("clock", &"references = 3\npoll_interval_ms = 100".parse().unwrap(), 3).is_ok());
        let flexible = "quorum_1 = 3\nquorum_2 = 1\nthrifty_hedge_ms = 5";
        assert!(check("multi-paxos", &flexible.parse().unwrap(), 3).is_ok());
        assert!(complaint("pbft", "").contains("3 replicas are not 3f + 1"));
        assert!(complaint("pbft", "authentication = \"trust\"").contains("`macs` or `signatures`"));
        let signed = "authentication = \"signatures\"\nwindow_entries = 1";
        assert!(check("pbft", &signed.parse().unwrap(), 4).is_ok());
    }

    #[test]
    fn locks_need_a_log_and_a_leader_who_is_believed() {
        for system in [Unreplicated::NAME, Raft::NAME, MultiPaxos::NAME] {
            assert!(check_machine(system, MachineKind::Locks).is_ok());
        }
        for system in [Paxos::NAME, Pbft::NAME, Abd::NAME, Dynamo::NAME, Gossip::NAME, Clock::NAME] {
            assert!(check_machine(system, MachineKind::Kv).is_ok());
            let refused = check_machine(system, MachineKind::Locks).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("{system} cannot carry the machine locks: ")), "{refused}");
        }
        assert!(
            check_machine("raff", MachineKind::Locks).unwrap_err().to_string().contains("unknown system")
        );
    }
}
