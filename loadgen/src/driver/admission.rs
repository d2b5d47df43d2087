//! Offering operations: vacancies of a closed loop, due arrivals of an open one, the keys of a sweep.

use super::lane::Op;
use super::{Driver, Source};
use crate::history::Kind;
use crate::mix::Class;
use crate::tape::Arrival;

impl Driver {
    pub(super) fn admit_arrivals(&mut self, now_ns: u64) {
        match self.source {
            Source::Idle => {}
            Source::Sweep { .. } => self.admit_sweep(now_ns),
            Source::Closed => self.admit_closed(now_ns),
            Source::Open { start_ns } => self.admit_open(start_ns, now_ns),
        }
        self.book.counters.in_flight_max = self.book.counters.in_flight_max.max(self.outstanding);
    }

    fn admit_sweep(&mut self, now_ns: u64) {
        while let Source::Sweep { class, next, end } = self.source
            && next < end
            && let Some(number) = self.vacancies.pop()
        {
            self.source = Source::Sweep { class, next: next + 1, end };
            let arrival = Arrival { offset_ns: 0, key: next, class };
            self.admit(number, arrival, now_ns, self.config.first_value_id + u64::from(next));
        }
    }

    fn admit_closed(&mut self, now_ns: u64) {
        while let Some(number) = self.vacancies.pop() {
            let arrival = self.tape.at(self.position);
            self.admit_next(number, arrival, now_ns);
        }
    }

    fn admit_open(&mut self, start_ns: u64, now_ns: u64) {
        while let Some((arrival, intended_ns)) = self.due(start_ns, now_ns)
            && let Some(number) = self.next_with_room()
        {
            self.admit_next(number, arrival, intended_ns);
        }
    }

    /// The arrival at the tape's position if it is due, and its intended start.
    pub(super) fn due(&self, start_ns: u64, now_ns: u64) -> Option<(Arrival, u64)> {
        let arrival = self.tape.at(self.position);
        let intended_ns = start_ns + arrival.offset_ns;
        (intended_ns <= now_ns).then_some((arrival, intended_ns))
    }

    fn next_with_room(&mut self) -> Option<usize> {
        let (count, window) = (self.sessions.len(), self.config.window as usize);
        let mut turns = (0..count).map(|step| (self.turn + step) % count);
        let number = turns.find(|number| self.sessions[*number].has_room(window))?;
        self.turn = number + 1;
        Some(number)
    }

    fn admit_next(&mut self, number: usize, arrival: Arrival, intended_ns: u64) {
        let value = self.next_value_id();
        self.position += 1;
        self.admit(number, arrival, intended_ns, value);
    }

    fn admit(&mut self, number: usize, arrival: Arrival, intended_ns: u64, value: u64) {
        let mut op = Op {
            intended_ns,
            started_ns: 0,
            sent_ns: 0,
            attempt_ns: 0,
            value,
            expected: 0,
            key: arrival.key,
            process: self.book.processes.take(),
            class: arrival.class,
            kind: if arrival.class == Class::Write { Kind::Put } else { Kind::Get },
            queued: false,
        };
        if let Some(tenants) = &self.tenants {
            op = Op { class: Class::Lock, kind: tenants.next_kind(&op, self.woken_ns), ..op };
        }
        self.outstanding += 1;
        if arrival.class.writes() {
            self.touched = self.touched.max(arrival.key + 1);
        }
        self.enqueue(number, op);
    }

    pub(super) fn enqueue(&mut self, number: usize, op: Op) {
        let session = &mut self.sessions[number];
        let queries = matches!(op.kind, Kind::Get | Kind::Await);
        let lane = if queries { &mut session.reads } else { &mut session.writes };
        lane.push(op);
        self.mark(number);
    }

    /// When the next arrival of an open loop is meant to start.
    pub(super) fn next_arrival_ns(&self) -> Option<u64> {
        let Source::Open { start_ns } = self.source else { return None };
        let at_ns = start_ns + self.tape.at(self.position).offset_ns;
        // One that is overdue found every window full: only an answer makes room.
        (at_ns > self.woken_ns).then_some(at_ns)
    }
}
