//! Messages as `tidings sub --format json` writes them, and what can be said about a set of them.

use std::collections::BTreeMap;

use serde_json::Value;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Publisher: node, boot, handle.
    pub publisher: (String, String, u64),
    /// Its number.
    pub seq: u64,
    /// Whether an earlier session may have seen it.
    pub again: bool,
    /// Its payload, if that is text.
    pub payload: Option<String>,
}

/// All complete lines of an output.
pub fn messages(output: &str) -> Vec<Message> {
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    whole.lines().filter_map(message).collect()
}

fn message(line: &str) -> Option<Message> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    Some(Message {
        topic: text("topic")?,
        publisher: (text("node")?, text("boot")?, value["handle"].as_u64()?),
        seq: value["seq"].as_u64()?,
        again: value["again"].as_bool()?,
        payload: text("payload"),
    })
}

/// What a subscriber saw of one publisher.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often each number came.
    pub times: BTreeMap<u64, u32>,
    /// Numbers that came twice or more, and how many of those copies were not flagged `again`.
    pub unflagged: u64,
}

impl Seen {
    /// Counts the messages, in the order in which they came.
    pub fn of(messages: &[Message]) -> Seen {
        let mut seen = Seen::default();
        for message in messages {
            let times = seen.times.entry(message.seq).or_default();
            *times += 1;
            seen.unflagged += u64::from(*times > 1 && !message.again);
        }
        seen
    }

    /// Numbers below `count` that never came: how many, and the first.
    pub fn missing(&self, count: u64) -> (u64, Option<u64>) {
        let missing = (0..count).filter(|seq| !self.times.contains_key(seq));
        (missing.clone().count() as u64, missing.clone().next())
    }

    /// Copies beyond the first of each number.
    pub fn duplicates(&self) -> u64 {
        self.times.values().map(|&times| u64::from(times) - 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_short_is_left_out_and_copies_are_counted() {
        let line = |seq: u64, again: bool| {
            format!(
                "{{\"topic\":\"t\",\"node\":\"a\",\"boot\":\"b\",\"handle\":1,\"seq\":{seq},\"again\":{again},\"payload\":\"x\"}}\n"
            )
        };
        let output = [
            line(0, false),
            line(2, false),
            line(2, true),
            line(0, false),
        ]
        .concat();
        let seen = Seen::of(&messages(&format!("{output}{{\"topic\":")));
        assert_eq!(seen.missing(3), (1, Some(1)));
        assert_eq!((seen.duplicates(), seen.unflagged), (2, 1));
    }
}
