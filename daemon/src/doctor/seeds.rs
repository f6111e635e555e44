//! The addresses to join through: whether names lead somewhere, and whether this host knows a way there. Nobody is asked
//! whether a node answers: one that starts tries again and again by itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tidings_engine::Seed;

use super::finding::{Finding, State};
use super::network::{describe_route, passes, toward};
use crate::config::Settings;

/// All lookups together get as long as a resolver that asks two servers twice; the system's own limit may be a minute.
const LOOKUPS: Duration = Duration::from_secs(10);
/// Names that are looked up at the same time, each on a thread.
const LOOKUPS_MAX: usize = 64;

/// The addresses behind a seed, each with the MTU of the way there.
type Reach = Vec<(SocketAddr, io::Result<u32>)>;

/// Looks up every seed of every overlay.
pub fn check(settings: &Settings) -> Vec<Finding> {
    let until = Instant::now() + LOOKUPS;
    let bind = settings.node.bind.ip();
    let overlays = settings.overlays.iter();
    let found = overlays.flat_map(|overlay| {
        let some = overlay.join.chunks(LOOKUPS_MAX);
        together(
            some.flat_map(|seeds| look_up_all(&overlay.name, bind, seeds, until))
                .collect(),
        )
    });
    found.collect()
}

fn look_up_all(overlay: &str, bind: IpAddr, seeds: &[Seed], until: Instant) -> Vec<Finding> {
    let asked: Vec<_> = seeds.iter().map(|seed| look_up(seed.clone())).collect();
    let answers = asked.into_iter().map(|answer| {
        let left = until.saturating_duration_since(Instant::now());
        let late = |_| Err(io::ErrorKind::TimedOut.into());
        answer.recv_timeout(left).unwrap_or_else(late)
    });
    let judged = seeds
        .iter()
        .zip(answers)
        .map(|(seed, addresses)| judge(overlay, seed, addresses.map(|all| reach(bind, all))));
    judged.collect()
}

fn look_up(seed: Seed) -> Receiver<io::Result<Vec<SocketAddr>>> {
    let (tx, rx) = channel();
    let for_thread = tx.clone();
    let started = thread::Builder::new()
        .name("tidings-lookup".to_owned())
        // Whoever asked may have stopped waiting.
        .spawn(move || drop(for_thread.send(seed.resolve())));
    if let Err(error) = started {
        // The receiver is right here.
        let _ = tx.send(Err(error));
    }
    rx
}

/// What the kernel says of the way to each address from the one that the node is bound to.
fn reach(bind: IpAddr, addresses: Vec<SocketAddr>) -> Reach {
    let way = |address: SocketAddr| -> io::Result<u32> {
        if bind.is_ipv4() && address.is_ipv6() {
            return Err(io::Error::other(format!(
                "a node bound to {bind} speaks IPv4 only"
            )));
        }
        let socket = toward(bind, address)?;
        Ok(match address {
            SocketAddr::V4(_) => sockopt::ip_mtu(&socket)?,
            SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket)?,
        })
    };
    let ways = addresses.into_iter().map(|address| (address, way(address)));
    ways.collect()
}

