//! Answers at once, inside the process, through the very same frames: the ceiling of the generator.

use bytes::Bytes;
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::limits::FRAME_BYTES_MAX;
use qlab_kernel::{Batch, Index, NodeId, Outcome, Request, SessionId};
use qlab_machines::{Answers, Kv, Service, answers, kv};

use crate::driver::Retry;
use crate::target::{Event, Target};

/// Answers requests in place of a cluster.
pub trait Engine {
    /// Answers a request.
    fn answer(&mut self, request: &Request, answers: &mut impl Answers);
}

/// A real store, alone.
#[derive(Debug, Default)]
pub struct Store {
    service: Service<Kv>,
    last: Index,
}

impl Engine for Store {
    fn answer(&mut self, request: &Request, answers: &mut impl Answers) {
        match request {
            Request::Write(batch) => {
                self.last = self.last.next();
                self.service.apply(self.last, batch, answers);
            }
            Request::Read(batch) => self.service.query(batch, answers),
        }
    }
}

/// Nothing at all: every write is stored, every key absent. What remains is the cost of the generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOp;

impl Engine for NoOp {
    fn answer(&mut self, request: &Request, answers: &mut impl Answers) {
        match request {
            Request::Write(batch) => store_nothing(batch, answers),
            Request::Read(batch) => find_nothing(batch, answers),
        }
    }
}

fn store_nothing(batch: &Batch, answers: &mut impl Answers) {
    for burst in batch.bursts() {
        let (count, status) =
            if burst.opens_session() { (1, Outcome::OPENED) } else { (burst.count, kv::STORED) };
        let room = answers.room(burst.session, answers::outcomes_bytes(count as usize));
        let Some(answer) = room else { continue };
        answer.begin_written(burst.session, burst.first, Index::ZERO);
        (0..count).for_each(|_| answer.push_outcome(Outcome::of(status)));
    }
}

fn find_nothing(batch: &Batch, answers: &mut impl Answers) {
    for burst in batch.bursts() {
        let room = answers.room(burst.session, answers::value_bytes(0) * burst.count as usize);
        let Some(answer) = room else { continue };
        answer.begin_values(burst.session, burst.first, Index::ZERO);
        (0..burst.count).for_each(|_| answer.push_value(kv::ABSENT, &[]));
    }
}

/// A target inside the process.
#[derive(Debug)]
pub struct Memory<E> {
    engine: E,
    links: usize,
    frames: Frames,
    said: Vec<Event>,
}

impl<E: Engine> Memory<E> {
    /// A target of so many connections, all up from the start.
    #[must_use]
    pub fn new(engine: E, links: usize) -> Self {
        let said = (0..links).map(|link| Event::Up { link }).collect();
        Self { engine, links, frames: Frames::default(), said }
    }
}

impl<E: Engine> Target for Memory<E> {
    fn retry(&self) -> Retry {
        Retry::SameNumber
    }

    fn links(&self) -> usize {
        self.links
    }

    fn send(&mut self, link: usize, request: Request) {
        self.engine.answer(&request, &mut self.frames);
        self.said.extend(self.frames.take().map(|frame| Event::Frame { link, frame }));
    }

    fn redirect(&mut self, link: usize, _: Option<NodeId>) {
        self.said.push(Event::Up { link });
    }

    async fn receive(&mut self, events: &mut Vec<Event>) {
        if self.said.is_empty() {
            std::future::pending::<()>().await;
        }
        events.append(&mut self.said);
    }
}

/// Answers to one connection, cut into frames.
#[derive(Debug, Default)]
pub struct Frames {
    builder: AnswerBuilder,
    full: Vec<Bytes>,
}

impl Frames {
    /// Takes the frames packed so far.
    pub fn take(&mut self) -> impl Iterator<Item = Bytes> {
        if !self.builder.is_empty() {
            self.full.push(self.builder.finish());
        }
        self.full.drain(..)
    }
}

impl Answers for Frames {
    fn room(&mut self, _: SessionId, bytes: usize) -> Option<&mut AnswerBuilder> {
        if self.builder.len() + bytes > FRAME_BYTES_MAX {
            self.full.push(self.builder.finish());
        }
        Some(&mut self.builder)
    }
}
