//! When operations arrive: at once when another completes, or by a clock that does not care whether the system keeps up.

use std::fmt;
use std::str::FromStr;

/// Operations that may be outstanding in closed loop, over all sessions.
pub const OUTSTANDING_MAX: u32 = 1 << 20;
/// Arrivals per second that open loop can be asked for.
pub const RATE_PER_S_MAX: f64 = 50e6;

/// How load is offered.
///
/// Written and parsed as `closed:64`, `open:20000` (Poisson) and `open:20000/constant`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// So many operations are outstanding at any time; each completed one is replaced at once. A slow system is asked less.
    Closed {
        /// Operations outstanding over all sessions, 1 to [`OUTSTANDING_MAX`].
        outstanding: u32,
    },
    /// Operations arrive by a clock, whatever the system does; latency counts from the intended start.
    Open {
        /// Mean arrivals per second, above 0 up to [`RATE_PER_S_MAX`].
        rate_per_s: f64,
        /// How the gaps between arrivals are drawn.
        spacing: Spacing,
    },
}

/// The gaps between arrivals of open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Exponential gaps: many independent users.
    Poisson,
    /// Equal gaps.
    Constant,
}

/// A load that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "load `{text}` is not one of closed:N (N outstanding, 1 to {OUTSTANDING_MAX}), open:RATE (Poisson, per second, up to {RATE_PER_S_MAX}), open:RATE/constant"
)]
pub struct LoadError {
    text: String,
}

impl FromStr for Load {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let load = match text.split_once(':') {
            Some(("closed", outstanding)) => closed(outstanding),
            Some(("open", rate)) => open(rate),
            _ => None,
        };
        load.ok_or_else(|| LoadError { text: text.to_owned() })
    }
}

fn closed(outstanding: &str) -> Option<Load> {
    let outstanding = outstanding.parse().ok()?;
    (1..=OUTSTANDING_MAX).contains(&outstanding).then_some(Load::Closed { outstanding })
}

fn open(text: &str) -> Option<Load> {
    let (rate, spacing) = match text.split_once('/') {
        None => (text, Spacing::Poisson),
        Some((rate, "constant")) => (rate, Spacing::Constant),
        Some(_) => return None,
    };
    let rate_per_s: f64 = rate.parse().ok()?;
    (rate_per_s > 0.0 && rate_per_s <= RATE_PER_S_MAX).then_some(Load::Open { rate_per_s, spacing })
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { outstanding } => write!(f, "closed:{outstanding}"),
            Self::Open { rate_per_s, spacing: Spacing::Poisson } => write!(f, "open:{rate_per_s}"),
            Self::Open { rate_per_s, spacing: Spacing::Constant } => write!(f, "open:{rate_per_s}/constant"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_forms_are_parsed() {
        assert_eq!("closed:64".parse(), Ok(Load::Closed { outstanding: 64 }));
        assert_eq!("open:20000".parse(), Ok(Load::Open { rate_per_s: 20_000.0, spacing: Spacing::Poisson }));
        let constant = Load::Open { rate_per_s: 0.5, spacing: Spacing::Constant };
        assert_eq!("open:0.5/constant".parse(), Ok(constant));
    }

    #[test]
    fn errors_name_the_text_and_the_valid_forms() {
        for bad in [
            "",
            "closed",
            "closed:0",
            "closed:-1",
            "open:0",
            "open:nan",
            "open:inf",
            "open:5/burst",
            "ramp:3",
        ] {
            let message = bad.parse::<Load>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{bad}`")), "{message}");
            assert!(message.contains("closed:N") && message.contains("open:RATE/constant"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_parsed(outstanding in 1..=OUTSTANDING_MAX, rate_per_s in 0.001..RATE_PER_S_MAX, poisson: bool) {
            let spacing = if poisson { Spacing::Poisson } else { Spacing::Constant };
            for load in [Load::Closed { outstanding }, Load::Open { rate_per_s, spacing }] {
                prop_assert_eq!(load.to_string().parse(), Ok(load));
            }
        }
    }
}
