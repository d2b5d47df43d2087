//! B11: of everything that an honest replica signs there is one version for each kind, view and sequence number: in what it releases,
//! across restarts.

use std::collections::HashMap;

use qlab_kernel::{NodeId, Term};
use qlab_pbft::keys::Digest;
use qlab_pbft::message::{Message, PrePrepare};

use crate::laws::{Verdict, broken};

const LAW: &str = "B11 one word";

/// What every replica has ever said.
#[derive(Debug, Default)]
pub(crate) struct Words {
    said: HashMap<(NodeId, &'static str, u64, u64), Digest>,
}

impl Words {
    pub(crate) fn check(&mut self, node: NodeId, message: &Message) -> Verdict {
        match message {
            Message::PrePrepare(PrePrepare { view, seq, requests, .. }) => {
                self.says(node, "pre-prepare", *view, seq.0, *requests.digest())
            }
            Message::Prepare { view, seq, digest, .. } => self.says(node, "prepare", *view, seq.0, *digest),
            Message::Commit { view, seq, digest, .. } => self.says(node, "commit", *view, seq.0, *digest),
            Message::Checkpoint { seq, digest, .. } => {
                self.says(node, "checkpoint", Term::ZERO, seq.0, *digest)
            }
            Message::ViewChange(vote) if vote.voter == node => {
                self.says(node, "view-change", vote.view, 0, vote.digest())
            }
            _ => Ok(()),
        }
    }

    fn says(&mut self, node: NodeId, kind: &'static str, view: Term, seq: u64, digest: Digest) -> Verdict {
        let first = *self.said.entry((node, kind, view.0, seq)).or_insert(digest);
        if first != digest {
            let what = format!("{node} says {kind} in view {view} for {seq}: {first:?} and then {digest:?}");
            return broken(LAW, what);
        }
        Ok(())
    }
}
