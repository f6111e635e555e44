//! The member table: what is held of every other node, and the bucket hashes over it.
//!
//! Statements are ordered by (generation, incarnation, state); a table only keeps what is held, it tells nobody.

use std::net::SocketAddr;

use tidings_wire::NodeId;
use tidings_wire::digest::{
    Digest, Digests, Member, MemberState, MemberView, bucket_of, member_hash,
};
use tidings_wire::limits::BUCKETS;
use zerocopy::FromBytes;

use super::record::Record;
use super::suspicion::Suspicion;
use crate::peer::{PeerIx, reach};

/// Members in one table, dead ones included: 32 MiB of the largest records.
pub(crate) const MEMBERS_MAX: usize = 32_768;
/// An incarnation that others tell may run ahead of the known one by this much.
const INCARNATION_JUMP: u64 = 1 << 20;
/// Observers of a closed port that are kept: two decide.
const OBSERVERS_MAX: usize = 4;

/// Which life of a member and which of its refutations or changes a statement is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Stand {
    pub(crate) generation: u64,
    pub(crate) incarnation: u64,
}

impl Stand {
    /// Whether what is told of somebody is too far ahead of what is known to be true: a life that is not known yet begins at
    /// incarnation 0. Believed, it could never be refuted.
    pub(crate) fn jumps(self, known: Stand) -> bool {
        let begin = if self.generation == known.generation {
            known.incarnation
        } else {
            0
        };
        self.incarnation.saturating_sub(begin) > INCARNATION_JUMP
    }
}

/// One member. There are thousands: what its record says is read from it, and what few have at a time stands beside.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The record as its owner issued it; it may lag behind what was said of its owner since.
    record: Record,
    /// Since when it is in this state.
    pub(crate) since: u64,
    rare: Option<Box<Rare>>,
    live_at: u32,
    pub(crate) state: MemberState,
    /// A link to it was up, so that it is known by more than relays.
    reached: bool,
}

const _: () = assert!(size_of::<Option<Entry>>() <= 40);

/// What is known of a member that is suspect, dead, or not where it says or says no more.
#[derive(Debug, Default)]
struct Rare {
    /// Where it stands, if that is not where its record does.
    stand: Option<Stand>,
    suspicion: Option<Suspicion>,
    /// Who saw its port closed, at this stand.
    observers: Vec<NodeId>,
    /// Where its last link was, if that is not the first address of its record.
    elsewhere: Option<SocketAddr>,
    /// When it was last told that it is held dead.
    told_at: Option<u64>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.stand.is_none()
            && self.suspicion.is_none()
            && self.observers.is_empty()
            && self.elsewhere.is_none()
            && self.told_at.is_none()
    }
}

