//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, builder::PossibleValuesParser};
use qlab_checker::Model;
use qlab_machines::MachineKind;
use qlab_report::Durability;

use crate::plan::{Draft, Plan, PlanError, Scalar, System, parse_duration};
use crate::sim::SimArgs;
use crate::studies;
use crate::study::StudyArgs;

const EXAMPLES: &str = "\
Examples:
  qlab                                            the plan quick: is everything alive?
  qlab run floor                                  what replication costs, five shuffled rounds
  qlab run --system raft --load closed:256        one cell, made of flags
  qlab run floor --value-bytes 1024 --repeats 3   a plan with a change
  qlab run --faults kill-leader@2s                what clients notice of a crash, and for how long
  qlab run gossip                                 how fast news spreads among processes, and who is known to be dead
  qlab run clock                                  how wrong synchronised clocks are, against what they claim
  qlab sim raft --seeds 0..10000                  ten thousand worlds that try to break it
  qlab study spread                               how fast news spreads among up to 10,000 simulated nodes
  qlab check history.jsonl --model kv             judge somebody else's history
  qlab doctor                                     what this machine can do, and what to change

Exit code: 0 when every verdict holds, 1 when one is violated or something failed, 2 when one is unknown or for wrong usage.";

const RUN_EXAMPLES: &str = "\
Without PLAN, flags that describe a cell make a plan of one cell for each system; without any, it is the plan quick.
With PLAN, flags replace the plan's values in every cell.

Loads:
  closed:64               64 requests outstanding; a reply lets the next one go
  open:20000              20,000 operations due per second, Poisson; latency counts from when each was due
  open:20000/constant     the same with equal gaps
  open:10%                a share of another cell's throughput; in plans only, with percent_of

Faults, as KIND@START/DURATION with commas between, times from the beginning of the measured window, 1s if there is no duration:
  kill-leader, kill-follower                       killed, started again after the duration
  pause-leader, pause-follower                     stopped where it stands, then let go on
  partition (-leader), partition-follower          cut off from all other replicas, not from clients
  slow-disk (-leader), slow-disk-follower          every commit of its journal takes 50 ms longer
  loss                                             5 % of the datagrams that replicas send vanish
  delay                                            every datagram that replicas send takes 10 ms longer
Of pbft alone, and one in a cell:
  silent-leader                                    the primary proposes nothing
  slow-leader                                      it takes up each request as late as the others' patience allows
  equivocating-leader                              it proposes different things to different replicas, and votes for everything
  censoring-leader                                 it never hears of one session's requests
  forging-leader                                   it signs badly for some, and spoils what clients prove

Examples:
  qlab run
  qlab run floor --out /data/results
  qlab run my-plan.toml --json
  qlab run --machine locks --keys 8
  qlab run --system raft --system unreplicated --read-fraction 0.95 --key-distribution zipf:0.99 --load open:5000
  qlab run --load open:10000/constant --faults kill-leader@2s,pause-follower@5s/500ms";

