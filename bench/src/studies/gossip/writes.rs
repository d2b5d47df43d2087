//! Updates by the clock: each leaves when it is due, whatever became of those before it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::command::STORED;
use qlab_kernel::{BatchBuilder, Command, NodeId, Request, Sequence, SessionId, Wire};
use qlab_loadgen::clock::monotonic_ns;
use qlab_transport::{ClientEndpoint, ClientReceiver, ClientSender, Identity, Options, Roster, Socket};
use tokio::sync::mpsc;

use crate::fleet::CLIENT;

/// Longest that an answer is waited for after the last update.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// An update to come.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Where it is put.
    pub(super) node: NodeId,
    /// When, from the start.
    pub(super) due: Duration,
    /// Into which set.
    pub(super) name: Bytes,
    /// What.
    pub(super) element: Bytes,
}

/// An update that left.
#[derive(Clone, Debug)]
pub(super) struct Put {
    /// What was planned.
    pub(super) planned: Planned,
    /// When it was due.
    pub(super) due_ns: u64,
    /// When it left.
    pub(super) sent_ns: u64,
    /// The version under which its node spreads it, if that answered.
    pub(super) version: Option<u64>,
}

/// Where an update was put, and its place among those put there, from 1.
type Place = (NodeId, Sequence);

/// Puts all of them, the first at `start_ns`, and waits for the answers.
pub(super) fn put(
    roster: Roster,
    client: Identity,
    tape: &[Planned],
    start_ns: u64,
) -> anyhow::Result<Vec<Put>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let nodes: Vec<NodeId> = roster.replicas().iter().map(|replica| replica.node).collect();
        let socket = Socket::bind(([127, 0, 0, 1], 0).into()).context("cannot open the client's socket")?;
        let endpoint = ClientEndpoint::start(socket, client, roster, Options::default())?;
        let (told, heard) = mpsc::unbounded_channel();
        let mut senders = BTreeMap::new();
        for node in nodes {
            let (sender, receiver) = endpoint.connect(node).await?;
            senders.insert(node, sender);
            tokio::spawn(listen(node, receiver, told.clone()));
        }
        let puts = send_all(&senders, tape, start_ns).await?;
        let puts = settle(puts, heard).await;
        endpoint.close().await;
        Ok(puts)
    })
}

async fn send_all(
    senders: &BTreeMap<NodeId, ClientSender>,
    tape: &[Planned],
    start_ns: u64,
) -> anyhow::Result<BTreeMap<Place, Put>> {
    let mut sequences: BTreeMap<NodeId, Sequence> = BTreeMap::new();
    let mut puts = BTreeMap::new();
    for planned in tape {
        let due_ns = start_ns + u64::try_from(planned.due.as_nanos()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_nanos(due_ns.saturating_sub(monotonic_ns()))).await;
        let sequence = sequences.entry(planned.node).or_default();
        *sequence = sequence.next();
        let request = request(planned, *sequence);
        let sent_ns = monotonic_ns();
        senders[&planned.node].send(|sink| request.encode(sink))?;
        let put = Put { planned: planned.clone(), due_ns, sent_ns, version: None };
        puts.insert((planned.node, *sequence), put);
    }
    Ok(puts)
}

fn request(planned: &Planned, sequence: Sequence) -> Request {
    let mut batch = BatchBuilder::new();
    batch.begin(SessionId::owned(CLIENT, planned.node.0.into()), sequence, sequence);
    let command = Command::Put { key: &planned.name, value: &planned.element };
    let mut bytes = Vec::with_capacity(command.encoded_len());
    command.encode(&mut bytes);
    batch.push_bytes(&bytes);
    Request::Write(batch.finish())
}

/// Passes answers on until the connection ends.
async fn listen(node: NodeId, mut receiver: ClientReceiver, told: mpsc::UnboundedSender<(Place, u64)>) {
    let mut frames = Vec::new();
    while receiver.receive(&mut frames).await.is_ok() {
        for frame in frames.drain(..) {
            for answer in answers(&frame).map_while(Result::ok) {
                let AnswerBody::Written(outcomes) = answer.body else { continue };
                for (number, outcome) in (answer.first.0..).zip(outcomes.iter()) {
                    if outcome.status == STORED {
                        let _ = told.send(((node, Sequence(number)), outcome.number));
                    }
                }
            }
        }
    }
}

/// Waits for the answers that are missing.
async fn settle(
    mut puts: BTreeMap<Place, Put>,
    mut heard: mpsc::UnboundedReceiver<(Place, u64)>,
) -> Vec<Put> {
    let mut missing = puts.len();
    let wait = async {
        while missing > 0 {
            let Some((place, version)) = heard.recv().await else { break };
            if let Some(put) = puts.get_mut(&place)
                && put.version.replace(version).is_none()
            {
                missing -= 1;
            }
        }
    };
    let _ = tokio::time::timeout(ANSWER_TIME_MAX, wait).await;
    puts.into_values().collect()
}
