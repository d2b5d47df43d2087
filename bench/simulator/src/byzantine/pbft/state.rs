//! Lies about the state: checkpoints and pieces of images, bodies, and what clients are answered.

use bytes::Bytes;
use qlab_kernel::{Batch, Commit, Effects, Time};
use qlab_pbft::Pbft;
use qlab_pbft::message::{Message, PrePrepare};
use qlab_pbft::request::{ClientRequest, Requests};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::{Forger, any_digest, edit};
use crate::byzantine::Byzantine;

/// Vouches for checkpoints that nobody has, and sends wrong pieces of images.
#[derive(Debug)]
pub struct WrongState {
    forger: Forger,
}

impl WrongState {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger }
    }
}

impl Byzantine<Pbft> for WrongState {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, message| {
            if chance.random_bool(0.3) {
                return Some(message);
            }
            Some(match message {
                Message::Checkpoint { seq, .. } => self.forger.checkpoint(seq, any_digest(chance)),
                Message::Stable(mut stable) => {
                    stable.digest = any_digest(chance);
                    Message::Stable(stable)
                }
                Message::State { mut chunk, last } => {
                    let mut bytes = chunk.bytes.to_vec();
                    let place = chance.random_range(0..bytes.len().max(1));
                    bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= 1);
                    chunk.bytes = Bytes::from(bytes);
                    Message::State { chunk, last }
                }
                other => other,
            })
        });
    }
}

/// Proposes requests that their clients did not make, and sends other bodies than it is asked for.
#[derive(Debug)]
pub struct WrongBodies {
    forger: Forger,
}

impl WrongBodies {
    /// One that signs with these keys.
    #[must_use]
    pub const fn new(forger: Forger) -> Self {
        Self { forger }
    }
}

impl Byzantine<Pbft> for WrongBodies {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        edit(effects, |_, message| {
            if chance.random_bool(0.5) {
                return Some(message);
            }
            Some(match message {
                Message::Body { seq, .. } => Message::Body { seq, requests: Requests::null() },
                Message::PrePrepare(PrePrepare { view, seq, requests, .. })
                    if self.forger.primary(view) == self.forger.me =>
                {
                    self.forger.pre_prepare(view, seq, disproved(&requests, chance))
                }
                Message::Relay(request) => Message::Relay(without_proof(&request, chance)),
                other => other,
            })
        });
    }
}

fn disproved(requests: &Requests, chance: &mut Pcg32) -> Requests {
    Requests::new(requests.iter().map(|request| without_proof(request, chance)).collect())
}

/// The same request with a proof in which something is wrong.
fn without_proof(request: &ClientRequest, chance: &mut Pcg32) -> ClientRequest {
    let mut proof = request.proof().to_vec();
    let place = chance.random_range(0..proof.len().max(1));
    proof.get_mut(place).into_iter().for_each(|byte| *byte ^= 1);
    let batch = request.batch().clone();
    let asked = if request.is_read() {
        qlab_kernel::Request::Read(batch)
    } else {
        qlab_kernel::Request::Write(batch)
    };
    ClientRequest::new(asked, Bytes::from(proof)).expect("its owner is the same")
}

/// Executes something else now and then: what it answers to clients is wrong from then on, and so are its images.
#[derive(Debug)]
pub struct LyingToClients;

impl Byzantine<Pbft> for LyingToClients {
    fn rewrite(&mut self, _: Time, effects: &mut Effects<Pbft>, chance: &mut Pcg32) {
        let commits: Vec<Commit> = effects.take_commits().collect();
        for commit in commits {
            effects.commit(match commit {
                Commit::Apply { index, .. } if chance.random_ratio(1, 5) => {
                    Commit::Apply { index, batch: Batch::default() }
                }
                other => other,
            });
        }
    }
}
