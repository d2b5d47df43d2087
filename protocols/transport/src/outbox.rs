//! Frames on their way out: encoded straight into the queue's buffer, large shared bytes kept by reference.

use std::sync::{Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use qlab_kernel::Sink;
use qlab_kernel::limits::FRAME_BYTES_MAX;
use tokio::sync::Notify;

use crate::framing::HEADER_BYTES;
use crate::tuning::{DATAGRAM_BLOCK_BYTES, OUTBOX_BLOCK_BYTES, SHARED_BYTES_MIN};

/// Why a frame was not queued. Protocols send again; the frame is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// There is no connection.
    #[error("not connected")]
    NotConnected,
    /// The queue holds its limit of bytes: the other side reads too slowly.
    #[error("queue full")]
    QueueFull,
    /// The frame exceeds [`FRAME_BYTES_MAX`], or what fits a datagram on this path: whoever encoded it is at fault.
    #[error("frame longer than {FRAME_BYTES_MAX} bytes, or than a datagram")]
    Oversized,
}

/// Where one frame is encoded.
///
/// Small bytes gather in the queue's buffer; shared bytes from 2 KiB (`SHARED_BYTES_MIN`) on are kept by reference.
#[derive(Debug)]
pub struct FrameSink<'a> {
    queue: &'a mut Queue,
    shared_bytes: usize,
}

impl Sink for FrameSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.queue.gathered.extend_from_slice(bytes);
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        self.shared_bytes += bytes.len();
        self.queue.shared.push((self.queue.gathered.len(), bytes.clone()));
    }
}

/// A bounded queue of frames between a host, which never waits, and one writer task, which does.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug)]
struct Queue {
    gathered: BytesMut,
    /// Shared bytes and the position in `gathered` before which they belong, ascending.
    shared: Vec<(usize, Bytes)>,
    frames: u64,
    bytes: usize,
    limit_bytes: usize,
    open: bool,
}

/// What a writer takes at once.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) frames: u64,
    pub(crate) bytes: usize,
}

