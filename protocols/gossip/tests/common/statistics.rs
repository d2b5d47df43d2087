//! The few statistics that reports need.

/// The value below which `share` of the sorted values lie, by the nearest rank.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Wilson's score interval of a share at 95 %: sound also for few or no events.
pub fn wilson(events: u64, trials: u64) -> (f64, f64) {
    let (n, p, z) = (trials as f64, events as f64 / trials as f64, 1.96_f64);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0))
}
