//! How many replicas are enough.

/// How many replicas must answer, of those that hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// For a read, and before a write: R.
    pub read: usize,
    /// For a write, durably: W.
    pub write: usize,
}

/// Quorums that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// A quorum of nobody, or of more replicas than there are.
    #[error("a {quorum} quorum of {size} cannot be reached: it must be 1 to {replicas}")]
    Size {
        /// Which.
        quorum: &'static str,
        /// Its size.
        size: usize,
        /// How many there are.
        replicas: usize,
    },
    /// A read may miss what was written.
    #[error("read quorum {read} and write quorum {write} need not meet: their sum must be above {replicas}")]
    Disjoint {
        /// R.
        read: usize,
        /// W.
        write: usize,
        /// N.
        replicas: usize,
    },
}

impl Quorums {
    /// The smallest of equal size that meet.
    #[must_use]
    pub const fn majorities(replicas: usize) -> Self {
        Self { read: replicas / 2 + 1, write: replicas / 2 + 1 }
    }

    /// Those given, and for one that is not, the smallest that meets the other.
    #[must_use]
    pub fn given(read: Option<usize>, write: Option<usize>, replicas: usize) -> Self {
        let other = |size: usize| (replicas + 1).saturating_sub(size);
        match (read, write) {
            (Some(read), Some(write)) => Self { read, write },
            (Some(read), None) => Self { read, write: other(read) },
            (None, Some(write)) => Self { read: other(write), write },
            (None, None) => Self::majorities(replicas),
        }
    }

    /// Whether each can be reached.
    pub fn check_sizes(self, replicas: usize) -> Result<(), QuorumError> {
        for (quorum, size) in [("read", self.read), ("write", self.write)] {
            if !(1..=replicas).contains(&size) {
                return Err(QuorumError::Size { quorum, size, replicas });
            }
        }
        Ok(())
    }

    /// Whether each can be reached, and every read quorum shares a replica with every write quorum.
    pub fn check_meeting(self, replicas: usize) -> Result<(), QuorumError> {
        self.check_sizes(replicas)?;
        let Self { read, write } = self;
        if read + write > replicas { Ok(()) } else { Err(QuorumError::Disjoint { read, write, replicas }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities_meet_and_the_one_that_is_not_given_meets_the_other() {
        for replicas in 1..=9 {
            assert_eq!(Quorums::majorities(replicas).check_meeting(replicas), Ok(()));
            for size in 1..=replicas {
                assert_eq!(Quorums::given(Some(size), None, replicas).check_meeting(replicas), Ok(()));
                assert_eq!(Quorums::given(None, Some(size), replicas).check_meeting(replicas), Ok(()));
            }
        }
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let quorums = |read, write| Quorums { read, write };
        assert_eq!(
            quorums(1, 2).check_meeting(3),
            Err(QuorumError::Disjoint { read: 1, write: 2, replicas: 3 })
        );
        assert!(matches!(quorums(0, 3).check_meeting(3), Err(QuorumError::Size { quorum: "read", .. })));
        assert!(matches!(quorums(1, 4).check_sizes(3), Err(QuorumError::Size { quorum: "write", .. })));
    }
}
