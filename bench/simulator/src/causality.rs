//! Executions of processes that send each other messages, and what truly happened before what in them: what logical clocks must
//! tell exactly, and times must not contradict.
//!
//! An [`Execution`] is a graph of events, made before any clock has seen it. [`Truth`] is reachability in that graph, by bitsets.
//! [`Clock`]s are driven along it afterwards, and what they say of a sample of its events is held against the truth, each of them
//! against each.

use std::collections::HashMap;
use std::time::Duration;

use qlab_clocks::{HybridClock, HybridTime, LamportClock, Order, VectorClock};
use qlab_kernel::{NodeId, Time};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::agenda::Agenda;
use crate::network::{below, percent};

/// Messages lost on their way, in a hundred.
pub const LOSS_PERCENT: u32 = 5;
/// Messages that come twice, in a hundred.
pub const DUPLICATE_PERCENT: u32 = 5;
/// Shortest and longest flight of a message: so far apart that many are overtaken.
pub const FLIGHT: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(5)];
/// How far two physical clocks are apart at most.
pub const SKEW_MAX: Duration = Duration::from_millis(2);
/// Longest time between two events that the idlest processes have of their own accord: local ones and sendings, half and half.
const REST_MAX: Duration = Duration::from_millis(8);
/// How often that is halved at most: processes are busy to different degrees, so that their counts drift apart.
const HALVINGS: u32 = 4;
/// Bits of a word of a bitset.
const WORD_BITS: usize = u64::BITS as usize;

/// What happened at one process, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where.
    pub process: NodeId,
    /// The event before it there, by its number.
    pub previous: Option<usize>,
    /// Of the receipt of a message, the event that sent it.
    pub sent: Option<usize>,
    /// What the process's physical clock showed, in nanoseconds.
    pub physical_ns: u64,
}

/// Events in the order in which they happened: one that can have caused another comes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    processes: u16,
    events: Vec<Event>,
}

enum Due {
    /// A process does something of its own accord.
    Act(usize),
    /// What was sent by that event arrives.
    Arrive { to: usize, sent: usize },
}

impl Execution {
    /// So many events of so many processes, decided by the seed. Panics if there are fewer than two processes.
    #[must_use]
    pub fn run(processes: u16, events: usize, seed: u64) -> Self {
        let mut chance = Pcg32::seed_from_u64(seed);
        let count = usize::from(processes);
        let skews: Vec<Duration> = (0..count).map(|_| below(&mut chance, SKEW_MAX)).collect();
        let rests: Vec<Duration> =
            (0..count).map(|_| REST_MAX / (1 << chance.random_range(0..=HALVINGS))).collect();
        let mut last: Vec<Option<usize>> = vec![None; count];
        let mut agenda = Agenda::default();
        for (process, rest) in rests.iter().enumerate() {
            agenda.add(Time(0) + below(&mut chance, *rest), 0, Due::Act(process));
        }
        let mut execution = Self { processes, events: Vec::with_capacity(events) };
        while execution.events.len() < events {
            let (now, _, due) = agenda.next_until(Time(u64::MAX)).expect("every process acts again");
            let (at, sent) = match due {
                Due::Act(process) => (process, None),
                Due::Arrive { to, sent } => (to, Some(sent)),
            };
            let previous = last[at].replace(execution.events.len());
            let (process, Time(physical_ns)) = (NodeId(at as u16), now + skews[at]);
            execution.events.push(Event { process, previous, sent, physical_ns });
            if sent.is_none() {
                execution.send_perhaps(at, now, &mut chance, &mut agenda);
                agenda.add(now + below(&mut chance, rests[at]), chance.random(), Due::Act(at));
            }
        }
        execution
    }

    /// Half of what processes do of their own accord, here the newest event, is to send somebody a message.
    fn send_perhaps(&self, at: usize, now: Time, chance: &mut Pcg32, agenda: &mut Agenda<Due>) {
        if percent(chance, 50) {
            return;
        }
        let (sent, processes) = (self.events.len() - 1, usize::from(self.processes));
        let to = (at + chance.random_range(1..processes)) % processes;
        let copies = 1 + u32::from(percent(chance, DUPLICATE_PERCENT));
        for _ in 0..copies {
            if !percent(chance, LOSS_PERCENT) {
                let flight = FLIGHT[0] + below(chance, FLIGHT[1] - FLIGHT[0]);
                agenda.add(now + flight, chance.random(), Due::Arrive { to, sent });
            }
        }
    }

