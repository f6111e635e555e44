//! What the owner may know of the overlay's members.

use std::net::SocketAddr;

use tidings_wire::digest::MemberState;
use tidings_wire::{Boot, NodeId};

use super::Core;
use crate::links::link::{BULK, CTL};
use crate::links::traffic::PeerCounters;
use crate::peer::PeerIx;

/// One member as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Its label; another member may have the same.
    pub name: String,
    /// Its rack, empty if none.
    pub rack: String,
    /// What it is held to be.
    pub state: MemberState,
    /// Whether this node itself ever had a link to it; otherwise it is known by others' word only.
    pub reached: bool,
    /// The start that its record is of.
    pub boot: Boot,
    /// Number of its life in this overlay.
    pub generation: u64,
    /// Raised by itself whenever its record changes.
    pub incarnation: u64,
    /// Where to reach it, best first.
    pub addresses: Vec<SocketAddr>,
    /// Opaque application metadata.
    pub metadata: Vec<u8>,
    /// Protocol version that it speaks.
    pub protocol: u8,
    /// Application version that it states.
    pub app_version: u32,
    /// Slots in which it has keys, one bit each.
    pub keys: u8,
    /// Slot of the key that it seals with.
    pub primary: u8,
    /// Version of its subscription table that it advertises, and the one held here.
    pub table: (u64, u64),
    /// Smoothed round-trip time of the link to this start of it, in ns, if there is one.
    pub rtt: Option<u64>,
    /// It is this node.
    pub is_self: bool,
}

/// The way to one peer, and what went over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStats {
    /// Its id.
    pub node: NodeId,
    /// Where it is reached; none without a link.
    pub address: Option<SocketAddr>,
    /// Smoothed round-trip time in ns, once known.
    pub rtt: Option<u64>,
    /// The shortest round trip seen lately, in ns.
    pub rtt_min: Option<u64>,
    /// Congestion window, and bytes in flight; 0 while nothing is said over the link.
    pub window: (u64, u64),
    /// Bytes of the largest datagram that the path is known to carry.
    pub datagram: usize,
    /// Bytes queued for it on the control and the bulk channel; at most [`PeerStats::QUEUES`].
    pub queued: (usize, usize),
    /// Its counters.
    pub counters: PeerCounters,
}

impl PeerStats {
    /// The most bytes that may be queued for a peer on the control and the bulk channel.
    pub const QUEUES: (usize, usize) = (CTL.queue, BULK.queue);
}

impl Core {
    /// The way to each other member known, in the order of their ids.
    pub fn peers(&self) -> Vec<PeerStats> {
        let mut all: Vec<PeerStats> = self.members.iter().map(|peer| self.peer(peer)).collect();
        all.sort_by_key(|peer| peer.node);
        all
    }

    fn peer(&self, peer: PeerIx) -> PeerStats {
        let (link, open) = (self.links.link(peer), self.links.open_link(peer));
        PeerStats {
            node: self.peers.id(peer),
            address: link.map(|link| link.addr),
            rtt: link
                .filter(|link| link.rtt.is_known())
                .map(|link| link.rtt.smoothed()),
            rtt_min: link.and_then(|link| link.rtt.min()),
            window: open.map_or((0, 0), |link| {
                (link.congestion.window(), link.congestion.in_flight())
            }),
            datagram: link.map_or(0, |link| link.datagram),
            queued: open.map_or((0, 0), |link| (link.ctl.tx.queued(), link.bulk.tx.queued())),
            counters: self.links.counters(peer),
        }
    }

    /// Every member known, this node first, the others in the order of their ids. Those that left or are held dead are listed until
    /// they are forgotten.
    pub fn members(&self) -> Vec<Member> {
        let mut others: Vec<Member> = self
            .members
            .iter()
            .filter_map(|peer| self.member(peer))
            .collect();
        others.sort_by_key(|member| member.node);
        let mut all = vec![self.own_member()];
        all.append(&mut others);
        all
    }

    fn member(&self, peer: PeerIx) -> Option<Member> {
        let view = self.members.record(peer)?;
        let (boot, advertised) = (view.fixed.boot, view.fixed.table.get());
        Some(Member {
            node: self.peers.id(peer),
            name: view.name.to_owned(),
            rack: view.rack.to_owned(),
            state: self.members.state(peer)?,
            reached: self.members.is_reached(peer),
            boot,
            generation: view.fixed.generation.get(),
            incarnation: view.fixed.incarnation.get(),
            addresses: self.members.addresses(peer),
            metadata: view.meta.to_vec(),
            protocol: view.fixed.proto_ver,
            app_version: view.fixed.app_ver.get(),
            keys: view.fixed.keys,
            primary: view.fixed.primary,
            table: (advertised, self.tables.held(peer, boot)),
            rtt: self
                .links
                .link(peer)
                .filter(|link| link.boot == boot && link.rtt.is_known())
                .map(|link| link.rtt.smoothed()),
            is_self: false,
        })
    }

    fn own_member(&self) -> Member {
        let version = self.tables.own.version();
        Member {
            node: self.config.node,
            name: self.config.name.clone(),
            rack: self.config.rack.clone(),
            state: if self.is_leaving() {
                MemberState::Left
            } else {
                MemberState::Alive
            },
            reached: true,
            boot: self.config.boot,
            generation: self.members.generation().unwrap_or(0),
            incarnation: self.members.incarnation(),
            addresses: self.config.addresses.clone(),
            metadata: self.config.metadata.clone(),
            protocol: tidings_wire::VERSION,
            app_version: self.config.app_version,
            keys: self.keyring.slots(),
            primary: self.keyring.primary_slot(),
            table: (version, version),
            rtt: None,
            is_self: true,
        }
    }
}
