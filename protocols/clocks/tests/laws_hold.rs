//! The laws of the clocks hold: for random executions, and in worlds whose true time is known.

mod laws;

use laws::{causality, siblings, timekeeping};

/// One test for each law, over that many seeds.
macro_rules! laws {
    ($($module:ident::$law:ident: $seeds:literal,)*) => {$(
        #[test]
        fn $law() {
            (0..$seeds).for_each($module::$law);
        }
    )*};
}

laws! {
    causality::clocks_tell_what_happened_before: 500,
    siblings::values_disappear_only_if_replaced: 500,
    timekeeping::the_acceptance_numbers_are_met: 10,
    timekeeping::fewer_than_half_are_outvoted: 4,
    timekeeping::liars_near_the_truth_do_not_push_it_out: 4,
    timekeeping::half_or_more_are_refused: 4,
    timekeeping::queues_on_one_way_do_little_harm: 4,
    timekeeping::unequal_ways_are_within_the_bound: 4,
    timekeeping::loss_duplicates_and_replays_do_no_harm: 4,
    timekeeping::the_bound_grows_while_nobody_answers: 4,
    timekeeping::an_oscillator_beyond_its_bound_is_not_trusted: 4,
    timekeeping::the_bound_holds_in_any_world: 100,
}

/// The positive control: what no clock can survive must be seen to fail.
#[test]
#[should_panic(expected = "T1: the true time is not within")]
fn one_trusted_source_that_lies_is_believed() {
    timekeeping::one_trusted_source_that_lies_is_believed(0);
}