    /// Every event.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The numbers of so many different events, or of all if there are fewer, in order.
    #[must_use]
    pub fn sample(&self, count: usize, seed: u64) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.events.len()).collect();
        numbers.shuffle(&mut Pcg32::seed_from_u64(seed));
        numbers.truncate(count);
        numbers.sort_unstable();
        numbers
    }

    /// Gives every process such a clock and drives them along; `watch` sees the number of each event and the clock after it.
    pub fn drive<C: Clock>(&self, clock: C, mut watch: impl FnMut(usize, &C)) {
        let mut receipts = vec![0_u32; self.events.len()];
        self.events.iter().filter_map(|event| event.sent).for_each(|sent| receipts[sent] += 1);
        let mut clocks = vec![clock; usize::from(self.processes)];
        // Only what is still on its way: clocks of many processes are large.
        let mut messages: HashMap<usize, C> = HashMap::new();
        for (number, event) in self.events.iter().enumerate() {
            let message = event.sent.and_then(|sent| {
                receipts[sent] -= 1;
                if receipts[sent] == 0 { messages.remove(&sent) } else { messages.get(&sent).cloned() }
            });
            let clock = &mut clocks[usize::from(event.process.0)];
            clock.advance(event, message.as_ref());
            if receipts[number] > 0 {
                messages.insert(number, clock.clone());
            }
            watch(number, clock);
        }
    }

    /// What such clocks say of the events of a sample, in its order.
    #[must_use]
    pub fn clocks<C: Clock>(&self, clock: C, sample: &[usize]) -> Vec<C> {
        let mut said = Vec::with_capacity(sample.len());
        self.drive(clock, |number, clock| {
            if sample.get(said.len()) == Some(&number) {
                said.push(clock.clone());
            }
        });
        said
    }
}

/// Of the events of a sample, which happened before which. Events are named by their places in the sample.
#[derive(Clone, Debug)]
pub struct Truth {
    /// For each of them the set of those that happened before it, and itself.
    histories: Vec<Vec<u64>>,
}

/// How many pairs of events were judged, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Ordered pairs, those of an event with itself among them.
    pub pairs: u64,
    /// Those of which neither event happened before the other.
    pub concurrent: u64,
    /// Those about which something else was said than is true.
    pub wrong: u64,
}

impl Truth {
    /// Reachability in the graph of events, for a sample of them in order.
    #[must_use]
    pub fn of(execution: &Execution, sample: &[usize]) -> Self {
        let mut known: Vec<Vec<u64>> = Vec::with_capacity(execution.events.len());
        let mut histories = Vec::with_capacity(sample.len());
        for (number, event) in execution.events.iter().enumerate() {
            let mut history = vec![0_u64; sample.len().div_ceil(WORD_BITS)];
            for parent in [event.previous, event.sent].into_iter().flatten() {
                history.iter_mut().zip(&known[parent]).for_each(|(word, theirs)| *word |= theirs);
            }
            if sample.get(histories.len()) == Some(&number) {
                history[histories.len() / WORD_BITS] |= 1 << (histories.len() % WORD_BITS);
                histories.push(history.clone());
            }
            known.push(history);
        }
        Self { histories }
    }

    /// How two events stand to each other.
    #[must_use]
    pub fn order(&self, a: usize, b: usize) -> Order {
        match (self.knows(b, a), self.knows(a, b)) {
            (true, true) => Order::Equal,
            (true, false) => Order::Before,
            (false, true) => Order::After,
            (false, false) => Order::Concurrent,
        }
    }

    fn knows(&self, event: usize, earlier: usize) -> bool {
        self.histories[event][earlier / WORD_BITS] >> (earlier % WORD_BITS) & 1 == 1
    }

    /// Holds an answer to every pair of events against the truth.
    #[must_use]
    pub fn judge(&self, answer: impl Fn(usize, usize) -> Order) -> Judgement {
        let mut judgement = Judgement::default();
        for (a, b) in self.pairs() {
            let truth = self.order(a, b);
            judgement.pairs += 1;
            judgement.concurrent += u64::from(truth == Order::Concurrent);
            judgement.wrong += u64::from(answer(a, b) != truth);
        }
        judgement
    }