/// A laboratory for replication protocols: every number with its verdict.
#[derive(Debug, Parser)]
#[command(name = "qlab", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; nothing runs the plan quick.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure and judge systems, as a plan or flags say.
    Run(Box<RunArgs>),
    /// Judge a history: was what the clients saw possible?
    Check(CheckArgs),
    /// Run a system in simulated worlds that try to break it, by the seed.
    Sim(SimArgs),
    /// Ask simulated worlds and data types a question, and hold the answers against what is known to be true.
    Study(StudyArgs),
    /// Look into a replica's journal.
    #[command(subcommand)]
    Journal(JournalVerb),
    /// Tell what this machine can do for measurements, and what to change.
    Doctor(DoctorArgs),
    /// Derive the generated blocks of README.md and results/README.md, and the charts, from the committed runs.
    Book(BookArgs),
    /// Work on result folders.
    #[command(subcommand)]
    Results(ResultsVerb),
    /// Be a replica: the laboratory starts these itself.
    #[command(hide = true)]
    Replica {
        /// The replica's configuration.
        config: PathBuf,
    },
    /// Be a replica that lies when it is told to: the laboratory starts these itself, in cells with such faults only.
    #[command(hide = true)]
    ByzantineReplica {
        /// The replica's configuration.
        config: PathBuf,
    },
    /// Become another program that ends with whoever started this one: for systems that are not the laboratory's own.
    #[command(hide = true)]
    Leashed {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Flags of `run`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// A plan's name, or the path of a .toml file.
    pub plan: Option<String>,
    /// System under test; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(System::ALL.map(System::name)))]
    pub system: Vec<String>,
    /// What is replicated: a key-value store, or locks, each operation taking one and giving it back [default: kv].
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(MachineKind::ALL.map(MachineKind::name)))]
    pub machine: Option<String>,
    /// Replicas, 1 to 63 [default: 3, of pbft 4]; the unreplicated server always has one.
    #[arg(long, value_name = "N")]
    pub replicas: Option<i64>,
    /// What a write has survived when it is acknowledged: loss of power, the end of the process, nothing.
    #[arg(long, value_parser = PossibleValuesParser::new(Durability::ALL.map(Durability::name)))]
    pub durability: Option<String>,
    /// Bytes of one value, 8 to 131072 [default: 256].
    #[arg(long, value_name = "BYTES")]
    pub value_bytes: Option<i64>,
    /// Share of reads, 0 to 1 [default: 0].
    #[arg(long, value_name = "SHARE")]
    pub read_fraction: Option<f64>,
    /// Keys that the load touches [default: 10000].
    #[arg(long, value_name = "N")]
    pub keys: Option<i64>,
    /// uniform, latest, fresh or zipf:S [default: uniform; fresh for paxos, whose registers take one value for ever].
    #[arg(long, value_name = "HOW")]
    pub key_distribution: Option<String>,
    /// How requests arrive; see below [default: closed:64].
    #[arg(long)]
    pub load: Option<String>,
    /// Client connections [default: 4].
    #[arg(long, value_name = "N")]
    pub connections: Option<i64>,
    /// What goes wrong while it is measured, such as kill-leader@2s,partition@5s/500ms; see below.
    #[arg(long, value_name = "FAULTS")]
    pub faults: Option<String>,
    /// Time cut from the start of each cell [default: 2s].
    #[arg(long, value_name = "TIME")]
    pub warmup: Option<String>,
    /// Time measured in each cell [default: 5s, with faults at least until 2s after the last].
    #[arg(long, value_name = "TIME")]
    pub measure: Option<String>,
    /// How often every cell is measured; each time is one row [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub repeats: Option<i64>,
    /// Seed of orders and loads [default: 7].
    #[arg(long)]
    pub seed: Option<i64>,
    /// Folder of results.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub out: PathBuf,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// A history: JSON lines in real-time order, such as
    /// {"process": 3, "type": "invoke", "f": "put", "key": "k", "value": 1, "time": 17}; - is standard input.
    pub file: PathBuf,
    /// What each key of the history is: kv, register, cas-register, append, set, mutex or write-once.
    #[arg(long, default_value_t = Model::Kv)]
    pub model: Model,
    /// Print one JSON object: verdict, operations, witness.
    #[arg(long)]
    pub json: bool,
    /// Write a page, too, on which the contradiction is drawn.
    #[arg(long, value_name = "OUT.html")]
    pub html: Option<PathBuf>,
}

/// What to do with a journal.
#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Print the segments of a journal, where it ends, and whether it is sound; code 1 if it is not.
    Inspect(InspectArgs),
}

/// Flags of `journal inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    /// The journal's folder; its owner may be running.
    pub dir: PathBuf,
    /// List every frame, too.
    #[arg(long)]
    pub frames: bool,
    /// Print one JSON object instead of the tables.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Where replicas will keep their journals; tested by writing there.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub data_dir: PathBuf,
}

/// Flags of `book`.
#[derive(Args, Clone, Debug)]
pub struct BookArgs {
    /// Change nothing; name the blocks that are stale and end with code 1 if there is one.
    #[arg(long)]
    pub check: bool,
}

/// What to do with results.
#[derive(Debug, Subcommand)]
pub enum ResultsVerb {
    /// Check every run: shape, hashes, rising quantiles, and that histograms and rows agree.
    Validate {
        /// The folder of results.
        #[arg(default_value = "results")]
        dir: PathBuf,
    },
}

