//! Frames over one QUIC stream, either way.

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

use crate::counters::{Counters, Refused};
use crate::framing::{FrameDecoder, HEADER_BYTES, OversizedFrame};
use crate::outbox::{Load, Outbox};
use crate::tls::Plane;
use crate::tuning::CHUNKS_PER_READ;

/// Why one side closed a connection, as the other side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Done,
    WrongPlane,
    Overload,
    BadStream,
    BadFrame,
    OversizedFrame,
    SlowClient,
    Superseded,
}

impl CloseReason {
    pub(crate) fn close(self, connection: &quinn::Connection) {
        connection.close(self.code(), self.text().as_bytes());
    }

    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::WrongPlane => "this key may not speak this protocol here",
            Self::Overload => "too many clients",
            Self::BadStream => "a stream that means nothing",
            Self::BadFrame => "a frame that means nothing",
            Self::OversizedFrame => "a frame over the limit",
            Self::SlowClient => "answers were not read",
            Self::Superseded => "a newer connection took its place",
        }
    }
}

/// Why reading ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    #[error("the other side ended the stream")]
    Finished,
    #[error(transparent)]
    Lost(#[from] ReadError),
    #[error(transparent)]
    Oversized(#[from] OversizedFrame),
}

/// Takes frames off a stream, as many at a time as have arrived.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    decoder: FrameDecoder,
    chunks: [Bytes; CHUNKS_PER_READ],
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, decoder: FrameDecoder::default(), chunks: [const { Bytes::new() }; CHUNKS_PER_READ] }
    }

    /// Appends at least one frame, and every further one that has arrived with it, to `frames`. Cancel safe.
    pub(crate) async fn read(&mut self, frames: &mut Vec<Bytes>) -> Result<(), ReadEnd> {
        let before = frames.len();
        while frames.len() == before {
            let count = self.stream.read_chunks(&mut self.chunks).await?.ok_or(ReadEnd::Finished)?;
            for chunk in &mut self.chunks[..count] {
                self.decoder.push(std::mem::take(chunk), frames)?;
            }
        }
        Ok(())
    }
}

/// Closes and counts, if it was the other side that broke the rules.
pub(crate) fn punish(end: &ReadEnd, connection: &quinn::Connection, counters: &Counters) {
    if let ReadEnd::Oversized(frame) = end {
        tracing::warn!(remote = %connection.remote_address(), %frame, "connection cut off");
        counters.refused(Refused::OversizedFrame);
        CloseReason::OversizedFrame.close(connection);
    }
}

/// Writes whatever `outbox` is given, until it is closed.
pub(crate) async fn write_frames(
    mut stream: SendStream,
    outbox: &Outbox,
    plane: Plane,
    counters: &Counters,
) -> Result<(), WriteError> {
    let mut load = Load::default();
    while outbox.take(&mut load).await {
        stream.write_all_chunks(&mut load.pieces).await?;
        counters.sent(plane, load.frames, load.bytes);
    }
    Ok(())
}

/// Bytes that frames took on the wire.
pub(crate) fn wire_bytes(frames: &[Bytes]) -> usize {
    frames.iter().map(|frame| frame.len() + HEADER_BYTES).sum()
}
