//! Where a message on a topic would go now, for people who look for one. Nothing is sent, opened or changed.

use std::net::SocketAddr;

use tidings_wire::NodeId;
use tidings_wire::digest::MemberState;

use super::Core;
use crate::peer::PeerIx;
use crate::publish::node::Standing;

/// How a node would get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceWay {
    /// It takes part in the live stream to exactly these nodes.
    Stream,
    /// There is a stream, which it is about to join; until then its messages go by catch-up.
    Joining,
    /// It fell behind, has a new life or is not reached: its messages go by catch-up.
    CatchUp,
    /// No stream to exactly these nodes is open: the first message opens it.
    NoStream,
}

/// A node that would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceNode {
    /// Its id.
    pub node: NodeId,
    /// What it is held to be; `None` if it is forgotten already.
    pub state: Option<MemberState>,
    /// Its subscriptions that match.
    pub subscriptions: u32,
    /// Where its datagrams go; none without a link.
    pub address: Option<SocketAddr>,
    /// How.
    pub way: TraceWay,
    /// Bytes of the largest datagram: the stream's if it takes part in one, otherwise the path's; 0 without a link.
    pub datagram: usize,
}

/// Who would get a message on a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Subscriptions of this node.
    pub local: u32,
    /// The other nodes, in the order of their ids.
    pub nodes: Vec<TraceNode>,
}

impl Core {
    /// Who would get a message on `topic` if it were published here now.
    pub fn trace(&self, topic: &str) -> Trace {
        let mut trace = Trace::default();
        let mut counts: Vec<(PeerIx, u32)> = Vec::new();
        // Sorted by node.
        for sub in self.tables.index.matches(topic) {
            match counts.last_mut() {
                _ if sub.peer == PeerIx::LOCAL => trace.local += 1,
                Some((peer, count)) if *peer == sub.peer => *count += 1,
                _ => counts.push((sub.peer, 1)),
            }
        }
        let nodes: Vec<PeerIx> = counts.iter().map(|(peer, _)| *peer).collect();
        let stream = self.publish.stream_to(&nodes);
        trace.nodes = counts
            .into_iter()
            .map(|(peer, subscriptions)| {
                let link = self.links.link(peer);
                let node = stream.and_then(|stream| stream.nodes.iter().find(|n| n.peer == peer));
                let way = match node.map(|node| node.standing) {
                    Some(Standing::Live) => TraceWay::Stream,
                    Some(Standing::Opening) => TraceWay::Joining,
                    Some(Standing::Out) => TraceWay::CatchUp,
                    None => TraceWay::NoStream,
                };
                let path = link.map_or(0, |link| link.datagram);
                TraceNode {
                    node: self.peers.id(peer),
                    state: self.members.state(peer),
                    subscriptions,
                    address: link.map(|link| link.addr),
                    way,
                    datagram: match (way, stream) {
                        (TraceWay::Stream, Some(stream)) => stream.size,
                        _ => path,
                    },
                }
            })
            .collect();
        trace.nodes.sort_by_key(|node| node.node);
        trace
    }
}
