//! The sockets of discovery: an ear for each group and a mouth for each address of this host that others can be told.
//! Looked over every few seconds, because interfaces come and go. What cannot be used is logged once, and tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::DiscoverySettings;
use crate::limits::BEACON_ADDRESSES_MAX;
use crate::sys::interfaces::{self, Place, is_link_local};
use crate::sys::multicast::{ear_v4, ear_v6, join_v4, mouth, part_v4};

/// What fails on an interface: part of what is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    Hear,
    Join,
    Speak,
    Send,
    NoInterface,
}

impl Fault {
    fn remedy(self) -> &'static str {
        match self {
            Self::Hear => {
                "beacons are not heard: see whether another program has this port without sharing it, or choose another port for discovery on all nodes"
            }
            Self::Join => {
                "beacons are not heard there: enable multicast on the interface, raise net.ipv4.igmp_max_memberships, or name the interfaces to use"
            }
            Self::Speak => {
                "no beacons are sent from there: enable multicast on the interface, or name the interfaces to use"
            }
            Self::Send => {
                "no beacons are sent from there: see whether a firewall keeps them back, or name the interfaces to use"
            }
            Self::NoInterface => {
                "nobody is found: bind the node to an address of an interface that is up and carries multicast, or to all; or tell it whom to join"
            }
        }
    }
}

/// What failed lately, so that it is logged once. An address that has just come is not usable in its first second: only
/// what fails twice is told.
#[derive(Default)]
struct Faults(BTreeMap<(String, Fault, bool), u32>);

impl Faults {
    fn note(&mut self, name: &str, fault: Fault, is_v6: bool, error: &dyn std::fmt::Display) {
        let times = self.0.entry((name.to_owned(), fault, is_v6)).or_default();
        *times = times.saturating_add(1);
        if *times == 2 {
            let family = if is_v6 { "IPv6" } else { "IPv4" };
            tracing::warn!(interface = name, family, %error, "discovery: {}", fault.remedy());
        }
    }

    fn well(&mut self, name: &str, fault: Fault, is_v6: bool) {
        if !self.0.is_empty() {
            self.0.remove(&(name.to_owned(), fault, is_v6));
        }
    }

    /// Forgets interfaces that are gone.
    fn keep(&mut self, names: &BTreeSet<&str>) {
        self.0
            .retain(|(name, ..), _| name.is_empty() || names.contains(name.as_str()));
    }
}

/// An address from which beacons go out, and its socket.
pub(super) struct Mouth {
    name: String,
    pub(super) ip: IpAddr,
    socket: UdpSocket,
}

/// See the module.
pub(super) struct Segment {
    settings: DiscoverySettings,
    local: SocketAddr,
    ear_v4: Option<UdpSocket>,
    joined_v4: BTreeSet<u32>,
    ears_v6: BTreeMap<u32, UdpSocket>,
    mouths: BTreeMap<(u32, IpAddr), Mouth>,
    faults: Faults,
}

impl Segment {
    /// Without any socket yet; the node's unicast socket is bound to `local`.
    pub(super) fn new(settings: DiscoverySettings, local: SocketAddr) -> Self {
        Self {
            settings,
            local,
            ear_v4: None,
            joined_v4: BTreeSet::new(),
            ears_v6: BTreeMap::new(),
            mouths: BTreeMap::new(),
            faults: Faults::default(),
        }
    }

    /// Brings the sockets up to the interfaces that there are now. `true`: there is an address that was not there
    /// before.
    pub(super) fn refresh(&mut self) -> bool {
        let places = choose(interfaces::places(), self.local.ip(), &self.settings);
        let names: BTreeSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
        self.faults.keep(&names);
        match places.is_empty() {
            true => {
                let error = format!("no interface serves {}", self.local);
                let is_v6 = self.local.is_ipv6();
                self.faults.note("", Fault::NoInterface, is_v6, &error);
            }
            false => self
                .faults
                .well("", Fault::NoInterface, self.local.is_ipv6()),
        }
        self.drop_gone(&places);
        let mut is_new = false;
        for place in places {
            match place.ip.is_ipv4() {
                true => self.hear_v4(&place),
                false => self.hear_v6(&place),
            }
            is_new |= self.speak(place);
        }
        is_new
    }

