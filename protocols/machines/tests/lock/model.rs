//! The specification: one list of claims in the order in which they came. A claim holds if no claim before it on the same lock
//! conflicts with it. Everything else follows.

use std::collections::{BTreeMap, BTreeSet};

use qlab_machines::lock::lease::{CLOCK_DRIFT_PPM_MAX, TICK_NS_MAX};
use qlab_machines::lock::{self, Command, Mode, OwnerId, Policy};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) lock: u64,
    pub(crate) owner: u64,
    pub(crate) mode: Mode,
    /// 0 while it waits.
    pub(crate) token: u64,
}

#[derive(Debug)]
struct Owner {
    ttl_ns: u64,
    /// What ticks have counted of its lease; nothing before the first one.
    counted_ns: Option<u128>,
    aborted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    policy: Policy,
    ticks: u64,
    last_owner: u64,
    last_token: u64,
    owners: BTreeMap<u64, Owner>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) registers: BTreeMap<u64, (u64, Vec<u8>)>,
}

/// Whether the claim at `at` has to wait for the one at `before`.
pub(crate) fn waits_for(claims: &[Claim], at: usize, before: usize) -> bool {
    let (claim, other) = (claims[at], claims[before]);
    before < at && claim.lock == other.lock && claim.mode.conflicts(other.mode)
}

/// The wait-for graph.
pub(crate) fn edges(claims: &[Claim]) -> BTreeSet<(u64, u64)> {
    let pairs = (0..claims.len()).flat_map(|at| (0..at).map(move |before| (at, before)));
    let waiting = pairs.filter(|(at, before)| waits_for(claims, *at, *before));
    waiting.map(|(at, before)| (claims[at].owner, claims[before].owner)).collect()
}

/// Whether a path of at least one edge leads from one owner to another.
pub(crate) fn leads(edges: &BTreeSet<(u64, u64)>, from: u64, to: u64) -> bool {
    let mut reached: BTreeSet<u64> = BTreeSet::from([from]);
    loop {
        let next: BTreeSet<u64> =
            edges.iter().filter(|(a, _)| reached.contains(a)).map(|(_, b)| *b).collect();
        if next.contains(&to) {
            return true;
        }
        let before = reached.len();
        reached.extend(next);
        if reached.len() == before {
            return false;
        }
    }
}

impl Model {
    pub(crate) fn run(&mut self, command: Command<'_>) -> (u8, u64) {
        self.try_run(command).unwrap_or_else(|status| (status, 0))
    }

    pub(crate) fn aborted(&self) -> Vec<(OwnerId, bool)> {
        self.owners.iter().map(|(id, owner)| (OwnerId(*id), owner.aborted)).collect()
    }

    fn try_run(&mut self, command: Command<'_>) -> Result<(u8, u64), u8> {
        match command {
            Command::Policy(policy) => {
                if !self.owners.is_empty() {
                    return Err(lock::IN_USE);
                }
                self.policy = policy;
                Ok((lock::SET, 0))
            }
            Command::Open { ttl_ns } => {
                self.last_owner += 1;
                self.owners.insert(self.last_owner, Owner { ttl_ns, counted_ns: None, aborted: false });
                Ok((lock::OPENED, self.last_owner))
            }
            Command::Renew { owner } => {
                self.owner(owner)?.counted_ns = None;
                Ok((lock::RENEWED, 0))
            }
            Command::Restart { owner } => {
                self.owner(owner)?.aborted = false;
                self.drop_claims(&[owner.0]);
                Ok((lock::RESTARTED, 0))
            }
            Command::Close { owner } => {
                self.owner(owner)?;
                self.owners.remove(&owner.0);
                self.drop_claims(&[owner.0]);
                Ok((lock::CLOSED, 0))
            }
            Command::Acquire { owner, lock, mode } => self.acquire(owner, lock.0, mode, true),
            Command::Try { owner, lock, mode } => self.acquire(owner, lock.0, mode, false),
            Command::Release { owner, lock, token } => {
                let at = self.claim(owner, lock.0)?.ok_or(lock::NOT_HELD)?;
                if self.claims[at].token == 0 || self.claims[at].token != token.0 {
                    return Err(lock::NOT_HELD);
                }
                self.claims.remove(at);
                self.grant();
                Ok((lock::RELEASED, 0))
            }
            Command::Withdraw { owner, lock } => {
                let at = self.claim(owner, lock.0)?.ok_or(lock::NOT_HELD)?;
                if self.claims[at].token > 0 {
                    return Ok((lock::GRANTED, self.claims[at].token));
                }
                self.claims.remove(at);
                self.grant();
                Ok((lock::WITHDRAWN, 0))
            }
            Command::Tick { after, .. } if after != self.ticks => Ok((lock::LATE, self.ticks)),
            Command::Tick { elapsed_ns, .. } => {
                self.ticks += 1;
                self.pass(u128::from(elapsed_ns.min(TICK_NS_MAX)));
                Ok((lock::TICKED, self.ticks))
            }
            Command::Write { register, token, value } => {
                if token.0 == 0 || token.0 > self.last_token {
                    return Err(lock::FORGED);
                }
                let known = self.registers.entry(register.0).or_default();
                if token.0 < known.0 {
                    return Ok((lock::FENCED, known.0));
                }
                *known = (token.0, value.to_vec());
                Ok((lock::WRITTEN, token.0))
            }
            Command::WriteUnfenced { register, value } => {
                let known = self.registers.entry(register.0).or_default();
                known.1 = value.to_vec();
                Ok((lock::WRITTEN, known.0))
            }
            Command::Wait { .. } | Command::Read { .. } => unreachable!("a query is no step"),
        }
    }

