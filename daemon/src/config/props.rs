//! What must hold of configuration and client files whatever is in them: called by the fuzz target `config` and by the tests
//! here, which replay and vary its corpus.

use std::collections::BTreeSet;
use std::path::Path;

use super::clients::parse_clients;
use super::{Given, Problems, RawOverlay, check, read};
use crate::paths::DEMO_OVERLAY;

#[cfg(test)]
#[path = "../../../tests/src/props/corpus.rs"]
mod corpus;

/// The text of a file.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    node(&text);
    // A secret in a file of its own would be looked for.
    if !text.contains("secret_file") {
        match parse_clients("clients.toml", &text, Path::new("/nowhere")) {
            Ok(clients) => {
                let names: BTreeSet<&str> = clients.iter().map(|c| c.name.as_str()).collect();
                assert_eq!(names.len(), clients.len(), "no name is there twice");
            }
            Err(problems) => told(&problems, &text),
        }
    }
}

fn node(text: &str) {
    let (mut raw, problems) = read("tidings.toml", text);
    if raw.overlays.is_empty() {
        // As `load` does.
        raw.overlays.push(RawOverlay {
            name: Some(Given::flag("--overlay", DEMO_OVERLAY.to_owned())),
            ..RawOverlay::default()
        });
    }
    let is_whole = problems.0.is_empty();
    match check(raw, problems, Path::new("/nowhere")) {
        Err(problems) => told(&problems, text),
        Ok(settings) => {
            assert!(is_whole, "what could not be read is told");
            let node = &settings.node;
            assert!(node.shards.is_none_or(|shards| (1..=16).contains(&shards)));
            assert!(!node.name.is_empty() && node.name.len() <= 64 && node.rack.len() <= 64);
            assert!(node.metadata.len() <= 512 && node.advertise.len() <= 8);
            let overlays = &settings.overlays;
            let names: BTreeSet<&str> = overlays.iter().map(|o| o.name.as_str()).collect();
            assert!(!names.is_empty() && names.len() == overlays.len());
            for overlay in overlays {
                assert!(overlay.max_message <= 4 << 20 && overlay.retain >= 4 << 20);
                assert!((1_200..=64_992).contains(&overlay.max_datagram));
                assert!((1..=255).contains(&overlay.name.len()));
            }
        }
    }
}

// Each mistake names a line of the text and a remedy.
fn told(problems: &Problems, text: &str) {
    assert!(!problems.0.is_empty(), "a refusal has a reason");
    let lines = text.matches('\n').count() + 1;
    for problem in &problems.0 {
        assert!(problem.origin.line <= lines, "{problem}");
        assert!(!problem.wrong.is_empty() && !problem.remedy.is_empty());
        assert!(problem.to_string().contains("remedy: "));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    use super::*;

    #[test]
    fn no_file_is_taken_wrongly_and_every_mistake_has_a_line_and_a_remedy() {
        let files = corpus::corpus("config");
        assert!(!files.is_empty(), "the corpus holds inputs");
        for (path, input) in &files {
            let held = std::panic::catch_unwind(|| config(input));
            assert!(held.is_ok(), "{}", path.display());
        }
        // The beginning of one file and the end of another, with some bytes changed: mostly such as mean something to TOML.
        let known = prop::sample::select(files.into_iter().map(|f| f.1).collect::<Vec<_>>());
        let byte = prop_oneof![
            4 => prop::sample::select(&b"\"[]{}=.#\n0-9aZ\\,'"[..]),
            1 => any::<u8>()
        ];
        let edits = vec((any::<prop::sample::Index>(), byte), 0..4);
        let input = (
            known.clone(),
            known,
            any::<[prop::sample::Index; 2]>(),
            edits,
        );
        let input = input.prop_map(|(head, tail, cuts, edits)| {
            let (head, tail) = (
                &head[..cuts[0].index(head.len() + 1)],
                &tail[cuts[1].index(tail.len() + 1)..],
            );
            let mut input = [head, tail].concat();
            for (at, byte) in edits {
                if !input.is_empty() {
                    let at = at.index(input.len());
                    input[at] = byte;
                }
            }
            input
        });
        let settings = Config {
            cases: 2_000,
            failure_persistence: None,
            ..Config::default()
        };
        // One seed for ever, as in the tests of the other properties.
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let result = TestRunner::new_with_rng(settings, rng).run(&input, |input| {
            config(&input);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
    }
}
