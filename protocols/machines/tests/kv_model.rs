//! The store against a model so plain that it cannot be wrong, and its images.

use std::collections::BTreeMap;

use proptest::prelude::*;
use qlab_kernel::{Outcome, Reader};
use qlab_machines::kv::{ABSENT, APPENDED, DELETED, FOUND, MISMATCH, STORED, SWAPPED};
use qlab_machines::{Command, Kv, Machine};

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    CompareAndSet(Vec<u8>, Option<Vec<u8>>, Vec<u8>),
    Append(Vec<u8>, Vec<u8>),
}

impl Step {
    fn command(&self) -> Command<'_> {
        match self {
            Self::Put(key, value) => Command::Put { key, value },
            Self::Delete(key) => Command::Delete { key },
            Self::CompareAndSet(key, expected, value) => {
                Command::CompareAndSet { key, expected: expected.as_deref(), value }
            }
            Self::Append(key, value) => Command::Append { key, value },
        }
    }
}

/// Few keys and short values over few letters, so that comparisons succeed about as often as they fail.
fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(0_u8..2, 0..3);
    prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Step::Put(key, value)),
        bytes().prop_map(Step::Delete),
        (bytes(), prop::option::of(bytes()), bytes())
            .prop_map(|(k, old, new)| Step::CompareAndSet(k, old, new)),
        (bytes(), bytes()).prop_map(|(key, value)| Step::Append(key, value)),
    ]
}

#[derive(Default)]
struct Model {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    revision: u64,
}

impl Model {
    fn run(&mut self, step: &Step) -> (u8, u64) {
        let status = match step {
            Step::Put(key, value) => {
                self.values.insert(key.clone(), value.clone());
                STORED
            }
            Step::Delete(key) => match self.values.remove(key) {
                Some(_) => DELETED,
                None => return (ABSENT, 0),
            },
            Step::CompareAndSet(key, expected, value) => {
                if self.values.get(key) != expected.as_ref() {
                    return (MISMATCH, 0);
                }
                self.values.insert(key.clone(), value.clone());
                SWAPPED
            }
            Step::Append(key, value) => {
                let whole = self.values.entry(key.clone()).or_default();
                whole.extend(value);
                self.revision += 1;
                return (APPENDED, whole.len() as u64);
            }
        };
        self.revision += 1;
        (status, self.revision)
    }
}

fn encoded(command: &Command<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    command.encode(&mut bytes);
    bytes
}

fn image(store: &Kv) -> Vec<u8> {
    let mut image = Vec::new();
    store.snapshot(&mut image);
    image
}

fn restored(image: Vec<u8>) -> Kv {
    let mut reader = Reader::new(image.into());
    let store = Kv::restore(&mut reader).expect("an image that was just taken");
    reader.finish().expect("the store reads all it wrote");
    store
}

proptest! {
    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..200)) {
        let (mut store, mut model) = (Kv::default(), Model::default());
        for step in &steps {
            let Outcome { status, number } = store.apply(&encoded(&step.command()));
            prop_assert_eq!((status, number), model.run(step), "{:?}", step);
            let key = step.command().key();
            let get = encoded(&Command::Get { key });
            let found = store.query(&get);
            prop_assert_eq!(found.status, if model.values.contains_key(key) { FOUND } else { ABSENT });
            prop_assert_eq!(&found.bytes[..], model.values.get(key).map_or(&[][..], |value| value));
        }
        prop_assert_eq!(store.len(), model.values.len());
    }

    #[test]
    fn a_restored_store_is_the_store(steps in prop::collection::vec(step(), 0..100)) {
        let mut store = Kv::default();
        for step in &steps {
            store.apply(&encoded(&step.command()));
        }
        let copy = restored(image(&store));
        prop_assert_eq!(&copy, &store);
        prop_assert_eq!(image(&copy), image(&store));
    }

    #[test]
    fn no_bytes_make_the_store_panic(command in prop::collection::vec(0_u8..8, 0..40)) {
        let mut store = Kv::default();
        store.apply(&command);
        store.query(&command);
        if let Ok(store) = Kv::restore(&mut Reader::new(command.clone().into())) {
            prop_assert!(command.starts_with(&image(&store)));
        }
    }
}
