//! When to write everything anew, so that the journal can let go of what made it so.

use qlab_kernel::Lsn;

/// Bytes of one record of what is written anew, or one item.
pub(crate) const RECORD_BYTES: usize = 256 << 10;

/// How far everything has been written anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewriting {
    /// Bytes of records since the last time.
    log_bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// From this record on, and up to this place.
    UnderWay { from: Lsn, next: usize },
    /// All is written, from one record to another.
    Written { from: Lsn, last: Lsn },
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write what is not in the table, and call [`Rewriting::begun`].
    Begin,
    /// Write some places from this one on, and call [`Rewriting::wrote`].
    Write { next: usize },
    /// Let go of every record before this one.
    Release { from: Lsn },
}

impl Rewriting {
    /// So many bytes of records were written.
    pub(crate) fn grew(&mut self, bytes: usize) {
        self.log_bytes += bytes;
    }

    /// What is to be done now, if anything. What is written anew is in proportion to what was written since.
    pub(crate) fn task(&mut self, due_bytes: usize, durable: Lsn) -> Option<Task> {
        match self.stage {
            Stage::Idle => (self.log_bytes >= due_bytes).then_some(Task::Begin),
            Stage::UnderWay { next, .. } => Some(Task::Write { next }),
            Stage::Written { from, last } if last <= durable => {
                self.stage = Stage::Idle;
                Some(Task::Release { from })
            }
            Stage::Written { .. } => None,
        }
    }

    /// The first record of it is written.
    pub(crate) fn begun(&mut self, from: Lsn) {
        *self = Self { log_bytes: 0, stage: Stage::UnderWay { from, next: 0 } };
    }

    /// All places before `next` are written, the last one in the record `last`. Those taken since they began are written as they
    /// change.
    pub(crate) fn wrote(&mut self, next: usize, len: usize, last: Lsn) {
        if let Stage::UnderWay { from, .. } = self.stage {
            self.stage =
                if next < len { Stage::UnderWay { from, next } } else { Stage::Written { from, last } };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_written_before_anything_is_let_go() {
        let mut rewriting = Rewriting::default();
        rewriting.grew(9);
        assert_eq!(rewriting.task(10, Lsn(5)), None);
        rewriting.grew(1);
        assert_eq!(rewriting.task(10, Lsn(5)), Some(Task::Begin));
        rewriting.begun(Lsn(6));
        assert_eq!(rewriting.task(10, Lsn(5)), Some(Task::Write { next: 0 }));
        rewriting.wrote(2, 3, Lsn(7));
        assert_eq!(rewriting.task(10, Lsn(5)), Some(Task::Write { next: 2 }));
        rewriting.wrote(3, 3, Lsn(8));
        assert_eq!(rewriting.task(10, Lsn(7)), None, "it is not durable yet");
        assert_eq!(rewriting.task(10, Lsn(8)), Some(Task::Release { from: Lsn(6) }));
        assert_eq!(rewriting.task(10, Lsn(8)), None);
    }
}
