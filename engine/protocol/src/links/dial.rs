//! The initiator's side of a handshake: one dial tries the addresses of a peer, or of a seed, until a session is open.
//!
//! Every try has a new nonce and a higher counter. H1 and H3 are sealed once per try and repeated bit-identical, with
//! growing waits; H3 carries the first digests to the peer.

use std::net::SocketAddr;

use tidings_wire::digest::{H1, H2, H3, Introduction, LinkOpened, Writer};
use tidings_wire::limits::MIN_H1_DATAGRAM;
use tidings_wire::{
    Boot, Class, HELLO_HEADER, HelloKind, Keyring, MIN_DATAGRAM_SIZE, NodeId, PAIR_HEADER,
    PairIdentity, PairKeys, TAG, hello_hash, hello_seal,
};

use super::handshake::{Local, Try, unpack_caps};
use super::link::Terms;
use super::loose::Loose;
use super::session::HandshakeId;
use crate::peer::PeerIx;
use crate::rng::Rng;
use crate::tx::Tx;

/// The first wait for an answer from a peer whose round trip is unknown.
const WAIT_NS: u64 = 250_000_000;
/// Waits double up to this within a try.
const WAIT_NS_MAX: u64 = 2_000_000_000;
/// Sendings of H1, or of H3, within a try.
const SENDS_MAX: u32 = 3;
/// The longest rest between rounds over all addresses.
const REST_NS_MAX: u64 = 10_000_000_000;
/// A cookie is used for as long as its secret lives at least.
const COOKIE_NS: u64 = 120_000_000_000;

/// Whom a dial is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// A known peer, for as long as it is wanted.
    Peer(PeerIx),
    /// Whoever answers at an address; one try.
    Address(SocketAddr),
}

/// How far the current try got.
enum Phase {
    Resting,
    Greeting {
        datagram: Vec<u8>,
        hash: [u8; 32],
    },
    Confirming {
        datagram: Vec<u8>,
        answer: Box<Answer>,
    },
}

/// What H2 established.
pub(crate) struct Answer {
    pub(crate) keys: PairKeys,
    pub(crate) key_slot: u8,
    pub(crate) id: HandshakeId,
    pub(crate) peer_id: NodeId,
    pub(crate) boot: Boot,
}

/// What to do with a dial after its timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Send again, or begin a new try.
    Go,
    /// Nobody answered at any address: rest, or give up if nobody wants it.
    RoundOver,
}

/// One dial.
pub(crate) struct Dial {
    pub(crate) goal: Goal,
    /// Whom it turned out to reach.
    pub(crate) peer: Option<PeerIx>,
    pub(crate) addrs: Vec<SocketAddr>,
    /// Our receive slot, once one was free.
    pub(crate) slot: Option<u32>,
    /// Number of the link state that it opens, or renews.
    pub(crate) link: u32,
    /// Digests to travel with H3.
    pub(crate) pending: Loose,
    /// An existing link to the peer is to be renewed: being heard on the old one is not enough.
    pub(crate) renews: bool,
    pub(crate) rounds: u32,
    at: usize,
    try_: Try,
    key_slot: u8,
    cookie: Option<(u64, u64)>,
    phase: Phase,
    sends: u32,
    wait: u64,
    first_wait: u64,
    sent_at: u64,
    /// A round trip measured on the way.
    pub(crate) rtt: Option<u64>,
}

/// What a dial needs to write its datagrams.
pub(crate) struct Pen<'a> {
    pub(crate) now: u64,
    pub(crate) local: &'a Local,
    pub(crate) ring: &'a Keyring,
    pub(crate) rng: &'a mut Rng,
    pub(crate) tx: &'a mut Tx,
    /// Digests that every H3 carries.
    pub(crate) greeting: &'a [u8],
}

impl Dial {
    /// A dial that has sent nothing yet. `rtt` is the known round trip to a peer that is dialled again.
    pub(crate) fn new(goal: Goal, addrs: Vec<SocketAddr>, link: u32, rtt: Option<u64>) -> Self {
        let first_wait = rtt.map_or(WAIT_NS, |rtt| (3 * rtt).clamp(WAIT_NS / 5, WAIT_NS_MAX));
        Self {
            goal,
            peer: match goal {
                Goal::Peer(peer) => Some(peer),
                Goal::Address(_) => None,
            },
            addrs,
            slot: None,
            link,
            pending: Loose::default(),
            renews: false,
            rounds: 0,
            at: 0,
            try_: Try {
                nonce: [0; 16],
                hs: 0,
                link,
            },
            key_slot: 0,
            cookie: None,
            phase: Phase::Resting,
            sends: 0,
            wait: first_wait,
            first_wait,
            sent_at: 0,
            rtt: None,
        }
    }

