//! What is made of a datagram that came from a group: the address of another node of one of our overlays, or a reason
//! to drop it. Everything cheap comes first. Bytes in, an address out: no socket, no clock.

use std::net::{IpAddr, SocketAddr};

use tidings_protocol::Bucket;
use tidings_wire::digest::{Beacon, Digest, Digests, Writer};
use tidings_wire::{
    Boot, HELLO_HEADER, Header, HelloKind, Keyring, NodeId, OpenError, OverlayId, SealError, TAG,
    hello_gate, hello_open, hello_seal, steer,
};

/// Bytes of a beacon datagram.
pub(super) const BEACON_BYTES: usize = HELLO_HEADER + size_of::<Beacon>() + TAG;
/// Bytes of the longest that is read: later versions append to the digest.
pub(super) const BEACON_BYTES_MAX: usize = 512;
const _: () = assert!(BEACON_BYTES == 136 && BEACON_BYTES < BEACON_BYTES_MAX);

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Refused {
    /// It is not a HELLO of kind BEACON.
    Header,
    /// Of an overlay for which discovery is not on here.
    Overlay,
    /// Under a key that is not installed.
    Key,
    /// The tag does not verify.
    Forged,
    /// What is in it is no beacon.
    Malformed,
    /// It came from another address than the one it speaks of: sent again by somebody else, or translated on its way.
    Source,
    /// More than are taken.
    Rate,
}

impl Refused {
    /// Number of reasons.
    pub(super) const COUNT: usize = 7;
    /// Their names, in order.
    pub(super) const LABELS: [&'static str; Self::COUNT] = [
        "header",
        "overlay",
        "key",
        "forged",
        "malformed",
        "source",
        "rate",
    ];
}

/// Where another node says it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) overlay: OverlayId,
    pub(super) node: NodeId,
    pub(super) addr: SocketAddr,
}

/// Opens a datagram that came from `from`. `None`: our own. What passes the gate takes a token: it was sealed by a
/// holder of the key once, and everything dearer comes after that.
pub(super) fn hear<'a>(
    rings: impl IntoIterator<Item = &'a Keyring>,
    me: &NodeId,
    from: IpAddr,
    datagram: &mut [u8],
    now: u64,
    budget: &mut Bucket,
) -> Result<Option<Heard>, Refused> {
    let Ok(Header::Hello(header)) = Header::parse(datagram) else {
        return Err(Refused::Header);
    };
    if header.kind() != HelloKind::Beacon as u8 {
        return Err(Refused::Header);
    }
    let tag = header.tag;
    let mut rings = rings.into_iter();
    let ring = rings.find(|ring| ring.overlay_tag() == tag);
    let ring = ring.ok_or(Refused::Overlay)?;
    hello_gate(ring, datagram).map_err(|_| Refused::Key)?;
    if !budget.take(now) {
        return Err(Refused::Rate);
    }
    let opened = hello_open(ring, datagram).map_err(|error| match error {
        OpenError::Forged => Refused::Forged,
        _ => Refused::Key,
    })?;
    let Some(Ok(Digest::Beacon(beacon))) = Digests::new(opened.body).next() else {
        return Err(Refused::Malformed);
    };
    if beacon.id == *me {
        return Ok(None);
    }
    if beacon.addr().ip() != from.to_canonical() {
        return Err(Refused::Source);
    }
    Ok(Some(Heard {
        overlay: ring.overlay(),
        node: beacon.id,
        addr: beacon.addr(),
    }))
}

/// A beacon of this node for its address `addr`, sealed under the primary key. `salt` is fresh and random.
pub(super) fn beacon(
    ring: &Keyring,
    (id, boot): (NodeId, Boot),
    addr: SocketAddr,
    salt: [u8; 32],
) -> Result<[u8; BEACON_BYTES], SealError> {
    let mut datagram = [0; BEACON_BYTES];
    let mut writer = Writer::new(&mut datagram[HELLO_HEADER..BEACON_BYTES - TAG]);
    if !writer.put(&Beacon::new(id, boot, addr)) {
        return Err(SealError::Length);
    }
    hello_seal(
        ring,
        ring.primary_slot(),
        HelloKind::Beacon,
        steer(ring.overlay(), 0),
        salt,
        0,
        &mut datagram,
    )?;
    Ok(datagram)
}

#[cfg(test)]
mod tests {
    use tidings_wire::{KeyRecord, Suite};

    use super::*;

    const ME: NodeId = NodeId([1; 16]);
    const OTHER: NodeId = NodeId([2; 16]);

    fn ring(name: &str, slot: u8, key: u8) -> Keyring {
        let record = KeyRecord::new(slot, Suite::Aes256Gcm, [key; 32]);
        Keyring::new(OverlayId::from_name(name), vec![record], slot).unwrap()
    }

