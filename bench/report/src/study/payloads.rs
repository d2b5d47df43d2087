//! What replicated data types came to under different deliveries, what they cost, and how it is shown.

use serde::{Deserialize, Serialize};

use super::{Quartet, figure, is_rising, number, spread_of, word};
use crate::{
    Verdict,
    layout::Layout,
    numbers::{bytes, nanoseconds, ratio},
};

/// Of histories of one kind of object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// What the object is, such as `or-set`.
    pub kind: String,
    /// Replicas that it has in each history.
    pub replicas: u64,
    /// Histories, with the seeds from 0.
    pub histories: u64,
    /// Operations in all of them.
    pub operations: u64,
    /// Replicas that lost their state and began another life.
    pub restarts: u64,
    /// How often everything that happened was delivered to somebody who knew nothing, in four ways in turn.
    pub deliveries: u64,
    /// Deliveries that came to another state, by its bytes, than that of deltas in causal order.
    pub differing: u64,
    /// Values that were compared with what operations must come to.
    pub values: u64,
    /// Those that were another.
    pub wrong_values: u64,
    /// Whether all deliveries came to the same, and that to what it must.
    pub verdict: Verdict,
}

impl Payload {
    /// What follows from the figures.
    #[must_use]
    pub const fn judged(&self) -> Verdict {
        match (self.differing + self.wrong_values, self.operations) {
            (_, 0) => Verdict::Unchecked,
            (0, _) => Verdict::Converged,
            _ => Verdict::Violated,
        }
    }

    pub(super) fn is_consistent(&self) -> bool {
        self.differing <= self.deliveries && self.wrong_values <= self.values && self.verdict == self.judged()
    }
}

/// Of one kind of object in one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadCost {
    /// What the object is, such as `or-set`.
    pub kind: String,
    /// Elements of a set, writers of a counter, values side by side in a register.
    pub elements: u64,
    /// Bytes of one element or value; none of a counter.
    pub element_bytes: u64,
    /// Bytes of the delta of one operation, over many of them.
    pub delta_bytes: Quartet,
    /// Bytes of the whole state.
    pub state_bytes: u64,
    /// To merge a delta into a state of that size, in nanoseconds, over the batches.
    pub merge_delta_ns: Quartet,
    /// To merge one state of that size into another, half of whose elements it shares, likewise.
    pub merge_state_ns: Quartet,
    /// Whether it is the same which of those states is merged into which, and their value is right.
    pub verdict: Verdict,
}

impl PayloadCost {
    pub(super) fn is_consistent(&self) -> bool {
        [self.delta_bytes, self.merge_delta_ns, self.merge_state_ns].into_iter().all(is_rising)
    }
}

pub(super) fn layout(rows: &[Payload]) -> Layout {
    let row = |row: &Payload| {
        vec![
            word(&row.kind),
            number(row.replicas as f64),
            number(row.histories as f64),
            number(row.operations as f64),
            number(row.restarts as f64),
            number(row.deliveries as f64),
            number(row.differing as f64),
            number(row.values as f64),
            number(row.wrong_values as f64),
            word(row.verdict.name()),
        ]
    };
    let headings = vec![
        "object",
        "replicas",
        "histories",
        "operations",
        "states\nlost",
        "deliveries",
        "differing",
        "values\ncompared",
        "wrong",
        "verdict",
    ];
    let caption = "Random histories of one object: replicas operate, take in each other's states and deltas, lose their state. Afterwards \
                   everything is delivered four times to somebody who knows nothing: deltas in causal order, deltas shuffled and each twice, \
                   groups of deltas that were joined before, whole states. Differing: deliveries whose canonical bytes are not those of the \
                   first. Values, those of the deliveries and of all replicas, are compared with what the operations alone must come to, by \
                   which of them had seen which (Burckhardt et al. 2014); of additions to the or-set, a removal undoes those that it had seen."
        .to_owned();
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}

pub(super) fn costs_layout(rows: &[PayloadCost]) -> Layout {
    let row = |row: &PayloadCost| {
        let share = row.state_bytes as f64 / row.delta_bytes.p50.max(1.0);
        vec![
            word(&row.kind),
            number(row.elements as f64),
            spread_of(row.delta_bytes, bytes),
            figure(bytes(row.state_bytes as f64)),
            figure(ratio(share)),
            spread_of(row.merge_delta_ns, nanoseconds),
            spread_of(row.merge_state_ns, nanoseconds),
            word(row.verdict.name()),
        ]
    };
    let headings = vec![
        "object",
        "size",
        "bytes of\na delta",
        "of the\nstate",
        "state ÷\ndelta",
        "to merge\na delta",
        "to merge\na state",
        "verdict",
    ];
    let elements = rows.iter().map(|row| row.element_bytes).max().unwrap_or(0);
    let caption = format!(
        "Size: elements of a set, writers of a counter, values side by side in a register; elements and values of {elements} bytes. A delta \
         is that of one operation on a state of that size: median and 5 to 95 % of many. Merged, on one thread, are deltas into copies of the \
         state, a tenth of its size in turn (into a register one), and into other copies another state of that size, half of which is the \
         same: median and 5 to 95 % of the batches. Before a row counts, the two states are merged both ways: the bytes must agree, and \
         the value be right."
    );
    Layout { headings, rows: rows.iter().map(row).collect(), caption }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Findings;

    fn payload() -> Payload {
        Payload {
            kind: "or-set".into(),
            replicas: 8,
            histories: 10,
            operations: 1_000,
            restarts: 20,
            deliveries: 40,
            differing: 0,
            values: 120,
            wrong_values: 0,
            verdict: Verdict::Converged,
        }
    }

    fn cost() -> PayloadCost {
        let flat = |p50: f64| Quartet { p05: p50, p50, p95: p50, max: p50 };
        PayloadCost {
            kind: "or-set".into(),
            elements: 1_000,
            element_bytes: 16,
            delta_bytes: flat(64.0),
            state_bytes: 32_000,
            merge_delta_ns: flat(200.0),
            merge_state_ns: flat(100_000.0),
            verdict: Verdict::Converged,
        }
    }

    #[test]
    fn both_tables_have_full_rows() {
        for layout in [layout(&[payload()]), costs_layout(&[cost()])] {
            assert!(layout.rows.iter().all(|row| row.len() == layout.headings.len()));
            assert_eq!(layout.rows[0].last().unwrap().value, "converged");
        }
        assert_eq!(costs_layout(&[cost()]).rows[0][4].value, "500×");
    }

    #[test]
    fn a_difference_breaks_the_promise_and_cannot_be_called_otherwise() {
        let changes: [fn(&mut Payload); 2] = [|row| row.differing = 1, |row| row.wrong_values = 1];
        for change in changes {
            let mut row = payload();
            change(&mut row);
            assert!(!row.is_consistent());
            row.verdict = row.judged();
            assert!(row.is_consistent() && !Findings::Payloads(vec![row]).holds());
        }
        assert_eq!(Payload { operations: 0, ..payload() }.judged(), Verdict::Unchecked);
        assert!(payload().is_consistent() && Findings::Payloads(vec![payload()]).holds());
        let violated = PayloadCost { verdict: Verdict::Violated, ..cost() };
        assert!(cost().is_consistent() && !Findings::PayloadCosts(vec![violated]).holds());
    }
}
