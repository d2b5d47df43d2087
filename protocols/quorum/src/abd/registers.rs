//! What a replica holds under every key.

use std::collections::HashMap;

use bytes::Bytes;
use qlab_kernel::{Lsn, mutant};

use super::tag::{Tag, Version};

/// What a register weighs besides its key and value: about its share of the tables.
const REGISTER_BYTES: usize = 160;

/// One key.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    pub(crate) key: Bytes,
    pub(crate) version: Version,
    /// The record that holds it.
    pub(crate) lsn: Lsn,
}

impl Register {
    fn weight_bytes(&self) -> usize {
        REGISTER_BYTES + self.key.len() + self.version.value_bytes()
    }
}

/// Registers by key, and by place in order of appearance. One that was deleted stays: its tag must not be forgotten, or an older
/// value that some replica still holds would come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registers {
    // Keys are chosen by clients, so the map hashes them with a key of its own; it is asked, never walked.
    places: HashMap<Bytes, usize>,
    all: Vec<Register>,
    weight_bytes: usize,
}

impl Registers {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Register> {
        self.places.get(key).map(|place| &self.all[*place])
    }

    /// The tag of what is held; zero if that is nothing.
    pub(crate) fn tag(&self, key: &[u8]) -> Tag {
        self.get(key).map_or(Tag::ZERO, |register| register.version.tag)
    }

    /// Holds a version unless a later one is held; whether it does so from now on.
    pub(crate) fn hold(&mut self, key: &[u8], version: &Version) -> bool {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => self.add(key),
        };
        let register = &mut self.all[place];
        let is_later =
            mutant!(version.tag > register.version.tag, "abd: an older version takes a later one's place", {
                version.tag != register.version.tag
            });
        if is_later {
            self.weight_bytes -= register.weight_bytes();
            // A copy: the frame that a value came in must not live as long as the register.
            let value = version.value.as_ref().map(|value| Bytes::copy_from_slice(value));
            register.version = Version { tag: version.tag, value };
            self.weight_bytes += register.weight_bytes();
        }
        is_later
    }

    /// What is held under a key is in this record.
    pub(crate) fn set_lsn(&mut self, key: &[u8], lsn: Lsn) {
        if let Some(place) = self.places.get(key) {
            self.all[*place].lsn = lsn;
        }
    }

    /// What all of them weigh, in bytes.
    pub(crate) const fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All from a place on, in order of appearance.
    pub(crate) fn from(&self, place: usize) -> &[Register] {
        &self.all[place..]
    }

    fn add(&mut self, key: &[u8]) -> usize {
        let key = Bytes::copy_from_slice(key);
        let register = Register { key: key.clone(), version: Version::default(), lsn: Lsn::ZERO };
        self.weight_bytes += register.weight_bytes();
        self.all.push(register);
        self.places.insert(key, self.all.len() - 1);
        self.all.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qlab_kernel::NodeId;

    #[test]
    fn the_latest_version_stays_and_weights_follow() {
        let mut registers = Registers::default();
        let version = |timestamp, bytes| Version {
            tag: Tag { timestamp, writer: NodeId(1), incarnation: 1 },
            value: Some(vec![7; bytes].into()),
        };
        assert!(registers.hold(b"key", &version(2, 10)));
        assert!(!registers.hold(b"key", &version(1, 99)) && !registers.hold(b"key", &version(2, 10)));
        assert_eq!((registers.weight_bytes(), registers.len()), (REGISTER_BYTES + 13, 1));
        assert!(registers.hold(b"key", &Version { value: None, ..version(3, 0) }));
        assert_eq!((registers.weight_bytes(), registers.tag(b"key").timestamp), (REGISTER_BYTES + 3, 3));
    }
}