impl RunArgs {
    /// The plan that these flags ask for, if it asks processes a question instead of putting a load on a service.
    pub fn study(&self) -> Result<Option<studies::Plan>, studies::PlanError> {
        let Some(name) = &self.plan else { return Ok(None) };
        let Some(plan) = studies::Plan::find(name)? else { return Ok(None) };
        let wrong = |flag: &str, reason: String| studies::PlanError::new(flag, reason);
        let foreign = self
            .cell_flags()
            .into_iter()
            .map(|(key, _)| key)
            .chain(self.warmup.is_some().then_some("warmup"));
        if let Some(key) = foreign.into_iter().next() {
            let flag = format!("--{}", key.replace('_', "-"));
            return Err(wrong(
                &flag,
                format!(
                    "{name} measures no load on a service: only --measure, --repeats and --seed change it"
                ),
            ));
        }
        let measure = self.measure.as_ref().map(|text| {
            parse_duration(text)
                .ok_or_else(|| wrong("--measure", format!("{text:?} is no time: write 500ms, 2s or 1m")))
        });
        let rounds = self.repeats.map(|rounds| {
            u32::try_from(rounds).map_err(|_| wrong("--repeats", format!("{rounds} are too many")))
        });
        let changes = studies::Changes {
            rounds: rounds.transpose()?,
            seed: self.seed.map(i64::cast_unsigned),
            measure: measure.transpose()?,
        };
        Ok(Some(plan.with(changes)))
    }

    /// The plan that these flags ask for.
    pub fn plan(&self) -> Result<Plan, PlanError> {
        let cell = self.cell_flags();
        let mut draft = match &self.plan {
            Some(plan) => Plan::draft(plan)?,
            None if cell.is_empty() => Plan::draft("quick")?,
            None => one_cell(self.faults.is_some()),
        };
        for (key, values) in cell.into_iter().chain(self.plan_flags()) {
            draft.set(key, values);
        }
        draft.drop_foreign_switches();
        draft.finish()
    }

    /// The flags that describe a cell, as the plan's keys.
    fn cell_flags(&self) -> Vec<(&'static str, Vec<Scalar>)> {
        let systems: Vec<Scalar> = self.system.iter().cloned().map(Scalar::Text).collect();
        let one = |key, value: Option<Scalar>| (key, Vec::from_iter(value));
        let flags = [
            ("system", systems),
            one("machine", self.machine.clone().map(Scalar::Text)),
            one("replicas", self.replicas.map(Scalar::Integer)),
            one("durability", self.durability.clone().map(Scalar::Text)),
            one("value_bytes", self.value_bytes.map(Scalar::Integer)),
            one("read_fraction", self.read_fraction.map(Scalar::Real)),
            one("keys", self.keys.map(Scalar::Integer)),
            one("key_distribution", self.key_distribution.clone().map(Scalar::Text)),
            one("load", self.load.clone().map(Scalar::Text)),
            one("connections", self.connections.map(Scalar::Integer)),
            one("faults", self.faults.clone().map(Scalar::Text)),
        ];
        flags.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }

    /// The flags that describe the whole plan, as the plan's keys.
    fn plan_flags(&self) -> impl Iterator<Item = (&'static str, Vec<Scalar>)> {
        let flags = [
            ("warmup", self.warmup.clone().map(Scalar::Text)),
            ("measure", self.measure.clone().map(Scalar::Text)),
            ("rounds", self.repeats.map(Scalar::Integer)),
            ("seed", self.seed.map(Scalar::Integer)),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, vec![value?])))
    }
}

