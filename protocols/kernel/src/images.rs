//! Which image of the state a replica keeps, which one is coming in, and when to make the next.

use crate::snapshot::{Assembly, Chunk};
use crate::{Index, Lsn, Snapshot};

/// A replica's images. Where they lie in the journal, and what else must be written with them, is the protocol's to say.
#[derive(Debug, Default)]
pub struct Images {
    newest: Option<Snapshot>,
    incoming: Assembly,
    /// Bytes applied since the last image was asked for.
    log_bytes: usize,
    capturing: bool,
    /// Once the second record is durable, none before the first is needed.
    release: Option<(Lsn, Lsn)>,
}

impl Images {
    /// As found in the journal; the next image is made as if `log_bytes` had been applied since.
    #[must_use]
    pub fn recovered(newest: Option<Snapshot>, log_bytes: usize) -> Self {
        Self { newest, log_bytes, ..Self::default() }
    }

    /// The newest image.
    #[must_use]
    pub const fn newest(&self) -> Option<&Snapshot> {
        self.newest.as_ref()
    }

    /// Where the newest image ends; zero without one.
    #[must_use]
    pub fn index(&self) -> Index {
        self.newest.as_ref().map_or(Index::ZERO, |image| image.index)
    }

    /// So many more bytes were applied.
    pub fn log_grew(&mut self, bytes: usize) {
        self.log_bytes += bytes;
    }

    /// Whether it is time for an image; says so once.
    pub fn wants_image(&mut self, log_bytes_max: usize) -> bool {
        // One at a time, to the disk: one that replaces another on its way there would also put off what that sets free.
        let wanted = !self.capturing && self.release.is_none() && self.log_bytes >= log_bytes_max;
        if wanted {
            self.capturing = true;
            self.log_bytes = 0;
        }
        wanted
    }

    /// The image that was asked for has been made and ends with `index`; whether it is of use: one that reaches further may have
    /// come in meanwhile.
    pub fn captured(&mut self, index: Index) -> bool {
        self.capturing = false;
        index > self.index()
    }

    /// Takes a piece of a peer's image in; the image, if it was the last that was missing.
    pub fn receive(&mut self, chunk: &Chunk) -> Option<Snapshot> {
        if self.incoming.has(chunk) { None } else { self.incoming.add(chunk) }
    }

    /// Bytes that are here of the image that `chunk` is a piece of.
    #[must_use]
    pub fn have_bytes(&self, chunk: &Chunk) -> u64 {
        self.incoming.have_bytes(chunk.index, chunk.term)
    }

    /// This is the newest image from now on. Once `last` is durable, the journal needs nothing before `needed_from`.
    pub fn keep(&mut self, image: Snapshot, needed_from: Lsn, last: Lsn) {
        self.release = Some((needed_from, last));
        self.newest = Some(image);
    }

    /// The first record that is still needed, if that has just changed.
    pub fn release(&mut self, durable: Lsn) -> Option<Lsn> {
        let (needed_from, last) = self.release?;
        if last > durable {
            return None;
        }
        self.release = None;
        Some(needed_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Term;
    use bytes::Bytes;

    fn image(index: u64) -> Snapshot {
        Snapshot { index: Index(index), term: Term::ZERO, image: Bytes::from_static(b"state") }
    }

    #[test]
    fn one_image_is_made_at_a_time_and_the_next_after_it_is_durable() {
        let mut images = Images::default();
        images.log_grew(10);
        assert!(!images.wants_image(11) && images.wants_image(10) && !images.wants_image(0));
        assert!(images.captured(Index(3)));
        images.keep(image(3), Lsn(5), Lsn(7));
        images.log_grew(10);
        assert!(!images.wants_image(10), "the last one is not durable yet");
        assert_eq!(
            (images.release(Lsn(6)), images.release(Lsn(7)), images.release(Lsn(8))),
            (None, Some(Lsn(5)), None)
        );
        assert!(images.wants_image(10));
        assert!(!images.captured(Index(3)), "nothing new is in it");
    }

    #[test]
    fn a_piece_that_comes_twice_does_not_begin_anew() {
        let mut images = Images::default();
        let chunk = image(4).chunk(0);
        let part = Chunk { total_bytes: 9, ..chunk.clone() };
        assert_eq!(images.receive(&part), None);
        assert_eq!((images.receive(&part), images.have_bytes(&part)), (None, 5));
        assert_eq!(images.receive(&chunk), Some(image(4)), "another image begins anew");
    }
}
