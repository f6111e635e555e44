//! Gossiperl's options of an overlay, made options of ours where they mean something here, and refused with a hint where not: an
//! option that is taken and does nothing would be a lie. Also the way back, for those who ask what holds.

use std::net::{IpAddr, SocketAddr};

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tidings_engine::{DiscoverySettings, KeyRecord, Keyring, OverlayId, Suite};

use super::conflict;
use crate::config::{Discovery, OverlaySettings};
use crate::http::error::{ApiError, ApiResult};

/// The rack of those who name none.
const RACK: &str = "default";

/// What is refused, with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    (
        "iface",
        "overlays share the node's address: set node.bind in its configuration",
    ),
    (
        "ip_hint",
        "a node knows its own addresses: set node.advertise where it cannot",
    ),
    (
        "secret",
        "members are known by the overlay's key, symmetric_key, alone: leave it out",
    ),
    (
        "gossip_round_every",
        "choose the option `profile`, lan, wan or local, by PATCH /v1/overlays/{overlay}: it has every time of membership",
    ),
    (
        "quarantine_after",
        "choose the option `profile`, lan, wan or local, by PATCH /v1/overlays/{overlay}: it has every time of membership",
    ),
    (
        "max_quarantined",
        "choose the option `profile`, lan, wan or local, by PATCH /v1/overlays/{overlay}: it has every time of membership",
    ),
    (
        "drop_unreachable_after",
        "choose the option `profile`, lan, wan or local, by PATCH /v1/overlays/{overlay}: it has every time of membership",
    ),
    (
        "drop_stale_subscriptions_after",
        "subscriptions end with their clients and members: leave it out",
    ),
    (
        "incoming_data_buffer_size",
        "buffers are the node's: set node.tuning in its configuration",
    ),
    (
        "outgoing_data_buffer_size",
        "buffers are the node's: set node.tuning in its configuration",
    ),
    (
        "read_packet_count",
        "how much is read at a time is found out: leave it out",
    ),
];

/// What does not change while a node runs.
pub struct Here {
    /// Its label.
    pub name: String,
    /// Its address.
    pub bind: SocketAddr,
    /// How it finds others on its network segments.
    pub discovery: DiscoverySettings,
}

/// An overlay as Gossiperl describes it.
#[derive(Debug, Default)]
pub struct Asked {
    /// What of it is an option here, by our names.
    pub options: Map<String, Value>,
    /// Its key, as a keyring.
    pub keyring: Option<String>,
}

/// Reads a whole description.
pub fn whole(given: &Map<String, Value>, here: &Here) -> ApiResult<Asked> {
    let mut asked = Asked::default();
    for (name, value) in given {
        match name.as_str() {
            "symmetric_key" => asked.keyring = Some(keyring(value)?),
            "member_name" if value.as_str() == Some(here.name.as_str()) => {}
            "member_name" => {
                let hint = "every overlay has the node's name: set node.name in its configuration";
                return Err(refused(name, hint));
            }
            "ip" => ip(value, here)?,
            "multicast" => multicast(value, here, &mut asked.options)?,
            "rack_name" | "racks" | "port" => {}
            _ => redelivery(name, value, &mut asked.options)?,
        }
    }
    let port = given.get("port").map(port).transpose()?;
    let rack = match given.get("rack_name") {
        None => RACK,
        Some(name) => name
            .as_str()
            .ok_or_else(|| bad("rack_name", "a text", name))?,
    };
    if let Some(racks) = given.get("racks") {
        let join = seeds(racks, Some(rack), port)?;
        asked.options.insert("join".to_owned(), join.into());
    } else if rack != RACK {
        return Err(no_seeds(rack));
    }
    Ok(asked)
}

