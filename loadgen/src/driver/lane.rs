//! One numbered sequence of commands, and which of them wait for what.
//!
//! A session has two lanes, writes and reads, each with an id and numbers of its own: so runs of either are bursts without
//! gaps, and a refusal says which lane it means. The slots form a ring from the lowest unanswered number on; an answer finds
//! its slot by subtraction.

use std::collections::VecDeque;

use qlab_kernel::limits::SESSION_WINDOW;
use qlab_kernel::{Sequence, SessionId};

use crate::history::Kind;
use crate::mix::Class;

/// An operation on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    /// When it was meant to start.
    pub(crate) intended_ns: u64,
    /// When its first command was first sent; 0 before.
    pub(crate) started_ns: u64,
    /// When its present command was first sent; 0 before.
    pub(crate) sent_ns: u64,
    /// When its present command was last sent.
    pub(crate) attempt_ns: u64,
    /// Id of the value to write.
    pub(crate) value: u64,
    /// Id of the value that a compare-and-set expects.
    pub(crate) expected: u64,
    /// The key's number.
    pub(crate) key: u32,
    /// Whose operation it is in the history.
    pub(crate) process: u32,
    /// What is measured.
    pub(crate) class: Class,
    /// What its present command asks.
    pub(crate) kind: Kind,
    /// Whether it has a place in a lock's queue.
    pub(crate) queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Never sent.
    Queued,
    /// Sent; an answer is awaited.
    Sent,
    /// Sent, and to be sent again.
    Parked,
    /// Answered or given up.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    op: Op,
    state: State,
}

/// The commands of one id from the lowest unanswered number on.
#[derive(Debug)]
pub(crate) struct Lane {
    id: SessionId,
    /// Number of the first slot: everything below is answered or given up.
    base: u64,
    slots: VecDeque<Slot>,
    /// Slots from here on were never sent.
    fresh: usize,
    /// Slots to be sent again.
    parked: usize,
    /// No command that is waiting was last sent before this.
    oldest_attempt_ns: u64,
}

