//! A cluster of replica processes on this machine.
//!
//! Each replica is this very program, started with a configuration file, steered over its standard input and heard on its
//! standard output. It ends when that pipe does: whatever happens to the laboratory, no replica outlives it.

mod configurations;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context, anyhow};
use qlab_kernel::NodeId;
use qlab_machines::MachineKind;
use qlab_node::clock::Oscillator;
use qlab_node::config::Config;
use qlab_node::control::{Observation, Order, Report, Status};
use qlab_node::keys::Credentials;
use qlab_transport::{Identity, ReplicaEntry, Roster};
use rustix::process::{Pid, Signal, kill_process};

use self::configurations::configurations;
use crate::byzantine::{self, Lie};
use crate::clock::Stopwatch;

/// The place of the one client in the list of those who may ask.
pub const CLIENT: u16 = 0;
/// Longest that a replica may take to start, recovery included.
pub const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest that a replica may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest that a replica may take to end when told to.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// Lines of a replica's log that are shown when it fails.
const LOG_LINES_SHOWN: usize = 5;

/// What to start.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// The program that knows the verbs `replica` and `byzantine-replica`: this one.
    pub program: PathBuf,
    /// An empty or missing folder for journals, keys and logs.
    pub dir: PathBuf,
    /// The protocol.
    pub system: String,
    /// Its options.
    pub options: toml::Table,
    /// The machine that is replicated.
    pub machine: MachineKind,
    /// How many replicas.
    pub replicas: u16,
    /// `fdatasync`, `buffered` or `memory`.
    pub durability: String,
    /// Where the replicas' randomness comes from.
    pub seed: u64,
    /// Whether links can be disturbed.
    pub emulated_link: bool,
    /// Whether replicas can be made to lie.
    pub byzantine: bool,
    /// What replicas take for their clocks, by seat; those not named take the host's.
    pub oscillators: Vec<Oscillator>,
}

/// A running cluster. Dropping it kills what still runs.
pub struct Fleet {
    spec: FleetSpec,
    replicas: Vec<Replica>,
    configs: Vec<Config>,
    addresses: Vec<SocketAddr>,
    client: Identity,
    credentials: Option<Credentials>,
    reports: Receiver<(usize, u32, Option<Report>)>,
    sender: Sender<(usize, u32, Option<Report>)>,
}

struct Replica {
    child: Child,
    orders: ChildStdin,
    /// How often this seat has been started: reports of earlier lives are told apart by it.
    life: u32,
    condition: Condition,
}

/// What may be expected of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// It was started and has not said where it listens.
    Started,
    /// It knows the others' addresses and recovers.
    Recovering,
    /// It serves, and answers.
    Serving,
    /// Its process was stopped where it stood.
    Paused,
    /// It was made to end.
    Down,
}

impl Fleet {
    /// Starts the cluster and waits until every replica serves.
    pub fn start(spec: FleetSpec) -> anyhow::Result<Self> {
        fs::create_dir_all(&spec.dir).with_context(|| format!("cannot make {}", spec.dir.display()))?;
        let (sender, reports) = mpsc::channel();
        let client = Identity::generate()?;
        let (configs, credentials) = configurations(&spec, &client)?;
        let mut fleet = Self {
            spec,
            replicas: Vec::new(),
            configs,
            addresses: Vec::new(),
            client,
            credentials,
            reports,
            sender,
        };
        for node in 0..fleet.configs.len() {
            let replica = fleet.spawn(node, 1)?;
            fleet.replicas.push(replica);
        }
        for node in 0..fleet.configs.len() {
            let address = fleet.await_listening(node)?;
            fleet.addresses.push(address);
        }
        for node in 0..fleet.configs.len() {
            fleet.await_ready(node)?;
        }
        Ok(fleet)
    }

    /// The members and the client, for a client's endpoint.
    pub fn roster(&self) -> anyhow::Result<Roster> {
        let keys = &self.configs[0].replicas;
        let entries = (0..).zip(keys.iter().zip(&self.addresses)).map(|(node, (fingerprint, address))| {
            ReplicaEntry { node: NodeId(node), fingerprint: *fingerprint, address: *address }
        });
        let (cluster, client) = (self.configs[0].cluster.clone(), self.client.fingerprint());
        Ok(Roster::new(cluster, entries.collect(), vec![client])?)
    }

    /// The key of the client that the replicas answer.
    pub fn client(&self) -> &Identity {
        &self.client
    }

    /// What that client needs besides, where nobody is believed alone.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// How many replicas there are, whatever their condition.
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// The seats of the replicas that serve: neither down nor on their way back nor paused.
    pub fn serving(&self) -> Vec<usize> {
        let seats = 0..self.replicas.len();
        seats.filter(|node| self.replicas[*node].condition == Condition::Serving).collect()
    }