/// Flags alone measure Raft, beside its floor if nothing is to go wrong, unless they name systems.
fn one_cell(has_faults: bool) -> Draft {
    let mut draft = Draft::one_cell();
    let systems: &[System] = if has_faults { &[System::Raft] } else { &[System::Unreplicated, System::Raft] };
    draft.set("system", systems.iter().map(|system| Scalar::Text(system.name().to_owned())).collect());
    draft
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn plan(line: &str) -> Plan {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"));
        let Some(Verb::Run(args)) = cli.verb else { panic!("{line} is no run") };
        args.plan().unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(line: &str) -> String {
        Cli::try_parse_from(line.split_whitespace()).expect_err(line).to_string()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_verb_is_allowed() {
        assert!(Cli::try_parse_from(["qlab"]).unwrap().verb.is_none());
    }

    #[test]
    fn flags_alone_make_one_cell_for_each_system() {
        let plan = plan("qlab run --replicas 5 --load open:100/constant --read-fraction 1");
        let systems: Vec<_> = plan.points.iter().map(|point| (point.system, point.replicas)).collect();
        assert_eq!(systems, [(System::Unreplicated, 1), (System::Raft, 5)]);
        assert_eq!((&plan.name[..], &plan.points[0].cell[..]), ("command-line", "cell"));
        assert!(plan.points.iter().all(|point| point.read_fraction == 1.0));
    }

    #[test]
    fn unless_it_is_said_there_are_as_many_replicas_as_survive_the_failure_of_one() {
        let plan = plan("qlab run --system raft --system unreplicated --system pbft");
        let systems: Vec<_> = plan.points.iter().map(|point| (point.system, point.replicas)).collect();
        assert_eq!(systems, [(System::Raft, 3), (System::Unreplicated, 1), (System::Pbft, 4)]);
    }

    #[test]
    fn flags_replace_the_values_of_a_plan() {
        let plan = plan("qlab run floor --system raft --value-bytes 1024 --repeats 2 --measure 1s");
        assert!(plan.points.iter().all(|point| point.value_bytes == 1024 && point.system == System::Raft));
        assert_eq!((plan.rounds, plan.measure.as_secs(), &plan.name[..]), (2, 1, "floor"));
    }

    #[test]
    fn times_and_repeats_alone_change_the_quick_plan() {
        assert_eq!((plan("qlab run --repeats 3").rounds, &plan("qlab run").name[..]), (3, "quick"));
    }

    #[test]
    fn faults_measure_raft_alone_and_until_all_of_them_are_over() {
        let plan =
            plan("qlab run --faults kill-leader@2s,pause-follower@3s/1s,partition@4s/1s,slow-disk@5s/1s");
        assert_eq!((plan.points.len(), plan.points[0].system), (1, System::Raft));
        assert_eq!((plan.points[0].faults.faults().len(), plan.measure.as_secs()), (4, 8));
    }

    #[test]
    fn faults_that_cannot_be_made_are_refused() {
        let refusal = |line: &str| {
            let Some(Verb::Run(args)) = Cli::try_parse_from(line.split_whitespace()).unwrap().verb else {
                panic!("{line} is no run")
            };
            args.plan().expect_err(line).to_string()
        };
        for (flags, reason) in [
            (
                "--faults kill@2s",
                "--faults: faults: fault 1 of 1: \"kill@2s\": there is no fault \"kill\"; there are",
            ),
            (
                "--faults loss@2s --measure 2s",
                "cell \"cell\": faults: loss@2s/1s lasts until 3s, but only 2s",
            ),
            ("--faults loss@2s --system unreplicated", "no meaning for unreplicated"),
            ("--faults loss@2s --system etcd", "cannot disturb etcd"),
            ("--faults loss@2s --replicas 1", "at least 2 replicas"),
            ("--faults kill-leader@2s --durability memory", "it could not come back"),
            ("quick --faults loss@2s", "no meaning for unreplicated"),
            ("--faults slow-leader@2s", "cannot make a replica lie whose system believes it"),
            ("--system pbft --faults slow-leader@2s,loss@4s", "whoever lied counts as faulty for good"),
        ] {
            let error = refusal(&format!("qlab run {flags}"));
            assert!(error.contains(reason), "{flags}: {error}");
        }
    }

    #[test]
    fn a_study_takes_few_flags() {
        let study = |line: &str| {
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"));
            let Some(Verb::Run(args)) = cli.verb else { panic!("{line} is no run") };
            args.study().map(|plan| plan.is_some()).map_err(|error| error.to_string())
        };
        assert_eq!(study("qlab run gossip --measure 2s --repeats 2 --seed 3"), Ok(true));
        assert_eq!(study("qlab run quick --replicas 3"), Ok(false));
        assert_eq!(study("qlab run --replicas 3"), Ok(false));
        assert!(
            study("qlab run clock --replicas 3")
                .unwrap_err()
                .starts_with("--replicas: clock measures no load")
        );
        assert!(study("qlab run clock --repeats 5000000000").unwrap_err().starts_with("--repeats: "));
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let system = refusal("qlab run --system rafft");
        assert!(
            system.contains("'rafft'")
                && system.contains("unreplicated, raft, multi-paxos, paxos, pbft, abd, dynamo, etcd"),
            "{system}"
        );
        assert!(refusal("qlab run --durability disk").contains("fdatasync, buffered, memory"));
        assert!(
            refusal("qlab check x --model queue")
                .contains("choose one of kv, register, cas-register, append, set, mutex, write-once")
        );
        assert!(refusal("qlab run --replica 3").contains("--replicas"));
        assert!(refusal("qlab rum").contains("run"));
    }
}
