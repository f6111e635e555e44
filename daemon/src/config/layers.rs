//! Options of an overlay that were set while a node ran, laid over what file and flags say. They come as JSON, from a request
//! or from the state on disk, under the names and in the form of the file, and are read and checked as that is.

use serde_json::{Map, Value};

use super::problem::Problems;
use super::raw::{RawOverlay, RawRedelivery};
use super::read::{Document, read_options};

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
}
