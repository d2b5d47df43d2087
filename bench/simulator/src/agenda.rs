//! What happens next: a heap of small keys, and what they stand for beside it, so that sorting moves words and not messages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use qlab_kernel::Time;

/// Things in order of their times; a tie-breaker, drawn by whoever adds one, decides between those of the same moment.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    keys: BinaryHeap<Reverse<Key>>,
    things: Vec<Option<T>>,
    /// Places in `things` that are empty.
    free: Vec<usize>,
    added: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Time,
    tie: u32,
    number: u64,
    place: usize,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { keys: BinaryHeap::new(), things: Vec::new(), free: Vec::new(), added: 0 }
    }
}

impl<T> Agenda<T> {
    pub(crate) fn add(&mut self, at: Time, tie: u32, thing: T) {
        self.added += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            self.things.len() - 1
        });
        self.things[place] = Some(thing);
        self.keys.push(Reverse(Key { at, tie, number: self.added, place }));
    }

    /// The next thing up to `end`, with its time and its number in order of adding.
    pub(crate) fn next_until(&mut self, end: Time) -> Option<(Time, u64, T)> {
        let Reverse(key) = self.keys.peek().filter(|next| next.0.at <= end).copied()?;
        self.keys.pop();
        self.free.push(key.place);
        let thing = self.things[key.place].take().expect("a key stands for a thing until it is taken");
        Some((key.at, key.number, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_order_of_time_then_of_tie_and_places_are_used_again() {
        let mut agenda = Agenda::default();
        agenda.add(Time(2), 0, "second");
        agenda.add(Time(1), 9, "first, later");
        agenda.add(Time(1), 1, "first");
        assert_eq!(agenda.next_until(Time(0)), None);
        assert_eq!(agenda.next_until(Time(1)), Some((Time(1), 3, "first")));
        agenda.add(Time(3), 0, "third");
        assert_eq!(agenda.things.len(), 3);
        let rest: Vec<_> =
            std::iter::from_fn(|| agenda.next_until(Time(9))).map(|(_, _, thing)| thing).collect();
        assert_eq!(rest, ["first, later", "second", "third"]);
    }
}
