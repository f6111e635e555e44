//! Topics and patterns: what may name a message type and what selects it.

use std::fmt;

use crate::error::TopicError;
use crate::limits::MAX_TOPIC;

/// Checks a topic: 1 to 255 bytes of UTF-8, parts joined by `.`, none empty, no `*`, no control character.
pub fn validate_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_TOPIC {
        return Err(TopicError::TooLong);
    }
    if topic.split('.').any(str::is_empty) {
        return Err(TopicError::EmptyPart);
    }
    if topic.contains('*') {
        return Err(TopicError::Star);
    }
    if topic.chars().any(char::is_control) {
        return Err(TopicError::Control);
    }
    Ok(())
}

/// Checks a pattern: a topic, a prefix such as `orders.*`, or `*`; at most 255 bytes.
pub fn validate_pattern(pattern: &str) -> Result<(), TopicError> {
    if pattern == "*" {
        return Ok(());
    }
    if pattern.len() > MAX_TOPIC {
        return Err(TopicError::TooLong);
    }
    validate_topic(pattern.strip_suffix(".*").unwrap_or(pattern))
}

/// Whether `topic` is selected by `pattern`. Both must be valid.
pub fn pattern_matches(pattern: &str, topic: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => topic.starts_with(prefix),
        None => pattern == topic,
    }
}

/// A checked pattern: a topic, everything below a prefix, or everything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Checks and keeps `text`.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        validate_pattern(text)?;
        Ok(Self(text.into()))
    }

    /// Whether a (valid) topic is selected.
    pub fn matches(&self, topic: &str) -> bool {
        pattern_matches(&self.0, topic)
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one topic selected, if the pattern is a topic.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.ends_with('*')).then_some(&self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_parts_joined_by_dots() {
        for good in ["a", "orders", "orders.new.eu", "größe.π", &"x".repeat(255)] {
            assert_eq!(validate_topic(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_bad_topic_is_refused_with_its_reason() {
        for (bad, why) in [
            ("", TopicError::Empty),
            (".", TopicError::EmptyPart),
            ("a..b", TopicError::EmptyPart),
            ("a.", TopicError::EmptyPart),
            (".a", TopicError::EmptyPart),
            ("a.*", TopicError::Star),
            ("a*b", TopicError::Star),
            ("a\nb", TopicError::Control),
            ("a\u{7f}", TopicError::Control),
            ("a\u{85}", TopicError::Control),
            (&"x".repeat(256), TopicError::TooLong),
        ] {
            assert_eq!(validate_topic(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_star_stands_alone_or_after_the_last_dot() {
        for good in ["*", "a.*", "a.b.*", "a"] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "**", "*.a", "a*", ".*", "a.*.b", "a.*.*", "a..*"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_selects_every_depth_but_not_itself() {
        let below = Pattern::parse("orders.*").unwrap();
        assert!(below.matches("orders.new"));
        assert!(below.matches("orders.new.eu"));
        assert!(!below.matches("orders"));
        assert!(!below.matches("ordersnew"));
        assert!(Pattern::parse("*").unwrap().matches("anything.at.all"));
        let exact = Pattern::parse("orders").unwrap();
        assert!(exact.matches("orders") && !exact.matches("orders.new"));
        assert_eq!((exact.exact(), below.exact()), (Some("orders"), None));
    }
}
