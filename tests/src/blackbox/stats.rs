//! `tidings stats`: counters by name, wherever they stand in the tree.

use serde_json::Value;

/// All counters of a node at one moment.
#[derive(Clone, Debug)]
pub struct Stats(Value);

impl Stats {
    pub(super) fn new(value: Value) -> Stats {
        Stats(value)
    }

    /// The whole answer.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The sum of every number called `name`.
    ///
    /// # Panics
    /// If there is none: a counter that was renamed must not count as zero.
    #[track_caller]
    pub fn sum(&self, name: &str) -> u64 {
        let mut found = Vec::new();
        gather(&self.0, name, &mut found);
        assert!(!found.is_empty(), "stats tell no `{name}`");
        found.iter().sum()
    }

    /// The sum over `names`.
    ///
    /// # Panics
    /// If one is missing.
    #[track_caller]
    pub fn sum_of(&self, names: &[&str]) -> u64 {
        names.iter().map(|name| self.sum(name)).sum()
    }
}

fn gather(value: &Value, name: &str, found: &mut Vec<u64>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_u64() {
                    Some(number) if key == name => found.push(number),
                    _ => gather(value, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, name, found)),
        _ => {}
    }
}
