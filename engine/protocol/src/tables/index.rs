//! From a topic to the subscriptions whose pattern matches it, without asking every subscription.

use std::collections::BTreeMap;

use crate::peer::PeerIx;

/// One subscription of one node; the local node is [`PeerIx::LOCAL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubRef {
    pub(crate) peer: PeerIx,
    pub(crate) sub: u32,
}

/// Subscriptions by pattern.
#[derive(Default)]
pub(crate) struct TopicIndex {
    all: Vec<SubRef>,
    exact: BTreeMap<Box<str>, Vec<SubRef>>,
    // `orders.*` stands under `orders.`.
    prefix: BTreeMap<Box<str>, Vec<SubRef>>,
}

fn add(list: &mut Vec<SubRef>, sub: SubRef) {
    if let Err(at) = list.binary_search(&sub) {
        list.insert(at, sub);
    }
}

fn remove(map: &mut BTreeMap<Box<str>, Vec<SubRef>>, key: &str, sub: SubRef) {
    if let Some(list) = map.get_mut(key) {
        list.retain(|s| *s != sub);
        if list.is_empty() {
            map.remove(key);
        }
    }
}

impl TopicIndex {
    /// Adds a subscription under a valid pattern.
    pub(crate) fn insert(&mut self, pattern: &str, sub: SubRef) {
        if pattern == "*" {
            add(&mut self.all, sub);
        } else if let Some(prefix) = pattern.strip_suffix('*') {
            add(self.prefix.entry(prefix.into()).or_default(), sub);
        } else {
            add(self.exact.entry(pattern.into()).or_default(), sub);
        }
    }

    pub(crate) fn remove(&mut self, pattern: &str, sub: SubRef) {
        if pattern == "*" {
            self.all.retain(|s| *s != sub);
        } else if let Some(prefix) = pattern.strip_suffix('*') {
            remove(&mut self.prefix, prefix, sub);
        } else {
            remove(&mut self.exact, pattern, sub);
        }
    }

    /// Every pattern and how many subscriptions it has.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (String, usize)> + '_ {
        let all = (!self.all.is_empty()).then(|| ("*".to_owned(), self.all.len()));
        let exact = self
            .exact
            .iter()
            .map(|(topic, subs)| (topic.to_string(), subs.len()));
        let prefix = self
            .prefix
            .iter()
            .map(|(prefix, subs)| (format!("{prefix}*"), subs.len()));
        all.into_iter().chain(exact).chain(prefix)
    }

    /// All that match, sorted, each once.
    pub(crate) fn matches(&self, topic: &str) -> Vec<SubRef> {
        let mut found = self.all.clone();
        found.extend(self.exact.get(topic).into_iter().flatten());
        if !self.prefix.is_empty() {
            for (dot, _) in topic.match_indices('.') {
                // The prefix ends with its dot, and something must follow it: a topic has no empty part.
                found.extend(self.prefix.get(&topic[..=dot]).into_iter().flatten());
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_does_not_match_its_own_stem() {
        let mut index = TopicIndex::default();
        let sub = SubRef {
            peer: PeerIx::LOCAL,
            sub: 1,
        };
        index.insert("orders.*", sub);
        assert!(index.matches("orders").is_empty());
        assert_eq!(index.matches("orders.eu"), [sub]);
        assert_eq!(index.matches("orders.eu.de"), [sub]);
        assert!(index.matches("ordersx.eu").is_empty());
        index.remove("orders.*", sub);
        assert!(index.matches("orders.eu").is_empty());
    }

    proptest! {
        #[test]
        fn finds_what_asking_every_pattern_finds(
            patterns in prop::collection::vec("(\\*|[ab](\\.[ab]){0,2}(\\.\\*)?)", 0..20), topic in "[ab](\\.[ab]){0,3}",
        ) {
            let mut index = TopicIndex::default();
            let mut expected = Vec::new();
            for (n, pattern) in patterns.iter().enumerate() {
                let sub = SubRef { peer: PeerIx::LOCAL, sub: n as u32 };
                index.insert(pattern, sub);
                if tidings_wire::Pattern::parse(pattern).unwrap().matches(&topic) { expected.push(sub); }
            }
            prop_assert_eq!(index.matches(&topic), expected);
        }
    }
}