/// Reads one option, as a patch.
pub fn property(name: &str, value: &Value, here: &Here) -> ApiResult<Map<String, Value>> {
    let mut options = Map::new();
    match name {
        "multicast" => multicast(value, here, &mut options)?,
        "racks" => {
            let join = seeds(value, None, None)?;
            options.insert("join".to_owned(), join.into());
        }
        "ip" | "port" | "member_name" | "symmetric_key" => {
            return Err(conflict(
                "unchangeable",
                format!("{name} cannot change while the overlay runs"),
                "remove the overlay and make it anew",
            ));
        }
        "rack_name" => {
            return Err(refused(
                name,
                "set racks, with the seeds of that rack alone",
            ));
        }
        _ => redelivery(name, value, &mut options)?,
    }
    Ok(options)
}

/// What is left: when to give up, or what there is nothing for.
fn redelivery(name: &str, value: &Value, options: &mut Map<String, Value>) -> ApiResult<()> {
    let number = || {
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| bad(name, "a number, not below 0", value))
    };
    let (key, value) = match name {
        // It counts what comes after the first sending, and 0 is without end.
        "redelivery_retry_max" => {
            let retries = number()?;
            let attempts = match retries {
                0 => 0,
                some => some.saturating_add(1),
            };
            ("attempts", json!(attempts))
        }
        "redelivery_retry_every" => ("every", json!(format!("{}s", number()?))),
        _ => {
            let known = REFUSED.iter().find(|(known, _)| *known == name);
            return Err(match known {
                Some((_, hint)) => refused(name, hint),
                None => conflict(
                    "bad_option",
                    format!("{name:?} is no option of Gossiperl"),
                    "options of Tidings are set by PATCH /v1/overlays/{overlay}",
                ),
            });
        }
    };
    let redelivery = options.entry("redelivery").or_insert_with(|| json!({}));
    if let Value::Object(redelivery) = redelivery {
        redelivery.insert(key.to_owned(), value);
    }
    Ok(())
}

fn refused(name: &str, hint: &str) -> ApiError {
    let detail = format!("{name:?} is not an option of an overlay here");
    conflict("refused_option", detail, hint)
}

fn bad(name: &str, wanted: &str, value: &Value) -> ApiError {
    // What a key is, is nobody's business.
    let shown = match name {
        "symmetric_key" => "what was given".to_owned(),
        _ => value.to_string(),
    };
    let detail = format!("{name} cannot be {shown}");
    conflict("bad_option", detail, format!("it is {wanted}"))
}

/// A key of 256 bits as text. Anything shorter, or made of words, could be guessed by whoever records a handshake: the hash of a
/// phrase, as Gossiperl makes it, is as weak as the phrase.
fn keyring(value: &Value) -> ApiResult<String> {
    let wanted = "64 hexadecimal digits, as `openssl rand -hex 32` writes them, the same at every node; phrases are no keys";
    let text = value.as_str().unwrap_or_default();
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 64);
    let digits = digits.ok_or_else(|| bad("symmetric_key", wanted, value))?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    let record = KeyRecord::new(0, Suite::Aes256Gcm, key);
    // The text does not depend on the overlay.
    let ring = Keyring::new(OverlayId::ZERO, vec![record], 0);
    ring.map(|ring| ring.to_text())
        .map_err(|_| bad("symmetric_key", wanted, value))
}

fn ip(value: &Value, here: &Here) -> ApiResult<()> {
    let ip: Option<IpAddr> = value.as_str().and_then(|text| text.parse().ok());
    match ip {
        None => Err(bad("ip", "an address", value)),
        Some(ip) if ip.is_unspecified() || ip == here.bind.ip() => Ok(()),
        Some(_) => Err(refused(
            "ip",
            "overlays share the node's address: set node.bind in its configuration, and leave ip out or name that",
        )),
    }
}

