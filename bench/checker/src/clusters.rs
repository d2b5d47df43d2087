//! Who wrote what was read: the operations of one key as clusters and chains.
//!
//! A *cluster* is a write together with the gets of its value. In any legal order these gets follow their write with no
//! other write between. A cas that took effect writes its new value right where the expected one was current, so its cluster
//! follows the one of the expected value at once. Clusters tied in this way are a *chain*, and a chain is as contiguous as
//! a cluster, with its clusters in a known order.
//!
//! All this needs certainty: one writer for each value that was read or expected. A write of unknown outcome takes part; if
//! nobody saw it, it comes to stand alone and permits everything. A cas of unknown outcome takes part only if its value was
//! seen, for then it took effect; if not, leaving it out is always legal.

use std::collections::HashSet;

use crate::operation::{ABSENT, Function, Operation, Outcome};

/// Operations that stand next to each other in every legal order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The earliest completion, [`NEVER_NS`](crate::NEVER_NS) if nothing completed; 0, before everything, if the chain
    /// begins with the initial value.
    pub(crate) first_ns: u64,
    /// The latest invocation.
    pub(crate) last_ns: u64,
    /// Whether it begins with the initial value.
    pub(crate) is_initial: bool,
}

/// All chains of a key.
pub(crate) struct Chains {
    /// In no particular order.
    pub(crate) chains: Vec<Chain>,
    /// Whether a cas failed on a value that was current at some time: chains do not tell whether that is legal.
    pub(crate) failures_matter: bool,
}

/// Why there are no chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The operations contradict each other.
    Violation,
    /// It is not certain who wrote a value, or there are operations that are neither reads nor writes.
    Uncertain,
}

/// Forms the chains of the operations of one key.
pub(crate) fn chains(operations: &[Operation]) -> Result<Chains, Obstacle> {
    let mut accesses = accesses(operations)?;
    accesses.sort_unstable_by_key(|access| (access.value, access.role));
    let mut clusters = Vec::with_capacity(accesses.len());
    for same_value in accesses.chunk_by(|a, b| a.value == b.value) {
        add_clusters(same_value, &mut clusters)?;
    }
    if clusters.last().is_none_or(|cluster| cluster.value != ABSENT) {
        clusters.push(Cluster::initial(&[]));
    }
    let failures_matter = failures_matter(operations, &clusters);
    Ok(Chains { chains: tie(&clusters)?, failures_matter })
}

/// A read or a write of a value.
#[derive(Clone, Copy)]
struct Access {
    value: u64,
    /// What the value replaced, if a cas wrote it.
    expected: u64,
    invoke_ns: u64,
    complete_ns: u64,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Write,
    Cas,
    Read,
}

fn accesses(operations: &[Operation]) -> Result<Vec<Access>, Obstacle> {
    let effected = effected_cas(operations);
    let mut accesses = Vec::with_capacity(operations.len());
    for operation in operations {
        let role = match (operation.function, operation.outcome) {
            (Function::Get, Outcome::Unknown) | (Function::Cas, Outcome::Fail) => continue,
            (Function::Cas, Outcome::Unknown) if !effected.contains(&operation.value) => continue,
            (Function::Cas, _) if operation.expected == operation.value => return Err(Obstacle::Uncertain),
            (Function::Cas, _) => Role::Cas,
            (Function::Get, _) => Role::Read,
            (Function::Put | Function::Delete, _) => Role::Write,
            _ => return Err(Obstacle::Uncertain),
        };
        let Operation { value, expected, invoke_ns, complete_ns, .. } = *operation;
        accesses.push(Access { value, expected, invoke_ns, complete_ns, role });
    }
    Ok(accesses)
}

