//! Checks of addresses: where the node binds, what it tells others, where it joins. Part of [`Check`].

use std::net::{IpAddr, SocketAddr};

use tidings_engine::Seed;
use tidings_wire::limits::MAX_ADDRESSES;

use super::check::{Check, DEFAULT_PORT, quoted};
use super::problem::Given;

/// Most addresses to join through: a handful is used, and a name may stand for many.
const MAX_JOIN: usize = 64;

impl Check<'_> {
    pub(super) fn bind(&mut self, given: &Given<String>) -> Option<SocketAddr> {
        let text = given.value.trim();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(address);
        }
        if let Ok(ip) = text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            return Some(SocketAddr::new(ip, DEFAULT_PORT));
        }
        let remedy = "write an address of this host and a port, as \"0.0.0.0:7400\" or \"[::]:7400\"; port 0 takes any free one";
        self.wrong(given, quoted(text), "is not an address", remedy)
    }

    pub(super) fn advertise(
        &mut self,
        given: Option<&Given<Vec<String>>>,
        port: u16,
    ) -> Vec<SocketAddr> {
        let Some(given) = given else {
            return Vec::new();
        };
        if given.value.len() > MAX_ADDRESSES {
            let wrong = format!(
                "has {} addresses; at most {MAX_ADDRESSES} are advertised",
                given.value.len()
            );
            self.wrong::<_, ()>(given, "[...]", &wrong, "keep the best");
        }
        let mut addresses = Vec::new();
        for text in &given.value {
            let text = text.trim();
            let bare = text
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse::<IpAddr>();
            let address = text
                .parse::<SocketAddr>()
                .or_else(|_| bare.map(|ip| SocketAddr::new(ip, port)));
            match address {
                Ok(address) if !address.ip().is_unspecified() => addresses.push(address),
                Ok(_) => {
                    let wrong = "is no address that others could reach";
                    self.wrong::<_, ()>(
                        given,
                        quoted(text),
                        wrong,
                        "write the address that other hosts use for this one",
                    );
                }
                Err(_) => {
                    let remedy =
                        "write address and port, as \"203.0.113.5:7400\" or \"[2001:db8::5]:7400\"";
                    self.wrong::<_, ()>(given, quoted(text), "is not an address", remedy);
                }
            }
        }
        addresses
    }

    pub(super) fn join(&mut self, given: &Given<Vec<String>>) -> Vec<Seed> {
        let mut seeds = Vec::new();
        if given.value.len() > MAX_JOIN {
            let wrong = format!(
                "has {} addresses; at most {MAX_JOIN} are used",
                given.value.len()
            );
            let remedy = "name a few members, or one name that resolves to all";
            self.wrong::<_, ()>(given, "[...]", &wrong, remedy);
            return seeds;
        }
        for text in &given.value {
            match text.trim().parse() {
                Ok(seed) => seeds.push(seed),
                Err(_) => {
                    let remedy = if text.is_ascii() {
                        "write ip, ip:port, host, host:port, [v6]:port or srv+name"
                    } else {
                        "write the name in its ASCII form, as xn--bcher-kva.example for b\u{fc}cher.example"
                    };
                    let wrong = "is not an address to join through";
                    self.wrong::<_, ()>(given, quoted(text), wrong, remedy);
                }
            }
        }
        seeds
    }
}
