//! Rows to text, once for terminal and Markdown: the same headings, the same numbers.

use crate::{
    Cell, Reason, Validity,
    numbers::{bytes, count, nanoseconds, or_absent, range, ratio},
    rows::{Row, Spread, rows},
};

/// A table as text: headings, entries, and what all rows share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The headings; a line break shows where a narrow one may break.
    pub headings: Vec<&'static str>,
    /// The rows; each has as many entries as there are headings.
    pub rows: Vec<Vec<Entry>>,
    /// The parameters that all rows share, in words.
    pub caption: String,
}

/// One entry: a value, and a lesser second line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What to read first.
    pub value: String,
    /// Range, reasons or number of operations; may be empty.
    pub detail: String,
    /// Whether it is a number, which stands on the right.
    pub is_number: bool,
}

/// How one column is read off a row.
type Read = fn(&Row<'_>) -> Entry;

/// Columns of those tables only that have something in them: what is counted where values are decided one by one, or locks taken.
const RARE: &[(&str, Read)] = &[
    ("round trips\n/decision", |row| figure(row, |cell| cell.round_trips_per_decision, count)),
    ("hand-off\np50", |row| figure(row, |cell| cell.hand_off_ns.p50.map(|ns| ns as f64), nanoseconds)),
    ("hand-off\np99", |row| figure(row, |cell| cell.hand_off_ns.p99.map(|ns| ns as f64), nanoseconds)),
    ("freed\np50", |row| figure(row, |cell| cell.freed_ns.p50.map(|ns| ns as f64), nanoseconds)),
    PROMISE,
    STALE_READS,
];

const PROMISE: (&str, Read) = ("promise", |row| {
    let promise = row.first.freshness.promise.clone();
    word(&promise.unwrap_or_else(|| or_absent(None, count)))
});
const STALE_READS: (&str, Read) = ("stale\nreads", |row| figure(row, |cell| cell.freshness.stale, percent));

/// The columns that say how fresh reads were, of those that may be stale.
const FRESHNESS: &[(&str, Read)] = &[
    PROMISE,
    STALE_READS,
    ("writes\nmissed", |row| figure(row, |cell| cell.freshness.missed_writes, count)),
    ("values\n/read", |row| figure(row, |cell| cell.freshness.values_per_read, count)),
    ("fresh\n<1 ms", |row| figure(row, |cell| cell.freshness.below_1ms, percent)),
    ("1–2 ms", |row| figure(row, |cell| cell.freshness.below_2ms, percent)),
    ("2–5 ms", |row| figure(row, |cell| cell.freshness.below_5ms, percent)),
    ("5–10 ms", |row| figure(row, |cell| cell.freshness.below_10ms, percent)),
    ("10–50 ms", |row| figure(row, |cell| cell.freshness.below_50ms, percent)),
    ("later", |row| figure(row, |cell| cell.freshness.later, percent)),
    ("repairs\n/op", |row| figure(row, |cell| cell.freshness.repairs_per_op, count)),
];

/// The columns of every table before the rare ones.
const COLUMNS: &[(&str, Read)] = &[
    ("replicas", |row| number(row.first.replicas.to_string())),
    ("durability", |row| word(row.first.durability.name())),
    ("load", |row| word(&row.first.load)),
    ("throughput\n/s", throughput),
    ("p50", p50),
    ("p99", |row| spread(row.p99_ns, nanoseconds)),
    ("p99.9", |row| spread(row.p999_ns, nanoseconds)),
    ("CPU\nµs/op", |row| spread(row.cpu_us_per_op, count)),
    ("fsyncs\n/op", |row| spread(row.fsyncs_per_op, count)),
    ("messages\n/op", |row| spread(row.messages_per_op, count)),
    ("bytes\n/op", |row| spread(row.bytes_per_op, count)),
];

/// Those after the rare ones.
const LAST_COLUMNS: &[(&str, Read)] = &[
    ("verdict", |row| Entry {
        detail: format!("{} ops", count(row.judged_ops as f64)),
        ..word(row.verdict.name())
    }),
    ("validity", validity),
];

/// A parameter that gets a column where it varies and a place in the caption where it does not.
struct Parameter {
    heading: &'static str,
    read: fn(&Cell) -> String,
    /// What the caption says around the value.
    caption: (&'static str, &'static str),
}

const PARAMETERS: &[Parameter] = &[
    Parameter { heading: "value", read: |cell| bytes(cell.value_bytes as f64), caption: ("values of ", "") },
    Parameter {
        heading: "reads",
        read: |cell| format!("{} %", count(cell.read_fraction * 100.0)),
        caption: ("", " reads"),
    },
    Parameter { heading: "keys", read: |cell| count(cell.keys as f64), caption: ("", " keys") },
    Parameter { heading: "key choice", read: |cell| cell.key_distribution.clone(), caption: ("chosen ", "") },
    Parameter {
        heading: "connections",
        read: |cell| cell.connections.to_string(),
        caption: ("", " connections"),
    },
    Parameter {
        heading: "faults",
        read: |cell| cell.fault_schedule.clone().unwrap_or_default(),
        caption: ("faults ", ""),
    },
    Parameter { heading: "switches", read: switches, caption: ("", "") },
];

impl Layout {
    /// The table of a run's cells.
    pub fn of(cells: &[Cell]) -> Self {
        let rows = rows(cells);
        let absent = or_absent(None, count);
        let rare = RARE.iter().filter(|(_, read)| rows.iter().any(|row| read(row).value != absent));
        let columns: Vec<_> = COLUMNS.iter().chain(rare).chain(LAST_COLUMNS).collect();
        Self::with(&rows, &columns)
    }

    /// How fresh reads were in a run's cells, of those systems whose reads may be stale.
    pub fn freshness(cells: &[Cell]) -> Self {
        let rows: Vec<Row<'_>> =
            rows(cells).into_iter().filter(|row| row.first.freshness.promise.is_some()).collect();
        Self::with(&rows, &FRESHNESS.iter().collect::<Vec<_>>())
    }

    fn with(rows: &[Row<'_>], columns: &[&(&'static str, Read)]) -> Self {
        let varies = |parameter: &&Parameter| {
            rows.iter().any(|row| (parameter.read)(row.first) != (parameter.read)(rows[0].first))
        };
        let (varying, shared): (Vec<_>, Vec<_>) = PARAMETERS.iter().partition(varies);
        let has_ranks = rows.iter().any(|row| row.rank.is_some());
        let mut headings = vec!["cell", "system"];
        headings.extend(varying.iter().map(|parameter| parameter.heading));
        headings.extend(columns.iter().map(|(heading, _)| heading));
        headings.extend(has_ranks.then_some("rank"));
        let entries = rows.iter().map(|row| entries(row, &varying, columns, has_ranks)).collect();
        Self { headings, rows: entries, caption: caption(rows, &shared) }
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn entries(row: &Row<'_>, varying: &[&Parameter], columns: &[&(&str, Read)], has_ranks: bool) -> Vec<Entry> {
    let mut entries = vec![word(&row.first.cell), word(&row.first.system)];
    entries.extend(varying.iter().map(|parameter| number((parameter.read)(row.first))));
    entries.extend(columns.iter().map(|(_, read)| read(row)));
    entries.extend(has_ranks.then(|| rank(row)));
    entries
}

fn caption(rows: &[Row<'_>], shared: &[&Parameter]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let values = shared.iter().map(|parameter| (parameter, (parameter.read)(first.first)));
    let told = values.filter(|(_, value)| !value.is_empty());
    let mut parts: Vec<String> = told
        .map(|(parameter, value)| format!("{}{value}{}", parameter.caption.0, parameter.caption.1))
        .collect();
    let repeats = rows.iter().map(|row| row.repeats);
    let (fewest, most) = (repeats.clone().min().unwrap_or(0), repeats.max().unwrap_or(0));
    let range = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
    parts.push(if most > 1 {
        format!("median and min–max of {range} repeats")
    } else {
        "one repeat".to_owned()
    });
    parts.join(", ")
}

fn switches(cell: &Cell) -> String {
    cell.switches.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

fn throughput(row: &Row<'_>) -> Entry {
    over_floor(spread(row.throughput_per_s, count), row.throughput_over_floor)
}

fn p50(row: &Row<'_>) -> Entry {
    over_floor(spread(row.p50_ns, nanoseconds), row.p50_over_floor)
}

/// Adds the ratio to the floor: `12.3k (0.45×)`.
fn over_floor(mut entry: Entry, over: Option<f64>) -> Entry {
    entry.value.extend(over.map(|over| format!(" ({})", ratio(over))));
    entry
}

fn figure(row: &Row<'_>, value: fn(&Cell) -> Option<f64>, form: fn(f64) -> String) -> Entry {
    spread(row.spread(value), form)
}

fn spread(spread: Option<Spread>, form: fn(f64) -> String) -> Entry {
    let detail = spread.map_or_else(String::new, |spread| range(spread.min, spread.max, form));
    Entry { detail, ..number(or_absent(spread.map(|spread| spread.median), form)) }
}

fn validity(row: &Row<'_>) -> Entry {
    let reason = |(reason, repeats): (&Reason, &usize)| {
        if row.repeats == 1 {
            reason.name().to_owned()
        } else {
            format!("{} {repeats}/{}", reason.name(), row.repeats)
        }
    };
    let mut detail: Vec<String> = row.reasons.iter().map(reason).collect();
    if row.validity != Validity::Valid && detail.is_empty() {
        detail.push("no reason given".to_owned());
    }
    Entry { detail: detail.join("\n"), ..word(row.validity.name()) }
}

fn rank(row: &Row<'_>) -> Entry {
    let place = row.rank.map(|rank| format!("{}{}", rank.place, if rank.tied { "=" } else { "" }));
    number(place.unwrap_or_else(|| if row.is_floor() { "floor".to_owned() } else { or_absent(None, count) }))
}

fn word(text: &str) -> Entry {
    Entry { value: text.to_owned(), ..Entry::default() }
}

fn number(text: String) -> Entry {
    Entry { value: text, is_number: true, ..Entry::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_cell, cell, cell_of};

    #[test]
    fn a_parameter_has_a_column_only_where_it_varies() {
        let layout = Layout::of(&[cell()]);
        assert!(!layout.headings.contains(&"value"));
        assert_eq!(
            layout.caption,
            "values of 256 B, 0 % reads, 10k keys, chosen uniform, 4 connections, one repeat"
        );
        let mut other = cell_of("raft", 1, 10.0);
        (other.cell, other.value_bytes) = ("saturated/value_bytes=1024".into(), 1024);
        let layout = Layout::of(&[cell(), other]);
        assert!(layout.headings.contains(&"value"));
        assert!(layout.caption.starts_with("0 % reads"), "{}", layout.caption);
    }

    #[test]
    fn no_cells_are_an_empty_table() {
        let layout = Layout::of(&[]);
        assert_eq!((layout.rows.len(), layout.caption.as_str()), (0, ""));
    }

    proptest! {
        #[test]
        fn any_cells_make_a_table_of_full_rows(cells in proptest::collection::vec(any_cell(), 0..6)) {
            let layout = Layout::of(&cells);
            prop_assert!(layout.rows.iter().all(|row| row.len() == layout.headings.len()));
            crate::table::render(&layout, Some(100));
            crate::markdown::table(&layout);
        }
    }
}
