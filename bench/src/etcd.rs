//! etcd as a system under test: its own processes on this machine, spoken to in its own protocol.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use crate::clock::{Stopwatch, wait};
use crate::used::Used;

/// Longest that a member may take until it accepts clients.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Members of one cluster. Dropping it kills them.
pub struct EtcdCluster {
    members: Vec<Child>,
    clients: Vec<SocketAddr>,
    dir: PathBuf,
}

/// Whether the program is there.
pub fn is_installed() -> bool {
    let version = Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

impl EtcdCluster {
    /// Starts `members` members with etcd's default settings, each with its data under `dir`. `program` is this one, whose
    /// verb `leashed` sees to it that they end with it.
    pub fn start(members: usize, program: &Path, dir: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let addresses = free_addresses(2 * members)?;
        let (peers, clients) = addresses.split_at(members);
        let everyone: Vec<String> =
            peers.iter().enumerate().map(|(member, peer)| format!("m{member}=http://{peer}")).collect();
        let mut cluster = Self { members: Vec::new(), clients: clients.to_vec(), dir };
        for (member, (peer, client)) in peers.iter().zip(clients).enumerate() {
            let child = cluster.spawn(program, member, *peer, *client, &everyone.join(","))?;
            cluster.members.push(child);
        }
        cluster.await_clients()?;
        Ok(cluster)
    }

    /// Where clients connect.
    pub fn clients(&self) -> &[SocketAddr] {
        &self.clients
    }

    /// Processor time of each member; nothing else can be had from outside.
    pub fn used(&mut self) -> anyhow::Result<Vec<Used>> {
        self.members
            .iter()
            .map(|member| Ok(Used { cpu_us: cpu_us(member.id())?, ..Used::default() }))
            .collect()
    }

    /// Fails if a member has ended.
    pub fn expect_alive(&mut self) -> anyhow::Result<()> {
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Some(status) = member.try_wait()? {
                bail!("etcd member {number} ended ({status}); its log is in {}", self.dir.display());
            }
        }
        Ok(())
    }

    /// Ends all members and removes their folder.
    pub fn stop(self) -> anyhow::Result<()> {
        let dir = self.dir.clone();
        drop(self);
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
    }

    fn spawn(
        &self,
        program: &Path,
        member: usize,
        peer: SocketAddr,
        client: SocketAddr,
        everyone: &str,
    ) -> anyhow::Result<Child> {
        let log = File::create(self.dir.join(format!("member-{member}.log")))?;
        let url = |address: SocketAddr| format!("http://{address}");
        let mut command = Command::new(program);
        // Default settings, whatever the environment says.
        let inherited = std::env::vars_os().map(|(name, _)| name);
        let settings = inherited.filter(|name| name.to_string_lossy().starts_with("ETCD_"));
        settings.for_each(|name| _ = command.env_remove(name));
        command
            .args(["leashed", "etcd"])
            .args([
                "--name",
                &format!("m{member}"),
                "--initial-cluster",
                everyone,
                "--initial-cluster-state",
                "new",
            ])
            .arg("--data-dir")
            .arg(self.dir.join(format!("member-{member}")))
            .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
            .args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start etcd: is it installed and on the PATH?")
    }

    fn await_clients(&mut self) -> anyhow::Result<()> {
        let waited = Stopwatch::start();
        for client in self.clients.clone() {
            while TcpStream::connect(client).is_err() {
                self.expect_alive()?;
                if waited.elapsed() > START_TIME_MAX {
                    return Err(anyhow!("etcd does not accept clients on {client} after {START_TIME_MAX:?}"));
                }
                wait(Duration::from_millis(20));
            }
        }
        while !self.clients.iter().all(|client| is_healthy(*client)) {
            self.expect_alive()?;
            if waited.elapsed() > START_TIME_MAX {
                return Err(anyhow!("etcd has no leader after {START_TIME_MAX:?}"));
            }
            wait(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Whether a member says that it can serve.
fn is_healthy(client: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(client)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(format!("GET /health HTTP/1.0\r\nHost: {client}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// Ports that nobody listens on at this moment: etcd cannot choose its own.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}

/// User and system time of a process: fields 14 and 15 of its `stat`, in ticks.
fn cpu_us(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks[..] else { bail!("/proc/{pid}/stat has no times") };
    Ok((user + system) * 1_000_000 / rustix::param::clock_ticks_per_second())
}
