//! Checks of what is logged. Part of [`Check`].

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::check::{Check, quoted};
use super::problem::{Given, Origin};
use crate::paths;

/// What is logged, unless told otherwise.
const DEFAULT: &str = "info";

/// Whether each part says a level. The filter takes a word that is none for the name of a crate, and would log all of it: of a
/// slip as `debgu` nobody would hear. Those with spans in brackets are left to it.
fn has_levels(text: &str) -> bool {
    let level = |part: &str| {
        let level = part.rsplit('=').next().unwrap_or_default().trim();
        !level.is_empty() && level.parse::<LevelFilter>().is_ok()
    };
    text.contains('[') || text.split(',').all(level)
}

impl Check<'_> {
    /// What is logged: the environment wins over the file, but what the file says has to be right, too.
    pub(super) fn log(&mut self, given: Option<Given<String>>) -> String {
        let of_file = given.and_then(|given| self.directives(given));
        let of_environment = paths::log_of_environment().and_then(|value| {
            let origin = Origin {
                source: "environment".into(),
                line: 0,
                key: paths::LOG_VARIABLE.to_owned(),
            };
            self.directives(Given { value, origin })
        });
        let text = of_environment.or(of_file);
        text.unwrap_or_else(|| DEFAULT.to_owned())
    }

    fn directives(&mut self, given: Given<String>) -> Option<String> {
        let text = given.value.trim();
        let wrong = match EnvFilter::try_new(text) {
            Ok(_) if has_levels(text) => return Some(text.to_owned()),
            Ok(_) => "does not say what to log".to_owned(),
            Err(error) => format!("does not say what to log: {error}"),
        };
        let remedy = "write a level: error, warn, info, debug or trace; or levels by crate, as \"warn,tidings_engine=debug\"";
        self.wrong(&given, quoted(&given.value), &wrong, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_a_level() {
        for text in [
            "info",
            "warn,tidings_engine=debug",
            "off",
            "a[b{c=1,d}]=trace",
        ] {
            assert!(has_levels(text), "{text}");
        }
        for text in [
            "",
            "debgu",
            "tidings",
            "info,",
            "tidings=",
            "warn,tidings=loud",
        ] {
            assert!(!has_levels(text), "{text}");
        }
    }
}
