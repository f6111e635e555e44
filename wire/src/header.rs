//! Datagram headers: four classes, strict per version. Everything here happens before any key is touched.

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Ref, Unaligned};

use crate::error::HeaderError;
use crate::limits::MAX_KEY_SLOTS;
use crate::suite::Suite;

/// Version of the headers.
pub const VERSION: u8 = 1;
/// Bytes of a HELLO header.
pub const HELLO_HEADER: usize = 64;
/// Bytes of a PAIR or BULK header.
pub const PAIR_HEADER: usize = 16;
/// Bytes of a FAN header.
pub const FAN_HEADER: usize = 32;
/// Bytes of the tag that ends every datagram.
pub const TAG: usize = 16;

/// What a datagram is for; the low half of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Handshake, before a session exists.
    Hello = 1,
    /// Probes, acks, control between two boots: small and fresh.
    Pair = 2,
    /// Pair-keyed and big: tables, pages, catch-up.
    Bulk = 3,
    /// Live payload, sealed once for all nodes of a stream.
    Fan = 4,
}

impl Class {
    /// The class that a first byte names, if version and class are known.
    pub fn of(first: u8) -> Result<Self, HeaderError> {
        if first >> 4 != VERSION {
            return Err(HeaderError::Version);
        }
        match first & 0xf {
            1 => Ok(Self::Hello),
            2 => Ok(Self::Pair),
            3 => Ok(Self::Bulk),
            4 => Ok(Self::Fan),
            _ => Err(HeaderError::Class),
        }
    }

    /// The first byte of this class.
    pub const fn first_byte(self) -> u8 {
        (VERSION << 4) | self as u8
    }

    /// Bytes of its header.
    pub const fn header_len(self) -> usize {
        match self {
            Self::Hello => HELLO_HEADER,
            Self::Pair | Self::Bulk => PAIR_HEADER,
            Self::Fan => FAN_HEADER,
        }
    }
}

/// HELLO: 64 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct HelloHeader {
    /// version << 4 | class.
    pub first: u8,
    /// Suite of the key record.
    pub suite: u8,
    /// Kind << 4 | slot.
    pub kind_slot: u8,
    /// xxh3 of overlay and lane.
    pub steer: u8,
    /// Bytes after the header.
    pub sealed_len: U32,
    /// SipHash-2-4 over the other 56 bytes.
    pub gate: U64,
    /// Random; makes the key single-use.
    pub salt: [u8; 32],
    /// Cookie of the responder, 0 if none.
    pub cookie: U64,
    /// Which overlay.
    pub tag: [u8; 8],
}

impl HelloHeader {
    /// 1 to 5.
    pub fn kind(&self) -> u8 {
        self.kind_slot >> 4
    }

    /// 0 to 7.
    pub fn slot(&self) -> u8 {
        self.kind_slot & 7
    }
}

/// PAIR and BULK: 16 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LinkHeader {
    /// version << 4 | class.
    pub first: u8,
    /// Suite of the key record.
    pub suite: u8,
    /// Slot of the key record.
    pub slot: u8,
    /// Chosen by the receiver.
    pub steer: u8,
    /// Chosen by the receiver: boot tag << 20 | slot.
    pub index: U32,
    /// Counter of this direction.
    pub counter: U64,
}

/// FAN: 32 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct FanHeader {
    /// version << 4 | class.
    pub first: u8,
    /// Suite of the key record.
    pub suite: u8,
    /// Slot of the key record.
    pub slot: u8,
    /// xxh3 of overlay and lane.
    pub steer: u8,
    /// First half of the overlay tag.
    pub tag: [u8; 4],
    /// Counter of the stream.
    pub counter: U64,
    /// The stream.
    pub session: U64,
    /// Its lane.
    pub lane: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = {
    assert!(size_of::<HelloHeader>() == HELLO_HEADER);
    assert!(offset_of!(HelloHeader, gate) == 8 && offset_of!(HelloHeader, salt) == 16);
    assert!(offset_of!(HelloHeader, cookie) == 48 && offset_of!(HelloHeader, tag) == 56);
    assert!(size_of::<LinkHeader>() == PAIR_HEADER);
    assert!(offset_of!(LinkHeader, index) == 4 && offset_of!(LinkHeader, counter) == 8);
    assert!(size_of::<FanHeader>() == FAN_HEADER);
    assert!(offset_of!(FanHeader, tag) == 4 && offset_of!(FanHeader, counter) == 8);
    assert!(offset_of!(FanHeader, session) == 16 && offset_of!(FanHeader, lane) == 24);
};

