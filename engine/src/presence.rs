//! Presence for the embedder: who is there when it begins, and every change from then on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidings_protocol::{Member, PresenceKind};
use tidings_wire::NodeId;

use crate::queue::bell::Flag;
use crate::queue::notify::block_until;
use crate::queue::ring::{Consumer, Producer};
use crate::subscriber::SubscriberShared;
use crate::whereabouts::PortBell;

/// A change of one member's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceEvent {
    /// What changed.
    pub kind: PresenceKind,
    /// Who.
    pub node: NodeId,
}

/// An open watch. Whoever leaves thousands of changes unread hears of the last one of each member instead of all of them.
pub struct Presence {
    pub(crate) snapshot: Vec<Member>,
    pub(crate) ring: Consumer,
    /// Nothing travels this way; its end tells the shard that nobody watches any more.
    pub(crate) end: Producer,
    pub(crate) shared: Arc<SubscriberShared>,
    pub(crate) bell: PortBell,
}

impl Presence {
    /// Everybody at the moment of opening; events tell what changed since.
    pub fn snapshot(&self) -> &[Member] {
        &self.snapshot
    }

    /// Whether the overlay was removed or the node stopped. Another overlay of the same name is not what is watched here.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed() || self.ring.is_closed()
    }

    /// The next change, if there is one.
    pub fn try_next(&mut self) -> Option<PresenceEvent> {
        let (_, record) = self.ring.peek()?;
        let event = read(record);
        self.ring.advance();
        self.ring.release();
        if Flag::take(&self.shared.starved) {
            self.bell.ring();
        }
        event
    }

    /// The next change, waited for at most `timeout`.
    pub fn next_within(&mut self, timeout: Duration) -> Option<PresenceEvent> {
        let shared = Arc::clone(&self.shared);
        block_until(&shared.notify, Some(Instant::now() + timeout), || {
            self.try_next()
        })
    }

    /// The next change, for any async runtime, or for a thread that watches several overlays. Woken by the overlay's end, too,
    /// which [`Self::is_closed`] tells.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<PresenceEvent> {
        if let Some(event) = self.try_next() {
            return Poll::Ready(event);
        }
        self.shared.notify.register(context.waker());
        self.try_next().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.end.close();
        if self.shared.bell.take() {
            self.bell.ring();
        }
    }
}

/// Changes that wait for a watcher who does not read, in order; when they are many, the last of each member.
#[derive(Default)]
pub(crate) struct Changes {
    waiting: VecDeque<(PresenceKind, NodeId)>,
    /// Those after them.
    crowd: BTreeMap<NodeId, PresenceKind>,
}

impl Changes {
    /// Adds a change; at most `max` wait one by one.
    pub(crate) fn push(&mut self, kind: PresenceKind, node: NodeId, max: usize) {
        if self.crowd.is_empty() && self.waiting.len() < max {
            self.waiting.push_back((kind, node));
        } else {
            self.crowd.insert(node, kind);
        }
    }

    pub(crate) fn front(&self) -> Option<(PresenceKind, NodeId)> {
        let crowd = || self.crowd.first_key_value();
        let waiting = self.waiting.front().copied();
        waiting.or_else(|| crowd().map(|(&node, &kind)| (kind, node)))
    }

    pub(crate) fn pop(&mut self) {
        if self.waiting.pop_front().is_none() {
            self.crowd.pop_first();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.crowd.is_empty()
    }
}

/// The record of a change, as it travels through the ring.
pub(crate) fn write(kind: PresenceKind, node: NodeId) -> Vec<u8> {
    let mut record = vec![kind as u8];
    record.extend_from_slice(&node.0);
    record
}

fn read(record: &[u8]) -> Option<PresenceEvent> {
    let (&kind, node) = record.split_first()?;
    let kinds = [
        PresenceKind::In,
        PresenceKind::Quarantine,
        PresenceKind::Unreachable,
        PresenceKind::Rejoin,
        PresenceKind::Drop,
        PresenceKind::Out,
    ];
    let kind = kinds.into_iter().find(|&known| known as u8 == kind)?;
    Some(PresenceEvent {
        kind,
        node: NodeId(node.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_changes_the_last_of_each_member_waits() {
        use PresenceKind::{In, Quarantine, Unreachable};
        let node = |n: u8| NodeId([n; 16]);
        let mut changes = Changes::default();
        for (kind, n) in [
            (In, 1),
            (In, 2),
            (Quarantine, 1),
            (In, 3),
            (Unreachable, 1),
            (Quarantine, 2),
        ] {
            changes.push(kind, node(n), 2);
        }
        let mut told = Vec::new();
        while let Some((kind, node)) = changes.front() {
            told.push((kind, node.0[0]));
            changes.pop();
            if told.len() == 1 {
                // There is room again, but what waits goes first.
                changes.push(In, NodeId([2; 16]), 2);
            }
        }
        assert_eq!(told, [(In, 1), (In, 2), (Unreachable, 1), (In, 2), (In, 3)]);
        assert!(changes.is_empty());
    }

    #[test]
    fn a_change_reads_back_as_written() {
        for kind in [PresenceKind::In, PresenceKind::Rejoin, PresenceKind::Out] {
            let event = PresenceEvent {
                kind,
                node: NodeId([9; 16]),
            };
            assert_eq!(read(&write(kind, event.node)), Some(event));
        }
    }
}
