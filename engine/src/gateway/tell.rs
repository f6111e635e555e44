//! What must be looked up in the overlay before a client can be told: members by name, and what became of them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use tidings_protocol::{Member, PresenceKind};
use tidings_wire::NodeId;
use tidings_wire::client::presence::{
    Change, FLAG_END, FLAG_REACHED, FLAG_SELF, FLAG_SNAPSHOT, Presence,
};
use tidings_wire::client::subscribe::{Names, Subscribed};
use tidings_wire::digest::MemberState;

use super::out::{Later, Out};
use crate::seat::Seat;

/// The snapshot that a watch begins with.
pub(crate) fn snapshot(out: &mut Vec<u8>, watch: u32, this: NodeId, members: &[Member]) {
    for member in members {
        presence(watch, change_of(member), FLAG_SNAPSHOT, this, member).encode(out);
    }
    let end = Presence {
        watch,
        change: Change::In,
        flags: FLAG_SNAPSHOT | FLAG_END,
        node: NodeId::ZERO,
        ip: [0; 16],
        port: 0,
        name: "",
        metadata: b"",
    };
    end.encode(out);
}

/// Tells what waited.
pub(crate) fn later(out: &mut Out, later: VecDeque<Later>, watches: &[u32], seat: &Seat<'_>) {
    let members = seat.members();
    let (this, _) = seat.node();
    let find = |node: NodeId| members.iter().find(|member| member.node == node);
    for event in later {
        if out.is_overrun() {
            return;
        }
        match event {
            Later::Subscribed(node_sub, missing) => {
                let Some(sub) = out.number_of(node_sub) else {
                    continue;
                };
                let name = |node: &NodeId| {
                    find(*node).map_or_else(|| node.to_string(), |member| member.name.clone())
                };
                let mut scratch = Vec::new();
                let pending = Names::pack(missing.iter().map(name), &mut scratch);
                Subscribed {
                    sub,
                    node_sub,
                    partial: !missing.is_empty(),
                    pending,
                }
                .encode(out.frame());
            }
            Later::Presence(kind, node) => {
                for &watch in watches {
                    let frame = out.frame();
                    match find(node) {
                        Some(member) => {
                            presence(watch, change(kind), 0, this, member).encode(frame)
                        }
                        None => unknown(watch, change(kind), node).encode(frame),
                    }
                }
            }
        }
    }
}

/// The state of a member, as the event that would have led to it.
fn change_of(member: &Member) -> Change {
    match member.state {
        MemberState::Alive => Change::In,
        MemberState::Suspect => Change::Quarantine,
        MemberState::Dead => Change::Unreachable,
        MemberState::Left => Change::Out,
    }
}

fn presence(watch: u32, change: Change, flags: u8, this: NodeId, member: &Member) -> Presence<'_> {
    let (ip, port) = address(member.addresses.first().copied());
    let own = if member.node == this { FLAG_SELF } else { 0 };
    let reached = if member.reached { FLAG_REACHED } else { 0 };
    Presence {
        watch,
        change,
        flags: flags | own | reached,
        node: member.node,
        ip,
        port,
        name: &member.name,
        metadata: &member.metadata,
    }
}

/// A member that is forgotten already.
fn unknown(watch: u32, change: Change, node: NodeId) -> Presence<'static> {
    Presence {
        watch,
        change,
        flags: 0,
        node,
        ip: [0; 16],
        port: 0,
        name: "",
        metadata: b"",
    }
}

fn address(addr: Option<SocketAddr>) -> ([u8; 16], u16) {
    let Some(addr) = addr else {
        return ([0; 16], 0);
    };
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip.octets(), addr.port())
}

fn change(kind: PresenceKind) -> Change {
    match kind {
        PresenceKind::In => Change::In,
        PresenceKind::Quarantine => Change::Quarantine,
        PresenceKind::Unreachable => Change::Unreachable,
        PresenceKind::Rejoin => Change::Rejoin,
        PresenceKind::Drop => Change::Drop,
        PresenceKind::Out => Change::Out,
    }
}
