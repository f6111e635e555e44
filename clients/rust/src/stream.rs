//! The socket and its two buffers. Nothing here blocks but [`Stream::wait`].
//!
//! The input has two marks: what was scanned (its effect on the client's own books is applied) and what was taken (it
//! was given out as an event). A client that waits for one answer scans ahead and leaves the events for later.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tidings_wire::client::frame::{FrameError, frame_size};

use crate::error::Error;
use crate::limits::{INPUT_MAX, INPUT_MIN, READ_ROOM};
use crate::trust::{self, Distrust};

/// One connection.
pub(crate) struct Stream {
    socket: UnixStream,
    input: Vec<u8>,
    taken: usize,
    scanned: usize,
    filled: usize,
    /// Frames to write. Only whole frames are appended.
    pub(crate) output: Vec<u8>,
    written: usize,
    ended: Option<String>,
}

impl Stream {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            input: vec![0; INPUT_MIN],
            taken: 0,
            scanned: 0,
            filled: 0,
            output: Vec::new(),
            written: 0,
            ended: None,
        })
    }

    /// Whether one listens who may be the daemon.
    pub(crate) fn check_listener(&self) -> io::Result<Result<(), Distrust>> {
        trust::check_listener(&self.socket)
    }

    /// Why the connection ended, if it did.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    fn end(&mut self, why: impl Into<String>) {
        self.ended.get_or_insert(why.into());
    }

    /// Bytes that wait to be written.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len() - self.written
    }

    /// The next whole frame after the scanned mark, which moves behind it.
    pub(crate) fn scan(&mut self) -> Result<Option<std::ops::Range<usize>>, FrameError> {
        let frame = self.frame_at(self.scanned)?;
        if let Some(frame) = &frame {
            self.scanned = frame.end;
        }
        Ok(frame)
    }

    /// The next scanned frame after the taken mark, which moves behind it.
    pub(crate) fn take(&mut self) -> Option<std::ops::Range<usize>> {
        if self.taken == self.scanned {
            return None;
        }
        let frame = self.frame_at(self.taken).ok().flatten()?;
        self.taken = frame.end;
        Some(frame)
    }

    fn frame_at(&self, start: usize) -> Result<Option<std::ops::Range<usize>>, FrameError> {
        let bytes = &self.input[start..self.filled];
        Ok(frame_size(bytes)?
            .filter(|size| *size <= bytes.len())
            .map(|size| start..start + size))
    }

    /// The bytes of a frame that was scanned or taken since the last read.
    pub(crate) fn bytes(&self, frame: std::ops::Range<usize>) -> &[u8] {
        &self.input[frame]
    }

    /// Reads once what is there. False: nothing was.
    pub(crate) fn fill(&mut self) -> Result<bool, Error> {
        if self.ended.is_some() {
            return Ok(false);
        }
        self.make_room()?;
        match self.socket.read(&mut self.input[self.filled..]) {
            Ok(0) => self.end("it closed the connection"),
            Ok(read) => {
                self.filled += read;
                return Ok(true);
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => self.end(error.to_string()),
        }
        Ok(false)
    }

    fn make_room(&mut self) -> Result<(), Error> {
        if self.taken == self.filled {
            (self.taken, self.scanned, self.filled) = (0, 0, 0);
        } else if self.input.len() - self.filled < READ_ROOM && self.taken > 0 {
            self.input.copy_within(self.taken..self.filled, 0);
            self.scanned -= self.taken;
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.input.len() - self.filled < READ_ROOM {
            if self.input.len() >= INPUT_MAX {
                return Err(Error::EventsWaiting);
            }
            self.input.resize(self.input.len() * 2, 0);
        }
        Ok(())
    }

    /// Writes what the socket takes. The output buffer is empty afterwards, or the socket is full.
    pub(crate) fn drain(&mut self) {
        while self.ended.is_none() && self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(0) => self.end("it takes no more bytes"),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.end(error.to_string()),
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        } else if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Waits until the socket is readable, or writable while output waits, or the time has come.
    pub(crate) fn wait(&mut self, until: Option<Instant>) {
        let mut flags = PollFlags::IN;
        if self.backlog() > 0 {
            flags |= PollFlags::OUT;
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(timespec);
        let result = poll(&mut [PollFd::new(&self.socket, flags)], timeout.as_ref());
        if let Err(error) = result
            && error != rustix::io::Errno::INTR
        {
            self.end(error.to_string());
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
