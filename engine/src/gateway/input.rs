//! The input of a connection: bytes as they were read, whole frames as views of them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use tidings_wire::client::frame::{FrameError, frame_size};

use super::limits::INPUT_BYTES;

/// Bytes that were read and not yet handled.
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    small_reads: u32,
}

/// What one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes; the buffer was not filled, so that nothing more is there.
    Some(usize),
    /// So many bytes, and there may be more.
    Full(usize),
    /// Nothing is there.
    Empty,
    /// The other side closed.
    End,
}

impl Input {
    /// Begins with what was read before.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut buffer = vec![0; INPUT_BYTES.0.max(bytes.len())];
        buffer[..bytes.len()].copy_from_slice(bytes);
        Self {
            buffer,
            start: 0,
            end: bytes.len(),
            small_reads: 0,
        }
    }

    /// Bytes that are there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The whole frame at the front, if it is there.
    pub(crate) fn frame(&self) -> Result<Option<&[u8]>, FrameError> {
        let bytes = self.bytes();
        Ok(frame_size(bytes)?.and_then(|size| bytes.get(..size)))
    }

    /// Has done with `bytes` from the front.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end, "no more is consumed than is there");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once. The buffer grows with the frame that is on its way, and while reads come full.
    pub(crate) fn read(&mut self, mut socket: &UnixStream) -> Result<Got, FrameError> {
        self.make_room()?;
        match socket.read(&mut self.buffer[self.end..]) {
            Ok(0) => Ok(Got::End),
            Ok(read) => {
                self.end += read;
                if self.end < self.buffer.len() {
                    self.count_small(read);
                    return Ok(Got::Some(read));
                }
                if self.start == 0 && self.buffer.len() < INPUT_BYTES.1 {
                    self.buffer
                        .resize((self.buffer.len() * 4).min(INPUT_BYTES.1), 0);
                }
                Ok(Got::Full(read))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(Got::Empty)
            }
            Err(_) => Ok(Got::End),
        }
    }

    fn make_room(&mut self) -> Result<(), FrameError> {
        let wanted = frame_size(self.bytes())?.unwrap_or(0).max(INPUT_BYTES.0);
        if self.start > 0 && self.buffer.len() - self.end < INPUT_BYTES.0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            self.buffer.resize(wanted.max(self.buffer.len()), 0);
        }
        if self.end == 0 && self.buffer.len() > INPUT_BYTES.1 {
            self.buffer = vec![0; INPUT_BYTES.1];
        }
        Ok(())
    }

    /// Counts reads that would have fitted the smallest buffer; after many of them the large one is given back.
    fn count_small(&mut self, read: usize) {
        let is_small = read < INPUT_BYTES.0 && self.buffer.len() > INPUT_BYTES.0;
        self.small_reads = if is_small { self.small_reads + 1 } else { 0 };
        if self.small_reads >= SMALL_READS && self.end <= INPUT_BYTES.0 && self.start == 0 {
            self.buffer.truncate(INPUT_BYTES.0);
            self.buffer.shrink_to_fit();
            self.small_reads = 0;
        }
    }
}

/// Small reads in a row after which a large buffer is given back.
const SMALL_READS: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tidings_wire::client::publish::{Close, PublishRun};

    #[test]
    fn frames_come_whole_however_they_were_cut() {
        let (mut client, daemon) = UnixStream::pair().unwrap();
        daemon.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        Close { publisher: 1 }.encode(&mut bytes);
        let mut run = PublishRun::begin(&mut bytes, 2);
        run.push(&mut bytes, &vec![7; 300_000]);
        Close { publisher: 3 }.encode(&mut bytes);
        let writer = std::thread::spawn(move || {
            for chunk in bytes.chunks(7_000) {
                client.write_all(chunk).unwrap();
            }
        });
        let mut input = Input::new(&[]);
        let mut sizes = Vec::new();
        loop {
            while let Some(size) = input.frame().unwrap().map(<[u8]>::len) {
                sizes.push(size);
                input.consume(size);
            }
            match input.read(&daemon).unwrap() {
                Got::End => break,
                Got::Empty => std::thread::yield_now(),
                Got::Some(_) | Got::Full(_) => {}
            }
        }
        writer.join().unwrap();
        assert_eq!(sizes, [12, 300_020, 12]);
    }
}
