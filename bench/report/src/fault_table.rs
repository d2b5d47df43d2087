//! What faults did, as a table: one row per cell, system and fault, over all repeats.

use std::collections::BTreeMap;

use crate::{
    Cell, FaultEffect,
    layout::{Entry, Layout},
    numbers::{ABSENT, count, nanoseconds, range},
    rows::Spread,
};

/// A column of those tables only whose runs tell.
const MEANWHILE: &str = "meanwhile\n/s";

/// A fault in the table: the same in all repeats.
type Key<'a> = (&'a str, &'a str, usize);

/// The table of the faults of a run's cells; `None` if there were none.
pub fn layout(cells: &[Cell]) -> Option<Layout> {
    let mut faults: BTreeMap<Key<'_>, Vec<&FaultEffect>> = BTreeMap::new();
    for cell in cells {
        for (number, fault) in cell.faults.iter().enumerate() {
            faults.entry((&cell.cell, &cell.system, number)).or_default().push(fault);
        }
    }
    let repeats = faults.values().map(Vec::len).max()?;
    let of_repeats =
        if repeats == 1 { String::new() } else { format!(", median and min–max of {repeats} repeats") };
    let mut headings =
        vec!["cell", "system", "fault", "at", "replica", "unavailable", "below half", "recovered"];
    // Runs of earlier versions do not tell.
    let tells_rate = faults.values().flatten().any(|fault| fault.answered.is_some());
    headings.extend(tells_rate.then_some(MEANWHILE));
    let meanwhile =
        if tells_rate { "; meanwhile: throughput from when it struck until it was over" } else { "" };
    Some(Layout {
        headings,
        rows: faults.iter().map(|(key, repeats)| entries(*key, repeats, tells_rate)).collect(),
        caption: format!(
            "unavailable: longest time without an answer; below half, recovered: against the throughput before the first \
             fault{meanwhile}{of_repeats}"
        ),
    })
}

fn entries((cell, system, _): Key<'_>, repeats: &[&FaultEffect], tells_rate: bool) -> Vec<Entry> {
    let nodes: Vec<String> = repeats
        .iter()
        .map(|fault| fault.node.map_or_else(|| ABSENT.to_owned(), |node| node.to_string()))
        .collect();
    let struck = repeats.iter().any(|fault| fault.at_ns.is_some());
    let mut entries = vec![
        word(cell),
        word(system),
        word(&repeats[0].kind),
        time(repeats, |fault| fault.at_ns, "missed"),
        Entry { is_number: true, ..word(&nodes.join(" ")) },
        time(repeats, |fault| fault.unavailable_ns, ABSENT),
        time(repeats, |fault| fault.degraded_ns, ABSENT),
        time(repeats, |fault| fault.recovered_ns, if struck { "not" } else { ABSENT }),
    ];
    entries.extend(tells_rate.then(|| spread(repeats, answered_per_s, count, ABSENT)));
    entries
}

/// The throughput while a fault lasted.
fn answered_per_s(fault: &FaultEffect) -> Option<f64> {
    let lasted_ns = fault.until_ns?.checked_sub(fault.at_ns?).filter(|ns| *ns > 0)?;
    Some(fault.answered? as f64 * 1e9 / lasted_ns as f64)
}

fn time(repeats: &[&FaultEffect], of: fn(&FaultEffect) -> Option<u64>, none: &str) -> Entry {
    spread(repeats, |fault| of(fault).map(|ns| ns as f64), nanoseconds, none)
}

/// Median and range of a figure; how many repeats have none, and what that means.
fn spread(
    repeats: &[&FaultEffect],
    of: impl Fn(&FaultEffect) -> Option<f64>,
    form: fn(f64) -> String,
    none: &str,
) -> Entry {
    let figures: Vec<f64> = repeats.iter().filter_map(|fault| of(fault)).collect();
    let absent = repeats.len() - figures.len();
    let spread = Spread::of(figures.into_iter());
    let value = spread.map_or_else(|| none.to_owned(), |spread| form(spread.median));
    let mut details: Vec<String> =
        spread.map(|spread| range(spread.min, spread.max, form)).into_iter().collect();
    details.retain(|detail| !detail.is_empty());
    details.extend((absent > 0 && spread.is_some()).then(|| format!("{none} {absent}/{}", repeats.len())));
    Entry { value, detail: details.join("\n"), is_number: true }
}

fn word(text: &str) -> Entry {
    Entry { value: text.to_owned(), ..Entry::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        markdown,
        testing::{assert_golden, cell, fault, fault_run},
    };

    #[test]
    fn the_table_of_faults_looks_as_it_always_did() {
        let (mut cells, _) = fault_run();
        let missed = FaultEffect {
            node: None,
            at_ns: None,
            unavailable_ns: None,
            degraded_ns: None,
            recovered_ns: None,
            ..fault()
        };
        let links =
            FaultEffect { kind: "loss".into(), node: None, unavailable_ns: Some(4_000_000), ..fault() };
        cells.iter_mut().for_each(|cell| cell.faults.extend([missed.clone(), links.clone()]));
        let layout = layout(&cells).unwrap();
        assert_golden("faults.md", &markdown::table(&layout));
        assert_golden("faults.txt", &crate::table::render(&layout, None));
    }

    #[test]
    fn the_throughput_while_a_fault_lasted_has_a_column_where_it_is_known() {
        let (mut cells, _) = fault_run();
        assert!(!layout(&cells).unwrap().headings.contains(&MEANWHILE));
        cells[0].faults[0].answered = Some(174);
        cells[1].faults[0].answered = Some(348);
        let layout = layout(&cells).unwrap();
        assert_eq!(layout.headings.last(), Some(&MEANWHILE));
        // Over the 348 ms that it lasted.
        let entry = layout.rows[0].last().unwrap();
        assert_eq!((&entry.value[..], &entry.detail[..]), ("750", "500–1k\n– 1/3"));
    }

    #[test]
    fn without_faults_there_is_no_table() {
        assert_eq!(layout(&[cell()]), None);
    }
}
