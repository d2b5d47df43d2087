//! What was measured: histograms of latency and counts, for the operations that belong to the measured window.
//!
//! An operation belongs to the window in which it was *meant* to start, however late it ends: the slow ones are not cut off.
//! Only throughput counts completions by when they happened. Nothing is dropped: an operation without an answer enters the
//! response histogram with the time it has waited, and is counted.

use hdrhistogram::Histogram;

use crate::mix::Class;

/// The longest latency that is told apart, one hour; longer ones are recorded as this.
pub const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Slices of one window: an hour of seconds, six minutes of tenths. One takes 18 KiB.
pub const SLICES_MAX: usize = 3_600;
const DIGITS: u8 = 3;
/// Slices are many and small: their quantiles are good to a percent.
const SLICE_DIGITS: u8 = 2;

/// A half-open interval of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first nanosecond.
    pub start_ns: u64,
    /// The first nanosecond after it.
    pub end_ns: u64,
}

impl Window {
    /// A window that contains nothing.
    pub const NONE: Self = Self { start_ns: u64::MAX, end_ns: u64::MAX };

    /// Whether a moment lies in it.
    #[must_use]
    pub const fn contains(self, at_ns: u64) -> bool {
        self.start_ns <= at_ns && at_ns < self.end_ns
    }

    /// Its length.
    #[must_use]
    pub const fn len_ns(self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// The three times of one operation that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it was meant to start.
    pub intended_ns: u64,
    /// When it was first sent.
    pub sent_ns: u64,
    /// When its answer was there.
    pub completed_ns: u64,
}

/// The record of one class of operations.
#[derive(Clone, Debug)]
pub struct ClassRecord {
    /// Intended start to reply, ns; for operations without a reply, until they were given up.
    pub response: Histogram<u64>,
    /// First send to reply, ns; answered operations only.
    pub service: Histogram<u64>,
    /// Intended start to first send, ns.
    pub lag: Histogram<u64>,
    /// Operations answered.
    pub answered: u64,
    /// Of those, compare-and-sets that found another value.
    pub mismatched: u64,
    /// Operations answered with an error: certainly not done, in no histogram but lag.
    pub errors: u64,
    /// Operations given up: outcome unknown.
    pub unknown: u64,
    /// Arrivals that found every window full until the load ended: never sent.
    pub unsent: u64,
    /// Completions inside the window, whenever they were meant to start: throughput times the window's length.
    pub completed: u64,
}

impl ClassRecord {
    fn new() -> Self {
        Self {
            response: histogram(),
            service: histogram(),
            lag: histogram(),
            answered: 0,
            mismatched: 0,
            errors: 0,
            unknown: 0,
            unsent: 0,
            completed: 0,
        }
    }

    /// Operations meant to start in the window.
    #[must_use]
    pub const fn offered(&self) -> u64 {
        self.answered + self.errors + self.unknown + self.unsent
    }

    /// Adds another record of the same class.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.response, &other.response);
        add(&mut self.service, &other.service);
        add(&mut self.lag, &other.lag);
        self.answered += other.answered;
        self.mismatched += other.mismatched;
        self.errors += other.errors;
        self.unknown += other.unknown;
        self.unsent += other.unsent;
        self.completed += other.completed;
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("constant bounds are valid")
}

/// A short piece of the window, all classes together.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Operations meant to start in it.
    pub offered: u64,
    /// Operations completed in it.
    pub completed: u64,
    /// Response times of the operations meant to start in it, ns.
    pub response: Histogram<u32>,
}

impl Slice {
    fn new() -> Self {
        let response = Histogram::new_with_bounds(1, LATENCY_NS_MAX, SLICE_DIGITS);
        Self { offered: 0, completed: 0, response: response.expect("constant bounds are valid") }
    }
}

/// How locks changed hands, ns, for those who waited for them.
#[derive(Clone, Debug)]
pub struct HandOvers {
    /// From when a release was sent until the next holder heard of its grant.
    pub hand_off: Histogram<u64>,
    /// From a holder's death until the next one heard of its grant.
    pub freed: Histogram<u64>,
}

impl HandOvers {
    fn new() -> Self {
        Self { hand_off: histogram(), freed: histogram() }
    }
}

/// Records operations; mergeable.
#[derive(Clone, Debug)]
pub struct Recorder {
    window: Window,
    slice_ns: u64,
    classes: [ClassRecord; Class::ALL.len()],
    slices: Vec<Slice>,
    hand_overs: HandOvers,
}

