//! What a client may do: everything, or what the client file grants its name.

use std::collections::HashMap;
use std::sync::Arc;

use tidings_wire::Pattern;
use tidings_wire::client::key::SECRET_SIZE;

/// What a named client may do.
#[derive(Clone, PartialEq)]
pub struct Grant {
    /// Its name.
    pub name: String,
    /// Its secret. Never shown.
    pub secret: [u8; SECRET_SIZE],
    /// Overlays that it may use; `*` stands for all.
    pub overlays: Vec<String>,
    /// Topics that it may publish on.
    pub publish: Vec<Pattern>,
    /// Patterns that it may subscribe to, or narrower ones.
    pub subscribe: Vec<Pattern>,
}

/// Grants by name.
pub(crate) type Grants = HashMap<String, Arc<Grant>>;

/// What one connection may do.
#[derive(Clone)]
pub(crate) enum Rights {
    /// The daemon's own user.
    All,
    /// A named client.
    Granted(Arc<Grant>),
}

impl Rights {
    pub(crate) fn may_use(&self, overlay: &str) -> bool {
        match self {
            Self::All => true,
            Self::Granted(grant) => grant
                .overlays
                .iter()
                .any(|name| name == "*" || name == overlay),
        }
    }

    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Granted(grant) => grant.publish.iter().any(|pattern| pattern.matches(topic)),
        }
    }

    pub(crate) fn may_subscribe(&self, pattern: &str) -> bool {
        match self {
            Self::All => true,
            Self::Granted(grant) => grant
                .subscribe
                .iter()
                .any(|granted| covers(granted.as_str(), pattern)),
        }
    }

    /// Whether it may tell the node to leave.
    pub(crate) fn may_command(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// Whether every topic that `pattern` matches is matched by `granted`, too.
fn covers(granted: &str, pattern: &str) -> bool {
    match granted.strip_suffix('*') {
        Some(prefix) => pattern.starts_with(prefix),
        None => pattern == granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        let patterns = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Pattern::parse(text).unwrap())
                .collect()
        };
        Rights::Granted(Arc::new(Grant {
            name: "worker".into(),
            secret: [0; SECRET_SIZE],
            overlays: vec!["demo".into()],
            publish: patterns(&["orders.new"]),
            subscribe: patterns(&["orders.*", "trades"]),
        }))
    }

    #[test]
    fn a_grant_covers_what_it_names_and_what_is_narrower() {
        let rights = rights();
        assert!(rights.may_use("demo") && !rights.may_use("prod"));
        assert!(rights.may_publish("orders.new") && !rights.may_publish("orders.old"));
        for pattern in ["orders.*", "orders.new", "orders.new.*", "trades"] {
            assert!(rights.may_subscribe(pattern), "{pattern}");
        }
        for pattern in ["*", "orders", "ordersx", "trades.*"] {
            assert!(!rights.may_subscribe(pattern), "{pattern}");
        }
        assert!(!rights.may_command());
    }

    #[test]
    fn the_owner_may_do_everything() {
        assert!(
            Rights::All.may_use("x")
                && Rights::All.may_publish("x")
                && Rights::All.may_subscribe("*")
        );
        assert!(Rights::All.may_command());
    }
}
