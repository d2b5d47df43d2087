//! Campaigns of simulated worlds: the file each leaves under `results/campaigns`, and how it is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Code, Machine, RunError, Utc, kept,
    layout::{Entry, Layout},
    numbers::count,
};

/// The folder of campaigns, within that of results.
pub const CAMPAIGNS: &str = "campaigns";
/// Version of the file's shape.
pub const FORMAT: u32 = 1;

/// What became of many simulated worlds of one system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// Version of this shape.
    pub format: u32,
    /// The system.
    pub system: String,
    /// When it began, UTC, as in `20261122T120902Z`.
    pub began: String,
    /// The first seed.
    pub seed_from: u64,
    /// The seed after the last.
    pub seed_to: u64,
    /// Which faults: `swarm`, `none` or a list.
    pub faults: String,
    /// Worlds that were run: all seeds, unless it was interrupted.
    pub worlds: u64,
    /// Things that happened in them.
    pub events: u64,
    /// Messages delivered: between replicas, from clients and to them.
    pub messages: u64,
    /// Operations of clients that were judged.
    pub operations: u64,
    /// Time that passed in the worlds, in milliseconds.
    pub simulated_ms: u64,
    /// Time that it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Faults that took effect, by kind.
    pub faults_effective: BTreeMap<String, u64>,
    /// Remarkable things that happened.
    pub marks: BTreeMap<String, u64>,
    /// Worlds in which a law was broken.
    pub failures: Vec<Failure>,
    /// What was run.
    pub code: Code,
    /// Where.
    pub machine: Machine,
}

/// A world in which a law was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The law's number and name.
    pub law: String,
    /// How it was broken.
    pub what: String,
}

impl Campaign {
    /// Simulated hours.
    pub fn simulated_hours(&self) -> f64 {
        self.simulated_ms as f64 / 3_600_000.0
    }

    /// Messages delivered for each second that it took, on all processors together.
    pub fn messages_per_s(&self) -> f64 {
        self.messages as f64 * 1_000.0 / self.elapsed_ms.max(1) as f64
    }

    /// Writes it under `results`; the answer is where.
    pub fn write(&self, results: &Path) -> Result<PathBuf, RunError> {
        kept::write(&results.join(CAMPAIGNS), &self.system, (&self.began, &self.code), self)
    }

    /// Every campaign under `results`, oldest first for each system.
    pub fn read_all(results: &Path) -> Result<Vec<Self>, RunError> {
        kept::read_all(&results.join(CAMPAIGNS))
    }

    /// What contradicts itself in it.
    pub fn problems(&self) -> Vec<String> {
        let checks = [
            (self.format == FORMAT, "format is of another version"),
            (Utc::parse_compact(&self.began).is_some(), "began is no time"),
            (self.seed_from < self.seed_to, "there are no seeds"),
            (self.worlds <= self.seed_to.saturating_sub(self.seed_from), "more worlds than seeds"),
            (self.messages <= self.events, "more messages than events"),
            (
                self.failures.iter().all(|failure| (self.seed_from..self.seed_to).contains(&failure.seed)),
                "a failure of another seed",
            ),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned()).collect()
    }
}

/// The newest campaign of each system, of those with at least half as many worlds as its largest.
pub fn newest(campaigns: &[Campaign]) -> Vec<&Campaign> {
    let systems: BTreeSet<&str> = campaigns.iter().map(|campaign| &*campaign.system).collect();
    let newest = |system| {
        let of_it = campaigns.iter().filter(move |campaign| campaign.system == system);
        kept::newest(of_it, |campaign| campaign.worlds, |campaign| &campaign.began)
    };
    systems.into_iter().filter_map(newest).collect()
}

/// A row for each campaign.
pub fn overview(campaigns: &[&Campaign]) -> Layout {
    let number = |value: f64| Entry { value: count(value), is_number: true, ..Entry::default() };
    let row = |campaign: &&Campaign| {
        let faults = campaign.faults_effective.values().sum::<u64>();
        vec![
            Entry { value: campaign.system.clone(), ..Entry::default() },
            number(campaign.worlds as f64),
            number(campaign.simulated_hours()),
            number(campaign.events as f64),
            number(faults as f64),
            number(campaign.operations as f64),
            number(campaign.failures.len() as f64),
            number(campaign.messages_per_s()),
        ]
    };
    let headings = vec![
        "system",
        "worlds",
        "simulated\nhours",
        "events",
        "faults",
        "operations\njudged",
        "laws\nbroken",
        "messages\n/s",
    ];
    Layout { headings, rows: campaigns.iter().map(row).collect(), caption: String::new() }
}

/// What happened in a campaign: faults that took effect, and remarkable things.
pub fn coverage(campaign: &Campaign) -> Layout {
    let rows = |kind: &'static str, counts: &BTreeMap<String, u64>| -> Vec<Vec<Entry>> {
        let row = |(name, times): (&String, &u64)| {
            let word = |text: &str| Entry { value: text.to_owned(), ..Entry::default() };
            let times = Entry { value: count(*times as f64), is_number: true, ..Entry::default() };
            vec![word(kind), word(name), times]
        };
        counts.iter().map(row).collect()
    };
    let rows = [rows("fault", &campaign.faults_effective), rows("event", &campaign.marks)].concat();
    Layout { headings: vec!["", "what", "times"], rows, caption: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(system: &str, began: &str) -> Campaign {
        Campaign {
            format: FORMAT,
            system: system.into(),
            began: began.into(),
            seed_from: 10,
            seed_to: 20,
            faults: "swarm".into(),
            worlds: 10,
            events: 1_000,
            messages: 400,
            operations: 50,
            simulated_ms: 7_200_000,
            elapsed_ms: 2_000,
            faults_effective: [("loss".to_owned(), 7)].into(),
            marks: [("elected".to_owned(), 3)].into(),
            failures: Vec::new(),
            code: Code { git_commit: "0123456789abcdef".into(), ..Code::default() },
            machine: Machine::default(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_newest_of_each_system_counts() {
        let results = tempfile::tempdir().unwrap();
        assert_eq!(Campaign::read_all(results.path()).unwrap(), []);
        let all = [
            campaign("paxos", "20260101T000000Z"),
            campaign("raft", "20260101T000000Z"),
            campaign("raft", "20260201T000000Z"),
        ];
        for campaign in &all {
            campaign.write(results.path()).unwrap();
        }
        let read = Campaign::read_all(results.path()).unwrap();
        assert_eq!(read, all);
        assert_eq!(newest(&read), [&all[0], &all[2]]);
        assert!(read.iter().all(|campaign| campaign.problems().is_empty()));
    }

    #[test]
    fn what_contradicts_itself_is_found() {
        let mut odd = campaign("raft", "yesterday");
        odd.failures.push(Failure { seed: 99, law: "R1".into(), what: "two leaders".into() });
        odd.worlds = 11;
        assert_eq!(odd.problems().len(), 3, "{:?}", odd.problems());
    }

    #[test]
    fn a_campaign_is_a_row_and_its_coverage_a_table() {
        let campaign = campaign("raft", "20260101T000000Z");
        let row = &overview(&[&campaign]).rows[0];
        let values: Vec<&str> = row.iter().map(|entry| &*entry.value).collect();
        assert_eq!(values, ["raft", "10", "2", "1k", "7", "50", "0", "200"]);
        assert_eq!(coverage(&campaign).rows.len(), 2);
    }
}
