//! Restart from the journal: the highest of everything counts, so that the order of records does not matter, nor how often they say
//! the same.

use std::collections::{BTreeMap, HashSet, VecDeque};

use qlab_kernel::{Effects, Lsn, Seat, mutant};

use super::record::Record;
use super::registers::Registers;
use super::{Abd, Config, Counts};
use crate::outbox::Outbox;
use crate::rewriting::Rewriting;
use crate::sessions::OwnSessions;

/// The life of sessions that were found: any before this one.
const PAST: u32 = 0;

pub(crate) fn recover(
    seat: Seat,
    config: &Config,
    records: impl Iterator<Item = (Lsn, Record)>,
    effects: &Effects<Abd>,
) -> Abd {
    let (mut registers, mut sessions) = (Registers::default(), OwnSessions::default());
    let mut lives = PAST;
    for (_, record) in records {
        match record {
            Record::Life { incarnation } => lives = incarnation.max(lives),
            Record::Opened { sessions: opened } => {
                opened.into_iter().for_each(|session| sessions.remember(session, PAST));
            }
            Record::Stored { key, version } => _ = registers.hold(&key, &version),
            Record::Images { images } => {
                images.iter().for_each(|(key, version)| _ = registers.hold(key, version));
            }
        }
    }
    mutant!("abd: sessions outlive their replica", {
        sessions = OwnSessions::default();
    });
    Abd {
        seat,
        config: config.clone(),
        quorums: config.quorums(seat.members.len()),
        incarnation: mutant!(lives + 1, "abd: a restart is the same life", 1),
        life_lsn: Lsn::ZERO,
        registers,
        durable: effects.last(),
        own: VecDeque::new(),
        outbox: Outbox::new(seat.peers()),
        rewriting: Rewriting::default(),
        sessions,
        waiting: HashSet::new(),
        operations: BTreeMap::new(),
        alarms: VecDeque::new(),
        rounds: 0,
        counts: Counts::default(),
    }
}