    /// Every replica that serves, as of now, by seat.
    pub fn statuses(&mut self) -> anyhow::Result<Vec<Status>> {
        let asked = self.serving();
        for node in &asked {
            self.order(*node, &Order::Status)?;
        }
        asked.into_iter().map(|node| self.await_status(node)).collect()
    }

    /// What every replica that serves has observed since this was asked last, by seat.
    pub fn observations(&mut self) -> anyhow::Result<Vec<(usize, Vec<Observation>)>> {
        let asked = self.serving();
        for node in &asked {
            self.order(*node, &Order::Observations)?;
        }
        asked.into_iter().map(|node| Ok((node, self.await_observations(node)?))).collect()
    }

    /// Which replica leads, as far as its own word goes.
    pub fn leader(&mut self) -> anyhow::Result<Option<usize>> {
        let statuses = self.statuses()?;
        let leader = statuses.iter().find(|status| status.leader == Some(status.node));
        Ok(leader.map(|status| usize::from(status.node)))
    }

    /// Tells a replica something.
    pub fn order(&mut self, node: usize, order: &Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(order).context("orders are plain data")?;
        self.write(node, &line)
    }

    /// Makes a replica lie from now on, or no more. Needs [`FleetSpec::byzantine`].
    pub fn lie(&mut self, node: usize, lie: Option<Lie>) -> anyhow::Result<()> {
        anyhow::ensure!(self.spec.byzantine, "these replicas were started as correct ones");
        self.write(node, &byzantine::order(lie))
    }

    fn write(&mut self, node: usize, line: &str) -> anyhow::Result<()> {
        let written = writeln!(self.replicas[node].orders, "{line}");
        written.map_err(|_| self.obituary(node))
    }

