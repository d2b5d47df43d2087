//! Every constant under QUIC, with its reason.
//!
//! Figures are of `benches/echo.rs` (frames through a replica's host and back, so MiB/s count one of two directions), on two
//! busy cores: a variant counts as different only beyond the ±20 % by which the same one differs from itself.
//!
//! | variant | 64 B, one at a time | 256 B, pipelined | 64 KiB, pipelined |
//! |---|---|---|---|
//! | as it is: 6,000 B, GSO, AES-128-GCM | 38–43 µs | 0.85–1.2 M/s | 300–395 MiB/s |
//! | datagrams of 1,452 B, GSO | 35–45 µs | 0.63–0.67 M/s | 164–171 MiB/s |
//! | datagrams of 6,000 B, no GSO | 34–178 µs | 0.72–0.81 M/s | 202–219 MiB/s |
//! | datagrams of 16,000 B, no GSO | 37–40 µs | 1.4–1.5 M/s | 362–380 MiB/s |
//! | socket buffers as the system has them | 32 µs | 0.054 M/s | 53 MiB/s |
//! | ChaCha20-Poly1305; AES-256-GCM | 35; 44 µs | 0.89; 1.2 M/s | 245; 356 MiB/s |
//! | acknowledgements asked for every 2 or 40 packets, or not | 34–37 µs | 1.3–1.4 M/s | 376–457 MiB/s |
//! | initial window of QUIC's default | 32–37 µs | 1.4–1.5 M/s | 428–462 MiB/s |
//! | shared bytes by reference from 128 B on | 41 µs | 0.042 M/s | 313 MiB/s |
//! | shared bytes always copied | 40 µs | 1.2 M/s | 300 MiB/s |
//!
//! Acknowledgement frequency made no difference, so that extension is left alone. Neither did the initial window on a
//! connection that has run for a while; what it is for are the first moments of one and of a link with delay.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::NewRenoConfig;
use quinn::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

/// Kernel buffers of the UDP socket, each way. The default of 208 KiB turns a burst into loss and loss into congestion
/// collapse: a seventh of the throughput in bulk, a twentieth in small frames.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Datagrams on loopback. Ten of them (what quinn hands to one GSO call) must stay under 65,507 bytes, or the kernel's
/// refusal is taken for a failed MTU probe and the batch is lost in silence.
pub(crate) const LOOPBACK_MTU_BYTES: u16 = 6000;
/// Datagrams elsewhere, to start with: what every path carries.
pub(crate) const INITIAL_MTU_BYTES: u16 = 1200;
/// Datagrams elsewhere, if discovery finds that they pass: Ethernet less IPv6 and UDP.
pub(crate) const ETHERNET_MTU_BYTES: u16 = 1452;
const _: () = assert!(LOOPBACK_MTU_BYTES as usize * 10 < 65_507);

/// Bytes in flight before the first loss: a cluster's links are short and fat, and slow start would be measured instead.
const INITIAL_WINDOW_BYTES: u64 = 8 << 20;
/// Bytes that one stream may hold unread here: several of the largest frames.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes that one connection may hold unread here. With `CLIENTS_MAX` this bounds the memory of all connections.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes sent and not acknowledged, per connection; what does not fit waits in the bounded queues above.
const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// Datagrams that wait on either side of one connection; in a burst beyond that the oldest received and the newest to send are lost.
pub(crate) const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;
/// One stream each way and kind: control and bulk.
const UNI_STREAMS_MAX: u32 = 2;
/// A client's one conversation.
const BIDI_STREAMS_MAX: u32 = 1;

/// Round trip assumed before the first measurement: the first retransmission of a handshake comes after three of these.
const INITIAL_RTT: Duration = Duration::from_millis(20);
/// Silence after which a connection is given up.
const IDLE_TIMEOUT_MS: u32 = 10_000;
/// Silence after which a sign of life is sent: well under a third of the timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long either side lets a handshake take.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);
/// Handshakes going on at a time before strangers must prove their address by a retry token.
pub(crate) const UNVALIDATED_HANDSHAKES_MAX: usize = 64;
/// Handshakes going on at a time; more are refused.
pub(crate) const HANDSHAKES_MAX: usize = 1024;
/// First packets of one handshake kept before it is accepted.
pub(crate) const INCOMING_BUFFER_BYTES: u64 = 64 << 10;
/// The same for all handshakes together.
pub(crate) const INCOMING_BUFFER_TOTAL_BYTES: u64 = 1 << 20;

/// Pauses between attempts to reach a replica: doubled from the first to the second, each drawn from its upper half.
pub(crate) const REDIAL_PAUSE_MIN: Duration = Duration::from_millis(25);
/// See [`REDIAL_PAUSE_MIN`].
pub(crate) const REDIAL_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Shared bytes from this size on travel by reference. Each is a segment that QUIC walks past for every packet: by reference
/// from 128 bytes on, small frames were 25 times slower.
pub(crate) const SHARED_BYTES_MIN: usize = 2 << 10;
/// The first block of a queue's buffer.
pub(crate) const OUTBOX_BLOCK_BYTES: usize = 16 << 10;
/// The first block of a buffer for one datagram.
pub(crate) const DATAGRAM_BLOCK_BYTES: usize = 1280;
/// Pieces of a stream taken from QUIC under one lock.
pub(crate) const CHUNKS_PER_READ: usize = 32;

/// The transport parameters for a connection to `remote`.
pub(crate) fn transport(remote: IpAddr) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    bound_memory(&mut config);
    let mut congestion = NewRenoConfig::default();
    congestion.initial_window(INITIAL_WINDOW_BYTES);
    config
        .congestion_controller_factory(Arc::new(congestion))
        .initial_rtt(INITIAL_RTT)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE));
    if remote.to_canonical().is_loopback() {
        config.initial_mtu(LOOPBACK_MTU_BYTES).mtu_discovery_config(None);
    } else {
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(ETHERNET_MTU_BYTES);
        config.initial_mtu(INITIAL_MTU_BYTES).mtu_discovery_config(Some(discovery));
    }
    Arc::new(config)
}

fn bound_memory(config: &mut TransportConfig) {
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS_MAX))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
}