    /// How many pairs of a cause and its effect do not have their times in that order.
    #[must_use]
    pub fn misordered<T: Ord>(&self, times: &[T]) -> u64 {
        let is_wrong = |&(a, b): &(usize, usize)| self.order(a, b) == Order::Before && times[a] >= times[b];
        self.pairs().filter(is_wrong).count() as u64
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.histories.len();
        (0..count).flat_map(move |a| (0..count).map(move |b| (a, b)))
    }
}

/// A process's clock; what it says of an event is a copy of it, and that is what a message carries.
pub trait Clock: Clone {
    /// An event of the process: the receipt of a message with that clock, or else a local event or a sending.
    fn advance(&mut self, event: &Event, message: Option<&Self>);
}

impl Clock for VectorClock {
    fn advance(&mut self, event: &Event, message: Option<&Self>) {
        message.into_iter().for_each(|message| self.merge(message));
        self.tick(event.process);
    }
}

/// Lamport's clock, and what it said last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lamport {
    clock: LamportClock,
    /// The last event's time.
    pub time: u64,
}

impl Clock for Lamport {
    fn advance(&mut self, _: &Event, message: Option<&Self>) {
        self.time = match message {
            Some(message) => self.clock.receive(message.time),
            None => self.clock.tick(),
        };
    }
}

/// A hybrid clock that refuses nothing, so that how far it runs ahead is seen from outside; and what it said last.
#[derive(Clone, Copy, Debug)]
pub struct Hybrid {
    clock: HybridClock,
    /// The last event's time.
    pub time: HybridTime,
}

impl Default for Hybrid {
    fn default() -> Self {
        Self { clock: HybridClock::new(Duration::MAX), time: HybridTime::default() }
    }
}