    fn drop_gone(&mut self, places: &[Place]) {
        let is_there = |index: u32, is_v6: bool| {
            let mut here = places.iter();
            here.any(|place| place.index == index && place.ip.is_ipv6() == is_v6)
        };
        let (ear, group) = (&self.ear_v4, self.settings.group_v4);
        self.joined_v4.retain(|index| {
            let stays = is_there(*index, false);
            if let (false, Some(ear)) = (stays, ear) {
                part_v4(ear, group, *index);
            }
            stays
        });
        self.ears_v6.retain(|index, _| is_there(*index, true));
        self.mouths.retain(|(index, ip), _| {
            let mut here = places.iter();
            here.any(|place| place.index == *index && place.ip == *ip)
        });
    }

    fn hear_v4(&mut self, place: &Place) {
        let (group, port) = (self.settings.group_v4, self.settings.port);
        if self.ear_v4.is_none() {
            match ear_v4(group, port) {
                Ok(ear) => self.ear_v4 = Some(ear),
                Err(error) => self.faults.note(&place.name, Fault::Hear, false, &error),
            }
        }
        let Some(ear) = &self.ear_v4 else { return };
        if self.joined_v4.contains(&place.index) {
            return;
        }
        match join_v4(ear, group, place.index) {
            Ok(()) => {
                self.joined_v4.insert(place.index);
                self.faults.well(&place.name, Fault::Join, false);
                self.faults.well(&place.name, Fault::Hear, false);
            }
            Err(error) => self.faults.note(&place.name, Fault::Join, false, &error),
        }
    }

    fn hear_v6(&mut self, place: &Place) {
        if self.ears_v6.contains_key(&place.index) {
            return;
        }
        match ear_v6(self.settings.group_v6, self.settings.port, place.index) {
            Ok(ear) => {
                self.ears_v6.insert(place.index, ear);
                self.faults.well(&place.name, Fault::Join, true);
                self.faults.well(&place.name, Fault::Hear, true);
            }
            Err(error) => {
                let is_taken = error.kind() == io::ErrorKind::AddrInUse;
                let fault = if is_taken { Fault::Hear } else { Fault::Join };
                self.faults.note(&place.name, fault, true, &error);
            }
        }
    }

    /// `true`: it is new.
    fn speak(&mut self, place: Place) -> bool {
        let key = (place.index, place.ip);
        if self.mouths.contains_key(&key) {
            return false;
        }
        let is_v6 = place.ip.is_ipv6();
        match mouth(place.ip, place.index) {
            Ok(socket) => {
                self.faults.well(&place.name, Fault::Speak, is_v6);
                let mouth = Mouth {
                    name: place.name,
                    ip: place.ip,
                    socket,
                };
                self.mouths.insert(key, mouth);
                true
            }
            Err(error) => {
                self.faults.note(&place.name, Fault::Speak, is_v6, &error);
                false
            }
        }
    }

    /// The sockets to hear with.
    pub(super) fn ears(&self) -> impl Iterator<Item = &UdpSocket> {
        self.ear_v4.iter().chain(self.ears_v6.values())
    }

    /// Addresses from which beacons go out.
    pub(super) fn addresses(&self) -> usize {
        self.mouths.len()
    }

    /// Sends from each address what `beacon` makes for it. How many went out, and how many did not.
    pub(super) fn send<B: AsRef<[u8]>>(
        &mut self,
        mut beacon: impl FnMut(SocketAddr) -> Option<B>,
    ) -> (u64, u64) {
        let (mut sent, mut failed) = (0, 0);
        for mouth in self.mouths.values() {
            let Some(bytes) = beacon(SocketAddr::new(mouth.ip, self.local.port())) else {
                failed += 1;
                continue;
            };
            let is_v6 = mouth.ip.is_ipv6();
            match send(mouth, &self.settings, bytes.as_ref()) {
                Ok(()) => {
                    sent += 1;
                    self.faults.well(&mouth.name, Fault::Send, is_v6);
                }
                Err(error) => {
                    failed += 1;
                    self.faults.note(&mouth.name, Fault::Send, is_v6, &error);
                }
            }
        }
        (sent, failed)
    }
}

