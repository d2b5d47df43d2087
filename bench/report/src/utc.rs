//! Wall-clock time, for dating result files and nothing else.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY_SECONDS: u64 = 86_400;

/// A moment in UTC, to the second, not before 1970. Written as `2026-11-22T12:09:02Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc {
    /// Seconds since 1970, without leap seconds.
    pub seconds: u64,
}

impl Utc {
    /// The moment it is. Dates files; never times anything.
    pub fn now() -> Self {
        Self { seconds: since_epoch().as_secs() }
    }

    /// The form for folder names: `20261122T120902Z`.
    pub fn compact(self) -> String {
        self.to_string().replace(['-', ':'], "")
    }

    /// Reads the form for folder names.
    pub fn parse_compact(text: &str) -> Option<Self> {
        // The places at which the long form has a dash or a colon.
        let cuts = [0..4, 4..6, 6..11, 11..13, 13..16];
        let parts: Option<Vec<&str>> = cuts.into_iter().map(|cut| text.get(cut)).collect();
        let [year, month, day, minute, second] = parts?[..] else { return None };
        Self::parse(&format!("{year}-{month}-{day}:{minute}:{second}")).filter(|utc| utc.compact() == text)
    }

    /// Reads the form that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        if form != "0000-00-00T00:00:00Z" {
            return None;
        }
        let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
        let days = days_from_date(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
        let seconds = days * DAY_SECONDS + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let utc = Self { seconds };
        (utc.to_string() == text).then_some(utc) // refuses the 31st of June and the 25th hour
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "wall-clock time dates result files; this is the one place that reads it"
)]
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_from_days(self.seconds / DAY_SECONDS);
        let second = self.seconds % DAY_SECONDS;
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}Z")
    }
}

/// Civil date of a day since 1970. Counts in years that begin in March, so that the leap day is the last of its year.
fn date_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since March 1st of year 0
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse; `None` before 1970. A day past its month's end yields the day that many later.
fn days_from_date(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day.checked_sub(1)?;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no time like 2026-11-22T12:09:02Z")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(seconds: u64) -> String {
        Utc { seconds }.to_string()
    }

    #[test]
    fn known_moments_are_written_rightly() {
        assert_eq!(written(0), "1970-01-01T00:00:00Z");
        assert_eq!(written(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(written(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(written(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(written(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(written(4_107_542_400), "2100-03-01T00:00:00Z");
        let utc = Utc { seconds: 1_000_000_000 };
        assert_eq!(utc.compact(), "20010909T014640Z");
        assert_eq!(Utc::parse_compact("20010909T014640Z"), Some(utc));
        for odd in ["", "20010909T014640Z0", "2001-09-09T01:46:40Z", "20010909T0146é"] {
            assert_eq!(Utc::parse_compact(odd), None, "{odd}");
        }
    }

    #[test]
    fn times_that_never_were_are_refused() {
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-06-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(Utc::parse(text), None, "{text}");
        }
        assert_eq!(Utc::parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(Utc::parse("2026-01-00T00:00:00Z"), None);
    }

    proptest! {
        #[test]
        fn times_survive_text(seconds in 0..253_402_300_800_u64) {
            prop_assert_eq!(Utc::parse(&written(seconds)), Some(Utc { seconds }));
        }

        #[test]
        fn text_sorts_like_time(a in 0..253_402_300_800_u64, b in 0..253_402_300_800_u64) {
            prop_assert_eq!(a.cmp(&b), written(a).cmp(&written(b)));
        }
    }
}