    /// A wait's answer.
    pub(crate) fn wait(&self, owner: OwnerId, lock: u64) -> (u8, u64) {
        match self.claim(owner, lock) {
            Ok(Some(at)) => self.outcome(at),
            Ok(None) => (lock::NOT_HELD, 0),
            Err(status) => (status, 0),
        }
    }

    fn acquire(&mut self, owner: OwnerId, lock: u64, mode: Mode, patient: bool) -> Result<(u8, u64), u8> {
        if let Some(at) = self.claim(owner, lock)? {
            let upgrade = self.claims[at].mode == Mode::Shared && mode == Mode::Exclusive;
            return if upgrade { Err(lock::OTHER_MODE) } else { Ok(self.outcome(at)) };
        }
        self.claims.push(Claim { lock, owner: owner.0, mode, token: 0 });
        self.grant();
        let at = self.claims.len() - 1;
        if self.claims[at].token == 0 {
            if !patient {
                self.claims.pop();
                return Err(lock::TAKEN);
            }
            self.choose_victims(at);
        }
        let at = self.claim(owner, lock)?.expect("a claim stays unless its owner is a victim");
        Ok(self.outcome(at))
    }

    fn choose_victims(&mut self, newest: usize) {
        let me = self.claims[newest].owner;
        let blockers: Vec<u64> = (0..newest)
            .filter(|at| waits_for(&self.claims, newest, *at))
            .map(|at| self.claims[at].owner)
            .collect();
        match self.policy {
            Policy::WaitDie if blockers.iter().any(|blocker| *blocker < me) => self.abort(&[me]),
            Policy::WaitDie => {}
            Policy::WoundWait => {
                let younger: Vec<u64> = blockers.into_iter().filter(|blocker| *blocker > me).collect();
                self.abort(&younger);
            }
            Policy::Detect => loop {
                let graph = edges(&self.claims);
                let on_cycle = |owner: &&u64| leads(&graph, me, **owner) && leads(&graph, **owner, me);
                let Some(victim) = self.owners.keys().filter(on_cycle).max().copied() else { return };
                self.abort(&[victim]);
            },
        }
    }

    fn abort(&mut self, victims: &[u64]) {
        for victim in victims {
            self.owners.get_mut(victim).unwrap().aborted = true;
        }
        self.drop_claims(victims);
    }

    fn pass(&mut self, elapsed_ns: u128) {
        let mut ended = Vec::new();
        for (id, owner) in &mut self.owners {
            let counted_ns = owner.counted_ns.map_or(0, |counted| counted + elapsed_ns);
            owner.counted_ns = Some(counted_ns);
            if counted_ns * 1_000_000
                >= u128::from(owner.ttl_ns) * u128::from(1_000_000 + CLOCK_DRIFT_PPM_MAX)
            {
                ended.push(*id);
            }
        }
        self.owners.retain(|id, _| !ended.contains(id));
        self.drop_claims(&ended);
    }

    fn drop_claims(&mut self, owners: &[u64]) {
        self.claims.retain(|claim| !owners.contains(&claim.owner));
        self.grant();
    }

    /// Gives tokens to claims that hold now, by lock and then first come first.
    fn grant(&mut self) {
        let mut order: Vec<usize> = (0..self.claims.len()).collect();
        order.sort_by_key(|at| self.claims[*at].lock);
        for at in order {
            let waits = (0..at).any(|before| waits_for(&self.claims, at, before));
            if self.claims[at].token == 0 && !waits {
                self.last_token += 1;
                self.claims[at].token = self.last_token;
            }
        }
    }

    fn outcome(&self, at: usize) -> (u8, u64) {
        let claim = self.claims[at];
        if claim.token > 0 {
            return (lock::GRANTED, claim.token);
        }
        let before = self.claims[..at].iter().filter(|other| other.lock == claim.lock && other.token == 0);
        (lock::QUEUED, before.count() as u64)
    }

    fn owner(&mut self, id: OwnerId) -> Result<&mut Owner, u8> {
        self.owners.get_mut(&id.0).ok_or(lock::NO_OWNER)
    }

    fn claim(&self, owner: OwnerId, lock: u64) -> Result<Option<usize>, u8> {
        match self.owners.get(&owner.0) {
            None => Err(lock::NO_OWNER),
            Some(known) if known.aborted => Err(lock::ABORTED),
            Some(_) => Ok(self.claims.iter().position(|claim| claim.owner == owner.0 && claim.lock == lock)),
        }
    }
}
