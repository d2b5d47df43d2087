//! Operations on locks: open an owner if there is none, renew it if it is old, take the lock, wait for it, give it back.

use qlab_kernel::Outcome;
use qlab_machines::lock;

use super::Driver;
use super::lane::Op;
use crate::history::{End, Kind};

impl Driver {
    /// A command of a lock operation was answered by this status and number.
    pub(super) fn lock_answered(
        &mut self,
        number: usize,
        mut op: Op,
        (status, value): (u8, u64),
        now_ns: u64,
    ) {
        let Some(tenants) = &mut self.tenants else { return self.misanswered(number, &op, now_ns) };
        match (op.kind, status) {
            (Kind::Open, lock::OPENED) => tenants.open(&op, lock::OwnerId(value)),
            (Kind::Renew, lock::RENEWED) => tenants.renew(&op),
            (Kind::Acquire | Kind::Await, lock::GRANTED) => return self.granted(number, op, value, now_ns),
            (Kind::Acquire | Kind::Await, lock::QUEUED) => op.queued = true,
            (Kind::Release, lock::RELEASED) => return self.lock_ended(number, &op, End::Ok, now_ns),
            // Its lease ended before its release came. The next operation of this process opens another owner.
            (Kind::Release, lock::NOT_HELD | lock::NO_OWNER) => {
                tenants.forget(&op);
                return self.lock_ended(number, &op, End::Mismatch, now_ns);
            }
            // Its lease ended while it waited, and its place in the queue with it.
            (Kind::Renew | Kind::Acquire | Kind::Await, lock::NO_OWNER | lock::NOT_HELD) => {
                tenants.forget(&op);
                op.queued = false;
            }
            (_, lock::FULL | Outcome::MALFORMED) => {
                return self.lock_ended(number, &op, End::Failed, now_ns);
            }
            _ => return self.misanswered(number, &op, now_ns),
        }
        let kind = tenants.next_kind(&op, now_ns);
        self.enqueue(number, Op { kind, sent_ns: 0, ..op });
    }

    fn granted(&mut self, number: usize, op: Op, token: u64, now_ns: u64) {
        let Some(tenants) = &mut self.tenants else { return };
        let granted = tenants.grant(&op, now_ns);
        self.book.acquired(&op, token, granted, now_ns);
        if granted.dies {
            self.book.died(&op, now_ns);
            self.ended(number);
        } else {
            self.enqueue(number, Op { kind: Kind::Release, value: token, sent_ns: 0, ..op });
        }
    }

    fn lock_ended(&mut self, number: usize, op: &Op, end: End, now_ns: u64) {
        self.book.lock_ended(op, end, now_ns);
        self.ended(number);
    }
}
