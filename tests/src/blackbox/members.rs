//! Members as a node tells them: once, or every change.

use std::time::Duration;

use serde_json::Value;

use super::node::{Node, READ_WITHIN};
use crate::host::Process;

/// A member in the answer of `tidings members`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its label.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its state: `alive`, `suspect`, `dead`, `left`.
    pub state: String,
    /// Its address.
    pub address: String,
}

pub(super) fn members(node: &Node<'_>, overlay: &str) -> Vec<Member> {
    let done = node.verb(&["members", overlay, "--format", "json"], READ_WITHIN);
    let answer: Value = serde_json::from_str(&done.out).unwrap_or_default();
    let member = |value: &Value| {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(Member {
            name: text("name")?,
            id: text("id")?,
            state: text("state")?,
            address: text("address").unwrap_or_default(),
        })
    };
    answer
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(member)
        .collect()
}

/// A running `tidings members --watch --format json`.
#[derive(Debug)]
pub struct Watcher(Process);

impl Watcher {
    /// Begins to watch an overlay; the snapshot has been told when this returns.
    ///
    /// # Panics
    /// If it is not told.
    #[track_caller]
    pub fn of(node: Node<'_>, overlay: &str) -> Watcher {
        let watcher = Watcher(node.spawn(&["members", overlay, "--watch", "--format", "json"]));
        super::eventually("a snapshot of the members", Duration::from_secs(60), || {
            watcher.all().iter().any(|(snapshot, ..)| *snapshot)
        });
        watcher
    }

    fn all(&self) -> Vec<(bool, String, String)> {
        let event = |line: &str| {
            let value: Value = serde_json::from_str(line).ok()?;
            Some((
                value["snapshot"].as_bool()?,
                value["event"].as_str()?.to_owned(),
                value["name"].as_str()?.to_owned(),
            ))
        };
        self.0.stdout().lines().filter_map(event).collect()
    }

    /// Changes since the snapshot: event and name of the member.
    pub fn changes(&self) -> Vec<(String, String)> {
        let all = self.all().into_iter();
        all.filter(|(snapshot, ..)| !snapshot)
            .map(|(_, event, name)| (event, name))
            .collect()
    }

    /// How often `event` was told of `name`.
    pub fn count(&self, event: &str, name: &str) -> usize {
        let wanted = (event.to_owned(), name.to_owned());
        self.changes()
            .iter()
            .filter(|&change| *change == wanted)
            .count()
    }
}
