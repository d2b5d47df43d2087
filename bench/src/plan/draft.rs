//! A plan's text, read with the line of everything in it, changed by the command line, and written again.

mod reader;

use std::{collections::BTreeMap, io, time::Duration};

use self::reader::Reader;
use super::{Plan, Point, Scalar, System, duration::parse_duration, option_value};

/// Rounds of a plan.
const ROUNDS_MAX: i64 = 100;
/// The longest warm-up and the longest measurement.
const TIME_MAX: Duration = Duration::from_secs(3600);
/// What is measured unless the plan says so; longer where faults take longer.
const MEASURE_DEFAULT: Duration = Duration::from_secs(5);
/// The shortest measurement.
const MEASURE_MIN: Duration = Duration::from_millis(100);
/// Points of one plan after expansion.
const POINTS_MAX: usize = 1000;
/// The keys of a plan.
const PLAN_KEYS: [&str; 8] =
    ["name", "description", "rounds", "warmup", "measure", "seed", "shuffle", "cell"];

/// Why a plan cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No plan of this name is inside the program.
    #[error("there is no plan {name:?}; there are {known}, or give the path of a .toml file")]
    UnknownPlan {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The file cannot be read.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// Something in the plan is wrong.
    #[error("{place}: {reason}")]
    Wrong {
        /// `FILE:LINE`, or what else the value came from.
        place: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// A plan before it is expanded: what the command line may still change.
#[derive(Clone, Debug)]
pub struct Draft {
    file: String,
    /// The text it was read from; `None` once it was changed.
    source: Option<String>,
    header: BTreeMap<&'static str, Given>,
    cells: Vec<DraftCell>,
}

/// A cell before it is expanded.
#[derive(Clone, Debug)]
struct DraftCell {
    name: String,
    line: usize,
    /// By parameter; switches as `raft.reads`.
    parameters: BTreeMap<String, Given>,
}

/// One or several values and where they were written.
#[derive(Clone, Debug)]
struct Given {
    values: Vec<Scalar>,
    /// `FILE:LINE`, or the flag.
    place: String,
}

impl Draft {
    /// Reads a plan. `file` names it in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlanError> {
        Reader { file, text }.read()
    }

    /// A plan of one cell without any parameter, for the command line to fill.
    pub fn one_cell() -> Self {
        let text = "name = \"command-line\"\n[[cell]]\nname = \"cell\"\n";
        let mut draft = Self::parse("command line", text).expect("the smallest plan is a plan");
        draft.source = None;
        draft
    }

    /// Sets a parameter in every cell, or one of the plan itself, to what the command line says.
    pub fn set(&mut self, key: &'static str, values: Vec<Scalar>) {
        self.source = None;
        let given = Given { values, place: format!("--{}", key.replace('_', "-")) };
        if PLAN_KEYS.contains(&key) {
            self.header.insert(key, given);
            return;
        }
        for cell in &mut self.cells {
            if key == "load" {
                cell.parameters.remove("percent_of");
            }
            cell.parameters.insert(key.to_owned(), given.clone());
        }
    }

    /// Keeps only switches of systems that are still measured: for after a change of systems.
    pub fn drop_foreign_switches(&mut self) {
        for cell in &mut self.cells {
            let systems = cell.systems();
            cell.parameters.retain(|key, _| {
                key.split_once('.').is_none_or(|(system, _)| systems.contains(&system.to_owned()))
            });
        }
    }

    /// Checks and expands the plan.
    pub fn finish(self) -> Result<Plan, PlanError> {
        let mut points = Vec::new();
        for cell in &self.cells {
            cell.check_switches()?;
            cell.expand(&self.file, &mut points)?;
        }
        let whole = || self.file.clone();
        if points.is_empty() {
            return Err(wrong(whole(), "a plan has at least one [[cell]]"));
        }
        self.check_references(&points)?;
        let time = |key, fallback, min| self.header(key, fallback, |value| duration(value, min));
        let faults_need = points.iter().map(|point| point.faults.window()).max().unwrap_or_default();
        let measure = time("measure", MEASURE_DEFAULT.max(faults_need), MEASURE_MIN)?;
        self.check_faults(&points, measure)?;
        Ok(Plan {
            name: self.header("name", String::new(), plan_name)?,
            description: self.header("description", String::new(), Scalar::word)?,
            rounds: self.header("rounds", 1, |value| value.whole((1, ROUNDS_MAX)))?,
            warmup: time("warmup", Duration::from_secs(2), Duration::ZERO)?,
            measure,
            seed: self.header("seed", 7, |value| value.whole((0, i64::MAX)))?,
            shuffle: self.header("shuffle", true, Scalar::boolean)?,
            points,
            source: self.source.clone().unwrap_or_else(|| self.to_toml()),
        })
    }

    fn header<T>(
        &self,
        key: &str,
        fallback: T,
        read: impl Fn(&Scalar) -> Result<T, String>,
    ) -> Result<T, PlanError> {
        match self.header.get(key) {
            None if key == "name" => Err(wrong(self.file.clone(), "a plan has a name")),
            None => Ok(fallback),
            Some(given) => read(&given.values[0])
                .map_err(|reason| wrong(given.place.clone(), &format!("{key}: {reason}"))),
        }
    }

    /// A percentage is of a cell that does not itself wait for another.
    fn check_references(&self, points: &[Point]) -> Result<(), PlanError> {
        for point in points {
            let Some(name) = &point.percent_of else { continue };
            let firm = |other: &&Point| other.cell == *name && other.percent_of.is_none();
            if !points.iter().any(|other| firm(&other)) {
                let known: Vec<&str> = points
                    .iter()
                    .filter(|other| other.percent_of.is_none())
                    .map(|other| &other.cell[..])
                    .collect();
                let reason = format!(
                    "percent_of = {name:?} in the cell {:?} names no cell with a load of its own; there are {}",
                    point.cell,
                    distinct(&known)
                );
                return Err(wrong(self.file.clone(), &reason));
            }
        }
        Ok(())
    }

    /// Every fault is over when the window is.
    fn check_faults(&self, points: &[Point], measure: Duration) -> Result<(), PlanError> {
        points.iter().try_for_each(|point| {
            let checked = point.faults.check_window(measure);
            checked.map_err(|reason| wrong(self.file.clone(), &format!("cell {:?}: {reason}", point.cell)))
        })
    }

    /// The plan as TOML, after changes.
    fn to_toml(&self) -> String {
        let one_or_list = |values: &[Scalar]| match values {
            [one] => one.to_toml(),
            many => format!("[{}]", many.iter().map(Scalar::to_toml).collect::<Vec<_>>().join(", ")),
        };
        let line = |key: &str, given: &Given| format!("{key} = {}\n", one_or_list(&given.values));
        let mut text: String = self.header.iter().map(|(key, given)| line(key, given)).collect();
        for cell in &self.cells {
            text += &format!("\n[[cell]]\nname = {}\n", Scalar::Text(cell.name.clone()).to_toml());
            text.extend(cell.parameters.iter().map(|(key, given)| line(key, given)));
        }
        text
    }
}

fn distinct(names: &[&str]) -> String {
    let mut names = names.to_vec();
    names.dedup();
    names.join(", ")
}

impl DraftCell {
    /// Asks each protocol whether it knows its switches; whether they go together is asked of the whole cell later.
    fn check_switches(&self) -> Result<(), PlanError> {
        for (key, given) in &self.parameters {
            let Some((system, switch)) = key.split_once('.') else { continue };
            for value in &given.values {
                qlab_node::systems::check_option(system, switch, option_value(&value.to_string()))
                    .map_err(|error| wrong(given.place.clone(), &error.to_string()))?;
            }
        }
        Ok(())
    }

    fn systems(&self) -> Vec<String> {
        let system = |given: &Given| given.values.iter().map(Scalar::to_string).collect();
        self.parameters.get("system").map_or_else(|| vec![System::Raft.name().to_owned()], system)
    }

    /// Adds the cross product of all lists to `points`. The name of each point tells what varies, but for the system.
    fn expand(&self, file: &str, points: &mut Vec<Point>) -> Result<(), PlanError> {
        let place = || format!("{file}:{}", self.line);
        let mut expanded = vec![Point::new(self.name.clone())];
        for (key, given) in &self.parameters {
            let mut next = Vec::new();
            for point in &expanded {
                for value in &given.values {
                    let mut point = point.clone();
                    let set = point.set(key, value);
                    set.map_err(|reason| wrong(given.place.clone(), &format!("{key}: {reason}")))?;
                    if given.values.len() > 1 && key != "system" {
                        // A comma cannot stand in a cell's name.
                        point.cell += &format!("/{key}={value}").replace(',', "+");
                    }
                    next.push(point);
                }
            }
            expanded = next;
            if points.len() + expanded.len() > POINTS_MAX {
                return Err(wrong(place(), &format!("the plan expands to more than {POINTS_MAX} points")));
            }
        }
        for point in &mut expanded {
            if !self.parameters.contains_key("key_distribution") {
                point.choose_keys();
            }
            point.settle().map_err(|reason| wrong(place(), &format!("cell {:?}: {reason}", self.name)))?;
        }
        points.append(&mut expanded);
        Ok(())
    }
}

fn wrong(place: String, reason: &str) -> PlanError {
    PlanError::Wrong { place, reason: reason.to_owned() }
}

/// A plan's name names a folder, a cell's stands in tables and tags.
fn plan_name(value: &Scalar) -> Result<String, String> {
    let name: String = value.word()?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(allowed) {
        return Err(format!("{name:?} is no name: up to 40 lower-case letters, digits and dashes"));
    }
    Ok(name)
}

fn duration(value: &Scalar, min: Duration) -> Result<Duration, String> {
    let text: String = value.word()?;
    parse_duration(&text).filter(|time| *time >= min && *time <= TIME_MAX).ok_or_else(|| {
        format!(
            "{text:?} is no time of {min:?} to {TIME_MAX:?}: write a number and ms, s or m, such as \"2s\""
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn plan(cell: &str) -> Result<Plan, PlanError> {
        let text = format!("name = \"x\"\n\n[[cell]]\nname = \"a\"\n{cell}\n");
        Draft::parse("plans/x.toml", &text).and_then(Draft::finish)
    }

    fn error(cell: &str) -> String {
        plan(cell).expect_err(cell).to_string()
    }

    #[test]
    fn lists_expand_to_their_cross_product() {
        let plan = plan(
            "system = [\"unreplicated\", \"raft\"]\nreplicas = [3, 5]\nload = [\"closed:1\", \"open:9\"]",
        )
        .unwrap();
        assert_eq!(plan.points.len(), 8);
        let cells: BTreeSet<&str> = plan.points.iter().map(|point| &point.cell[..]).collect();
        assert_eq!(cells.len(), 4, "systems are compared in the same cell");
        assert!(cells.contains("a/load=open:9/replicas=5"), "{cells:?}");
        assert!(
            plan.points.iter().all(|point| (point.system == System::Unreplicated) == (point.replicas == 1))
        );
    }

    #[test]
    fn switches_are_their_systems_own() {
        let plan =
            plan("system = [\"unreplicated\", \"raft\"]\n[cell.raft]\nreads = [\"lease\", \"read-index\"]")
                .unwrap();
        let switched = plan.points.iter().filter(|point| point.switches.contains_key("raft.reads"));
        assert!(switched.clone().all(|point| point.system == System::Raft));
        assert_eq!((switched.count(), plan.points.len()), (2, 4));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_valid_ones() {
        assert_eq!(
            error("replcas = 3"),
            "plans/x.toml:5: unknown key \"replcas\"; valid keys: name, system, replicas, durability, value_bytes, \
             read_fraction, keys, key_distribution, load, percent_of, connections, faults, machine, lease_ms, \
             holder_dies_every, unreplicated, raft, multi-paxos, paxos, pbft, abd, dynamo, etcd"
        );
        let top = Draft::parse("p.toml", "name = \"x\"\nround = 3\n").unwrap_err().to_string();
        assert!(
            top.starts_with("p.toml:2: unknown key \"round\"; valid keys: name, description, rounds"),
            "{top}"
        );
    }

    #[test]
    fn values_out_of_range_are_named_with_their_line_and_bounds() {
        for (cell, reason) in [
            (
                "system = \"rafft\"",
                "system: there is no system \"rafft\"; there are unreplicated, raft, multi-paxos, paxos, pbft, abd, dynamo, etcd",
            ),
            ("replicas = 0", "replicas: 0 is not a whole number of 1 to 63"),
            ("replicas = 64", "replicas: 64 is not a whole number of 1 to 63"),
            ("replicas = \"3\"", "replicas: 3 is not a whole number of 1 to 63"),
            ("value_bytes = 7", "value_bytes: 7 is not a whole number of 8 to 131072"),
            ("read_fraction = 1.5", "read_fraction: 1.5 is not a number of 0 to 1"),
            ("read_fraction = nan", "read_fraction: NaN is not a number of 0 to 1"),
            (
                "durability = \"fsync\"",
                "durability: there is no durability \"fsync\"; there are fdatasync, buffered, memory",
            ),
            ("key_distribution = \"zipf\"", "key_distribution: \"zipf\" is no distribution of keys"),
            ("load = \"closed\"", "load: \"closed\" is no load"),
            ("keys = []", "an empty list measures nothing"),
            ("keys = [1, 1]", "a value is there twice"),
            ("keys = {}", "expected a text, a number"),
        ] {
            let error = error(cell);
            assert!(error.starts_with(&format!("plans/x.toml:5: {reason}")), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert!(error("load = \"open:10%\"").contains("needs percent_of"));
        assert!(error("load = \"open:10\"\npercent_of = \"b\"").contains("has no meaning"));
        let reason = error("load = \"open:10%\"\npercent_of = \"b\"\n[[cell]]\nname = \"c\"");
        assert!(
            reason.contains("percent_of = \"b\" in the cell \"a\" names no cell")
                && reason.ends_with("there are c")
        );
        assert!(error("[[cell]]\nname = \"a\"").contains("two cells of the name \"a\""));
        assert!(
            error("system = \"unreplicated\"\n[cell.raft]\nreads = \"lease\"")
                .contains("measures unreplicated")
        );
        let many: Vec<String> = (1..=1001).map(|n| n.to_string()).collect();
        assert!(error(&format!("keys = [{}]", many.join(","))).contains("more than 1000 points"));
    }

    #[test]
    fn headers_are_checked() {
        let error = |text: &str| Draft::parse("x", text).and_then(Draft::finish).unwrap_err().to_string();
        assert_eq!(error("name = \"x\"\n"), "x: a plan has at least one [[cell]]");
        assert!(error("[[cell]]\nname = \"a\"\n").contains("a plan has a name"));
        assert!(error("name = \"../x\"\n[[cell]]\nname = \"a\"\n").contains("is no name"));
        assert!(
            error("name = \"x\"\nmeasure = \"5\"\n[[cell]]\nname = \"a\"\n")
                .contains("x:2: measure: \"5\" is no time")
        );
        assert!(error("name = \"x\"\nmeasure = \"99ms\"\n[[cell]]\nname = \"a\"\n").contains("100ms"));
        assert!(error("name = x\n").starts_with("x:1: "));
    }

    #[test]
    fn the_command_line_changes_a_plan_and_the_plan_says_so() {
        let mut draft = Plan::draft("quick").unwrap();
        draft.set("system", vec![Scalar::Text("unreplicated".into())]);
        draft.set("load", vec![Scalar::Text("open:100".into())]);
        draft.set("rounds", vec![Scalar::Integer(2)]);
        draft.drop_foreign_switches();
        let plan = draft.finish().unwrap();
        assert_eq!((plan.rounds, plan.points.len()), (2, 2));
        let again = Draft::parse("again", &plan.source).and_then(Draft::finish).unwrap();
        assert_eq!((again.points, again.measure), (plan.points, plan.measure));
    }

    #[test]
    fn a_flag_out_of_range_is_named() {
        let mut draft = Draft::one_cell();
        draft.set("value_bytes", vec![Scalar::Integer(1)]);
        let error = draft.finish().unwrap_err().to_string();
        assert_eq!(error, "--value-bytes: value_bytes: 1 is not a whole number of 8 to 131072");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z\\[\\]=\" \n.0-9]{0,80}") {
            let _ = Draft::parse("x", &text).and_then(Draft::finish);
        }

        #[test]
        fn a_plan_written_again_is_the_same_plan(replicas in 1..64_i64, fraction in 0..=1000_u32, skew in 1..900_u32) {
            let mut draft = Draft::one_cell();
            draft.set("replicas", vec![Scalar::Integer(replicas)]);
            draft.set("read_fraction", vec![Scalar::Real(f64::from(fraction) / 1000.0)]);
            draft.set("key_distribution", vec![Scalar::Text(format!("zipf:{}", f64::from(skew) / 100.0))]);
            let plan = draft.finish().unwrap();
            let again = Draft::parse("again", &plan.source).and_then(Draft::finish).unwrap();
            prop_assert_eq!(again.points, plan.points);
        }
    }
}
