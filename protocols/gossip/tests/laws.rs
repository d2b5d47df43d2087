//! The laws of replicated objects, gossip and membership, on seeded worlds and histories.

mod common;

use common::laws::LAWS;

/// One test for each law, so that they run side by side.
macro_rules! laws {
    ($($test:ident: $law:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            let law = LAWS.iter().find(|law| law.name == $law).expect("a law of that name");
            for seed in 0..6 {
                (law.hold)(seed);
            }
        })*

        #[test]
        fn every_law_has_a_test() {
            assert_eq!(LAWS.map(|law| law.name), [$($law),*]);
        }
    };
}

laws! {
    merge_is_a_join: "C1 merge is a join",
    equal_deliveries_make_equal_bytes: "C2 equal deliveries, equal bytes",
    values_follow_the_specification: "C3 values follow the specification",
    no_dot_is_used_twice: "C4 no dot is used twice",
    encodings_are_canonical: "C5 encodings are canonical",
    the_deleted_stays_deleted: "C6 the deleted stays deleted",
    copies_follow_their_writer: "C6 copies follow their writer",
    copies_agree_without_their_writer: "C6 copies agree without their writer",
    only_its_owner_raises_an_incarnation: "S1 only its owner raises an incarnation",
    every_crashed_node_is_declared_dead: "S1 every crashed node is declared dead",
    the_living_object: "S1 the living object",
    gossip_converges: "S2 gossip converges",
    what_is_known_never_goes_back: "S3 what is known never goes back",
}
