//! Judges who held a lock when: nobody beside another, and the fencing tokens in the order of the grants.
//!
//! A holder's own account of a lock is enough. It heard of its grant at some moment, and relied on it until a later one, when it
//! gave the lock back or its belief in the lease ended. A grant takes effect before its holder hears of it, and after the question
//! was first asked. So with tokens in the order of grants, and two holders of one lock, the first one's token being smaller:
//!
//! - the second hears of its grant no sooner than the first relies on its own no more, and
//! - the second hears of its grant no sooner than the first asks for its own.
//!
//! Both are looked at against the extremes of all before and behind: O(n log n) for the sort by tokens.

use std::fmt;

/// What a client knows of a lock that it held alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// Which lock.
    pub lock: u64,
    /// The token of its grant: larger than that of every earlier grant.
    pub token: u64,
    /// When it first asked, in nanoseconds.
    pub asked_ns: u64,
    /// When it heard of the grant.
    pub granted_ns: u64,
    /// Until when it relied on it.
    pub until_ns: u64,
}

/// Two tenures that cannot both be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What is wrong with them.
    pub kind: BreachKind,
    /// The one with the smaller token.
    pub first: Tenure,
    /// The other.
    pub second: Tenure,
}

/// What is wrong with two tenures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreachKind {
    /// They have the same token.
    SameToken,
    /// The second heard of its grant while the first relied on its own.
    Together,
    /// The second heard of its grant before the first asked, and yet has the larger token.
    OldToken,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, first, second } = self;
        let what = match kind {
            BreachKind::SameToken => "was granted twice with the same token",
            BreachKind::Together => "was held by two at once",
            BreachKind::OldToken => "was granted with a token below that of an earlier grant",
        };
        writeln!(f, "lock {} {what}:", first.lock)?;
        for Tenure { token, asked_ns, granted_ns, until_ns, .. } in [first, second] {
            writeln!(
                f,
                "  token {token}: asked at {asked_ns}, granted by {granted_ns}, relied on until {until_ns}"
            )?;
        }
        Ok(())
    }
}

/// Looks for two tenures that cannot both be.
pub fn check_exclusion(tenures: &[Tenure]) -> Result<(), Breach> {
    let mut sorted = tenures.to_vec();
    sorted.sort_unstable_by_key(|tenure| (tenure.lock, tenure.token));
    sorted.chunk_by(|a, b| a.lock == b.lock).try_for_each(check_lock)
}

/// Of one lock, by token.
fn check_lock(tenures: &[Tenure]) -> Result<(), Breach> {
    let breach = |kind, first: &Tenure, second: &Tenure| Err(Breach { kind, first: *first, second: *second });
    if let Some(pair) = tenures.windows(2).find(|pair| pair[0].token == pair[1].token) {
        return breach(BreachKind::SameToken, &pair[0], &pair[1]);
    }
    let Some((mut longest, later)) = tenures.split_first() else { return Ok(()) };
    for tenure in later {
        if tenure.granted_ns < longest.until_ns {
            return breach(BreachKind::Together, longest, tenure);
        }
        if tenure.until_ns > longest.until_ns {
            longest = tenure;
        }
    }
    let Some((mut soonest, earlier)) = tenures.split_last() else { return Ok(()) };
    for tenure in earlier.iter().rev() {
        if soonest.granted_ns < tenure.asked_ns {
            return breach(BreachKind::OldToken, tenure, soonest);
        }
        if tenure.granted_ns < soonest.granted_ns {
            soonest = tenure;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tenure(lock: u64, token: u64, asked_ns: u64, granted_ns: u64, until_ns: u64) -> Tenure {
        Tenure { lock, token, asked_ns, granted_ns, until_ns }
    }

    fn kind(tenures: &[Tenure]) -> Option<BreachKind> {
        check_exclusion(tenures).err().map(|breach| breach.kind)
    }

    #[test]
    fn one_after_the_other_is_right_and_two_at_once_are_not() {
        let (first, second) = (tenure(1, 1, 0, 10, 20), tenure(1, 2, 5, 20, 30));
        assert_eq!(kind(&[second, first]), None);
        assert_eq!(kind(&[first, tenure(1, 2, 5, 19, 30)]), Some(BreachKind::Together));
        assert_eq!(kind(&[first, tenure(2, 2, 5, 19, 30)]), None, "another lock");
        let long = tenure(1, 1, 0, 10, 100);
        assert_eq!(
            kind(&[long, tenure(1, 2, 0, 100, 100), tenure(1, 3, 0, 99, 99)]),
            Some(BreachKind::Together)
        );
    }

    #[test]
    fn tokens_follow_the_order_of_grants() {
        assert_eq!(kind(&[tenure(1, 7, 0, 1, 1), tenure(1, 7, 2, 3, 3)]), Some(BreachKind::SameToken));
        assert_eq!(kind(&[tenure(1, 2, 0, 1, 1), tenure(1, 1, 2, 3, 3)]), Some(BreachKind::Together));
        // Whoever holds it for no time at all holds it beside nobody.
        assert_eq!(kind(&[tenure(1, 2, 0, 1, 0), tenure(1, 1, 2, 3, 0)]), Some(BreachKind::OldToken));
        let breach =
            check_exclusion(&[tenure(9, 2, 0, 1, 0), tenure(9, 1, 2, 3, 0)]).unwrap_err().to_string();
        assert!(
            breach.starts_with("lock 9 was granted with a token below")
                && breach.contains("token 1: asked at 2")
        );
    }

    /// Every pair, by the definition.
    fn contradicts(a: &Tenure, b: &Tenure) -> bool {
        a.lock == b.lock
            && (a.token == b.token
                || a.token < b.token && (b.granted_ns < a.until_ns || b.granted_ns < a.asked_ns))
    }

    proptest! {
        #[test]
        fn the_verdict_is_that_of_all_pairs(drawn in prop::collection::vec((0..2_u64, 0..9_u64, 0..30_u64, 0..9_u64, 0..9_u64), 0..7)) {
            let tenures: Vec<Tenure> = drawn
                .into_iter()
                .map(|(lock, token, asked, waits, stays)| tenure(lock, token, asked, asked + waits, asked + waits + stays))
                .collect();
            let pairs = tenures.iter().enumerate().flat_map(|(at, a)| {
                tenures.iter().enumerate().filter(move |(other, _)| *other != at).map(move |(_, b)| (a, b))
            });
            let wrong = pairs.into_iter().any(|(a, b)| contradicts(a, b));
            prop_assert_eq!(check_exclusion(&tenures).is_err(), wrong);
        }

        #[test]
        fn holders_in_turn_are_always_right(drawn in prop::collection::vec((0..9_u64, 0..9_u64, 0..9_u64), 0..9)) {
            let mut now = 100;
            let tenures: Vec<Tenure> = (1..).zip(drawn).map(|(token, (before, waits, stays))| {
                let granted = now + waits;
                now = granted + stays;
                tenure(1, token, granted.saturating_sub(before + waits), granted, now)
            }).collect();
            prop_assert_eq!(check_exclusion(&tenures), Ok(()));
        }
    }
}
