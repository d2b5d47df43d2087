//! Messages on their way, and the links that lose them.

use std::collections::BTreeSet;

use qlab_kernel::NodeId;

use super::command::Links;

/// Messages in flight at a time.
pub(crate) const MESSAGES_MAX: usize = 10_000;

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Letter<M> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// It stays where it is until it is released.
    pub(crate) is_held: bool,
    pub(crate) message: M,
}

/// Everything in flight, in the order sent.
#[derive(Debug)]
pub(crate) struct Flight<M> {
    letters: Vec<Letter<M>>,
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl<M> Default for Flight<M> {
    fn default() -> Self {
        Self { letters: Vec::new(), cut: BTreeSet::new() }
    }
}

impl<M: Clone> Flight<M> {
    /// Puts a message at the end, unless its link is cut.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, message: M) {
        if !self.cut.contains(&(from, to)) {
            self.letters.push(Letter { from, to, is_held: false, message });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Letter<M>> {
        self.letters.iter()
    }

    /// Whether there is more than a story may have.
    pub(crate) const fn is_too_much(&self) -> bool {
        self.letters.len() > MESSAGES_MAX
    }

    /// Takes these out.
    pub(crate) fn take(&mut self, which: impl Fn(&Letter<M>) -> bool) -> Vec<Letter<M>> {
        self.letters.extract_if(.., |letter| which(letter)).collect()
    }

    /// Adds a copy of each of these at the end, and keeps the copies back.
    pub(crate) fn duplicate(&mut self, which: impl Fn(&Letter<M>) -> bool) -> usize {
        let copies: Vec<_> = self.letters.iter().filter(|letter| which(letter)).cloned().collect();
        let count = copies.len();
        self.letters.extend(copies.into_iter().map(|copy| Letter { is_held: true, ..copy }));
        count
    }

    /// Keeps these back, or no longer.
    pub(crate) fn hold(&mut self, is_held: bool, which: impl Fn(&Letter<M>) -> bool) -> usize {
        let mut count = 0;
        for letter in self.letters.iter_mut().filter(|letter| which(letter) && letter.is_held != is_held) {
            letter.is_held = is_held;
            count += 1;
        }
        self.lose_what_is_cut_off();
        count
    }

    /// Cuts all of these links between `nodes` replicas.
    pub(crate) fn cut(&mut self, nodes: u16, links: impl Fn(NodeId, NodeId) -> bool) {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (NodeId(from), NodeId(to))));
        self.cut.extend(pairs.filter(|(from, to)| links(*from, *to)));
        self.lose_what_is_cut_off();
    }

    pub(crate) fn mend(&mut self, links: &Links) {
        self.cut.retain(|(from, to)| !links.contain(*from, *to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    fn lose_what_is_cut_off(&mut self) {
        let cut = &self.cut;
        self.letters.retain(|letter| letter.is_held || !cut.contains(&(letter.from, letter.to)));
    }
}
