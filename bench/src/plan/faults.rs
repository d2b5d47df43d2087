//! Faults to be made while a cell is measured, as plans and the command line write them:
//! `kill-leader@2s/1s, pause-follower@4s`.

use std::{fmt, str::FromStr, time::Duration};

use super::duration::{parse_duration, written};
use crate::byzantine::Lie;

/// How long a fault lasts unless it says so.
const DURATION_DEFAULT: Duration = Duration::from_secs(1);
/// The shortest fault: a replica needs a few milliseconds to hear of it.
const DURATION_MIN: Duration = Duration::from_millis(10);
/// Undisturbed time before the first fault: recovery is measured against it.
const CALM_MIN: Duration = Duration::from_millis(500);
/// Time after the last fault that a window has unless the plan says how long it is.
const RECOVERY_TIME: Duration = Duration::from_secs(2);
/// Faults of one cell.
const FAULTS_MAX: usize = 64;

/// What happens, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A replica's process is killed, and started again with its journal when the fault ends.
    Kill(Role),
    /// A replica's process stands still: SIGSTOP, and SIGCONT when the fault ends.
    Pause(Role),
    /// A replica and the others do not hear each other; clients hear them all.
    Partition(Role),
    /// Every commit of a replica's journal takes longer.
    SlowDisk(Role),
    /// Datagrams that any replica sends get lost, those to clients among them.
    Loss,
    /// Datagrams that any replica sends take longer, those to clients among them.
    Delay,
    /// The replica that leads lies, wherever it comes to stand. What it said does not end with the fault: it counts as faulty for
    /// good.
    Lie(Lie),
}

/// Whom a fault strikes, as of that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The replica that leads.
    Leader,
    /// One that does not: the first seat after the leader's that serves, or the last one that does where nobody ever leads.
    Follower,
}

impl Kind {
    /// Every name. A kind is written by its first one.
    pub const NAMES: [(&'static str, Self); 17] = [
        ("kill-leader", Self::Kill(Role::Leader)),
        ("kill-follower", Self::Kill(Role::Follower)),
        ("pause-leader", Self::Pause(Role::Leader)),
        ("pause-follower", Self::Pause(Role::Follower)),
        ("partition", Self::Partition(Role::Leader)),
        ("partition-leader", Self::Partition(Role::Leader)),
        ("partition-follower", Self::Partition(Role::Follower)),
        ("slow-disk", Self::SlowDisk(Role::Leader)),
        ("slow-disk-leader", Self::SlowDisk(Role::Leader)),
        ("slow-disk-follower", Self::SlowDisk(Role::Follower)),
        ("loss", Self::Loss),
        ("delay", Self::Delay),
        ("silent-leader", Self::Lie(Lie::Silent)),
        ("slow-leader", Self::Lie(Lie::Slow)),
        ("equivocating-leader", Self::Lie(Lie::Equivocating)),
        ("censoring-leader", Self::Lie(Lie::Censoring)),
        ("forging-leader", Self::Lie(Lie::Forging)),
    ];

    /// The name in plans, files and tables.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, kind)| *kind == self);
        named.expect("every kind has a name").0
    }

    /// Whom it strikes; `None` if it strikes every link.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Kill(role) | Self::Pause(role) | Self::Partition(role) | Self::SlowDisk(role) => Some(role),
            Self::Lie(_) => Some(Role::Leader),
            Self::Loss | Self::Delay => None,
        }
    }

    /// Whether links must be emulated for it.
    fn needs_links(self) -> bool {
        matches!(self, Self::Partition(_) | Self::Loss | Self::Delay)
    }
}

/// One fault and its time, counted from the beginning of the measured window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: Kind,
    /// When it strikes.
    pub start: Duration,
    /// How long it lasts.
    pub duration: Duration,
}