fn send(mouth: &Mouth, settings: &DiscoverySettings, bytes: &[u8]) -> io::Result<()> {
    let group: IpAddr = match mouth.ip {
        IpAddr::V4(_) => settings.group_v4.into(),
        IpAddr::V6(_) => settings.group_v6.into(),
    };
    mouth
        .socket
        .send_to(bytes, (group, settings.port))
        .map(|_| ())
}

/// The addresses to speak from and the interfaces to hear on: one of each family for each interface that is up and
/// carries multicast, unless only some are named; where the node is bound to one address, that one. A machine without a
/// network has its loopback, so that its own nodes can meet. Link-local addresses are of no use to others: members'
/// addresses have no zone.
fn choose(places: Vec<Place>, bound: IpAddr, settings: &DiscoverySettings) -> Vec<Place> {
    let named = &settings.interfaces;
    let is_named = |place: &Place| named.is_empty() || named.contains(&place.name);
    let serves = |place: &Place| match bound.is_unspecified() {
        true => place.ip.is_ipv4() || bound.is_ipv6(),
        false => place.ip == bound,
    };
    let usable = |place: &Place| !place.ip.is_unspecified() && !is_link_local(place.ip);
    let here: Vec<Place> = places
        .into_iter()
        .filter(|place| is_named(place) && serves(place) && usable(place))
        .collect();
    let is_far = |place: &Place| place.is_multicast && !place.ip.is_loopback();
    let is_alone = !here.iter().any(is_far);
    let near = |place: &Place| place.ip.is_loopback() && (is_alone || !bound.is_unspecified());
    let mut seen = BTreeSet::new();
    let mut chosen: Vec<Place> = here
        .into_iter()
        .filter(|place| is_far(place) || near(place))
        .filter(|place| seen.insert((place.index, place.ip.is_ipv6())))
        .collect();
    chosen.truncate(BEACON_ADDRESSES_MAX);
    chosen
}

