//! The laws of a lock service, judged from outside by what the service shows before and after each command.
//!
//! | law | says |
//! |---|---|
//! | L1 | tokens only grow, and a register takes none below the largest it has seen |
//! | L2 | no holder believes in a lease that has ended ([`clocks`](crate::clocks)) |
//! | L3 | only the owner of a grant releases it, and what is refused changes nothing |
//! | L4 | whoever is gone claims nothing |
//! | L5 | whoever can hold does, first come first |
//! | L6 | nobody holds beside an exclusive holder |
//! | L7 | nobody waits in a circle, edges go by age where they must, and a victim claims nothing |

use std::collections::BTreeMap;

use qlab_kernel::{Outcome, Reader};
use qlab_machines::lock::{self, Command, LockId, Locks, Mode, OwnerId, Policy, Token};
use qlab_machines::{Machine, Value};

use crate::model::{Claim, Model, edges, leads};
use crate::steps::{Step, everyone};

/// The law that was broken, and how.
pub(crate) type Broken = String;

fn law(holds: bool, broken: &str) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken.to_owned()) }
}

/// Lives a life; the first law that is broken in it, or else the first difference from the model.
pub(crate) fn live(steps: &[Step]) -> Result<(), Broken> {
    let (mut locks, mut model, mut laws) = (Locks::default(), Model::default(), Laws::default());
    for step in steps {
        let mut value = [0];
        match step.command(&model, locks.ticks(), &mut value) {
            None => locks = restored(&locks),
            Some(command) => {
                let before = locks.clone();
                let outcome = locks.apply(&command.to_bytes());
                laws.judge(&before, command, outcome, &locks)?;
                let expected = model.run(command);
                law((outcome.status, outcome.number) == expected, "model: another outcome")?;
            }
        }
        compare(&locks, &model)?;
    }
    Ok(())
}

pub(crate) fn image(locks: &Locks) -> Vec<u8> {
    let mut image = Vec::new();
    locks.snapshot(&mut image);
    image
}

pub(crate) fn restored(locks: &Locks) -> Locks {
    let mut reader = Reader::new(image(locks).into());
    let copy = Locks::restore(&mut reader).expect("what was written can be read");
    reader.finish().expect("to the end");
    copy
}

fn compare(locks: &Locks, model: &Model) -> Result<(), Broken> {
    law(locks.owners().collect::<Vec<_>>() == model.aborted(), "model: other owners")?;
    for (owner, lock) in everyone() {
        let Value { status, bytes } = locks.query(&Command::Wait { owner, lock }.to_bytes());
        let number = bytes.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
        law((status, number) == model.wait(owner, lock.0), "model: another standing")?;
        let register = locks.register(lock).map(|register| (register.token.0, register.value.clone()));
        law(register == model.registers.get(&lock.0).cloned(), "model: another register")?;
    }
    Ok(())
}

/// What an observer remembers.
#[derive(Default)]
struct Laws {
    policy: Policy,
    last_token: Token,
    /// The largest token that each register has seen.
    seen: BTreeMap<LockId, Token>,
}

impl Laws {
    fn judge(
        &mut self,
        before: &Locks,
        command: Command<'_>,
        outcome: Outcome,
        after: &Locks,
    ) -> Result<(), Broken> {
        self.tokens(before, command, outcome, after)?;
        releases(before, command, outcome, after)?;
        owners(after)?;
        order(before, command, after)?;
        modes(before, after)?;
        if let (Command::Policy(policy), lock::SET) = (command, outcome.status) {
            self.policy = policy;
        }
        self.waiting(after)
    }

    fn tokens(
        &mut self,
        before: &Locks,
        command: Command<'_>,
        outcome: Outcome,
        after: &Locks,
    ) -> Result<(), Broken> {
        let old = self.last_token;
        for (id, lock) in after.locks() {
            let known = before.lock(id).map_or(&[][..], |lock| lock.holders());
            for grant in lock.holders().iter().filter(|grant| !known.contains(grant)) {
                law(grant.token > old, "L1: a grant has an old token")?;
                self.last_token = self.last_token.max(grant.token);
            }
        }
        if let (Command::Write { register, token, .. }, lock::WRITTEN) = (command, outcome.status) {
            let seen = self.seen.entry(register).or_default();
            law(token >= *seen, "L1: a register took a write of an old token")?;
            *seen = token;
        }
        Ok(())
    }

