//! QUIC between authenticated nodes: identities, lanes, framing, limits, the emulated link.
