//! The plan of one flush: which bytes go where. Datagrams are written and sealed in a scratch arena here; runs of equal
//! datagrams to one place are kept together, so that the engine hands each run to the kernel in one segmented send.
//!
//! Filled by links and streams, read by the engine, cleared when everything was sent. Never sends.

use std::net::SocketAddr;
use std::ops::Range;

use tidings_wire::Class;

use crate::limits::{GSO_BYTES_MAX, GSO_SEGMENTS_MAX};
use crate::publish::stream::StoreRun;

/// A run of datagrams of one class to one address: all `segment` bytes long but for the last, which may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) to: SocketAddr,
    pub(crate) class: Class,
    pub(crate) segment: usize,
    pub(crate) source: Source,
    segments: u32,
    closed: bool,
}

/// Where a run's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the plan's own arena.
    Scratch(Range<usize>),
    /// In the message store: sealed once for many receivers.
    Store(StoreRun),
}

/// The plan. Its memory is reused from flush to flush.
#[derive(Default)]
pub(crate) struct Tx {
    arena: Vec<u8>,
    runs: Vec<Run>,
    written: Written,
}

/// Datagrams and bytes written into plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
}

impl Tx {
    /// Appends one datagram of at most `room` bytes: `write` fills the buffer and returns the length used, 0 for none.
    pub(crate) fn datagram(
        &mut self,
        to: SocketAddr,
        class: Class,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let start = self.arena.len();
        self.arena.resize(start + room, 0);
        let used = write(&mut self.arena[start..]).min(room);
        self.arena.truncate(start + used);
        self.written.datagrams += u64::from(used > 0);
        self.written.bytes += used as u64;
        if used > 0 && !self.extend_last(to, class, start, used) {
            self.runs.push(Run {
                to,
                class,
                segment: used,
                source: Source::Scratch(start..start + used),
                segments: 1,
                closed: false,
            });
        }
    }

    fn extend_last(&mut self, to: SocketAddr, class: Class, start: usize, used: usize) -> bool {
        let Some(run) = self.runs.last_mut() else {
            return false;
        };
        let Source::Scratch(range) = &mut run.source else {
            return false;
        };
        let fits = !run.closed
            && (run.to, run.class) == (to, class)
            && used <= run.segment
            && range.end == start
            && run.segments < GSO_SEGMENTS_MAX as u32
            && range.len() + used <= GSO_BYTES_MAX;
        if fits {
            range.end = start + used;
            run.segments += 1;
            run.closed = used < run.segment;
        }
        fits
    }

    /// Appends a run of datagrams of a stream.
    pub(crate) fn store_run(&mut self, to: SocketAddr, run: StoreRun) {
        self.runs.push(Run {
            to,
            class: Class::Fan,
            segment: run.segment,
            source: Source::Store(run),
            segments: 0,
            closed: true,
        });
    }

    /// What was written in the arena since the beginning.
    pub(crate) fn written(&self) -> Written {
        self.written
    }

    /// The runs in the order of sending.
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The bytes of a scratch range.
    pub(crate) fn scratch(&self, range: &Range<usize>) -> &[u8] {
        &self.arena[range.clone()]
    }

    /// Forgets everything: it was sent.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.runs.clear();
    }

    /// Gives the memory back that a busy time took, when nothing is planned.
    pub(crate) fn shrink(&mut self) {
        if self.runs.is_empty() {
            (self.arena, self.runs) = (Vec::new(), Vec::new());
        }
    }

    /// Whether nothing is planned.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(tx: &mut Tx, port: u16, class: Class, len: usize) {
        tx.datagram(
            SocketAddr::from(([127, 0, 0, 1], port)),
            class,
            1200,
            |buf| {
                buf[..len].fill(port as u8);
                len
            },
        );
    }

    fn shape(tx: &Tx) -> Vec<(u16, usize, usize)> {
        let len = |run: &Run| {
            let Source::Scratch(range) = &run.source else {
                return 0;
            };
            tx.scratch(range).len()
        };
        tx.runs()
            .iter()
            .map(|run| (run.to.port(), run.segment, len(run)))
            .collect()
    }

    #[test]
    fn equal_datagrams_to_one_place_become_one_run_whose_last_may_be_shorter() {
        let mut tx = Tx::default();
        for len in [100, 100, 40, 40] {
            put(&mut tx, 1, Class::Pair, len);
        }
        put(&mut tx, 1, Class::Bulk, 40);
        put(&mut tx, 2, Class::Bulk, 40);
        put(&mut tx, 2, Class::Bulk, 50);
        assert_eq!(
            shape(&tx),
            [
                (1, 100, 240),
                (1, 40, 40),
                (1, 40, 40),
                (2, 40, 40),
                (2, 50, 50)
            ]
        );
        tx.clear();
        assert!(tx.is_empty());
    }

    #[test]
    fn a_run_is_bounded_in_segments_and_bytes() {
        let mut tx = Tx::default();
        for _ in 0..65 {
            put(&mut tx, 1, Class::Pair, 10);
        }
        assert_eq!(shape(&tx), [(1, 10, 640), (1, 10, 10)]);
        tx.clear();
        for _ in 0..60 {
            put(&mut tx, 1, Class::Pair, 1200);
        }
        assert_eq!(shape(&tx), [(1, 1200, 64_800), (1, 1200, 7200)]);
    }

    #[test]
    fn writing_nothing_leaves_no_datagram() {
        let mut tx = Tx::default();
        put(&mut tx, 1, Class::Pair, 0);
        assert!(tx.is_empty());
    }
}
