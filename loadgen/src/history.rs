//! Every operation of a run, for the judges: warm-up, preload and verification included.

/// The value id of "no such key".
pub const ABSENT: u64 = u64::MAX;
/// The value id of a value that no generator wrote: whoever finds it in a history has found a fault, or a store that was not
/// empty.
pub const FOREIGN: u64 = u64::MAX - 1;
/// The completion time of an operation whose outcome nobody will ever know.
pub const NEVER: u64 = u64::MAX;
/// Bytes of a key in commands: its number as hexadecimal digits.
pub const KEY_BYTES: usize = 8;
/// Operations that one history holds (3 GiB); later ones are only counted.
pub const HISTORY_OPERATIONS_MAX: usize = 64 << 20;

/// One chunk is 3 MiB: small enough never to stall the generator, large enough not to matter.
const CHUNK_OPERATIONS: usize = 64 << 10;

/// What was asked of the key-value store, or of the lock service. Of the latter's operations a history holds acquisitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Read a key.
    Get,
    /// Store a value.
    Put,
    /// Store a value if the present one is as expected.
    CompareAndSet,
    /// Open an owner of locks.
    Open,
    /// Renew an owner's lease.
    Renew,
    /// Take a lock, or a place in its queue.
    Acquire,
    /// Ask what has become of that.
    Await,
    /// Give a lock back.
    Release,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum End {
    /// It was answered and took effect.
    Ok,
    /// A compare-and-set found another value: answered, no effect.
    Mismatch,
    /// It was answered with an error: certainly no effect.
    Failed,
    /// No answer: it may have taken effect, may yet, or never will.
    Unknown,
}

/// One operation. Times are nanoseconds of the host's monotonic clock and enclose the effect: the clock was read before the
/// request was packed and after its answer had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was first sent.
    pub sent_ns: u64,
    /// When its answer was there; [`NEVER`] if it is unknown.
    pub completed_ns: u64,
    /// The id of the value written or read; [`ABSENT`] for a key that was not there and for a get that did not end well,
    /// [`FOREIGN`] for bytes of somebody else's. Of an acquisition, its token.
    pub value: u64,
    /// The id of the value that a compare-and-set expects, or [`ABSENT`]. Of an acquisition, until when its holder relied on it.
    /// 0 otherwise.
    pub expected: u64,
    /// The key's or the lock's number.
    pub key: u32,
    /// Who asked: a number that has one operation at a time, and none after an unknown one.
    pub process: u32,
    /// What was asked.
    pub kind: Kind,
    /// How it ended.
    pub end: End,
}

/// Operations in the order in which they ended.
#[derive(Debug, Default)]
pub struct History {
    chunks: Vec<Vec<Operation>>,
    len: usize,
    overflowed: u64,
}

impl History {
    /// Adds an operation; past [`HISTORY_OPERATIONS_MAX`] only counts it.
    pub fn push(&mut self, operation: Operation) {
        if self.len == HISTORY_OPERATIONS_MAX {
            self.overflowed += 1;
            return;
        }
        if self.len.is_multiple_of(CHUNK_OPERATIONS) {
            self.chunks.push(Vec::with_capacity(CHUNK_OPERATIONS));
        }
        self.chunks.last_mut().expect("the first operation made the first chunk").push(operation);
        self.len += 1;
    }

    /// The operations in the order in which they ended.
    pub fn iter(&self) -> impl Iterator<Item = &Operation> {
        self.chunks.iter().flatten()
    }

    /// Number of operations held.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Operations that found it full. A history with any cannot be judged.
    #[must_use]
    pub const fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

/// The key with this number, as commands carry it: eight hexadecimal digits.
#[must_use]
pub fn key_bytes(key: u32) -> [u8; KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(key >> (4 * (KEY_BYTES - 1 - at))) as usize & 15])
}

/// Numbers for processes: one operation at a time each, none after an unknown one.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    free: Vec<u32>,
    next: u32,
}

impl Processes {
    /// A process that waits for nothing.
    pub(crate) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes a process back whose operation has ended for certain.
    pub(crate) fn give_back(&mut self, process: u32) {
        self.free.push(process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(value: u64) -> Operation {
        let (sent_ns, completed_ns, expected) = (value, value + 1, 0);
        Operation {
            sent_ns,
            completed_ns,
            value,
            expected,
            key: 0,
            process: 0,
            kind: Kind::Put,
            end: End::Ok,
        }
    }

    #[test]
    fn operations_come_back_in_order_across_chunks() {
        let mut history = History::default();
        let count = 2 * CHUNK_OPERATIONS as u64 + 1;
        (0..count).for_each(|value| history.push(operation(value)));
        assert_eq!(history.len() as u64, count);
        assert!(history.iter().map(|operation| operation.value).eq(0..count));
        assert_eq!(history.overflowed(), 0);
    }

    #[test]
    fn an_operation_is_small() {
        assert!(size_of::<Operation>() <= 48);
    }

    #[test]
    fn keys_are_hexadecimal_numbers() {
        assert_eq!(&key_bytes(0), b"00000000");
        assert_eq!(&key_bytes(0xdead_beef), b"deadbeef");
    }

    #[test]
    fn a_process_is_free_again_only_when_given_back() {
        let mut processes = Processes::default();
        assert_eq!([processes.take(), processes.take(), processes.take()], [0, 1, 2]);
        processes.give_back(1);
        assert_eq!([processes.take(), processes.take()], [1, 3]);
    }
}
