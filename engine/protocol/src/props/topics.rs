//! Topics and patterns, and the index of subscriptions, against brute force: part by part, subscription by subscription.

use std::collections::BTreeSet;

use tidings_wire::{Pattern, validate_pattern, validate_topic};

use super::Input;
use crate::peer::PeerIx;
use crate::tables::index::{SubRef, TopicIndex};

/// The first byte chooses: a topic and a pattern as texts, or subscriptions that come and go.
pub fn topics(data: &[u8]) {
    let mut input = Input::new(data);
    if input.u8() & 1 == 0 {
        let at = usize::from(input.u8());
        let (topic, pattern) = (input.bytes(at), input.rest());
        texts(
            &String::from_utf8_lossy(topic),
            &String::from_utf8_lossy(pattern),
        );
    } else {
        index(input);
    }
}

fn is_topic(text: &str) -> bool {
    let is_plain = |c: char| c != '*' && !c.is_control();
    text.len() <= 255 && text.chars().all(is_plain) && text.split('.').all(|part| !part.is_empty())
}

fn is_pattern(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    match parts.split_last() {
        Some((&"*", [])) => true,
        Some((&"*", stem)) => text.len() <= 255 && is_topic(&stem.join(".")),
        _ => is_topic(text),
    }
}

fn selects(pattern: &str, topic: &str) -> bool {
    let (pattern, topic): (Vec<&str>, Vec<&str>) =
        (pattern.split('.').collect(), topic.split('.').collect());
    match pattern.split_last() {
        Some((&"*", stem)) => topic.len() > stem.len() && topic.starts_with(stem),
        _ => pattern == topic,
    }
}

fn texts(topic: &str, pattern: &str) {
    for text in [topic, pattern] {
        assert_eq!(validate_topic(text).is_ok(), is_topic(text), "{text:?}");
        assert_eq!(validate_pattern(text).is_ok(), is_pattern(text), "{text:?}");
    }
    let Ok(pattern) = Pattern::parse(pattern) else {
        return;
    };
    let text = pattern.as_str();
    assert_eq!(pattern.exact(), is_topic(text).then_some(text));
    if is_topic(topic) {
        assert_eq!(
            pattern.matches(topic),
            selects(text, topic),
            "{text:?} {topic:?}"
        );
    }
}

// A text of few short parts, so that patterns and topics meet.
fn parts(input: &mut Input<'_>) -> String {
    let choice = input.u8();
    let part = |at: u8| ["a", "b", "ab", "é"][usize::from(choice >> (2 * at + 1)) % 4];
    (0..=choice & 3)
        .map(|at| part(at % 3))
        .collect::<Vec<_>>()
        .join(".")
}

fn pattern(input: &mut Input<'_>) -> String {
    match input.u8() % 5 {
        0 => "*".to_owned(),
        1 | 2 => parts(input) + ".*",
        _ => parts(input),
    }
}

fn index(mut input: Input<'_>) {
    let mut index = TopicIndex::default();
    let mut subs: BTreeSet<(String, SubRef)> = BTreeSet::new();
    while !input.is_empty() {
        let (op, pattern) = (input.u8(), pattern(&mut input));
        let sub = SubRef {
            peer: PeerIx(u32::from(op >> 5)),
            sub: u32::from(op >> 2) % 8,
        };
        match op & 3 {
            0 | 1 => {
                index.insert(&pattern, sub);
                subs.insert((pattern, sub));
            }
            2 => {
                index.remove(&pattern, sub);
                subs.remove(&(pattern, sub));
            }
            _ => {}
        }
        let topic = parts(&mut input);
        let found: BTreeSet<SubRef> = subs
            .iter()
            .filter(|(pattern, _)| selects(pattern, &topic))
            .map(|(_, sub)| *sub)
            .collect();
        assert!(index.matches(&topic).into_iter().eq(found), "{topic}");
    }
    let listed: usize = index.patterns().map(|(_, count)| count).sum();
    assert_eq!(listed, subs.len());
    assert!(
        index.patterns().all(|(pattern, count)| {
            subs.iter().filter(|(of, _)| *of == pattern).count() == count
        })
    );
}