/// There all that an overlay says goes to a group; here beacons do, by which its members find one another. The group is the node's,
/// and beacons stay on the segment.
fn multicast(value: &Value, here: &Here, options: &mut Map<String, Value>) -> ApiResult<()> {
    let wanted = "an object, {\"ip\": \"239.255.84.68\"}, or \"off\"";
    let way = match value {
        Value::String(off) if off == "off" => Discovery::Off,
        Value::Object(about) => {
            let group: Option<IpAddr> = about
                .get("ip")
                .and_then(Value::as_str)
                .and_then(|text| text.parse().ok());
            let group = group.ok_or_else(|| bad("multicast", wanted, value))?;
            let ours = &here.discovery;
            if group != IpAddr::V4(ours.group_v4) && group != IpAddr::V6(ours.group_v6) {
                return Err(refused(
                    "multicast",
                    &format!(
                        "the groups are the node's, {} and {}: name one of them as ip, or set discovery.ipv4_group in the configuration of every node",
                        ours.group_v4, ours.group_v6
                    ),
                ));
            }
            let left = about.iter().find(|(name, value)| match name.as_str() {
                "ip" => false,
                "ttl" => value.as_u64() != Some(1),
                _ => true,
            });
            if let Some((name, _)) = left {
                return Err(refused(
                    &format!("multicast.{name}"),
                    "beacons go out on every interface (discovery.interfaces), one hop far, and local clients have their own socket: leave it out",
                ));
            }
            Discovery::Lan
        }
        _ => return Err(bad("multicast", wanted, value)),
    };
    options.insert("discovery".to_owned(), way.name().into());
    Ok(())
}

fn port(value: &Value) -> ApiResult<u16> {
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0)
        .ok_or_else(|| bad("port", "the UDP port of the seeds, 1 to 65535", value))
}

/// The seeds of a rack, as texts. Without a name: of the one that there is, or of the default one.
fn seeds(racks: &Value, rack: Option<&str>, port: Option<u16>) -> ApiResult<Vec<String>> {
    let wanted = "an object of lists of addresses: {\"default\": [\"10.0.0.1\"]}";
    let wrong = || bad("racks", wanted, racks);
    let all = racks.as_object().ok_or_else(wrong)?;
    let found = match rack {
        Some(name) => all.get(name),
        None if all.len() == 1 => all.values().next(),
        None => all.get(RACK),
    };
    let found = found.ok_or_else(|| no_seeds(rack.unwrap_or(RACK)))?;
    let each = found.as_array().ok_or_else(wrong)?.iter();
    each.map(|seed| seed.as_str().map(|seed| at(seed, port)).ok_or_else(wrong))
        .collect()
}

/// A seed with its port, if it has none of its own.
fn at(seed: &str, port: Option<u16>) -> String {
    let Some(port) = port else {
        return seed.to_owned();
    };
    match seed.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if seed.contains([':', '+']) => seed.to_owned(),
        Err(_) => format!("{seed}:{port}"),
    }
}

fn no_seeds(rack: &str) -> ApiError {
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "no_rack_seeds",
        format!("racks has no seeds of {rack:?}"),
        "name the seeds of rack_name in racks; an empty list will do for the first node",
    )
}

