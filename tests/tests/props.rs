//! The properties of the fuzz targets in the normal test run: every input of the committed corpora, changed ones, random ones.
//! `fuzz/run.sh` looks for new inputs.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidings_tests::props::{PROPERTIES, Property, corpus};

/// Replays what is committed, then makes inputs out of it.
fn holds(name: &str) {
    let property = PROPERTIES
        .iter()
        .find(|property| property.name == name)
        .expect("a property");
    let files = corpus(name);
    assert!(!files.is_empty(), "fuzz/corpus/{name} holds inputs");
    for (path, input) in &files {
        let held = std::panic::catch_unwind(|| (property.check)(input));
        assert!(held.is_ok(), "{} does not hold {name}", path.display());
    }
    made(
        property,
        files.into_iter().map(|(_, input)| input).collect(),
    );
}

// One seed for ever: what fails here fails for everybody.
fn made(property: &Property, inputs: Vec<Vec<u8>>) {
    let config = Config {
        cases: property.cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let known = prop::sample::select(inputs);
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..12);
    let changed = (known, edits, vec(any::<u8>(), 0..40)).prop_map(|(mut input, edits, more)| {
        input.extend(more);
        for (at, byte) in edits {
            if !input.is_empty() {
                let at = at.index(input.len());
                input[at] = byte;
            }
        }
        input
    });
    let input = prop_oneof![4 => changed, 1 => vec(any::<u8>(), 0..600)];
    let result = TestRunner::new_with_rng(config, rng).run(&input, |input| {
        (property.check)(&input);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{}: {error}", property.name));
}

macro_rules! properties {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { holds($name); })*

        #[test]
        fn every_property_is_tested() {
            let tested = [$($name),*];
            assert!(PROPERTIES.iter().map(|property| property.name).eq(tested));
        }
    };
}

properties! {
    headers_are_their_bytes_and_only_what_was_sealed_opens: "datagrams",
    digests_are_written_as_they_were_read: "digests",
    frames_of_clients_are_written_as_they_were_read: "frames",
    key_files_are_written_as_they_were_read: "keyrings",
    windows_say_what_sets_say: "windows",
    topics_select_what_brute_force_selects: "topics",
    range_sets_are_sets: "ranges",
    each_pair_is_settled_once: "outstanding",
    acknowledgements_add_up: "acks",
    parts_make_the_message_that_they_are_of: "reassembly",
    no_handshake_locks_a_pair_out_or_leaves_anything_behind: "handshake",
    whatever_an_insider_says_nothing_panics: "insider",
    whatever_owners_and_networks_do_the_books_are_right: "cores",
}
