//! One server, no peers: the floor every other row is compared with.
//!
//! What is left of a replicated log when nobody replicates: requests are packed into entries, an entry is executed and
//! answered when its record is on the server's own disk. Every other protocol pays for its messages and quorums on top of
//! this, so the distance between its row and this one is the price of replication. It survives a crash with its disk,
//! never the loss of either: that is not a fault it claims to tolerate.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | its windows, and when it compacts |
//! | [`record`] | what it writes down, and the message that nobody can send |
//! | `log` | entries on their way: waiting, persisted, durable |
//! | `compaction` | the snapshot on its way, and what it sets free |
//! | `recovery` | a server again, from its records |
//!
//! Why it is safe, in short. Entries are numbered and persisted in one order, and executed in that order, each when its
//! record is durable: so an answer implies a record that no crash takes away. A crash leaves a prefix of the records; the
//! entries in it follow each other without a gap, and executing them again gives the same state. Records are released only
//! below the first entry that a *durable, complete* snapshot does not hold, so recovery always finds a snapshot and every
//! entry after it. Queries are answered from executed entries, hence from every write that was answered before they were
//! asked; what they see is durable, hence never taken back.

#![forbid(unsafe_code)]

mod compaction;
pub mod config;
mod log;
pub mod record;
mod recovery;

use qlab_kernel::{
    Batch, Commit, Effects, Input, Lsn, NodeId, Protocol, Refusal, Request, Seat, Ticket, Time,
};

use compaction::Compaction;
pub use config::{Config, ConfigError};
use log::Log;
pub use record::{Never, Record};

/// The server.
#[derive(Debug)]
pub struct Unreplicated {
    me: NodeId,
    config: Config,
    log: Log,
    compaction: Compaction,
}

impl Protocol for Unreplicated {
    const NAME: &'static str = "unreplicated";
    type Config = Config;
    type Message = Never;
    type Record = Record;

    /// Panics if the configuration is not [valid](Config::validate) or if `records` have a gap that no snapshot covers: a
    /// server that lost entries it has answered for must not serve.
    fn recover(
        seat: Seat,
        config: &Config,
        _: Time,
        records: impl Iterator<Item = (Lsn, Record)>,
        effects: &mut Effects<Self>,
    ) -> Self {
        if let Err(error) = config.validate() {
            panic!("{error}");
        }
        let (log, compaction) = recovery::replay(records, effects);
        Self { me: seat.me, config: config.clone(), log, compaction }
    }

    fn step(&mut self, _: Time, input: Input<Never>, effects: &mut Effects<Self>) {
        match input {
            Input::Message { message, .. } => match message {},
            Input::Request { ticket, request: Request::Write(batch), .. } => {
                self.write(ticket, batch, effects)
            }
            // What has been answered has been executed, earlier in this same lane: the state as it is holds every write
            // that was answered before this query was asked.
            Input::Request { ticket, request: Request::Read(batch), .. } => {
                effects.commit(Commit::Query { ticket, batch });
            }
            Input::Durable(lsn) => self.durable(lsn, effects),
            Input::Captured { index, image } => self.compaction.captured(index, image, effects),
            // There is no successor to hand over to.
            Input::Timeout | Input::Yield { .. } => {}
        }
    }

    fn flush(&mut self, _: Time, effects: &mut Effects<Self>) {
        self.log.persist_waiting(effects);
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn leader(&self) -> Option<NodeId> {
        Some(self.me)
    }

    fn check(&self) {
        self.log.check(&self.config);
        self.compaction.check(self.log.executed());
    }
}

impl Unreplicated {
    fn write(&mut self, ticket: Ticket, batch: Batch, effects: &mut Effects<Self>) {
        if self.log.has_room(&batch, &self.config) {
            self.log.wait(ticket, batch);
        } else {
            effects.refuse(ticket, batch, Refusal::Busy);
        }
    }

    fn durable(&mut self, lsn: Lsn, effects: &mut Effects<Self>) {
        let executed_bytes = self.log.execute_durable(lsn, effects);
        self.compaction.durable(lsn, effects);
        self.compaction.executed(executed_bytes, &self.log, &self.config, effects);
    }
}
