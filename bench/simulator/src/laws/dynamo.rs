//! The laws of Dynamo, over one memory of what was written, whose author had seen what, and what everybody's disk ever held.
//!
//! | law | file |
//! |---|---|
//! | V1 a name is given to one write | `truth` |
//! | V2 no lost update: a value goes only if a write is known whose author had seen it | `truth`, `promises` |
//! | V3 no false concurrency: no two values stand side by side of which one's author had seen the other | `truth` |
//! | V4 what is held for others is handed over before it is forgotten | `disks`, here |
//! | V5 in the end all copies are the same, and so are their trees | here |
//! | V6 deletions are forgotten only where nobody holds anything older | `disks` |
//! | V7 what is promised is kept: W disks hold what was answered, and reads see it where quorums meet | `promises` |

mod disks;
mod promises;
mod truth;

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId, Request, Time};
use qlab_quorum::Dynamo;
use qlab_quorum::dynamo::content::is_tombstone;
use qlab_quorum::dynamo::{Config, Record, State, Step};

use super::{Glimpse, Laws, Verdict, Violation, broken};

const SAME: &str = "V5 in the end all copies are the same";
const KNOWN: &str = "V2 in the end everybody knows what was answered";

/// All of them.
#[derive(Debug)]
pub struct DynamoLaws {
    truth: truth::Truth,
    disks: disks::Disks,
    promises: promises::Promises,
}

impl DynamoLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize, config: &Config) -> Self {
        Self {
            truth: truth::Truth::default(),
            disks: disks::Disks::new(nodes),
            promises: promises::Promises::new(nodes, config),
        }
    }

    fn check_record(&mut self, glimpse: &Glimpse<'_, Dynamo>, lsn: Lsn, record: &Record) -> Verdict {
        let process = glimpse.process;
        match record {
            Record::Life { .. } | Record::Opened { .. } | Record::Images { .. } => Ok(()),
            Record::Held { key, state } => {
                self.truth.note(key, state);
                let before = self.disks.written(process, key);
                self.truth.check_change(key, &before, state)?;
                self.disks.write(process, lsn, key, Some(state.clone()));
                Ok(())
            }
            Record::Forgotten { key, .. } => {
                let before = self.disks.written(process, key);
                self.disks.check_forgotten(glimpse.node, key, &before, glimpse.core.homes_of(key))?;
                if glimpse.core.homes_of(key).contains(glimpse.node) {
                    self.truth.bury(key, &before);
                }
                self.disks.write(process, lsn, key, None);
                Ok(())
            }
        }
    }
}

impl Laws<Dynamo> for DynamoLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Dynamo>) -> Verdict {
        for (lsn, record) in &glimpse.harvest.records {
            self.check_record(glimpse, *lsn, record)?;
        }
        for outgoing in &glimpse.harvest.released {
            for step in &outgoing.message.steps {
                if let Step::Store { key, state, .. } = step {
                    self.truth.check_names(key, state)?;
                }
            }
        }
        for (_, frame) in &glimpse.harvest.answers {
            self.promises.check(frame, &self.truth, &self.disks, glimpse.core)?;
        }
        Ok(())
    }

    fn synced(&mut self, process: usize, durable: Lsn) {
        self.disks.synced(process, durable);
    }

    fn started(&mut self, process: usize, last: Lsn) -> Verdict {
        let node = self.disks.node(process);
        for key in self.disks.started(process, last) {
            self.truth.unname(&key, node, &self.disks.written(process, &key));
        }
        Ok(())
    }

    fn asked(&mut self, request: &Request) {
        self.promises.asked(request, &mut self.truth);
    }

    fn missing(&mut self, replicas: &[(NodeId, Time, &Dynamo)]) -> Result<Option<String>, Violation> {
        let alive = without_clocks(replicas);
        // Of clients that went elsewhere, perhaps.
        if alive.iter().any(|(_, core)| core.writes_under_way() > 0) {
            return Ok(Some("writes are under way".to_owned()));
        }
        if !have_the_same_roots(&alive) {
            return Ok(Some("trees differ".to_owned()));
        }
        Ok((!have_handed_over(&alive)).then(|| "somebody holds what is for others who are there".to_owned()))
    }

    fn concluded(&mut self, replicas: &[(NodeId, Time, &Dynamo)]) -> Verdict {
        let alive = without_clocks(replicas);
        copies_are_the_same(&alive)?;
        self.everybody_knows(&alive)
    }
}

impl DynamoLaws {
    /// What was answered, and is on a disk that is still there, is known to all homes.
    fn everybody_knows(&self, alive: &[(NodeId, &Dynamo)]) -> Verdict {
        for (key, dot) in self.promises.answered() {
            let homes = homes_among(alive, key);
            let states: Vec<State> = homes.iter().map(|core| core.state(key)).collect();
            let (know, others): (Vec<&State>, Vec<&State>) =
                states.iter().partition(|state| state.knows(dot));
            // Where all is deleted everywhere, homes need not learn of each other's deletions before their grace is over.
            let is_over = know.iter().all(|state| is_tombstone(state));
            let is_lost =
                others.iter().any(|state| !(is_over && (state.context().is_empty() || is_tombstone(state))));
            if !know.is_empty() && is_lost && !self.truth.is_buried(key, dot) {
                return broken(KNOWN, format!("not every home of {key:?} knows {dot:?}, which was answered"));
            }
        }
        Ok(())
    }
}

fn without_clocks<'a>(replicas: &[(NodeId, Time, &'a Dynamo)]) -> Vec<(NodeId, &'a Dynamo)> {
    replicas.iter().map(|(node, _, core)| (*node, *core)).collect()
}

fn homes_among<'a>(alive: &[(NodeId, &'a Dynamo)], key: &Bytes) -> Vec<&'a Dynamo> {
    alive.iter().filter(|(node, core)| core.homes_of(key).contains(*node)).map(|(_, core)| *core).collect()
}

/// Values that are there, by key; deletions may be forgotten by some and not by others.
fn copies_are_the_same(alive: &[(NodeId, &Dynamo)]) -> Verdict {
    for (_, core) in alive {
        for key in core.keys() {
            let homes = homes_among(alive, key);
            let shown: Vec<Vec<Bytes>> = homes.iter().map(|core| values(&core.state(key))).collect();
            if shown.iter().any(|values| *values != shown[0]) {
                return broken(SAME, format!("homes of {key:?} hold different values: {shown:?}"));
            }
        }
    }
    Ok(())
}

fn values(state: &State) -> Vec<Bytes> {
    state.values().filter_map(|content| content.value.clone()).collect()
}

fn have_the_same_roots(alive: &[(NodeId, &Dynamo)]) -> bool {
    let mut roots = HashMap::new();
    let mut all = alive.iter().flat_map(|(_, core)| core.roots());
    all.all(|(range, root)| *roots.entry(range).or_insert(root) == root)
}

/// Whether nobody holds anything for others who are there.
fn have_handed_over(alive: &[(NodeId, &Dynamo)]) -> bool {
    let is_there = |node: NodeId| alive.iter().any(|(other, _)| *other == node);
    alive.iter().all(|(node, core)| {
        core.keys().all(|key| {
            let homes = core.homes_of(key);
            homes.contains(*node) || !homes.iter().all(is_there)
        })
    })
}
