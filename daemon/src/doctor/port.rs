//! The node's UDP port: free, or held by the daemon that answers at the configured socket, or by somebody else.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use serde_json::Value;
use tidings_client::{Client, Options, Question};
use tidings_engine::host;

use super::finding::Finding;
use crate::config::Settings;

/// Binds the port for a moment, as a node would.
pub fn check(settings: &Settings) -> Finding {
    let bind = settings.node.bind;
    let bound = UdpSocket::bind(bind).map(drop);
    let is_held = bound
        .as_ref()
        .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
    let holder = is_held.then(|| Daemon::of(settings));
    judge(bind, bound, holder.as_ref(), || {
        let ips = host::addresses().into_iter().map(|(_, ip)| ip.to_string());
        ips.collect::<Vec<_>>().join(" ")
    })
}

/// The daemon at the configured socket.
pub(super) enum Daemon {
    /// It says who it is, and what it is bound to.
    Told { name: String, bind: String },
    /// Somebody listens there and does not tell this user.
    Silent(String),
    /// Nobody listens there.
    None,
}

impl Daemon {
    /// Asks it who it is.
    pub(super) fn of(settings: &Settings) -> Self {
        let answer = match Client::connect(Options::new(settings.socket.clone())) {
            Err(tidings_client::Error::NoDaemon { .. }) => return Self::None,
            Err(error) => return Self::Silent(error.to_string()),
            Ok(mut client) => client.ask(Question::Node, ""),
        };
        let answer = answer.map_err(|error| error.to_string());
        let node = answer.and_then(|text| {
            serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())
        });
        let text = |node: &Value, key: &str| {
            let text = node.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        match node {
            Ok(node) => Self::Told {
                name: text(&node, "name"),
                bind: text(&node, "bind"),
            },
            Err(error) => Self::Silent(error),
        }
    }
}

fn judge(
    bind: SocketAddr,
    bound: io::Result<()>,
    holder: Option<&Daemon>,
    addresses: impl FnOnce() -> String,
) -> Finding {
    let what = format!("udp {bind}");
    let Err(error) = bound else {
        return Finding::ok(what, "free");
    };
    let (port, ip) = (bind.port(), bind.ip());
    match (holder, error.kind()) {
        (Some(Daemon::Told { name, bind: held }), _) if *held == bind.to_string() => Finding::ok(
            what,
            format!("held by the daemon {name}, which runs with this socket"),
        ),
        (Some(Daemon::Told { name, bind: held }), _) if has_port(held, port) => Finding::failure(
            what,
            format!("held by the daemon {name}, which is bound to {held}"),
            "restart it with this configuration, or choose another port for a second node",
        ),
        (Some(Daemon::Silent(why)), _) => Finding::warning(
            what,
            format!(
                "held, by the daemon of another user as it seems, which does not tell this one: {why}"
            ),
            "run this as the user who runs the daemon",
        ),
        (Some(_), _) => Finding::failure(
            what,
            "held by another process",
            format!(
                "`ss -lunp 'sport = :{port}'` tells which: stop it, or choose another port with --bind {ip}:PORT or node.bind"
            ),
        ),
        (None, io::ErrorKind::AddrNotAvailable) => Finding::failure(
            what,
            "is no address of this host",
            format!(
                "bind one of: {}; or 0.0.0.0 or [::] for all, with node.bind or --bind",
                addresses()
            ),
        ),
        (None, io::ErrorKind::PermissionDenied) => Finding::failure(
            what,
            "this user may not bind it",
            "choose a port from 1024, or give the unit AmbientCapabilities=CAP_NET_BIND_SERVICE",
        ),
        (None, _) => Finding::failure(
            what,
            format!("cannot be bound: {error}"),
            format!(
                "look at `ip address`; choose another address with --bind ADDR:{port} or node.bind"
            ),
        ),
    }
}

fn has_port(address: &str, port: u16) -> bool {
    address
        .parse()
        .is_ok_and(|address: SocketAddr| address.port() == port)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn bind() -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 7400))
    }

    fn judged(kind: io::ErrorKind, holder: Option<&Daemon>) -> Finding {
        judge(bind(), Err(kind.into()), holder, || "10.0.0.1".to_owned())
    }

    fn told(bind: &str) -> Daemon {
        Daemon::Told {
            name: "host-a".to_owned(),
            bind: bind.to_owned(),
        }
    }

    #[test]
    fn a_port_that_our_own_daemon_holds_is_as_it_should_be() {
        let ours = judged(io::ErrorKind::AddrInUse, Some(&told("0.0.0.0:7400")));
        assert_eq!(ours.state, State::Ok);
        assert!(ours.value.contains("host-a"));
    }

    #[test]
    fn a_port_that_somebody_else_holds_is_a_failure() {
        for holder in [told("0.0.0.0:7500"), Daemon::None] {
            let finding = judged(io::ErrorKind::AddrInUse, Some(&holder));
            assert_eq!(finding.state, State::Failure);
            assert!(finding.remedy.contains("sport = :7400"), "{finding}");
        }
        let other = told("10.0.0.1:7400");
        let finding = judged(io::ErrorKind::AddrInUse, Some(&other));
        assert_eq!(finding.state, State::Failure);
        assert!(finding.value.contains("daemon host-a"), "{finding}");
        let silent = Daemon::Silent("refused".to_owned());
        let finding = judged(io::ErrorKind::AddrInUse, Some(&silent));
        assert_eq!(finding.state, State::Warning);
    }

    #[test]
    fn an_address_that_cannot_be_bound_is_told_with_those_that_can() {
        let elsewhere = judged(io::ErrorKind::AddrNotAvailable, None);
        assert!(elsewhere.remedy.contains("10.0.0.1"), "{elsewhere}");
        let low = judged(io::ErrorKind::PermissionDenied, None);
        assert!(low.remedy.contains("CAP_NET_BIND_SERVICE"), "{low}");
        let other = judged(io::ErrorKind::Unsupported, None);
        assert_eq!(other.state, State::Failure);
    }
}
