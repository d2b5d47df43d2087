//! What a system replicates, and what is asked of it: a store, or locks.

use std::num::NonZeroU64;
use std::time::Duration;

use qlab_loadgen::workload::{LockLoad, Workload};
use qlab_machines::MachineKind;
use qlab_machines::lock::OWNERS_MAX;

use super::{Load, Point, Scalar, System};

/// Milliseconds of an owner's lease.
const LEASE_MS: (i64, i64) = (50, 3_600_000);
/// The lease unless the plan says so: longer than anything that a run waits for.
const LEASE_MS_DEFAULT: u64 = 10_000;
/// Acquisitions between two deaths.
const DIES_EVERY: (i64, i64) = (1, i64::MAX);

/// What is replicated under a point's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Which machine.
    pub kind: MachineKind,
    /// How long an owner of locks lives without a renewal, in milliseconds, if the plan says so.
    lease_ms: Option<u64>,
    /// Every so-manieth holder dies with its lock; none if the plan does not say so.
    holder_dies_every: Option<NonZeroU64>,
}

impl Machine {
    /// The parameters of a cell that are its machine's.
    pub(super) const KEYS: [&'static str; 3] = ["machine", "lease_ms", "holder_dies_every"];

    pub(super) fn set(&mut self, key: &str, value: &Scalar) -> Result<(), String> {
        match key {
            "machine" => self.kind = value.word()?,
            "lease_ms" => self.lease_ms = Some(value.whole(LEASE_MS)?),
            _ => self.holder_dies_every = NonZeroU64::new(value.whole(DIES_EVERY)?),
        }
        Ok(())
    }

    /// What the load generator is to ask for.
    pub fn workload(self) -> Workload {
        match self.kind {
            MachineKind::Kv => Workload::Store,
            MachineKind::Locks => Workload::Locks(LockLoad {
                lease: Duration::from_millis(self.lease_ms.unwrap_or(LEASE_MS_DEFAULT)),
                deaths_every: self.holder_dies_every,
            }),
        }
    }

    /// What tells a row of it from others, beside its system's switches: nothing of the store, which is what systems carry
    /// unless it is said.
    pub(super) fn switches(self) -> impl Iterator<Item = (String, String)> {
        let locks = (self.kind == MachineKind::Locks).then(|| self.kind.name().to_owned());
        let values =
            [locks, self.lease_ms.map(|ms| ms.to_string()), self.holder_dies_every.map(|n| n.to_string())];
        Self::KEYS.into_iter().zip(values).filter_map(|(key, value)| Some((key.to_owned(), value?)))
    }

    /// Whether the rest of a point goes with it.
    pub(super) fn check(self, point: &Point) -> Result<(), String> {
        if self.kind == MachineKind::Kv {
            let says_more = self.lease_ms.is_some() || self.holder_dies_every.is_some();
            let reason = "lease_ms and holder_dies_every have a meaning with machine = \"locks\" only";
            return if says_more { Err(reason.to_owned()) } else { Ok(()) };
        }
        match point.load {
            _ if point.system == System::Etcd => {
                Err("etcd has locks of its own, which are not measured".to_owned())
            }
            _ if point.read_fraction > 0.0 => {
                Err("locks are not read: read_fraction has no meaning".to_owned())
            }
            Load::Closed { outstanding } if outstanding as usize > OWNERS_MAX => {
                Err(format!("each operation on a lock has an owner, and there are at most {OWNERS_MAX}"))
            }
            _ => qlab_node::systems::check_machine(point.system.name(), self.kind)
                .map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Draft, Plan, PlanError};

    fn plan(cell: &str) -> Result<Plan, PlanError> {
        let text = format!("name = \"x\"\n[[cell]]\nname = \"a\"\n{cell}\n");
        Draft::parse("x", &text).and_then(Draft::finish)
    }

    fn refusal(cell: &str) -> String {
        plan(cell).expect_err(cell).to_string()
    }

    #[test]
    fn what_does_not_go_with_locks_is_refused_with_the_reason() {
        for (cell, reason) in [
            ("machine = \"lock\"", "there is no machine \"lock\"; there are kv and locks"),
            ("lease_ms = 100", "with machine = \"locks\" only"),
            ("machine = \"locks\"\nlease_ms = 1", "lease_ms: 1 is not a whole number of 50 to 3600000"),
            ("machine = \"locks\"\nholder_dies_every = 0", "holder_dies_every: 0 is not a whole number"),
            ("machine = \"locks\"\nread_fraction = 0.5", "locks are not read"),
            ("machine = \"locks\"\nload = \"closed:5000\"", "there are at most 4096"),
            ("machine = \"locks\"\nsystem = \"etcd\"", "etcd has locks of its own"),
            ("machine = \"locks\"\nsystem = \"paxos\"", "locks need one log"),
            ("machine = \"locks\"\nsystem = \"dynamo\"", "locks need a log"),
            ("machine = \"locks\"\nsystem = \"pbft\"", "leases go by the clock of whoever leads"),
        ] {
            assert!(refusal(cell).contains(reason), "{cell}: {}", refusal(cell));
        }
    }

    #[test]
    fn rows_of_locks_say_so_and_rows_of_the_store_do_not() {
        let locks = plan("machine = [\"kv\", \"locks\"]\nsystem = [\"raft\", \"multi-paxos\"]").unwrap();
        assert_eq!(locks.switch_names(), ["machine"]);
        for point in &locks.points {
            let is_locks = point.cell == "a/machine=locks";
            assert_eq!(point.all_switches().contains_key("machine"), is_locks);
            assert_eq!((point.preloads(), point.verifies()), (!is_locks, !is_locks));
        }
        let dying = plan("machine = \"locks\"\nlease_ms = 500\nholder_dies_every = 9").unwrap();
        let told: Vec<_> =
            dying.points[0].all_switches().into_iter().map(|(key, value)| key + "=" + &value).collect();
        assert_eq!(told, ["holder_dies_every=9", "lease_ms=500", "machine=locks"]);
    }
}