/// A checked header, viewed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header<'a> {
    /// HELLO.
    Hello(&'a HelloHeader),
    /// PAIR.
    Pair(&'a LinkHeader),
    /// BULK.
    Bulk(&'a LinkHeader),
    /// FAN.
    Fan(&'a FanHeader),
}

impl<'a> Header<'a> {
    /// Checks everything that can be checked without a key: length, version, class, suite, slot, reserved bits.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, HeaderError> {
        let first = *datagram.first().ok_or(HeaderError::TooShort)?;
        match Class::of(first)? {
            Class::Hello => parse_hello(datagram).map(Self::Hello),
            Class::Pair => parse_link(datagram).map(Self::Pair),
            Class::Bulk => parse_link(datagram).map(Self::Bulk),
            Class::Fan => parse_fan(datagram).map(Self::Fan),
        }
    }

    /// Its class.
    pub fn class(&self) -> Class {
        match self {
            Self::Hello(_) => Class::Hello,
            Self::Pair(_) => Class::Pair,
            Self::Bulk(_) => Class::Bulk,
            Self::Fan(_) => Class::Fan,
        }
    }
}

fn parse_hello(datagram: &[u8]) -> Result<&HelloHeader, HeaderError> {
    let header: &HelloHeader = prefix(datagram)?;
    check_suite(header.suite)?;
    if header.kind_slot & 0x88 != 0 {
        return Err(HeaderError::Reserved);
    }
    if !(1..=5).contains(&header.kind()) {
        return Err(HeaderError::Slot);
    }
    if header.sealed_len.get() as usize != datagram.len() - HELLO_HEADER {
        return Err(HeaderError::Length);
    }
    Ok(header)
}

fn parse_link(datagram: &[u8]) -> Result<&LinkHeader, HeaderError> {
    let header: &LinkHeader = prefix(datagram)?;
    check_suite(header.suite)?;
    check_slot(header.slot)?;
    Ok(header)
}

fn parse_fan(datagram: &[u8]) -> Result<&FanHeader, HeaderError> {
    let header: &FanHeader = prefix(datagram)?;
    check_suite(header.suite)?;
    check_slot(header.slot)?;
    if header.reserved != [0; 7] {
        return Err(HeaderError::Reserved);
    }
    Ok(header)
}

fn prefix<T: FromBytes + KnownLayout + Immutable + Unaligned>(
    datagram: &[u8],
) -> Result<&T, HeaderError> {
    if datagram.len() < size_of::<T>() + TAG {
        return Err(HeaderError::TooShort);
    }
    let (header, _) = Ref::<_, T>::from_prefix(datagram).map_err(|_| HeaderError::TooShort)?;
    Ok(Ref::into_ref(header))
}

fn check_suite(byte: u8) -> Result<(), HeaderError> {
    Suite::from_wire(byte).map(|_| ()).ok_or(HeaderError::Suite)
}

fn check_slot(byte: u8) -> Result<(), HeaderError> {
    if usize::from(byte) < MAX_KEY_SLOTS {
        Ok(())
    } else {
        Err(HeaderError::Slot)
    }
}

/// An index from a boot's 12-bit tag and a 20-bit slot.
pub const fn index_of(boot_tag: u16, slot: u32) -> u32 {
    (((boot_tag as u32) & 0xfff) << 20) | (slot & 0xf_ffff)
}

/// The 20-bit slot of an index.
pub const fn index_slot(index: u32) -> u32 {
    index & 0xf_ffff
}

/// The 12-bit boot tag of an index.
pub const fn index_boot_tag(index: u32) -> u16 {
    (index >> 20) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fan() -> [u8; 48] {
        let mut datagram = [0; 48];
        datagram[..4].copy_from_slice(&[0x14, 2, 7, 9]);
        datagram
    }

    #[test]
    fn a_header_is_viewed_in_place() {
        let mut datagram = fan();
        datagram[8..16].copy_from_slice(&5u64.to_le_bytes());
        datagram[24] = 3;
        let Ok(Header::Fan(header)) = Header::parse(&datagram) else {
            panic!("refused")
        };
        assert_eq!((header.counter.get(), header.lane, header.slot), (5, 3, 7));
    }

    #[test]
    fn each_fault_has_its_name() {
        let refused = |at: usize, byte: u8| {
            let mut datagram = fan();
            datagram[at] = byte;
            Header::parse(&datagram).unwrap_err()
        };
        assert_eq!(refused(0, 0x24), HeaderError::Version);
        assert_eq!(refused(0, 0x15), HeaderError::Class);
        assert_eq!(refused(1, 0), HeaderError::Suite);
        assert_eq!(refused(1, 5), HeaderError::Suite);
        assert_eq!(refused(1, 0xe0), HeaderError::Suite);
        assert_eq!(refused(2, 8), HeaderError::Slot);
        assert_eq!(refused(31, 1), HeaderError::Reserved);
        assert_eq!(Header::parse(&fan()[..47]), Err(HeaderError::TooShort));
        assert_eq!(Header::parse(&[]), Err(HeaderError::TooShort));
    }

    #[test]
    fn an_index_is_a_boot_tag_and_a_slot() {
        let index = index_of(0xabc, 0x12345);
        assert_eq!(
            (index, index_boot_tag(index), index_slot(index)),
            (0xabc1_2345, 0xabc, 0x12345)
        );
    }
}