impl Clock for Hybrid {
    fn advance(&mut self, event: &Event, message: Option<&Self>) {
        self.time = match message {
            Some(message) => {
                let received = self.clock.receive(event.physical_ns, message.time);
                received.expect("no time is further ahead than all there is")
            }
            None => self.clock.tick(event.physical_ns),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: usize = 600;

    /// Every event of a few processes.
    fn whole(seed: u64) -> (Execution, Vec<usize>, Truth) {
        let execution = Execution::run(5, EVENTS, seed);
        let all: Vec<usize> = (0..EVENTS).collect();
        let truth = Truth::of(&execution, &all);
        (execution, all, truth)
    }

    fn wrong_answers<C: Clock>(seed: u64, clock: C, compare: fn(&C, &C) -> Order) -> u64 {
        let (execution, all, truth) = whole(seed);
        let clocks = execution.clocks(clock, &all);
        truth.judge(|a, b| compare(&clocks[a], &clocks[b])).wrong
    }

    #[test]
    fn the_truth_is_what_a_search_in_the_graph_finds() {
        let (execution, _, truth) = whole(1);
        for end in (0..EVENTS).step_by(7) {
            let mut found = vec![false; EVENTS];
            let mut open = vec![end];
            while let Some(number) = open.pop() {
                if !std::mem::replace(&mut found[number], true) {
                    let Event { previous, sent, .. } = execution.events[number];
                    open.extend([previous, sent].into_iter().flatten());
                }
            }
            for (start, found) in found.into_iter().enumerate() {
                assert_eq!(truth.knows(end, start), found, "{start} before {end}");
            }
        }
    }

    #[test]
    fn messages_are_lost_repeated_and_overtaken() {
        let execution = Execution::run(3, 2_000, 1);
        let receipts: Vec<(usize, usize, NodeId)> = execution
            .events
            .iter()
            .enumerate()
            .filter_map(|(number, event)| Some((event.sent?, number, event.process)))
            .collect();
        assert!(receipts.iter().all(|(sent, number, _)| sent < number));
        let mut sent: Vec<usize> = receipts.iter().map(|(sent, ..)| *sent).collect();
        sent.sort_unstable();
        let repeated = sent.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let overtaken = receipts.windows(2).filter(|pair| pair[1].0 < pair[0].0).count();
        let own = execution.events.len() - receipts.len();
        assert!(repeated > 0 && overtaken > 0 && receipts.len() < own, "{repeated} {overtaken}");
        // About half of a process's own events are sendings, one in twenty lost.
        let arrived = (sent.len() - repeated) as f64 / own as f64;
        assert!((0.4..0.5).contains(&arrived), "{arrived}");
    }

    #[test]
    fn a_sample_says_the_same_as_the_whole_and_the_same_seed_is_the_same_execution() {
        let (execution, _, truth) = whole(3);
        assert_eq!(execution, Execution::run(5, EVENTS, 3));
        assert_ne!(execution, Execution::run(5, EVENTS, 4));
        let sample = execution.sample(100, 9);
        assert!(sample.len() == 100 && sample.is_sorted_by(|a, b| a < b));
        let sampled = Truth::of(&execution, &sample);
        for (a, b) in sampled.pairs() {
            assert_eq!(sampled.order(a, b), truth.order(sample[a], sample[b]));
        }
        assert_eq!(execution.sample(10_000, 9).len(), EVENTS);
    }

    #[test]
    fn clocks_tell_what_happened_before_what() {
        for seed in 0..10 {
            let (execution, all, truth) = whole(seed);
            let vectors = execution.clocks(VectorClock::new(), &all);
            let Judgement { pairs, concurrent, wrong } = truth.judge(|a, b| vectors[a].compare(&vectors[b]));
            assert_eq!((pairs, wrong), ((EVENTS * EVENTS) as u64, 0));
            assert!(concurrent > 1_000, "{concurrent}");
            let lamport: Vec<u64> =
                execution.clocks(Lamport::default(), &all).iter().map(|clock| clock.time).collect();
            let hybrid: Vec<HybridTime> =
                execution.clocks(Hybrid::default(), &all).iter().map(|clock| clock.time).collect();
            assert_eq!((truth.misordered(&lamport), truth.misordered(&hybrid)), (0, 0));
            for (event, time) in execution.events.iter().zip(hybrid) {
                let ahead_ns = time.physical_ns.checked_sub(event.physical_ns).expect("never behind");
                assert!(ahead_ns <= SKEW_MAX.as_nanos() as u64, "{ahead_ns}");
            }
        }
    }

    #[test]
    fn physical_time_puts_effects_before_causes() {
        let (execution, _, truth) = whole(1);
        let physical: Vec<u64> = execution.events.iter().map(|event| event.physical_ns).collect();
        assert!(truth.misordered(&physical) > 0);
    }

    /// A vector clock with a bug.
    #[derive(Clone, Default)]
    struct Wrong<const BUG: u8>(VectorClock);

    const MERGES_WITH_MINIMUM: u8 = 0;
    const FORGETS_MESSAGES: u8 = 1;
    const RECEIVES_WITHOUT_TICK: u8 = 2;

    impl<const BUG: u8> Clock for Wrong<BUG> {
        fn advance(&mut self, event: &Event, message: Option<&Self>) {
            match (BUG, message) {
                (MERGES_WITH_MINIMUM, Some(message)) => {
                    let mut least = VectorClock::new();
                    for process in (0..5).map(NodeId) {
                        least.raise(process, self.0.get(process).min(message.0.get(process)));
                    }
                    least.raise(event.process, self.0.get(event.process));
                    self.0 = least;
                }
                (FORGETS_MESSAGES, _) | (_, None) => {}
                (_, Some(message)) => self.0.merge(&message.0),
            }
            if BUG != RECEIVES_WITHOUT_TICK || message.is_none() {
                self.0.tick(event.process);
            }
        }
    }

    #[test]
    fn a_wrong_vector_clock_is_found_out() {
        fn wrong<const BUG: u8>() -> u64 {
            wrong_answers(1, Wrong::<BUG>::default(), |a, b| a.0.compare(&b.0))
        }
        let sound = wrong_answers(1, VectorClock::new(), VectorClock::compare);
        assert_eq!(sound, 0);
        assert!(wrong::<MERGES_WITH_MINIMUM>() > 0);
        assert!(wrong::<FORGETS_MESSAGES>() > 0);
        assert!(wrong::<RECEIVES_WITHOUT_TICK>() > 0);
    }

    #[test]
    fn a_clock_that_takes_order_for_cause_is_found_out() {
        let wrong = wrong_answers(1, Lamport::default(), |a, b| match a.time.cmp(&b.time) {
            std::cmp::Ordering::Less => Order::Before,
            std::cmp::Ordering::Equal => Order::Equal,
            std::cmp::Ordering::Greater => Order::After,
        });
        assert!(wrong > 0, "Lamport's clock cannot tell what is concurrent");
    }
}
