//! G1: what the clients saw is linearizable, unknown outcomes included.

use qlab_checker::{History, Model, Options, check};

use super::{Verdict, broken};

const LAW: &str = "G1 linearizability";

/// Judges the history of a whole world, which ends with a read of every key.
pub(crate) fn judge(history: &History, model: Model) -> Verdict {
    let report = check(history, model, &Options::default()).expect("clients ask what the objects can do");
    match report.verdict {
        qlab_checker::Verdict::Valid => Ok(()),
        qlab_checker::Verdict::Invalid => {
            let witness = report.witness.map(|witness| witness.to_string()).unwrap_or_default();
            broken(LAW, format!("what clients saw is impossible; the smallest window:\n{witness}"))
        }
        qlab_checker::Verdict::Unknown => broken(LAW, "the judge's budget was spent"),
    }
}