impl Entry {
    /// Alive or suspect.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, MemberState::Alive | MemberState::Suspect)
    }

    /// Who it is.
    pub(crate) fn id(&self) -> NodeId {
        self.fixed().id
    }

    /// Which life of it, and which of its refutations or changes, the last statement that was believed is about.
    pub(crate) fn stand(&self) -> Stand {
        let later = self.rare.as_ref().and_then(|rare| rare.stand);
        later.unwrap_or_else(|| self.record_stand())
    }

    /// The fixed part of the record.
    fn fixed(&self) -> &Member {
        let (fixed, _) =
            Member::ref_from_prefix(&self.record).expect("only what was decoded is kept");
        fixed
    }

    /// The record, encoded.
    pub(crate) fn record(&self) -> &[u8] {
        &self.record
    }

    /// The record, decoded.
    pub(crate) fn view(&self) -> Option<MemberView<'_>> {
        match Digests::new(&self.record).next() {
            Some(Ok(Digest::Member(view))) => Some(view),
            _ => None,
        }
    }

    /// Where the record stands.
    pub(crate) fn record_stand(&self) -> Stand {
        stand_of(self.fixed())
    }

    /// Takes a newer record.
    pub(crate) fn take_record(&mut self, encoded: &[u8]) {
        let (stand, last) = (self.stand(), self.last_addr());
        self.record = Record::new(encoded);
        self.stand_at(stand);
        if let Some(last) = last {
            self.met_at(last);
        }
    }

    fn stand_at(&mut self, stand: Stand) {
        let later = (stand != self.record_stand()).then_some(stand);
        if later.is_some() || self.rare.is_some() {
            self.change_rare(|rare| rare.stand = later);
        }
    }

    /// Whether a link to it was ever up.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached
    }

    /// A link to it is up.
    pub(crate) fn met_at(&mut self, addr: SocketAddr) {
        self.reached = true;
        let elsewhere = (self.stated().next() != Some(addr)).then_some(addr);
        self.change_rare(|rare| rare.elsewhere = elsewhere);
    }

    /// Where its last link was.
    fn last_addr(&self) -> Option<SocketAddr> {
        if !self.reached {
            return None;
        }
        let elsewhere = self.rare.as_ref().and_then(|rare| rare.elsewhere);
        elsewhere.or_else(|| self.stated().next())
    }

    fn stated(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let view = self.view();
        let addrs = view.into_iter().flat_map(|view| view.addrs);
        addrs.map(|addr| SocketAddr::from(*addr))
    }

    /// Whether it says that it is there.
    pub(crate) fn states(&self, addr: SocketAddr) -> bool {
        self.stated().any(|stated| stated == addr)
    }

    /// Where to try it, best first: where it was, then where it says it is.
    pub(crate) fn places(&self) -> Vec<SocketAddr> {
        let last = self.last_addr();
        let stated = self.stated().filter(|addr| Some(*addr) != last);
        last.into_iter().chain(stated).collect()
    }

    /// The suspicion that runs against it.
    pub(crate) fn suspicion(&self) -> Option<&Suspicion> {
        self.rare.as_ref()?.suspicion.as_ref()
    }

    /// The same, to change.
    pub(crate) fn suspicion_mut(&mut self) -> Option<&mut Suspicion> {
        self.rare.as_mut()?.suspicion.as_mut()
    }

    /// A suspicion begins.
    pub(crate) fn suspect(&mut self, suspicion: Suspicion) {
        self.change_rare(|rare| rare.suspicion = Some(suspicion));
    }

    /// Who saw its port closed, at this stand.
    pub(crate) fn observers(&self) -> &[NodeId] {
        self.rare.as_ref().map_or(&[], |rare| &rare.observers)
    }

    /// Somebody saw its port closed. True if it is new that this one did.
    pub(crate) fn observe(&mut self, observer: NodeId) -> bool {
        let seen = self.observers();
        let new = seen.len() < OBSERVERS_MAX && !seen.contains(&observer);
        if new {
            self.change_rare(|rare| rare.observers.push(observer));
        }
        new
    }

    /// When it was last told that it is held dead.
    pub(crate) fn told_at(&self) -> Option<u64> {
        self.rare.as_ref()?.told_at
    }

    /// It is told that it is held dead.
    pub(crate) fn told(&mut self, now: u64) {
        self.change_rare(|rare| rare.told_at = Some(now));
    }

    fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().unwrap_or_default();
        change(&mut rare);
        self.rare = Some(rare).filter(|rare| !rare.is_empty());
    }
}

/// The stand of a record.
pub(crate) fn stand_of(fixed: &Member) -> Stand {
    Stand {
        generation: fixed.generation.get(),
        incarnation: fixed.incarnation.get(),
    }
}

/// All members but ourselves.
pub(crate) struct Table {
    entries: Vec<Option<Entry>>,
    live: Vec<PeerIx>,
    /// Counts the changes of `live`.
    changes: u64,
    suspects: usize,
    len: usize,
    hashes: [u64; BUCKETS],
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            live: Vec::new(),
            changes: 0,
            suspects: 0,
            len: 0,
            hashes: [0; BUCKETS],
        }
    }
}

impl Table {
    /// The entry of a member.
    pub(crate) fn get(&self, peer: PeerIx) -> Option<&Entry> {
        self.entries.get(peer.at())?.as_ref()
    }

