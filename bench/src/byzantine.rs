//! A replica that lies: a process like any other, with its own keys, journal and connections, around the correct core of PBFT.
//!
//! It is honest until it is told to lie. From then on it hears what it likes and says what it likes; what cryptography keeps it
//! from, it cannot do: sign for others, or prove that a client asked. The core has no hooks for this: the wrapper is a protocol of
//! its own, which hands inputs in and takes effects out. It runs under a verb of its own, `byzantine-replica`, with which only
//! cells that have such faults are started; nothing turns a process into a liar that was started as `replica`.
//!
//! | module | holds |
//! |---|---|
//! | `lies` | what each lie does |

mod lies;

use std::path::Path;
use std::sync::{Arc, Mutex};

use qlab_kernel::{Effects, Input, Lsn, NodeId, Outgoing, Protocol, Seat, Time};
use qlab_node::process;
use qlab_pbft::{Message, Pbft, Record};
use qlab_simulator::byzantine::pbft::Forger;
use rand::SeedableRng;
use rand_pcg::Pcg32;

use self::lies::Telling;

/// What a line on standard input begins with that is about lying; the rest is a lie's name, or none.
const ORDER: &str = "lie ";

/// A way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// As primary, it proposes nothing and begins no view; it votes like everybody.
    Silent,
    /// It hears of every request as late as the others' patience allows.
    Slow,
    /// As primary, it proposes one thing to some and another to the rest, and it votes for whatever anybody proposes.
    Equivocating,
    /// It never hears of one session's requests.
    Censoring,
    /// Half of its signatures are wrong, and half of the requests that it passes on show nothing to somebody.
    Forging,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Silent, Self::Slow, Self::Equivocating, Self::Censoring, Self::Forging];

    /// The name in orders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Equivocating => "equivocating",
            Self::Censoring => "censoring",
            Self::Forging => "forging",
        }
    }
}

/// The line that makes such a replica lie, or stop.
pub fn order(lie: Option<Lie>) -> String {
    format!("{ORDER}{}", lie.map_or("", Lie::name))
}

/// Runs the replica that `config` describes like [`process::run`], and makes it lie when it is told to.
pub fn run(config: &Path) -> anyhow::Result<()> {
    let told = Told::default();
    let steered = told.clone();
    let options = |config: &qlab_node::config::Config| {
        let system = &config.system;
        anyhow::ensure!(
            system == Pbft::NAME,
            "only replicas of {} can be made to lie, not of {system}",
            Pbft::NAME
        );
        Ok(Upbringing { pbft: process::pbft(config)?, told })
    };
    process::run_as::<Liar>(config, options, move |line| steered.take(line))
}

/// The lie that it is told to tell, by whoever steers the process.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Option<Lie>>>);

impl Told {
    /// Whether a line is about lying; if so, it holds from now on.
    fn take(&self, line: &str) -> bool {
        let Some(name) = line.strip_prefix(ORDER) else { return false };
        *self.0.lock().expect(NOTHING_PANICS) = Lie::ALL.into_iter().find(|lie| lie.name() == name);
        true
    }

    fn now(&self) -> Option<Lie> {
        *self.0.lock().expect(NOTHING_PANICS)
    }
}

const NOTHING_PANICS: &str = "nothing panics while it is held";

/// What makes a liar: a correct replica's configuration, and somebody who tells it to lie.
#[derive(Clone, Debug)]
struct Upbringing {
    pbft: qlab_pbft::Config,
    told: Told,
}

/// A correct replica, and what becomes of what it hears and says.
struct Liar {
    core: Pbft,
    /// What the core wants done.
    effects: Effects<Pbft>,
    told: Told,
    forger: Forger,
    lie: Option<(Lie, Box<dyn Telling>)>,
    chance: Pcg32,
}

impl Protocol for Liar {
    const NAME: &'static str = Pbft::NAME;
    const EVERY_REPLICA_ANSWERS: bool = Pbft::EVERY_REPLICA_ANSWERS;
    type Config = Upbringing;
    type Message = Message;
    type Record = Record;

