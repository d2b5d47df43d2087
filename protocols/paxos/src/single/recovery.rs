//! Restart from the journal: the highest of everything counts, so that the order of records does not matter, nor how often they say
//! the same.

use qlab_kernel::{Effects, Lsn, NodeId, Seat, Term, mutant};
use rand_pcg::Pcg32;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::FirstBallot;
use super::outbox::Outbox;
use super::record::Record;
use super::registers::Registers;
use super::{Config, Counts, Paxos};
use crate::Ballot;

pub(crate) fn recover(
    seat: Seat,
    config: &Config,
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &Effects<Paxos>,
) -> Paxos {
    let mut registers = Registers::default();
    let mut lives = 0;
    for (_, record) in records {
        match record {
            Record::Life { incarnation } => lives = incarnation.max(lives),
            Record::Changes { changes } => {
                changes.iter().for_each(|(key, change)| registers.replay_change(key, change));
            }
            Record::Images { images } => {
                images.iter().for_each(|(key, image)| registers.replay_image(key, image));
            }
        }
    }
    let incarnation = mutant!(lives + 1, "paxos: a restart is the same life", 1);
    Paxos {
        seat,
        config: config.clone(),
        quorum: seat.members.majority(),
        chance: Pcg32::new(seat.seed, u64::from(seat.me.0)),
        floor: match config.first_ballot {
            FirstBallot::Prepare => Ballot::ZERO,
            // Above everybody's ballots of the first round.
            FirstBallot::Promised => Ballot { round: Term(1), node: NodeId(u16::MAX), incarnation: u32::MAX },
        },
        incarnation,
        life_lsn: Lsn::ZERO,
        registers,
        durable: effects.last(),
        changes: Vec::new(),
        own_new: Vec::new(),
        own: VecDeque::new(),
        outbox: Outbox::new(seat.peers()),
        attempts: BTreeMap::new(),
        alarms: BTreeSet::new(),
        waiting: 0,
        rounds: 0,
        tidings: Vec::new(),
        tell_at: None,
        rewriting: super::journal::Rewriting::default(),
        counts: Counts::default(),
    }
}