    /// The address of the current try.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.addrs.get(self.at).copied()
    }

    /// Whether H3 is on its way, so that the peer may hold the session already.
    pub(crate) fn is_confirming(&self) -> bool {
        matches!(self.phase, Phase::Confirming { .. })
    }

    /// The same for this boot of the peer.
    pub(crate) fn is_confirming_with(&self, boot: Boot) -> bool {
        matches!(&self.phase, Phase::Confirming { answer, .. } if answer.boot == boot)
    }

    /// The current try's nonce.
    pub(crate) fn nonce(&self) -> &[u8; 16] {
        &self.try_.nonce
    }

    /// The session that waits for OPENED.
    pub(crate) fn answer_mut(&mut self) -> Option<&mut Answer> {
        match &mut self.phase {
            Phase::Confirming { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// Ends the try with the session that OPENED confirmed.
    pub(crate) fn take_answer(&mut self) -> Option<Answer> {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Confirming { answer, .. } => Some(*answer),
            _ => None,
        }
    }

    /// The answer to the current datagram came: its round trip is known if it was sent only once.
    pub(crate) fn measure(&mut self, now: u64) {
        if self.sends == 1 {
            self.rtt = Some(now.saturating_sub(self.sent_at));
        }
    }

    /// The timer fired: decides what comes next. `Go` is followed by `go`.
    pub(crate) fn on_timeout(&mut self) -> Next {
        if self.sends < SENDS_MAX || matches!(self.phase, Phase::Resting) {
            return Next::Go;
        }
        self.phase = Phase::Resting;
        self.at += 1;
        if self.at < self.addrs.len() {
            return Next::Go;
        }
        self.at = 0;
        self.rounds += 1;
        Next::RoundOver
    }

    /// How long to rest after a round: doubling from 0.5 s to 10 s, jittered.
    pub(crate) fn rest(&self, rng: &mut Rng) -> u64 {
        let rest = (2 * WAIT_NS) << self.rounds.min(6);
        rng.jitter(rest.min(REST_NS_MAX))
    }

    /// Sends what the phase asks for; returns when to look again. `target` is zero for whoever answers.
    pub(crate) fn go(&mut self, pen: &mut Pen<'_>, target: NodeId, hs: &mut u64) -> Option<u64> {
        if matches!(self.phase, Phase::Resting) {
            self.start_try(pen, target, hs)?;
        }
        self.send(pen)
    }

    fn start_try(&mut self, pen: &mut Pen<'_>, target: NodeId, hs: &mut u64) -> Option<()> {
        *hs += 1;
        self.try_ = Try {
            nonce: pen.rng.bytes(),
            hs: *hs,
            link: self.link,
        };
        self.key_slot = self.slot_of_try(pen.ring, pen.rng);
        self.seal_h1(pen, target)
    }

    // The key that seals; in every other round another one that is installed: the peer may have missed a rotation, or this node.
    // Whoever answers at an address is tried for one round only, under either.
    fn slot_of_try(&self, ring: &Keyring, rng: &mut Rng) -> u8 {
        let primary = ring.primary_slot();
        let others = (0..8).filter(|slot| *slot != primary && ring.has(*slot));
        let others: Vec<u8> = others.collect();
        if self.renews || others.is_empty() {
            return primary;
        }
        let draw = match self.goal {
            Goal::Peer(_) => u64::from(self.rounds),
            Goal::Address(_) => rng.next_u64(),
        };
        match draw.is_multiple_of(2) {
            true => primary,
            false => others[(draw / 2 % others.len() as u64) as usize],
        }
    }

    /// The try goes no further: a new one begins, with the key that seals now.
    pub(crate) fn start_over(&mut self) {
        self.phase = Phase::Resting;
    }

    /// Slot of the key record of the current try.
    pub(crate) fn key_slot(&self) -> u8 {
        self.key_slot
    }

    fn seal_h1(&mut self, pen: &mut Pen<'_>, target: NodeId) -> Option<()> {
        let local = pen.local;
        let who = local.introduce(&self.try_, target, self.slot?);
        let datagram = self.seal_hello(pen, HelloKind::H1, |writer| {
            let h1 = H1 {
                who,
                ..Default::default()
            };
            let least = MIN_H1_DATAGRAM - HELLO_HEADER - TAG;
            writer.put_h1(&h1, &local.addrs) && (writer.len() >= least || writer.pad_to(least))
        })?;
        let hash = hello_hash(&datagram);
        self.phase = Phase::Greeting { datagram, hash };
        self.sends = 0;
        self.wait = self.first_wait;
        Some(())
    }

    /// The responder asked for its cookie. True if a datagram should go out now.
    pub(crate) fn on_cookie(&mut self, now: u64, cookie: u64) -> bool {
        if !matches!(self.phase, Phase::Greeting { .. })
            || self.cookie.is_some_and(|(known, _)| known == cookie)
        {
            return false;
        }
        self.cookie = Some((cookie, now));
        self.phase = Phase::Resting;
        true
    }

    /// Whether this H2 answers the current H1.
    pub(crate) fn asked_for(&self, h2: &H2, key_slot: u8, from: SocketAddr) -> bool {
        matches!(&self.phase, Phase::Greeting { hash, .. } if *hash == h2.h1_hash)
            && h2.nonce_i == self.try_.nonce
            && key_slot == self.key_slot
            && self.addr() == Some(from)
    }

    /// H2 is good: derives the session and seals H3, to be sent by `go`. None if the keyring lost the key meanwhile.
    pub(crate) fn confirm(&mut self, pen: &mut Pen<'_>, target: NodeId, h2: &H2) -> Option<()> {
        let who = PairIdentity {
            initiator: pen.local.id,
            initiator_boot: pen.local.boot,
            responder: h2.id,
            responder_boot: h2.boot,
            nonce_i: self.try_.nonce,
            nonce_r: h2.nonce_r,
        };
        let mut keys = PairKeys::derive(pen.ring, self.key_slot, &who, true).ok()?;
        let inner = self.seal_inner(pen, &mut keys)?;
        let who = pen.local.introduce(&self.try_, target, self.slot?);
        let datagram = self.seal_h3(pen, who, h2, &inner)?;
        let answer = Box::new(Answer {
            keys,
            key_slot: self.key_slot,
            id: HandshakeId {
                hs: self.try_.hs,
                nonce_i: self.try_.nonce,
                nonce_r: h2.nonce_r,
            },
            peer_id: h2.id,
            boot: h2.boot,
        });
        self.phase = Phase::Confirming { datagram, answer };
        self.sends = 0;
        self.wait = self.first_wait;
        Some(())
    }

    /// The PAIR datagram inside H3: counter 0, index 0, the greeting and what waits, as far as they fit.
    fn seal_inner(&mut self, pen: &mut Pen<'_>, keys: &mut PairKeys) -> Option<Vec<u8>> {
        let around = HELLO_HEADER + size_of::<H3>() + size_of_val(&pen.local.addrs[..]) + TAG;
        let mut inner = vec![0; MIN_DATAGRAM_SIZE - around];
        let end = inner.len() - TAG;
        let mut writer = Writer::new(&mut inner[PAIR_HEADER..end]);
        if !pen.greeting.is_empty() {
            let _fits = writer.put_encoded(pen.greeting);
        }
        self.pending.write_into(&mut writer);
        let len = PAIR_HEADER + writer.len() + TAG;
        inner.truncate(len);
        keys.pair_tx.seal(0, 0, &mut inner).ok()?;
        Some(inner)
    }

    fn seal_h3(
        &self,
        pen: &mut Pen<'_>,
        who: Introduction,
        h2: &H2,
        inner: &[u8],
    ) -> Option<Vec<u8>> {
        let h3 = H3 {
            who,
            responder: h2.id,
            responder_boot: h2.boot,
            nonce_r: h2.nonce_r,
            ..Default::default()
        };
        let local = pen.local;
        self.seal_hello(pen, HelloKind::H3, |writer| {
            writer.put_h3(&h3, &local.addrs, inner)
        })
    }

    fn seal_hello(
        &self,
        pen: &mut Pen<'_>,
        kind: HelloKind,
        write: impl FnOnce(&mut Writer<'_>) -> bool,
    ) -> Option<Vec<u8>> {
        let cookie = self
            .cookie
            .filter(|(_, at)| pen.now < at + COOKIE_NS)
            .map_or(0, |(cookie, _)| cookie);
        let mut datagram = vec![0; MIN_DATAGRAM_SIZE];
        let mut writer = Writer::new(&mut datagram[HELLO_HEADER..MIN_DATAGRAM_SIZE - TAG]);
        if !write(&mut writer) {
            return None;
        }
        let len = HELLO_HEADER + writer.len() + TAG;
        datagram.truncate(len);
        let salt = pen.rng.bytes();
        let steer = pen.local.hello_steer;
        hello_seal(
            pen.ring,
            self.key_slot,
            kind,
            steer,
            salt,
            cookie,
            &mut datagram,
        )
        .ok()?;
        Some(datagram)
    }

    fn send(&mut self, pen: &mut Pen<'_>) -> Option<u64> {
        let to = self.addr()?;
        let datagram = match &self.phase {
            Phase::Resting => return None,
            Phase::Greeting { datagram, .. } | Phase::Confirming { datagram, .. } => datagram,
        };
        pen.tx.datagram(to, Class::Hello, datagram.len(), |buffer| {
            buffer.copy_from_slice(datagram);
            buffer.len()
        });
        self.sends += 1;
        self.sent_at = pen.now;
        let wait = pen.rng.jitter(self.wait);
        self.wait = (2 * self.wait).min(WAIT_NS_MAX);
        Some(pen.now + wait)
    }
}

/// The peer's terms out of OPENED.
pub(crate) fn opened_terms(opened: &LinkOpened, boot: Boot) -> Terms {
    let (caps, link) = unpack_caps(opened.caps);
    Terms {
        boot,
        generation: opened.generation.get(),
        rcvbuf: opened.rcvbuf.get(),
        caps,
        link,
    }
}
