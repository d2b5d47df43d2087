//! The load of a cell, as plans and the command line write it.

use std::{fmt, str::FromStr};

/// Requests that may be outstanding at a time.
const OUTSTANDING_MAX: u32 = 1 << 20;
/// Operations per second that may be offered.
const RATE_PER_S_MAX: f64 = 50e6;
/// Percent of a reference throughput that may be offered: past it a queue only grows.
const PERCENT_MAX: f64 = 200.0;
/// What a load may look like.
const FORMS: &str = "closed:N, open:RATE, open:RATE/constant or open:PERCENT%";

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// This many requests are outstanding; each reply lets the next one go.
    Closed {
        /// Requests, from 1.
        outstanding: u32,
    },
    /// Requests come at their own times, whatever the replies do.
    Open {
        /// How many.
        rate: Rate,
        /// With what between them.
        spacing: Spacing,
    },
}

/// How many requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Operations per second.
    PerSecond(f64),
    /// Percent of the throughput of the cell that the plan names in `percent_of`.
    Percent(f64),
}

/// The time between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Independent clients: exponential gaps.
    Poisson,
    /// Equal gaps.
    Constant,
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("{text:?} is no load: {why}");
        if let Some(number) = text.strip_prefix("closed:") {
            let outstanding = number.parse().ok().filter(|n| (1..=OUTSTANDING_MAX).contains(n));
            let outstanding =
                outstanding.ok_or_else(|| bad(&format!("N is a whole number of 1 to {OUTSTANDING_MAX}")))?;
            return Ok(Self::Closed { outstanding });
        }
        let open = text.strip_prefix("open:").ok_or_else(|| bad(&format!("write {FORMS}")))?;
        let (rate, spacing) = match open.split_once('/') {
            None => (open, Spacing::Poisson),
            Some((rate, "constant")) => (rate, Spacing::Constant),
            Some(_) => return Err(bad("after the rate only /constant may follow")),
        };
        Ok(Self::Open { rate: rate.parse().map_err(|why: String| bad(&why))?, spacing })
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let within = |number: &str, max: f64, of: &str| {
            let value = number.parse::<f64>().ok().filter(|value| *value > 0.0 && *value <= max);
            value.ok_or_else(|| format!("the rate is above 0 and at most {max} {of}"))
        };
        match text.strip_suffix('%') {
            Some(percent) => Ok(Self::Percent(within(percent, PERCENT_MAX, "percent")?)),
            None => Ok(Self::PerSecond(within(text, RATE_PER_S_MAX, "operations per second")?)),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { outstanding } => write!(f, "closed:{outstanding}"),
            Self::Open { rate, spacing: Spacing::Poisson } => write!(f, "open:{rate}"),
            Self::Open { rate, spacing: Spacing::Constant } => write!(f, "open:{rate}/constant"),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) => write!(f, "{rate}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_written_as_they_are_read() {
        for text in [
            "closed:1",
            "closed:64",
            "open:20000",
            "open:0.5",
            "open:20000/constant",
            "open:10%",
            "open:7.5%/constant",
        ] {
            assert_eq!(text.parse::<Load>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_load_is_refused_with_the_reason() {
        let reason = |text: &str| text.parse::<Load>().unwrap_err();
        for text in ["", "64", "open", "poisson:3"] {
            assert!(reason(text).contains("write closed:N, open:RATE"), "{text}");
        }
        for text in ["closed:0", "closed:-1", "closed:1.5", "closed:", "closed:9999999"] {
            assert!(reason(text).contains("N is a whole number"), "{text}");
        }
        for text in ["open:0", "open:-3", "open:nan", "open:inf", "open:", "open:1e9", "open:0%", "open:201%"]
        {
            assert!(reason(text).contains("the rate is above 0"), "{text}");
        }
        assert!(reason("open:10/poisson").contains("/constant"));
    }
}