/// What holds, by Gossiperl's names. What it has no name for is left out.
pub fn shown(settings: &OverlaySettings, here: &Here) -> Value {
    let retries = match settings.attempts {
        0 => Some(0),
        // Not once again: its 0 means for ever.
        1 => None,
        attempts => Some(attempts - 1),
    };
    let seeds: Vec<String> = settings.join.iter().map(ToString::to_string).collect();
    let multicast = match settings.discovery {
        Discovery::Off => json!("off"),
        Discovery::Lan => json!({ "ip": here.discovery.group_v4, "ttl": 1 }),
    };
    json!({
        "member_name": here.name,
        "ip": here.bind.ip(),
        "port": here.bind.port(),
        "rack_name": RACK,
        "racks": { RACK: seeds },
        "symmetric_key": "protected",
        "multicast": multicast,
        "redelivery_retry_max": retries,
        "redelivery_retry_every": settings.every.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::parse;

    fn here() -> Here {
        Here {
            name: "n".to_owned(),
            bind: "10.0.0.9:7400".parse().unwrap(),
            discovery: DiscoverySettings::default(),
        }
    }

    fn read(text: &str) -> ApiResult<Asked> {
        whole(&parse(text.as_bytes()).unwrap(), &here())
    }

    #[test]
    fn what_means_something_here_becomes_an_option_of_ours() {
        let key = "0123456789abcdef".repeat(4);
        let text = format!(
            r#"{{"ip": "0.0.0.0", "port": 6666, "member_name": "n", "rack_name": "r", "symmetric_key": "{key}",
            "racks": {{"r": ["10.0.0.1", "::1", "host", "host:1"], "other": ["10.1.0.1"]}},
            "redelivery_retry_max": 3, "redelivery_retry_every": 7}}"#
        );
        let asked = read(&text).unwrap();
        let wanted = json!({
            "join": ["10.0.0.1:6666", "[::1]:6666", "host:6666", "host:1"],
            "redelivery": { "attempts": 4, "every": "7s" },
        });
        assert_eq!(Value::Object(asked.options), wanted);
        assert!(asked.keyring.unwrap().contains(&key));
        let forever = read(r#"{"redelivery_retry_max": 0}"#).unwrap().options;
        assert_eq!(forever["redelivery"]["attempts"], 0);
        let racks = property("racks", &json!({ "b": ["10.0.0.1"] }), &here()).unwrap();
        assert_eq!(racks["join"], json!(["10.0.0.1"]));
    }

    #[test]
    fn what_means_nothing_here_is_refused_with_a_hint() {
        for (name, _) in REFUSED {
            let refused = read(&format!("{{\"{name}\": 1}}")).expect_err(name);
            assert_eq!(refused.code(), "refused_option");
        }
        for (text, code) in [
            (r#"{"retain": "8MiB"}"#, "bad_option"),
            (r#"{"port": 99999}"#, "bad_option"),
            (r#"{"ip": "10.0.0.1"}"#, "refused_option"),
            (r#"{"ip": 1}"#, "bad_option"),
            (r#"{"racks": {"default": [1]}}"#, "bad_option"),
            (r#"{"racks": {"a": []}}"#, "no_rack_seeds"),
            (r#"{"rack_name": "a"}"#, "no_rack_seeds"),
            (r#"{"redelivery_retry_max": -1}"#, "bad_option"),
            (r#"{"member_name": "other"}"#, "refused_option"),
        ] {
            assert_eq!(read(text).expect_err(text).code(), code, "{text}");
        }
        for name in ["ip", "port", "member_name", "symmetric_key", "rack_name"] {
            assert!(property(name, &json!("x"), &here()).is_err(), "{name}");
        }
    }

    #[test]
    fn multicast_turns_discovery_on_and_off_and_nothing_of_it_is_taken_in_vain() {
        let set = |value: Value| property("multicast", &value, &here());
        for ip in ["239.255.84.68", "ff12::5449:4447"] {
            let options = set(json!({ "ip": ip, "ttl": 1 })).unwrap();
            assert_eq!(Value::Object(options), json!({ "discovery": "lan" }));
        }
        let options = set(json!("off")).unwrap();
        assert_eq!(Value::Object(options), json!({ "discovery": "off" }));
        let asked = read(r#"{"multicast": {"ip": "239.255.84.68"}}"#).unwrap();
        assert_eq!(asked.options["discovery"], "lan");
        for (value, code) in [
            (json!({ "ip": "239.1.1.1" }), "refused_option"),
            (json!({ "ip": "239.255.84.68", "ttl": 4 }), "refused_option"),
            (
                json!({ "ip": "239.255.84.68", "local_port": 1 }),
                "refused_option",
            ),
            (json!({}), "bad_option"),
            (json!({ "ip": "here" }), "bad_option"),
            (json!("on"), "bad_option"),
        ] {
            assert_eq!(
                set(value.clone()).expect_err("refused").code(),
                code,
                "{value}"
            );
        }
    }

    #[test]
    fn a_phrase_is_no_key_and_is_not_told_to_anybody() {
        for phrase in ["correct horse", "", &"é".repeat(32), &"g".repeat(64)] {
            let error = read(&json!({ "symmetric_key": phrase }).to_string()).expect_err(phrase);
            let told = serde_json::to_string(&error).unwrap();
            assert!(phrase.is_empty() || !told.contains(phrase), "{told}");
        }
    }
}
