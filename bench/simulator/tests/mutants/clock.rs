//! Clocks that follow others. One source that is trusted alone is a positive control, too, as nobody needs a bug for that.

use qlab_clocks::sync::Clock;

use super::{Mutant, mutant};

pub(crate) const MUTANTS: &[Mutant<Clock>] = &[
    mutant("exchange: wrong sign on T3 − T4", &["T1", "L"]),
    mutant("served clock: stepped instead of slewed", &["T2"]),
    mutant("select: a single source is trusted", &["T1", "L"]),
    mutant("synchroniser: the nonce is not checked", &["T1", "panic"])
        .under("duplicate,replay,delay,loss")
        .within(1_000),
];
