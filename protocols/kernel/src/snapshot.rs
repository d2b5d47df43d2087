//! State images cut into chunks and put together again.
//!
//! A snapshot lies in the journal as ordinary records and travels as ordinary messages, chunk by chunk: it has the same
//! checksums, gate and recovery as everything else, and needs no files of its own.

use bytes::{Bytes, BytesMut};

use crate::limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};
use crate::wire::{Reader, Sink, Wire, WireError, put_bytes};
use crate::{Index, Term};

/// The state after applying everything up to `index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry in the image.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The state machine's image.
    pub image: Bytes,
}

impl Snapshot {
    /// Its chunks in order; an empty image has one.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        (0..self.image.len().max(1)).step_by(SNAPSHOT_CHUNK_BYTES).map(|offset| self.chunk(offset))
    }

    /// The chunk that begins at `offset`, which must not lie past the end.
    #[must_use]
    pub fn chunk(&self, offset: usize) -> Chunk {
        let end = self.image.len().min(offset + SNAPSHOT_CHUNK_BYTES);
        Chunk {
            index: self.index,
            term: self.term,
            offset: offset as u64,
            total_bytes: self.image.len() as u64,
            bytes: self.image.slice(offset..end),
        }
    }
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The last entry in the image.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// Where in the image this piece begins.
    pub offset: u64,
    /// Bytes of the whole image.
    pub total_bytes: u64,
    /// The piece.
    pub bytes: Bytes,
}

impl Chunk {
    /// Where the next piece begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl Wire for Chunk {
    fn encode(&self, sink: &mut impl Sink) {
        self.index.encode(sink);
        self.term.encode(sink);
        self.offset.encode(sink);
        self.total_bytes.encode(sink);
        put_bytes(sink, &self.bytes);
    }

    fn decode(reader: &mut Reader) -> Result<Self, WireError> {
        let chunk = Self {
            index: Index::decode(reader)?,
            term: Term::decode(reader)?,
            offset: u64::decode(reader)?,
            total_bytes: u64::decode(reader)?,
            bytes: reader.take_bytes("snapshot chunk", SNAPSHOT_CHUNK_BYTES)?,
        };
        if chunk.total_bytes > SNAPSHOT_BYTES_MAX as u64 {
            return Err(WireError::Invalid { what: "snapshot size", value: chunk.total_bytes });
        }
        let room = chunk.total_bytes.checked_sub(chunk.bytes.len() as u64);
        if room.is_none_or(|room| chunk.offset > room) {
            return Err(WireError::Invalid { what: "snapshot chunk offset", value: chunk.offset });
        }
        Ok(chunk)
    }
}

/// Puts chunks together again, in order; anything out of order is left out and can be asked for again.
#[derive(Debug, Default)]
pub struct Assembly {
    target: Option<(Index, Term, u64)>,
    image: BytesMut,
}

impl Assembly {
    /// Takes a chunk in; the whole snapshot if it was the last. A chunk at offset 0 begins anew.
    pub fn add(&mut self, chunk: &Chunk) -> Option<Snapshot> {
        let target = (chunk.index, chunk.term, chunk.total_bytes);
        if chunk.offset == 0 {
            self.target = Some(target);
            self.image.clear();
        }
        if self.target != Some(target) || self.image.len() as u64 != chunk.offset {
            return None;
        }
        self.image.extend_from_slice(&chunk.bytes);
        if chunk.end() < chunk.total_bytes {
            return None;
        }
        self.target = None;
        Some(Snapshot {
            index: chunk.index,
            term: chunk.term,
            image: std::mem::take(&mut self.image).freeze(),
        })
    }

    /// Whether that chunk has been taken in already: where chunks may come twice, the first one must not begin anew.
    #[must_use]
    pub fn has(&self, chunk: &Chunk) -> bool {
        self.target == Some((chunk.index, chunk.term, chunk.total_bytes))
            && chunk.end() <= self.image.len() as u64
    }

    /// How much of the snapshot that ends with `index` at `term` is here, in bytes.
    #[must_use]
    pub fn have_bytes(&self, index: Index, term: Term) -> u64 {
        match self.target {
            Some((i, t, _)) if (i, t) == (index, term) => self.image.len() as u64,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_make_the_snapshot_again() {
        for bytes in [0, 1, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES + 1, 3 * SNAPSHOT_CHUNK_BYTES] {
            let image: Bytes = (0..bytes).map(|i| i as u8).collect();
            let snapshot = Snapshot { index: Index(9), term: Term(2), image };
            let mut assembly = Assembly::default();
            let mut whole = None;
            for chunk in snapshot.chunks() {
                assert_eq!(whole, None, "complete before the last chunk");
                let mut encoded = Vec::new();
                chunk.encode(&mut encoded);
                whole = assembly.add(&Chunk::decode_all(encoded.into()).unwrap());
            }
            assert_eq!(whole, Some(snapshot));
        }
    }

    #[test]
    fn a_gap_or_another_snapshot_is_left_out() {
        let image = Bytes::from(vec![7; 2 * SNAPSHOT_CHUNK_BYTES]);
        let snapshot = Snapshot { index: Index(9), term: Term(2), image };
        let mut assembly = Assembly::default();
        assert_eq!(assembly.add(&snapshot.chunk(SNAPSHOT_CHUNK_BYTES)), None);
        assert_eq!(assembly.add(&snapshot.chunk(0)), None);
        let other = Snapshot { term: Term(3), ..snapshot.clone() };
        assert_eq!(assembly.add(&other.chunk(SNAPSHOT_CHUNK_BYTES)), None);
        assert!(assembly.has(&snapshot.chunk(0)) && !assembly.has(&snapshot.chunk(SNAPSHOT_CHUNK_BYTES)));
        assert!(!assembly.has(&other.chunk(0)));
        assert_eq!(assembly.have_bytes(Index(9), Term(2)), SNAPSHOT_CHUNK_BYTES as u64);
        assert_eq!(assembly.add(&snapshot.chunk(SNAPSHOT_CHUNK_BYTES)), Some(snapshot));
    }
}
