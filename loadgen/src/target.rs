//! Where requests go: anything that takes frames and gives frames back.

use bytes::Bytes;
use qlab_kernel::{NodeId, Request};

use crate::driver::Retry;

/// What a target has to say.
#[derive(Clone, Debug)]
pub enum Event {
    /// A connection is up and takes requests. No frame of an earlier one with this number follows.
    Up {
        /// The connection's number.
        link: usize,
    },
    /// A connection broke. The target is connecting it again, to the next replica.
    Down {
        /// The connection's number.
        link: usize,
    },
    /// Answers came.
    Frame {
        /// The connection's number.
        link: usize,
        /// The answers.
        frame: Bytes,
    },
}

/// A system under load, as a number of connections to it.
pub trait Target {
    /// What may be done about commands without an answer.
    fn retry(&self) -> Retry;

    /// Number of connections. They are made by [`receive`](Self::receive) and announced by [`Event::Up`].
    fn links(&self) -> usize;

    /// Sends a request over a connection that is up. What cannot be sent is lost: the driver asks again.
    fn send(&mut self, link: usize, request: Request);

    /// Connects elsewhere: to `leader`, or to the next replica if nobody knows who leads. [`Event::Up`] follows, sooner or
    /// later: one that cannot be reached is given up for the next.
    fn redirect(&mut self, link: usize, leader: Option<NodeId>);

    /// Waits until there is something to say and appends it to `events`. Dropping the wait loses nothing.
    fn receive(&mut self, events: &mut Vec<Event>) -> impl Future<Output = ()>;
}
