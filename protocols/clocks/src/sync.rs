//! Clock synchronisation with a bound on its error that is always sound.
//!
//! A follower asks its sources, again and again; each answer proves, by its round trip alone, what time it was within half the
//! delay. What was proven ages: it moves on at the oscillator's learnt rate and widens by what is not known of that rate. The
//! sources vote on the span that holds the true time, and the clock that is read is led to its middle. Everything claimed is
//! a span; numbers are for display.
//!
//! | module | holds | law |
//! |---|---|---|
//! | [`interval`] | a span of time that holds the truth; what is definitely after what | T8 |
//! | [`exchange`] | four timestamps, offset and delay, and what they prove | T3, T4 |
//! | [`rate`] | how fast the oscillator runs, and how well that is known | T5 |
//! | [`filter`] | of a source's last eight answers the one that proves most | |
//! | [`select`](mod@select) | what a majority of sources agrees on, or that none does | T6 |
//! | [`served`] | the clock that is read: set once, then slewed, never turned back | T2 |
//! | [`synchroniser`] | these parts as one clock, and what it is worth | T1 |
//! | [`message`], [`config`], [`replica`] | a replica that asks and answers | |
//!
//! The laws:
//!
//! - T1: while synchronised, the clock is wrong by no more than it says, at every instant.
//! - T2: the clock never goes back, and is slewed by at most 500 ppm, but for the one time that it is set.
//! - T3: timestamps may wrap; an answer counts only for the question whose nonce it names, and once.
//! - T4: one exchange errs by at most δ/2 + ρ·(T4 − T1).
//! - T5: without answers the bound grows by Φ = 15 ppm at least.
//! - T6: with fewer than half of the sources false the true time is within what is agreed on; otherwise nothing is.
//! - T8: of two events that may have been the other way around, neither is definitely after the other.
//!
//! Why the bound is sound, in short. An answer was written between the question and its return, so the true time at the return
//! is within the span that [`exchange`] computes, however unequal the two ways. [`rate`] widens it at least as fast as the
//! oscillator can stray: within ρ of its nominal rate always, and within Φ of what was measured. A true source's span
//! therefore always holds the true time, so at most as many spans miss it as there are false sources, and [`select`](mod@select)
//! claims every time that so few could miss. A source that answers is right within the bound that it sends along: this holds
//! for followers of followers, too.
//!
//! How good it is, in simulation: an oscillator 100 ppm fast that wanders, polls every 16 s, 0.1 ms each way and as much jitter,
//! ranges over four seeds (`tests/laws/timekeeping.rs` asserts the limits).
//!
//! | world | error max | error RMS | bound, mean | bound max | rate RMS |
//! |---|---|---|---|---|---|
//! | one source, 10,000 s | 260–308 µs | 53–60 µs | 364–371 µs | 0.70–0.81 ms | 0.08–0.10 ppm |
//! | five sources, two of them false | 64–142 µs | 16–23 µs | 236–257 µs | 0.43–0.50 ms | 0.04–0.07 ppm |
//! | five, one false; 30 % lost, 50 % replayed | 139–199 µs | 36–45 µs | 454–492 µs | 1.0–1.4 ms | 0.14–0.23 ppm |
//! | one source; 30 % of the answers queue for 20 ms | 0.4–1.1 ms | 57–106 µs | 453–484 µs | 1.4–2.5 ms | 0.10–0.14 ppm |
//! | three, one false; answers take 20 ms longer | 10.1 ms | 10.0 ms | 10.7 ms | 13.3 ms | 0.11–0.12 ppm |
//!
//! What it assumes, and says so in its [configuration](config): fewer than half of the sources are false (NTP's falsetickers);
//! no oscillator is off by more than ρ, or wanders by more than Φ from what it was during the last 32 polls that were
//! answered. An oscillator that jumps, or is off by far more, contradicts itself from one answer to the next: then everything is
//! forgotten, and the clock is not synchronised until it has been consistent for eight polls.
//!
//! What is not here. NTP's clustering and weighted combination (RFC 5905 §11.2.2–3), which make the middle better and the bound
//! no tighter; its loop filter, since the rate is learnt apart from the phase; poll intervals that adapt; leap seconds: the scale
//! counts nanoseconds and has none. RFC 5905 looks for the *smallest* number of falsetickers that explains the answers, which
//! is tighter and unsound: a liar near the truth can push it out. Here the largest number that is tolerated is always assumed.

pub mod config;
pub mod exchange;
pub mod filter;
pub mod interval;
pub mod message;
pub mod rate;
pub mod replica;
pub mod select;
pub mod served;
pub mod synchroniser;

pub use config::{Config, ConfigError};
pub use exchange::{Exchange, Impossible, Sample};
pub use filter::Filter;
pub use interval::Interval;
pub use message::ClockMessage;
pub use rate::{Rate, RateEstimator};
pub use replica::Clock;
pub use select::{NoMajority, select};
pub use served::ServedClock;
pub use synchroniser::{AnswerError, Status, Synchroniser};
