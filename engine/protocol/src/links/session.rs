//! The sessions of one link: keys and indices of its handshakes. One is used for sending; others are heard for a while,
//! because the two ends never change over at the same instant.
//!
//! A responder does not send on a new session before the initiator was heard on it, unless it has no other. When both
//! ends open at once, both hold both sessions; the one that the smaller node id opened is preferred. Neither session is
//! refused, so a pair is never locked out.

use tidings_wire::limits::COUNTER_END;
use tidings_wire::{Boot, NodeId, PairIdentity, PairKeys, RestingKeys};

/// Sessions opened within this time of each other count as opened at once.
const CROSSING_NS: u64 = 3_000_000_000;
/// A session that is not used any more is heard for this long after its last datagram.
const LINGER_NS: u64 = 3_000_000_000;
/// A session whose initiator was never heard on it is dropped after this, if there is another.
const UNCONFIRMED_NS: u64 = 10_000_000_000;
/// An OPENED is repeated to a repeated H3 at most this often.
const OPENED_REPEAT_NS: u64 = 50_000_000;
/// A session with fewer counters left than this is followed by another.
const COUNTERS_SPARE: u64 = 1 << 20;
/// Sessions of one link: the used one, the one before, one being opened.
const SESSIONS_MAX: usize = 3;

/// Which handshake made a session: equal only for the same H3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandshakeId {
    pub(crate) hs: u64,
    pub(crate) nonce_i: [u8; 16],
    pub(crate) nonce_r: [u8; 16],
}

/// Keys and indices from one handshake.
pub(crate) struct Session {
    pub(crate) keys: PairKeys,
    /// Slot of the key record that it was derived from.
    pub(crate) key_slot: u8,
    /// Our receive slot.
    pub(crate) slot: u32,
    /// The peer's index and steer.
    pub(crate) tx_index: u32,
    pub(crate) tx_steer: u8,
    pub(crate) id: HandshakeId,
    pub(crate) initiated: bool,
    /// Whether the smaller of the two node ids opened it.
    pub(crate) preferred: bool,
    pub(crate) installed_at: u64,
    /// The peer is known to hold it.
    pub(crate) confirmed: bool,
    heard_at: u64,
    opened_due: bool,
    opened_at: u64,
}

impl Session {
    /// A session as its handshake left it. The initiator's is confirmed: OPENED came over it.
    pub(crate) fn new(parts: Parts, now: u64) -> Self {
        Self {
            keys: parts.keys,
            key_slot: parts.key_slot,
            slot: parts.slot,
            tx_index: parts.tx_index,
            tx_steer: parts.tx_steer,
            id: parts.id,
            initiated: parts.initiated,
            preferred: parts.preferred,
            installed_at: now,
            confirmed: parts.initiated,
            heard_at: now,
            opened_due: !parts.initiated,
            opened_at: 0,
        }
    }

    /// Whether it is soon at the end of its counters, beyond which nothing is sealed.
    pub(crate) fn is_worn(&self) -> bool {
        let next = self.keys.pair_tx.next_counter();
        next.max(self.keys.bulk_tx.next_counter()) >= COUNTER_END - COUNTERS_SPARE
    }

    /// Whether it should be followed by one of the key that seals now, which is `primary` since `since`. A session that the peer
    /// opened later with another is not: the peer opens the next when it changes over.
    pub(crate) fn is_stale(&self, primary: u8, since: u64) -> bool {
        self.key_slot != primary && (self.initiated || self.installed_at < since)
    }

    /// What must be remembered of it while nothing is said.
    pub(crate) fn fold(&self) -> Folded {
        Folded {
            keys: self.keys.rest(),
            key_slot: self.key_slot,
            slot: self.slot,
            tx_index: self.tx_index,
            tx_steer: self.tx_steer,
            id: self.id,
            initiated: self.initiated,
            preferred: self.preferred,
            installed_at: self.installed_at,
        }
    }

    /// Whether every datagram on it must begin with OPENED: the initiator has not been heard.
    pub(crate) fn needs_opened(&self) -> bool {
        !self.confirmed
    }
}

/// A session while nothing is said.
pub(crate) struct Folded {
    keys: RestingKeys,
    key_slot: u8,
    slot: u32,
    tx_index: u32,
    tx_steer: u8,
    id: HandshakeId,
    initiated: bool,
    preferred: bool,
    installed_at: u64,
}

impl Folded {
    /// The session again, between `us` and `them`.
    pub(crate) fn unfold(self, now: u64, us: (NodeId, Boot), them: (NodeId, Boot)) -> Session {
        let (initiator, responder) = if self.initiated {
            (us, them)
        } else {
            (them, us)
        };
        let who = PairIdentity {
            initiator: initiator.0,
            initiator_boot: initiator.1,
            responder: responder.0,
            responder_boot: responder.1,
            nonce_i: self.id.nonce_i,
            nonce_r: self.id.nonce_r,
        };
        Session {
            keys: self.keys.wake(&who, self.initiated),
            key_slot: self.key_slot,
            slot: self.slot,
            tx_index: self.tx_index,
            tx_steer: self.tx_steer,
            id: self.id,
            initiated: self.initiated,
            preferred: self.preferred,
            installed_at: self.installed_at,
            confirmed: true,
            heard_at: now,
            opened_due: false,
            opened_at: 0,
        }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot
    }

    /// Slot of the key record that it was derived from.
    pub(crate) fn key_slot(&self) -> u8 {
        self.key_slot
    }
}

/// What a handshake yields.
pub(crate) struct Parts {
    pub(crate) keys: PairKeys,
    pub(crate) key_slot: u8,
    pub(crate) slot: u32,
    pub(crate) tx_index: u32,
    pub(crate) tx_steer: u8,
    pub(crate) id: HandshakeId,
    pub(crate) initiated: bool,
    pub(crate) preferred: bool,
}

