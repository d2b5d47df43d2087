//! Times in plans: a whole number and `ms`, `s` or `m`.

use std::time::Duration;

/// Names of units and their milliseconds.
const UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1_000), ("m", 60_000)];

/// Reads such as `500ms`, `2s` or `1m`; `None` if it is anything else.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let millis = UNITS.into_iter().find(|(name, _)| *name == unit)?.1;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

/// As [`parse_duration`] reads it, to the millisecond: whole seconds as such.
pub(super) fn written(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}
