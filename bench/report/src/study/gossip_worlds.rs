//! What gossip did in simulated worlds, and how it is shown.

use serde::{Deserialize, Serialize};

use super::{Quartet, Share, decimal, figure, number, percent, share, spread, word};
use crate::{
    Verdict,
    layout::Layout,
    numbers::{bytes, ratio},
};

/// Of one way to gossip among so many nodes, over many worlds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipRounds {
    /// Which way entries travel: `push`, `pull` or `push-pull`.
    pub exchange: String,
    /// Nodes.
    pub nodes: u64,
    /// Peers that a node calls in a round.
    pub fanout: u64,
    /// Worlds, each with one update.
    pub worlds: u64,
    /// Rounds until half of the nodes knew it.
    pub rounds_to_half: Quartet,
    /// Rounds until 99 % of them did.
    pub rounds_to_most: Quartet,
    /// Rounds until all of them did.
    pub rounds_to_all: Quartet,
    /// What the literature expects of the last.
    pub expected_rounds: f64,
    /// What it would be if in every round just what is expected happened.
    pub mean_field_rounds: u64,
    /// Bytes that a node sent until all knew it, on average, digests included: median over the worlds.
    pub bytes_per_node: f64,
    /// Whether everybody came to know it in every world.
    pub verdict: Verdict,
}

/// Of one size and loss: probes of nodes all of which live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipErrors {
    /// Nodes.
    pub nodes: u64,
    /// Messages lost, in a hundred.
    pub loss_percent: u64,
    /// Probes, one for each node and period.
    pub probes: u64,
    /// Those that nobody answered.
    pub unanswered: Share,
    /// The share of those that the protocol's arithmetic expects.
    pub unanswered_expected: f64,
    /// Nodes declared dead, by somebody who had waited for their objection.
    pub declared_dead: Share,
}

/// A large cluster for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GossipScale {
    /// Nodes.
    pub nodes: u64,
    /// Rounds of each.
    pub rounds: u64,
    /// Nodes that wrote something.
    pub writers: u64,
    /// Messages lost, in a hundred.
    pub loss_percent: u64,
    /// Messages sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Processor time that it took, on one thread, in milliseconds.
    pub elapsed_ms: u64,
    /// Whether everybody had heard of every writer in the end.
    pub verdict: Verdict,
}

pub(super) fn rounds_layout(rows: &[GossipRounds]) -> Layout {
    let row = |row: &GossipRounds| {
        let measured = row.rounds_to_all.p50 / row.expected_rounds;
        vec![
            word(&row.exchange),
            number(row.nodes as f64),
            number(row.worlds as f64),
            spread(row.rounds_to_half),
            spread(row.rounds_to_most),
            spread(row.rounds_to_all),
            decimal(row.expected_rounds),
            number(row.mean_field_rounds as f64),
            figure(ratio(measured)),
            figure(bytes(row.bytes_per_node)),
            word(row.verdict.name()),
        ]
    };
    let headings = vec![
        "exchange",
        "nodes",
        "worlds",
        "rounds\nto 50 %",
        "rounds\nto 99 %",
        "rounds\nto 100 %",
        "expected",
        "mean\nfield",
        "median ÷\nexpected",
        "bytes\n/node",
        "verdict",
    ];
    let fanouts: Vec<String> = rows.first().iter().map(|row| row.fanout.to_string()).collect();
    let caption = format!(
        "Rounds of one update until so many know it, median and 5 to 95 % of the worlds, at fanout k = {}, without losses. \
         Expected: the leading terms for all n nodes. Push: log₁₊ₖ n + ln n / k (Pittel 1987 for k = 1; Panagiotou, Pourmiri and \
         Sauerwald 2015 for more). Pull: log₁₊ₖ n + log₁₊ₖ ln n. Push-pull: log₁₊₂ₖ n + log₁₊ₖ ln n (Karp, Schindelhauer, \
         Shenker and Vöcking 2000 for k = 1). Mean field: rounds until less than half a node is ignorant, if just what is \
         expected happens in each. Bytes include digests.",
        fanouts.join(", ")
    );
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}

pub(super) fn errors_layout(rows: &[GossipErrors]) -> Layout {
    let row = |row: &GossipErrors| {
        vec![
            number(row.nodes as f64),
            figure(format!("{} %", row.loss_percent)),
            number(row.probes as f64),
            share(row.unanswered, row.probes),
            figure(percent(row.unanswered_expected)),
            share(row.declared_dead, row.probes),
        ]
    };
    let headings = vec!["nodes", "loss", "probes", "unanswered", "expected", "declared dead\nper probe"];
    let caption = "Every node lives, so that each suspicion is false; shares with Wilson's interval of 95 %. Expected: \
                   (1 − q²)(1 − q⁴)ᵏ for k proxies and q, the probability that a message arrives (SWIM §3.1)."
        .to_owned();
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}

pub(super) fn scale_layout(rows: &[GossipScale]) -> Layout {
    let row = |row: &GossipScale| {
        vec![
            number(row.nodes as f64),
            number(row.rounds as f64),
            number(row.writers as f64),
            figure(format!("{} %", row.loss_percent)),
            number(row.messages as f64),
            figure(bytes(row.bytes as f64)),
            figure(format!("{:.1} s", row.elapsed_ms as f64 / 1000.0)),
            word(row.verdict.name()),
        ]
    };
    let headings =
        vec!["nodes", "rounds", "writers", "loss", "messages", "bytes", "time on\none thread", "verdict"];
    let caption = "Gossip and membership of all nodes, simulated.".to_owned();
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}
