//! Strikes: what happens when one comes, and when it ends.

use std::time::Duration;

use qlab_journal::FaultDisk;
use qlab_kernel::{Input, Time};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::faults::Fault;
use crate::laws::{Violation, broken};
use crate::network::{Cut, below, percent};
use crate::process::opens;
use crate::schedule::{Aim, Strike};
use crate::subject::Subject;
use crate::world::{Happening, World};

/// How long a clock that strobes runs one way at most.
const STROBE_MAX: Duration = Duration::from_millis(40);
const LAW: &str = "W2 damage is refused";

impl<S: Subject> World<'_, S> {
    pub(crate) fn strike(&mut self, number: usize) -> Result<(), Violation> {
        let strike = self.schedule.strikes[number];
        let target = match strike.aim {
            Aim::Leader => self.leader().unwrap_or_default(),
            Aim::Process(process) => process % self.processes.len(),
        };
        let until = self.now + strike.lasts;
        if self.hit(number, strike, target, until)? {
            self.story.tell(self.now, || {
                format!("STRIKE {} at process {target} for {:?}", strike.fault, strike.lasts)
            });
            self.outcome.tally.count(strike.fault);
        }
        Ok(())
    }

    /// Does it; whether it had any effect.
    fn hit(&mut self, number: usize, strike: Strike, target: usize, until: Time) -> Result<bool, Violation> {
        let is_up = self.processes[target].running.is_some();
        Ok(match strike.fault {
            Fault::Kill | Fault::PowerLoss if is_up => {
                self.kill(target, strike.fault == Fault::PowerLoss, until);
                true
            }
            Fault::Blackout => {
                for process in 0..self.processes.len() {
                    let back = self.now + below(&mut self.chance, strike.lasts);
                    self.kill(process, true, back);
                }
                true
            }
            Fault::Pause if is_up => {
                self.processes[target].paused_until = until;
                true
            }
            Fault::SlowNode if is_up => {
                self.processes[target].slow_until = until;
                true
            }
            Fault::DiskStall if is_up => {
                self.processes[target].stalled_until = until;
                true
            }
            Fault::DiskFull if is_up => {
                let disk = &self.processes[target].disk;
                let used = disk.segments().iter().map(|(_, bytes)| *bytes).sum::<u64>();
                disk.set_capacity(Some(usize::try_from(used).expect("simulated disks are small")));
                self.schedule_at(until, Happening::Relent { number });
                true
            }
            Fault::SyncError if is_up => {
                self.processes[target].disk.fail_sync_after(0);
                true
            }
            Fault::ReadError if is_up => {
                self.kill(target, false, self.now + strike.lasts / 2);
                let disk = &self.processes[target].disk;
                let segment = disk.segments().first().map(|(segment, _)| *segment);
                disk.fail_reads(segment);
                self.schedule_at(until, Happening::Relent { number });
                segment.is_some()
            }
            Fault::BitFlip if self.may_lose(target) => return self.flip(target, strike.salt, until),
            Fault::Wipe if self.may_lose(target) => {
                self.end(target);
                self.wipe(target, until);
                true
            }
            Fault::Partition | Fault::OneWay | Fault::Partial => {
                let blocked = blocked(strike, target % self.schedule.nodes, self.schedule.nodes);
                let any = blocked.contains(&true);
                self.network.cut(Cut { id: number as u64, fault: strike.fault, blocked });
                self.schedule_at(until, Happening::Relent { number });
                // Counted when a message is dropped, too; here once for the cut itself.
                any
            }
            Fault::ClockJump if !self.trusts_clocks() => {
                self.processes[target].clock.jump(self.now, strike.lasts);
                true
            }
            Fault::ClockStrobe if !S::STEADY_CLOCKS => {
                let healing = Time(1) + self.schedule.fire;
                self.strobe(target, until.min(healing), true);
                true
            }
            Fault::Transfer if is_up => {
                self.give(target, Input::Yield { to: None });
                true
            }
            _ => false,
        })
    }

    /// A clock runs fast for a moment, then slow, and so on; in the end as it should.
    pub(crate) fn strobe(&mut self, process: usize, until: Time, is_fast: bool) {
        let half_ppm = i64::from(self.clock_drift_ppm() / 2);
        let drift_ppm = match (self.now < until, is_fast) {
            (false, _) => 0,
            (true, true) => half_ppm,
            (true, false) => -half_ppm,
        };
        self.processes[process].clock.set_drift(self.now, drift_ppm);
        if self.now < until {
            let wait = below(&mut self.chance, STROBE_MAX);
            self.schedule_in(wait, Happening::Strobe { process, until, is_fast: !is_fast });
        }
    }

    pub(crate) fn relent(&mut self, number: usize) {
        self.network.mend(number as u64);
        // Every disk, not the struck one alone: whom it struck was found out then, and two at a time are as good as one long one.
        for who in &self.processes {
            who.disk.set_capacity(None);
            who.disk.fail_reads(None);
        }
    }

    /// Ends a process, and its machine's power with it if so.
    fn kill(&mut self, process: usize, loses_power: bool, back: Time) {
        self.end(process);
        let chance = &mut self.chance;
        // Without a loss of power, the system keeps everything that was written.
        let keep_percent = if loses_power { [0, 50, 90][chance.random_range(0..3)] } else { 100 };
        self.processes[process].disk.lose_power(|| percent(chance, keep_percent));
        self.schedule_at(back, Happening::Start { process });
    }

    /// Whether the cluster can do without this replica for good.
    fn may_lose(&self, process: usize) -> bool {
        let faulty = self.processes.iter().filter(|who| who.lost || who.is_liar).count();
        let who = &self.processes[process];
        !who.lost && !who.is_liar && faulty < S::faulty_max(self.schedule.nodes)
    }

    fn wipe(&mut self, process: usize, back: Time) {
        self.processes[process].disk = FaultDisk::default();
        if self.setup.rejoins_empty {
            self.schedule_at(back, Happening::Start { process });
        } else {
            // A host refuses an empty disk under an identity that has run before.
            self.processes[process].lost = true;
        }
    }

    /// Damages a synced record that is not the last while its replica is down: the last would look torn. Nobody may start from
    /// such a disk.
    fn flip(&mut self, process: usize, salt: u64, back: Time) -> Result<bool, Violation> {
        self.kill(process, false, back);
        let who = &mut self.processes[process];
        let segments = qlab_journal::inspect(&mut who.disk.image()).unwrap_or_default();
        let frames = segments.iter().flat_map(|report| &report.frames);
        let mut frames: Vec<_> = frames.map(|frame| (frame.segment, frame.offset, frame.bytes)).collect();
        frames.pop();
        if frames.is_empty() {
            return Ok(false);
        }
        let mut chance = Pcg32::seed_from_u64(salt);
        let (segment, offset, bytes) = frames[chance.random_range(0..frames.len())];
        let at = offset + chance.random_range(0..bytes);
        who.disk.flip_bit(segment, at, chance.random_range(0..8)).expect("frames lie within their segments");
        who.lost = true;
        self.outcome.marks.add("refused a damaged journal", 1);
        let who = &self.processes[process];
        if opens(who.node, &who.disk.image()) {
            broken(LAW, format!("a flipped bit at {at} of segment {segment} goes unnoticed"))?;
        }
        Ok(true)
    }
}

