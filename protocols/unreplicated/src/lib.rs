//! One server, no peers: the floor every other row is compared with.
