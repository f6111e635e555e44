//! What a packet is to the lab: the four classes of Tidings datagrams, told by the low nibble of the payload's first
//! byte, and everything else that IP carries.

use std::fmt;
use std::ops::BitOr;
use std::str::FromStr;

use serde::Serialize;

/// Kind of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// UDP that is none of the four below.
    Udp = 0,
    /// UDP, nibble 1: handshakes.
    Hello = 1,
    /// UDP, nibble 2: probes, acknowledgements, control.
    Pair = 2,
    /// UDP, nibble 3: tables and catch-up.
    Bulk = 3,
    /// UDP, nibble 4: live payload.
    Fan = 4,
    /// ICMP and ICMPv6, without neighbour discovery.
    Icmp = 5,
    /// TCP.
    Tcp = 6,
    /// Fragments and other protocols.
    Other = 7,
}

impl Class {
    /// All classes, in the order of their numbers.
    pub const ALL: [Class; 8] = [
        Class::Udp,
        Class::Hello,
        Class::Pair,
        Class::Bulk,
        Class::Fan,
        Class::Icmp,
        Class::Tcp,
        Class::Other,
    ];

    /// The class of a UDP payload.
    pub fn of_payload(payload: &[u8]) -> Class {
        match payload.first().map_or(0, |byte| byte & 0x0f) {
            1 => Class::Hello,
            2 => Class::Pair,
            3 => Class::Bulk,
            4 => Class::Fan,
            _ => Class::Udp,
        }
    }

    /// The name used in specifications and reports.
    pub fn name(self) -> &'static str {
        [
            "udp", "hello", "pair", "bulk", "fan", "icmp", "tcp", "other",
        ][self as usize]
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of classes: `Class::Pair | Class::Fan`, `Classes::ALL`, or `"pair+fan"` parsed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Classes(u8);

impl Classes {
    /// No class.
    pub const NONE: Classes = Classes(0);
    /// Every class.
    pub const ALL: Classes = Classes(0xff);

    /// Whether `class` is in the set.
    pub fn has(self, class: Class) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in this set but not in `other`.
    pub fn without(self, other: impl Into<Classes>) -> Classes {
        Classes(self.0 & !other.into().0)
    }
}

impl From<Class> for Classes {
    fn from(class: Class) -> Classes {
        Classes(1 << class as u8)
    }
}

impl<T: Into<Classes>> BitOr<T> for Classes {
    type Output = Classes;
    fn bitor(self, other: T) -> Classes {
        Classes(self.0 | other.into().0)
    }
}

impl<T: Into<Classes>> BitOr<T> for Class {
    type Output = Classes;
    fn bitor(self, other: T) -> Classes {
        Classes::from(self) | other
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Classes::ALL {
            return f.write_str("all");
        }
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for class in Class::ALL.into_iter().filter(|&class| self.has(class)) {
            write!(f, "{separator}{class}")?;
            separator = "+";
        }
        Ok(())
    }
}

impl FromStr for Classes {
    type Err = String;
    fn from_str(text: &str) -> Result<Classes, String> {
        match text {
            "all" => return Ok(Classes::ALL),
            "none" => return Ok(Classes::NONE),
            _ => {}
        }
        text.split('+').try_fold(Classes::NONE, |set, name| {
            let class = Class::ALL.into_iter().find(|class| class.name() == name);
            class.map(|class| set | class).ok_or_else(|| {
                format!(
                    "no class `{name}`: {}",
                    Class::ALL.map(Class::name).join(" ")
                )
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_print_as_they_parse() {
        for set in [
            Classes::ALL,
            Classes::NONE,
            Class::Pair | Class::Fan,
            Class::Tcp.into(),
        ] {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert!("pair+nonsense".parse::<Classes>().is_err());
    }

    #[test]
    fn any_version_nibble_gives_the_same_class() {
        assert_eq!(Class::of_payload(&[0x14]), Class::Fan);
        assert_eq!(Class::of_payload(&[0x22]), Class::Pair);
        assert_eq!(Class::of_payload(&[]), Class::Udp);
    }
}
