//! QUIC between authenticated nodes: identities, lanes, framing, limits, the emulated link.
//!
//! A replica [`Endpoint`] holds one connection to each other replica (the lower seat dials, for ever) with a long-lived
//! stream per lane and direction, beside which datagrams travel for those who can do without, and serves clients,
//! each with one conversation on one stream. Everything that arrives comes through one [`Inbox`] in bursts; everything that
//! leaves goes through bounded queues and never makes the host wait.
//! Whoever is named in an [`Arrival`] was proven by its key: both sides of every handshake pin the other's public key.
//!
//! | module | holds |
//! |---|---|
//! | [`identity`] | a node's key, its file, its fingerprint |
//! | [`roster`] | which keys are replicas and where, which are clients |
//! | [`socket`] | the UDP socket, bound before the roster is known |
//! | [`endpoint`] | a replica's end: what hosts hold |
//! | [`client`] | a client's end: what load generators hold |
//! | [`inbox`], [`outbox`] | bounded queues between the host and the streams |
//! | [`counters`] | what is counted |
//! | [`link`] | delay, jitter, loss, duplication, bandwidth and partitions under QUIC |
//! | `quic`, `tls` | quinn set up; raw public keys pinned on both sides |
//! | `framing`, `stream` | frames on a byte stream |
//! | `peers`, `conversations` | the life of a connection to a replica, and to a client |
//! | `tuning` | every constant under QUIC, with its reason |
//!
//! Trade-offs. A frame that finds no connection or a full queue is dropped and counted, as protocols send again what
//! matters; there is no acknowledgement above QUIC's own. A client that does not read its answers is cut off rather than
//! waited for. Queues are behind uncontended locks, taken once per burst where possible, instead of being tied to one
//! thread: that costs some ten nanoseconds and lets a host choose its runtime. A received frame is a slice of the buffer
//! that QUIC received it in: whoever keeps a small one for long keeps up to 64 KiB with it.

#![forbid(unsafe_code)]

pub mod client;
mod conversations;
pub mod counters;
pub mod endpoint;
mod framing;
pub mod identity;
pub mod inbox;
pub mod link;
pub mod outbox;
mod peers;
mod quic;
pub mod roster;
pub mod socket;
mod stream;
mod tls;
mod tuning;

pub use client::{ClientEndpoint, ClientReceiver, ClientSender, ConnectError, Disconnected};
pub use counters::Counts;
pub use endpoint::{Endpoint, Options, StartError};
pub use framing::OversizedFrame;
pub use identity::{Fingerprint, FingerprintError, Identity, IdentityError};
pub use inbox::{Arrival, ClientId, Inbox};
pub use link::{LinkControl, LinkRule};
pub use outbox::{Dropped, FrameSink};
pub use quic::DialError;
pub use roster::{ReplicaEntry, Role, Roster, RosterError};
pub use socket::Socket;
pub use tls::TlsError;
