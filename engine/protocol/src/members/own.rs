//! Our own record: what it says, when it is issued anew, and the life and incarnation that it carries.

use std::net::SocketAddr;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{Addr, Member, MemberState, Writer, bucket_of, member_hash};
use tidings_wire::limits::{MAX_ADDRESSES, MAX_METADATA, MAX_NAME};
use tidings_wire::{Boot, NodeId};
use zerocopy::little_endian::{U32, U64};

use super::table::Stand;

/// The largest MEMBER digest.
const RECORD_MAX: usize = 80 + 2 * MAX_NAME + MAX_ADDRESSES * 18 + MAX_METADATA;

/// What we say of ourselves.
#[derive(Clone, Debug)]
pub(crate) struct Portrait {
    pub(crate) id: NodeId,
    pub(crate) boot: Boot,
    pub(crate) name: String,
    pub(crate) rack: String,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) app_version: u32,
    /// Installed key slots, one bit each, and the primary one.
    pub(crate) keys: u8,
    pub(crate) primary: u8,
    /// Version of our subscription table.
    pub(crate) table: u64,
}

impl Portrait {
    /// Cuts everything to what a record can carry.
    fn bound(&mut self) {
        for text in [&mut self.name, &mut self.rack] {
            text.retain(|char| !char.is_control());
            while text.len() > MAX_NAME {
                text.pop();
            }
        }
        self.addrs.truncate(MAX_ADDRESSES);
        self.metadata.truncate(MAX_METADATA);
    }
}

/// Our own record.
pub(crate) struct Own {
    portrait: Portrait,
    /// None until known; nothing is announced before.
    generation: Option<u64>,
    incarnation: u64,
    encoded: Vec<u8>,
    changed: bool,
}

impl Own {
    /// A record not yet issued.
    pub(crate) fn new(mut portrait: Portrait, generation: Option<u64>) -> Self {
        portrait.bound();
        Self {
            portrait,
            generation,
            incarnation: 0,
            encoded: Vec::new(),
            changed: true,
        }
    }

    /// What the record says.
    pub(crate) fn portrait(&self) -> &Portrait {
        &self.portrait
    }

    /// Our generation, if known.
    pub(crate) fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Where the record last issued stands; none before the first.
    pub(crate) fn stand(&self) -> Option<Stand> {
        (!self.encoded.is_empty()).then(|| Stand {
            generation: self.generation.unwrap_or(0),
            incarnation: self.incarnation,
        })
    }

    /// The encoded record; empty before the first is issued.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Begins another life.
    pub(crate) fn set_generation(&mut self, generation: u64) {
        self.generation = Some(generation);
        self.incarnation = 0;
        self.encoded.clear();
        self.changed = true;
    }

    /// Changes what the record says; it is issued in the next flush.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Portrait)) {
        change(&mut self.portrait);
        self.portrait.bound();
        self.changed = true;
    }

    /// Answers an accusation at `incarnation`: the next record stands above it.
    pub(crate) fn rise_above(&mut self, incarnation: u64) {
        self.incarnation = self.incarnation.max(incarnation);
        if mutant(Mutant::RefutedInPlace) {
            self.incarnation = incarnation.saturating_sub(1);
        }
        self.changed = true;
    }

    /// Issues the record if it changed and our generation is known. True if there is a new one.
    pub(crate) fn issue(&mut self) -> bool {
        if !self.changed || self.generation.is_none() {
            return false;
        }
        self.changed = false;
        if !self.encoded.is_empty() {
            self.incarnation = self.incarnation.saturating_add(1);
        }
        self.encode();
        true
    }

    /// Our bucket and our share of its hash.
    pub(crate) fn hash(&self) -> Option<(u8, u64)> {
        let stand = self.stand()?;
        let id = &self.portrait.id;
        let hash = member_hash(id, stand.generation, stand.incarnation, MemberState::Alive);
        Some((bucket_of(id), hash))
    }

    fn encode(&mut self) {
        let portrait = &self.portrait;
        let member = Member {
            app_ver: U32::new(portrait.app_version),
            id: portrait.id,
            boot: portrait.boot,
            generation: U64::new(self.generation.unwrap_or(0)),
            incarnation: U64::new(self.incarnation),
            table: U64::new(portrait.table),
            state: MemberState::Alive as u8,
            proto_ver: 1,
            keys: portrait.keys,
            primary: portrait.primary & 7,
            ..Default::default()
        };
        let addrs: Vec<Addr> = portrait
            .addrs
            .iter()
            .map(|addr| Addr::from(*addr))
            .collect();
        self.encoded.resize(RECORD_MAX, 0);
        let mut writer = Writer::new(&mut self.encoded);
        let fits = writer.put_member(
            &member,
            &portrait.name,
            &portrait.rack,
            &addrs,
            &portrait.metadata,
        );
        assert!(fits, "a bounded portrait fits the largest record");
        let len = writer.len();
        self.encoded.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_wire::digest::{Digest, Digests};

    fn portrait() -> Portrait {
        Portrait {
            id: NodeId([1; 16]),
            boot: Boot([2; 16]),
            name: "n".repeat(200),
            rack: "\u{7}rack".into(),
            addrs: vec![([127, 0, 0, 1], 1).into(); 20],
            metadata: vec![b'x'; 2000],
            app_version: 3,
            keys: 1,
            primary: 0,
            table: 0,
        }
    }

    fn stand(generation: u64, incarnation: u64) -> Option<Stand> {
        Some(Stand {
            generation,
            incarnation,
        })
    }

    #[test]
    fn a_record_is_issued_once_per_change_and_only_with_a_known_generation() {
        let mut own = Own::new(portrait(), None);
        assert!(!own.issue());
        own.set_generation(4);
        assert!(own.issue() && !own.issue());
        assert_eq!(own.stand(), stand(4, 0));
        own.change(|portrait| portrait.table = 9);
        own.change(|portrait| portrait.name = "new".into());
        assert!(own.issue() && !own.issue());
        assert_eq!(own.stand(), stand(4, 1));
        own.rise_above(10);
        assert!(own.issue());
        assert_eq!(own.stand(), stand(4, 11));
    }

    #[test]
    fn what_a_record_cannot_carry_is_cut() {
        let mut own = Own::new(portrait(), Some(1));
        own.issue();
        let Some(Ok(Digest::Member(view))) = Digests::new(own.encoded()).next() else {
            panic!("a record")
        };
        let cut = (
            view.name.len(),
            view.rack,
            view.addrs.len(),
            view.meta.len(),
        );
        assert_eq!(cut, (64, "rack", 8, 512));
    }
}
