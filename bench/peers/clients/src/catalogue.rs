//! Every peer: its name, what it promises, and the system that runs it, or why there is none.

use tidings_loadgen::{Class, System};

use crate::{home, system};

/// What is known of a peer even where it cannot be built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) class: Class,
}

/// A system, or the part (a feature or a C library) without which it is missing.
pub(crate) type Made = Result<&'static dyn System, &'static str>;

/// A peer.
pub(crate) struct Peer {
    pub(crate) known: Known,
    pub(crate) made: Made,
}

impl Peer {
    /// One line of JSON.
    pub(crate) fn listed(&self) -> String {
        let missing = self.made.err().map(home::why_without);
        serde_json::json!({
            "name": self.known.name,
            "title": self.known.about,
            "class": self.known.class.guarantee,
            "encryption": self.known.class.encryption,
            "missing": missing,
        })
        .to_string()
    }
}

const PLAIN: &str = "none";
const AT_MOST_ONCE: &str = "at most once, in order; TCP to a broker and from it";
const HOP_BY_HOP: &str = "reliable and in order while the link lasts; back-pressure, no broker";
const NAK: &str = "reliable and in order while the link lasts; NAKs and flow control, one media driver on each side";
const ACKED: &str = "at least once; each hop acknowledged, TCP to a broker and from it";

const fn known(
    name: &'static str,
    about: &'static str,
    guarantee: &'static str,
    encryption: &'static str,
) -> Known {
    Known {
        name,
        about,
        class: Class {
            guarantee,
            encryption,
        },
    }
}

/// All of them, in the order of the page.
pub(crate) fn all() -> Vec<Peer> {
    let peer = |known: Known, make: fn(Known) -> Made| Peer {
        known,
        made: make(known),
    };
    vec![
        peer(
            known("nats", "NATS, async-nats", AT_MOST_ONCE, PLAIN),
            system::nats_rust,
        ),
        peer(
            known("nats-c", "NATS, libnats", AT_MOST_ONCE, PLAIN),
            system::nats_c,
        ),
        peer(
            known("nats-tls", "NATS, async-nats", AT_MOST_ONCE, "TLS 1.3"),
            system::nats_rust,
        ),
        peer(
            known("nats-c-tls", "NATS, libnats", AT_MOST_ONCE, "TLS 1.3"),
            system::nats_c,
        ),
        peer(
            known("zenoh-tcp", "zenoh over TCP", HOP_BY_HOP, PLAIN),
            system::zenoh,
        ),
        peer(
            known("zenoh-tls", "zenoh over TLS", HOP_BY_HOP, "TLS 1.3"),
            system::zenoh,
        ),
        peer(
            known("zenoh-quic", "zenoh over QUIC", HOP_BY_HOP, "QUIC, TLS 1.3"),
            system::zenoh,
        ),
        peer(
            known("aeron", "Aeron, MTU 1408, idle: yield", NAK, PLAIN),
            system::aeron,
        ),
        peer(
            known(
                "aeron-backoff",
                "Aeron, MTU 1408, idle: backoff",
                NAK,
                PLAIN,
            ),
            system::aeron,
        ),
        peer(
            known("aeron-64k", "Aeron, MTU 65504, idle: yield", NAK, PLAIN),
            system::aeron,
        ),
        peer(
            known("redis", "Redis pub/sub, pipelined", AT_MOST_ONCE, PLAIN),
            system::redis,
        ),
        peer(
            known(
                "mosquitto",
                "Mosquitto, MQTT QoS 1, pipelined",
                ACKED,
                PLAIN,
            ),
            system::mosquitto,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_once_each_and_fit_their_systems() {
        let all = all();
        for (at, peer) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|p| p.known.name != peer.known.name));
            if let Ok(system) = peer.made {
                assert_eq!(system.name(), peer.known.name);
                assert_eq!(system.class().encryption, peer.known.class.encryption);
            }
        }
    }

    #[test]
    fn a_missing_peer_is_listed_with_its_reason() {
        let peer = Peer {
            known: all()[0].known,
            made: Err("no-such-part"),
        };
        let listed: serde_json::Value = serde_json::from_str(&peer.listed()).unwrap();
        assert_eq!(listed["name"], "nats");
        assert!(listed["missing"].as_str().unwrap().contains("no-such-part"));
    }
}