    fn said(ring: &Keyring, id: NodeId, addr: &str) -> [u8; BEACON_BYTES] {
        beacon(ring, (id, Boot([9; 16])), addr.parse().unwrap(), [7; 32]).unwrap()
    }

    fn take(rings: &[Keyring], from: &str, datagram: &[u8]) -> Result<Option<Heard>, Refused> {
        let mut budget = Bucket::new(1, 1);
        let mut datagram = datagram.to_vec();
        let from = from.parse().unwrap();
        hear(rings, &ME, from, &mut datagram, 0, &mut budget)
    }

    #[test]
    fn a_beacon_of_another_node_yields_its_address_and_our_own_nothing() {
        let rings = [ring("a", 0, 1), ring("b", 3, 2)];
        for addr in ["10.0.0.2:7400", "[2001:db8::2]:7400"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let datagram = said(&rings[1], OTHER, &addr.to_string());
            let heard = take(&rings, &addr.ip().to_string(), &datagram).unwrap();
            let wanted = Heard {
                overlay: rings[1].overlay(),
                node: OTHER,
                addr,
            };
            assert_eq!(heard, Some(wanted));
        }
        let own = said(&rings[0], ME, "10.0.0.1:7400");
        assert_eq!(take(&rings, "10.0.0.1", &own), Ok(None));
    }

    #[test]
    fn any_installed_key_opens_it() {
        let mut both = ring("a", 0, 1);
        let new = KeyRecord::new(1, Suite::ChaCha20Poly1305, [8; 32]);
        both.install(new).unwrap();
        let datagram = said(&ring("a", 0, 1), OTHER, "10.0.0.2:1");
        both.set_primary(1).unwrap();
        assert!(take(&[both], "10.0.0.2", &datagram).unwrap().is_some());
    }

    #[test]
    fn each_fault_has_its_reason() {
        let rings = [ring("a", 0, 1)];
        let good = said(&rings[0], OTHER, "10.0.0.2:7400");
        let refused = |datagram: &[u8]| take(&rings, "10.0.0.2", datagram).unwrap_err();
        let changed = |at: usize| {
            let mut datagram = good;
            datagram[at] ^= 1;
            refused(&datagram)
        };
        assert_eq!(take(&rings, "10.0.0.3", &good), Err(Refused::Source));
        assert_eq!(refused(b""), Refused::Header);
        assert_eq!(refused(&good[..100]), Refused::Header);
        assert_eq!(changed(56), Refused::Overlay);
        assert_eq!(changed(2), Refused::Key);
        assert_eq!(changed(8), Refused::Key);
        assert_eq!(changed(20), Refused::Key);
        assert_eq!(changed(70), Refused::Forged);
        assert_eq!(changed(BEACON_BYTES - 1), Refused::Forged);
        let foreign = said(&ring("a", 0, 2), OTHER, "10.0.0.2:7400");
        assert_eq!(refused(&foreign), Refused::Key);
        let nowhere = said(&rings[0], OTHER, "10.0.0.2:0");
        assert_eq!(refused(&nowhere), Refused::Malformed);
        let mut hello = vec![0; 256];
        hello_seal(&rings[0], 0, HelloKind::H1, 0, [1; 32], 0, &mut hello).unwrap();
        assert_eq!(refused(&hello), Refused::Header);
        let mut empty = vec![0; HELLO_HEADER + TAG];
        hello_seal(&rings[0], 0, HelloKind::Beacon, 0, [1; 32], 0, &mut empty).unwrap();
        assert_eq!(refused(&empty), Refused::Malformed);
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let rings = [ring("a", 0, 1)];
        let good = said(&rings[0], OTHER, "10.0.0.2:7400");
        for bit in 0..good.len() * 8 {
            let mut datagram = good;
            datagram[bit / 8] ^= 1 << (bit % 8);
            assert!(take(&rings, "10.0.0.2", &datagram).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn no_more_are_opened_than_the_budget_allows() {
        let rings = [ring("a", 0, 1)];
        let good = said(&rings[0], OTHER, "10.0.0.2:7400");
        let mut budget = Bucket::new(1, 2);
        let mut hear = |datagram: &[u8]| {
            let from = "10.0.0.2".parse().unwrap();
            super::hear(&rings, &ME, from, &mut datagram.to_vec(), 0, &mut budget)
        };
        // What does not pass the gate takes nothing of it.
        let mut junk = good;
        junk[8] ^= 1;
        for _ in 0..10 {
            assert_eq!(hear(&junk), Err(Refused::Key));
        }
        assert!(hear(&good).is_ok() && hear(&good).is_ok());
        assert_eq!(hear(&good), Err(Refused::Rate));
    }
}
