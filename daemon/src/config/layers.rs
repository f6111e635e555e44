//! Options of an overlay that were set while a node ran, laid over what file and flags say. They come as JSON, from a request
//! or from the state on disk, under the names and in the form of the file, and are read and checked as that is.

use serde_json::{Map, Value};

use super::problem::{Given, Problems};
use super::raw::{RawOverlay, RawRedelivery};
use super::read::{Document, read_options};
use super::show::source;
use super::units;

/// Where such an option comes from, as `config show` says.
pub const CHANGED: &str = "changed while running";

/// Reads options. A mistake names its key, without a line.
pub fn options(source: &str, options: &Map<String, Value>) -> Result<RawOverlay, Problems> {
    let mut problems = Problems::default();
    let text = toml::to_string(options).unwrap_or_else(|error| {
        let wrong = format!("cannot be read: {error}");
        let remedy = "write options as in the configuration file; null takes one back";
        problems = Problems::one(source, "overlay", wrong, remedy);
        String::new()
    });
    let document = Document::without_lines(source, &text);
    let mut raw = RawOverlay::default();
    if let Some(table) = document.parse(&mut problems) {
        let mut section = document.section("overlay", table.get_ref(), &mut problems);
        raw = read_options(&mut section);
        section.finish();
    }
    problems.or(raw)
}

/// Merges a patch into options (RFC 7396): `null` takes an option back, an object is merged into an object.
pub fn merge(options: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match (value, options.get_mut(key)) {
            (Value::Null, _) => {
                options.remove(key);
            }
            (Value::Object(patch), Some(Value::Object(inner))) => merge(inner, patch),
            (Value::Object(patch), _) => {
                let mut inner = Map::new();
                merge(&mut inner, patch);
                options.insert(key.clone(), Value::Object(inner));
            }
            (value, _) => {
                options.insert(key.clone(), value.clone());
            }
        }
    }
    options.retain(|_, value| value.as_object().is_none_or(|object| !object.is_empty()));
}

impl RawOverlay {
    /// Lays `over` over this: what it says wins, but for what a flag says.
    pub fn lay(&mut self, over: RawOverlay) {
        let RawOverlay {
            place: _,
            is_kept: _,
            name: _,
            key_file: _,
            join,
            discovery,
            redelivery,
            max_message,
            max_datagram,
            retain,
            park_max,
            client_grace,
            profile,
            shard,
        } = over;
        macro_rules! lay {
            ($($field:ident),*) => {$(
                if $field.is_some() && !self.$field.as_ref().is_some_and(|given| given.origin.is_flag()) {
                    self.$field = $field;
                }
            )*};
        }
        if let Some(redelivery) = redelivery {
            let below = self.redelivery.get_or_insert_with(|| super::Given {
                value: RawRedelivery::default(),
                origin: redelivery.origin.clone(),
            });
            let (below, over) = (&mut below.value, redelivery.value);
            below.attempts = over.attempts.or(below.attempts.take());
            below.every = over.every.or(below.every.take());
        }
        lay!(
            join,
            discovery,
            max_message,
            max_datagram,
            retain,
            park_max,
            client_grace,
            profile,
            shard
        );
    }
}

/// What the file says of an option and a change made while the node ran overrules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overruled {
    /// The option, as `retain` or `redelivery.every`.
    pub option: &'static str,
    /// The file's value and its place; `None`: the file said something before, and does not any more.
    pub of_file: Option<(String, String)>,
    /// What holds.
    pub holds: String,
}

/// What of `file` is overruled by `over`; `before` is what the file said when it was read last.
pub fn overruled(before: &RawOverlay, file: &RawOverlay, over: &RawOverlay) -> Vec<Overruled> {
    let all = texts(before).into_iter().zip(texts(file)).zip(texts(over));
    all.filter_map(|(((option, before), (_, file)), (_, over))| {
        let holds = over?.value;
        let of_flag = file.as_ref().is_some_and(|given| given.origin.is_flag());
        let differs = match &file {
            Some(given) => !is_same(&given.value, &holds),
            None => before.is_some(),
        };
        let of_file = file.map(|given| (given.value, source(&given.origin)));
        (differs && !of_flag).then_some(Overruled {
            option,
            of_file,
            holds,
        })
    })
    .collect()
}

/// Whether two texts mean the same: sizes and times may have other units.
fn is_same(one: &str, other: &str) -> bool {
    let same = |one: Option<u64>, other| one.is_some() && one == other;
    let nanos = |text: &str| {
        let time = units::duration(text)?;
        u64::try_from(time.as_nanos()).ok()
    };
    one.trim() == other.trim()
        || same(units::size(one), units::size(other))
        || same(nanos(one), nanos(other))
}