    /// The entry of a member, to change anything but stand and state.
    pub(crate) fn get_mut(&mut self, peer: PeerIx) -> Option<&mut Entry> {
        self.entries.get_mut(peer.at())?.as_mut()
    }

    /// Members, dead ones and those that left included.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Alive and suspect members, in no order that means anything.
    pub(crate) fn live(&self) -> &[PeerIx] {
        &self.live
    }

    /// How often [`Table::live`] has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Suspect members.
    pub(crate) fn suspects(&self) -> usize {
        self.suspects
    }

    /// Every entry, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerIx, &Entry)> {
        self.iter_from(0)
    }

    /// Entries from a number on, for walks that are continued.
    pub(crate) fn iter_from(&self, first: usize) -> impl Iterator<Item = (PeerIx, &Entry)> {
        let entries = self.entries.iter().enumerate().skip(first);
        entries.filter_map(|(at, entry)| Some((PeerIx(at as u32), entry.as_ref()?)))
    }

    /// Adds a member that its record introduces as alive. False if the table is full.
    pub(crate) fn insert(&mut self, now: u64, peer: PeerIx, view: &MemberView<'_>) -> bool {
        if self.len >= MEMBERS_MAX || self.get(peer).is_some() {
            return false;
        }
        reach(&mut self.entries, peer, || None);
        let entry = Entry {
            record: Record::new(view.encoded),
            since: now,
            rare: None,
            live_at: self.live.len() as u32,
            state: MemberState::Alive,
            reached: false,
        };
        self.hashes[usize::from(bucket_of(&entry.id()))] ^= hash_of(&entry);
        self.live.push(peer);
        self.changes += 1;
        self.len += 1;
        self.entries[peer.at()] = Some(entry);
        true
    }

    /// Moves a member to a stand and state; what depends on the old ones is forgotten. Returns the state before.
    pub(crate) fn shift(
        &mut self,
        now: u64,
        peer: PeerIx,
        stand: Stand,
        state: MemberState,
    ) -> Option<MemberState> {
        let entry = self.entries.get_mut(peer.at())?.as_mut()?;
        let (before, was_live, old) = (entry.state, entry.is_live(), hash_of(entry));
        let other = stand != entry.stand();
        if entry.rare.is_some() {
            entry.change_rare(|rare| {
                if state != MemberState::Suspect || other {
                    rare.suspicion = None;
                }
                if state == MemberState::Alive || other {
                    rare.observers = Vec::new();
                }
            });
        }
        if before != state {
            entry.since = now;
        }
        entry.stand_at(stand);
        entry.state = state;
        let is_live = entry.is_live();
        let (bucket, change) = (usize::from(bucket_of(&entry.id())), old ^ hash_of(entry));
        self.hashes[bucket] ^= change;
        self.suspects += usize::from(state == MemberState::Suspect);
        self.suspects -= usize::from(before == MemberState::Suspect);
        match (was_live, is_live) {
            (true, false) => self.unlist(peer),
            (false, true) => self.list(peer),
            _ => {}
        }
        Some(before)
    }

    /// Forgets a member.
    pub(crate) fn remove(&mut self, peer: PeerIx) {
        let Some(entry) = self.entries.get(peer.at()).and_then(Option::as_ref) else {
            return;
        };
        let live = entry.is_live();
        self.suspects -= usize::from(entry.state == MemberState::Suspect);
        self.hashes[usize::from(bucket_of(&entry.id()))] ^= hash_of(entry);
        if live {
            self.unlist(peer);
        }
        self.entries[peer.at()] = None;
        self.len -= 1;
    }

    /// The hashes over the live members of every bucket, ourselves not included.
    pub(crate) fn hashes(&self) -> &[u64; BUCKETS] {
        &self.hashes
    }

    fn list(&mut self, peer: PeerIx) {
        let at = self.live.len();
        self.live.push(peer);
        self.changes += 1;
        if let Some(entry) = self.get_mut(peer) {
            entry.live_at = at as u32;
        }
    }

    fn unlist(&mut self, peer: PeerIx) {
        let Some(at) = self.get(peer).map(|entry| entry.live_at as usize) else {
            return;
        };
        self.live.swap_remove(at);
        self.changes += 1;
        if let Some(moved) = self.live.get(at).copied()
            && let Some(entry) = self.get_mut(moved)
        {
            entry.live_at = at as u32;
        }
    }
}

