//! The flat form of a cell: one CSV row, stable columns, documented units.
//!
//! A column names a place in the cell's JSON form, so that the two forms cannot drift apart. The plan's protocol
//! switches follow the fixed columns as `switch.NAME`.

use std::io;

use serde_json::{Map, Value};

use crate::Cell;

/// Prefix of the columns that hold protocol switches.
const SWITCH_PREFIX: &str = "switch.";

/// One fixed column of `cells.csv`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// Where the value stands in the cell's JSON form.
    path: &'static [&'static str],
    /// How the value is written.
    form: Form,
    /// Unit and meaning, for people.
    pub meaning: &'static str,
}

/// How a value is written. An empty field is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Count,
    Real,
    /// Words between spaces; an empty field is an empty list.
    Words,
}

const fn column(
    name: &'static str,
    path: &'static [&'static str],
    form: Form,
    meaning: &'static str,
) -> Column {
    Column { name, path, form, meaning }
}

/// The fixed columns, in order.
#[rustfmt::skip]
pub const COLUMNS: &[Column] = &[
    column("system", &["system"], Form::Text, "system under test"),
    column("cell", &["cell"], Form::Text, "the plan's cell; systems are compared within it"),
    column("round", &["round"], Form::Count, "round, from 1"),
    column("repeat", &["repeat"], Form::Count, "repeat within the round, from 1"),
    column("replicas", &["replicas"], Form::Count, "replica processes"),
    column("durability", &["durability"], Form::Text, "fdatasync, buffered or memory"),
    column("value_bytes", &["value_bytes"], Form::Count, "bytes of one value"),
    column("read_fraction", &["read_fraction"], Form::Real, "share of reads, 0 to 1"),
    column("keys", &["keys"], Form::Count, "keys touched"),
    column("key_distribution", &["key_distribution"], Form::Text, "how keys are chosen"),
    column("load", &["load"], Form::Text, "closed:N or open:RATE"),
    column("connections", &["connections"], Form::Count, "client connections"),
    column("warmup_ms", &["warmup_ms"], Form::Count, "milliseconds cut from the start"),
    column("measure_ms", &["measure_ms"], Form::Count, "milliseconds measured"),
    column("seed", &["seed"], Form::Count, "seed of the load"),
    column("offered_per_s", &["offered_per_s"], Form::Real, "operations due per second; empty for a closed loop"),
    column("throughput_per_s", &["throughput_per_s"], Form::Real, "operations answered per second"),
    column("response_p50_ns", &["response_ns", "p50"], Form::Count, "ns, intended start to reply"),
    column("response_p90_ns", &["response_ns", "p90"], Form::Count, "ns, intended start to reply"),
    column("response_p99_ns", &["response_ns", "p99"], Form::Count, "ns, intended start to reply"),
    column("response_p999_ns", &["response_ns", "p999"], Form::Count, "ns, intended start to reply"),
    column("response_max_ns", &["response_ns", "max"], Form::Count, "ns, intended start to reply"),
    column("response_count", &["response_ns", "count"], Form::Count, "samples"),
    column("service_p50_ns", &["service_ns", "p50"], Form::Count, "ns, sent to reply"),
    column("service_p90_ns", &["service_ns", "p90"], Form::Count, "ns, sent to reply"),
    column("service_p99_ns", &["service_ns", "p99"], Form::Count, "ns, sent to reply"),
    column("service_p999_ns", &["service_ns", "p999"], Form::Count, "ns, sent to reply"),
    column("service_max_ns", &["service_ns", "max"], Form::Count, "ns, sent to reply"),
    column("service_count", &["service_ns", "count"], Form::Count, "samples"),
    column("lag_p50_ns", &["lag_ns", "p50"], Form::Count, "ns, intended start to sent"),
    column("lag_p90_ns", &["lag_ns", "p90"], Form::Count, "ns, intended start to sent"),
    column("lag_p99_ns", &["lag_ns", "p99"], Form::Count, "ns, intended start to sent"),
    column("lag_p999_ns", &["lag_ns", "p999"], Form::Count, "ns, intended start to sent"),
    column("lag_max_ns", &["lag_ns", "max"], Form::Count, "ns, intended start to sent"),
    column("lag_count", &["lag_ns", "count"], Form::Count, "samples"),
    column("errors", &["errors"], Form::Count, "operations refused or failed for certain"),
    column("unknown", &["unknown"], Form::Count, "operations of unknown outcome"),
    column("cpu_us_per_op", &["cpu_us_per_op"], Form::Real, "µs of processor per operation, all processes"),
    column("client_cpu_us_per_op", &["cpu_us_per_op_by_role", "client"], Form::Real, "µs, all load generators"),
    column("leader_cpu_us_per_op", &["cpu_us_per_op_by_role", "leader"], Form::Real, "µs, the leader"),
    column("follower_cpu_us_per_op", &["cpu_us_per_op_by_role", "follower"], Form::Real, "µs, mean of a follower"),
    column("fsyncs_per_op", &["fsyncs_per_op"], Form::Real, "disk syncs per operation, all replicas"),
    column("messages_per_op", &["messages_per_op"], Form::Real, "messages per operation"),
    column("bytes_per_op", &["bytes_per_op"], Form::Real, "message bytes per operation"),
    column("verdict", &["verdict"], Form::Text, "was it right?"),
    column("judged_ops", &["judged_ops"], Form::Count, "operations the verdict rests on"),
    column("validity", &["validity"], Form::Text, "is it a measurement?"),
    column("reasons", &["reasons"], Form::Words, "why it is not, or may not be"),
    column("round_trips_per_decision", &["round_trips_per_decision"], Form::Real, "questions asked of a quorum per value decided; empty where decisions are not counted"),
    column("fault_schedule", &["fault_schedule"], Form::Text, "faults asked for, KIND@START/DURATION; empty if none"),
    column("hand_off_p50_ns", &["hand_off_ns", "p50"], Form::Count, "ns, a lock's release to the next holder's grant; empty without locks"),
    column("hand_off_p90_ns", &["hand_off_ns", "p90"], Form::Count, "ns, a lock's release to the next holder's grant; empty without locks"),
    column("hand_off_p99_ns", &["hand_off_ns", "p99"], Form::Count, "ns, a lock's release to the next holder's grant; empty without locks"),
    column("hand_off_p999_ns", &["hand_off_ns", "p999"], Form::Count, "ns, a lock's release to the next holder's grant; empty without locks"),
    column("hand_off_max_ns", &["hand_off_ns", "max"], Form::Count, "ns, a lock's release to the next holder's grant; empty without locks"),
    column("hand_off_count", &["hand_off_ns", "count"], Form::Count, "samples"),
    column("freed_p50_ns", &["freed_ns", "p50"], Form::Count, "ns, a lock's holder's death to the next one's grant; empty without locks"),
    column("freed_p90_ns", &["freed_ns", "p90"], Form::Count, "ns, a lock's holder's death to the next one's grant; empty without locks"),
    column("freed_p99_ns", &["freed_ns", "p99"], Form::Count, "ns, a lock's holder's death to the next one's grant; empty without locks"),
    column("freed_p999_ns", &["freed_ns", "p999"], Form::Count, "ns, a lock's holder's death to the next one's grant; empty without locks"),
    column("freed_max_ns", &["freed_ns", "max"], Form::Count, "ns, a lock's holder's death to the next one's grant; empty without locks"),
    column("freed_count", &["freed_ns", "count"], Form::Count, "samples"),
    column("promise", &["freshness", "promise"], Form::Text, "what a store promises whose reads may be stale; empty of others"),
    column("stale_reads", &["freshness", "stale"], Form::Real, "share of reads that missed a write answered before they were sent, 0 to 1"),
    column("missed_writes", &["freshness", "missed_writes"], Form::Real, "writes that a stale read missed, the mean"),
    column("values_per_read", &["freshness", "values_per_read"], Form::Real, "values that a read found side by side, the mean"),
    column("repairs_per_op", &["freshness", "repairs_per_op"], Form::Real, "states sent to repair copies per operation"),
    column("fresh_below_1ms", &["freshness", "below_1ms"], Form::Real, "share of fresh reads, by time since the last write was answered"),
    column("fresh_below_2ms", &["freshness", "below_2ms"], Form::Real, "share of fresh reads, by time since the last write was answered"),
    column("fresh_below_5ms", &["freshness", "below_5ms"], Form::Real, "share of fresh reads, by time since the last write was answered"),
    column("fresh_below_10ms", &["freshness", "below_10ms"], Form::Real, "share of fresh reads, by time since the last write was answered"),
    column("fresh_below_50ms", &["freshness", "below_50ms"], Form::Real, "share of fresh reads, by time since the last write was answered"),
    column("fresh_later", &["freshness", "later"], Form::Real, "share of fresh reads, by time since the last write was answered"),
];

