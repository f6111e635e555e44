//! A daemon that does what a test tells it: it accepts connections, reads requests and writes replies.

#![allow(clippy::unwrap_used)] // A test.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tidings_wire::client::auth::{Refusal, Welcome};
use tidings_wire::client::frame::split;
use tidings_wire::client::{ErrorCode, MAX_FRAME, Request};
use tidings_wire::{Boot, NodeId};

pub(crate) const NODE: NodeId = NodeId([1; 16]);
pub(crate) const BOOT: Boot = Boot([2; 16]);

pub(crate) struct FakeDaemon {
    listener: UnixListener,
    pub(crate) socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl FakeDaemon {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("d.sock");
        Self {
            listener: UnixListener::bind(&socket).unwrap(),
            socket,
            _dir: dir,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn accept(&self) -> Peer {
        Peer {
            socket: self.listener.accept().unwrap().0,
            input: Vec::new(),
        }
    }

    /// Accepts a client without a secret.
    pub(crate) fn welcome(&self, session_epoch: u64, credit: u64) -> Peer {
        let mut peer = self.accept();
        peer.expect(
            "hello",
            |request| matches!(request, Request::Hello(hello) if !hello.prove),
        );
        peer.send(|out| welcome(session_epoch, credit).encode(out));
        peer
    }
}

pub(crate) fn welcome(session_epoch: u64, credit: u64) -> Welcome<'static> {
    Welcome {
        version: 1,
        max_frame: MAX_FRAME as u32,
        node: NODE,
        boot: BOOT,
        session_epoch,
        credit,
        name: "fake",
    }
}

pub(crate) struct Peer {
    socket: UnixStream,
    input: Vec<u8>,
}

impl Peer {
    pub(crate) fn send(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        fill(&mut out);
        self.socket.write_all(&out).unwrap();
    }

    pub(crate) fn refuse(
        &mut self,
        code: ErrorCode,
        fatal: bool,
        refused: u8,
        number: u32,
        text: &str,
    ) {
        self.send(|out| {
            Refusal {
                code,
                fatal,
                refused,
                number,
                text,
            }
            .encode(out)
        });
    }

    /// Reads the next request and gives it to `look`; `None` at the end.
    pub(crate) fn next<T>(&mut self, look: impl FnOnce(&Request<'_>) -> T) -> Option<T> {
        loop {
            if let Some((raw, used)) = split(&self.input).unwrap() {
                let result = look(&Request::decode(raw).unwrap());
                self.input.drain(..used);
                return Some(result);
            }
            let mut chunk = [0; 65536];
            let read = self.socket.read(&mut chunk).unwrap_or(0);
            if read == 0 {
                return None;
            }
            self.input.extend_from_slice(&chunk[..read]);
        }
    }

    pub(crate) fn expect(&mut self, what: &str, is: impl FnOnce(&Request<'_>) -> bool) {
        let found = self.next(|request| (is(request), format!("{request:?}")));
        match found {
            Some((true, _)) => {}
            found => panic!("expected {what}, got {found:?}"),
        }
    }
}
