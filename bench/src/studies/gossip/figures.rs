//! From what nodes said to a row.

use std::collections::BTreeMap;

use qlab_gossip::{Config, Exchange, Life, Node, Operation, Roster};
use qlab_kernel::{NodeId, Time};
use qlab_node::control::{Observation, Observed, Status};
use qlab_report::Verdict;
use qlab_report::study::{GossipRun, Quartet, Share};
use qlab_simulator::epidemic::{SHARES, Z_95, expected_rounds, wilson};

use super::writes::Put;
use super::{Point, Slot, level};

/// What was seen of one cluster.
pub(super) struct Seen {
    /// Every update.
    pub(super) puts: Vec<Put>,
    /// What each node observed, in the order of time.
    pub(super) observations: Vec<(usize, Vec<Observation>)>,
    /// Before the first update.
    pub(super) before: Vec<Status>,
    /// After everybody had settled: of those who lived.
    pub(super) after: Vec<Status>,
    /// When the victims were killed.
    pub(super) killed_at_ns: Option<u64>,
    /// Whether everybody held the same in time and every death was found out.
    pub(super) is_settled: bool,
}

/// The row.
pub(super) fn row(point: &Point, slot: Slot<'_>, seen: &Seen) -> GossipRun {
    let survivors = usize::from(point.nodes - point.kills);
    let spreads = seen.spreads(survivors);
    let to = |share: usize| {
        let complete = spreads.iter().filter_map(|spread| spread.as_ref());
        quartet(complete.map(|spread| spread[share] as f64).collect())
    };
    let answered = seen.puts.iter().filter(|put| put.version.is_some()).count();
    let interval_ns = point.round_interval_ms as f64 * 1e6;
    let [half, most, all] = [to(0), to(1), to(2)];
    let per_update = |bytes: u64| bytes as f64 / (survivors * answered.max(1)) as f64;
    let grown = |of: fn(&Status) -> u64| seen.grown(of);
    let (probes, dropped) = (grown(|status| count(status, "probes")), grown(dropped));
    let datagrams = grown(|status| status.transport.datagrams_out);
    let expected = expected_rounds(exchange(&point.exchange), point.nodes.into(), point.fanout.into());
    GossipRun {
        cell: point.cell.clone(),
        round: slot.round.into(),
        seed: slot.seed,
        exchange: point.exchange.clone(),
        nodes: point.nodes.into(),
        fanout: point.fanout.into(),
        round_interval_ms: point.round_interval_ms,
        probe_interval_ms: point.probe_interval_ms,
        loss_percent: point.loss_percent.into(),
        offered_per_s: point.updates_per_s,
        measure_ms: u64::try_from(slot.measure.as_millis()).unwrap_or(u64::MAX),
        updates: answered as u64,
        unanswered: (seen.puts.len() - answered) as u64,
        lag_ns_max: seen.puts.iter().map(|put| put.sent_ns.saturating_sub(put.due_ns)).max().unwrap_or(0),
        ns_to_half: half,
        ns_to_most: most,
        ns_to_all: all,
        rounds_to_all: Quartet {
            p05: all.p05 / interval_ns,
            p50: all.p50 / interval_ns,
            p95: all.p95 / interval_ns,
            max: all.max / interval_ns,
        },
        expected_rounds: expected,
        bytes_per_node_per_update: per_update(grown(|status| status.transport.peer_bytes_out)),
        udp_bytes_per_node_per_update: per_update(grown(|status| status.transport.udp_bytes_out)),
        datagrams,
        // What the dead sent was received, too: then there is nothing to compare.
        datagrams_lost: match point.kills {
            0 => datagrams.saturating_sub(grown(|status| status.transport.datagrams_in)),
            _ => 0,
        },
        messages_dropped: dropped,
        probes,
        unanswered_probes: (point.kills == 0)
            .then(|| share(grown(|status| count(status, "unanswered")), probes)),
        false_deaths: share(seen.false_deaths(point), probes),
        killed: point.kills.into(),
        partitioned: point.partition,
        detection_ns: seen.detections(point),
        verdict: seen.verdict(&spreads),
    }
}

