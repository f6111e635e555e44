//! One direction of a link: seal with a counter, open behind a replay window.

use crate::mutants::{Mutant, mutant};
use std::sync::Arc;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::epoch::{EpochKeys, Lineage, Opener, epoch_of};
use crate::error::{OpenError, SealError};
use crate::header::{Class, Header, LinkHeader, PAIR_HEADER, TAG};
use crate::kdf::Root;
use crate::limits::{BULK_WINDOW, COUNTER_END, MAX_DATAGRAM_SIZE, PAIR_WINDOW};
use crate::window::{ReplayWindow, Verdict};

/// A body that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// Its counter, to be marked once it is taken.
    pub counter: u64,
    /// Seen before: discard the body, acknowledge again.
    pub duplicate: bool,
    /// The digests.
    pub body: &'a [u8],
}

/// The sending direction of PAIR or BULK.
pub struct LinkTx {
    class: Class,
    keys: EpochKeys,
    next: u64,
}

impl LinkTx {
    pub(crate) fn new(class: Class, lineage: Lineage) -> Self {
        Self {
            class,
            keys: EpochKeys::new(lineage),
            next: 0,
        }
    }

    /// Starts at `counter` if that is higher than the next one: counters are never used twice.
    pub fn at_counter(mut self, counter: u64) -> Self {
        self.next = self.next.max(counter);
        self
    }

    /// The counter of the next datagram.
    pub fn next_counter(&self) -> u64 {
        self.next
    }

    pub(crate) fn root(&self) -> &Arc<Root> {
        self.keys.lineage().root()
    }

    /// Seals `datagram` = 16 B for the header, the body, 16 B for the tag; `index` and `steer` are the receiver's.
    /// Returns the counter, which is spent even if the datagram is never sent.
    pub fn seal(&mut self, index: u32, steer: u8, datagram: &mut [u8]) -> Result<u64, SealError> {
        if !(PAIR_HEADER + TAG..=MAX_DATAGRAM_SIZE).contains(&datagram.len()) {
            return Err(SealError::Length);
        }
        if self.next >= COUNTER_END {
            return Err(SealError::Exhausted);
        }
        let counter = self.next;
        self.next += 1;
        if mutant(Mutant::CounterTwice) && counter % 64 == 63 {
            self.next = counter;
        }
        let header = LinkHeader {
            first: self.class.first_byte(),
            suite: self.keys.lineage().suite(),
            slot: self.keys.lineage().slot(),
            steer,
            index: U32::new(index),
            counter: U64::new(counter),
        };
        datagram[..PAIR_HEADER].copy_from_slice(header.as_bytes());
        if self
            .keys
            .key(epoch_of(counter))
            .seal(counter, PAIR_HEADER, datagram)
        {
            Ok(counter)
        } else {
            Err(SealError::Length)
        }
    }
}

/// The receiving direction of PAIR or BULK.
pub struct LinkRx {
    class: Class,
    opener: Opener,
    window: ReplayWindow,
}

impl LinkRx {
    pub(crate) fn new(class: Class, lineage: Lineage) -> Self {
        let window = ReplayWindow::new(window_bits(class), 0);
        Self {
            class,
            opener: Opener::new(lineage),
            window,
        }
    }

    /// Takes nothing below `counter`: how a session that was put away comes back without its window.
    pub fn at_counter(mut self, counter: u64) -> Self {
        self.window = ReplayWindow::new(window_bits(self.class), counter.max(self.window.next()));
        self
    }

    /// As one that has seen so many forgeries: what they wear out stays worn.
    pub(crate) fn after(mut self, forgeries: u64) -> Self {
        self.opener.count_forgeries(forgeries);
        self
    }

    /// Checks header and window, then opens in place. Nothing is marked: see [`mark`](Self::mark).
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let header = match (Header::parse(datagram)?, self.class) {
            (Header::Pair(header), Class::Pair) | (Header::Bulk(header), Class::Bulk) => header,
            _ => return Err(OpenError::Session),
        };
        if !self.opener.is_named(header.suite, header.slot) {
            return Err(OpenError::Session);
        }
        let counter = header.counter.get();
        let duplicate = match self.window.check(counter) {
            Verdict::New => false,
            Verdict::Duplicate => true,
            Verdict::Stale | Verdict::Ahead => return Err(OpenError::Stale),
        };
        let newest = epoch_of(self.window.highest().unwrap_or(self.window.next()));
        self.opener.admit(counter, newest)?;
        if mutant(Mutant::MarkedUnopened) {
            self.window.mark(counter);
        }
        let body = self.opener.open(counter, PAIR_HEADER, datagram)?;
        Ok(Opened {
            counter,
            duplicate,
            body,
        })
    }

    /// Marks a counter that was opened.
    pub fn mark(&mut self, counter: u64) {
        self.window.mark(counter);
    }

    /// One above the highest counter marked.
    pub fn next_counter(&self) -> u64 {
        self.window.next()
    }

    /// Datagrams that named this session and did not verify.
    pub fn forgeries(&self) -> u64 {
        self.opener.forgeries()
    }
}

fn window_bits(class: Class) -> u64 {
    if class == Class::Pair {
        PAIR_WINDOW
    } else {
        BULK_WINDOW
    }
}
