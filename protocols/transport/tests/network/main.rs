//! Whole endpoints on real loopback sockets.

mod clients;
mod links;
mod strangers;
mod world;
