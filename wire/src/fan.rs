//! FAN streams: sealed once by the publisher for every node of the stream, tracked from a floor by each receiver.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::epoch::{EpochKeys, Lineage, Opener, epoch_of};
use crate::error::{OpenError, SealError};
use crate::header::{Class, FAN_HEADER, FanHeader, Header, TAG};
use crate::ids::{Boot, NodeId};
use crate::keyring::Keyring;
use crate::limits::{COUNTER_END, FAN_WINDOW, MAX_DATAGRAM_SIZE};
use crate::link::Opened;
use crate::window::{FloorWindow, Verdict};

/// The publisher's end of a stream.
pub struct FanTx {
    keys: EpochKeys,
    tag: [u8; 4],
    session: u64,
    lane: u8,
    next: u64,
}

impl FanTx {
    /// A stream of `node` and `boot`; `session` is 64 random bits that this boot never used before.
    pub fn new(
        ring: &Keyring,
        slot: u8,
        node: NodeId,
        boot: Boot,
        session: u64,
        lane: u8,
    ) -> Result<Self, SealError> {
        let lineage =
            lineage(ring, slot, node, boot, session, lane).ok_or(SealError::UnknownSlot)?;
        Ok(Self {
            keys: EpochKeys::new(lineage),
            tag: half_tag(ring),
            session,
            lane,
            next: 0,
        })
    }

    /// Starts at `counter` if that is higher than the next one: counters are never used twice.
    pub fn at_counter(mut self, counter: u64) -> Self {
        self.next = self.next.max(counter);
        self
    }

    /// Seals `datagram` = 32 B for the header, the body, 16 B for the tag. Returns the counter.
    pub fn seal(&mut self, steer: u8, datagram: &mut [u8]) -> Result<u64, SealError> {
        if !(FAN_HEADER + TAG..=MAX_DATAGRAM_SIZE).contains(&datagram.len()) {
            return Err(SealError::Length);
        }
        if self.next >= COUNTER_END {
            return Err(SealError::Exhausted);
        }
        let counter = self.next;
        self.next += 1;
        let header = FanHeader {
            first: Class::Fan.first_byte(),
            suite: self.keys.lineage().suite(),
            slot: self.keys.lineage().slot(),
            steer,
            tag: self.tag,
            counter: U64::new(counter),
            session: U64::new(self.session),
            lane: self.lane,
            reserved: [0; 7],
        };
        datagram[..FAN_HEADER].copy_from_slice(header.as_bytes());
        if self
            .keys
            .key(epoch_of(counter))
            .seal(counter, FAN_HEADER, datagram)
        {
            Ok(counter)
        } else {
            Err(SealError::Length)
        }
    }

    /// The counter of the next datagram.
    pub fn next_counter(&self) -> u64 {
        self.next
    }

    /// The stream's session.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Opens a datagram of this stream again, in `scratch`, which must hold its body and tag. Keys of the current
    /// and the two epochs before it are at hand; one of an older epoch is derived anew.
    pub fn open_copy<'a>(
        &self,
        sealed: &[u8],
        scratch: &'a mut [u8],
    ) -> Result<&'a [u8], OpenError> {
        let header = match Header::parse(sealed)? {
            Header::Fan(header) => header,
            _ => return Err(OpenError::Session),
        };
        let ours = header.session.get() == self.session
            && header.lane == self.lane
            && header.suite == self.keys.lineage().suite()
            && header.slot == self.keys.lineage().slot();
        if !ours {
            return Err(OpenError::Session);
        }
        let counter = header.counter.get();
        if counter >= self.next {
            return Err(OpenError::Ahead);
        }
        let (header, rest) = sealed.split_at(FAN_HEADER);
        let copy = scratch.get_mut(..rest.len()).ok_or(OpenError::Scratch)?;
        copy.copy_from_slice(rest);
        let body = match self.keys.kept(epoch_of(counter)) {
            Some(key) => key.open_apart(counter, header, copy),
            None => self
                .keys
                .lineage()
                .derive(epoch_of(counter))
                .open_apart(counter, header, copy),
        };
        body.map(|body| &*body).ok_or(OpenError::Forged)
    }
}

/// A receiver's end of a stream.
pub struct FanRx {
    opener: Opener,
    tag: [u8; 4],
    session: u64,
    lane: u8,
    window: FloorWindow,
}

impl FanRx {
    /// The stream that a STREAM_OPEN of `node` announced; nothing below `floor` is opened.
    pub fn new(
        ring: &Keyring,
        slot: u8,
        node: NodeId,
        boot: Boot,
        session: u64,
        lane: u8,
        floor: u64,
    ) -> Result<Self, OpenError> {
        let lineage =
            lineage(ring, slot, node, boot, session, lane).ok_or(OpenError::UnknownSlot)?;
        let window = FloorWindow::new(FAN_WINDOW, floor);
        Ok(Self {
            opener: Opener::new(lineage),
            tag: half_tag(ring),
            session,
            lane,
            window,
        })
    }

    /// Slot of the key record that it is derived from.
    pub fn key_slot(&self) -> u8 {
        self.opener.key_slot()
    }

    /// Checks header and window, then opens in place. Nothing is marked: see [`mark`](Self::mark).
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let header = match Header::parse(datagram)? {
            Header::Fan(header) => header,
            _ => return Err(OpenError::Session),
        };
        if header.tag != self.tag {
            return Err(OpenError::Overlay);
        }
        let ours = header.session.get() == self.session
            && header.lane == self.lane
            && self.opener.is_named(header.suite, header.slot);
        if !ours {
            return Err(OpenError::Session);
        }
        let counter = header.counter.get();
        let duplicate = match self.window.check(counter) {
            Verdict::New => false,
            Verdict::Duplicate => true,
            Verdict::Stale => return Err(OpenError::Stale),
            Verdict::Ahead => return Err(OpenError::Ahead),
        };
        self.opener.admit(counter, epoch_of(self.window.floor()))?;
        let body = self.opener.open(counter, FAN_HEADER, datagram)?;
        Ok(Opened {
            counter,
            duplicate,
            body,
        })
    }

    /// Marks a counter that was opened; the floor follows.
    pub fn mark(&mut self, counter: u64) {
        self.window.mark(counter);
    }

    /// Gives up everything below `floor`; never lowers it.
    pub fn raise_floor(&mut self, floor: u64) {
        self.window.raise(floor);
    }

    /// All below it is received or given up.
    pub fn floor(&self) -> u64 {
        self.window.floor()
    }

    /// The highest received.
    pub fn highest(&self) -> Option<u64> {
        self.window.highest()
    }

    /// Words from the floor up to the highest received, bit 0 of the first being the floor; how many were written.
    pub fn bitmap(&self, out: &mut [u64]) -> usize {
        self.window.bitmap(out)
    }

    /// Whether `counter` is received or below the floor.
    pub fn contains(&self, counter: u64) -> bool {
        self.window.contains(counter)
    }

    /// The stream's session.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Datagrams that named this stream and did not verify.
    pub fn forgeries(&self) -> u64 {
        self.opener.forgeries()
    }
}

fn lineage(
    ring: &Keyring,
    slot: u8,
    node: NodeId,
    boot: Boot,
    session: u64,
    lane: u8,
) -> Option<Lineage> {
    let root = ring.root(slot)?;
    Some(Lineage::new(
        root,
        "fan",
        &[&node.0, &boot.0, &session.to_le_bytes(), &[lane]],
    ))
}

fn half_tag(ring: &Keyring) -> [u8; 4] {
    let tag = ring.overlay_tag();
    [tag[0], tag[1], tag[2], tag[3]]
}