impl Lane {
    pub(crate) fn new(id: SessionId) -> Self {
        Self { id, base: 1, slots: VecDeque::new(), fresh: 0, parked: 0, oldest_attempt_ns: u64::MAX }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Slots in use: commands that wait, and answered ones above the lowest that waits.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Everything below is answered or given up.
    pub(crate) fn settled(&self) -> Sequence {
        Sequence(self.base)
    }

    /// Numbers a command; it is sent with the next pack.
    pub(crate) fn push(&mut self, op: Op) {
        self.slots.push_back(Slot { op, state: State::Queued });
    }

    /// Whether commands wait for their first sending and the window lets one through.
    pub(crate) fn has_fresh(&self) -> bool {
        self.fresh < self.slots.len().min(SESSION_WINDOW as usize)
    }

    /// Whether an answer to any command is awaited.
    pub(crate) fn has_sent(&self) -> bool {
        // The first slot is never one that is done.
        self.fresh > 0
    }

    /// Whether an answer to this number is awaited.
    pub(crate) fn awaits(&mut self, number: Sequence) -> bool {
        self.sent_slot(number).is_some()
    }

    /// Takes the operation with this number, which has been answered; `None` if no answer to it is awaited.
    pub(crate) fn take(&mut self, number: Sequence) -> Option<Op> {
        let slot = self.sent_slot(number)?;
        let was_parked = slot.state == State::Parked;
        slot.state = State::Done;
        let op = slot.op;
        self.parked -= usize::from(was_parked);
        self.settle();
        Some(op)
    }

    /// Marks `count` commands from `first` on for another sending; returns how many of them wait for an answer.
    pub(crate) fn park(&mut self, first: Sequence, count: u32) -> usize {
        let last = first.0.saturating_add(count.into()).min(self.base + self.fresh as u64);
        let mut parked = 0;
        for number in first.0.max(self.base)..last {
            if let Some(slot) = self.sent_slot(Sequence(number)).filter(|slot| slot.state == State::Sent) {
                slot.state = State::Parked;
                parked += 1;
            }
        }
        self.parked += parked;
        parked
    }

    /// Marks every command that waits for an answer for another sending.
    pub(crate) fn park_all(&mut self) {
        self.park(Sequence(self.base), u32::MAX);
    }

    /// Gives `send` the number and the operation of every command that is due: the parked ones if `again`, then the fresh
    /// ones that the window lets through. Returns how many were sent for the first time, and how many again.
    pub(crate) fn send_due(
        &mut self,
        now_ns: u64,
        again: bool,
        mut send: impl FnMut(Sequence, &Op),
    ) -> (u64, u64) {
        let mut resent = 0;
        if again && self.parked > 0 {
            resent = self.resend(now_ns, &mut send);
        }
        let end = self.slots.len().min(SESSION_WINDOW as usize);
        let first = self.fresh;
        for at in first..end {
            let slot = &mut self.slots[at];
            slot.state = State::Sent;
            slot.op.sent_ns = now_ns;
            slot.op.attempt_ns = now_ns;
            if slot.op.started_ns == 0 {
                slot.op.started_ns = now_ns;
            }
            send(Sequence(self.base + at as u64), &slot.op);
        }
        if end > first {
            self.fresh = end;
            self.oldest_attempt_ns = self.oldest_attempt_ns.min(now_ns);
        }
        (end.saturating_sub(first) as u64, resent)
    }

    /// Parks every command last sent before `attempt_ns`, and gives `lost` those first sent before `sent_ns`, which nobody
    /// waits for any more. Returns how many were parked.
    pub(crate) fn expire(&mut self, attempt_ns: u64, sent_ns: u64, mut lost: impl FnMut(Op)) -> usize {
        if self.oldest_attempt_ns >= attempt_ns.max(sent_ns) {
            return 0;
        }
        let (mut expired, mut oldest_attempt_ns) = (0, u64::MAX);
        for slot in self.slots.range_mut(..self.fresh).filter(|slot| slot.state != State::Done) {
            if slot.op.sent_ns < sent_ns {
                self.parked -= usize::from(slot.state == State::Parked);
                slot.state = State::Done;
                lost(slot.op);
                continue;
            }
            if slot.state == State::Sent && slot.op.attempt_ns < attempt_ns {
                slot.state = State::Parked;
                expired += 1;
            }
            // A parked command can still be given up: its first sending is what counts then.
            let awaited_ns = if slot.state == State::Parked { slot.op.sent_ns } else { slot.op.attempt_ns };
            oldest_attempt_ns = oldest_attempt_ns.min(awaited_ns);
        }
        self.parked += expired;
        self.oldest_attempt_ns = oldest_attempt_ns;
        self.settle();
        expired
    }

    /// Gives `lost` every command that was sent and has no answer.
    pub(crate) fn lose_sent(&mut self, lost: impl FnMut(Op)) {
        self.expire(0, u64::MAX, lost);
    }

    /// Goes on under another id, from number 1; what was sent must have been lost before.
    pub(crate) fn renumber(&mut self, id: SessionId) {
        assert_eq!(self.fresh, 0, "a command that was sent under one id must not be sent under another");
        self.id = id;
        self.base = 1;
    }

    /// The operations that were never sent.
    pub(crate) fn drain_fresh(&mut self) -> impl Iterator<Item = Op> {
        self.slots.drain(self.fresh..).map(|slot| slot.op)
    }

    fn resend(&mut self, now_ns: u64, send: &mut impl FnMut(Sequence, &Op)) -> u64 {
        let parked = self.slots.range_mut(..self.fresh).enumerate();
        for (at, slot) in parked.filter(|(_, slot)| slot.state == State::Parked) {
            slot.state = State::Sent;
            slot.op.attempt_ns = now_ns;
            send(Sequence(self.base + at as u64), &slot.op);
        }
        std::mem::take(&mut self.parked) as u64
    }

    fn sent_slot(&mut self, number: Sequence) -> Option<&mut Slot> {
        let at = usize::try_from(number.0.checked_sub(self.base)?).ok()?;
        if at >= self.fresh {
            return None;
        }
        Some(&mut self.slots[at]).filter(|slot| slot.state != State::Done)
    }

    fn settle(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.state == State::Done) {
            self.slots.pop_front();
            self.base += 1;
            self.fresh -= 1;
        }
    }
}