/// The values that were seen, as far as a cas of unknown outcome needs to know: read, or expected by a cas that took effect.
fn effected_cas(operations: &[Operation]) -> HashSet<u64> {
    let is_unknown_cas =
        |operation: &&Operation| operation.function == Function::Cas && operation.is_unknown();
    let mut unknown: Vec<&Operation> = operations.iter().filter(is_unknown_cas).collect();
    if unknown.is_empty() {
        return HashSet::new();
    }
    let seen = |operation: &Operation| match (operation.function, operation.outcome) {
        (Function::Get, Outcome::Ok) => Some(operation.value),
        (Function::Cas, Outcome::Ok) => Some(operation.expected),
        _ => None,
    };
    let mut seen: HashSet<u64> = operations.iter().filter_map(seen).collect();
    loop {
        let effected: Vec<u64> =
            unknown.extract_if(.., |cas| seen.contains(&cas.value)).map(|cas| cas.expected).collect();
        if effected.is_empty() {
            return seen;
        }
        seen.extend(effected);
    }
}

/// A write and the reads of its value.
struct Cluster {
    value: u64,
    /// The value it replaced, if a cas wrote it.
    follows: Option<u64>,
    first_ns: u64,
    last_ns: u64,
    is_initial: bool,
}

impl Cluster {
    fn written_by(write: &Access, reads: &[Access]) -> Self {
        let follows = (write.role == Role::Cas).then_some(write.expected);
        let first_ns = reads.iter().map(|read| read.complete_ns).fold(write.complete_ns, u64::min);
        let last_ns = reads.iter().map(|read| read.invoke_ns).fold(write.invoke_ns, u64::max);
        Cluster { value: write.value, follows, first_ns, last_ns, is_initial: false }
    }

    fn initial(reads: &[Access]) -> Self {
        let last_ns = reads.iter().map(|read| read.invoke_ns).max().unwrap_or(0);
        Cluster { value: ABSENT, follows: None, first_ns: 0, last_ns, is_initial: true }
    }
}

/// Adds the clusters of the accesses to one value, which come with the writes first.
fn add_clusters(accesses: &[Access], clusters: &mut Vec<Cluster>) -> Result<(), Obstacle> {
    let (writes, reads) = accesses.split_at(accesses.partition_point(|access| access.role != Role::Read));
    match (writes, reads) {
        (_, []) => clusters.extend(writes.iter().map(|write| Cluster::written_by(write, &[]))),
        ([], [read, ..]) if read.value == ABSENT => clusters.push(Cluster::initial(reads)),
        ([], _) => return Err(Obstacle::Violation),
        ([write], _) if write.value != ABSENT => {
            let contradicts = |read: &Access| read.complete_ns < write.invoke_ns;
            #[cfg(feature = "mutants")]
            let contradicts = |read: &Access| {
                contradicts(read) && !crate::mutants::active("clusters: a get may end before its put begins")
            };
            if reads.iter().any(contradicts) {
                return Err(Obstacle::Violation);
            }
            clusters.push(Cluster::written_by(write, reads));
        }
        _ => return Err(Obstacle::Uncertain),
    }
    Ok(())
}

/// Whether a cas failed on a value that was written, or initial.
fn failures_matter(operations: &[Operation], clusters: &[Cluster]) -> bool {
    let mut failed = operations.iter().filter(|operation| operation.outcome == Outcome::Fail);
    failed.any(|cas| cas.expected == ABSENT || !with_value(clusters, cas.expected).is_empty())
}

/// The places of the clusters of a value; clusters are ordered by value.
fn with_value(clusters: &[Cluster], value: u64) -> std::ops::Range<usize> {
    let start = clusters.partition_point(|cluster| cluster.value < value);
    start..start + clusters[start..].partition_point(|cluster| cluster.value == value)
}

/// Ties clusters into chains.
fn tie(clusters: &[Cluster]) -> Result<Vec<Chain>, Obstacle> {
    let next = successors(clusters)?;
    let mut chains = Vec::with_capacity(clusters.len());
    let mut tied = 0;
    for (place, start) in clusters.iter().enumerate().filter(|(_, cluster)| cluster.follows.is_none()) {
        let Cluster { first_ns, last_ns, is_initial, .. } = *start;
        let mut chain = Chain { first_ns, last_ns, is_initial };
        tied += 1;
        let mut follower = next.get(place).copied().flatten();
        while let Some(place) = follower {
            chain.add(&clusters[place as usize])?;
            tied += 1;
            follower = next[place as usize];
        }
        chains.push(chain);
    }
    // Clusters that follow each other in a circle begin nowhere: each needs another to be before it.
    if tied == clusters.len() { Ok(chains) } else { Err(Obstacle::Violation) }
}

