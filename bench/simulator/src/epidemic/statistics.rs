//! The few statistics that reports need.

/// The value below which `share` of the sorted values lie, by the nearest rank. Panics if there is none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Two-sided normal quantile of 95 %.
pub const Z_95: f64 = 1.96;
/// The same of 99.9 %.
pub const Z_999: f64 = 3.29;

/// Wilson's score interval of a share: sound also for few or no events.
#[must_use]
pub fn wilson(events: u64, trials: u64, z: f64) -> (f64, f64) {
    let (n, p) = (trials as f64, events as f64 / trials as f64);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}
