//! Commands into bursts, bursts into batches, without an allocation per command.

use bytes::BytesMut;
use qlab_kernel::batch::BURST_HEADER_BYTES;
use qlab_kernel::limits::BATCH_BYTES_MAX;
use qlab_kernel::{Batch, BatchBuilder, Sequence, SessionId};
use qlab_machines::Command;

use super::lane::Op;
use crate::history::{ABSENT, KEY_BYTES, Kind, key_bytes};
use crate::sightings::Contexts;
use crate::values::Values;

/// Packs the commands of one connection, of one kind, until the batch is full or taken.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    builder: BatchBuilder,
    /// The burst that is open, and the number it can go on with.
    burst: Option<(SessionId, Sequence)>,
}

impl Packer {
    /// Adds the opening of a session; returns the batch before it if that was full.
    pub(crate) fn open(&mut self, session: SessionId) -> Option<Batch> {
        let full = self.make_room(0);
        self.builder.begin(session, Sequence::ZERO, Sequence::ZERO);
        self.burst = None;
        full
    }

    /// Adds a command of `len` bytes; returns the batch before it if that was full.
    pub(crate) fn push(
        &mut self,
        session: SessionId,
        number: Sequence,
        settled: Sequence,
        len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Option<Batch> {
        let full = self.make_room(4 + len);
        if self.burst != Some((session, number)) {
            self.builder.begin(session, number, settled);
        }
        self.builder.push(len, write);
        self.burst = Some((session, number.next()));
        full
    }

    /// Everything packed since the last batch, if anything.
    pub(crate) fn finish(&mut self) -> Option<Batch> {
        self.burst = None;
        (!self.builder.is_empty()).then(|| self.builder.finish())
    }

    fn make_room(&mut self, body_bytes: usize) -> Option<Batch> {
        let fits = self.builder.len() + BURST_HEADER_BYTES + body_bytes <= BATCH_BYTES_MAX;
        if fits { None } else { self.finish() }
    }
}

/// Writes the commands that operations stand for: nothing but numbers is kept of them for a retry.
#[derive(Debug)]
pub(crate) struct Scribe {
    values: Values,
    key: [u8; KEY_BYTES],
    value: Vec<u8>,
    expected: Vec<u8>,
    update: Vec<u8>,
    /// What was read, where writes say that.
    pub(crate) contexts: Option<Contexts>,
}

impl Scribe {
    pub(crate) fn new(values: Values, contexts: Option<Contexts>) -> Self {
        let (key, value, expected, update) = ([0; KEY_BYTES], Vec::new(), Vec::new(), Vec::new());
        Self { values, key, value, expected, update, contexts }
    }

    /// The present command of an operation.
    pub(crate) fn command(&mut self, op: &Op) -> Command<'_> {
        self.key = key_bytes(op.key);
        if op.kind == Kind::Get {
            return Command::Get { key: &self.key };
        }
        self.value.clear();
        self.values.write(op.value, &mut self.value);
        if let Some(contexts) = &mut self.contexts {
            self.update.clear();
            contexts.update(op.key, op.value, &self.value, &mut self.update);
            return Command::Put { key: &self.key, value: &self.update };
        }
        if op.kind == Kind::Put {
            return Command::Put { key: &self.key, value: &self.value };
        }
        self.expected.clear();
        if op.expected != ABSENT {
            self.values.write(op.expected, &mut self.expected);
        }
        let expected = (op.expected != ABSENT).then_some(&self.expected[..]);
        Command::CompareAndSet { key: &self.key, expected, value: &self.value }
    }
}