/// Joins the groups and sends an empty datagram to them as a node bound to `local` would, for `tidings doctor`: each
/// address with what came of it. Nobody takes the datagram for anything.
pub(crate) fn probe(
    settings: &DiscoverySettings,
    local: SocketAddr,
) -> Vec<(String, IpAddr, io::Result<()>)> {
    let places = choose(interfaces::places(), local.ip(), settings);
    let try_one = |place: &Place| -> io::Result<()> {
        let _ear = match place.ip.is_ipv4() {
            true => {
                let ear = ear_v4(settings.group_v4, settings.port)?;
                join_v4(&ear, settings.group_v4, place.index)?;
                ear
            }
            false => ear_v6(settings.group_v6, settings.port, place.index)?,
        };
        let mouth = Mouth {
            name: place.name.clone(),
            ip: place.ip,
            socket: mouth(place.ip, place.index)?,
        };
        send(&mouth, settings, &[])
    };
    let tried = places.into_iter().map(|place| {
        let result = try_one(&place);
        (place.name, place.ip, result)
    });
    tried.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, index: u32, ip: &str) -> Place {
        Place {
            name: name.to_owned(),
            index,
            ip: ip.parse().unwrap(),
            is_multicast: name != "lo" && name != "tun0",
        }
    }

    fn host() -> Vec<Place> {
        vec![
            place("lo", 1, "127.0.0.1"),
            place("lo", 1, "::1"),
            place("eth0", 2, "10.0.0.5"),
            place("eth0", 2, "10.0.0.6"),
            place("eth0", 2, "fe80::5"),
            place("eth0", 2, "2001:db8::5"),
            place("eth1", 3, "169.254.1.1"),
            place("tun0", 4, "10.8.0.2"),
            place("br0", 5, "192.168.1.1"),
        ]
    }

    fn chosen(places: Vec<Place>, bound: &str, named: &[&str]) -> Vec<String> {
        let settings = DiscoverySettings {
            interfaces: named.iter().map(|name| (*name).to_owned()).collect(),
            ..DiscoverySettings::default()
        };
        let chosen = choose(places, bound.parse().unwrap(), &settings);
        chosen.iter().map(|place| place.ip.to_string()).collect()
    }

    #[test]
    fn each_interface_that_carries_multicast_speaks_once_for_each_family_served() {
        assert_eq!(chosen(host(), "0.0.0.0", &[]), ["10.0.0.5", "192.168.1.1"]);
        let both = ["10.0.0.5", "2001:db8::5", "192.168.1.1"];
        assert_eq!(chosen(host(), "::", &[]), both);
        assert_eq!(chosen(host(), "0.0.0.0", &["br0"]), ["192.168.1.1"]);
    }

    #[test]
    fn a_node_bound_to_one_address_speaks_of_no_other() {
        assert_eq!(chosen(host(), "10.0.0.6", &[]), ["10.0.0.6"]);
        assert_eq!(chosen(host(), "127.0.0.1", &[]), ["127.0.0.1"]);
        assert!(chosen(host(), "10.8.0.2", &[]).is_empty());
        assert!(chosen(host(), "10.0.0.6", &["br0"]).is_empty());
    }

    #[test]
    fn a_machine_without_a_network_has_its_loopback() {
        let alone = host().into_iter().take(2).collect();
        assert_eq!(chosen(alone, "0.0.0.0", &[]), ["127.0.0.1"]);
        let mut many = Vec::new();
        for index in 1..=100 {
            many.push(place("veth", index, &format!("10.1.{index}.1")));
        }
        assert_eq!(chosen(many, "0.0.0.0", &[]).len(), BEACON_ADDRESSES_MAX);
    }

    #[test]
    fn a_fault_is_noted_until_it_is_over_or_its_interface_gone() {
        let mut faults = Faults::default();
        faults.note("eth0", Fault::Join, false, &"refused");
        faults.note("eth0", Fault::Join, false, &"refused");
        faults.note("eth1", Fault::Send, true, &"refused");
        faults.note("", Fault::NoInterface, false, &"none");
        faults.keep(&BTreeSet::from(["eth0"]));
        assert_eq!(faults.0.len(), 2);
        faults.well("eth0", Fault::Join, false);
        assert_eq!(faults.0.len(), 1);
    }

    #[test]
    fn what_one_node_sends_on_loopback_another_hears() {
        let settings = DiscoverySettings {
            group_v4: std::net::Ipv4Addr::new(239, 255, 84, 70),
            ..DiscoverySettings::default()
        };
        let local = "127.0.0.1:7400".parse().unwrap();
        let mut nodes = [(); 2].map(|()| Segment::new(settings.clone(), local));
        for node in &mut nodes {
            assert!(node.refresh());
            assert!(!node.refresh());
            assert_eq!((node.addresses(), node.ears().count()), (1, 1));
        }
        let said = format!("segment test {}", std::process::id());
        let sent = nodes[0].send(|addr| {
            assert_eq!(addr, local);
            Some(said.as_bytes().to_vec())
        });
        assert_eq!(sent, (1, 0));
        let ear = nodes[1].ears().next().expect("an ear");
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut room = [0; 64];
        let is_heard = |room: &mut [u8]| {
            let heard = ear.recv_from(room);
            heard
                .is_ok_and(|(len, from)| &room[..len] == said.as_bytes() && from.ip() == local.ip())
        };
        while !is_heard(&mut room) {
            assert!(std::time::Instant::now() < until, "nothing was heard");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(
            probe(&settings, local)
                .iter()
                .all(|(.., done)| done.is_ok())
        );
    }
}
