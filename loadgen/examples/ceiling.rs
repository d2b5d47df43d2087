//! The generator's ceiling: nanoseconds of processor time per operation against a target that does nothing.
//!
//! `cargo run --release -p qlab-loadgen --example ceiling`

use std::time::Duration;

use qlab_loadgen::run::{Spec, run};
use qlab_loadgen::targets::memory::{Memory, NoOp};

#[expect(clippy::print_stdout, reason = "its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (load, mix) in [
        ("closed:64", "0"),
        ("closed:1024", "0"),
        ("closed:1024", "a"),
        ("closed:1024", "1"),
        ("closed:1024", "f"),
        ("open:50000", "a"),
        ("open:200000", "a"),
        ("open:500000", "a"),
    ] {
        let spec = Spec {
            load: load.parse()?,
            mix: mix.parse()?,
            preload: false,
            verify: false,
            warmup: Duration::from_millis(300),
            measure: Duration::from_secs(2),
            cooldown: Duration::ZERO,
            ..Spec::default()
        };
        let outcome =
            runtime.block_on(run(Memory::new(NoOp, 4), &spec, |_, _| {}, std::future::pending()))?;
        let total = outcome.recorder.total();
        println!(
            "{load:>12} mix {mix:>3}: {:>9.0} op/s, {:>6.0} ns cpu/op, lag p50 {:>6} ns, p99 {:>7} ns",
            total.completed as f64 / outcome.recorder.window().len_ns() as f64 * 1e9,
            outcome.cpu_ns as f64 / total.completed as f64,
            total.lag.value_at_quantile(0.5),
            total.lag.value_at_quantile(0.99),
        );
    }
    Ok(())
}
