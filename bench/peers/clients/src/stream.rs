//! Messages that are packed into one TCP stream and parsed out of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a read waits before it looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// How long answers are left to gather: who reads each by itself costs the broker a wake-up for each.
pub(crate) const GATHER: Duration = Duration::from_micros(200);
/// Bytes taken with one read.
const READ_BYTES: usize = 256 << 10;

/// Connects, and writes without delay what it is given.
pub(crate) fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(addr).map_err(|error| format!("connect to {addr}: {error}"))?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(LOOK)))
        .map_err(|error| format!("set up a socket: {error}"))?;
    Ok(stream)
}

/// Writes all of it.
pub(crate) fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    stream
        .write_all(bytes)
        .map_err(|error| format!("write: {error}"))
}

/// What was read and not taken yet.
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; READ_BYTES],
            from: 0,
            to: 0,
        }
    }

    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// The first `count` bytes are done with.
    pub(crate) fn take(&mut self, count: usize) {
        self.from += count;
    }

    /// Reads more; waits a moment for it, and comes back without it.
    pub(crate) fn fill(&mut self, stream: &mut TcpStream) -> Result<(), String> {
        self.bytes.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to == self.bytes.len() {
            self.bytes.resize(self.to * 2, 0);
        }
        match stream.read(&mut self.bytes[self.to..]) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(count) => {
                self.to += count;
                Ok(())
            }
            Err(error) if is_none_yet(error.kind()) => Ok(()),
            Err(error) => Err(format!("read: {error}")),
        }
    }
}

fn is_none_yet(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn what_is_not_taken_stays_and_room_grows() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tx = connect(listener.local_addr().unwrap()).unwrap();
        let (mut rx, _) = listener.accept().unwrap();
        rx.set_read_timeout(Some(LOOK)).unwrap();
        let all: Vec<u8> = (0..READ_BYTES + 10).map(|at| at as u8).collect();
        let sent = all.clone();
        let writing = std::thread::spawn(move || write(&mut tx, &sent).map(|()| tx));
        let mut inbox = Inbox::new();
        while inbox.bytes().len() < all.len() {
            inbox.fill(&mut rx).unwrap();
        }
        assert_eq!(inbox.bytes(), all);
        inbox.take(READ_BYTES);
        inbox.fill(&mut rx).unwrap();
        assert_eq!(inbox.bytes(), &all[READ_BYTES..], "nothing more came");
        drop(writing.join().unwrap().unwrap());
        assert!(inbox.fill(&mut rx).is_err(), "closed");
    }
}
