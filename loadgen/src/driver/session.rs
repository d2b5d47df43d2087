//! A client's session: its two lanes, whether it is open, and how long it holds back.

use std::time::Duration;

use qlab_kernel::SessionId;
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::lane::Lane;
use super::nanoseconds;

/// The first pause after a refusal.
const BACKOFF_MIN: Duration = Duration::from_millis(1);
/// The longest pause: far below an election.
const BACKOFF_MAX: Duration = Duration::from_millis(64);

/// How far the opening of a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// To be asked for.
    Wanted,
    /// Asked for at this moment.
    Asked { at_ns: u64 },
    /// Done: commands may go.
    Open,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    /// The connection it speaks over.
    pub(crate) link: usize,
    pub(crate) opening: Opening,
    pub(crate) writes: Lane,
    pub(crate) reads: Lane,
    /// When parked commands may be sent again, if there are any.
    pub(crate) again_at_ns: Option<u64>,
    /// Whether it stands in its connection's list of those that have something to send.
    pub(crate) dirty: bool,
    /// Pauses since the last answer.
    pub(crate) pauses: u32,
}

impl Session {
    pub(crate) fn new(client: u16, link: usize, number: usize, rng: &mut Pcg64Mcg) -> Self {
        Self {
            link,
            opening: Opening::Wanted,
            writes: Lane::new(draw_id(client, number, LaneKind::Writes, rng)),
            reads: Lane::new(draw_id(client, number, LaneKind::Reads, rng)),
            again_at_ns: None,
            dirty: false,
            pauses: 0,
        }
    }

    /// The lane with this id; `None` if it is an id of the past.
    pub(crate) fn lane(&mut self, id: SessionId) -> Option<&mut Lane> {
        let lane = match kind_of(id) {
            LaneKind::Writes => &mut self.writes,
            LaneKind::Reads => &mut self.reads,
        };
        (lane.id() == id).then_some(lane)
    }

    /// Whether both lanes take another operation without more than `window` slots in use.
    pub(crate) fn has_room(&self, window: usize) -> bool {
        self.writes.len() < window && self.reads.len() < window
    }

    /// Holds parked commands back, for longer with each refusal in a row; until when.
    pub(crate) fn pause(&mut self, now_ns: u64) -> u64 {
        *self.again_at_ns.get_or_insert_with(|| {
            self.pauses += 1;
            now_ns + backoff_ns(self.pauses - 1)
        })
    }

    /// Starts over under a new id: the replicas do not know the old one any more, or one may know it that is not asked again. What
    /// was sent must have been lost before.
    pub(crate) fn renew(&mut self, number: usize, rng: &mut Pcg64Mcg) {
        let client = self.writes.id().owner();
        self.writes.renumber(draw_id(client, number, LaneKind::Writes, rng));
        self.opening = Opening::Wanted;
    }
}

/// The pause after so many in a row.
pub(crate) fn backoff_ns(pauses: u32) -> u64 {
    nanoseconds(BACKOFF_MIN.saturating_mul(1 << pauses.min(16)).min(BACKOFF_MAX))
}

/// What a lane's commands do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneKind {
    Writes,
    Reads,
}

const NUMBER_BITS: u32 = 12;

/// A random id whose lowest bits say which lane of which session it is: an answer finds its lane without a table.
fn draw_id(client: u16, number: usize, kind: LaneKind, rng: &mut Pcg64Mcg) -> SessionId {
    let lane = (number as u64) << 1 | u64::from(kind == LaneKind::Reads);
    SessionId::owned(client, rng.next_u64() << (NUMBER_BITS + 1) | lane)
}

/// The number of the session that an id names.
pub(crate) fn number_of(id: SessionId) -> usize {
    (id.0 >> 1) as usize & ((1 << NUMBER_BITS) - 1)
}

fn kind_of(id: SessionId) -> LaneKind {
    if id.0 & 1 == 0 { LaneKind::Writes } else { LaneKind::Reads }
}

const _: () = assert!(qlab_kernel::limits::SESSIONS_MAX <= 1 << NUMBER_BITS);
