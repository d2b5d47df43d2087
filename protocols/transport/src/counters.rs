//! What an endpoint counts. Relaxed atomics: a count orders nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Dropped;
use crate::tls::Plane;

/// Why a connection was refused or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    UnknownKey,
    WrongPlane,
    Handshake,
    HandshakeTimeout,
    Overload,
    BadStream,
    BadFrame,
    OversizedFrame,
    SlowClient,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the endpoint started. They only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($name: AtomicU64,)*
            live: Mutex<Vec<quinn::Connection>>,
        }

        impl Counters {
            fn loaded(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters!(
    /// Frames handed to QUIC for replicas, datagrams among them.
    peer_frames_out,
    /// Their bytes, lengths included.
    peer_bytes_out,
    /// Frames received from replicas, datagrams among them.
    peer_frames_in,
    /// Their bytes, lengths included.
    peer_bytes_in,
    /// Frames that left as datagrams.
    datagrams_out,
    /// Frames that came as datagrams.
    datagrams_in,
    /// Frames handed to QUIC between clients and replicas.
    client_frames_out,
    /// Their bytes, lengths included.
    client_bytes_out,
    /// Frames received between clients and replicas.
    client_frames_in,
    /// Their bytes, lengths included.
    client_bytes_in,
    /// Frames not sent for want of a connection.
    dropped_not_connected,
    /// Frames not sent as their queue was full.
    dropped_queue_full,
    /// Frames not sent as they exceeded the limit, of datagrams that of the path.
    dropped_oversized,
    /// Connections established, in either direction.
    connections,
    /// Handshakes with a key that the roster does not know, or not for that seat.
    refused_unknown_key,
    /// Connections on a protocol name that is unknown or not for the key's role, or dialled from the wrong side.
    refused_wrong_plane,
    /// Handshakes that failed in any other way.
    refused_handshake,
    /// Handshakes not finished in time.
    refused_handshake_timeout,
    /// Connections refused as too many were being or had been made.
    refused_overload,
    /// Connections cut off as they opened streams that mean nothing.
    refused_bad_stream,
    /// Connections cut off as the host could not make sense of a frame.
    refused_bad_frame,
    /// Connections cut off as they announced a frame over the limit.
    refused_oversized_frame,
    /// Clients cut off as they did not read their answers.
    refused_slow_client,
    /// UDP datagrams sent, by connections alive and gone.
    udp_datagrams_out,
    /// Their bytes.
    udp_bytes_out,
    /// System calls that sent them.
    udp_calls_out,
    /// UDP datagrams received, by connections alive and gone.
    udp_datagrams_in,
    /// Their bytes.
    udp_bytes_in,
    /// Packets that QUIC took for lost.
    quic_packets_lost,
);

impl Counters {
    pub(crate) fn snapshot(&self) -> Counts {
        let live = self.live();
        let mut counts = self.loaded();
        live.iter().for_each(|connection| counts.add(&connection.stats()));
        counts
    }

    /// QUIC counts for this connection from now on, until it is [retired](Self::retire).
    pub(crate) fn connected(&self, connection: &quinn::Connection) {
        self.connections.fetch_add(1, Relaxed);
        self.live().push(connection.clone());
    }

    pub(crate) fn sent(&self, plane: Plane, frames: u64, bytes: usize) {
        let (frame_count, byte_count) = match plane {
            Plane::Peer => (&self.peer_frames_out, &self.peer_bytes_out),
            Plane::Client => (&self.client_frames_out, &self.client_bytes_out),
        };
        frame_count.fetch_add(frames, Relaxed);
        byte_count.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn datagram_sent(&self, bytes: usize) {
        self.sent(Plane::Peer, 1, bytes);
        self.datagrams_out.fetch_add(1, Relaxed);
    }

    pub(crate) fn datagram_received(&self, bytes: usize) {
        self.received(Plane::Peer, 1, bytes);
        self.datagrams_in.fetch_add(1, Relaxed);
    }

    pub(crate) fn received(&self, plane: Plane, frames: usize, bytes: usize) {
        let (frame_count, byte_count) = match plane {
            Plane::Peer => (&self.peer_frames_in, &self.peer_bytes_in),
            Plane::Client => (&self.client_frames_in, &self.client_bytes_in),
        };
        frame_count.fetch_add(frames as u64, Relaxed);
        byte_count.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn dropped(&self, reason: Dropped) {
        let counter = match reason {
            Dropped::NotConnected => &self.dropped_not_connected,
            Dropped::QueueFull => &self.dropped_queue_full,
            Dropped::Oversized => &self.dropped_oversized,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, reason: Refused) {
        let counter = match reason {
            Refused::UnknownKey => &self.refused_unknown_key,
            Refused::WrongPlane => &self.refused_wrong_plane,
            Refused::Handshake => &self.refused_handshake,
            Refused::HandshakeTimeout => &self.refused_handshake_timeout,
            Refused::Overload => &self.refused_overload,
            Refused::BadStream => &self.refused_bad_stream,
            Refused::BadFrame => &self.refused_bad_frame,
            Refused::OversizedFrame => &self.refused_oversized_frame,
            Refused::SlowClient => &self.refused_slow_client,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Keeps what a connection that has ended counted.
    pub(crate) fn retire(&self, connection: &quinn::Connection) {
        let mut live = self.live();
        live.retain(|other| other.stable_id() != connection.stable_id());
        let mut counts = Counts::default();
        counts.add(&connection.stats());
        self.udp_datagrams_out.fetch_add(counts.udp_datagrams_out, Relaxed);
        self.udp_bytes_out.fetch_add(counts.udp_bytes_out, Relaxed);
        self.udp_calls_out.fetch_add(counts.udp_calls_out, Relaxed);
        self.udp_datagrams_in.fetch_add(counts.udp_datagrams_in, Relaxed);
        self.udp_bytes_in.fetch_add(counts.udp_bytes_in, Relaxed);
        self.quic_packets_lost.fetch_add(counts.quic_packets_lost, Relaxed);
    }

    fn live(&self) -> MutexGuard<'_, Vec<quinn::Connection>> {
        // Nothing panics while it is held.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Adds what a living connection has counted.
    fn add(&mut self, stats: &quinn::ConnectionStats) {
        self.udp_datagrams_out += stats.udp_tx.datagrams;
        self.udp_bytes_out += stats.udp_tx.bytes;
        self.udp_calls_out += stats.udp_tx.ios;
        self.udp_datagrams_in += stats.udp_rx.datagrams;
        self.udp_bytes_in += stats.udp_rx.bytes;
        self.quic_packets_lost += stats.path.lost_packets;
    }
}
