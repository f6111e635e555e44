//! What `tidings doctor` looks at, one file for each family of checks. Each has a function that reads the system and one
//! that judges what was read, which tests call with what no machine of ours is like.

mod clock;
mod discovery;
mod finding;
mod limits;
mod management;
mod network;
mod port;
mod processor;
mod seeds;
mod storage;
mod sys;
mod waiting;

pub use finding::{Finding, State, count};
pub use network::toward;
pub use processor::has_aes;

use crate::config::{Origin, Problem, Problems};
use crate::load::Loaded;

/// Everything about a node that could be started with what was loaded.
pub fn examine(loaded: &Loaded) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut found = vec![configuration(loaded)];
    found.extend(storage::check(loaded));
    found.push(port::check(settings));
    found.extend(management::check(settings));
    found.extend(seeds::check(settings));
    found.extend(discovery::check(settings));
    found.extend(network::interfaces(settings.node.bind.ip()));
    found.extend(processor::shards(settings.node.shards));
    found.push(processor::cipher(&loaded.keyrings));
    found.extend(host());
    found
}

/// What is wrong with the configuration, and everything that does not depend on it.
pub fn examine_without(problems: &Problems) -> Vec<Finding> {
    let mut found: Vec<Finding> = problems.0.iter().map(mistake).collect();
    found.extend(host());
    found
}

/// What is the same for every node on this host.
fn host() -> Vec<Finding> {
    let mut found = network::buffers();
    found.extend(limits::check());
    found.push(waiting::check());
    found.extend(processor::check());
    found.extend(clock::check());
    found
}

fn configuration(loaded: &Loaded) -> Finding {
    let names = |overlay: &crate::config::OverlaySettings| overlay.name.clone();
    let overlays: Vec<String> = loaded.settings.overlays.iter().map(names).collect();
    let value = format!(
        "valid: node {}, overlays {}, {} named clients",
        loaded.settings.node.name,
        overlays.join(" "),
        loaded.clients.len()
    );
    Finding::ok("configuration", value)
}

fn mistake(problem: &Problem) -> Finding {
    let Origin { source, line, key } = &problem.origin;
    let place = match line {
        0 => format!("{source}: {key}"),
        line => format!("{source}:{line}: {key}"),
    };
    let value = match problem.value.is_empty() {
        true => format!("{place}: {}", problem.wrong),
        false => format!("{place} = {}: {}", problem.value, problem.wrong),
    };
    Finding::failure("configuration", value, &problem.remedy)
}
