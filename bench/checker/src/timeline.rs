//! What remains to be linearized, in real-time order.

use crate::operation::Operation;

/// The calls and returns not yet linearized, in real-time order, as linked lists: one of completed operations, one of the
/// calls of unknown ones.
///
/// Nodes: the call of operation i is i; the return of completed operation i is `operations + i`; then the two ends.
pub(crate) struct Timeline {
    next: Vec<u32>,
    previous: Vec<u32>,
    operations: u32,
    completed: u32,
}

/// What a node of the timeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The call of a completed operation.
    Call,
    /// The return of a completed operation.
    Return,
    /// The call of an operation of unknown outcome.
    UnknownCall,
    /// The end of a list.
    End,
}

impl Timeline {
    /// The timeline of operations, of which the first `completed` ones are completed.
    pub(crate) fn new(operations: &[Operation], completed: usize) -> Self {
        let (count, completed) = (operations.len() as u32, completed as u32);
        let end = count + completed;
        let nodes: Vec<u32> = (0..end + 2).collect();
        let mut timeline = Timeline { next: nodes.clone(), previous: nodes, operations: count, completed };
        for node in events(&operations[..completed as usize], count) {
            timeline.insert_before(end, node);
        }
        for node in completed..count {
            timeline.insert_before(end + 1, node);
        }
        timeline
    }

    fn insert_before(&mut self, end: u32, node: u32) {
        self.previous[node as usize] = self.previous[end as usize];
        self.next[node as usize] = end;
        self.link(node);
    }

    fn end(&self) -> u32 {
        self.operations + self.completed
    }

    /// What the node is.
    pub(crate) fn kind(&self, node: u32) -> Kind {
        match node {
            _ if node < self.completed => Kind::Call,
            _ if node < self.operations => Kind::UnknownCall,
            _ if node < self.end() => Kind::Return,
            _ => Kind::End,
        }
    }

    /// The first node of the completed operations.
    pub(crate) fn first(&self) -> u32 {
        self.after(self.end())
    }

    /// The first node of the unknown operations.
    pub(crate) fn first_unknown(&self) -> u32 {
        self.after(self.end() + 1)
    }

    /// The node after this one; of a lifted one, that after it when it was lifted.
    pub(crate) fn after(&self, node: u32) -> u32 {
        self.next[node as usize]
    }

    /// Where a walk over the completed operations goes on after `lifted` was lifted: lifting it may have taken away the
    /// node that it points to, but never the one before it.
    pub(crate) fn first_from(&self, lifted: u32) -> u32 {
        self.after(self.previous[lifted as usize])
    }

    /// The operation that returned first; there must be one.
    pub(crate) fn first_return(&self) -> u32 {
        let mut node = self.first();
        while self.kind(node) == Kind::Call {
            node = self.after(node);
        }
        node - self.operations
    }

    /// Whether every completed operation is linearized.
    pub(crate) fn is_finished(&self) -> bool {
        self.first() == self.end()
    }

    /// Takes the call and the return of an operation out.
    pub(crate) fn lift(&mut self, operation: u32) {
        self.unlink(operation);
        if operation < self.completed {
            self.unlink(self.operations + operation);
        }
    }

    /// Undoes the last lift that is not undone.
    pub(crate) fn put_back(&mut self, operation: u32) {
        if operation < self.completed {
            self.link(self.operations + operation);
        }
        self.link(operation);
    }

    fn unlink(&mut self, node: u32) {
        let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    fn link(&mut self, node: u32) {
        let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
        self.next[previous as usize] = node;
        self.previous[next as usize] = node;
    }
}

/// The calls and returns of completed operations in real-time order, as nodes; in one instant calls come first, because
/// intervals that touch are concurrent.
fn events(completed: &[Operation], returns_from: u32) -> impl Iterator<Item = u32> {
    let mut events = Vec::with_capacity(2 * completed.len());
    for (call, operation) in (0..).zip(completed) {
        events.push((operation.invoke_ns, call));
        events.push((operation.complete_ns, returns_from + call));
    }
    events.sort_unstable();
    events.into_iter().map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lifted_comes_back_in_its_place() {
        let done = |start, end| Operation::put(0, 0, 1).during(start, end);
        let operations = [done(0, 5), done(5, 7), done(6, 9), Operation::put(1, 0, 2).unknown_since(3)];
        let mut timeline = Timeline::new(&operations, 3);
        let walk = |timeline: &Timeline| {
            let after = |node: &u32| Some(timeline.after(*node));
            let is_inside = |node: &u32| timeline.kind(*node) != Kind::End;
            std::iter::successors(Some(timeline.first()), after).take_while(is_inside).collect::<Vec<u32>>()
        };
        assert_eq!(walk(&timeline), [0, 1, 4, 2, 5, 6], "the second call and the first return touch");
        timeline.lift(0);
        timeline.lift(1);
        assert_eq!(walk(&timeline), [2, 6]);
        assert_eq!((timeline.first_return(), timeline.first_unknown()), (2, 3));
        timeline.put_back(1);
        timeline.put_back(0);
        assert_eq!(walk(&timeline), [0, 1, 4, 2, 5, 6]);
    }
}
