//! The systems that are compared, one row each.

use std::process::Command;

use serde::Deserialize;

use crate::options::{Options, What};

/// How a row is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `floor` with this subcommand and these arguments, for throughput or for latency.
    Floor {
        what: What,
        arguments: &'static [&'static str],
    },
    /// `tidings-loadgen --attach`.
    Tidings {
        attach: &'static str,
        arguments: &'static [&'static str],
    },
    /// `tidings-peers --attach`.
    Peer,
    /// A peer that could not be built, and why.
    Missing { why: String },
}

/// A system.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) title: String,
    /// What it promises.
    pub(crate) class: String,
    pub(crate) encryption: String,
    pub(crate) kind: Kind,
}

impl Row {
    /// Whether a message that does not arrive breaks no promise.
    pub(crate) fn may_lose(&self) -> bool {
        self.class.starts_with("at most once") || matches!(self.kind, Kind::Floor { .. })
    }
}

/// The row that others are compared with.
pub(crate) const REFERENCE: &str = "tidings-on-shard";

/// All of them: floors, Tidings, peers.
pub(crate) fn all(options: &Options) -> Result<Vec<Row>, String> {
    let mut rows = vec![
        floor(
            "floor-raw",
            "*floor*: a datagram for each message, sendmmsg and recvmmsg",
            What::Throughput,
            &["raw"],
        ),
        floor(
            "floor-1448",
            "*floor*: sealed datagrams of 1,448 B, GSO and GRO, no protocol",
            What::Throughput,
            &["pipe", "--datagram", "1448"],
        ),
        floor(
            "floor-65000",
            "*floor*: sealed datagrams of 65,000 B, no protocol",
            What::Throughput,
            &["pipe", "--datagram", "65000"],
        ),
        floor(
            "floor-asleep",
            "*floor*: a datagram for each message, both sides sleep",
            What::Latency,
            &["echo"],
        ),
        floor(
            "floor-polling",
            "*floor*: a datagram for each message, both sides poll",
            What::Latency,
            &["echo", "--sender", "polling", "--receiver", "polling"],
        ),
        tidings(REFERENCE, "on-shard", "handlers on the shard", &[]),
        tidings(
            "tidings-on-shard-1448",
            "on-shard",
            "handlers on the shard, datagrams of 1,448 B",
            &["--max-datagram", "1448"],
        ),
        tidings(
            "tidings-any-thread",
            "any-thread",
            "threads beside the shard",
            &[],
        ),
        tidings("tidings-daemon", "daemon", "clients of two daemons", &[]),
    ];
    rows.extend(peers(options)?);
    Ok(rows)
}

fn floor(name: &str, title: &str, what: What, arguments: &'static [&'static str]) -> Row {
    let is_sealed = arguments.contains(&"pipe");
    Row {
        name: name.to_owned(),
        title: title.to_owned(),
        class: "none".to_owned(),
        encryption: if is_sealed { "AES-256-GCM" } else { "none" }.to_owned(),
        kind: Kind::Floor { what, arguments },
    }
}

fn tidings(
    name: &str,
    attach: &'static str,
    what: &str,
    arguments: &'static [&'static str],
) -> Row {
    Row {
        name: name.to_owned(),
        title: format!("**Tidings**, {what}"),
        class: "at least once, acknowledged by the subscriber".to_owned(),
        encryption: "AES-256-GCM".to_owned(),
        kind: Kind::Tidings { attach, arguments },
    }
}

/// One line of `tidings-peers systems`.
#[derive(Deserialize)]
struct Listed {
    name: String,
    title: String,
    class: String,
    encryption: String,
    /// Why it is not there, if so.
    missing: Option<String>,
}

fn peers(options: &Options) -> Result<Vec<Row>, String> {
    let program = options.peers.join("release/tidings-peers");
    let output = Command::new(&program)
        .arg("systems")
        .output()
        .map_err(|error| {
            format!(
                "{}: {error}: build it with bench/peers/install",
                program.display()
            )
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    listed(&text)
}

fn listed(text: &str) -> Result<Vec<Row>, String> {
    let rows = text.lines().map(|line| {
        let listed: Listed =
            serde_json::from_str(line).map_err(|error| format!("a listed system: {error}"))?;
        Ok(Row {
            name: listed.name,
            title: listed.title,
            class: listed.class,
            encryption: listed.encryption,
            kind: match listed.missing {
                Some(why) => Kind::Missing { why },
                None => Kind::Peer,
            },
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_system_is_a_row_even_if_it_is_missing() {
        let text = r#"{"name":"a","title":"A 1","class":"at most once","encryption":"none","missing":null}
{"name":"b","title":"B 2","class":"at least once","encryption":"TLS","missing":"no compiler"}"#;
        let rows = listed(text).unwrap();
        assert_eq!(rows[0].kind, Kind::Peer);
        let why = "no compiler".to_owned();
        assert_eq!(rows[1].kind, Kind::Missing { why });
        assert!(rows[0].may_lose() && !rows[1].may_lose());
        assert!(listed("nonsense").is_err());
    }
}