impl Seen {
    /// Of each answered update, from when it was due until half of the survivors, 99 % and all of them knew it; `None` if they
    /// never did.
    fn spreads(&self, survivors: usize) -> Vec<Option<[u64; SHARES.len()]>> {
        let learned = self.learned();
        let spread = |put: &Put| {
            let version = put.version?;
            let mut known_ns: Vec<u64> = learned
                .iter()
                .filter(|((_, writer), _)| *writer == put.planned.node.0)
                .filter_map(|(_, steps)| steps.iter().find(|(_, known)| *known >= version).map(|(at, _)| *at))
                .collect();
            known_ns.sort_unstable();
            (known_ns.len() == survivors).then(|| {
                SHARES.map(|share| {
                    let rank = (share * survivors as f64).ceil() as usize;
                    known_ns[rank.clamp(1, survivors) - 1].saturating_sub(put.due_ns)
                })
            })
        };
        self.puts.iter().filter(|put| put.version.is_some()).map(spread).collect()
    }

    /// When each survivor knew of each writer up to which version.
    fn learned(&self) -> BTreeMap<(usize, u16), Vec<(u64, u64)>> {
        let mut learned: BTreeMap<(usize, u16), Vec<(u64, u64)>> = BTreeMap::new();
        let survives = |node: &usize| self.after.iter().any(|status| usize::from(status.node) == *node);
        for (node, observations) in self.observations.iter().filter(|(node, _)| survives(node)) {
            for observation in observations {
                if let Observed::Learned { writer, version, .. } = observation.what {
                    learned.entry((*node, writer)).or_default().push((observation.at_ns, version));
                }
            }
        }
        learned
    }

    /// Beliefs that somebody was dead who lived.
    fn false_deaths(&self, point: &Point) -> u64 {
        let victims = point.victims();
        let is_false = |observation: &&Observation| match observation.what {
            Observed::DeclaredDead(of) => {
                !victims.contains(&of) || self.killed_at_ns.is_none_or(|killed| observation.at_ns < killed)
            }
            _ => false,
        };
        self.observations.iter().flat_map(|(_, seen)| seen).filter(is_false).count() as u64
    }

    /// From the kill until each survivor took each victim for dead.
    fn detections(&self, point: &Point) -> Option<Quartet> {
        let killed_at_ns = self.killed_at_ns?;
        let mut first: BTreeMap<(usize, u16), u64> = BTreeMap::new();
        for (node, observations) in &self.observations {
            for observation in observations.iter().filter(|observation| observation.at_ns >= killed_at_ns) {
                if let Observed::DeclaredDead(of) = observation.what
                    && point.victims().contains(&of)
                {
                    first.entry((*node, of)).or_insert(observation.at_ns - killed_at_ns);
                }
            }
        }
        Quartet::of(first.into_values().map(|ns| ns as f64).collect())
    }

    /// By how much a counter of the survivors has grown, together.
    fn grown(&self, of: fn(&Status) -> u64) -> u64 {
        let before = |node: u16| self.before.iter().find(|status| status.node == node).map_or(0, of);
        self.after.iter().map(|status| of(status).saturating_sub(before(status.node))).sum()
    }

    fn verdict(&self, spreads: &[Option<[u64; SHARES.len()]>]) -> Verdict {
        let known_everywhere = spreads.iter().all(Option::is_some);
        let is_whole = self.puts.iter().all(|put| put.version.is_some());
        let content = level(&self.after);
        if !self.is_settled || !known_everywhere || content.is_none() {
            Verdict::Violated
        } else if !is_whole {
            // What became of an update without an answer is not known: there is nothing to compare with.
            Verdict::Unknown
        } else if content == Some(self.expected_content()) {
            Verdict::Converged
        } else {
            Verdict::Violated
        }
    }

