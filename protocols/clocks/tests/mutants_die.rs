//! Every seeded bug is found by the law it breaks, and by nothing else than the bug: without it each law holds.

#![cfg(feature = "mutants")]

mod laws;

use std::panic::catch_unwind;

use laws::{causality, siblings, timekeeping};
use qlab_kernel::mutants::activate;

const SEEDS_MAX: u64 = 20;

type Law = fn(u64);

/// Which law finds which bug.
const MUTANTS: [(&str, Law); 11] = [
    ("vector clock: merge takes the minimum", causality::clocks_tell_what_happened_before),
    ("vector clock: compare ignores missing entries", causality::clocks_tell_what_happened_before),
    ("hybrid clock: the counter is forgotten", causality::clocks_tell_what_happened_before),
    ("dotted version vectors: a write replaces nothing", siblings::values_disappear_only_if_replaced),
    ("dotted version vectors: replaced values come back", siblings::values_disappear_only_if_replaced),
    ("exchange: wrong sign on T3 − T4", timekeeping::the_acceptance_numbers_are_met),
    ("filter: average instead of minimum", timekeeping::queues_on_one_way_do_little_harm),
    ("rate: no drift term", timekeeping::the_bound_grows_while_nobody_answers),
    ("select: a single source is trusted", timekeeping::half_or_more_are_refused),
    ("served clock: stepped instead of slewed", timekeeping::the_acceptance_numbers_are_met),
    ("synchroniser: the nonce is not checked", timekeeping::loss_duplicates_and_replays_do_no_harm),
];

/// One test, since a mutant is on for the whole process.
#[test]
fn every_mutant_is_killed_by_its_law() {
    for (mutant, law) in MUTANTS {
        activate(None);
        law(0);
        activate(Some(mutant));
        let killed = (0..SEEDS_MAX).find(|seed| catch_unwind(|| law(*seed)).is_err());
        assert!(killed.is_some(), "{mutant}: {SEEDS_MAX} seeds do not find it");
        eprintln!("{mutant}: killed by seed {}", killed.unwrap_or_default());
    }
    activate(None);
}
