//! L1 … L7: the laws of the lock service, of the state of every replica after every burst and of what its clients hear and believe.
//!
//! | law | says |
//! |---|---|
//! | L1 | a token is one grant's for ever, later grants have larger ones, and no register goes back to a smaller one |
//! | L2 | no two clients believe in conflicting claims at once, whatever their clocks show |
//! | L3 | nobody gives back what another holds |
//! | L4 | whoever is gone claims nothing; in the end, when nobody renews any more, all are gone |
//! | L5 | whoever is first in a queue waits for somebody |
//! | L6 | nobody holds beside an exclusive holder |
//! | L7 | nobody waits in a circle, edges go by age where they must, and a victim claims nothing |
//!
//! A victim of a deadlock may believe for a while in what it has lost: that is what it means to be one, and what tokens are for. So
//! L2 is silent about victims. That queues are first come, first served is looked at command by command in the machine's own tests.

use std::collections::{BTreeMap, BTreeSet};

use qlab_kernel::{Index, Time};
use qlab_machines::Locks;
use qlab_machines::lock::{Lock, LockId, Mode, OwnerId, Policy, Token};

use super::{Verdict, broken};
use crate::desk::ClientNumber;
use crate::lockers::{Held, Locker, News, Question};

const L1: &str = "L1 fencing tokens";
const L2: &str = "L2 leases and beliefs";
const L3: &str = "L3 releases";
const L4: &str = "L4 the dead claim nothing";
const L5: &str = "L5 no wake-up is lost";
const L6: &str = "L6 shared and exclusive";
const L7: &str = "L7 deadlocks";

/// What an observer remembers.
#[derive(Debug, Default)]
pub(crate) struct LockLaws {
    /// Whose each token is.
    grants: BTreeMap<Token, (LockId, OwnerId)>,
    /// Locks that were ever held.
    granted: BTreeSet<LockId>,
    /// The token of each register, in the newest state seen.
    registers: BTreeMap<LockId, (Index, Token)>,
    /// Who was ever a victim.
    victims: BTreeSet<OwnerId>,
    /// Grants that clients were told of, in that order.
    told: Vec<(LockId, Token)>,
    /// The largest token of each lock among them.
    largest_told: BTreeMap<LockId, Token>,
    /// What that was when a client asked.
    asked: BTreeMap<(ClientNumber, LockId), Token>,
    answers: u64,
}

impl LockLaws {
    /// Grants that clients were told of.
    pub(crate) fn seen(&self) -> &[(LockId, Token)] {
        &self.told
    }

    /// Questions answered.
    pub(crate) const fn answers(&self) -> u64 {
        self.answers
    }

    /// After a burst, before anything it brought about leaves the process.
    pub(crate) fn after_burst(&mut self, index: Index, locks: &Locks) -> Verdict {
        let owners: BTreeMap<OwnerId, bool> = locks.owners().collect();
        self.victims.extend(owners.iter().filter(|(_, aborted)| **aborted).map(|(owner, _)| *owner));
        for (id, lock) in locks.locks() {
            self.tokens(id, lock)?;
            claims(id, lock, &owners)?;
            modes(id, lock)?;
        }
        for id in self.granted.clone() {
            self.register(index, id, locks)?;
        }
        owners.keys().try_for_each(|owner| waiting(*owner, locks))
    }

    /// A client asks.
    pub(crate) fn asked(&mut self, client: ClientNumber, question: Option<Question>) {
        if let Some(Question::Acquire(lock, _) | Question::Try(lock, _)) = question {
            let largest = self.largest_told.get(&lock).copied().unwrap_or_default();
            self.asked.insert((client, lock), largest);
        }
    }

    /// A client was answered.
    pub(crate) fn heard(
        &mut self,
        now: Time,
        client: ClientNumber,
        news: News,
        lockers: &[Locker],
    ) -> Verdict {
        self.answers += 1;
        match news {
            News::Granted(lock, held) => {
                self.granted(client, lock, held.token)?;
                self.beliefs(now, lock, lockers)
            }
            News::Stolen(lock, token) => broken(
                L3,
                format!("client {client} gave back token {token} of lock {lock}, which is not its own"),
            ),
            News::Nothing | News::Written(..) | News::Fenced | News::Aborted | News::Gone => Ok(()),
        }
    }

