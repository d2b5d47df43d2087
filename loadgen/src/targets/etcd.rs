//! etcd 3 over gRPC: the peer that everybody knows.
//!
//! Every command is a stream of its own on one of a few HTTP/2 connections, as etcd's own clients have it. etcd executes what
//! it is sent as often as it is sent it, so writes without an answer are never sent again: their outcome is unknown. So is
//! that of a write that etcd answers with an error, unless the error says that it was not taken; such answers are left out and
//! the command is given up when its time is over.

mod message;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri, header};
use qlab_kernel::client::AnswerBuilder;
use qlab_kernel::{Batch, Burst, Index, NodeId, Outcome, Refusal, Request, Sequence, SessionId};
use qlab_machines::{Command, kv};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::message::Method;
use super::links::{Dial, Links, Redial};
use crate::driver::Retry;
use crate::target::{Event, Target};

/// Bytes that one connection may hold unread here.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes that one stream may: more than any value.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Answers of one connection that may wait; then its calls wait.
const ANSWERS_MAX: usize = 4096;
/// gRPC status of a request that something has no room for: etcd's queue, its disk, or the transport after the fact.
const RESOURCE_EXHAUSTED: &[u8] = b"8";
/// What etcd says with it if the request was not taken.
const TOO_MANY_REQUESTS: &[u8] = b"etcdserver: too many requests";

/// Connections to the members of an etcd cluster.
#[derive(Debug)]
pub struct Etcd {
    links: Links<Dialer>,
}

impl Etcd {
    /// Starts `links` connections to the client addresses of `members`, at least one, in the current runtime.
    ///
    /// # Panics
    /// If there is no member.
    #[must_use]
    pub fn start(members: Vec<SocketAddr>, links: usize) -> Self {
        let places = members.len();
        Self { links: Links::start(Dialer { members: members.into() }, places, links, Redial::Next) }
    }
}

impl Target for Etcd {
    fn retry(&self) -> Retry {
        Retry::ReadsOnly
    }

    fn links(&self) -> usize {
        self.links.len()
    }

    fn send(&mut self, link: usize, request: Request) {
        if let Some(sender) = self.links.sender(link) {
            let (Request::Write(batch) | Request::Read(batch)) = &request;
            sender.send(batch);
        }
    }

    fn redirect(&mut self, link: usize, _: Option<NodeId>) {
        self.links.redirect(link, None);
    }

    async fn receive(&mut self, events: &mut Vec<Event>) {
        self.links.receive(events).await;
    }
}

#[derive(Clone, Debug)]
struct Dialer {
    members: Arc<[SocketAddr]>,
}

/// Why a connection does not come about, or ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] h2::Error),
    #[error("closed")]
    Closed,
}

impl Dial for Dialer {
    type Sender = Sender;
    type Receiver = Receiver;
    type Error = End;

    async fn dial(&self, place: usize) -> Result<(Sender, Receiver), End> {
        let address = self.members[place];
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (http, connection) = h2::client::Builder::new()
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .enable_push(false)
            .handshake(socket)
            .await?;
        let (answering, answers) = mpsc::channel(ANSWERS_MAX);
        let connection = tokio::spawn(connection);
        let sender = Sender { http, uris: Method::ALL.map(|method| uri(address, method)), answering };
        Ok((sender, Receiver { answers, connection }))
    }

    async fn receive(receiver: &mut Receiver, frames: &mut Vec<Bytes>) -> Result<(), End> {
        tokio::select! {
            biased;
            frame = receiver.answers.recv() => frames.push(frame.ok_or(End::Closed)?),
            end = &mut receiver.connection => {
                return Err(end.map_or(End::Closed, |end| end.err().map_or(End::Closed, End::Http)));
            }
        }
        while let Ok(frame) = receiver.answers.try_recv() {
            frames.push(frame);
        }
        Ok(())
    }
}

fn uri(address: SocketAddr, method: Method) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority =
        Some(Authority::try_from(address.to_string()).expect("a socket address is an authority"));
    parts.path_and_query = Some(PathAndQuery::from_static(method.path()));
    Uri::from_parts(parts).expect("all three parts are there")
}

#[derive(Debug)]
struct Receiver {
    answers: mpsc::Receiver<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[derive(Debug)]
struct Sender {
    http: SendRequest<Bytes>,
    /// One for each method.
    uris: [Uri; 3],
    answering: mpsc::Sender<Bytes>,
}

impl Sender {
    fn send(&self, batch: &Batch) {
        for burst in batch.bursts() {
            if burst.opens_session() {
                // etcd has no sessions to open.
                self.answer_at_once(&burst, Sequence::ZERO, Outcome::of(Outcome::OPENED));
            }
            for (number, bytes) in burst.commands() {
                self.call(&burst, number, bytes);
            }
        }
    }

