//! Packing what sessions have to send: openings, fresh commands, and parked ones whose moment has come.

use qlab_kernel::{Batch, Request};

use super::lane::Lane;
use super::packer::Packer;
use super::session::{Opening, Session};
use super::{Action, Driver};

impl Driver {
    /// Puts a session on its connection's list.
    pub(super) fn mark(&mut self, number: usize) {
        let session = &mut self.sessions[number];
        if !session.dirty {
            session.dirty = true;
            self.links[session.link].dirty.push(number);
        }
    }

    pub(super) fn flush(&mut self, link: usize, now_ns: u64) {
        if !self.links[link].up || self.links[link].dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.links[link].dirty);
        for number in dirty.drain(..) {
            self.sessions[number].dirty = false;
            self.pack(number, now_ns);
        }
        self.links[link].dirty = dirty;
        send(&mut self.actions, link, Request::Write, self.writes.finish());
        send(&mut self.actions, link, Request::Read, self.reads.finish());
    }

    fn pack(&mut self, number: usize, now_ns: u64) {
        let session = &mut self.sessions[number];
        let link = session.link;
        match session.opening {
            Opening::Wanted => {
                let full = self.writes.open(session.writes.id());
                session.opening = Opening::Asked { at_ns: now_ns };
                send(&mut self.actions, link, Request::Write, full);
            }
            Opening::Asked { .. } => {}
            Opening::Open => {
                let again = session.again_at_ns.is_some_and(|at_ns| at_ns <= now_ns);
                if again {
                    session.again_at_ns = None;
                }
                self.pack_lanes(number, again, now_ns);
            }
        }
    }

    fn pack_lanes(&mut self, number: usize, again: bool, now_ns: u64) {
        let Self { sessions, scribe, tenants, writes, reads, actions, book, .. } = self;
        let Session { link, writes: write_lane, reads: read_lane, .. } = &mut sessions[number];
        let mut pack = |lane: &mut Lane, packer: &mut Packer, request: fn(Batch) -> Request| {
            let (id, settled) = (lane.id(), lane.settled());
            let (sent, resent) = lane.send_due(now_ns, again, |sequence, op| {
                let full = match tenants {
                    None => {
                        let command = scribe.command(op);
                        let len = command.encoded_len();
                        packer.push(id, sequence, settled, len, |bytes| command.encode(bytes))
                    }
                    Some(tenants) => {
                        let command = tenants.command(op);
                        packer.push(id, sequence, settled, command.len(), |bytes| {
                            bytes.extend_from_slice(command)
                        })
                    }
                };
                send(actions, *link, request, full);
            });
            book.counters.sent += sent;
            book.counters.retries += resent;
        };
        pack(write_lane, writes, Request::Write);
        pack(read_lane, reads, Request::Read);
    }
}

fn send(actions: &mut Vec<Action>, link: usize, request: fn(Batch) -> Request, batch: Option<Batch>) {
    if let Some(batch) = batch {
        actions.push(Action::Send { link, request: request(batch) });
    }
}
