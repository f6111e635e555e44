//! The checks of `[[overlay]]`: what each overlay of the node runs with.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tidings_engine::limits::DATAGRAM_MAX;
use tidings_wire::MIN_DATAGRAM_SIZE;

use super::check::{Check, quoted};
use super::problem::{Given, Origin, Problem};
use super::raw::RawOverlay;
use super::settings::{Discovery, Key, OverlaySettings, Profile};
use super::units;
use crate::paths;

/// Longest name of an overlay in bytes: a u8 length in the client protocol.
const MAX_OVERLAY_NAME: usize = 255;
/// Most overlays of one node: a guess, far above what anybody ran.
const MAX_OVERLAYS: usize = 256;
/// Default and hard limit of a message.
const MAX_MESSAGE: (u64, u64) = (1 << 20, 4 << 20);
/// Least and most of what paths are probed for, which is the default.
const MAX_DATAGRAM: (u64, u64) = (MIN_DATAGRAM_SIZE as u64, DATAGRAM_MAX as u64);
/// Default, least and most of an overlay's store; whatever it is, it holds two of the largest messages.
const RETAIN: (u64, u64, u64) = (64 << 20, 4 << 20, 64 << 30);

/// What an overlay takes over from its node.
pub(super) struct Defaults<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) shards: Option<usize>,
    pub(super) client_grace: Duration,
    pub(super) profile: Profile,
}

impl Check<'_> {
    pub(super) fn overlays(
        &mut self,
        raw: Vec<RawOverlay>,
        defaults: &Defaults<'_>,
    ) -> Vec<OverlaySettings> {
        let given = raw.len();
        let mut names = BTreeSet::new();
        let mut overlays: Vec<OverlaySettings> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            if index == MAX_OVERLAYS {
                if let Some(name) = &raw.name {
                    let wrong =
                        format!("is one of {given} overlays; a node runs at most {MAX_OVERLAYS}");
                    self.wrong::<_, ()>(
                        name,
                        quoted(&name.value),
                        &wrong,
                        "spread them over several nodes",
                    );
                }
                break;
            }
            overlays.extend(self.overlay(raw, defaults, &mut names));
        }
        overlays
    }

    fn overlay(
        &mut self,
        raw: RawOverlay,
        defaults: &Defaults<'_>,
        names: &mut BTreeSet<String>,
    ) -> Option<OverlaySettings> {
        let Some(name_given) = raw.name.clone() else {
            let mut origin = raw.place.unwrap_or(Origin::flag("--overlay"));
            origin.key.push_str(".name");
            return self.problems.push(Problem {
                origin,
                value: String::new(),
                wrong: "an [[overlay]] has no name".to_owned(),
                remedy: "add name = \"...\"; members of one overlay use the same name and key"
                    .to_owned(),
            });
        };
        let name = self.name(name_given.clone(), MAX_OVERLAY_NAME)?;
        if !names.insert(name.clone()) {
            self.wrong::<_, ()>(
                &name_given,
                quoted(&name),
                "is there twice",
                "give each overlay a name of its own",
            );
        }
        let max_message = raw
            .max_message
            .and_then(|given| self.size(&given, 1, MAX_MESSAGE.1));
        let max_datagram = raw
            .max_datagram
            .and_then(|given| self.size(&given, MAX_DATAGRAM.0, MAX_DATAGRAM.1));
        let retain = raw
            .retain
            .as_ref()
            .and_then(|given| self.size(given, RETAIN.1, RETAIN.2));
        if let (Some(given), Some(retain)) = (&raw.retain, retain) {
            self.holds_two(given, retain, max_message.unwrap_or(MAX_MESSAGE.0));
        }
        let (attempts, every) = match raw.redelivery {
            None => (0, Duration::from_secs(5)),
            Some(given) => (
                given
                    .value
                    .attempts
                    .and_then(|given| self.integer(&given, 0, i64::from(u32::MAX)))
                    .unwrap_or(0) as u32,
                given
                    .value
                    .every
                    .and_then(|given| {
                        self.duration(
                            &given,
                            Duration::from_millis(10),
                            Duration::from_secs(86_400),
                        )
                    })
                    .unwrap_or(Duration::from_secs(5)),
            ),
        };
        let park_max = raw.park_max.and_then(|given| {
            self.duration(
                &given,
                Duration::from_secs(1),
                Duration::from_secs(365 * 86_400),
            )
        });
        let grace = raw.client_grace.and_then(|given| self.grace(&given));
        let discovery = raw
            .discovery
            .and_then(|given| self.overlay_discovery(&given));
        let profile = raw.profile.and_then(|given| self.profile(&given));
        let shard = raw
            .shard
            .and_then(|given| self.shard(&given, defaults.shards));
        let key = match raw.is_kept {
            true => Key::Kept,
            false => self.key(raw.key_file, &name_given, defaults.data_dir)?,
        };
        Some(OverlaySettings {
            shard,
            key,
            client_grace: grace.unwrap_or(defaults.client_grace),
            profile: profile.unwrap_or(defaults.profile),
            join: raw.join.map(|given| self.join(&given)).unwrap_or_default(),
            discovery: discovery.unwrap_or(Discovery::Off),
            attempts,
            every,
            max_message: max_message.unwrap_or(MAX_MESSAGE.0) as usize,
            max_datagram: max_datagram.unwrap_or(MAX_DATAGRAM.1) as usize,
            retain: retain.unwrap_or(RETAIN.0) as usize,
            park_max: park_max.unwrap_or(Duration::from_secs(86_400)),
            name,
        })
    }

    fn holds_two(&mut self, given: &Given<String>, retain: u64, max_message: u64) {
        if retain < 2 * max_message {
            let wrong = format!(
                "holds less than two messages of {}",
                units::show_size(max_message)
            );
            let remedy = "raise it, or lower max_message";
            self.wrong::<_, ()>(given, quoted(&given.value), &wrong, remedy);
        }
    }

    fn key(
        &mut self,
        key_file: Option<Given<String>>,
        name: &Given<String>,
        data_dir: &Path,
    ) -> Option<Key> {
        match key_file {
            Some(given) => Some(Key::File(self.path(&given))),
            None if name.value == paths::DEMO_OVERLAY => {
                Some(Key::Generated(data_dir.join(format!("{}.key", paths::DEMO_OVERLAY))))
            }
            None => self.wrong(
                name,
                quoted(&name.value),
                "this overlay has no key file",
                &format!(
                    "make one with `tidings keygen {0}.key`, copy it to every member, and name it with key_file = \"{0}.key\" or --key-file {0}.key",
                    name.value
                ),
            ),
        }
    }

    fn overlay_discovery(&mut self, given: &Given<String>) -> Option<Discovery> {
        match given.value.trim() {
            "off" => Some(Discovery::Off),
            "lan" => Some(Discovery::Lan),
            text => self.wrong(
                given,
                quoted(text),
                "is not a way to discover members",
                "write \"lan\" or \"off\"",
            ),
        }
    }
}
