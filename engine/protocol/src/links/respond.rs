//! The responder's side of a handshake. Before H3 verifies nothing is allocated, and nothing larger than the request
//! goes to an address that has not proved itself.

use std::net::SocketAddr;

use tidings_wire::digest::{Cookie, Digest, Digests, H2, H3View, Introduction, Layout, Writer};
use tidings_wire::{
    Boot, Class, HELLO_HEADER, Header, HelloKind, NodeId, PairIdentity, PairKeys, TAG, hello_gate,
    hello_hash, hello_open, hello_seal,
};
use zerocopy::little_endian::U64;

use super::budget::Admission;
use super::handshake::{Local, VERSION, pack_caps, unpack_caps};
use super::link::Terms;
use super::session::{HandshakeId, Parts};
use super::{Env, LinkEvent, Links, Owner, Refusal};
use crate::peer::{PeerIx, Peers};

/// A HELLO in hand: where it came from and what its header said.
struct Incoming {
    from: SocketAddr,
    key_slot: u8,
    cookie: u64,
    len: usize,
    hash: [u8; 32],
    admission: Admission,
}

impl Links {
    /// Takes a HELLO datagram; replies go straight into the plan. `known` tells the highest generation known of a node,
    /// 0 for none. What comes back are the first digests of a peer whose H3 opened a session.
    pub(crate) fn hello(
        &mut self,
        env: &mut Env<'_>,
        from: SocketAddr,
        datagram: &mut [u8],
        known: &dyn Fn(&Peers, &NodeId) -> u64,
    ) -> Result<Option<(PeerIx, Vec<u8>)>, Refusal> {
        let kind = hello_gate(env.ring, datagram)?;
        if kind == HelloKind::Beacon {
            return Err(Refusal::Beacon);
        }
        let admission = self.budget.admit(env.now, from);
        if admission == Admission::Refuse {
            return Err(Refusal::Budget);
        }
        let hash = if kind == HelloKind::H1 {
            hello_hash(datagram)
        } else {
            [0; 32]
        };
        let len = datagram.len();
        let opened = hello_open(env.ring, datagram)?;
        let hello = Incoming {
            from,
            key_slot: opened.slot,
            cookie: opened.cookie,
            len,
            hash,
            admission,
        };
        self.secrets.rotate(env.now, env.rng);
        match (kind, Digests::new(opened.body).next()) {
            (HelloKind::H1, Some(Ok(Digest::H1(h1)))) => {
                self.on_h1(env, &hello, &h1.fixed.who, known).map(|()| None)
            }
            (HelloKind::H2, Some(Ok(Digest::H2(h2)))) => {
                self.on_h2(env, from, hello.key_slot, h2).map(|()| None)
            }
            (HelloKind::H3, Some(Ok(Digest::H3(h3)))) => self.on_h3(env, &hello, &h3, known),
            (HelloKind::Cookie, Some(Ok(Digest::Cookie(cookie)))) => self
                .on_cookie(env, from, &cookie.nonce_i, cookie.cookie.get())
                .map(|()| None),
            _ => Err(Refusal::Malformed),
        }
    }

    fn on_h1(
        &mut self,
        env: &mut Env<'_>,
        hello: &Incoming,
        who: &Introduction,
        known: &dyn Fn(&Peers, &NodeId) -> u64,
    ) -> Result<(), Refusal> {
        if who.target != NodeId::ZERO && who.target != self.local.id {
            return Err(Refusal::NotForUs);
        }
        check_version(who)?;
        let mut known = known(env.peers, &who.id);
        if who.id == self.local.id {
            if who.boot == self.local.boot {
                self.on_own_h1(env.now, &who.nonce);
                return Ok(());
            }
            // A twin: it gets its answer, and learns from it that it is not alone.
            self.note_twin(who, false);
            known = self.local.generation.unwrap_or(0);
        }
        if hello.admission == Admission::Cookie
            && !self.secrets.gave_cookie(hello.cookie, hello.from)
        {
            self.send_cookie(env, hello, who);
            return Ok(());
        }
        let h2 = H2 {
            ver: VERSION,
            id: self.local.id,
            boot: self.local.boot,
            nonce_i: who.nonce,
            nonce_r: self
                .secrets
                .nonce(who, hello.from, self.boot_before(env.peers, who)),
            h1_hash: hello.hash,
            known_generation: U64::new(known),
            caps: pack_caps(self.local.caps, 0),
            ..Default::default()
        };
        reply(env, &self.local, hello, HelloKind::H2, &h2);
        Ok(())
    }

    fn send_cookie(&mut self, env: &mut Env<'_>, hello: &Incoming, who: &Introduction) {
        let cookie = Cookie {
            cookie: U64::new(self.secrets.cookie(hello.from)),
            nonce_i: who.nonce,
            ..Default::default()
        };
        reply(env, &self.local, hello, HelloKind::Cookie, &cookie);
    }

    fn note_twin(&mut self, who: &Introduction, fresh: bool) {
        self.events.push_back(LinkEvent::Twin {
            boot: who.boot,
            generation: who.generation.get(),
            fresh,
        });
    }

