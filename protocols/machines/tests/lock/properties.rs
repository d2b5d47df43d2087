//! Lives chosen by chance.

use proptest::prelude::*;
use qlab_kernel::Reader;
use qlab_machines::{Locks, Machine};

use crate::clocks::{life_on_clocks, live_on_clocks, worst_clocks};
use crate::laws::{image, live, restored};
use crate::model::Model;
use crate::steps::life;

/// The state after a life.
fn lived(steps: &[crate::steps::Step]) -> Locks {
    let (mut locks, mut model) = (Locks::default(), Model::default());
    for step in steps {
        let mut value = [0];
        if let Some(command) = step.command(&model, locks.ticks(), &mut value) {
            locks.apply(&command.to_bytes());
            model.run(command);
        }
    }
    locks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_life_keeps_the_laws_and_is_the_models(steps in life()) {
        prop_assert_eq!(live(&steps), Ok(()));
    }

    #[test]
    fn no_belief_outlives_its_lease(life in life_on_clocks()) {
        prop_assert_eq!(live_on_clocks(&life), Ok(()));
    }
}

proptest! {
    #[test]
    fn a_restored_service_is_the_service(steps in life()) {
        let locks = lived(&steps);
        let copy = restored(&locks);
        prop_assert_eq!(&copy, &locks);
        prop_assert_eq!(image(&copy), image(&locks));
    }

    #[test]
    fn whatever_passes_for_an_image_is_one(steps in life(), flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..3)) {
        let mut bytes = image(&lived(&steps));
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        if let Ok(locks) = Locks::restore(&mut Reader::new(bytes.clone().into())) {
            prop_assert!(bytes.starts_with(&image(&locks)));
        }
    }

    #[test]
    fn no_bytes_make_the_service_panic(commands in prop::collection::vec(prop::collection::vec(0_u8..14, 0..28), 1..20)) {
        let mut locks = Locks::default();
        for command in commands {
            locks.apply(&command);
            locks.query(&command);
        }
    }
}

#[test]
fn on_the_worst_clocks_a_lease_ends_right_after_the_belief_in_it() {
    let tick_ns = 10_000;
    let (belief_ns, ended_ns) = worst_clocks(tick_ns);
    assert!(belief_ns <= ended_ns, "{belief_ns} {ended_ns}");
    assert!(ended_ns - belief_ns <= 3 * tick_ns, "{belief_ns} {ended_ns}");
}
