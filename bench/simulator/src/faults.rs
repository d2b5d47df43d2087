//! What can go wrong, by name, and which of it does.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};

/// One kind of misfortune.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fault {
    /// Messages vanish, up to 30 % of them.
    Loss,
    /// Messages arrive twice.
    Duplicate,
    /// Messages arrive again, long after.
    Replay,
    /// Messages overtake each other.
    Reorder,
    /// Messages take up to ten seconds.
    Delay,
    /// Two groups cannot reach each other.
    Partition,
    /// One replica can only send, or only receive.
    OneWay,
    /// Any pairs cannot reach each other: bridges, chains, rings.
    Partial,
    /// A process is killed and started again; its disk keeps what was written.
    Kill,
    /// A machine loses power: any part of what was not synced is gone.
    PowerLoss,
    /// All machines lose power at once.
    Blackout,
    /// A process stands still while its clock goes on.
    Pause,
    /// A process takes a hundred times as long for everything.
    SlowNode,
    /// A disk answers no sync for up to thirty seconds.
    DiskStall,
    /// A disk has no space left for a while.
    DiskFull,
    /// A sync fails.
    SyncError,
    /// Reading back fails at a restart.
    ReadError,
    /// A bit of a synced record that is not the last flips while its replica is down.
    BitFlip,
    /// A disk is replaced by an empty one.
    Wipe,
    /// Clocks run at different rates, as far as the configuration allows.
    ClockDrift,
    /// A clock jumps ahead.
    ClockJump,
    /// A clock runs fast and slow by turns, as far as the configuration allows.
    ClockStrobe,
    /// A leader is asked to hand over.
    Transfer,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::Loss,
        Self::Duplicate,
        Self::Replay,
        Self::Reorder,
        Self::Delay,
        Self::Partition,
        Self::OneWay,
        Self::Partial,
        Self::Kill,
        Self::PowerLoss,
        Self::Blackout,
        Self::Pause,
        Self::SlowNode,
        Self::DiskStall,
        Self::DiskFull,
        Self::SyncError,
        Self::ReadError,
        Self::BitFlip,
        Self::Wipe,
        Self::ClockDrift,
        Self::ClockJump,
        Self::ClockStrobe,
        Self::Transfer,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Replay => "replay",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Partial => "partial",
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::Blackout => "blackout",
            Self::Pause => "pause",
            Self::SlowNode => "slow-node",
            Self::DiskStall => "disk-stall",
            Self::DiskFull => "disk-full",
            Self::SyncError => "sync-error",
            Self::ReadError => "read-error",
            Self::BitFlip => "bit-flip",
            Self::Wipe => "wipe",
            Self::ClockDrift => "clock-drift",
            Self::ClockJump => "clock-jump",
            Self::ClockStrobe => "clock-strobe",
            Self::Transfer => "transfer",
        }
    }

    /// Whether it strikes at moments, rather than being a property of the whole first phase.
    #[must_use]
    pub const fn strikes(self) -> bool {
        !matches!(
            self,
            Self::Loss | Self::Duplicate | Self::Replay | Self::Reorder | Self::Delay | Self::ClockDrift
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Kinds of faults, as one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSet(u32);

impl FaultSet {
    /// Whether a kind is in it.
    #[must_use]
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 >> fault as u8 & 1 == 1
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u8)
    }

    /// The set without one.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u8))
    }

    /// Its kinds.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.contains(*fault))
    }
}

impl FromIterator<Fault> for FaultSet {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        faults.into_iter().fold(Self::default(), Self::with)
    }
}

/// Which faults the seeds of a campaign have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Each seed has a random subset of all (Groce et al., Swarm Testing, ISSTA 2012): what always happens hides what would
    /// happen without it.
    #[default]
    Swarm,
    /// Each seed has these.
    Only(FaultSet),
}

impl Choice {
    /// The faults of one seed.
    pub fn draw(self, chance: &mut impl Rng) -> FaultSet {
        match self {
            Self::Swarm => Fault::ALL.into_iter().filter(|_| chance.random_bool(0.3)).collect(),
            Self::Only(faults) => faults,
        }
    }
}

/// No fault has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault {0:?}; choose swarm, none, or some of {names}, separated by commas", names = names())]
pub struct UnknownFault(String);

fn names() -> String {
    Fault::ALL.map(Fault::name).join(", ")
}

impl FromStr for Choice {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        match text {
            "swarm" => Ok(Self::Swarm),
            "none" => Ok(Self::Only(FaultSet::default())),
            list => list.split(',').map(fault).collect::<Result<_, _>>().map(Self::Only),
        }
    }
}

fn fault(name: &str) -> Result<Fault, UnknownFault> {
    let known = Fault::ALL.into_iter().find(|fault| fault.name() == name.trim());
    known.ok_or_else(|| UnknownFault(name.trim().to_owned()))
}

/// How often each kind took effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Fault::ALL.len()]);

impl Tally {
    /// Counts one.
    pub fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_faults_and_others_are_refused_with_the_list() {
        for fault in Fault::ALL {
            let only = Choice::Only(FaultSet::default().with(fault));
            assert_eq!(fault.name().parse(), Ok(only));
        }
        assert_eq!("none".parse(), Ok(Choice::Only(FaultSet::default())));
        assert_eq!("loss, kill".parse(), Ok(Choice::Only([Fault::Loss, Fault::Kill].into_iter().collect())));
        let complaint = "los".parse::<Choice>().unwrap_err().to_string();
        assert!(complaint.contains("\"los\"") && complaint.contains("blackout"), "{complaint}");
    }

    #[test]
    fn every_kind_has_its_own_place() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
        }
    }
}