    fn waiting(&self, after: &Locks) -> Result<(), Broken> {
        let claims: Vec<Claim> = after.locks().flat_map(|(id, lock)| claims(id, lock)).collect();
        for (owner, aborted) in after.owners() {
            let claims_nothing = claims.iter().all(|claim| claim.owner != owner.0);
            law(!aborted || claims_nothing, "L7: a victim keeps what it claimed")?;
        }
        let graph = edges(&claims);
        for (waiter, blocker) in &graph {
            law(!leads(&graph, *blocker, *waiter), "L7: owners wait in a circle")?;
            let allowed = match self.policy {
                Policy::Detect => true,
                Policy::WaitDie => waiter < blocker,
                Policy::WoundWait => waiter > blocker,
            };
            law(allowed, "L7: an owner waits against the order of age")?;
        }
        Ok(())
    }
}

/// Holders and then waiters, in the order in which they came.
fn claims(id: LockId, lock: &lock::Lock) -> impl Iterator<Item = Claim> {
    let held = lock.holders().iter().map(move |grant| (grant.owner, lock.mode(), grant.token));
    let waiting = lock.waiters().map(|waiter| (waiter.owner, waiter.mode, Token(0)));
    held.chain(waiting).map(move |(owner, mode, token)| Claim {
        lock: id.0,
        owner: owner.0,
        mode,
        token: token.0,
    })
}

fn releases(before: &Locks, command: Command<'_>, outcome: Outcome, after: &Locks) -> Result<(), Broken> {
    if let Command::Release { owner, lock, token } = command {
        let holders = before.lock(lock).map_or(&[][..], |lock| lock.holders());
        let held = holders.iter().any(|grant| grant.owner == owner && grant.token == token);
        law(held || outcome.status != lock::RELEASED, "L3: a grant was released by another")?;
    }
    // Statuses of refusals begin here; a policy that is refused, a tick that is late: nothing changes.
    law(
        outcome.status < lock::TAKEN || outcome.status == lock::ABORTED || before == after,
        "L3: a refusal changed something",
    )
}

fn owners(after: &Locks) -> Result<(), Broken> {
    let open: Vec<OwnerId> = after.owners().map(|(owner, _)| owner).collect();
    for (id, lock) in after.locks() {
        law(claims(id, lock).all(|claim| open.contains(&OwnerId(claim.owner))), "L4: the dead claim")?;
    }
    Ok(())
}

fn order(before: &Locks, command: Command<'_>, after: &Locks) -> Result<(), Broken> {
    for (id, lock) in after.locks() {
        let mut came: Vec<u64> =
            before.lock(id).into_iter().flat_map(|lock| claims(id, lock)).map(|claim| claim.owner).collect();
        if let Command::Acquire { owner, .. } | Command::Try { owner, .. } = command {
            came.push(owner.0);
        }
        let mut came = came.into_iter();
        let in_order = claims(id, lock).all(|claim| came.any(|owner| owner == claim.owner));
        law(in_order, "L5: a claim overtook another")?;
        let first = lock.waiters().next();
        let wakes =
            first.is_some_and(|first| lock.holders().is_empty() || !lock.mode().conflicts(first.mode));
        law(!wakes, "L5: nobody woke the first in the queue")?;
    }
    Ok(())
}

fn modes(before: &Locks, after: &Locks) -> Result<(), Broken> {
    for (id, lock) in after.locks() {
        let known = before.lock(id).filter(|lock| lock.mode() == Mode::Exclusive);
        let stayed =
            known.is_some_and(|known| known.holders().iter().any(|grant| lock.holders().contains(grant)));
        let alone = lock.mode() == Mode::Exclusive || stayed;
        law(!alone || lock.holders().len() == 1, "L6: somebody holds beside an exclusive holder")?;
    }
    Ok(())
}
