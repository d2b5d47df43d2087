//! References that do not tell the time: NTP's falsetickers.

use qlab_clocks::sync::{Clock, ClockMessage};
use qlab_kernel::{Effects, Outgoing, Time};
use rand::RngExt;
use rand_pcg::Pcg32;

use super::Byzantine;

/// Is wrong, and says that it is not.
#[derive(Clone, Copy, Debug)]
pub enum FalseTime {
    /// Always by the same, in nanoseconds.
    Shifted(i64),
    /// By another amount in each answer, up to so many nanoseconds.
    Erratic(i64),
    /// It runs fast or slow, by so many parts per million.
    Fast(i64),
    /// Keeps silent.
    Silent,
}

impl FalseTime {
    /// Any of these, wrong by microseconds up to hours.
    pub fn drawn(chance: &mut Pcg32) -> Self {
        let size_ns = 10_i64.pow(chance.random_range(3..14));
        let by_ns = chance.random_range(-size_ns..=size_ns);
        match chance.random_range(0..7) {
            0 => Self::Silent,
            1 | 2 => Self::Fast(chance.random_range(-500_000..=500_000)),
            3 | 4 => Self::Erratic(size_ns),
            _ => Self::Shifted(by_ns),
        }
    }

    /// How wrong it is now.
    fn error_ns(self, now: Time, chance: &mut Pcg32) -> i64 {
        match self {
            Self::Silent => 0,
            Self::Shifted(by_ns) => by_ns,
            Self::Erratic(size_ns) => chance.random_range(-size_ns..=size_ns),
            Self::Fast(ppm) => (now.0 as i64 / 1_000_000).wrapping_mul(ppm),
        }
    }
}

impl Byzantine<Clock> for FalseTime {
    fn rewrite(&mut self, now: Time, effects: &mut Effects<Clock>, chance: &mut Pcg32) {
        let sends: Vec<Outgoing<ClockMessage>> = effects.take_sends().collect();
        for Outgoing { to, message, .. } in sends {
            match message {
                ClockMessage::Answer { .. } if matches!(self, Self::Silent) => {}
                ClockMessage::Answer { nonce, received_ns, answered_ns, error_ns } => {
                    let by_ns = self.error_ns(now, chance) as u64;
                    let received_ns = received_ns.wrapping_add(by_ns);
                    let answered_ns = answered_ns.wrapping_add(by_ns);
                    effects.send(to, ClockMessage::Answer { nonce, received_ns, answered_ns, error_ns });
                }
                ask @ ClockMessage::Ask { .. } => effects.send(to, ask),
            }
        }
    }
}
