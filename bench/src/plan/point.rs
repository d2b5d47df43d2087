//! One cell after expansion: one system under one load. Every parameter is checked here, wherever it was written.

use std::{collections::BTreeMap, fmt, str::FromStr};

use qlab_checker::Model;
use qlab_report::Durability;

use qlab_machines::MachineKind;

use super::{Load, Machine, Rate, Scalar, Schedule};

/// Replicas of one system.
const REPLICAS_MAX: i64 = 63;
/// Until a point is settled: as many as is usual for the system.
const REPLICAS_UNSAID: u32 = 0;
/// Bytes of one value; the smallest holds a number that tells writes apart.
const VALUE_BYTES: (i64, i64) = (8, 128 << 10);
/// Unanswered requests of one connection.
pub const SESSION_OUTSTANDING_MAX: u32 = 4096;
/// Keys that a load touches.
const KEYS_MAX: i64 = 1 << 31;
/// Client connections.
const CONNECTIONS_MAX: i64 = 1024;
/// Exponent of a zipf distribution.
const SKEW_MAX: f64 = 10.0;

/// One system under one load: what is measured once in every round.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The cell's name and what varies in it; equal for systems that are compared.
    pub cell: String,
    /// The system under test.
    pub system: System,
    /// Replica processes; always 1 of the unreplicated server, whatever the plan says for the others.
    pub replicas: u32,
    /// What an acknowledged write has survived.
    pub durability: Durability,
    /// Bytes of one value.
    pub value_bytes: u32,
    /// Share of reads, 0 to 1.
    pub read_fraction: f64,
    /// Keys.
    pub keys: u32,
    /// How keys are chosen.
    pub key_distribution: KeyDistribution,
    /// How requests arrive.
    pub load: Load,
    /// The cell that a percentage in `load` is of; there exactly if `load` has one.
    pub percent_of: Option<String>,
    /// Client connections.
    pub connections: u32,
    /// What is replicated.
    pub machine: Machine,
    /// What goes wrong while it is measured.
    pub faults: Schedule,
    /// The protocol's own switches, such as `raft.reads`, for its own crate to check.
    pub switches: BTreeMap<String, String>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// One server, no peers: the floor.
    Unreplicated,
    /// Raft.
    Raft,
    /// Multi-Paxos.
    MultiPaxos,
    /// Paxos: registers that are written once.
    Paxos,
    /// PBFT, f of whose 3f + 1 replicas may do whatever they like.
    Pbft,
    /// ABD: linearizable registers without a leader.
    Abd,
    /// Dynamo: copies that agree later.
    Dynamo,
    /// The program `etcd`, if it is installed.
    Etcd,
}

impl System {
    /// All systems.
    pub const ALL: [Self; 8] = [
        Self::Unreplicated,
        Self::Raft,
        Self::MultiPaxos,
        Self::Paxos,
        Self::Pbft,
        Self::Abd,
        Self::Dynamo,
        Self::Etcd,
    ];

    /// The name on the command line, in plans and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreplicated => "unreplicated",
            Self::Raft => "raft",
            Self::MultiPaxos => "multi-paxos",
            Self::Paxos => "paxos",
            Self::Pbft => "pbft",
            Self::Abd => "abd",
            Self::Dynamo => "dynamo",
            Self::Etcd => "etcd",
        }
    }

    /// What is behind each key.
    pub fn model(self) -> Model {
        if self == Self::Paxos { Model::WriteOnce } else { Model::Kv }
    }

    /// Whether clients say with each write what they have read, and find several values; then what they see is not linearizable.
    pub fn has_contexts(self) -> bool {
        self == Self::Dynamo
    }

    /// Whether one of its replicas leads the others.
    pub fn has_leader(self) -> bool {
        matches!(self, Self::Raft | Self::MultiPaxos | Self::Pbft)
    }

    /// Its replicas if nobody says how many: as few as survive the failure of one.
    const fn default_replicas(self) -> u32 {
        match self {
            Self::Unreplicated => 1,
            Self::Raft | Self::MultiPaxos | Self::Paxos | Self::Abd | Self::Dynamo | Self::Etcd => 3,
            Self::Pbft => 4,
        }
    }
}

impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|system| system.name() == text);
        known.ok_or_else(|| format!("there is no system {text:?}; there are {names}"))
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeyDistribution {
    /// Each key as often as any other.
    Uniform,
    /// Key k with weight 1/kˢ.
    Zipf {
        /// The exponent s, above 0.
        skew: f64,
    },
    /// The most recently written keys most often.
    Latest,
    /// Each write takes the next key, without end; reads choose among the last ones.
    Fresh,
}

impl FromStr for KeyDistribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let skew =
            || text.strip_prefix("zipf:")?.parse().ok().filter(|skew| *skew > 0.0 && *skew <= SKEW_MAX);
        match text {
            "uniform" => Ok(Self::Uniform),
            "latest" => Ok(Self::Latest),
            "fresh" => Ok(Self::Fresh),
            _ => skew().map(|skew| Self::Zipf { skew }).ok_or_else(|| {
                format!("{text:?} is no distribution of keys: write uniform, latest, fresh or zipf:S with S above 0, at most {SKEW_MAX}")
            }),
        }
    }
}

impl fmt::Display for KeyDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf { skew } => write!(f, "zipf:{skew}"),
            Self::Latest => f.write_str("latest"),
            Self::Fresh => f.write_str("fresh"),
        }
    }
}

impl Point {
    /// The keys of a cell besides its name and the tables of switches.
    pub(super) const KEYS: [&'static str; 14] = [
        "system",
        "replicas",
        "durability",
        "value_bytes",
        "read_fraction",
        "keys",
        "key_distribution",
        "load",
        "percent_of",
        "connections",
        "faults",
        Machine::KEYS[0],
        Machine::KEYS[1],
        Machine::KEYS[2],
    ];

    /// The point that a cell without any key would be.
    pub(super) fn new(cell: String) -> Self {
        Self {
            cell,
            system: System::Raft,
            replicas: REPLICAS_UNSAID,
            durability: Durability::Fdatasync,
            value_bytes: 256,
            read_fraction: 0.0,
            keys: 10_000,
            key_distribution: KeyDistribution::Uniform,
            load: Load::Closed { outstanding: 64 },
            percent_of: None,
            connections: 4,
            machine: Machine::default(),
            faults: Schedule::default(),
            switches: BTreeMap::new(),
        }
    }

    /// Sets one parameter; the error says what is allowed.
    pub(super) fn set(&mut self, key: &str, value: &Scalar) -> Result<(), String> {
        match key {
            "system" => self.system = value.word()?,
            "replicas" => self.replicas = value.whole((1, REPLICAS_MAX))?,
            "durability" => self.durability = durability(value)?,
            "value_bytes" => self.value_bytes = value.whole(VALUE_BYTES)?,
            "read_fraction" => self.read_fraction = value.real((0.0, 1.0))?,
            "keys" => self.keys = value.whole((1, KEYS_MAX))?,
            "key_distribution" => self.key_distribution = value.word()?,
            "load" => self.load = value.word()?,
            "percent_of" => self.percent_of = Some(value.word()?),
            "connections" => self.connections = value.whole((1, CONNECTIONS_MAX))?,
            "faults" => self.faults = value.word()?,
            key if Machine::KEYS.contains(&key) => self.machine.set(key, value)?,
            switch => _ = self.switches.insert(switch.to_owned(), switch_value(value)?),
        }
        Ok(())
    }

    /// Chooses keys where the plan does not: each alike, or fresh ones where a register takes one value for ever.
    pub(super) fn choose_keys(&mut self) {
        if self.system == System::Paxos {
            self.key_distribution = KeyDistribution::Fresh;
        }
    }

