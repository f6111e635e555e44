//! Who subscribes to what, for people: this node's subscriptions and those of the others, a part at a time. Changes nothing.

use tidings_wire::NodeId;

use super::Core;
use crate::config::{AckMode, Redelivery, SlowPolicy};

/// A subscription as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The node that subscribed.
    pub node: NodeId,
    /// Its number there.
    pub sub: u32,
    /// Topic, prefix pattern or `*`.
    pub pattern: String,
    /// Whether a client's name makes it survive that client.
    pub is_named: bool,
    /// Meaning of an acknowledgement.
    pub ack: AckMode,
    /// Increasing sequence numbers per publisher, holes reported.
    pub ordered: bool,
    /// Policy for a slow client.
    pub policy: SlowPolicy,
    /// When publishers give up.
    pub redelivery: Redelivery,
    /// What only its own node knows; none of another node's.
    pub standing: Option<Standing>,
}

/// What a node knows of a subscription of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The client's name; empty for an unnamed one.
    pub client: String,
    /// Whether its client is there.
    pub is_attached: bool,
    /// Publishers that have messages for it which it did not take yet.
    pub behind: usize,
}

impl Core {
    /// Subscriptions behind `after`, at most `most`: this node's first, then the others' by node, each by number.
    pub fn subscriptions(&self, after: Option<(NodeId, u32)>, most: usize) -> Vec<Subscription> {
        let me = self.config.node;
        let own_after = match after {
            Some((node, _)) if node != me => None,
            after => Some(after.map(|(_, sub)| sub)),
        };
        let own = own_after
            .into_iter()
            .flat_map(|after| self.own_behind(after));
        let mut found: Vec<Subscription> = own.take(most).collect();
        let others_after = after.filter(|(node, _)| *node != me);
        let mut others: Vec<_> = self
            .tables
            .others()
            .map(|(peer, table)| (self.peers.id(peer), table))
            .filter(|(node, _)| others_after.is_none_or(|(after, _)| *node >= after))
            .collect();
        others.sort_unstable_by_key(|(node, _)| *node);
        let theirs = others.into_iter().flat_map(|(node, table)| {
            let after = others_after.filter(|(after, _)| *after == node);
            let subs = table.behind(after.map(|(_, sub)| sub));
            subs.map(move |(sub, it)| Subscription {
                node,
                sub,
                pattern: it.pattern.to_string(),
                is_named: it.client != 0,
                ack: it.ack,
                ordered: it.ordered,
                policy: it.policy,
                redelivery: it.redelivery,
                standing: None,
            })
        });
        found.extend(theirs.take(most - found.len()));
        found
    }

    fn own_behind(&self, after: Option<u32>) -> impl Iterator<Item = Subscription> {
        self.tables.own.behind(after).map(|(sub, spec)| {
            let (is_attached, behind) = self.receive.standing(sub).unwrap_or_default();
            Subscription {
                node: self.config.node,
                sub,
                pattern: spec.pattern.clone(),
                is_named: !spec.client.is_empty(),
                ack: spec.ack,
                ordered: spec.ordered,
                policy: spec.policy,
                redelivery: self.tables.redelivery(spec),
                standing: Some(Standing {
                    client: spec.client.clone(),
                    is_attached,
                    behind,
                }),
            }
        })
    }
}
