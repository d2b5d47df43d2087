//! Locks on real replicas: a run with its verdict, and what becomes of a holder that was stopped beyond its lease.
//!
//! The holder is a process of its own, this very program asked for one of its tests, so that SIGSTOP stops all of it: its clock goes
//! on, and whatever it was about to do it does when it is let go on.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use bytes::Bytes;
use laboratory::fleet::{CLIENT, Fleet, FleetSpec};
use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::{BatchBuilder, NodeId, Outcome, Request, Sequence, SessionId, Time, Wire};
use qlab_loadgen::clock::monotonic_ns;
use qlab_machines::MachineKind;
use qlab_machines::lock::{self, Command, Holder, LockId, Mode, OwnerId, Token};
use qlab_transport::{
    ClientEndpoint, ClientReceiver, ClientSender, Fingerprint, Identity, Options, ReplicaEntry, Roster,
    Socket,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

const LOCK: LockId = LockId(1);
const TTL: Duration = Duration::from_millis(500);
const RENEWAL: Duration = Duration::from_millis(100);
/// Without an answer for so long, a client asks the next replica.
const PATIENCE: Duration = Duration::from_millis(300);
/// Where the holder's process finds whom to ask.
const CLUSTER: &str = "QLAB_TEST_CLUSTER";
/// Begins the holder's lines: others are its test harness's.
const SAYS: &str = "holder: ";

/// What a client's process needs to know.
#[derive(Serialize, Deserialize)]
struct Cluster {
    name: String,
    replicas: Vec<(Fingerprint, SocketAddr)>,
    identity: PathBuf,
    fenced: bool,
}

impl Cluster {
    fn endpoint(&self) -> ClientEndpoint {
        let identity = Identity::load(&self.identity).unwrap();
        let entries = (0..).map(NodeId).zip(&self.replicas);
        let entries = entries.map(|(node, (fingerprint, address))| ReplicaEntry {
            node,
            fingerprint: *fingerprint,
            address: *address,
        });
        let roster = Roster::new(self.name.clone(), entries.collect(), vec![identity.fingerprint()]).unwrap();
        let socket = Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
        ClientEndpoint::start(socket, identity, roster, Options::default()).unwrap()
    }
}

/// A client that asks one thing after the other, wherever it is answered.
struct Client {
    endpoint: ClientEndpoint,
    replicas: u16,
    turns_to: u16,
    connection: Option<(ClientSender, ClientReceiver)>,
    session: SessionId,
    next: Sequence,
}

/// A status, a number, and whatever else an answer holds.
type Answered = (u8, u64, Vec<u8>);

impl Client {
    async fn open(cluster: &Cluster, number: u64) -> Self {
        let mut client = Self {
            endpoint: cluster.endpoint(),
            replicas: cluster.replicas.len() as u16,
            turns_to: 0,
            connection: None,
            session: SessionId::owned(CLIENT, number),
            next: Sequence(1),
        };
        let mut opening = BatchBuilder::new();
        opening.begin(client.session, Sequence::ZERO, Sequence::ZERO);
        let (status, ..) = client.ask(Sequence::ZERO, Request::Write(opening.finish())).await;
        assert_eq!(status, Outcome::OPENED);
        client
    }

    async fn write(&mut self, command: Command<'_>) -> (u8, u64) {
        let (number, batch) = self.batch(command);
        let (status, value, _) = self.ask(number, Request::Write(batch)).await;
        (status, value)
    }

    /// What the register holds, as a number; 0 if it was never written.
    async fn read(&mut self) -> u64 {
        let (number, batch) = self.batch(Command::Read { register: LOCK });
        let (_, _, bytes) = self.ask(number, Request::Read(batch)).await;
        bytes.get(8..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn batch(&mut self, command: Command<'_>) -> (Sequence, qlab_kernel::Batch) {
        let number = self.next;
        self.next = number.next();
        let mut batch = BatchBuilder::new();
        batch.begin(self.session, number, number);
        batch.push_bytes(&command.to_bytes());
        (number, batch.finish())
    }

    async fn ask(&mut self, number: Sequence, request: Request) -> Answered {
        for _ in 0..100 {
            if let Ok(Some(answered)) = tokio::time::timeout(PATIENCE, self.attempt(number, &request)).await {
                return answered;
            }
            self.connection = None;
            self.turns_to = (self.turns_to + 1) % self.replicas;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nobody answers {request:?}");
    }

    async fn attempt(&mut self, number: Sequence, request: &Request) -> Option<Answered> {
        if self.connection.is_none() {
            self.connection = self.endpoint.connect(NodeId(self.turns_to)).await.ok();
        }
        let (sender, receiver) = self.connection.as_mut()?;
        sender.send(|sink| request.encode(sink)).ok()?;
        let mut frames: Vec<Bytes> = Vec::new();
        loop {
            receiver.receive(&mut frames).await.ok()?;
            for answer in frames.iter().flat_map(|frame| answers(frame)) {
                let answer = answer.unwrap();
                if answer.session == self.session && answer.first == number {
                    return answered(&answer.body);
                }
            }
            frames.clear();
        }
    }
}

fn answered(body: &AnswerBody<'_>) -> Option<Answered> {
    match body {
        AnswerBody::Written(outcomes) => {
            let outcome = outcomes.iter().next()?;
            Some((outcome.status, outcome.number, Vec::new()))
        }
        AnswerBody::Values(values) => values.iter().next().map(|(status, value)| (status, 0, value.to_vec())),
        AnswerBody::Refused(_) | AnswerBody::Moved(_) => None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn now() -> Time {
    Time(monotonic_ns())
}

fn acquire(owner: OwnerId) -> Command<'static> {
    Command::Try { owner, lock: LOCK, mode: Mode::Exclusive }
}

fn store(fenced: bool, token: Token, value: &[u8]) -> Command<'_> {
    if fenced {
        Command::Write { register: LOCK, token, value }
    } else {
        Command::WriteUnfenced { register: LOCK, value }
    }
}

/// Takes the lock, reads the register, adds one to it when it is told to, and renews its lease in the meantime.
#[test]
#[ignore = "a part of the stories below, in a process of its own"]
fn holder() {
    let Ok(path) = std::env::var(CLUSTER) else { return };
    let cluster: Cluster = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    runtime().block_on(hold(&cluster));
}

async fn hold(cluster: &Cluster) {
    let mut client = Client::open(cluster, 2).await;
    let mut holder = Holder::new(TTL.as_nanos() as u64);
    holder.ask(client.next, now());
    let number = client.next;
    let (status, owner) = client.write(Command::Open { ttl_ns: TTL.as_nanos() as u64 }).await;
    holder.hear(number, Outcome { status, number: owner }, now());
    let owner = OwnerId(owner);
    let (status, token) = client.write(acquire(owner)).await;
    assert_eq!(status, lock::GRANTED);
    let value = client.read().await;
    // The last look at the clock before it acts.
    assert!(holder.may_believe(now()));
    say(&format!("holds {token}"));
    let mut told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    loop {
        tokio::select! {
            biased;
            _ = &mut told => break,
            () = tokio::time::sleep(RENEWAL) => {
                let number = client.next;
                holder.ask(number, now());
                let (status, _) = client.write(Command::Renew { owner }).await;
                holder.hear(number, Outcome::of(status), now());
            }
        }
    }
    let (status, _) = client.write(store(cluster.fenced, Token(token), &(value + 1).to_le_bytes())).await;
    say(&format!("{} {}", status, holder.may_believe(now())));
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{SAYS}{what}").unwrap();
    out.flush().unwrap();
}

/// A holder's process.
struct Stoppable {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stoppable {
    fn start(cluster: &Path) -> Self {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "holder", "--ignored", "--nocapture"])
            .env(CLUSTER, cluster)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing it says.
    fn hear(&mut self) -> String {
        let said = self.lines.find_map(|line| Some(line.unwrap().strip_prefix(SAYS)?.to_owned()));
        said.expect("it says something before it ends")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    fn go_on(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.signal(Signal::CONT);
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a story comes to.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    /// What the stale holder's write came to.
    status: u8,
    /// Whether it still believed, after it had acted.
    believes: bool,
    /// What the register holds: 1 for the stale holder's increment, 10 for the other's.
    value: u64,
}

/// A holder reads, is stopped beyond its lease while another one takes the lock and adds 10, and goes on to write what it had read
/// with 1 added.
fn story(fenced: bool) -> Ending {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(FleetSpec {
        program: env!("CARGO_BIN_EXE_qlab").into(),
        dir: dir.path().join("fleet"),
        system: "raft".into(),
        options: toml::Table::new(),
        machine: MachineKind::Locks,
        replicas: 3,
        durability: "memory".into(),
        seed: 5,
        emulated_link: false,
        byzantine: false,
        oscillators: Vec::new(),
    })
    .unwrap();
    let roster = fleet.roster().unwrap();
    let cluster = Cluster {
        name: roster.cluster().to_owned(),
        replicas: roster.replicas().iter().map(|replica| (replica.fingerprint, replica.address)).collect(),
        identity: dir.path().join("client.key"),
        fenced,
    };
    fleet.client().save(&cluster.identity).unwrap();
    let path = dir.path().join("cluster.json");
    std::fs::write(&path, serde_json::to_vec(&cluster).unwrap()).unwrap();
    let ending = runtime().block_on(supplant(&cluster, &path));
    fleet.stop().unwrap();
    ending
}

async fn supplant(cluster: &Cluster, path: &Path) -> Ending {
    let mut client = Client::open(cluster, 1).await;
    let (status, owner) = client.write(Command::Open { ttl_ns: 60_000_000_000 }).await;
    assert_eq!(status, lock::OPENED);
    let owner = OwnerId(owner);
    let mut holder = Stoppable::start(path);
    let stale = holder.hear();
    let stale: u64 = stale.strip_prefix("holds ").unwrap().parse().unwrap();
    // As long as it renews, it holds.
    tokio::time::sleep(2 * TTL).await;
    assert_eq!(client.write(acquire(owner)).await.0, lock::TAKEN);
    holder.signal(Signal::STOP);
    let token = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let (lock::GRANTED, token) = client.write(acquire(owner)).await {
            break token;
        }
    };
    assert!(token > stale, "tokens only grow");
    let value = client.read().await + 10;
    let (status, _) = client.write(store(cluster.fenced, Token(token), &value.to_le_bytes())).await;
    assert_eq!(status, lock::WRITTEN);
    holder.go_on();
    let said = holder.hear();
    let (status, believes) = said.split_once(' ').unwrap();
    Ending {
        status: status.parse().unwrap(),
        believes: believes.parse().unwrap(),
        value: client.read().await,
    }
}

#[test]
fn a_holder_that_was_stopped_beyond_its_lease_is_refused_by_its_token() {
    assert_eq!(story(true), Ending { status: lock::FENCED, believes: false, value: 10 });
}

#[test]
fn without_tokens_the_same_holder_undoes_what_another_has_written() {
    assert_eq!(story(false), Ending { status: lock::WRITTEN, believes: false, value: 1 });
}

#[test]
fn a_run_of_locks_is_judged_with_its_hand_overs_and_deaths() {
    let out = tempfile::tempdir().unwrap();
    let plan = out.path().join("locks.toml");
    let text = "name = \"small-locks\"\nwarmup = \"300ms\"\nmeasure = \"1500ms\"\n[[cell]]\nname = \"held\"\nmachine = \"locks\"\n\
                system = [\"raft\", \"multi-paxos\"]\nkeys = 4\nload = \"closed:16\"\nlease_ms = 100\nholder_dies_every = 50\n";
    std::fs::write(&plan, text).unwrap();
    let run = Process::new(env!("CARGO_BIN_EXE_qlab"))
        .arg("run")
        .arg(&plan)
        .args(["--json", "--out"])
        .arg(out.path().join("results"))
        .output()
        .unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&run.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&run.stderr)));
    let cells = printed["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    for cell in cells {
        assert_eq!(cell["verdict"], "exclusive", "{cell}");
        assert_eq!(cell["switches"]["machine"], "locks");
        assert!(cell["judged_ops"].as_u64().unwrap() > 50, "{cell}");
        assert!(cell["hand_off_ns"]["count"].as_u64().unwrap() > 10, "{cell}");
        // A third of its lease may have passed when a holder dies.
        assert!(cell["freed_ns"]["max"].as_u64().unwrap() > 60_000_000, "{cell}");
    }
    let dir = Path::new(printed["run_dir"].as_str().unwrap());
    assert_eq!(qlab_report::validate::validate(dir), []);
}