    fn on_h3(
        &mut self,
        env: &mut Env<'_>,
        hello: &Incoming,
        h3: &H3View<'_>,
        known: &dyn Fn(&Peers, &NodeId) -> u64,
    ) -> Result<Option<(PeerIx, Vec<u8>)>, Refusal> {
        let who = &h3.fixed.who;
        check_version(who)?;
        if h3.fixed.responder != self.local.id || h3.fixed.responder_boot != self.local.boot {
            return Err(Refusal::NotForUs);
        }
        if who.id == self.local.id {
            self.note_twin(who, true);
            return Err(Refusal::Twin);
        }
        let before = self.boot_before(env.peers, who);
        if !self
            .secrets
            .gave(&h3.fixed.nonce_r, who, hello.from, before)
        {
            return Err(Refusal::Nonce);
        }
        let id = HandshakeId {
            hs: who.hs.get(),
            nonce_i: who.nonce,
            nonce_r: h3.fixed.nonce_r,
        };
        if self.is_repeated(env, who, &id) {
            return Ok(None);
        }
        if !self.installed.admits(who.id, who.boot, id.hs, env.now) {
            return Err(Refusal::Replayed);
        }
        if who.generation.get() == 0 || who.generation.get() < known(env.peers, &who.id) {
            return Err(Refusal::Generation);
        }
        self.install(env, hello, h3, id).map(Some)
    }

    // The other boot of the node to which there is a link, or was before that to this boot. An H3 that was recorded in an earlier
    // life of the node, and whose H1 came before the present one began, names none or another.
    fn boot_before(&self, peers: &Peers, who: &Introduction) -> Boot {
        let known = peers.find(&who.id).and_then(|peer| self.link(peer));
        match known {
            Some(known) if known.boot == who.boot => known.boot_before,
            Some(known) => known.boot,
            None => Boot::ZERO,
        }
    }

    /// Whether this H3 made a session that we still hold: then it only wants to hear OPENED again.
    fn is_repeated(&mut self, env: &Env<'_>, who: &Introduction, id: &HandshakeId) -> bool {
        let Some(peer) = env.peers.find(&who.id) else {
            return false;
        };
        let repeated = self
            .link_mut(peer)
            .is_some_and(|link| link.boot == who.boot && link.sessions.repeat_opened(id, env.now));
        if repeated {
            self.mark(peer);
        }
        repeated
    }

    fn install(
        &mut self,
        env: &mut Env<'_>,
        hello: &Incoming,
        h3: &H3View<'_>,
        id: HandshakeId,
    ) -> Result<(PeerIx, Vec<u8>), Refusal> {
        let who = &h3.fixed.who;
        let identity = PairIdentity {
            initiator: who.id,
            initiator_boot: who.boot,
            responder: self.local.id,
            responder_boot: self.local.boot,
            nonce_i: who.nonce,
            nonce_r: h3.fixed.nonce_r,
        };
        let mut keys = PairKeys::derive(env.ring, hello.key_slot, &identity, false)
            .map_err(|_| Refusal::Malformed)?;
        let body = open_inner(&mut keys, h3.inner)?;
        let peer = env.peers.intern(who.id);
        let (caps, link) = unpack_caps(who.caps);
        let terms = Terms {
            boot: who.boot,
            generation: who.generation.get(),
            rcvbuf: who.rcvbuf.get(),
            caps,
            link,
        };
        let preferred = self.is_preferred(&who.id, false);
        let held = self.open_link(peer);
        let crossed = held.is_some_and(|link| link.is_crossed(env.now, &terms, None, preferred))
            || (!preferred && self.would_end_dial(peer, &terms));
        if crossed {
            // Recorded and sent again later it would cross nothing.
            self.installed.note(who.id, who.boot, id.hs, env.now);
            return Err(Refusal::Crossed);
        }
        let slot = self
            .slots
            .take(env.now, Owner::Link(peer))
            .ok_or(Refusal::NoSlot)?;
        self.installed.note(who.id, who.boot, id.hs, env.now);
        let parts = Parts {
            keys,
            key_slot: hello.key_slot,
            slot,
            tx_index: who.rx_index.get(),
            tx_steer: who.steer,
            id,
            initiated: false,
            preferred,
        };
        self.attach(env.now, (peer, who.id, hello.from), &terms, parts, None);
        self.yield_dial(env.now, peer);
        Ok((peer, body))
    }
}

fn check_version(who: &Introduction) -> Result<(), Refusal> {
    if (who.ver_min..=who.ver_max).contains(&VERSION) {
        Ok(())
    } else {
        Err(Refusal::Version)
    }
}

/// Opens the PAIR datagram inside H3: proof that its sender derived the same keys.
fn open_inner(keys: &mut PairKeys, inner: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut inner = inner.to_vec();
    match Header::parse(&inner) {
        Ok(Header::Pair(header)) if header.index.get() == 0 && header.counter.get() == 0 => {}
        _ => return Err(Refusal::Malformed),
    }
    let opened = keys.pair_rx.open(&mut inner)?;
    let (counter, body) = (opened.counter, opened.body.to_vec());
    keys.pair_rx.mark(counter);
    Ok(body)
}

/// Seals one digest to where the HELLO came from, unless that would be larger than what came.
fn reply<T: Layout>(
    env: &mut Env<'_>,
    local: &Local,
    hello: &Incoming,
    kind: HelloKind,
    digest: &T,
) {
    let len = HELLO_HEADER + size_of::<T>() + TAG;
    if len > hello.len {
        return;
    }
    let salt = env.rng.bytes();
    env.tx.datagram(hello.from, Class::Hello, len, |buffer| {
        let mut writer = Writer::new(&mut buffer[HELLO_HEADER..len - TAG]);
        let written = writer.put(digest);
        let sealed = hello_seal(
            env.ring,
            hello.key_slot,
            kind,
            local.hello_steer,
            salt,
            0,
            buffer,
        )
        .is_ok();
        if written && sealed { len } else { 0 }
    });
}
