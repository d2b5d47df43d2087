//! Laws of clocks that follow others. The truth is known here: it is what every honest reference shows.

use std::collections::BTreeMap;

use qlab_clocks::sync::served::SLEW_PPB_MAX;
use qlab_clocks::sync::{Clock, Config, Status};
use qlab_kernel::{NodeId, Time};

use super::{Glimpse, Laws, Verdict, Violation, broken};
use crate::subject::TRUE_TIME_STARTS;

const BOUND: &str = "T1 the true time is within the bound";
const FORWARD: &str = "T2 a clock never goes back and is slewed gently";

/// All of them.
#[derive(Debug)]
pub struct ClockLaws {
    /// By how much a clock may run faster or slower than its oscillator: what it learnt of that, and the slew.
    strays_ppb_max: u64,
    /// What each process's oscillator and clock showed last, since it called itself synchronised for the first time.
    shown: BTreeMap<usize, (Time, u64)>,
}

impl ClockLaws {
    /// The laws of clocks that are configured like this.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let strays_ppb_max = config.frequency_error_ppb() + SLEW_PPB_MAX.unsigned_abs();
        Self { strays_ppb_max, shown: BTreeMap::new() }
    }

    fn never_goes_back(&mut self, process: usize, clock: Time, shown_ns: u64) -> Verdict {
        let Some((before, before_ns)) = self.shown.insert(process, (clock, shown_ns)) else { return Ok(()) };
        let passed_ns = shown_ns.wrapping_sub(before_ns) as i64;
        let elapsed_ns = clock.0 - before.0;
        let strayed_ns = u128::from(passed_ns.abs_diff(elapsed_ns as i64)) * 1_000_000_000;
        // One nanosecond for each end's rounding.
        if passed_ns < 0
            || strayed_ns > u128::from(elapsed_ns) * u128::from(self.strays_ppb_max) + 2_000_000_000
        {
            broken(FORWARD, format!("process {process} went on by {passed_ns} ns in {elapsed_ns} ns"))?;
        }
        Ok(())
    }
}

impl Laws<Clock> for ClockLaws {
    fn after_burst(&mut self, glimpse: &Glimpse<'_, Clock>) -> Verdict {
        let Glimpse { core, clock, process, .. } = *glimpse;
        if core.synchroniser().is_none() {
            return Ok(());
        }
        let shown_ns = core.read(clock);
        if let Some(bounds) = core.now(clock) {
            let true_ns = TRUE_TIME_STARTS.0 + glimpse.now.0;
            let error_ns = shown_ns.abs_diff(true_ns);
            let bound_ns = core.error_ns(clock).unwrap_or_default();
            if !bounds.contains(true_ns) || error_ns > bound_ns {
                let what =
                    format!("process {process} is wrong by {error_ns} ns, and says {bound_ns} at most");
                broken(BOUND, what)?;
            }
            self.shown.entry(process).or_insert((clock, shown_ns));
        }
        if self.shown.contains_key(&process) {
            self.never_goes_back(process, clock, shown_ns)
        } else {
            Ok(())
        }
    }

    fn ended(&mut self, process: usize) {
        self.shown.remove(&process);
    }

    fn missing(&mut self, replicas: &[(NodeId, Time, &Clock)]) -> Result<Option<String>, Violation> {
        let status = |(node, clock, core): &(NodeId, Time, &Clock)| (*node, core.status(*clock));
        let lost = replicas.iter().map(status).find(|(_, status)| *status != Status::Synchronised);
        Ok(lost.map(|(node, status)| format!("{node} is not synchronised: {status:?}")))
    }
}