    /// Whether every key is written once before the load: not where that would leave nothing to be done.
    pub fn preloads(&self) -> bool {
        self.machine.kind == MachineKind::Kv
            && self.system != System::Paxos
            && self.key_distribution != KeyDistribution::Fresh
    }

    /// Whether every key is read once after the load.
    pub fn verifies(&self) -> bool {
        self.machine.kind == MachineKind::Kv
    }

    /// Everything that tells this point from others of its system: the protocol's switches and the machine's.
    pub fn all_switches(&self) -> BTreeMap<String, String> {
        self.switches.clone().into_iter().chain(self.machine.switches()).collect()
    }

    /// What holds of a point once all its parameters are set.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        if self.system == System::Unreplicated || self.replicas == REPLICAS_UNSAID {
            self.replicas = self.system.default_replicas();
        }
        if self.system == System::Pbft && (self.replicas < 4 || self.replicas % 3 != 1) {
            return Err(format!("pbft needs 3f + 1 replicas: 4, 7, 10, …, not {}", self.replicas));
        }
        let own = format!("{}.", self.system);
        self.switches.retain(|name, _| name.starts_with(&own));
        if self.system == System::Etcd && self.durability != Durability::Fdatasync {
            return Err(format!(
                "etcd syncs always: its durability is fdatasync, not {}",
                self.durability.name()
            ));
        }
        self.check_faults()?;
        self.machine.check(self)?;
        let outstanding_max = SESSION_OUTSTANDING_MAX * self.connections;
        if let Load::Closed { outstanding } = self.load
            && outstanding > outstanding_max
        {
            return Err(format!(
                "load {} needs more connections: {} allow {outstanding_max} requests to be outstanding",
                self.load, self.connections
            ));
        }
        match (self.is_share(), &self.percent_of) {
            (true, None) => Err(format!(
                "load {} needs percent_of = \"CELL\": the cell whose throughput is 100 %",
                self.load
            )),
            (false, Some(_)) => Err(format!("percent_of has no meaning with load {}", self.load)),
            _ => Ok(()),
        }
    }

    /// Faults need replicas of the laboratory's own that can be disturbed and can come back.
    fn check_faults(&self) -> Result<(), String> {
        let what = match self.system {
            _ if self.faults.is_empty() => return Ok(()),
            System::Etcd => "cannot disturb etcd, only the laboratory's own systems",
            System::Unreplicated => "have no meaning for unreplicated, which has no other replica",
            system if self.faults.lies() && system != System::Pbft => {
                "cannot make a replica lie whose system believes it: only those of pbft"
            }
            _ if self.faults.lies() && self.faults.faults().len() > 1 => {
                "with a lie among them are one too many: whoever lied counts as faulty for good"
            }
            system if self.faults.strike_leaders() && !system.has_leader() => {
                "cannot strike a leader where there is none: write kill-follower, pause-follower, partition-follower or slow-disk-follower"
            }
            _ if self.replicas < 2 => "need at least 2 replicas",
            _ if self.faults.kills() && self.durability == Durability::Memory => {
                "cannot kill a replica with durability memory: it could not come back"
            }
            _ => return Ok(()),
        };
        Err(format!("faults {what}"))
    }

    fn is_share(&self) -> bool {
        matches!(self.load, Load::Open { rate: Rate::Percent(_), .. })
    }
}

fn durability(value: &Scalar) -> Result<Durability, String> {
    let name: String = value.word()?;
    let known = Durability::ALL.into_iter().find(|class| class.name() == name);
    known.ok_or_else(|| {
        format!(
            "there is no durability {name:?}; there are {}",
            Durability::ALL.map(Durability::name).join(", ")
        )
    })
}

/// A switch's value stands in the names of cells.
fn switch_value(value: &Scalar) -> Result<String, String> {
    let text = value.to_string();
    if text.is_empty() || text.contains([' ', ',', '|', '\n']) {
        return Err(format!("a switch's value cannot be {text:?}: no spaces, commas, bars or line breaks"));
    }
    Ok(text)
}
