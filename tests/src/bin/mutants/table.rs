//! The table of mutants in `docs/mutants.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use tidings_wire::mutants::Mutant;

use super::{Catch, NODES, SECS, SEEDS};

/// Characters of a failure's message at most.
const MESSAGE_MAX: usize = 60;

const HEAD: &str = "# Seeded faults, and what catches them

Faults in the wire and protocol crates that tests must find (`wire/src/mutants.rs`), built only with the feature `mutants` of these crates:
no daemon has them. `.ci/run` shows that something catches each that passes without it: what the table names, or what stands by for it
(`tests/src/bin/mutants/caught.rs`).

* `cargo run -p tidings-tests --no-default-features --features mutants --bin mutants` checks this table, `-- --write` writes it anew;
  `-- --find NAME` runs everything against one fault.
* `TIDINGS_MUTANT=NAME` lets any test that was built with the feature run with it.
";

/// Writes it.
pub(crate) fn write(
    caught: &[Catch],
    (sound, seeds): &(usize, BTreeMap<Mutant, Vec<u64>>),
) -> Result<(), String> {
    let mut text = HEAD.to_owned();
    let _ = write!(
        text,
        "\nThe last column counts seeds {} to {} of the simulator with {NODES} nodes and {SECS} virtual seconds, of which {sound} pass \
         without a fault; the\nothers are left out. A fault changes the course of a seed, which may find something that is open, too. \
         Times are of a debug build.\n\n\
         | fault | what it breaks | caught by | after | seeds that fail |\n|---|---|---|---|---|\n",
        SEEDS.start,
        SEEDS.end - 1,
    );
    for Catch { mutant, by, ran } in caught {
        let breaks = mutant.breaks().trim_end_matches('.');
        let took = ran.took.as_millis();
        let (catcher, after) = match ran.seed {
            Some((seed, at)) => (
                format!("seed {seed}: {}", message(&ran.what)),
                format!("{:.1} virtual s, {took} ms", at as f64 / 1000.0),
            ),
            None => (by.to_string(), format!("{took} ms")),
        };
        let none = Vec::new();
        let of = seeds.get(mutant).unwrap_or(&none);
        let some: Vec<String> = of.iter().take(3).map(u64::to_string).collect();
        let seeds = match of.len() {
            0 => "none".to_owned(),
            1..4 => some.join(", "),
            count => format!("{count}: {}, ...", some.join(", ")),
        };
        let _ = writeln!(
            text,
            "| `{mutant:?}` | {breaks} | {catcher} | {after} | {seeds} |"
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mutants.md");
    std::fs::write(path, text).map_err(|error| error.to_string())
}

// What a seed's failure says, without where in the source it says so, and without details.
fn message(what: &str) -> String {
    let said = what.split_once(": ").map_or(what, |(_, message)| message);
    let brief: String = said.chars().take(MESSAGE_MAX).collect();
    let brief = brief.split(" (handed").next().unwrap_or_default();
    brief.replace('|', "/")
}
