//! The checks of `[discovery]`: how nodes of one network segment find one another, in the overlays that say so.

use std::net::IpAddr;
use std::time::Duration;

use tidings_engine::DiscoverySettings;
use tidings_engine::limits::{BEACON_ADDRESSES_MAX, BEACON_EVERY_MAX, BEACON_EVERY_MIN};

use super::check::{Check, quoted};
use super::problem::Given;
use super::raw::RawDiscovery;

/// Longest name of an interface in bytes (IFNAMSIZ less its end).
const MAX_INTERFACE: usize = 15;

impl Check<'_> {
    pub(super) fn discovery(&mut self, raw: RawDiscovery) -> DiscoverySettings {
        let mut settings = DiscoverySettings::default();
        if let Some(port) = raw.port.and_then(|given| self.integer(&given, 1, 65_535)) {
            settings.port = u16::try_from(port).unwrap_or(settings.port);
        }
        if let Some(given) = &raw.ipv4_group {
            match given.value.trim().parse::<IpAddr>() {
                Ok(IpAddr::V4(group)) if group.is_multicast() => settings.group_v4 = group,
                _ => self.group(given, "IPv4", "239.255.84.68"),
            }
        }
        if let Some(given) = &raw.ipv6_group {
            match given.value.trim().parse::<IpAddr>() {
                Ok(IpAddr::V6(group)) if group.is_multicast() => settings.group_v6 = group,
                _ => self.group(given, "IPv6", "ff12::5449:4447"),
            }
        }
        let every = raw.every.as_ref();
        let every = every.and_then(|given| self.beacon_every(given));
        settings.every = every.unwrap_or(settings.every);
        if let Some(given) = raw.interfaces {
            settings.interfaces = self.interfaces(&given);
        }
        settings
    }

    fn group(&mut self, given: &Given<String>, family: &str, example: &str) {
        let wrong = format!("is no {family} multicast group");
        let remedy = format!("write one, as \"{example}\", the same on all nodes");
        self.wrong::<_, ()>(given, quoted(&given.value), &wrong, &remedy);
    }

    fn beacon_every(&mut self, given: &Given<String>) -> Option<Duration> {
        self.duration(given, BEACON_EVERY_MIN, BEACON_EVERY_MAX)
    }

    fn interfaces(&mut self, given: &Given<Vec<String>>) -> Vec<String> {
        let names: Vec<String> = given
            .value
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        if names.len() > BEACON_ADDRESSES_MAX {
            let wrong = format!(
                "has {} names; at most {BEACON_ADDRESSES_MAX} are used",
                names.len()
            );
            self.wrong::<_, ()>(given, "[...]", &wrong, "name those of the segments meant");
        }
        for name in &names {
            let is_name = (1..=MAX_INTERFACE).contains(&name.len())
                && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
            if !is_name {
                let remedy = "write a name that `ip link` shows, as \"eth0\"";
                self.wrong::<_, ()>(
                    given,
                    quoted(name),
                    "is not the name of an interface",
                    remedy,
                );
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Discovery, Problems, Settings, check, read};

    fn checked(text: &str) -> Result<Settings, Problems> {
        let (raw, problems) = read("tidings.toml", text);
        check(raw, problems, Path::new(""))
    }

    #[test]
    fn discovery_is_off_unless_an_overlay_says_otherwise() {
        let settings = checked("").expect("the defaults");
        assert_eq!(settings.discovery, DiscoverySettings::default());
        let text = r#"
            [discovery]
            port = 7000
            ipv4_group = "239.1.2.3"
            ipv6_group = "ff15::7"
            every = "30s"
            interfaces = ["eth0"]
            [[overlay]]
            name = "demo"
            discovery = "lan"
            "#;
        let settings = checked(text).unwrap_or_else(|problems| panic!("{problems}"));
        let wanted = DiscoverySettings {
            port: 7000,
            group_v4: [239, 1, 2, 3].into(),
            group_v6: "ff15::7".parse().expect("a group"),
            every: Duration::from_secs(30),
            interfaces: vec!["eth0".to_owned()],
        };
        assert_eq!(settings.discovery, wanted);
        assert_eq!(settings.overlays[0].discovery, Discovery::Lan);
        let off = checked("[[overlay]]\nname = \"demo\"\n").expect("an overlay");
        assert_eq!(off.overlays[0].discovery, Discovery::Off);
    }

    #[test]
    fn what_cannot_be_is_named_with_its_remedy() {
        for (text, told) in [
            ("port = 0", "discovery.port = 0: is not in 1 to 65535"),
            ("ipv4_group = \"10.0.0.1\"", "is no IPv4 multicast group"),
            ("ipv4_group = \"ff12::1\"", "is no IPv4 multicast group"),
            ("ipv6_group = \"::1\"", "as \"ff12::5449:4447\""),
            ("every = \"100ms\"", "is not in 1s to 5m"),
            (
                "interfaces = [\"eth 0\"]",
                "is not the name of an interface",
            ),
            ("interface = \"eth0\"", "did you mean interfaces?"),
        ] {
            let problems = checked(&format!("[discovery]\n{text}\n")).expect_err(text);
            assert!(problems.to_string().contains(told), "{problems}");
        }
        let text = "[[overlay]]\nname = \"demo\"\ndiscovery = \"on\"\n";
        let problems = checked(text).expect_err("no such way").to_string();
        assert!(
            problems.contains("tidings.toml:3: overlay.discovery"),
            "{problems}"
        );
        assert!(problems.contains("write \"lan\" or \"off\""), "{problems}");
    }
}
