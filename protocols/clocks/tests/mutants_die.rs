//! Every seeded bug is found by the law that it breaks, and every law holds without one.

#![cfg(feature = "mutants")]

mod laws;

use std::panic::catch_unwind;

use laws::{causality, siblings, timekeeping};
use qlab_kernel::mutants::activate;

/// Seeds within which a bug must be found.
const SEEDS_MAX: u64 = 5;

type Law = fn(u64);

/// The laws, and which bugs each of them finds.
const LAWS: [(Law, &[&str]); 12] = [
    (
        causality::clocks_tell_what_happened_before,
        &[
            "vector clock: merge takes the minimum",
            "vector clock: compare ignores missing entries",
            "hybrid clock: the counter is forgotten",
        ],
    ),
    (
        siblings::values_disappear_only_if_replaced,
        &[
            "dotted version vectors: a write replaces nothing",
            "dotted version vectors: replaced values come back",
        ],
    ),
    (
        timekeeping::the_acceptance_numbers_are_met,
        &["exchange: wrong sign on T3 − T4", "served clock: stepped instead of slewed"],
    ),
    (timekeeping::fewer_than_half_are_outvoted, &[]),
    (timekeeping::liars_near_the_truth_do_not_push_it_out, &[]),
    (timekeeping::half_or_more_are_refused, &["select: a single source is trusted"]),
    (timekeeping::queues_on_one_way_do_little_harm, &["filter: average instead of minimum"]),
    (timekeeping::unequal_ways_are_within_the_bound, &[]),
    (timekeeping::loss_duplicates_and_replays_do_no_harm, &["synchroniser: the nonce is not checked"]),
    (timekeeping::the_bound_grows_while_nobody_answers, &["rate: no drift term"]),
    (timekeeping::an_oscillator_beyond_its_bound_is_not_trusted, &[]),
    (timekeeping::the_bound_holds_in_any_world, &[]),
];

/// One test, since a mutant is on for the whole process.
#[test]
fn every_mutant_is_killed_by_its_law() {
    for (law, mutants) in LAWS {
        activate(None);
        law(0);
        for mutant in mutants {
            activate(Some(mutant));
            let killed = (0..SEEDS_MAX).any(|seed| catch_unwind(|| law(seed)).is_err());
            assert!(killed, "{mutant}: {SEEDS_MAX} seeds do not find it");
        }
    }
    activate(None);
    // What is no bug of the code, but of whoever trusts one source, must be seen as well.
    assert!(catch_unwind(|| timekeeping::one_trusted_source_that_lies_is_believed(0)).is_err());
}