impl Recorder {
    /// A recorder for a window in slices of `slice_ns`, lengthened if the window would have more than [`SLICES_MAX`].
    ///
    /// # Panics
    /// If `slice_ns` is 0.
    #[must_use]
    pub fn new(window: Window, slice_ns: u64) -> Self {
        assert!(slice_ns > 0, "a slice of nothing");
        let slice_ns = slice_ns.max(window.len_ns().div_ceil(SLICES_MAX as u64));
        let slices = window.len_ns().div_ceil(slice_ns) as usize;
        Self {
            window,
            slice_ns,
            classes: std::array::from_fn(|_| ClassRecord::new()),
            slices: (0..slices).map(|_| Slice::new()).collect(),
            hand_overs: HandOvers::new(),
        }
    }

    /// Records an answered operation.
    pub fn answered(&mut self, class: Class, times: Times, mismatched: bool) {
        self.completed(class, times.completed_ns);
        if !self.window.contains(times.intended_ns) {
            return;
        }
        let record = &mut self.classes[class as usize];
        record.answered += 1;
        record.mismatched += u64::from(mismatched);
        record.lag.saturating_record(times.sent_ns.saturating_sub(times.intended_ns));
        record.service.saturating_record(times.completed_ns.saturating_sub(times.sent_ns));
        self.responded(class, times.intended_ns, times.completed_ns);
    }

    /// Records an operation that was answered with an error.
    pub fn failed(&mut self, class: Class, times: Times) {
        if self.window.contains(times.intended_ns) {
            let record = &mut self.classes[class as usize];
            record.errors += 1;
            record.lag.saturating_record(times.sent_ns.saturating_sub(times.intended_ns));
            self.offered(times.intended_ns);
        }
    }

    /// Records an operation that was sent and given up at `times.completed_ns`.
    pub fn unknown(&mut self, class: Class, times: Times) {
        if self.window.contains(times.intended_ns) {
            let record = &mut self.classes[class as usize];
            record.unknown += 1;
            record.lag.saturating_record(times.sent_ns.saturating_sub(times.intended_ns));
            self.responded(class, times.intended_ns, times.completed_ns);
        }
    }

    /// Records an arrival that was never sent, given up at `until_ns`.
    pub fn unsent(&mut self, class: Class, intended_ns: u64, until_ns: u64) {
        if self.window.contains(intended_ns) {
            let record = &mut self.classes[class as usize];
            record.unsent += 1;
            record.lag.saturating_record(until_ns.saturating_sub(intended_ns));
            self.responded(class, intended_ns, until_ns);
        }
    }

    /// Records that a lock which its last holder left at `left_ns`, dead or alive, has another one from `now_ns` on.
    pub fn handed_over(&mut self, left_ns: u64, dead: bool, now_ns: u64) {
        if self.window.contains(now_ns) {
            let HandOvers { hand_off, freed } = &mut self.hand_overs;
            let histogram = if dead { freed } else { hand_off };
            histogram.saturating_record(now_ns.saturating_sub(left_ns));
        }
    }

    /// Ends the window early: what was meant to start later is not measured. A moment past its end changes nothing.
    pub fn cut(&mut self, end_ns: u64) {
        self.window.end_ns = end_ns.clamp(self.window.start_ns, self.window.end_ns);
        self.slices.truncate(self.window.len_ns().div_ceil(self.slice_ns) as usize);
    }

    /// Adds what another worker recorded over the same time. Slices are matched by number.
    ///
    /// # Panics
    /// If the slices have different lengths.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.slice_ns, other.slice_ns, "slices of different lengths cannot be merged");
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.offered += theirs.offered;
            mine.completed += theirs.completed;
            add(&mut mine.response, &theirs.response);
        }
        self.slices.extend(other.slices.iter().skip(self.slices.len()).cloned());
        add(&mut self.hand_overs.hand_off, &other.hand_overs.hand_off);
        add(&mut self.hand_overs.freed, &other.hand_overs.freed);
    }

    /// The measured window.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Length of a slice; the last one may be shorter.
    #[must_use]
    pub const fn slice_ns(&self) -> u64 {
        self.slice_ns
    }

    /// The record of one class.
    #[must_use]
    pub const fn class(&self, class: Class) -> &ClassRecord {
        &self.classes[class as usize]
    }

    /// How locks changed hands.
    #[must_use]
    pub const fn hand_overs(&self) -> &HandOvers {
        &self.hand_overs
    }

    /// All classes together.
    #[must_use]
    pub fn total(&self) -> ClassRecord {
        let mut total = self.classes[0].clone();
        self.classes[1..].iter().for_each(|class| total.merge(class));
        total
    }

    /// The slices in order.
    #[must_use]
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    fn completed(&mut self, class: Class, completed_ns: u64) {
        if self.window.contains(completed_ns) {
            self.classes[class as usize].completed += 1;
            self.slice_at(completed_ns).completed += 1;
        }
    }

    fn responded(&mut self, class: Class, intended_ns: u64, until_ns: u64) {
        let response_ns = until_ns.saturating_sub(intended_ns);
        self.classes[class as usize].response.saturating_record(response_ns);
        let slice = self.slice_at(intended_ns);
        slice.offered += 1;
        slice.response.saturating_record(response_ns);
    }

    fn offered(&mut self, intended_ns: u64) {
        self.slice_at(intended_ns).offered += 1;
    }

    /// The slice of a moment inside the window.
    fn slice_at(&mut self, at_ns: u64) -> &mut Slice {
        &mut self.slices[((at_ns - self.window.start_ns) / self.slice_ns) as usize]
    }
}