    fn recover(
        seat: Seat,
        config: &Upbringing,
        now: Time,
        records: impl Iterator<Item = (Lsn, Record)>,
        effects: &mut Effects<Self>,
    ) -> Self {
        let mut wanted = Effects::new(effects.last());
        let core = Pbft::recover(seat, &config.pbft, now, records, &mut wanted);
        let forger = Forger { me: seat.me, nodes: seat.members.len(), config: config.pbft.clone() };
        let chance = Pcg32::seed_from_u64(seat.seed);
        let mut liar = Self { core, effects: wanted, told: config.told.clone(), forger, lie: None, chance };
        liar.hand_over(effects);
        liar
    }

    fn step(&mut self, now: Time, input: Input<Message>, _: &mut Effects<Self>) {
        let heard = match &mut self.lie {
            Some((_, lie)) => lie.hear(now, input),
            None => Some(input),
        };
        if let Some(input) = heard {
            self.core.step(now, input, &mut self.effects);
        }
    }

    fn flush(&mut self, now: Time, effects: &mut Effects<Self>) {
        let recalled = self.lie.as_mut().map(|(_, lie)| lie.recall(now));
        self.step_all(now, recalled.into_iter().flatten());
        self.core.flush(now, &mut self.effects);
        if let Some((_, lie)) = &mut self.lie {
            lie.rewrite(now, &mut self.effects, &mut self.chance);
        }
        self.hand_over(effects);
        self.obey(now);
    }

    fn deadline(&self) -> Option<Time> {
        let recalls_at = self.lie.as_ref().and_then(|(_, lie)| lie.recalls_at());
        self.core.deadline().into_iter().chain(recalls_at).min()
    }

    fn leader(&self) -> Option<NodeId> {
        self.core.leader()
    }

    fn counters(&self, now: Time) -> Vec<(&'static str, u64)> {
        self.core.counters(now)
    }

    fn check(&self) {
        self.core.check();
    }
}

impl Liar {
    /// Begins another lie if it was told to; what the last one kept from the core, the core hears now.
    fn obey(&mut self, now: Time) {
        let told = self.told.now();
        if told == self.lie.as_ref().map(|(lie, _)| *lie) {
            return;
        }
        let before = self.lie.take();
        self.step_all(now, before.into_iter().flat_map(|(_, mut lie)| lie.recall(Time(u64::MAX))));
        self.lie = told.map(|lie| (lie, lies::begin(lie, &self.forger)));
    }

    fn step_all(&mut self, now: Time, inputs: impl Iterator<Item = Input<Message>>) {
        inputs.for_each(|input| self.core.step(now, input, &mut self.effects));
    }

    /// What the core wants done is what this replica wants done. Its records keep their numbers.
    fn hand_over(&mut self, effects: &mut Effects<Self>) {
        let awaited = self.effects.awaited();
        for (lsn, record) in self.effects.records() {
            let record = record.clone();
            let number =
                if lsn <= awaited { effects.persist(record) } else { effects.persist_unawaited(record) };
            assert_eq!(number, lsn, "both count the same records");
        }
        effects.release_below(self.effects.needed_from());
        for Outgoing { to, after, message } in self.effects.take_sends() {
            if after == Lsn::ZERO {
                // Early, as the core or the lie says.
                effects.send_early(to, message);
            } else {
                effects.send(to, message);
            }
        }
        self.effects.take_commits().for_each(|commit| effects.commit(commit));
        for refused in self.effects.take_refusals() {
            effects.refuse(refused.ticket, refused.batch, refused.refusal);
        }
        self.effects.take_events().for_each(|event| effects.event(event));
        assert_eq!(self.effects.take_replies().len(), 0, "its state machine answers");
        self.effects.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_taken_as_it_was_given_and_anything_else_is_not() {
        let told = Told::default();
        for lie in Lie::ALL {
            assert!(told.take(&order(Some(lie))));
            assert_eq!(told.now(), Some(lie));
        }
        assert!(!told.take("\"status\""));
        assert_eq!(told.now(), Some(Lie::Forging), "other lines change nothing");
        assert!(told.take(&order(None)));
        assert_eq!(told.now(), None);
    }
}