    fn call(&self, burst: &Burst<'_>, number: Sequence, bytes: &[u8]) {
        let Some((method, message)) = Command::parse(bytes).ok().and_then(|c| message::encode(&c)) else {
            return self.answer_at_once(burst, number, Outcome::of(Outcome::MALFORMED));
        };
        let call = Call { session: burst.session, number, method };
        let (http, uri) = (self.http.clone(), self.uris[method as usize].clone());
        let answering = self.answering.clone();
        tokio::spawn(async move {
            match exchange(http, uri, message).await {
                // Nobody listens only when the connection has been given up.
                Ok(reply) => {
                    if let Some(answer) = call.answer(&reply) {
                        let _ = answering.send(answer).await;
                    }
                }
                Err(error) => tracing::debug!(%error, "call failed"),
            }
        });
    }

    fn answer_at_once(&self, burst: &Burst<'_>, number: Sequence, outcome: Outcome) {
        let (frame, answering) = (written(burst.session, number, outcome), self.answering.clone());
        tokio::spawn(async move { answering.send(frame).await });
    }
}

/// What a call came to.
struct Reply {
    status: Bytes,
    /// What etcd says about the status.
    reason: Bytes,
    message: BytesMut,
}

async fn exchange(http: SendRequest<Bytes>, uri: Uri, message: Bytes) -> Result<Reply, h2::Error> {
    let mut http = http.ready().await?;
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let (response, mut stream) = http.send_request(request, false)?;
    stream.send_data(message, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await.transpose()? {
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    // A reply that is an error and nothing else has its status in its headers.
    let trailers = body.trailers().await?.unwrap_or(head.headers);
    let trailer = |name| trailers.get(name).map_or_else(Bytes::new, |s| Bytes::copy_from_slice(s.as_bytes()));
    Ok(Reply { status: trailer("grpc-status"), reason: trailer("grpc-message"), message })
}

/// What a reply answers.
#[derive(Clone, Copy)]
struct Call {
    session: SessionId,
    number: Sequence,
    method: Method,
}

impl Call {
    /// The answer as a replica would have given it; `None` if the reply leaves the outcome open.
    fn answer(self, reply: &Reply) -> Option<Bytes> {
        match &reply.status[..] {
            b"0" => match self.method {
                Method::Put => Some(self.wrote(kv::STORED)),
                Method::Txn => {
                    let swapped = message::succeeded(&reply.message)?;
                    Some(self.wrote(if swapped { kv::SWAPPED } else { kv::MISMATCH }))
                }
                Method::Range => Some(self.found(message::range_response(&reply.message)?)),
            },
            RESOURCE_EXHAUSTED if reply.reason == TOO_MANY_REQUESTS => Some(self.refused()),
            _ => {
                tracing::debug!(status = ?reply.status, reason = ?reply.reason, "etcd answered with an error");
                None
            }
        }
    }

    fn wrote(self, status: u8) -> Bytes {
        written(self.session, self.number, Outcome::of(status))
    }

    fn found(self, value: Option<&[u8]>) -> Bytes {
        let mut answers = AnswerBuilder::new();
        answers.begin_values(self.session, self.number, Index::ZERO);
        answers.push_value(if value.is_some() { kv::FOUND } else { kv::ABSENT }, value.unwrap_or_default());
        answers.finish()
    }

    fn refused(self) -> Bytes {
        let mut batch = qlab_kernel::BatchBuilder::new();
        batch.begin(self.session, self.number, self.number);
        batch.push_bytes(&[]);
        let mut answers = AnswerBuilder::new();
        batch.finish().bursts().for_each(|burst| answers.refuse(&burst, Refusal::Busy));
        answers.finish()
    }
}

fn written(session: SessionId, number: Sequence, outcome: Outcome) -> Bytes {
    let mut answers = AnswerBuilder::new();
    answers.begin_written(session, number, Index::ZERO);
    answers.push_outcome(outcome);
    answers.finish()
}

#[cfg(test)]
mod tests {
    use qlab_kernel::client::{AnswerBody, answers};

    use super::*;

    fn answer_to_a_put(status: &'static str, reason: &'static str) -> Option<Bytes> {
        let call = Call { session: SessionId(2), number: Sequence(1), method: Method::Put };
        let (status, reason) = (Bytes::from(status), Bytes::from(reason));
        call.answer(&Reply { status, reason, message: BytesMut::new() })
    }

    #[test]
    fn only_a_full_queue_says_that_a_request_was_not_taken() {
        let frame = answer_to_a_put("8", "etcdserver: too many requests").unwrap();
        let answer = answers(&frame).next().unwrap().unwrap();
        assert!(matches!(answer.body, AnswerBody::Refused(Refusal::Busy)));
        assert_eq!((answer.session, answer.first), (SessionId(2), Sequence(1)));
        for (status, reason) in [
            ("8", "etcdserver: mvcc: database space exceeded"),
            ("8", "grpc: received message larger than max"),
            ("8", ""),
            ("14", "etcdserver: too many requests"),
            ("14", "etcdserver: request timed out"),
        ] {
            assert!(answer_to_a_put(status, reason).is_none(), "{status} {reason}");
        }
    }
}