    fn granted(&mut self, client: ClientNumber, lock: LockId, token: Token) -> Verdict {
        if self.told.contains(&(lock, token)) {
            return Ok(());
        }
        self.told.push((lock, token));
        let before = self.asked.get(&(client, lock)).copied().unwrap_or_default();
        if token <= before {
            broken(
                L1,
                format!("lock {lock} was granted with {token} to one who asked after {before} was heard of"),
            )?;
        }
        let largest = self.largest_told.entry(lock).or_default();
        *largest = token.max(*largest);
        Ok(())
    }

    fn beliefs(&self, now: Time, lock: LockId, lockers: &[Locker]) -> Verdict {
        let believes = |locker: &Locker| {
            let owner = locker.owner().filter(|owner| !self.victims.contains(owner))?;
            Some((owner, locker.believes(now, lock)?))
        };
        let believers: Vec<(OwnerId, Held)> = lockers.iter().filter_map(believes).collect();
        let alone = believers.iter().find(|(_, held)| held.mode == Mode::Exclusive);
        match alone {
            Some((owner, _)) if believers.len() > 1 => {
                broken(L2, format!("{owner} believes to hold lock {lock} alone, one of {believers:?}"))
            }
            _ => Ok(()),
        }
    }

    fn tokens(&mut self, id: LockId, lock: &Lock) -> Verdict {
        self.granted.insert(id);
        for grant in lock.holders() {
            let known = *self.grants.entry(grant.token).or_insert((id, grant.owner));
            if known != (id, grant.owner) {
                let (other, owner) = known;
                return broken(
                    L1,
                    format!(
                        "token {} is of {owner} for lock {other} and of {} for {id}",
                        grant.token, grant.owner
                    ),
                );
            }
        }
        Ok(())
    }

    fn register(&mut self, index: Index, id: LockId, locks: &Locks) -> Verdict {
        let token = locks.register(id).map_or(Token(0), |register| register.token);
        let (seen, newest) = self.registers.entry(id).or_insert((index, token));
        let went_back = if index >= *seen { token < *newest } else { token > *newest };
        if went_back {
            return broken(
                L1,
                format!("register {id} has {newest} after entry {seen} and {token} after {index}"),
            );
        }
        if index > *seen {
            (*seen, *newest) = (index, token);
        }
        Ok(())
    }
}

fn claims(id: LockId, lock: &Lock, owners: &BTreeMap<OwnerId, bool>) -> Verdict {
    let holders = lock.holders().iter().map(|grant| grant.owner);
    for owner in holders.chain(lock.waiters().map(|waiter| waiter.owner)) {
        match owners.get(&owner) {
            None => broken(L4, format!("{owner} is gone and claims lock {id}"))?,
            Some(true) => broken(L7, format!("{owner} is a victim and claims lock {id}"))?,
            Some(false) => {}
        }
    }
    Ok(())
}

fn modes(id: LockId, lock: &Lock) -> Verdict {
    if lock.mode() == Mode::Exclusive && lock.holders().len() > 1 {
        return broken(L6, format!("lock {id} is held exclusively by {:?}", lock.holders()));
    }
    let first = lock.waiters().next();
    let waits_for_nobody =
        first.is_some_and(|first| lock.holders().is_empty() || !lock.mode().conflicts(first.mode));
    if waits_for_nobody {
        return broken(L5, format!("{first:?} waits for lock {id}, which it could hold"));
    }
    Ok(())
}

fn waiting(owner: OwnerId, locks: &Locks) -> Verdict {
    let mut reached = BTreeSet::new();
    let mut next: Vec<OwnerId> = locks.waits_for(owner).collect();
    for blocker in &next {
        let allowed = match locks.policy() {
            Policy::Detect => true,
            Policy::WaitDie => owner < *blocker,
            Policy::WoundWait => owner > *blocker,
        };
        if !allowed {
            return broken(L7, format!("{owner} waits for {blocker} against the order of age"));
        }
    }
    while let Some(blocker) = next.pop() {
        if blocker == owner {
            return broken(L7, format!("{owner} waits for itself, over {reached:?}"));
        }
        if reached.insert(blocker) {
            next.extend(locks.waits_for(blocker));
        }
    }
    Ok(())
}
