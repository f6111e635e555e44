//! See `daemon/src/config/props.rs`. The daemon is a program: its modules are included.
#![no_main]

#[path = "../../daemon/src/config/mod.rs"]
#[allow(dead_code, unused_imports)]
mod config;
#[path = "../../daemon/src/files.rs"]
#[allow(dead_code)]
mod files;
#[path = "../../daemon/src/paths.rs"]
#[allow(dead_code)]
mod paths;

libfuzzer_sys::fuzz_target!(|data: &[u8]| config::props::config(data));
