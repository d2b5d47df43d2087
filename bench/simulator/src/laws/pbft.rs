//! The laws of PBFT, each in a file of its own, over one memory of what the disks of honest replicas ever held.
//!
//! Nothing is believed of what replicas conclude: what is committed is recomputed from durable certificates, certificates from the
//! signatures in them, the beginnings of views from their votes. Liars are not looked at; they count as having said whatever helps.
//! B10 (in order, once) is G5 and G3. B12 (batch and single verdicts agree) is a property test of the core; what a wrong verdict leads
//! to is B3's. B14 (liveness) is what a healed world must do.

mod b11_one_word;
mod b13_timers;
mod b1_agreement;
mod b2_acceptance;
mod b3_certificates;
mod b4_commitment;
mod b5_beginnings;
mod b7_watermarks;
mod b8_silence;
mod b9_clients;
mod ledger;

use qlab_kernel::{Lsn, NodeId};
use qlab_pbft::{Config, Pbft, Record};

use super::{Glimpse, Laws, Verdict};
use crate::desk::ClientNumber;
use ledger::Ledger;

/// All of them.
#[derive(Debug)]
pub struct PbftLaws {
    ledger: Ledger,
    /// What was found while records became durable, to be told after the next burst.
    found: Verdict,
    agreement: b1_agreement::Agreement,
    acceptance: b2_acceptance::Acceptance,
    certificates: b3_certificates::Certificates,
    commitment: b4_commitment::Commitment,
    beginnings: b5_beginnings::Beginnings,
    watermarks: b7_watermarks::Watermarks,
    silence: b8_silence::Silence,
    clients: b9_clients::Clients,
    words: b11_one_word::Words,
    timers: b13_timers::Timers,
}

impl PbftLaws {
    /// The laws of a cluster of `nodes`.
    #[must_use]
    pub fn new(nodes: usize, config: &Config) -> Self {
        Self {
            ledger: Ledger::new(nodes, config.keys.clone()),
            found: Ok(()),
            agreement: b1_agreement::Agreement::default(),
            acceptance: b2_acceptance::Acceptance::default(),
            certificates: b3_certificates::Certificates::default(),
            commitment: b4_commitment::Commitment::default(),
            beginnings: b5_beginnings::Beginnings::new(config.log_window),
            watermarks: b7_watermarks::Watermarks::new(config.log_window),
            silence: b8_silence::Silence::default(),
            clients: b9_clients::Clients::new((nodes - 1) / 3 + 1),
            words: b11_one_word::Words::default(),
            timers: b13_timers::Timers::new(config.view_timeout),
        }
    }

    fn note(&mut self, verdict: Verdict) {
        if self.found.is_ok() {
            self.found = verdict;
        }
    }

    fn keep(&mut self, process: usize, durable: Lsn) {
        for (lock, is_committed) in self.ledger.synced(process, durable) {
            let verdict = self.certificates.check_unique(process, &lock);
            self.note(verdict);
            if is_committed {
                let who = format!("2f + 1 certificates of view {}", lock.view);
                let verdict = self.agreement.check(lock.seq, lock.digest, &who);
                self.note(verdict.and_then(|()| self.beginnings.check_lock(&lock)));
            }
        }
    }

    fn check_record(&mut self, glimpse: &Glimpse<'_, Pbft>, lsn: Lsn, record: &Record) -> Verdict {
        let process = glimpse.process;
        self.silence.check_record(process, record)?;
        self.timers.check_record(glimpse, record)?;
        match record {
            Record::Accepted(pre_prepare) => {
                self.acceptance.check(process, lsn, pre_prepare)?;
                self.watermarks.check_window(glimpse, pre_prepare.seq)?;
            }
            Record::Prepared(prepared) => {
                b3_certificates::check(glimpse.node, prepared, &self.ledger)?;
                self.watermarks.check_window(glimpse, prepared.seq)?;
            }
            Record::Voted(vote) => self.beginnings.check_own_vote(process, vote, &self.ledger)?,
            Record::Entered { view } => self.beginnings.check(glimpse, *view, &self.ledger)?,
            Record::Stable(stable) => self.watermarks.check_stable(stable, &self.ledger)?,
            Record::Body { .. } | Record::Image { .. } => {}
        }
        self.ledger.write(process, lsn, record);
        Ok(())
    }
}

impl Laws<Pbft> for PbftLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Pbft>) -> Verdict {
        self.found.clone()?;
        self.silence.begin(glimpse);
        self.timers.begin(glimpse);
        for (lsn, record) in &glimpse.harvest.records {
            self.check_record(glimpse, *lsn, record)?;
        }
        for done in &glimpse.harvest.done {
            self.watermarks.check_image(done)?;
        }
        for outgoing in &glimpse.harvest.released {
            self.words.check(glimpse.node, &outgoing.message)?;
            self.silence.check_message(glimpse, &outgoing.message, &self.ledger)?;
            self.watermarks.check_message(glimpse, &outgoing.message, &self.ledger)?;
        }
        self.commitment.check(glimpse, &mut self.agreement, &self.ledger)?;
        self.watermarks.check_state(glimpse, &self.ledger)?;
        self.timers.end(glimpse);
        self.silence.end(glimpse);
        Ok(())
    }

    fn synced(&mut self, process: usize, durable: Lsn) {
        self.keep(process, durable);
    }

    fn ended(&mut self, process: usize) {
        self.commitment.ended(process);
        self.silence.ended(process);
        self.timers.ended(process);
    }

    fn lies(&mut self, node: NodeId) {
        self.ledger.lies(node);
    }

    fn started(&mut self, process: usize, last: Lsn) -> Verdict {
        self.keep(process, last);
        self.ledger.recovered(process, last);
        self.acceptance.started(process, last);
        self.found.clone()
    }

    fn answered(&mut self, client: ClientNumber, from: NodeId, frame: &[u8]) {
        self.clients.answered(client, from, frame);
    }

    fn believed(&mut self, client: ClientNumber, frame: &[u8]) -> Verdict {
        self.clients.believed(client, frame)
    }
}
