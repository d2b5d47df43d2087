//! The chance that a batch of signatures is verified with.

use std::convert::Infallible;

use rand::{TryCryptoRng, TryRng};

use super::{Claim, Signer};

/// The numbers that a batch is weighed with: a hash of the whole batch, so that nobody who makes a signature can know them
/// before, and no replica needs a source of chance.
pub(super) struct Coefficients(blake3::OutputReader);

impl Coefficients {
    pub(super) fn of(claims: &[Claim]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("qlab-pbft batch verification");
        for claim in claims {
            let (kind, place) = match claim.signer {
                Signer::Replica(node) => (0_u8, node.0),
                Signer::Client(client) => (1, client),
            };
            hasher.update(&[kind]).update(&place.to_le_bytes());
            hasher.update(&claim.statement.0).update(&claim.signature.0);
        }
        Self(hasher.finalize_xof())
    }
}

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Coefficients {}
