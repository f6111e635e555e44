//! Where to join: `ip`, `ip:port`, `host`, `host:port`, `[v6]:port`, `srv+name`, each with all its addresses in turn.
//! Names are asked of the system's resolver, again and again: see `resolver.rs`.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use crate::limits::PORT_DEFAULT;
use crate::srv;

/// One entry of a join list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seed {
    /// An address.
    Address(SocketAddr),
    /// A host name and a port.
    Host(String, u16),
    /// A service name whose SRV records name hosts and ports.
    Service(String),
}

/// As it is written, the port always with it.
impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(addr) => write!(f, "{addr}"),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
            Self::Service(name) => write!(f, "srv+{name}"),
        }
    }
}

/// The text is none of the forms that a join entry may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSeed(pub String);

impl std::fmt::Display for BadSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}` is not ip, ip:port, host, host:port, [v6]:port or srv+name",
            self.0
        )
    }
}

impl std::error::Error for BadSeed {}

impl std::str::FromStr for Seed {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        let bad = || BadSeed(text.to_owned());
        if let Some(name) = text.strip_prefix("srv+") {
            return if is_name(name) {
                Ok(Self::Service(name.to_owned()))
            } else {
                Err(bad())
            };
        }
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return if addr.port() > 0 {
                Ok(Self::Address(addr))
            } else {
                Err(bad())
            };
        }
        let bracketed = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        let ip = match bracketed {
            Some(v6) => v6.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => text.parse::<IpAddr>(),
        };
        if let Ok(ip) = ip {
            return Ok(Self::Address(SocketAddr::new(ip, PORT_DEFAULT)));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| bad())?),
            None => (text, PORT_DEFAULT),
        };
        if port == 0 {
            return Err(bad());
        }
        if is_name(name) {
            Ok(Self::Host(name.to_owned(), port))
        } else {
            Err(bad())
        }
    }
}

/// Letters, digits, `-`, `_` and dots, as host and service names have them.
fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_letter)
}

impl Seed {
    /// All addresses behind this entry now. Blocks for as long as the resolver does.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Address(addr) => Ok(vec![*addr]),
            Self::Host(name, port) => Ok((name.as_str(), *port).to_socket_addrs()?.collect()),
            Self::Service(name) => {
                let (mut found, mut failed) = (Vec::new(), None);
                for (host, port) in srv::lookup(name)? {
                    match (host.as_str(), port).to_socket_addrs() {
                        Ok(addrs) => found.extend(addrs),
                        Err(error) => failed = Some(error),
                    }
                }
                // One host that is unknown keeps nobody from joining through the others.
                match failed {
                    Some(error) if found.is_empty() => Err(error),
                    _ => Ok(found),
                }
            }
        }
    }

    /// Whether the answer may change.
    pub fn is_name(&self) -> bool {
        !matches!(self, Self::Address(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(text: &str) -> Result<Seed, BadSeed> {
        text.parse()
    }

    #[test]
    fn every_documented_form_is_read() {
        let address = |text: &str| Seed::Address(text.parse().unwrap());
        assert_eq!(seed("10.0.0.1"), Ok(address("10.0.0.1:7400")));
        assert_eq!(seed("10.0.0.1:9"), Ok(address("10.0.0.1:9")));
        assert_eq!(seed("[fd00::1]:9"), Ok(address("[fd00::1]:9")));
        assert_eq!(seed("[fd00::1]"), Ok(address("[fd00::1]:7400")));
        assert_eq!(seed("fd00::1"), Ok(address("[fd00::1]:7400")));
        assert_eq!(
            seed("seed.example"),
            Ok(Seed::Host("seed.example".into(), 7400))
        );
        assert_eq!(seed("seed:9"), Ok(Seed::Host("seed".into(), 9)));
        assert_eq!(
            seed("srv+_tidings._udp.example"),
            Ok(Seed::Service("_tidings._udp.example".into()))
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "host:port",
            "a b",
            "srv+",
            "srv+_t._udp.x:7400",
            "srv+10.0.0.1:7400",
            "host:99999",
            "host:0",
            "10.0.0.1:0",
            "[10.0.0.1]",
            "::1:x:",
            "ho*st",
            "höst",
        ] {
            assert!(seed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["10.0.0.1:9", "[fd00::1]:7400", "seed:9", "srv+_t._udp.x"] {
            assert_eq!(seed(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_of_this_host_resolve_and_unknown_ones_are_told() {
        let found = seed("localhost:5").unwrap().resolve().unwrap();
        assert!(
            found
                .iter()
                .all(|addr| addr.port() == 5 && addr.ip().is_loopback())
        );
        assert!(!found.is_empty());
        assert!(seed("nowhere.invalid:1").unwrap().resolve().is_err());
    }
}
