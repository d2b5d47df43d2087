//! A whole run against a real etcd.

use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qlab_loadgen::history::{End, Kind};
use qlab_loadgen::mix::Class;
use qlab_loadgen::run::{Spec, run};
use qlab_loadgen::targets::etcd::Etcd;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
#[ignore = "needs etcd in the path"]
fn every_kind_of_operation_works_and_reads_see_the_last_write() {
    let folder = tempfile::tempdir().unwrap();
    let (client, peer) = (free_address(), free_address());
    let [client_url, peer_url] = [client, peer].map(|address| format!("http://{address}"));
    let etcd = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path())
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("default={peer_url}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _etcd = Killed(etcd);
    let spec = Spec {
        load: "closed:32".parse().unwrap(),
        mix: "f".parse().unwrap(),
        keys: 100,
        sessions: 4,
        warmup: Duration::from_millis(200),
        measure: Duration::from_secs(1),
        cooldown: Duration::from_millis(100),
        connect_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(5),
        ..Spec::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome =
        runtime.block_on(async { run(Etcd::start(vec![client], 2), &spec, |_, _| {}, pending()).await });
    let outcome = outcome.unwrap();
    assert!(outcome.verified);
    assert_eq!((outcome.counters.unknown, outcome.counters.errors, outcome.counters.foreign), (0, 0, 0));
    let modified = outcome.recorder.class(Class::ReadModifyWrite);
    assert!(modified.answered > 50 && modified.mismatched < modified.answered);
    let operations: Vec<_> = outcome.history.iter().collect();
    let (load, verification) = operations.split_at(operations.len() - 100);
    for read in verification {
        // A chain of compare-and-sets: the value at the end is the one that no other swap expected.
        let swaps: Vec<_> = load
            .iter()
            .filter(|op| op.key == read.key && op.kind != Kind::Get && op.end == End::Ok)
            .collect();
        assert!(swaps.iter().any(|op| op.value == read.value));
        assert!(swaps.iter().all(|op| op.kind == Kind::Put || op.expected != read.value));
    }
}