impl Fault {
    /// When it is over.
    pub fn end(&self) -> Duration {
        self.start + self.duration
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: String| format!("{text:?}: {why}");
        let time = |time: &str, what: &str| {
            let read = parse_duration(time);
            read.ok_or_else(|| bad(format!("{time:?} is no {what}: write 500ms, 2s or 1m")))
        };
        let (name, when) = text.split_once('@').unwrap_or((text, ""));
        let kind = Kind::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| {
            let names = Kind::NAMES.map(|(name, _)| name).join(", ");
            bad(format!("there is no fault {name:?}; there are {names}"))
        })?;
        let (start, duration) = match when.split_once('/') {
            None => (time(when, "time to strike")?, DURATION_DEFAULT),
            Some((start, duration)) => (time(start, "time to strike")?, time(duration, "duration")?),
        };
        if duration < DURATION_MIN {
            return Err(bad(format!("a fault lasts at least {DURATION_MIN:?}")));
        }
        Ok(Self { kind, start, duration })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.kind.name(), written(self.start), written(self.duration))
    }
}

/// The faults of a cell, one after the other; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    faults: Vec<Fault>,
}

impl Schedule {
    /// The faults in the order of their times.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a replica is killed: its counters begin again.
    pub fn kills(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Kill(_)))
    }

    /// Whether a replica lies.
    pub fn lies(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault.kind, Kind::Lie(_)))
    }

    /// Whether a leader is struck.
    pub fn strike_leaders(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.role() == Some(Role::Leader))
    }

    /// Whether links must be emulated.
    pub fn needs_links(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.needs_links())
    }

    /// The window that shows what all faults did, for plans that do not say how long it is.
    pub fn window(&self) -> Duration {
        self.faults.last().map_or(Duration::ZERO, |last| last.end() + RECOVERY_TIME)
    }

    /// Whether every fault is over when a window of this length ends.
    pub fn check_window(&self, measure: Duration) -> Result<(), String> {
        match self.faults.last() {
            Some(last) if last.end() > measure => Err(format!(
                "faults: {last} lasts until {}, but only {} are measured: let it end earlier, or measure longer",
                written(last.end()),
                written(measure)
            )),
            _ => Ok(()),
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pieces: Vec<&str> = text.split(',').map(str::trim).collect();
        if pieces.len() > FAULTS_MAX {
            return Err(format!("{} faults are more than {FAULTS_MAX}", pieces.len()));
        }
        let fault = |(at, piece): (usize, &&str)| {
            piece.parse::<Fault>().map_err(|why| format!("fault {} of {}: {why}", at + 1, pieces.len()))
        };
        let mut faults: Vec<Fault> = pieces.iter().enumerate().map(fault).collect::<Result<_, _>>()?;
        faults.sort_by_key(|fault| fault.start);
        check_order(&faults)?;
        Ok(Self { faults })
    }
}

