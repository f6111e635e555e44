//! Whether beacons of discovery can be sent and heard, where an overlay looks for members on the network segment.

use std::io;
use std::net::IpAddr;

use tidings_engine::host;

use super::finding::Finding;
use crate::config::{Discovery, Settings};

/// Tries what a node would do on each of its segments. Nothing where discovery is off.
pub fn check(settings: &Settings) -> Vec<Finding> {
    let is_on = |overlay: &crate::config::OverlaySettings| overlay.discovery == Discovery::Lan;
    if !settings.overlays.iter().any(is_on) {
        return Vec::new();
    }
    let tried = host::try_discovery(&settings.discovery, settings.node.bind);
    if tried.is_empty() {
        let value = format!("no interface serves node.bind = {}", settings.node.bind);
        let remedy = "bind the node to 0.0.0.0 or [::], or to an address of an interface that is up and carries multicast (`ip link` shows MULTICAST), name no other in discovery.interfaces, or use join";
        return vec![Finding::failure("discovery", value, remedy)];
    }
    let port = settings.discovery.port;
    tried
        .into_iter()
        .map(|(name, ip, result)| judge(&name, ip, port, result))
        .collect()
}

fn judge(name: &str, ip: IpAddr, port: u16, result: io::Result<()>) -> Finding {
    let what = format!("discovery on {name}");
    let error = match result {
        Ok(()) => {
            let value = format!("beacons can be sent from {ip} and heard at udp port {port}");
            return Finding::ok(what, value);
        }
        Err(error) => error,
    };
    let value = format!("beacons of {ip}: {error}");
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has udp port {port} for itself: `ss -lunp sport = :{port}` names it; stop it, or set discovery.port on all nodes"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "a firewall keeps them back: allow udp port {port} to the groups of [discovery], out and in"
        ),
        _ => format!(
            "enable multicast there: `ip link set {name} multicast on`; or name the interfaces to use in discovery.interfaces"
        ),
    };
    Finding::warning(what, value, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn each_way_to_fail_has_its_remedy() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let fine = judge("eth0", ip, 7399, Ok(()));
        assert_eq!(
            (fine.state, fine.what.as_str()),
            (State::Ok, "discovery on eth0")
        );
        for (kind, told) in [
            (io::ErrorKind::AddrInUse, "sport = :7399"),
            (io::ErrorKind::PermissionDenied, "firewall"),
            (
                io::ErrorKind::NetworkUnreachable,
                "ip link set eth0 multicast on",
            ),
        ] {
            let finding = judge("eth0", ip, 7399, Err(kind.into()));
            assert_eq!(finding.state, State::Warning);
            assert!(finding.remedy.contains(told), "{}", finding.remedy);
        }
    }
}
