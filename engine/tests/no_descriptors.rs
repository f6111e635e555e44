//! A process that may open no more files. The limit is the whole process's: there is one test here.

#![allow(clippy::unwrap_used)]

mod common;

use common::{builder, config};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidings_engine::EngineError;

#[test]
fn discovery_that_cannot_start_is_an_error_and_is_off() {
    let node = builder().start().unwrap();
    let id = node.add_overlay(config("quiet", &[])).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..limit
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let refused = node.set_discovery(id, true);
    let mut loud = config("loud", &[]);
    loud.discovery = true;
    let not_made = node.add_overlay(loud);
    let off = node.stats();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(matches!(refused, Err(EngineError::Discovery(_))));
    assert!(matches!(not_made, Err(EngineError::Discovery(_))));
    assert_eq!(off.unwrap().discovery.overlays, 0);
    let names: Vec<_> = node
        .overlays()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["quiet"]);
    node.set_discovery(id, true).unwrap();
    assert_eq!(node.stats().unwrap().discovery.overlays, 1);
}