/// What two faults do at once cannot be told apart, and what the first does is seen only against a time without any.
fn check_order(faults: &[Fault]) -> Result<(), String> {
    if let Some(first) = faults.first().filter(|first| first.start < CALM_MIN) {
        return Err(format!(
            "{first} strikes too early: recovery is measured against the time before the first fault, at least {}",
            written(CALM_MIN)
        ));
    }
    match faults.windows(2).find(|pair| pair[1].start < pair[0].end()) {
        Some(pair) => Err(format!(
            "{} strikes while {} lasts: what each of them does could not be told apart",
            pair[1], pair[0]
        )),
        None => Ok(()),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(Fault::to_string).collect();
        f.write_str(&faults.join(","))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample};

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Schedule>().expect_err(text)
    }

    #[test]
    fn a_schedule_is_read_in_the_order_of_its_times() {
        let schedule: Schedule = "pause-follower@3s , kill-leader@1500ms/500ms".parse().unwrap();
        assert_eq!(schedule.to_string(), "kill-leader@1500ms/500ms,pause-follower@3s/1s");
        assert!(schedule.kills() && !schedule.needs_links());
        assert_eq!(schedule.window(), Duration::from_secs(6));
    }

    #[test]
    fn whom_a_short_name_means_is_the_leader() {
        for (short, long) in
            [("partition@1s", "partition-leader@1s"), ("slow-disk@1s", "slow-disk-leader@1s")]
        {
            assert_eq!(short.parse::<Schedule>(), long.parse());
        }
    }

    #[test]
    fn a_piece_that_is_no_fault_is_named_with_its_place_and_what_is_valid() {
        let error = refusal("kill-leader@2s,pause-folower@3s/1s");
        assert!(
            error.starts_with("fault 2 of 2: \"pause-folower@3s/1s\": there is no fault \"pause-folower\"; "),
            "{error}"
        );
        for (name, _) in Kind::NAMES {
            assert!(error.contains(name), "{name} is not in {error}");
        }
        assert!(refusal("").starts_with("fault 1 of 1: \"\": there is no fault \"\""));
        assert!(refusal("loss@1s,").starts_with("fault 2 of 2: "));
        for (text, reason) in [
            ("loss", "\"loss\": \"\" is no time to strike: write 500ms, 2s or 1m"),
            ("loss@", "\"\" is no time to strike"),
            ("loss@2", "\"2\" is no time to strike"),
            ("loss@2s/", "\"\" is no duration"),
            ("loss@2s/1s/1s", "\"1s/1s\" is no duration"),
            ("loss@-2s", "\"-2s\" is no time"),
            ("loss@99999999999999999999s", "is no time"),
            ("loss@2s/9ms", "a fault lasts at least 10ms"),
        ] {
            assert!(refusal(text).contains(reason), "{text}: {}", refusal(text));
        }
        assert!(refusal(&["loss@1s"; 65].join(",")).contains("65 faults are more than 64"));
    }

    #[test]
    fn faults_that_cannot_be_told_apart_are_refused() {
        assert!(
            refusal("loss@1s/1s,delay@1999ms").contains("delay@1999ms/1s strikes while loss@1s/1s lasts")
        );
        assert!("loss@1s/1s,delay@2s".parse::<Schedule>().is_ok(), "one may begin when another ends");
        assert!(refusal("loss@499ms").contains("at least 500ms"));
    }

    #[test]
    fn every_fault_is_over_before_the_window_is() {
        let schedule: Schedule = "loss@1s/1s".parse().unwrap();
        assert_eq!(schedule.check_window(Duration::from_secs(2)), Ok(()));
        let late = schedule.check_window(Duration::from_millis(1999)).unwrap_err();
        assert!(late.contains("loss@1s/1s lasts until 2s, but only 1999ms are measured"), "{late}");
        assert_eq!(Schedule::default().check_window(Duration::ZERO), Ok(()));
    }

    #[test]
    fn every_lie_is_the_leaders() {
        let lies = Kind::NAMES.iter().filter_map(|(name, kind)| match kind {
            Kind::Lie(lie) => Some((*name, *lie)),
            _ => None,
        });
        let lies: Vec<_> = lies.collect();
        assert_eq!(lies.len(), Lie::ALL.len());
        for (name, lie) in lies {
            assert_eq!(name, format!("{}-leader", lie.name()));
            let schedule: Schedule = format!("{name}@1s/2s").parse().unwrap();
            assert!(schedule.lies() && !schedule.kills() && !schedule.needs_links());
        }
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        let kinds = sample::select(Kind::NAMES.map(|(_, kind)| kind).to_vec());
        collection::vec((kinds, 0..5_000_u64, 10..9_000_u64), 1..8).prop_map(|drawn| {
            let mut at = CALM_MIN;
            let faults = drawn.into_iter().map(|(kind, gap_ms, duration_ms)| {
                let start = at + Duration::from_millis(gap_ms);
                let fault = Fault { kind, start, duration: Duration::from_millis(duration_ms) };
                at = fault.end();
                fault
            });
            Schedule { faults: faults.collect() }
        })
    }

    proptest! {
        #[test]
        fn a_schedule_is_read_as_it_was_written(schedule in any_schedule()) {
            prop_assert_eq!(schedule.to_string().parse::<Schedule>(), Ok(schedule));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z@/,0-9 é-]{0,40}") {
            let _ = text.parse::<Schedule>();
        }
    }
}
