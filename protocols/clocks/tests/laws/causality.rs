//! Random executions of processes that send each other messages. What happened before what is known by reachability.

use std::time::Duration;

use qlab_clocks::{HybridClock, HybridTime, LamportClock, Order, VectorClock};
use qlab_kernel::NodeId;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

const EVENTS: usize = 60;
const SKEW_NS_MAX: u64 = 50;

/// Everything that the clocks said about one event.
#[derive(Clone, Debug)]
struct Event {
    /// Which events happened before it, by their numbers, and itself: the truth.
    history: u64,
    physical_ns: u64,
    lamport: u64,
    vector: VectorClock,
    hybrid: HybridTime,
}

struct Process {
    id: NodeId,
    history: u64,
    /// How far its physical clock is ahead of the slowest there is.
    skew_ns: u64,
    lamport: LamportClock,
    vector: VectorClock,
    hybrid: HybridClock,
}

impl Process {
    fn new(id: u16, chance: &mut Pcg32) -> Self {
        Self {
            id: NodeId(id),
            history: 0,
            skew_ns: chance.random_range(0..=SKEW_NS_MAX),
            lamport: LamportClock::default(),
            vector: VectorClock::new(),
            hybrid: HybridClock::new(Duration::from_nanos(SKEW_NS_MAX)),
        }
    }

    /// The event of that number: the receipt of `message`, or else a local event or a sending.
    fn event(&mut self, number: usize, true_ns: u64, message: Option<&Event>) -> Event {
        let physical_ns = true_ns + self.skew_ns;
        self.history |= 1 << number;
        let (lamport, hybrid) = match message {
            Some(sent) => {
                self.history |= sent.history;
                self.vector.merge(&sent.vector);
                let received = self.hybrid.receive(physical_ns, sent.hybrid);
                (self.lamport.receive(sent.lamport), received.expect("clocks differ by less than allowed"))
            }
            None => (self.lamport.tick(), self.hybrid.tick(physical_ns)),
        };
        self.vector.tick(self.id);
        Event { history: self.history, physical_ns, lamport, vector: self.vector.clone(), hybrid }
    }
}

fn execution(seed: u64) -> Vec<Event> {
    let mut chance = Pcg32::seed_from_u64(seed);
    let mut processes: Vec<Process> =
        (0..chance.random_range(2..=6)).map(|id| Process::new(id, &mut chance)).collect();
    let mut events: Vec<Event> = Vec::new();
    let mut true_ns = 0;
    for number in 0..EVENTS {
        // Physical clocks that often stand still: messages are faster than they tick.
        true_ns += chance.random_range(0..3) / 2 * 10;
        let at = chance.random_range(0..processes.len());
        let receives = !events.is_empty() && chance.random_bool(0.5);
        let sent = receives.then(|| events[chance.random_range(0..events.len())].clone());
        let event = processes[at].event(number, true_ns, sent.as_ref());
        events.push(event);
    }
    events
}

/// K1: one vector clock is below another if and only if its event happened before; Lamport's and hybrid times never order an
/// effect before its cause. K2: a hybrid time is at the physical time or ahead of it, by no more than clocks differ.
pub(crate) fn clocks_tell_what_happened_before(seed: u64) {
    let events = execution(seed);
    for (i, e) in events.iter().enumerate() {
        let ahead_ns =
            e.hybrid.physical_ns.checked_sub(e.physical_ns).expect("a hybrid time is never behind");
        assert!(ahead_ns <= SKEW_NS_MAX, "{ahead_ns} ns ahead of the physical clock");
        for (j, f) in events.iter().enumerate().filter(|(j, _)| *j != i) {
            let (before, after) = (f.history >> i & 1 == 1, e.history >> j & 1 == 1);
            let truth = match (before, after) {
                (true, _) => Order::Before,
                (_, true) => Order::After,
                (false, false) => Order::Concurrent,
            };
            assert_eq!(e.vector.compare(&f.vector), truth, "events {i} and {j}");
            if before {
                assert!(e.lamport < f.lamport, "events {i} and {j} by Lamport's clock");
                assert!(e.hybrid < f.hybrid, "events {i} and {j} by the hybrid clock");
            }
        }
    }
}