/// The options of an overlay as texts, under the names that `show` has for them.
fn texts(raw: &RawOverlay) -> [(&'static str, Option<Given<String>>); 11] {
    fn number(given: &Option<Given<i64>>) -> Option<Given<String>> {
        given.as_ref().map(|given| Given {
            value: given.value.to_string(),
            origin: given.origin.clone(),
        })
    }
    let redelivery = raw.redelivery.as_ref().map(|given| &given.value);
    let join = raw.join.as_ref().map(|given| Given {
        value: given.value.join(" "),
        origin: given.origin.clone(),
    });
    [
        ("join", join),
        ("discovery", raw.discovery.clone()),
        (
            "redelivery.attempts",
            redelivery.and_then(|given| number(&given.attempts)),
        ),
        (
            "redelivery.every",
            redelivery.and_then(|given| given.every.clone()),
        ),
        ("max_message", raw.max_message.clone()),
        ("max_datagram", raw.max_datagram.clone()),
        ("retain", raw.retain.clone()),
        ("park_max", raw.park_max.clone()),
        ("client_grace", raw.client_grace.clone()),
        ("profile", raw.profile.clone()),
        ("shard", number(&raw.shard)),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_patch_sets_takes_back_and_merges() {
        let mut all = map(json!({ "retain": "8MiB", "redelivery": { "attempts": 3 } }));
        let patch = json!({ "retain": null, "redelivery": { "every": "1s" }, "join": ["a"] });
        merge(&mut all, &map(patch));
        let wanted = json!({ "redelivery": { "attempts": 3, "every": "1s" }, "join": ["a"] });
        assert_eq!(Value::Object(all.clone()), wanted);
        merge(
            &mut all,
            &map(json!({ "redelivery": { "attempts": null, "every": null } })),
        );
        assert_eq!(Value::Object(all), json!({ "join": ["a"] }));
    }

    #[test]
    fn options_are_read_as_in_the_file_and_mistakes_name_their_key() {
        let raw = options(
            "request",
            &map(json!({ "join": ["a:1"], "redelivery": { "attempts": 2 } })),
        )
        .unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(raw.join.expect("given").value, ["a:1"]);
        for (wrong, told) in [
            (json!({ "retian": "8MiB" }), "did you mean retain?"),
            (json!({ "retain": 8 }), "overlay.retain = 8: must be a text"),
            (json!({ "retain": null }), "cannot be read"),
            (json!({ "name": "x" }), "unknown key"),
            (json!({ "join": [1, "a"] }), "overlay.join"),
        ] {
            let problems = options("request", &map(wrong.clone())).expect_err("a mistake");
            let text = problems.to_string();
            assert!(text.contains(told), "{wrong}: {text}");
            assert!(text.starts_with("error: request: overlay"), "{text}");
        }
    }

    #[test]
    fn what_was_changed_wins_over_the_file_but_not_over_a_flag() {
        let (mut raw, _) = super::super::read(
            "f",
            "[[overlay]]\nname = \"a\"\nretain = \"8MiB\"\nredelivery = { attempts = 3 }\n",
        );
        let overlay = &mut raw.overlays[0];
        overlay.join = Some(super::super::Given::flag("--join", vec!["b".to_owned()]));
        let over = map(json!({
            "retain": "16MiB", "join": ["c"], "redelivery": { "every": "1s" }
        }));
        overlay.lay(options(CHANGED, &over).unwrap_or_else(|problems| panic!("{problems}")));
        assert_eq!(overlay.retain.as_ref().expect("given").value, "16MiB");
        assert_eq!(overlay.join.as_ref().expect("given").value, ["b"]);
        let redelivery = &overlay.redelivery.as_ref().expect("given").value;
        assert_eq!(redelivery.attempts.as_ref().expect("given").value, 3);
        assert_eq!(redelivery.every.as_ref().expect("given").value, "1s");
    }

    #[test]
    fn what_the_file_says_and_does_not_hold_is_told_with_its_line() {
        let file = |text: &str| {
            let (raw, _) = super::super::read("f", &format!("[[overlay]]\nname = \"a\"\n{text}"));
            raw.overlays[0].clone()
        };
        let over =
            map(json!({ "retain": "32MiB", "park_max": "1h", "redelivery": { "every": "1s" } }));
        let over = options(CHANGED, &over).unwrap_or_else(|problems| panic!("{problems}"));
        let before = file("retain = \"16MiB\"\nredelivery = { every = \"2s\" }\n");
        let told = |now: &str| -> Vec<(&str, Option<String>)> {
            let found = overruled(&before, &file(now), &over);
            let told = found.into_iter();
            told.map(|found| {
                let of_file = found
                    .of_file
                    .map(|(value, place)| format!("{value} {place}"));
                (found.option, of_file)
            })
            .collect()
        };
        let wanted = [
            ("redelivery.every", None),
            ("retain", Some("64MiB f:3".to_owned())),
        ];
        assert_eq!(told("retain = \"64MiB\"\n"), wanted);
        // The same in other units, and what nobody changed.
        let same =
            "retain = \"32768KiB\"\npark_max = \"60m\"\nredelivery = { every = \"1000ms\" }\n";
        assert_eq!(told(&format!("{same}max_message = \"1KiB\"\n")), []);
    }
}
