//! The listening sockets, made before the service starts and kept open while it starts again: whoever connects meanwhile waits.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use tidings_engine::gateway::Listening;

/// The sockets of the service.
pub struct Sockets {
    /// For the network, or this machine's loopback.
    pub tcp: Option<TcpListener>,
    /// For processes of the daemon's own user.
    pub unix: Listening,
}

impl Sockets {
    /// Both again, for one life of the service.
    pub fn try_clone(&self) -> io::Result<(Option<TcpListener>, UnixListener)> {
        let tcp = self.tcp.as_ref().map(TcpListener::try_clone).transpose()?;
        Ok((tcp, self.unix.listener()?))
    }
}

/// Binds a TCP address.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
