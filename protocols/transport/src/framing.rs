//! Frames on a stream: a little-endian `u32` length, then that many bytes.

use bytes::{Buf, Bytes, BytesMut};
use qlab_kernel::limits::FRAME_BYTES_MAX;

/// Bytes of the length before each frame.
pub(crate) const HEADER_BYTES: usize = 4;

/// The sender broke the framing. Nothing after it can be understood: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes was announced; at most {FRAME_BYTES_MAX} are allowed")]
pub struct OversizedFrame {
    /// The length that was announced.
    pub bytes: usize,
}

/// Cuts a byte stream, in whatever pieces it arrives, into frames.
///
/// A frame within one piece is a slice of it; a frame across pieces is copied once into a buffer of exactly its size,
/// allocated only after its length was checked.
#[derive(Debug, Default)]
pub(crate) struct FrameDecoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Header { bytes: [u8; HEADER_BYTES], filled: usize },
    Payload { buffer: BytesMut, missing: usize },
}

impl Default for State {
    fn default() -> Self {
        Self::Header { bytes: [0; HEADER_BYTES], filled: 0 }
    }
}

impl FrameDecoder {
    /// Takes the next piece in and appends every frame that it completes.
    pub(crate) fn push(&mut self, mut piece: Bytes, frames: &mut Vec<Bytes>) -> Result<(), OversizedFrame> {
        while !piece.is_empty() {
            let frame = match &mut self.state {
                State::Header { bytes, filled: 0 } if piece.len() >= HEADER_BYTES => {
                    piece.copy_to_slice(bytes);
                    self.start(&mut piece)?
                }
                State::Header { bytes, filled } => {
                    let taken = piece.len().min(HEADER_BYTES - *filled);
                    piece.copy_to_slice(&mut bytes[*filled..*filled + taken]);
                    *filled += taken;
                    if *filled == HEADER_BYTES { self.start(&mut piece)? } else { None }
                }
                State::Payload { buffer, missing } => {
                    let taken = piece.len().min(*missing);
                    buffer.extend_from_slice(&piece.split_to(taken));
                    *missing -= taken;
                    if *missing == 0 { self.finish() } else { None }
                }
            };
            frames.extend(frame);
        }
        Ok(())
    }

    /// The header is complete: the frame itself if `piece` holds all of it.
    fn start(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, OversizedFrame> {
        let State::Header { bytes, .. } = std::mem::take(&mut self.state) else {
            unreachable!("a frame starts after its header only");
        };
        let bytes = u32::from_le_bytes(bytes) as usize;
        if bytes > FRAME_BYTES_MAX {
            return Err(OversizedFrame { bytes });
        }
        if bytes <= piece.len() {
            return Ok(Some(piece.split_to(bytes)));
        }
        self.state = State::Payload { buffer: BytesMut::with_capacity(bytes), missing: bytes };
        Ok(None)
    }

    fn finish(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.state) {
            State::Payload { buffer, .. } => Some(buffer.freeze()),
            State::Header { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream_of(frames: &[Vec<u8>]) -> Bytes {
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend((frame.len() as u32).to_le_bytes());
            stream.extend(frame);
        }
        stream.into()
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_yields_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..40),
        ) {
            let mut stream = stream_of(&frames);
            let mut decoder = FrameDecoder::default();
            let mut decoded = Vec::new();
            for cut in cuts.iter().cycle() {
                if stream.is_empty() {
                    break;
                }
                decoder.push(stream.split_to(stream.len().min(*cut)), &mut decoded).unwrap();
            }
            prop_assert_eq!(decoded, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_yield_more_than_they_hold(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        ) {
            let mut decoder = FrameDecoder::default();
            let mut frames = Vec::new();
            let held: usize = pieces.iter().map(Vec::len).sum();
            let outcome = pieces.into_iter().try_for_each(|piece| decoder.push(piece.into(), &mut frames));
            prop_assert!(frames.iter().map(|frame| frame.len() + HEADER_BYTES).sum::<usize>() <= held);
            if let Err(OversizedFrame { bytes }) = outcome {
                prop_assert!(bytes > FRAME_BYTES_MAX);
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_allocated() {
        let announced = |bytes: usize| Bytes::from((bytes as u32).to_le_bytes().to_vec());
        let mut frames = Vec::new();
        let bytes = FRAME_BYTES_MAX + 1;
        assert_eq!(
            FrameDecoder::default().push(announced(bytes), &mut frames),
            Err(OversizedFrame { bytes })
        );
        assert_eq!(FrameDecoder::default().push(announced(FRAME_BYTES_MAX), &mut frames), Ok(()));
    }

    #[test]
    fn a_frame_within_one_piece_shares_its_memory() {
        let piece = stream_of(&[vec![7; 100]]);
        let mut frames = Vec::new();
        FrameDecoder::default().push(piece.clone(), &mut frames).unwrap();
        assert_eq!(frames[0].as_ptr(), piece[HEADER_BYTES..].as_ptr());
    }
}