/// Which directions a cut blocks, by sender × nodes + receiver.
fn blocked(strike: Strike, target: usize, nodes: usize) -> Vec<bool> {
    let mut chance = Pcg32::seed_from_u64(strike.salt);
    let side: Vec<bool> = if strike.aim == Aim::Leader {
        (0..nodes).map(|node| node == target).collect()
    } else {
        (0..nodes).map(|_| chance.random()).collect()
    };
    let shape = chance.random_range(0..5);
    let sends = chance.random::<bool>();
    let other = (target + chance.random_range(1..nodes.max(2))) % nodes;
    let scattered: Vec<bool> = (0..nodes * nodes).map(|_| chance.random_bool(0.3)).collect();
    let is_blocked = |from: usize, to: usize| match strike.fault {
        Fault::Partition => side[from] != side[to],
        Fault::OneWay => {
            if sends {
                to == target
            } else {
                from == target
            }
        }
        _ => match shape {
            // Everybody reaches the target, and nobody else.
            0 => from != target && to != target,
            // A ring, a chain.
            1 => (from + 1) % nodes != to && (to + 1) % nodes != from,
            2 => from.abs_diff(to) != 1,
            // One of them and the target do not reach each other, and all others reach both.
            3 => (from, to) == (target, other) || (from, to) == (other, target),
            _ => scattered[from * nodes + to],
        },
    };
    let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    pairs.map(|(from, to)| from != to && is_blocked(from, to)).collect()
}