/// What a member adds to its bucket: nothing if it is not live, so that tombstones, which expire at each node by its
/// own clock, never make two views differ.
fn hash_of(entry: &Entry) -> u64 {
    if entry.is_live() {
        let stand = entry.stand();
        member_hash(
            &entry.id(),
            stand.generation,
            stand.incarnation,
            MemberState::Alive,
        )
    } else {
        0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rng::Rng;
    use tidings_wire::Boot;
    use tidings_wire::digest::Writer;
    use zerocopy::little_endian::U64;

    /// The record of a member in its first life.
    pub(in crate::members) fn record(id: NodeId, addrs: &[SocketAddr]) -> Vec<u8> {
        let member = Member {
            id,
            boot: Boot(id.0),
            generation: U64::new(1),
            state: MemberState::Alive as u8,
            ..Default::default()
        };
        let addrs: Vec<_> = addrs.iter().map(|addr| (*addr).into()).collect();
        let mut bytes = [0; 200];
        let mut writer = Writer::new(&mut bytes);
        assert!(writer.put_member(&member, "name", "", &addrs, b""));
        writer.as_bytes().to_vec()
    }

    fn insert(table: &mut Table, peer: PeerIx) {
        let bytes = record(NodeId([peer.0 as u8 + 1; 16]), &[]);
        match Digests::new(&bytes).next() {
            Some(Ok(Digest::Member(view))) => table.insert(0, peer, &view),
            _ => panic!("a record"),
        };
    }

    #[test]
    fn counts_and_bucket_hashes_equal_those_computed_anew_after_any_changes() {
        let mut table = Table::default();
        let mut rng = Rng::from_seed([4; 32]);
        for _ in 0..5000 {
            let peer = PeerIx(rng.below(40) as u32);
            match rng.below(10) {
                0 => table.remove(peer),
                1..4 => insert(&mut table, peer),
                _ => {
                    let stand = Stand {
                        generation: 1,
                        incarnation: rng.below(5),
                    };
                    table.shift(0, peer, stand, MemberState::ALL[rng.below(4) as usize]);
                }
            }
            let live = table.iter().filter(|(_, entry)| entry.is_live()).count();
            let suspects = table
                .iter()
                .filter(|(_, entry)| entry.state == MemberState::Suspect)
                .count();
            assert_eq!((table.live().len(), table.suspects()), (live, suspects));
            assert_eq!(table.iter().count(), table.len());
        }
        let mut anew = [0; BUCKETS];
        for (_, entry) in table.iter() {
            anew[usize::from(bucket_of(&entry.id()))] ^= hash_of(entry);
        }
        assert_eq!(&anew, table.hashes());
        for (at, peer) in table.live().iter().enumerate() {
            assert_eq!(table.get(*peer).unwrap().live_at, at as u32);
        }
    }

    #[test]
    fn a_member_is_tried_where_it_was_and_then_where_it_says() {
        let addr = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let record = |ports: &[u16]| {
            let addrs: Vec<_> = ports.iter().map(|port| addr(*port)).collect();
            record(NodeId([1; 16]), &addrs)
        };
        let mut table = Table::default();
        insert(&mut table, PeerIx(0));
        let entry = table.get_mut(PeerIx(0)).unwrap();
        entry.take_record(&record(&[1, 2]));
        assert_eq!(entry.places(), [addr(1), addr(2)]);
        entry.met_at(addr(1));
        assert!(entry.rare.is_none(), "nothing but where it says that it is");
        entry.take_record(&record(&[2, 3]));
        assert_eq!(entry.places(), [addr(1), addr(2), addr(3)]);
        entry.met_at(addr(3));
        assert_eq!(entry.places(), [addr(3), addr(2)]);
        entry.take_record(&record(&[3]));
        assert_eq!(
            (entry.places(), entry.rare.is_none()),
            (vec![addr(3)], true)
        );
    }
}
