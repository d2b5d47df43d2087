//! The UDP socket under everything: bound first, so that its port is known before any roster is.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Type};

use crate::tuning::SOCKET_BUFFER_BYTES;

/// A bound UDP socket with large buffers.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    address: SocketAddr,
}

impl Socket {
    /// Binds; port 0 lets the system choose.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // The kernel grants up to its own limit without a word: see `receive_buffer_bytes`.
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket();
        let address = bound.ok_or_else(|| io::Error::other("the bound address is no internet address"))?;
        Ok(Self { socket, address })
    }

    /// Where it is bound.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// What the kernel granted for receiving; it counts its own overhead and so reports twice what was asked for.
    pub fn receive_buffer_bytes(&self) -> io::Result<usize> {
        self.socket.recv_buffer_size()
    }

    /// What the kernel granted for sending, counted like the other.
    pub fn send_buffer_bytes(&self) -> io::Result<usize> {
        self.socket.send_buffer_size()
    }

    pub(crate) fn into_std(self) -> std::net::UdpSocket {
        self.socket.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_socket_knows_its_port_and_what_the_kernel_granted() {
        let socket = Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        assert_ne!(socket.local_address().port(), 0);
        assert!(socket.receive_buffer_bytes().unwrap() > 0);
        assert!(socket.send_buffer_bytes().unwrap() > 0);
    }
}
