//! Options of overlays as requests give them and answers show them: the names and forms of the configuration file, as JSON.
//! What they mean is checked where the file's are, in `config`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::config::OverlaySettings;
use crate::config::units::{show_duration, show_size};

/// Options to change. What is left out stays; null takes an option back to what the node's configuration or the default says.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsPatch {
    /// Where to join: ip, ip:port, host, host:port, `[v6]:port` or srv+name.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Vec<String>>, example = json!(["host-b", "host-c:7400"]))]
    join: Option<Value>,
    /// Whether to look for members on the network segment: lan or off.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "lan")]
    discovery: Option<Value>,
    /// When publishers give up on subscriptions that do not say so themselves.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<RedeliveryPatch>)]
    redelivery: Option<Value>,
    /// Largest message, at most 4MiB.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "1MiB")]
    max_message: Option<Value>,
    /// Largest datagram that paths are probed for.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "64992B")]
    max_datagram: Option<Value>,
    /// Bound of the message store.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "64MiB")]
    retain: Option<Value>,
    /// How long messages wait for a dead node.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "24h")]
    park_max: Option<Value>,
    /// How long a named client's subscriptions outlive it.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "10m")]
    client_grace: Option<Value>,
    /// Timing of failure detection: lan, wan or local.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, example = "lan")]
    profile: Option<Value>,
    /// The shard that runs it. It moves there while it runs; without one it stays where it is. `node.shards` is to be stated for any but 0.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u32>, example = 0)]
    shard: Option<Value>,
}

/// Parts of the redelivery to change.
#[derive(ToSchema)]
#[allow(dead_code)] // It tells the document what the value above looks like.
pub struct RedeliveryPatch {
    /// Attempts; 0: without end.
    attempts: Option<u32>,
    /// Time between two.
    #[schema(example = "5s")]
    every: Option<String>,
}

/// A value that is there, null too.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl OptionsPatch {
    /// As a patch of what is kept.
    pub fn into_map(self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            // A struct of values is an object.
            _ => Map::new(),
        }
    }

    /// As all that is kept: null is nothing.
    pub fn into_whole(self) -> Map<String, Value> {
        let mut whole = Map::new();
        crate::config::merge(&mut whole, &self.into_map());
        whole
    }
}

/// Every option of an overlay as it holds now.
#[derive(Serialize, ToSchema)]
pub struct Options {
    /// Where it joins.
    join: Vec<String>,
    /// Whether it looks for members on the network segment: lan or off.
    #[schema(value_type = String, example = "off")]
    discovery: &'static str,
    /// When publishers give up on subscriptions that do not say so themselves.
    redelivery: Redelivery,
    /// Largest message.
    #[schema(example = "1MiB")]
    max_message: String,
    /// Largest datagram that paths are probed for.
    #[schema(example = "64992B")]
    max_datagram: String,
    /// Bound of the message store.
    #[schema(example = "64MiB")]
    retain: String,
    /// How long messages wait for a dead node.
    #[schema(example = "1d")]
    park_max: String,
    /// How long a named client's subscriptions outlive it.
    #[schema(example = "10m")]
    client_grace: String,
    /// Timing of failure detection.
    #[schema(value_type = String, example = "lan")]
    profile: &'static str,
    /// The shard that it is to run on; null: the one with the fewest overlays.
    shard: Option<usize>,
}

/// When publishers give up.
#[derive(Serialize, ToSchema)]
pub struct Redelivery {
    /// Attempts; 0: without end.
    attempts: u32,
    /// Time between two.
    #[schema(example = "5s")]
    every: String,
}

impl From<&OverlaySettings> for Options {
    fn from(settings: &OverlaySettings) -> Self {
        Self {
            join: settings.join.iter().map(ToString::to_string).collect(),
            discovery: settings.discovery.name(),
            redelivery: Redelivery {
                attempts: settings.attempts,
                every: show_duration(settings.every),
            },
            max_message: show_size(settings.max_message as u64),
            max_datagram: show_size(settings.max_datagram as u64),
            retain: show_size(settings.retain as u64),
            park_max: show_duration(settings.park_max),
            client_grace: show_duration(settings.client_grace),
            profile: settings.profile.name(),
            shard: settings.shard,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::reply::parse;

    #[test]
    fn null_takes_back_in_a_patch_and_is_nothing_in_a_whole() {
        let text = br#"{ "retain": null, "redelivery": { "every": "1s", "attempts": null } }"#;
        let patch = parse::<OptionsPatch>(text).unwrap().into_map();
        let wanted = json!({ "retain": null, "redelivery": { "every": "1s", "attempts": null } });
        assert_eq!(Value::Object(patch), wanted);
        let whole = parse::<OptionsPatch>(text).unwrap().into_whole();
        assert_eq!(
            Value::Object(whole),
            json!({ "redelivery": { "every": "1s" } })
        );
        assert!(parse::<OptionsPatch>(br#"{ "retian": "8MiB" }"#).is_err());
    }
}
