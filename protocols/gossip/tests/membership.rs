//! How often SWIM errs.

mod common;

use common::membership::{Errors, errors, expected_unanswered};
use common::statistics::{Z_999, wilson};

#[test]
fn probes_of_the_living_fail_as_often_as_expected() {
    let Errors { probes, unanswered, .. } = errors(50, 10, 100, 1);
    let (low, high) = wilson(unanswered, probes, Z_999);
    let expected = expected_unanswered(10, 3);
    assert!(low <= expected && expected <= high, "{unanswered} of {probes}: not {expected}");
}

#[test]
fn the_living_are_hardly_ever_declared_dead() {
    let Errors { probes, declared_dead, .. } = errors(50, 20, 100, 1);
    let (_, high) = wilson(declared_dead, probes, Z_999);
    assert!(high < 0.01, "{declared_dead} of {probes}");
}

#[test]
fn without_losses_nobody_is_suspected() {
    let Errors { probes, unanswered, declared_dead } = errors(20, 0, 50, 1);
    assert!(probes >= 20 * 49);
    assert_eq!((unanswered, declared_dead), (0, 0));
}