/// All sessions of a link. There is always at least one.
pub(crate) struct Sessions {
    all: Vec<Session>,
    used: usize,
    used_since: u64,
}

impl Sessions {
    /// Begins with one.
    pub(crate) fn new(first: Session) -> Self {
        let used_since = first.installed_at;
        Self {
            all: vec![first],
            used: 0,
            used_since,
        }
    }

    /// Adds a session; the slot of one that had to go for it comes back.
    pub(crate) fn install(&mut self, session: Session, now: u64) -> Option<u32> {
        let dropped = (self.all.len() >= SESSIONS_MAX)
            .then(|| self.drop_oldest_unused())
            .flatten();
        self.all.push(session);
        self.choose(now);
        dropped
    }

    /// The session to send on.
    pub(crate) fn used(&mut self) -> &mut Session {
        &mut self.all[self.used]
    }

    /// The session to send on, to look at.
    pub(crate) fn used_ref(&self) -> &Session {
        &self.all[self.used]
    }

    /// The session that owns a receive slot.
    pub(crate) fn by_slot(&mut self, slot: u32) -> Option<&mut Session> {
        self.all.iter_mut().find(|session| session.slot == slot)
    }

    /// The session that a handshake made.
    pub(crate) fn by_handshake(&mut self, id: &HandshakeId) -> Option<&mut Session> {
        self.all.iter_mut().find(|session| session.id == *id)
    }

    /// Asks for an OPENED on a session whose H3 came again, if the last one is long enough ago.
    pub(crate) fn repeat_opened(&mut self, id: &HandshakeId, now: u64) -> bool {
        let Some(session) = self.by_handshake(id) else {
            return false;
        };
        if now >= session.opened_at + OPENED_REPEAT_NS {
            session.opened_due = true;
        }
        true
    }

    /// The next session that wants an OPENED, taken off the list of those that do; and whether it is the one used.
    pub(crate) fn take_opened_due(&mut self, now: u64) -> Option<(bool, &mut Session)> {
        let at = self.all.iter().position(|session| session.opened_due)?;
        let session = &mut self.all[at];
        session.opened_due = false;
        session.opened_at = now;
        Some((at == self.used, session))
    }

    /// A valid datagram came on this slot.
    pub(crate) fn heard(&mut self, slot: u32, now: u64) {
        let Some(at) = self.all.iter().position(|session| session.slot == slot) else {
            return;
        };
        self.all[at].heard_at = now;
        self.all[at].confirmed = true;
        if at != self.used {
            self.choose(now);
        }
    }

    /// When `expire` may have something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let unused = self
            .all
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != self.used);
        let going = unused.filter(|(_, session)| self.may_go(session));
        going.map(|(_, session)| self.expires_at(session)).min()
    }

    /// Drops a session that is not used and not heard any more; its slot comes back.
    pub(crate) fn expire(&mut self, now: u64) -> Option<u32> {
        let at = (0..self.all.len()).find(|at| {
            *at != self.used
                && self.may_go(&self.all[*at])
                && self.expires_at(&self.all[*at]) <= now
        })?;
        Some(self.remove(at))
    }

    /// The session, if there is but one and nothing is owed on it.
    pub(crate) fn only(&self) -> Option<&Session> {
        match &self.all[..] {
            [session] if session.confirmed && !session.opened_due => Some(session),
            _ => None,
        }
    }

    /// Every receive slot.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.all.iter().map(|session| session.slot)
    }

    /// Slots of the key records that they were derived from, one bit each.
    pub(crate) fn key_slots(&self) -> u8 {
        self.all
            .iter()
            .fold(0, |bits, session| bits | (1 << session.key_slot))
    }

    /// Sessions held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// A confirmed session goes only once the peer was heard on the one used instead. One that the peer opened is used because it
    /// was heard; of one that was opened here OPENED alone came.
    fn may_go(&self, session: &Session) -> bool {
        let used = &self.all[self.used];
        let is_heard = match used.initiated {
            true => used.heard_at > self.used_since,
            false => used.heard_at >= self.used_since,
        };
        !session.confirmed || is_heard
    }

    fn expires_at(&self, session: &Session) -> u64 {
        if session.confirmed {
            session.heard_at + LINGER_NS
        } else {
            session.installed_at + UNCONFIRMED_NS
        }
    }

    fn choose(&mut self, now: u64) {
        let confirmed = self.all.iter().any(|session| session.confirmed);
        let eligible = |session: &&Session| session.confirmed == confirmed;
        let Some(newest) = self
            .all
            .iter()
            .filter(eligible)
            .max_by_key(|session| session.installed_at)
        else {
            return;
        };
        let (since, key_slot) = (
            newest.installed_at.saturating_sub(CROSSING_NS),
            newest.key_slot,
        );
        let crossing =
            |session: &Session| session.installed_at >= since && session.key_slot == key_slot;
        let best = (0..self.all.len())
            .filter(|at| self.all[*at].confirmed == confirmed && crossing(&self.all[*at]))
            .max_by_key(|at| (self.all[*at].preferred, self.all[*at].installed_at, *at));
        if let Some(best) = best
            && best != self.used
        {
            self.used = best;
            self.used_since = now;
        }
    }

    fn drop_oldest_unused(&mut self) -> Option<u32> {
        let unused = (0..self.all.len()).filter(|at| *at != self.used);
        let at = unused.min_by_key(|at| self.all[*at].installed_at)?;
        Some(self.remove(at))
    }

    fn remove(&mut self, at: usize) -> u32 {
        let session = self.all.remove(at);
        if self.used > at {
            self.used -= 1;
        }
        session.slot
    }
}