impl Chain {
    /// Adds the next cluster, unless it must come before one that is already there.
    fn add(&mut self, cluster: &Cluster) -> Result<(), Obstacle> {
        if cluster.first_ns < self.last_ns {
            return Err(Obstacle::Violation);
        }
        self.first_ns = self.first_ns.min(cluster.first_ns);
        self.last_ns = self.last_ns.max(cluster.last_ns);
        Ok(())
    }
}

/// For each cluster the one that a cas made of it; nothing at all if there was no cas.
fn successors(clusters: &[Cluster]) -> Result<Vec<Option<u32>>, Obstacle> {
    if clusters.iter().all(|cluster| cluster.follows.is_none()) {
        return Ok(Vec::new());
    }
    let mut next = vec![None; clusters.len()];
    let mut contradicts = false;
    for (place, expected) in
        (0..).zip(clusters).filter_map(|(place, cluster)| Some((place, cluster.follows?)))
    {
        let writers = with_value(clusters, expected);
        match writers.len() {
            // A value that nobody wrote. It may yet turn out that this cas is not certain to have taken effect.
            0 => contradicts = true,
            1 if expected != ABSENT || clusters[writers.start].is_initial => {
                contradicts |= next[writers.start].replace(place).is_some();
            }
            _ => return Err(Obstacle::Uncertain),
        }
    }
    if contradicts { Err(Obstacle::Violation) } else { Ok(next) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: u64) -> Operation {
        Operation::put(0, 0, value)
    }

    fn cas(expected: u64, new: u64) -> Operation {
        Operation::cas(0, 0, expected, new)
    }

    fn found(operations: &[Operation]) -> Result<Vec<(u64, u64)>, Obstacle> {
        let chains = chains(operations)?.chains;
        Ok(chains
            .iter()
            .filter(|chain| !chain.is_initial)
            .map(|chain| (chain.first_ns, chain.last_ns))
            .collect())
    }

    #[test]
    fn a_cas_ties_two_clusters() {
        assert_eq!(found(&[put(1).during(0, 5), put(2).during(3, 6)]), Ok(vec![(5, 0), (6, 3)]));
        assert_eq!(found(&[put(1).during(0, 5), cas(1, 2).during(3, 6)]), Ok(vec![(5, 3)]));
        assert_eq!(found(&[put(1).during(7, 8), cas(1, 2).during(3, 6)]), Err(Obstacle::Violation));
    }

    #[test]
    fn a_cas_from_nothing_ties_to_the_initial_value() {
        let chains = chains(&[cas(ABSENT, 1).during(3, 6)]).map(|found| found.chains);
        assert_eq!(chains, Ok(vec![Chain { first_ns: 0, last_ns: 3, is_initial: true }]));
    }

    #[test]
    fn a_value_is_replaced_once() {
        assert_eq!(
            found(&[put(1).during(0, 1), cas(1, 2).during(0, 9), cas(1, 3).during(0, 9)]),
            Err(Obstacle::Violation)
        );
        let circle = [cas(1, 2).during(0, 9), cas(2, 1).during(0, 9)];
        assert_eq!(found(&circle), Err(Obstacle::Violation));
        assert_eq!(found(&[cas(5, 1).during(0, 9)]), Err(Obstacle::Violation));
    }

    #[test]
    fn a_cas_of_unknown_outcome_takes_part_if_its_value_was_seen() {
        let unknown = cas(1, 2).unknown_since(3);
        assert_eq!(found(&[put(1).during(0, 5), unknown]), Ok(vec![(5, 0)]));
        assert_eq!(found(&[put(1).during(0, 5), unknown, cas(2, 3).during(4, 7)]), Ok(vec![(5, 4)]));
        assert_eq!(found(&[put(2).during(0, 5), unknown, cas(2, 3).during(4, 7)]), Err(Obstacle::Uncertain));
    }
}
