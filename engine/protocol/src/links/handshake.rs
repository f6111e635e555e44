//! What initiator and responder of a handshake share: who we are, what an introduction says, and the responder's secret.
//!
//! H1 and H2 leave nothing behind at the responder. Its nonce is a MAC under a rotating secret over the initiator's
//! boot, nonce, handshake counter and address, so that H3 proves a fresh exchange from that address.

use std::net::SocketAddr;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{Addr, Introduction};
use tidings_wire::{Boot, NodeId, address_cookie, responder_nonce};
use zerocopy::little_endian::{U32, U64};

use crate::rng::Rng;

/// The protocol version spoken here.
pub(crate) const VERSION: u8 = 1;
/// The responder's secret lives this long as the current one, and as long again as the previous one.
const SECRET_NS: u64 = 120_000_000_000;

/// This node, as its handshakes present it.
pub(crate) struct Local {
    pub(crate) id: NodeId,
    pub(crate) boot: Boot,
    /// None until known: the state directory was lost and no peer has told yet.
    pub(crate) generation: Option<u64>,
    /// Steer of PAIR and BULK towards us.
    pub(crate) steer: u8,
    /// Steer of HELLO, the same at every node of the overlay.
    pub(crate) hello_steer: u8,
    /// Bytes of our data socket's buffer that one peer may fill.
    pub(crate) rcvbuf: u32,
    pub(crate) caps: u32,
    pub(crate) addrs: Vec<Addr>,
    /// 12 random bits of this boot, on top of every index.
    pub(crate) boot_tag: u16,
    /// Largest datagram that needs no probe, and the largest to probe for.
    pub(crate) datagram_min: usize,
    pub(crate) datagram_max: usize,
}

impl Local {
    /// The introduction of one try.
    pub(crate) fn introduce(&self, try_: &Try, target: NodeId, slot: u32) -> Introduction {
        Introduction {
            ver_min: VERSION,
            ver_max: VERSION,
            steer: self.steer,
            naddr: 0,
            rx_index: U32::new(self.index(slot)),
            rcvbuf: U32::new(self.rcvbuf),
            id: self.id,
            boot: self.boot,
            nonce: try_.nonce,
            target,
            hs: U64::new(try_.hs),
            generation: U64::new(self.generation.unwrap_or(0)),
            caps: pack_caps(self.caps, try_.link),
        }
    }

    /// The index of one of our slots.
    pub(crate) fn index(&self, slot: u32) -> u32 {
        tidings_wire::index_of(self.boot_tag, slot)
    }
}

/// What distinguishes one try from every other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) nonce: [u8; 16],
    pub(crate) hs: u64,
    /// Number of the link state that the try belongs to: it tells the other end whether we still hold what it holds.
    pub(crate) link: u32,
}

/// The upper half of the capability field is the sender's link number.
pub(crate) fn pack_caps(caps: u32, link: u32) -> U64 {
    U64::new(u64::from(link) << 32 | u64::from(caps))
}

/// (capabilities, link number).
pub(crate) fn unpack_caps(field: U64) -> (u32, u32) {
    (field.get() as u32, (field.get() >> 32) as u32)
}

/// The responder's secrets.
pub(crate) struct Secrets {
    current: Secret,
    previous: Secret,
    rotated_at: u64,
}

#[derive(Clone, Copy)]
struct Secret {
    nonce: [u8; 32],
    cookie: [u8; 16],
}

impl Secret {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            nonce: rng.bytes(),
            cookie: rng.bytes(),
        }
    }

    fn nonce(&self, who: &Introduction, from: SocketAddr, before: Boot) -> [u8; 16] {
        // The keyed hash of the address is folded into the counter's place, and half of the boot, which is random: a MAC over all.
        let mut place = who.hs.get() ^ address_cookie(&self.cookie, from);
        if mutant(Mutant::AddressUnbound) {
            place = who.hs.get();
        }
        for (at, byte) in before.0.iter().take(8).enumerate() {
            place ^= u64::from(*byte) << (8 * at);
        }
        responder_nonce(&self.nonce, &who.id, &who.boot, &who.nonce, place)
    }
}

impl Secrets {
    /// Fresh ones.
    pub(crate) fn new(now: u64, rng: &mut Rng) -> Self {
        Self {
            current: Secret::draw(rng),
            previous: Secret::draw(rng),
            rotated_at: now,
        }
    }

    /// Rotates as time demands. Called before every use.
    pub(crate) fn rotate(&mut self, now: u64, rng: &mut Rng) {
        let age = now.saturating_sub(self.rotated_at);
        if age < SECRET_NS || mutant(Mutant::SecretKept) {
            return;
        }
        self.previous = if age < 2 * SECRET_NS {
            self.current
        } else {
            Secret::draw(rng)
        };
        self.current = Secret::draw(rng);
        self.rotated_at = now;
    }

    /// The nonce that answers an H1. `before` is the other boot of that node to which there was a link last, zero if none.
    pub(crate) fn nonce(&self, who: &Introduction, from: SocketAddr, before: Boot) -> [u8; 16] {
        self.current.nonce(who, from, before)
    }

    /// Whether the nonce in an H3 is one that we gave to this introduction at this address, lately, and since when there was no
    /// link to yet another boot.
    pub(crate) fn gave(
        &self,
        nonce: &[u8; 16],
        who: &Introduction,
        from: SocketAddr,
        before: Boot,
    ) -> bool {
        [&self.current, &self.previous]
            .into_iter()
            .any(|secret| secret.nonce(who, from, before) == *nonce)
    }

    /// The cookie of an address.
    pub(crate) fn cookie(&self, from: SocketAddr) -> u64 {
        address_cookie(&self.current.cookie, from)
    }

    /// Whether the cookie is one that we gave to this address, lately.
    pub(crate) fn gave_cookie(&self, cookie: u64, from: SocketAddr) -> bool {
        address_cookie(&self.current.cookie, from) == cookie
            || address_cookie(&self.previous.cookie, from) == cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_verifies_for_its_introduction_and_address_until_its_secret_is_two_rotations_old() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut secrets = Secrets::new(0, &mut rng);
        let here = SocketAddr::from(([10, 0, 0, 1], 1));
        let there = SocketAddr::from(([10, 0, 0, 1], 2));
        let who = Introduction {
            hs: U64::new(7),
            ..Default::default()
        };
        let later = Introduction {
            hs: U64::new(8),
            ..who
        };
        let nonce = secrets.nonce(&who, here, Boot([1; 16]));
        assert!(secrets.gave(&nonce, &who, here, Boot([1; 16])));
        assert!(!secrets.gave(&nonce, &who, there, Boot([1; 16])));
        assert!(!secrets.gave(&nonce, &later, here, Boot([1; 16])));
        secrets.rotate(SECRET_NS, &mut rng);
        assert!(secrets.gave(&nonce, &who, here, Boot([1; 16])));
        secrets.rotate(2 * SECRET_NS, &mut rng);
        assert!(!secrets.gave(&nonce, &who, here, Boot([1; 16])));
        let nonce = secrets.nonce(&who, here, Boot([1; 16]));
        secrets.rotate(5 * SECRET_NS, &mut rng);
        assert!(!secrets.gave(&nonce, &who, here, Boot([1; 16])));
    }

    #[test]
    fn capabilities_and_link_number_share_a_field() {
        assert_eq!(unpack_caps(pack_caps(5, 9)), (5, 9));
    }
}