/// Columns that files of earlier versions lack. What they would hold has a value for "not there".
const ADDED_LATER: [&str; 25] = [
    "round_trips_per_decision",
    "fault_schedule",
    "hand_off_p50_ns",
    "hand_off_p90_ns",
    "hand_off_p99_ns",
    "hand_off_p999_ns",
    "hand_off_max_ns",
    "hand_off_count",
    "freed_p50_ns",
    "freed_p90_ns",
    "freed_p99_ns",
    "freed_p999_ns",
    "freed_max_ns",
    "freed_count",
    "promise",
    "stale_reads",
    "missed_writes",
    "values_per_read",
    "repairs_per_op",
    "fresh_below_1ms",
    "fresh_below_2ms",
    "fresh_below_5ms",
    "fresh_below_10ms",
    "fresh_below_50ms",
    "fresh_later",
];

/// Why a table of cells could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    /// The file itself.
    #[error("cells.csv: {0}")]
    Csv(#[from] csv::Error),
    /// A row holds a switch that has no column: name every switch when the file is begun.
    #[error("cells.csv has no column for the switch {name:?}; its switches are {known:?}")]
    UnknownSwitch {
        /// The switch.
        name: String,
        /// Those that have a column.
        known: Vec<String>,
    },
    /// The first line is not the fixed columns in their order followed by `switch.` columns.
    #[error("cells.csv: column {position} is {found:?}; expected {expected:?}")]
    Heading {
        /// Position, from 1.
        position: usize,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
    /// A field holds no value of its column.
    #[error("cells.csv:{line}: {column} cannot be {found:?}: {meaning}")]
    Field {
        /// Line of the file, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        meaning: &'static str,
    },
    /// The fields are readable alone and make no cell together.
    #[error("cells.csv:{line}: {reason}")]
    Row {
        /// Line of the file, from 1.
        line: u64,
        /// What is wrong.
        reason: serde_json::Error,
    },
}

/// Writes cells as CSV, each flushed when it is written.
pub struct CellsWriter<W: io::Write> {
    csv: csv::Writer<W>,
    switch_names: Vec<String>,
}

impl<W: io::Write> CellsWriter<W> {
    /// Begins the file with its heading. Every switch that any later cell sets must be named.
    pub fn new(output: W, switch_names: &[String]) -> Result<Self, ColumnsError> {
        let mut csv = csv::Writer::from_writer(output);
        let switches = switch_names.iter().map(|name| format!("{SWITCH_PREFIX}{name}"));
        csv.write_record(COLUMNS.iter().map(|column| column.name.to_owned()).chain(switches))?;
        csv.flush().map_err(csv::Error::from)?;
        Ok(Self { csv, switch_names: switch_names.to_vec() })
    }

    /// Writes one row and hands it to the kernel.
    pub fn write(&mut self, cell: &Cell) -> Result<(), ColumnsError> {
        if let Some(name) = cell.switches.keys().find(|name| !self.switch_names.contains(name)) {
            return Err(ColumnsError::UnknownSwitch { name: name.clone(), known: self.switch_names.clone() });
        }
        let json = serde_json::to_value(cell).expect("a cell is plain data");
        let fixed = COLUMNS.iter().map(|column| column.write(&json));
        let switches =
            self.switch_names.iter().map(|name| cell.switches.get(name).cloned().unwrap_or_default());
        self.csv.write_record(fixed.chain(switches))?;
        self.csv.flush().map_err(csv::Error::from)?;
        Ok(())
    }
}

/// Reads what [`CellsWriter`] wrote.
pub fn read_cells(input: impl io::Read) -> Result<Vec<Cell>, ColumnsError> {
    let mut csv = csv::Reader::from_reader(input);
    let (columns, switch_names) = check_heading(csv.headers()?)?;
    csv.records().map(|record| read_row(&record?, &columns, &switch_names)).collect()
}

/// Checks the fixed part of the heading; returns its columns and the names of the switches after it.
fn check_heading(heading: &csv::StringRecord) -> Result<(Vec<&'static Column>, Vec<String>), ColumnsError> {
    let wrong = |position: usize, found: &str, expected: &str| ColumnsError::Heading {
        position: position + 1,
        found: found.to_owned(),
        expected: expected.to_owned(),
    };
    let mut columns = Vec::new();
    for column in COLUMNS {
        let found = heading.get(columns.len()).unwrap_or_default();
        if found == column.name {
            columns.push(column);
        } else if !ADDED_LATER.contains(&column.name) {
            return Err(wrong(columns.len(), found, column.name));
        }
    }
    let switches = heading.iter().enumerate().skip(columns.len());
    let switch_names = switches.map(|(position, found)| {
        let name = found.strip_prefix(SWITCH_PREFIX).ok_or_else(|| wrong(position, found, "switch.NAME"))?;
        Ok(name.to_owned())
    });
    Ok((columns, switch_names.collect::<Result<_, ColumnsError>>()?))
}

fn read_row(
    record: &csv::StringRecord,
    columns: &[&'static Column],
    switch_names: &[String],
) -> Result<Cell, ColumnsError> {
    let line = record.position().map_or(0, csv::Position::line);
    let mut json = Map::new();
    for (column, text) in columns.iter().zip(record) {
        let value = column.read(text).ok_or_else(|| ColumnsError::Field {
            line,
            column: column.name,
            found: text.to_owned(),
            meaning: column.meaning,
        })?;
        column.place(&mut json, value);
    }
    let mut cell: Cell =
        serde_json::from_value(Value::Object(json)).map_err(|reason| ColumnsError::Row { line, reason })?;
    let switches = switch_names.iter().zip(record.iter().skip(columns.len()));
    let set = switches.filter(|(_, value)| !value.is_empty());
    cell.switches = set.map(|(name, value)| (name.clone(), value.to_owned())).collect();
    Ok(cell)
}

impl Column {
    fn write(&self, json: &Value) -> String {
        match self.path.iter().fold(json, |at, step| &at[*step]) {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            number => number.to_string(),
        }
    }

    fn read(&self, text: &str) -> Option<Value> {
        match self.form {
            Form::Words => Some(text.split_whitespace().collect()),
            _ if text.is_empty() => Some(Value::Null),
            Form::Text => Some(text.into()),
            Form::Count => text.parse::<u64>().ok().map(Value::from),
            Form::Real => text.parse::<f64>().ok().filter(|real| real.is_finite()).map(Value::from),
        }
    }

    fn place(&self, json: &mut Map<String, Value>, value: Value) {
        match self.path {
            [inner, name] => {
                let inner = json.entry(*inner).or_insert_with(|| Map::new().into());
                inner
                    .as_object_mut()
                    .expect("columns agree about what is an object")
                    .insert((*name).to_owned(), value);
            }
            path => {
                json.insert(path[0].to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_cell, cell, switch_names};

    fn write(cells: &[Cell], switches: &[String]) -> Result<Vec<u8>, ColumnsError> {
        let mut file = Vec::new();
        let mut writer = CellsWriter::new(&mut file, switches)?;
        cells.iter().try_for_each(|cell| writer.write(cell))?;
        drop(writer);
        Ok(file)
    }

    fn edited(from: &str, to: &str) -> String {
        let text = String::from_utf8(write(&[cell()], &[]).unwrap()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        read_cells(text.replacen(from, to, 1).as_bytes()).expect_err("an edited file").to_string()
    }

    #[test]
    fn every_leaf_of_the_json_form_has_one_column() {
        let Value::Object(json) = serde_json::to_value(cell()).unwrap() else {
            panic!("a cell is an object")
        };
        let leaves: usize = json
            .iter()
            .filter(|(name, _)| !["switches", "faults"].contains(&&name[..]))
            .map(|(_, value)| value.as_object().map_or(1, Map::len))
            .sum();
        assert_eq!(leaves, COLUMNS.len());
    }

    #[test]
    fn a_number_that_could_not_be_measured_is_an_empty_field() {
        let mut cell = cell();
        cell.cpu_us_per_op = None;
        let text = String::from_utf8(write(&[cell], &[]).unwrap()).unwrap();
        assert!(text.lines().nth(1).unwrap().contains(",0,0,,20.0,31.0,15.2,"), "{text}");
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let text = String::from_utf8(write(&[cell()], &[]).unwrap()).unwrap();
        let older = text
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split(',').collect();
                fields[..fields.len() - ADDED_LATER.len()].join(",") + "\n"
            })
            .collect::<String>();
        assert!(older.contains(",reasons\n"), "{older}");
        assert_eq!(read_cells(older.as_bytes()).unwrap(), [cell()]);
    }

    #[test]
    fn a_switch_without_a_column_is_refused() {
        let mut cell = cell();
        cell.switches.insert("raft.reads".into(), "lease".into());
        assert!(write(&[cell], &[]).unwrap_err().to_string().contains("raft.reads"));
    }

    #[test]
    fn bad_files_name_the_place() {
        assert!(
            edited("durability,", "durable,").contains("column 6 is \"durable\"; expected \"durability\"")
        );
        assert!(edited(",256,", ",-1,").contains("cells.csv:2: value_bytes cannot be \"-1\""));
        assert!(edited(",fdatasync,", ",fsync,").contains("cells.csv:2: unknown variant `fsync`"));
        assert!(edited(",linearizable,", ",,").contains("cells.csv:2:"));
    }

    proptest! {
        #[test]
        fn cells_survive_csv(cells in proptest::collection::vec(any_cell(), 0..4)) {
            let file = write(&cells, &switch_names()).unwrap();
            prop_assert_eq!(read_cells(&file[..]).unwrap(), cells);
        }
    }
}
