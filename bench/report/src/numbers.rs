//! Numbers for people: three significant digits and a unit.

/// What stands for a number that could not be measured.
pub const ABSENT: &str = "–";

/// Suffixes of thousands.
const THOUSANDS: [&str; 5] = ["", "k", "M", "G", "T"];
/// Units of nanoseconds and their thousands. Longer times stay in seconds.
const NANOSECONDS: [&str; 4] = [" ns", " µs", " ms", " s"];
/// Units of bytes and their thousands.
const BYTES: [&str; 5] = [" B", " kB", " MB", " GB", " TB"];

/// A count or a rate: `0.094`, `2.31`, `12.3k`, `1.20M`.
pub fn count(value: f64) -> String {
    scaled(value, &THOUSANDS)
}

/// A time: `850 ns`, `184 µs`, `2.41 ms`.
pub fn nanoseconds(value: f64) -> String {
    scaled(value, &NANOSECONDS)
}

/// A size: `256 B`, `1.20 kB`.
pub fn bytes(value: f64) -> String {
    scaled(value, &BYTES)
}

/// A ratio: `0.45×`, `2.10×`, `18.3×`.
pub fn ratio(value: f64) -> String {
    if value < 9.995 { format!("{value:.2}×") } else { three_digits(value) + "×" }
}

/// A range in which the unit that both ends share stands once: `170–190 µs`, `980 ns–1.20 µs`. Empty where both ends look
/// the same.
pub fn range(min: f64, max: f64, form: fn(f64) -> String) -> String {
    let (min, max) = (form(min), form(max));
    let unit =
        |text: &str| text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-').to_owned();
    if min == max {
        return String::new();
    }
    let min = if unit(&min) == unit(&max) { min.trim_end_matches(&unit(&max)) } else { &min };
    format!("{min}–{max}")
}

/// Any of the above, or [`ABSENT`].
pub fn or_absent(value: Option<f64>, form: fn(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| ABSENT.to_owned(), form)
}

fn scaled(value: f64, units: &[&str]) -> String {
    let mut scaled = value;
    let mut unit = 0;
    // 999.5 would be written as 1000: it belongs to the next unit.
    while scaled.abs() >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    three_digits(scaled) + units[unit]
}

/// Three significant digits; a whole number below 1000 has no decimals, a small one no more than three.
fn three_digits(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 100.0 {
        return format!("{value:.0}");
    }
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let written =
            [0.0, 0.0941, 1.0, 2.3149, 9.996, 64.0, 99.96, 999.4, 999.6, 12_345.0, 999_600.0, 1.2e6]
                .map(count);
        assert_eq!(written.join(" "), "0 0.094 1 2.31 10.0 64 100 999 1.00k 12.3k 1.00M 1.20M");
        let times = [850.0, 184_499.0, 2_410_000.0, 1.5e9, 6.0e12].map(nanoseconds);
        assert_eq!(times.join(", "), "850 ns, 184 µs, 2.41 ms, 1.50 s, 6000 s");
        assert_eq!(
            (bytes(256.0), bytes(1204.0), ratio(0.4512)),
            ("256 B".into(), "1.20 kB".into(), "0.45×".into())
        );
    }

    #[test]
    fn a_range_says_its_unit_once() {
        assert_eq!(range(170_000.0, 190_000.0, nanoseconds), "170–190 µs");
        assert_eq!(range(980.0, 1_200.0, nanoseconds), "980 ns–1.20 µs");
        assert_eq!(range(10_200.0, 11_200.0, count), "10.2–11.2k");
        assert_eq!(range(2.0, 3.0, count), "2–3");
        assert_eq!(range(1.0001, 1.0002, count), "");
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        assert_eq!(or_absent(None, count), "–");
        assert_eq!(or_absent(Some(f64::NAN), count), "–");
        assert_eq!(or_absent(Some(f64::INFINITY), nanoseconds), "–");
    }
}
