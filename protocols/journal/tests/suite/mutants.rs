//! Seeded bugs, each with the invariant that it breaks and the test of this suite that notices.
//!
//! A mutant is on for a whole process, so each runs in one of its own: this very binary again, with one mutant and one test.
//! Without a mutant the same tests pass; they are the other tests of this run.

use std::process::Command;

/// Names the mutant to a process that is started for it.
const VARIABLE: &str = "QLAB_JOURNAL_MUTANT";

struct Seeded {
    mutant: &'static str,
    breaks: &'static str,
    killer: &'static str,
}

const SEEDED: [Seeded; 13] = [
    Seeded {
        mutant: "journal: checksum not over length",
        breaks: "damage before the last frame is an error",
        killer: "flips::every_flipped_bit_is_damage_or_free_space_or_costs_the_last_commit_alone",
    },
    Seeded {
        mutant: "journal: damage in the middle cut off",
        breaks: "damage before the last frame is an error",
        killer: "flips::every_flipped_bit_is_damage_or_free_space_or_costs_the_last_commit_alone",
    },
    Seeded {
        mutant: "journal: zeros taken for the end",
        breaks: "a lost write is an error",
        killer: "failing::a_lost_write_is_damage_unless_it_was_the_last",
    },
    Seeded {
        mutant: "journal: chain not checked",
        breaks: "a lost write is an error",
        killer: "failing::a_lost_write_is_damage_unless_it_was_the_last",
    },
    Seeded {
        mutant: "journal: place of a frame not checked",
        breaks: "reserved and recycled space holds no frames",
        killer: "crash::whatever_sectors_and_names_a_crash_loses_the_acknowledged_records_stay",
    },
    Seeded {
        mutant: "journal: torn tail not cut off",
        breaks: "a torn tail is cut off for good",
        killer: "damage::a_cut_off_tail_never_comes_back_and_its_number_is_given_again",
    },
    Seeded {
        mutant: "journal: failed sync retried",
        breaks: "a failed sync is final",
        killer: "failing::a_failed_sync_is_final_and_nothing_acknowledged_hangs_on_it",
    },
    Seeded {
        mutant: "journal: recovery trusts the cache",
        breaks: "what recovery returns is durable",
        killer: "failing::what_recovery_returns_after_a_failed_sync_is_on_the_disk_and_not_only_in_the_cache",
    },
    Seeded {
        mutant: "journal: recovery does not sync",
        breaks: "what recovery returns is durable",
        killer: "crash::what_recovery_returns_survives_a_crash_right_after_it",
    },
    Seeded {
        mutant: "journal: no directory sync",
        breaks: "a name is durable before its content counts",
        killer: "crash::whatever_sectors_and_names_a_crash_loses_the_acknowledged_records_stay",
    },
    Seeded {
        mutant: "journal: removals in any order",
        breaks: "a crash leaves no gap between segments",
        killer: "crash::no_crash_makes_a_journal_forget_its_numbering_or_leaves_a_gap_of_removed_segments",
    },
    Seeded {
        mutant: "journal: released before the commit that says so",
        breaks: "acknowledged records stay until a durable commit lets go of them",
        killer: "crash::no_crash_makes_a_journal_forget_its_numbering_or_leaves_a_gap_of_removed_segments",
    },
    Seeded {
        mutant: "journal: acknowledges before it commits",
        breaks: "what is acknowledged is durable",
        killer: "threads::what_is_reported_durable_survives_the_loss_of_power_at_that_very_moment",
    },
];

/// Switches on the mutant that this process was started for, if it was started for one.
pub(crate) fn arm() {
    if let Ok(name) = std::env::var(VARIABLE) {
        let seeded = SEEDED.iter().find(|seeded| seeded.mutant == name).expect("a mutant of the list above");
        qlab_kernel::mutants::activate(Some(seeded.mutant));
    }
}

#[test]
fn every_seeded_bug_is_caught_by_the_test_of_the_invariant_it_breaks() {
    for Seeded { mutant, breaks, killer } in SEEDED {
        let suite = std::env::current_exe().unwrap();
        let outcome = Command::new(suite).args(["--exact", killer]).env(VARIABLE, mutant).output().unwrap();
        let report = String::from_utf8_lossy(&outcome.stdout);
        assert!(report.contains("0 passed; 1 failed"), "{mutant:?} lives, though {breaks}, says {killer}");
    }
}
