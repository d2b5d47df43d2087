//! The laws of ABD, each in a file of its own, over one memory of what everybody's disk ever held and which values have which tags.
//!
//! What is held is not what anybody says: it is recomputed here from durable records.

mod a1_tags;
mod a2_holding;
mod a3_order;

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::{Lsn, NodeId, Request};
use qlab_quorum::Abd;
use qlab_quorum::abd::{Config, Record, Step};

use super::{Glimpse, Laws, Verdict};

/// All of them.
#[derive(Debug)]
pub struct AbdLaws {
    tags: a1_tags::Tags,
    holding: a2_holding::Holding,
    order: a3_order::Order,
    /// Which key a coordinator's question was about.
    rounds: HashMap<(NodeId, u64), Bytes>,
}

impl AbdLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize, config: &Config) -> Self {
        Self {
            tags: a1_tags::Tags::default(),
            holding: a2_holding::Holding::new(nodes),
            order: a3_order::Order::new(config.quorums(nodes).write),
            rounds: HashMap::new(),
        }
    }

    fn check_step(&mut self, glimpse: &Glimpse<'_, Abd>, to: NodeId, step: &Step) -> Verdict {
        match step {
            Step::AskTag { round, key } | Step::Ask { round, key } => {
                self.rounds.insert((glimpse.node, *round), key.clone());
                Ok(())
            }
            Step::Store { round, key, version } => {
                self.rounds.insert((glimpse.node, *round), key.clone());
                self.tags.check(glimpse.node, key, version)
            }
            Step::ToldTag { .. } => Ok(()),
            Step::Told { round, version } => match self.rounds.get(&(to, *round)) {
                Some(key) => {
                    self.tags.check(glimpse.node, key, version)?;
                    self.holding.check_word(glimpse.process, key, version.tag)
                }
                None => Ok(()),
            },
            Step::Stored { round, tag } => match self.rounds.get(&(to, *round)) {
                Some(key) => self.holding.check_word(glimpse.process, key, *tag),
                None => Ok(()),
            },
        }
    }
}

impl Laws<Abd> for AbdLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Abd>) -> Verdict {
        for (lsn, record) in &glimpse.harvest.records {
            if let Record::Stored { key, version } = record {
                self.tags.check(glimpse.node, key, version)?;
            }
            self.holding.check_record(glimpse.process, *lsn, record)?;
        }
        for outgoing in &glimpse.harvest.released {
            for step in &outgoing.message.steps {
                self.check_step(glimpse, outgoing.to, step)?;
            }
        }
        for (_, frame) in &glimpse.harvest.answers {
            self.order.check(frame, &self.tags, &self.holding)?;
        }
        Ok(())
    }

    fn synced(&mut self, process: usize, durable: Lsn) {
        self.holding.synced(process, durable);
    }

    fn started(&mut self, process: usize, last: Lsn) -> Verdict {
        self.holding.started(process, last);
        Ok(())
    }

    fn asked(&mut self, request: &Request) {
        self.order.asked(request);
    }
}
