//! What faults did to a row: `faults.csv`, one line for each fault.

use std::io;

use serde::{Deserialize, Serialize};

use crate::{Cell, CellKey};

/// What one fault of a cell did. Times are nanoseconds; `at_ns` and `until_ns` count from the beginning of the measured window.
/// `None` of what it did means that it was missed, or that it never came to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEffect {
    /// What it was, such as `kill-leader`.
    pub kind: String,
    /// When it was to strike, from the beginning of the window.
    pub due_ns: u64,
    /// The replica that was struck; `None` if every link was.
    pub node: Option<u32>,
    /// When it struck; `None` if it was missed.
    pub at_ns: Option<u64>,
    /// When it was over; for a killed replica, when it served again.
    pub until_ns: Option<u64>,
    /// Operations answered from the strike until it was over; `None` in files of earlier versions, too.
    #[serde(default)]
    pub answered: Option<u64>,
    /// The longest time without an answer between the strike and the next fault or the end of the window.
    pub unavailable_ns: Option<u64>,
    /// Time in slices of that span with less than half the throughput before the first fault.
    pub degraded_ns: Option<u64>,
    /// From the strike to the first of three slices in a row with 95 % of the throughput before the first fault, after which none
    /// has less than half of it.
    pub recovered_ns: Option<u64>,
}

/// One line of `faults.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRow {
    /// [`Cell::system`].
    pub system: String,
    /// [`Cell::cell`].
    pub cell: String,
    /// [`Cell::round`].
    pub round: u32,
    /// [`Cell::repeat`].
    pub repeat: u32,
    /// Its place among the faults of the cell, from 1.
    pub fault: u32,
    /// [`FaultEffect::kind`].
    pub kind: String,
    /// [`FaultEffect::due_ns`].
    pub due_ns: u64,
    /// [`FaultEffect::node`].
    pub node: Option<u32>,
    /// [`FaultEffect::at_ns`].
    pub at_ns: Option<u64>,
    /// [`FaultEffect::until_ns`].
    pub until_ns: Option<u64>,
    /// [`FaultEffect::unavailable_ns`].
    pub unavailable_ns: Option<u64>,
    /// [`FaultEffect::degraded_ns`].
    pub degraded_ns: Option<u64>,
    /// [`FaultEffect::recovered_ns`].
    pub recovered_ns: Option<u64>,
    /// [`FaultEffect::answered`].
    #[serde(default)]
    pub answered: Option<u64>,
}

impl FaultRow {
    /// The lines of a cell.
    pub fn of(cell: &Cell) -> Vec<Self> {
        let row = |(fault, effect): (u32, &FaultEffect)| Self {
            system: cell.system.clone(),
            cell: cell.cell.clone(),
            round: cell.round,
            repeat: cell.repeat,
            fault,
            kind: effect.kind.clone(),
            due_ns: effect.due_ns,
            node: effect.node,
            at_ns: effect.at_ns,
            until_ns: effect.until_ns,
            unavailable_ns: effect.unavailable_ns,
            degraded_ns: effect.degraded_ns,
            recovered_ns: effect.recovered_ns,
            answered: effect.answered,
        };
        (1..).zip(&cell.faults).map(row).collect()
    }

    /// The row of `cells.csv` that this line belongs to.
    pub fn key(&self) -> CellKey {
        CellKey {
            cell: self.cell.clone(),
            system: self.system.clone(),
            round: self.round,
            repeat: self.repeat,
        }
    }

    /// What the fault did.
    pub fn into_effect(self) -> FaultEffect {
        FaultEffect {
            kind: self.kind,
            due_ns: self.due_ns,
            node: self.node,
            at_ns: self.at_ns,
            until_ns: self.until_ns,
            answered: self.answered,
            unavailable_ns: self.unavailable_ns,
            degraded_ns: self.degraded_ns,
            recovered_ns: self.recovered_ns,
        }
    }
}

/// Reads `faults.csv`, in the order in which it was written.
pub fn read_faults(input: impl io::Read) -> Result<Vec<FaultRow>, csv::Error> {
    csv::Reader::from_reader(input).deserialize().collect()
}

/// Gives each cell its faults.
pub(crate) fn attach(cells: &mut [Cell], rows: Vec<FaultRow>) {
    for row in rows {
        let key = row.key();
        if let Some(cell) = cells.iter_mut().find(|cell| cell.key() == key) {
            cell.faults.push(row.into_effect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cell, fault};

    #[test]
    fn faults_survive_csv_and_find_their_cells() {
        let missed = FaultEffect { node: None, at_ns: None, until_ns: None, recovered_ns: None, ..fault() };
        let mut first = cell();
        first.faults = vec![FaultEffect { answered: Some(7), ..fault() }, missed];
        let mut csv = csv::Writer::from_writer(Vec::new());
        FaultRow::of(&first).iter().for_each(|row| csv.serialize(row).unwrap());
        let rows = read_faults(&csv.into_inner().unwrap()[..]).unwrap();
        let mut cells = [crate::testing::cell_of("paxos", 1, 1.0), cell()];
        attach(&mut cells, rows);
        assert!(cells[0].faults.is_empty());
        assert_eq!(cells[1], first);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let older = "system,cell,round,repeat,fault,kind,due_ns,node,at_ns,until_ns,unavailable_ns,degraded_ns,recovered_ns\n\
                     raft,cell,1,1,1,kill-leader,400000000,1,402000000,750000000,231000000,200000000,298000000\n";
        let rows = read_faults(older.as_bytes()).unwrap();
        assert_eq!(rows.into_iter().map(FaultRow::into_effect).collect::<Vec<_>>(), [fault()]);
    }
}
