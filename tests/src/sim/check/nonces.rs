//! No nonce seals twice: two datagrams of one key and counter are the same datagram.
//!
//! Headers show session or index, and counter. Two sessions may share an index: a handshake that was tried twice. Where
//! that may be, the keys of all sessions that there could be decide, from the handshakes that were overheard.

use std::collections::HashMap;

use tidings_wire::digest::{Digest, Digests};
use tidings_wire::{
    Class, FAN_HEADER, HELLO_HEADER, HelloKind, Keyring, PAIR_HEADER, PairIdentity, PairKeys,
    hello_open,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Every header that was ever sent, and its datagram.
pub(crate) struct Nonces {
    ring: Keyring,
    seen: HashMap<u64, (usize, usize)>,
    bytes: Vec<u8>,
    // By the numbers of initiator and responder.
    sessions: HashMap<(u64, u64), Vec<PairIdentity>>,
}

impl Nonces {
    pub(crate) fn new(ring: Keyring) -> Nonces {
        Nonces {
            ring,
            seen: HashMap::new(),
            bytes: Vec::new(),
            sessions: HashMap::new(),
        }
    }

    /// Sender and receiver are told by number, the sender by its life, too. True if it was sealed anew.
    pub(crate) fn check(
        &mut self,
        (sender, life): (u64, u64),
        receiver: u64,
        class: Class,
        datagram: &[u8],
    ) -> bool {
        let header = match class {
            Class::Hello => HELLO_HEADER,
            Class::Pair | Class::Bulk => PAIR_HEADER,
            Class::Fan => FAN_HEADER,
        };
        // A FAN datagram goes to many as it is.
        let to = if class == Class::Fan { 0 } else { receiver };
        let key = xxh3_64_with_seed(&datagram[..header], life << 32 | sender << 16 | to);
        if let Some(&(at, len)) = self.seen.get(&key) {
            let first = &self.bytes[at..at + len];
            if first != datagram {
                let linked = matches!(class, Class::Pair | Class::Bulk);
                let apart = linked && !self.same_key((sender, receiver), class, first, datagram);
                assert!(
                    apart,
                    "a nonce of {class:?} sealed two datagrams from n{sender} to n{receiver}: {:?}",
                    &datagram[..header]
                );
            }
            return false;
        }
        self.seen.insert(key, (self.bytes.len(), datagram.len()));
        self.bytes.extend_from_slice(datagram);
        if class == Class::Hello {
            self.overhear((sender, receiver), datagram);
        }
        true
    }

    fn overhear(&mut self, ends: (u64, u64), datagram: &[u8]) {
        let mut copy = datagram.to_vec();
        let Ok(hello) = hello_open(&self.ring, &mut copy) else {
            return;
        };
        let Some(Ok(Digest::H3(h3))) = Digests::new(hello.body).next() else {
            return;
        };
        assert!(hello.kind == HelloKind::H3, "H3 stands in an H3");
        let h3 = h3.fixed;
        self.sessions.entry(ends).or_default().push(PairIdentity {
            initiator: h3.who.id,
            initiator_boot: h3.who.boot,
            responder: h3.responder,
            responder_boot: h3.responder_boot,
            nonce_i: h3.who.nonce,
            nonce_r: h3.nonce_r,
        });
    }

    // Whether any session's key opens both.
    fn same_key(&self, (from, to): (u64, u64), class: Class, one: &[u8], other: &[u8]) -> bool {
        let opens = |identity: &PairIdentity, receiver_began: bool, datagram: &[u8]| {
            let slot = datagram[2];
            let Ok(mut keys) = PairKeys::derive(&self.ring, slot, identity, receiver_began) else {
                return false;
            };
            let mut copy = datagram.to_vec();
            if class == Class::Pair {
                keys.pair_rx.open(&mut copy).is_ok()
            } else {
                keys.bulk_rx.open(&mut copy).is_ok()
            }
        };
        [((from, to), false), ((to, from), true)]
            .into_iter()
            .any(|(ends, receiver_began)| {
                self.sessions
                    .get(&ends)
                    .into_iter()
                    .flatten()
                    .any(|identity| {
                        opens(identity, receiver_began, one)
                            && opens(identity, receiver_began, other)
                    })
            })
    }
}