fn add<C: hdrhistogram::Counter>(to: &mut Histogram<C>, from: &Histogram<C>) {
    to.add(from).expect("histograms of a recorder have the same bounds");
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn recorder() -> Recorder {
        Recorder::new(Window { start_ns: 1000 * MS, end_ns: 3000 * MS }, 1000 * MS)
    }

    fn times(intended_ms: u64, sent_ms: u64, completed_ms: u64) -> Times {
        Times { intended_ns: intended_ms * MS, sent_ns: sent_ms * MS, completed_ns: completed_ms * MS }
    }

    fn close(found_ns: u64, expected_ms: u64) -> bool {
        (found_ns as f64 / (expected_ms * MS) as f64 - 1.0).abs() < 0.002
    }

    #[test]
    fn the_three_histograms_split_the_wait() {
        let mut recorder = recorder();
        recorder.answered(Class::Read, times(1500, 1600, 1900), false);
        let record = recorder.class(Class::Read);
        assert!(
            close(record.response.max(), 400)
                && close(record.service.max(), 300)
                && close(record.lag.max(), 100)
        );
        assert_eq!(recorder.class(Class::Write).offered(), 0);
    }

    #[test]
    fn the_window_is_cut_by_intended_start_and_throughput_by_completion() {
        let mut recorder = recorder();
        recorder.answered(Class::Write, times(900, 900, 1100), false);
        recorder.answered(Class::Write, times(2900, 2900, 3100), false);
        recorder.answered(Class::Write, times(3000, 3000, 3100), false);
        let record = recorder.class(Class::Write);
        assert_eq!((record.answered, record.completed, record.response.len()), (1, 1, 1));
        let slices: Vec<_> = recorder.slices().iter().map(|s| (s.offered, s.completed)).collect();
        assert_eq!(slices, [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_has_no_answer_is_recorded_with_its_wait() {
        let mut recorder = recorder();
        recorder.unknown(Class::Write, times(1500, 1500, 6500));
        recorder.unsent(Class::Write, 1500 * MS, 4500 * MS);
        recorder.failed(Class::Write, times(1500, 1500, 1501));
        let record = recorder.class(Class::Write);
        assert_eq!((record.unknown, record.unsent, record.errors, record.offered()), (1, 1, 1, 3));
        assert!(close(record.response.max(), 5000) && close(record.response.min(), 3000));
        assert_eq!((record.service.len(), record.lag.len(), record.completed), (0, 3, 0));
        assert_eq!(recorder.slices()[0].offered, 3);
    }

    #[test]
    fn merging_adds_everything_up() {
        let (mut one, mut other) = (recorder(), recorder());
        one.answered(Class::Read, times(1500, 1500, 1501), false);
        other.answered(Class::Read, times(2500, 2500, 2502), false);
        other.answered(Class::ReadModifyWrite, times(2500, 2500, 2503), true);
        one.merge(&other);
        let total = one.total();
        assert_eq!((total.answered, total.mismatched, total.completed, total.response.len()), (3, 1, 3, 3));
        assert_eq!(one.slices().iter().map(|slice| slice.response.len()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_window_cut_short_keeps_what_was_measured() {
        let mut recorder = recorder();
        recorder.answered(Class::Read, times(1500, 1500, 1501), false);
        recorder.cut(1700 * MS);
        recorder.answered(Class::Read, times(1800, 1800, 1801), false);
        assert_eq!((recorder.window().len_ns(), recorder.slices().len()), (700 * MS, 1));
        assert_eq!(recorder.class(Class::Read).answered, 1);
    }

    #[test]
    fn slices_are_bounded_in_number() {
        let hours_ns = 100 * 3_600_000 * MS;
        let recorder = Recorder::new(Window { start_ns: 0, end_ns: hours_ns }, 1);
        assert!(recorder.slices().len() <= SLICES_MAX);
    }
}