    /// What everybody must hold: it does not depend on who put what, as sets forget that.
    fn expected_content(&self) -> u64 {
        let me = NodeId(0);
        let mut node = Node::new(me, Life::FIRST, Roster::new([me]), &Config::default(), 0, Time(0));
        for put in &self.puts {
            let grow = Operation::Grow(put.planned.element.clone());
            node.operate(&put.planned.name, grow).expect("it found room at a node configured like this");
        }
        node.content()
    }
}

fn exchange(name: &str) -> Exchange {
    match name {
        "push" => Exchange::Push,
        "pull" => Exchange::Pull,
        _ => Exchange::PushPull,
    }
}

fn count(status: &Status, name: &str) -> u64 {
    status.counters.get(name).copied().unwrap_or_default()
}

const fn dropped(status: &Status) -> u64 {
    let counts = &status.transport;
    counts.dropped_not_connected + counts.dropped_queue_full + counts.dropped_oversized
}

fn share(events: u64, trials: u64) -> Share {
    let (low, high) = if trials == 0 { (0.0, 1.0) } else { wilson(events.min(trials), trials, Z_95) };
    Share { events, low, high }
}

/// Nothing was measured where nothing is: the verdict says so.
fn quartet(values: Vec<f64>) -> Quartet {
    Quartet::of(values).unwrap_or(Quartet { p05: 0.0, p50: 0.0, p95: 0.0, max: 0.0 })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::writes::Planned;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn put(node: u16, due_ns: u64, version: Option<u64>) -> Put {
        let planned = Planned {
            node: NodeId(node),
            due: Duration::ZERO,
            name: Bytes::from_static(b"set"),
            element: Bytes::from(due_ns.to_le_bytes().to_vec()),
        };
        Put { planned, due_ns, sent_ns: due_ns, version }
    }

    fn learned(at_ns: u64, writer: u16, version: u64) -> Observation {
        Observation { at_ns, what: Observed::Learned { writer, life: 1, version } }
    }

    fn status(node: u16, content: u64) -> Status {
        Status { node, counters: [("content".to_owned(), content)].into(), ..Status::default() }
    }

    /// Two updates of node 0 at three nodes; node 2 hears of both at once.
    fn seen() -> Seen {
        let puts = vec![put(0, SECOND, Some(1)), put(0, 2 * SECOND, Some(2))];
        let observations = vec![
            (0, vec![learned(SECOND + 1, 0, 1), learned(2 * SECOND + 2, 0, 2)]),
            (1, vec![learned(SECOND + 20, 0, 1), learned(2 * SECOND + 10, 0, 2)]),
            (2, vec![learned(2 * SECOND + 30, 0, 2)]),
        ];
        let mut seen =
            Seen { puts, observations, before: vec![], after: vec![], killed_at_ns: None, is_settled: true };
        let content = seen.expected_content();
        seen.after = (0..3).map(|node| status(node, content)).collect();
        seen
    }

    #[test]
    fn an_update_is_known_where_it_or_a_later_one_of_its_writer_has_come() {
        let spreads = seen().spreads(3);
        assert_eq!(spreads, [Some([20, SECOND + 30, SECOND + 30]), Some([10, 30, 30])]);
    }

    #[test]
    fn what_was_lost_differs_or_was_not_answered_is_not_called_converged() {
        let verdict = |seen: &Seen| seen.verdict(&seen.spreads(3));
        assert_eq!(verdict(&seen()), Verdict::Converged);
        let lost = Seen { observations: seen().observations[..2].to_vec(), ..seen() };
        assert_eq!(verdict(&lost), Verdict::Violated);
        let mut unequal = seen();
        unequal.after[1] = status(1, 7);
        assert_eq!(verdict(&unequal), Verdict::Violated);
        let equally_wrong = Seen { after: (0..3).map(|node| status(node, 7)).collect(), ..seen() };
        assert_eq!(verdict(&equally_wrong), Verdict::Violated);
        let mut unanswered = seen();
        unanswered.puts.push(put(1, 3 * SECOND, None));
        assert_eq!(verdict(&unanswered), Verdict::Unknown);
    }
}
