//! The set of configurations a search has been in.

/// A set of word sequences, kept exactly and without an allocation for each.
///
/// The sequences lie one after the other in one vector; the table of a fixed-step open addressing finds them by hash.
/// Fingerprints would take less room, but a collision could turn a legal history into a violation.
#[derive(Default)]
pub(crate) struct Configurations {
    words: Vec<u64>,
    /// Where each sequence starts, with its hash so that the table can grow without reading them all.
    entries: Vec<Entry>,
    /// One more than the number of an entry, or 0; a power of two of places, at most half of them taken.
    places: Vec<u32>,
}

struct Entry {
    start: usize,
    hash: u64,
}

/// The places of the smallest table.
const PLACES_MIN: usize = 64;

impl Configurations {
    /// Adds `words`; false if they were in the set before.
    pub(crate) fn insert(&mut self, words: &[u64]) -> bool {
        if self.places.len() < 2 * (self.entries.len() + 1) {
            self.grow();
        }
        let hash = hash(words);
        let mut place = self.home(hash);
        while let Some(number) = self.places[place].checked_sub(1) {
            let number = number as usize;
            if self.entries[number].hash == hash && self.sequence(number) == words {
                return false;
            }
            place = (place + 1) & (self.places.len() - 1);
        }
        self.entries.push(Entry { start: self.words.len(), hash });
        self.words.extend_from_slice(words);
        self.places[place] =
            u32::try_from(self.entries.len()).expect("memory ends before 2³² configurations do");
        true
    }

    fn sequence(&self, number: usize) -> &[u64] {
        let end = self.entries.get(number + 1).map_or(self.words.len(), |next| next.start);
        &self.words[self.entries[number].start..end]
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    fn grow(&mut self) {
        let places = PLACES_MIN.max(2 * self.places.len());
        self.places.clear();
        self.places.resize(places, 0);
        for number in 0..self.entries.len() {
            let mut place = self.home(self.entries[number].hash);
            while self.places[place] != 0 {
                place = (place + 1) & (places - 1);
            }
            self.places[place] = number as u32 + 1;
        }
    }
}

/// Multiply and fold, word by word: the sequences come from this crate and not from an adversary.
fn hash(words: &[u64]) -> u64 {
    let fold = |hash: u64, word: &u64| {
        let product = u128::from(hash ^ word) * 0x9E37_79B9_7F4A_7C15;
        (product >> 64) as u64 ^ product as u64
    };
    words.iter().fold(words.len() as u64 ^ 0x243F_6A88_85A3_08D3, fold)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    #[test]
    fn it_agrees_with_the_standard_set() {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let (mut configurations, mut reference) = (Configurations::default(), HashSet::new());
        for _ in 0..20_000 {
            let length = random.random_range(0..4);
            let words: Vec<u64> = (0..length).map(|_| random.random_range(0..20)).collect();
            assert_eq!(configurations.insert(&words), reference.insert(words));
        }
    }
}
