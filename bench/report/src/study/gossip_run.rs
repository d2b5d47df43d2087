//! What processes that gossip did, and how it is shown.

use serde::{Deserialize, Serialize};

use super::{Quartet, Share, decimal, figure, number, percent, share, spread_of, word};
use crate::{
    Verdict,
    layout::{Entry, Layout},
    numbers::{bytes, nanoseconds, or_absent},
};

/// Of one cluster of processes, each of which is one node, under writes that come by the clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipRun {
    /// The plan's name for it.
    pub cell: String,
    /// Which of the cell's repeats, from 1.
    pub round: u64,
    /// Seed of the nodes, and of who is written to.
    pub seed: u64,
    /// Which way entries travel: `push`, `pull` or `push-pull`.
    pub exchange: String,
    /// Nodes.
    pub nodes: u64,
    /// Peers that a node calls in a round.
    pub fanout: u64,
    /// Time between a node's rounds, in milliseconds.
    pub round_interval_ms: u64,
    /// Time between a node's probes, in milliseconds.
    pub probe_interval_ms: u64,
    /// UDP datagrams lost on their way, in a hundred.
    pub loss_percent: u64,
    /// Updates due per second, at nodes drawn at random.
    pub offered_per_s: f64,
    /// How long that went on, in milliseconds.
    pub measure_ms: u64,
    /// Updates that were answered.
    pub updates: u64,
    /// Updates that were not.
    pub unanswered: u64,
    /// How much later than due an update left at most, in nanoseconds.
    pub lag_ns_max: u64,
    /// From the moment at which an update was due until half of the nodes knew it, in nanoseconds.
    pub ns_to_half: Quartet,
    /// The same for 99 % of them.
    pub ns_to_most: Quartet,
    /// The same for all.
    pub ns_to_all: Quartet,
    /// The last in rounds.
    pub rounds_to_all: Quartet,
    /// What the literature expects of that, if rounds were in step.
    pub expected_rounds: f64,
    /// Bytes of messages that a node sent, by updates: digests and membership, too.
    pub bytes_per_node_per_update: f64,
    /// The same in bytes of UDP.
    pub udp_bytes_per_node_per_update: f64,
    /// Messages that left as datagrams.
    pub datagrams: u64,
    /// Of those, how many did not arrive.
    pub datagrams_lost: u64,
    /// Messages that did not leave: no connection, no room, or too large.
    pub messages_dropped: u64,
    /// Probes of members by members.
    pub probes: u64,
    /// Those that nobody answered; none is told of where nodes died.
    pub unanswered_probes: Option<Share>,
    /// Beliefs that a living node was dead.
    pub false_deaths: Share,
    /// Nodes killed meanwhile.
    pub killed: u64,
    /// Whether one half of the nodes could not hear the other for a third of the time.
    pub partitioned: bool,
    /// From a node's death until a living one took it for dead, in nanoseconds, over all pairs of them.
    pub detection_ns: Option<Quartet>,
    /// Whether every node that lived came to hold every update, to the byte, and each death was found out.
    pub verdict: Verdict,
}

impl GossipRun {
    /// Whether the figures go together: more nodes know later, and what was lost is not called converged.
    pub(super) fn is_consistent(&self) -> bool {
        let times = [self.ns_to_half, self.ns_to_most, self.ns_to_all];
        let rise = |of: fn(Quartet) -> f64| times.map(of).is_sorted();
        let whole = self.unanswered == 0 && (self.killed == 0 || self.detection_ns.is_some());
        [|q: Quartet| q.p05, |q: Quartet| q.p50, |q: Quartet| q.p95, |q: Quartet| q.max].into_iter().all(rise)
            && times.iter().all(|time| [time.p05, time.p50, time.p95, time.max].is_sorted())
            && (whole || !self.verdict.holds())
    }
}

/// Its table.
pub(super) fn layout(rows: &[GossipRun]) -> Layout {
    let row = |row: &GossipRun| {
        vec![
            word(&row.cell),
            word(&row.exchange),
            number(row.nodes as f64),
            number(row.fanout as f64),
            figure(format!("{} %", row.loss_percent)),
            number(row.updates as f64),
            spread_of(row.ns_to_half, nanoseconds),
            spread_of(row.ns_to_most, nanoseconds),
            spread_of(row.ns_to_all, nanoseconds),
            Entry {
                value: format!("{:.1}", row.rounds_to_all.p50),
                detail: format!("{:.1}–{:.1}", row.rounds_to_all.p05, row.rounds_to_all.p95),
                is_number: true,
            },
            decimal(row.expected_rounds),
            figure(bytes(row.bytes_per_node_per_update)),
            row.unanswered_probes
                .map_or_else(|| figure(or_absent(None, percent)), |unanswered| share(unanswered, row.probes)),
            share(row.false_deaths, row.probes),
            row.detection_ns.map_or_else(
                || figure(or_absent(None, percent)),
                |detection| spread_of(detection, nanoseconds),
            ),
            word(row.verdict.name()),
        ]
    };
    let headings = vec![
        "cell",
        "exchange",
        "nodes",
        "fanout",
        "loss",
        "updates",
        "50 %\nknow it",
        "99 %\nknow it",
        "all\nknow it",
        "rounds\nto all",
        "expected",
        "bytes /node\n/update",
        "probes\nunanswered",
        "taken for dead\nper probe",
        "death\nfound out",
        "verdict",
    ];
    let intervals: std::collections::BTreeSet<u64> = rows.iter().map(|row| row.round_interval_ms).collect();
    let intervals: Vec<String> = intervals.iter().map(|interval| format!("{interval} ms")).collect();
    let caption = format!(
        "One process for each node, messages as QUIC datagrams on one host, a round every {}. Times run from when an update was \
         due until so many processes knew it, rounds are times by that interval: median and 5 to 95 % of the updates. Of fewer than \
         100 nodes 99 % are all. Expected is for rounds in step, as in simulation; here they are not, and news travels on within one. \
         Bytes are of messages, digests and membership included. Probes unanswered and living nodes taken for dead: shares of the \
         probes with Wilson's interval of 95 %. Deaths are counted from the kill, over all pairs of a dead and a living node.",
        intervals.join(" or ")
    );
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}
