//! The laws of every system.

use qlab_kernel::Protocol;

use super::g3_exactly_once::ExactlyOnce;
use super::g5_chain_hash::ChainHash;
use super::{Glimpse, Laws, Verdict};

/// What must hold whatever the protocol.
#[derive(Debug, Default)]
pub struct Common {
    exactly_once: ExactlyOnce,
    chain_hash: ChainHash,
}

impl Common {
    /// Those of a service that opens sessions before it takes anything else in them, or of one that needs none.
    pub(crate) fn new(opens_sessions: bool) -> Self {
        Self { exactly_once: ExactlyOnce::new(opens_sessions), ..Self::default() }
    }
}

impl<P: Protocol> Laws<P> for Common {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, P>) -> Verdict {
        for done in &glimpse.harvest.done {
            self.chain_hash.check(glimpse.process, done)?;
        }
        for (_, frame) in &glimpse.harvest.answers {
            self.exactly_once.check(frame)?;
        }
        Ok(())
    }

    fn ended(&mut self, process: usize) {
        self.chain_hash.forget(process);
    }
}