    /// Where a replica listens.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// Kills a replica as a power cut would: without a word.
    pub fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let replica = &mut self.replicas[node];
        replica.condition = Condition::Down;
        replica.child.kill().and_then(|()| replica.child.wait().map(drop)).context("cannot kill a replica")
    }

    /// Starts a killed replica again, with its journal, and waits until it serves.
    pub fn restart(&mut self, node: usize) -> anyhow::Result<()> {
        self.begin_restart(node)?;
        self.await_listening(node)?;
        self.await_ready(node)
    }

    /// Starts a killed replica again, with its journal, and waits for nothing: [`restarted`](Self::restarted) must be asked
    /// until it says yes.
    pub fn begin_restart(&mut self, node: usize) -> anyhow::Result<()> {
        let life = self.replicas[node].life + 1;
        self.configs[node].first_start = false;
        self.configs[node].listen = self.addresses[node];
        self.replicas[node] = self.spawn(node, life)?;
        Ok(())
    }

    /// Takes a replica that is on its way back as far as it can go at once; whether it serves.
    pub fn restarted(&mut self, node: usize) -> anyhow::Result<bool> {
        if self.replicas[node].condition == Condition::Started
            && self.report_within(node, Duration::ZERO, is_listening)?.is_some()
        {
            self.tell_addresses(node)?;
        }
        if self.replicas[node].condition == Condition::Recovering
            && self.report_within(node, Duration::ZERO, is_ready)?.is_some()
        {
            self.replicas[node].condition = Condition::Serving;
        }
        Ok(self.replicas[node].condition == Condition::Serving)
    }

    /// Stops a replica's process where it stands.
    pub fn pause(&mut self, node: usize) -> anyhow::Result<()> {
        self.replicas[node].condition = Condition::Paused;
        self.signal(node, Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&mut self, node: usize) -> anyhow::Result<()> {
        self.replicas[node].condition = Condition::Serving;
        self.signal(node, Signal::CONT)
    }

    /// Fails if a replica has ended that was not made to.
    pub fn expect_alive(&mut self) -> anyhow::Result<()> {
        for node in 0..self.replicas.len() {
            let replica = &mut self.replicas[node];
            if replica.condition != Condition::Down
                && replica.child.try_wait().is_ok_and(|ended| ended.is_some())
            {
                return Err(self.obituary(node));
            }
        }
        Ok(())
    }

    /// Ends every replica and removes their folder.
    pub fn stop(mut self) -> anyhow::Result<()> {
        for node in 0..self.replicas.len() {
            let _ = self.order(node, &Order::Stop);
        }
        let patience = Stopwatch::start();
        for replica in &mut self.replicas {
            while replica.child.try_wait()?.is_none() && patience.elapsed() < STOP_TIME_MAX {
                crate::clock::wait(Duration::from_millis(2));
            }
        }
        let dir = self.spec.dir.clone();
        drop(self);
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
    }

    fn spawn(&self, node: usize, life: u32) -> anyhow::Result<Replica> {
        let config = &self.configs[node];
        let path = self.spec.dir.join(format!("replica-{node}.json"));
        fs::write(&path, serde_json::to_string_pretty(config)?)?;
        let log = File::options().create(true).append(true).open(self.log(node))?;
        let mut child = Command::new(&self.spec.program)
            .arg(if self.spec.byzantine { "byzantine-replica" } else { "replica" })
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // In a group of its own: Ctrl-C is for the laboratory, which then ends its replicas in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.spec.program.display()))?;
        let orders = child.stdin.take().context("a piped input")?;
        let reports = child.stdout.take().context("a piped output")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(reports).lines().map_while(Result::ok) {
                if let Ok(report) = serde_json::from_str(&line) {
                    let _ = sender.send((node, life, Some(report)));
                }
            }
            let _ = sender.send((node, life, None));
        });
        Ok(Replica { child, orders, life, condition: Condition::Started })
    }

    fn await_listening(&mut self, node: usize) -> anyhow::Result<SocketAddr> {
        match self.await_report(node, START_TIME_MAX, is_listening)? {
            Report::Listening { address } => Ok(address),
            _ => unreachable!("waited for that"),
        }
    }

    fn await_ready(&mut self, node: usize) -> anyhow::Result<()> {
        self.tell_addresses(node)?;
        self.await_report(node, START_TIME_MAX, is_ready)?;
        self.replicas[node].condition = Condition::Serving;
        Ok(())
    }

    fn tell_addresses(&mut self, node: usize) -> anyhow::Result<()> {
        self.replicas[node].condition = Condition::Recovering;
        self.order(node, &Order::Start { addresses: self.addresses.clone() })
    }

    fn await_status(&mut self, node: usize) -> anyhow::Result<Status> {
        match self.await_report(node, ANSWER_TIME_MAX, |report| matches!(report, Report::Status(_)))? {
            Report::Status(status) => Ok(*status),
            _ => unreachable!("waited for that"),
        }
    }

    fn await_observations(&mut self, node: usize) -> anyhow::Result<Vec<Observation>> {
        let is_wanted = |report: &Report| matches!(report, Report::Observations { .. });
        match self.await_report(node, ANSWER_TIME_MAX, is_wanted)? {
            Report::Observations { observations, forgotten: 0 } => Ok(observations),
            Report::Observations { forgotten, .. } => {
                Err(anyhow!("replica {node} forgot {forgotten} observations: ask more often"))
            }
            _ => unreachable!("waited for that"),
        }
    }

    /// Waits for a replica's next report of a kind. Replicas answer in order, and are asked one thing at a time.
    fn await_report(
        &mut self,
        node: usize,
        patience: Duration,
        wanted: impl Fn(&Report) -> bool,
    ) -> anyhow::Result<Report> {
        let report = self.report_within(node, patience, wanted)?;
        report.ok_or_else(|| anyhow!("replica {node} has said nothing for {patience:?}"))
    }

    /// A replica's next report of a kind, if it comes within this time.
    fn report_within(
        &mut self,
        node: usize,
        patience: Duration,
        wanted: impl Fn(&Report) -> bool,
    ) -> anyhow::Result<Option<Report>> {
        let mut others = Vec::new();
        let waited = Stopwatch::start();
        let found = loop {
            let left = patience.saturating_sub(waited.elapsed());
            match self.reports.recv_timeout(left) {
                Ok((from, life, report)) if from == node && life == self.replicas[node].life => {
                    match report {
                        Some(report) if wanted(&report) => break Ok(Some(report)),
                        Some(Report::Failed { reason }) => {
                            break Err(anyhow!("replica {node} failed: {reason}"));
                        }
                        Some(_) => {}
                        None => break Err(self.obituary(node)),
                    }
                }
                Ok(other) => others.push(other),
                Err(RecvTimeoutError::Timeout) => break Ok(None),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the fleet holds a sender"),
            }
        };
        for other in others {
            let _ = self.sender.send(other);
        }
        found
    }

    fn signal(&self, node: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.replicas[node].child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has an id")?, signal).context("cannot signal a replica")
    }

    fn obituary(&mut self, node: usize) -> anyhow::Error {
        let status =
            self.replicas[node].child.wait().map_or_else(|error| error.to_string(), |s| s.to_string());
        // It may have said why before it ended.
        let reason = self.reports.try_iter().find_map(|(from, _, report)| match report {
            Some(Report::Failed { reason }) if from == node => Some(reason),
            _ => None,
        });
        let log = fs::read_to_string(self.log(node)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
        let last: String = lines.into_iter().rev().map(|line| format!("\n  | {line}")).collect();
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        anyhow!("replica {node} died ({status}){reason}{last}")
    }

    fn log(&self, node: usize) -> PathBuf {
        self.spec.dir.join(format!("replica-{node}.log"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for replica in &mut self.replicas {
            let _ = replica.child.kill();
            let _ = replica.child.wait();
        }
    }
}

fn is_listening(report: &Report) -> bool {
    matches!(report, Report::Listening { .. })
}

fn is_ready(report: &Report) -> bool {
    matches!(report, Report::Ready { .. })
}
