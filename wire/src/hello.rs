//! HELLO datagrams: single-use keys from a random salt, behind a gate that junk does not pass.

use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::error::{OpenError, SealError};
use crate::header::{Class, HELLO_HEADER, Header, HelloHeader, TAG};
use crate::ids::{Boot, NodeId};
use crate::kdf::{Root, SealingKey, hmac_sha256, sha256};
use crate::keyring::Keyring;
use crate::limits::MAX_DATAGRAM_SIZE;

/// The step of the handshake; part of the header and of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HelloKind {
    /// The initiator introduces itself.
    H1 = 1,
    /// The responder answers and remembers nothing.
    H2 = 2,
    /// The initiator confirms; the session exists.
    H3 = 3,
    /// The responder asks for its cookie first.
    Cookie = 4,
    /// Sent to a multicast group: where the sender is reached. No step of a handshake.
    Beacon = 5,
}

impl HelloKind {
    fn from_wire(kind: u8) -> Option<Self> {
        match kind {
            1 => Some(Self::H1),
            2 => Some(Self::H2),
            3 => Some(Self::H3),
            4 => Some(Self::Cookie),
            5 => Some(Self::Beacon),
            _ => None,
        }
    }
}

/// A HELLO that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedHello<'a> {
    /// The step.
    pub kind: HelloKind,
    /// Slot of the record that opened it.
    pub slot: u8,
    /// The cookie that the sender presents, 0 if none.
    pub cookie: u64,
    /// The digests.
    pub body: &'a [u8],
    /// The sender's salt.
    pub salt: [u8; 32],
}

/// Seals `datagram` = 64 B for the header, the body, 16 B for the tag. `salt` is 32 fresh random bytes:
/// a salt used twice with another body breaks the key.
pub fn hello_seal(
    ring: &Keyring,
    slot: u8,
    kind: HelloKind,
    steer: u8,
    salt: [u8; 32],
    cookie: u64,
    datagram: &mut [u8],
) -> Result<(), SealError> {
    if !(HELLO_HEADER + TAG..=MAX_DATAGRAM_SIZE).contains(&datagram.len()) {
        return Err(SealError::Length);
    }
    let root = ring.root(slot).ok_or(SealError::UnknownSlot)?;
    let sip = ring.sip_key(slot).ok_or(SealError::UnknownSlot)?;
    let mut header = HelloHeader {
        first: Class::Hello.first_byte(),
        suite: root.suite() as u8,
        kind_slot: ((kind as u8) << 4) | slot,
        steer,
        sealed_len: U32::new((datagram.len() - HELLO_HEADER) as u32),
        gate: U64::ZERO,
        salt,
        cookie: U64::new(cookie),
        tag: ring.overlay_tag(),
    };
    header.gate = U64::new(gate_of(sip, &header));
    datagram[..HELLO_HEADER].copy_from_slice(header.as_bytes());
    if hello_key(root, kind, &salt).seal(0, HELLO_HEADER, datagram) {
        Ok(())
    } else {
        Err(SealError::Length)
    }
}

/// Checks header, overlay and gate, and nothing that costs more: what passes was sealed by a holder of the key.
/// The caller found `ring` by the header's overlay tag.
pub fn hello_gate(ring: &Keyring, datagram: &[u8]) -> Result<HelloKind, OpenError> {
    check_gate(ring, datagram).map(|(kind, _)| kind)
}

fn check_gate(ring: &Keyring, datagram: &[u8]) -> Result<(HelloKind, HelloHeader), OpenError> {
    let header = match Header::parse(datagram)? {
        Header::Hello(header) => *header,
        _ => return Err(OpenError::Session),
    };
    if header.tag != ring.overlay_tag() {
        return Err(OpenError::Overlay);
    }
    let sip = ring.sip_key(header.slot()).ok_or(OpenError::UnknownSlot)?;
    if ring.suite(header.slot()).map(|suite| suite as u8) != Some(header.suite) {
        return Err(OpenError::Suite);
    }
    let kind = HelloKind::from_wire(header.kind()).ok_or(OpenError::Session)?;
    if gate_of(sip, &header) != header.gate.get() {
        return Err(OpenError::Gate);
    }
    Ok((kind, header))
}

/// As [`hello_gate`], then opens in place.
pub fn hello_open<'a>(
    ring: &Keyring,
    datagram: &'a mut [u8],
) -> Result<OpenedHello<'a>, OpenError> {
    let (kind, header) = check_gate(ring, datagram)?;
    let slot = header.slot();
    let root = ring.root(slot).ok_or(OpenError::UnknownSlot)?;
    let body = hello_key(root, kind, &header.salt)
        .open(0, HELLO_HEADER, datagram)
        .ok_or(OpenError::Forged)?;
    Ok(OpenedHello {
        kind,
        slot,
        cookie: header.cookie.get(),
        body,
        salt: header.salt,
    })
}

/// SHA-256 of a sealed HELLO datagram as it was sent: H2 echoes that of the H1 it answers. Taken before opening.
pub fn hello_hash(datagram: &[u8]) -> [u8; 32] {
    sha256(&[datagram])
}

/// The nonce of a responder that remembers nothing: HMAC-SHA-256(secret, id || boot || nonce || hs)[..16] over
/// the initiator's fields, which H3 repeats. Local: no peer recomputes it.
pub fn responder_nonce(
    secret: &[u8; 32],
    initiator: &NodeId,
    boot: &Boot,
    nonce: &[u8; 16],
    hs: u64,
) -> [u8; 16] {
    let mac = hmac_sha256(secret, &[&initiator.0, &boot.0, nonce, &hs.to_le_bytes()]);
    let mut made = [0; 16];
    made.copy_from_slice(&mac[..16]);
    made
}

/// The cookie of a source address: SipHash-2-4(secret, IPv6 or mapped IPv4 || port), never 0. Local.
pub fn address_cookie(secret: &[u8; 16], from: SocketAddr) -> u64 {
    let ip = match from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut key = [0; 18];
    key[..16].copy_from_slice(&ip.octets());
    key[16..].copy_from_slice(&from.port().to_le_bytes());
    SipHasher24::new_with_key(secret).hash(&key).max(1)
}

fn gate_of(sip: &[u8; 16], header: &HelloHeader) -> u64 {
    let bytes = header.as_bytes();
    let mut rest = [0; 56];
    rest[..8].copy_from_slice(&bytes[..8]);
    rest[8..].copy_from_slice(&bytes[16..]);
    SipHasher24::new_with_key(sip).hash(&rest)
}

fn hello_key(root: &Root, kind: HelloKind, salt: &[u8; 32]) -> SealingKey {
    root.sealing_key("hello", &[&[kind as u8], salt])
}