fn judge(overlay: &str, seed: &Seed, found: io::Result<Reach>) -> Finding {
    let what = format!("seed {seed} of overlay {overlay:?}");
    let remedy = match seed {
        Seed::Service(name) => format!(
            "`dig SRV {name}` must list hosts and ports; only name servers in /etc/resolv.conf are asked"
        ),
        Seed::Host(name, _) => format!(
            "`getent ahosts {name}` must list addresses: mend the name in overlay.join, /etc/hosts or the name server"
        ),
        Seed::Address(address) => format!("`ip route get {}` must show a way", address.ip()),
    };
    let found = match found {
        Err(error) => return Finding::warning(what, format!("does not resolve: {error}"), remedy),
        Ok(found) if found.is_empty() => {
            return Finding::warning(what, "resolves to no address", remedy);
        }
        Ok(found) => found,
    };
    let told: Vec<String> = found
        .iter()
        .map(|(address, way)| match way {
            Ok(mtu) => format!("{address} ({})", describe_route(*mtu, address.is_ipv6())),
            Err(error) => format!("{address} (no way there: {error})"),
        })
        .collect();
    let told = told.join(", ");
    let leads = |(address, way): &(SocketAddr, io::Result<u32>)| {
        way.as_ref()
            .is_ok_and(|mtu| passes(*mtu, address.is_ipv6()))
    };
    if found.iter().any(leads) {
        return Finding::ok(what, told);
    }
    let remedy = match found.iter().any(|(_, way)| way.is_ok()) {
        true => {
            "`ip route get ADDRESS` tells interface and mtu: raise that mtu, of the interface or the route"
        }
        false => "`ip route get ADDRESS` must show a way: look at addresses, routes and node.bind",
    };
    Finding::warning(what, told, remedy)
}

/// One seed is enough to join through: the rest may be away. Without any a node stays alone.
fn together(mut judged: Vec<Finding>) -> Vec<Finding> {
    if judged.iter().all(|finding| finding.state != State::Ok) {
        for finding in &mut judged {
            finding.state = State::Failure;
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(text: &str) -> Seed {
        text.parse().unwrap()
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 7400))
    }

    #[test]
    fn a_seed_is_told_with_its_addresses_and_what_passes_on_the_way() {
        let judged = judge("news", &seed("host-b"), Ok(vec![(address(), Ok(1_500))]));
        assert_eq!(judged.state, State::Ok);
        assert_eq!(judged.value, "10.0.0.1:7400 (1472 B of UDP payload)");
        let narrow = judge("news", &seed("host-b"), Ok(vec![(address(), Ok(1_000))]));
        assert!(narrow.value.contains("1200 B must pass"), "{narrow}");
        assert_eq!(narrow.state, State::Warning);
        assert!(narrow.remedy.contains("raise that mtu"), "{narrow}");
    }

    #[test]
    fn a_seed_that_leads_nowhere_is_told_with_the_command_that_shows_it() {
        let unknown = || Err(io::ErrorKind::NotFound.into());
        let host = judge("news", &seed("host-b"), unknown());
        assert!(host.remedy.contains("getent ahosts host-b"), "{host}");
        let service = judge("news", &seed("srv+_tidings._udp.example"), unknown());
        assert!(service.remedy.contains("dig SRV _tidings._udp.example"));
        let empty = judge("news", &seed("host-b"), Ok(Vec::new()));
        assert_eq!(empty.state, State::Warning);
        let no_way = Err(io::ErrorKind::NetworkUnreachable.into());
        let far = judge("news", &seed("10.0.0.1"), Ok(vec![(address(), no_way)]));
        assert_eq!(far.state, State::Warning);
    }

    #[test]
    fn only_where_no_seed_leads_anywhere_is_it_a_failure() {
        let good = || Finding::ok("a", "");
        let bad = || Finding::warning("b", "", "c");
        let states = |found: Vec<Finding>| found.iter().map(|f| f.state).collect::<Vec<_>>();
        assert_eq!(
            states(together(vec![good(), bad()])),
            [State::Ok, State::Warning]
        );
        assert_eq!(states(together(vec![bad(), bad()])), [State::Failure; 2]);
        assert!(together(Vec::new()).is_empty());
    }

    #[test]
    fn the_way_to_this_host_is_known_and_families_are_not_mixed_up() {
        let here = SocketAddr::from(([127, 0, 0, 1], 7400));
        let mtu = *reach([0, 0, 0, 0].into(), vec![here])[0]
            .1
            .as_ref()
            .unwrap();
        assert!(mtu > 1_200, "{mtu}");
        let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7400));
        assert!(reach([0, 0, 0, 0].into(), vec![six])[0].1.is_err());
    }
}