impl Outbox {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let queue = Queue::new(limit_bytes, OUTBOX_BLOCK_BYTES);
        Self { queue: Mutex::new(queue), filled: Notify::new() }
    }

    /// Queues one frame, or nothing at all. Never waits.
    pub(crate) fn push(&self, encode: impl FnOnce(&mut FrameSink<'_>)) -> Result<(), Dropped> {
        let mut queue = self.lock();
        let was_empty = queue.bytes == 0;
        queue.push(encode)?;
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for frames and takes all of them; false once the queue is closed. One caller at a time.
    pub(crate) async fn take(&self, load: &mut Load) -> bool {
        loop {
            {
                let mut queue = self.lock();
                if queue.take(load) || !queue.open {
                    return queue.open;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Refuses frames from now on and forgets those it holds.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.open = false;
        queue.gathered = BytesMut::new();
        queue.shared = Vec::new();
        queue.frames = 0;
        queue.bytes = 0;
        drop(queue);
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("a host whose encoder panicked sends nothing more: half a frame lies in the queue")
    }
}

/// Encodes one frame by itself, without a length before it.
pub(crate) fn encode_alone(encode: impl FnOnce(&mut FrameSink<'_>)) -> Result<Bytes, Dropped> {
    let mut queue = Queue::new(usize::MAX, DATAGRAM_BLOCK_BYTES);
    queue.push(encode)?;
    let mut load = Load::default();
    queue.take(&mut load);
    let mut frame = match &mut load.pieces[..] {
        [frame] => std::mem::take(frame),
        pieces => pieces.concat().into(),
    };
    Ok(frame.split_off(HEADER_BYTES))
}

impl Queue {
    fn new(limit_bytes: usize, block_bytes: usize) -> Self {
        Self {
            gathered: BytesMut::with_capacity(block_bytes),
            shared: Vec::new(),
            frames: 0,
            bytes: 0,
            limit_bytes,
            open: true,
        }
    }

    fn push(&mut self, encode: impl FnOnce(&mut FrameSink<'_>)) -> Result<(), Dropped> {
        if !self.open {
            return Err(Dropped::NotConnected);
        }
        let (start, shared_before) = (self.gathered.len(), self.shared.len());
        self.gathered.extend_from_slice(&[0; HEADER_BYTES]);
        let mut sink = FrameSink { queue: self, shared_bytes: 0 };
        encode(&mut sink);
        let shared_bytes = sink.shared_bytes;
        let framed = self.gathered.len() - start + shared_bytes;
        let accepted = self.admit(framed);
        if let Err(dropped) = accepted {
            self.gathered.truncate(start);
            self.shared.truncate(shared_before);
            return Err(dropped);
        }
        let length = (framed - HEADER_BYTES) as u32;
        self.gathered[start..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
        self.bytes += framed;
        self.frames += 1;
        Ok(())
    }

    fn admit(&self, framed: usize) -> Result<(), Dropped> {
        if framed - HEADER_BYTES > FRAME_BYTES_MAX {
            Err(Dropped::Oversized)
        } else if self.bytes + framed > self.limit_bytes {
            Err(Dropped::QueueFull)
        } else {
            Ok(())
        }
    }

    /// Moves everything into `load`; false if there was nothing.
    fn take(&mut self, load: &mut Load) -> bool {
        load.pieces.clear();
        load.frames = std::mem::take(&mut self.frames);
        load.bytes = std::mem::take(&mut self.bytes);
        let mut taken = 0;
        for (position, bytes) in self.shared.drain(..) {
            load.pieces.push(self.gathered.split_to(position - taken).freeze());
            load.pieces.push(bytes);
            taken = position;
        }
        if !self.gathered.is_empty() {
            load.pieces.push(self.gathered.split().freeze());
        }
        load.frames > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::FrameDecoder;
    use proptest::prelude::*;

    fn drained(outbox: &Outbox) -> Load {
        let mut load = Load::default();
        outbox.lock().take(&mut load);
        load
    }

    proptest! {
        #[test]
        fn what_is_queued_is_what_a_decoder_reads(
            frames in prop::collection::vec(prop::collection::vec((any::<bool>(), 0_usize..5000), 0..4), 1..12),
        ) {
            let outbox = Outbox::new(usize::MAX);
            let mut expected = Vec::new();
            for (number, parts) in frames.iter().enumerate() {
                let parts: Vec<_> =
                    parts.iter().map(|(shared, len)| (*shared, Bytes::from(vec![number as u8; *len]))).collect();
                outbox.push(|sink| for (shared, bytes) in &parts {
                    if *shared { sink.put_shared(bytes) } else { sink.put(bytes) }
                }).unwrap();
                expected.push(parts.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect::<Vec<u8>>());
            }
            let load = drained(&outbox);
            prop_assert_eq!(load.bytes, load.pieces.iter().map(Bytes::len).sum::<usize>());
            prop_assert_eq!(load.frames, frames.len() as u64);
            let mut decoded = Vec::new();
            let mut decoder = FrameDecoder::default();
            for piece in load.pieces {
                decoder.push(piece, &mut decoded).unwrap();
            }
            prop_assert_eq!(decoded, expected);
        }
    }

    #[test]
    fn large_shared_bytes_are_not_copied_and_small_frames_share_one_piece() {
        let outbox = Outbox::new(1 << 20);
        let large = Bytes::from(vec![1; SHARED_BYTES_MIN]);
        outbox.push(|sink| sink.put_shared(&large)).unwrap();
        let load = drained(&outbox);
        assert_eq!(load.pieces[1].as_ptr(), large.as_ptr());
        for _ in 0..100 {
            outbox.push(|sink| sink.put(&[7; 10])).unwrap();
        }
        assert_eq!(drained(&outbox).pieces.len(), 1);
    }

    #[test]
    fn a_frame_by_itself_has_no_length_before_it() {
        let large = Bytes::from(vec![1; SHARED_BYTES_MIN]);
        let frame = encode_alone(|sink| {
            sink.put(&[7]);
            sink.put_shared(&large);
        });
        assert_eq!(frame.unwrap(), [&[7], &large[..]].concat());
        assert_eq!(encode_alone(|_| ()).unwrap(), Bytes::new());
    }

    #[test]
    fn a_frame_that_does_not_fit_leaves_no_trace() {
        let outbox = Outbox::new(100);
        outbox.push(|sink| sink.put(&[1; 50])).unwrap();
        assert_eq!(outbox.push(|sink| sink.put(&[2; 50])), Err(Dropped::QueueFull));
        assert_eq!(outbox.push(|sink| sink.put(&vec![3; FRAME_BYTES_MAX + 1])), Err(Dropped::Oversized));
        let load = drained(&outbox);
        assert_eq!((load.frames, load.bytes, load.pieces[0].len()), (1, 54, 54));
        outbox.close();
        assert_eq!(outbox.push(|sink| sink.put(&[4])), Err(Dropped::NotConnected));
    }
}
