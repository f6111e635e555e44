//! The immutable routing table of one overlay: which patterns are subscribed, by how many. The owner shard replaces it
//! whole when subscriptions change; publishers and sessions in any thread read it without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidings_wire::{Boot, NodeId, OverlayId, Pattern};

use crate::queue::rcu::Rcu;
use crate::whereabouts::Whereabouts;

/// The table.
#[derive(Default)]
pub(crate) struct Routes {
    patterns: Vec<(Pattern, u32)>,
}

impl Routes {
    /// Takes patterns with their numbers of subscriptions. Texts that are no pattern are left out; the core has none.
    pub(crate) fn new(patterns: impl Iterator<Item = (String, usize)>) -> Self {
        let parsed =
            patterns.filter_map(|(text, count)| Some((Pattern::parse(&text).ok()?, count as u32)));
        Self {
            patterns: parsed.collect(),
        }
    }

    /// Subscriptions that a message on `topic` is owed.
    pub(crate) fn owed(&self, topic: &str) -> u32 {
        self.patterns
            .iter()
            .filter(|(pattern, _)| pattern.matches(topic))
            .map(|&(_, count)| count)
            .sum()
    }
}

/// What all threads share of one overlay.
pub(crate) struct OverlayShared {
    pub(crate) id: OverlayId,
    pub(crate) name: String,
    pub(crate) node: NodeId,
    pub(crate) boot: Boot,
    pub(crate) at: Arc<Whereabouts>,
    pub(crate) message_bytes_max: AtomicUsize,
    pub(crate) routes: Rcu<Routes>,
    /// The overlay was removed or the node stops: queues of its publishers and subscribers are dead.
    pub(crate) closed: AtomicBool,
    /// The node goes out of service: its local clients open no more publishers. The same for all overlays.
    pub(crate) draining: Arc<AtomicBool>,
}

impl OverlayShared {
    /// Largest message in bytes, now.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_owed_to_every_subscription_whose_pattern_matches() {
        let patterns = [("orders.*", 2), ("*", 1), ("orders.new", 1), ("trades", 1)];
        let routes = Routes::new(
            patterns
                .iter()
                .map(|&(text, count)| (text.to_owned(), count)),
        );
        assert_eq!(routes.owed("orders.new"), 4);
        assert_eq!(routes.owed("orders"), 1);
        assert_eq!(routes.owed("trades"), 2);
        assert_eq!(Routes::default().owed("trades"), 0);
    }
}
