//! What is looked at once in a virtual second: members, counters, memory.

use std::collections::BTreeMap;

use tidings_wire::NodeId;

use crate::sim::plan::Fault;
use crate::sim::world::World;

/// Bytes that a node may hold back and have in parts: `HELD` and `REASSEMBLY` of the protocol's limits.
const RECEIVE_MAX: usize = (32 << 20) + (16 << 20);
/// Streams that a node publishes: those of sets, and one for each node.
const STREAMS_MAX: usize = 256 + 256;

/// Turns in a second in which nothing comes and nothing goes: more is a timer that stands still.
const IDLE_TURNS: u32 = 2_000;

/// What makes a node seem dead that is not.
const TROUBLE: &[Fault] = &[
    Fault::Loss,
    Fault::Reorder,
    Fault::Corrupt,
    Fault::Clog,
    Fault::Partition,
    Fault::Asymmetric,
    Fault::ClassCut,
    Fault::Crash,
    Fault::Amnesia,
    Fault::DiskError,
    Fault::Leave,
    Fault::Pause,
    Fault::Jump,
    Fault::SlowNode,
    Fault::SmallInbox,
    Fault::Insider,
];

impl World {
    pub(crate) fn audit(&mut self) {
        let calm = !TROUBLE.iter().any(|fault| self.plan.has(*fault));
        // What each says of itself, before what others say of it.
        let mut own: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
        let mut lists = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            if let Some(core) = &node.core {
                let members = core.members();
                let me = &members[0];
                own.insert(me.node, (me.generation, me.incarnation));
                lists.push((n, members));
            }
        }
        for (n, members) in lists {
            for member in members.iter().filter(|member| !member.is_self) {
                let Some(stand) = own.get(&member.node) else {
                    continue;
                };
                let said = (member.generation, member.incarnation);
                // A node without its generation has not said anything yet.
                let ahead = said > *stand && stand.0 > 0 && self.truthful(&member.node);
                assert!(
                    !ahead,
                    "n{n} has {} at {said:?}, who is at {stand:?}",
                    member.name
                );
            }
            self.nodes[n].presence.audit(&members);
            let deaths = self.nodes[n].presence.deaths;
            let alive = self.healing || !calm || deaths == 0;
            assert!(alive, "n{n} holds a member dead that lives");
        }
        (0..self.nodes.len()).for_each(|n| self.audit_node(n));
    }

    // Whether the node's own stand is the highest there ever was: not after it lost what it had on its disk.
    fn truthful(&self, node: &NodeId) -> bool {
        let of = self.nodes.iter().find(|n| n.id == *node);
        let forgets = [Fault::Amnesia, Fault::DiskError]
            .iter()
            .any(|f| self.plan.has(*f));
        of.is_some_and(|n| n.lives == 1 || !forgets)
    }

    fn audit_node(&mut self, n: usize) {
        let retain = self.plan.nodes[n].retain;
        let node = &mut self.nodes[n];
        let idle = std::mem::take(&mut node.idle_turns);
        assert!(
            idle < IDLE_TURNS,
            "n{n} had {idle} turns in a second for nothing"
        );
        let refused = node.refused();
        let Some(core) = &node.core else {
            return;
        };
        let (store, held) = core.memory();
        assert!(store <= retain, "n{n} stores {store} of {retain} bytes");
        assert!(held <= RECEIVE_MAX, "n{n} holds {held} bytes back");
        assert!(core.stream_counts().0 <= STREAMS_MAX, "streams are bounded");
        let (publish, receive) = (core.publish_counters(), core.receive_counters());
        let ages = core.latency().count();
        assert_eq!(ages, publish.delivered, "an age for each pair at n{n}");
        let before = &node.counted;
        let fell = before.publish.each().zip(publish.each());
        let fell = fell.chain(before.receive.each().zip(receive.each()));
        let fell = fell.filter(|(before, after)| after.2 < before.2).count();
        assert!(
            fell == 0 && refused >= before.refused,
            "a counter of n{n} fell"
        );
        let counted = &mut node.counted;
        (counted.publish, counted.receive, counted.refused) = (publish, receive, refused);
        let waiting: usize = node.inbox.iter().map(|f| self.net.waiting(*f)).sum();
        assert!(
            waiting == node.inbox_bytes,
            "the receive buffer is counted right"
        );
    }
}
