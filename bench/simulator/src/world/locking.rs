//! Worlds in which locks are replicated: their clients, and the clocks that leases rest on.

use qlab_kernel::Time;
use qlab_kernel::client::answers;
use qlab_machines::MachineKind;
use qlab_machines::lock::lease::CLOCK_DRIFT_PPM_MAX;
use rand::RngExt;

use super::World;
use crate::clients::Wish;
use crate::clock::Clock;
use crate::desk::ClientNumber;
use crate::faults::Fault;
use crate::laws::Verdict;
use crate::lockers::{Locker, thought};
use crate::network::below;
use crate::subject::Subject;
use crate::world::Happening;

impl<S: Subject> World<'_, S> {
    pub(super) fn draw_lockers(&mut self) {
        if self.setup.machine != MachineKind::Locks {
            return;
        }
        for number in 0..self.schedule.clients as u64 {
            let mut clock = Clock::starting_at(Time(self.chance.random_range(1 << 39..1 << 40)));
            if self.schedule.faults.contains(Fault::ClockDrift) {
                let half_ppm = i64::from(self.clock_drift_ppm() / 2 * self.setup.drift_factor);
                clock.set_drift(self.now, self.chance.random_range(-half_ppm..=half_ppm));
            }
            self.lockers.push(Locker::new(number, self.schedule.nodes, self.schedule.keys, clock));
        }
    }

    /// By how much two clocks may run apart, in parts per million: leases bear less than most systems.
    pub(crate) fn clock_drift_ppm(&self) -> u32 {
        let system_ppm = S::clock_drift_ppm(&self.config);
        match self.setup.machine {
            MachineKind::Kv => system_ppm,
            MachineKind::Locks => system_ppm.min(2 * CLOCK_DRIFT_PPM_MAX as u32),
        }
    }

    /// Whether safety rests on clocks, so that none may jump.
    pub(crate) fn trusts_clocks(&self) -> bool {
        self.setup.machine == MachineKind::Locks || S::trusts_clocks(&self.config)
    }

    pub(super) fn ask_of_locks(&mut self, client: ClientNumber) {
        let locker = &mut self.lockers[client as usize];
        if self.asking && !locker.is_waiting() {
            let wish = locker.ask(self.now, self.lock_laws.seen(), &mut self.chance);
            self.lock_laws.asked(client, locker.question_asked());
            self.grant(client, wish);
        }
    }

    pub(super) fn answer_of_locks(&mut self, client: ClientNumber, frame: &[u8]) -> Verdict {
        for answer in answers(frame) {
            let answer = answer.expect("replicas that are believed send what can be read");
            let locker = &mut self.lockers[client as usize];
            let Some((wish, news)) = locker.on_answer(self.now, &answer) else { continue };
            self.story.tell(self.now, || format!("client {client} hears: {news:?}"));
            self.outcome.marks.news(news);
            self.lock_laws.heard(self.now, client, news, &self.lockers)?;
            if let Wish::Think = wish {
                let usual = below(&mut self.chance, self.network.weather.think_max);
                let wait = thought(usual, &mut self.chance);
                self.schedule_in(wait, Happening::Ask { client });
            } else {
                self.grant(client, wish);
            }
        }
        Ok(())
    }

    pub(super) fn heal_lockers(&mut self) {
        self.lockers.iter_mut().for_each(|locker| locker.may_give_up = false);
    }

    /// Whether every owner is gone, as it must be once nobody renews any more, and every lock with it.
    pub(super) fn is_every_lease_over(&self) -> bool {
        let mut kept = self.alive().filter_map(|(_, running)| running?.locks());
        kept.all(|locks| locks.owners().next().is_none() && locks.locks().next().is_none())
    }
}
