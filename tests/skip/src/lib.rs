//! How a test says that it, or a part of it, did not run: loudly, and as a failure where what it lacks is required.
//!
//! `TIDINGS_REQUIRED=1` requires everything; a list such as `TIDINGS_REQUIRED=prometheus,python` what it names. `.ci/run` names
//! what it installed.

use std::io::{self, Write};

/// The variable that says what must be there.
pub const VARIABLE: &str = "TIDINGS_REQUIRED";

/// Whatever a test may lack, as it stands in the variable.
pub const NEEDS: [&str; 17] = [
    "bash",         // to read completions
    "cargo-deb",    // and dpkg-deb: packages
    "core",         // a system that writes core dumps
    "daemon",       // the program `tidings` beside the load generator
    "debian",       // what debootstrap downloads
    "debootstrap",  // and nsenter: a system for each host
    "fish",         // to read completions
    "influxdb",     // the program `influxd`
    "kernel",       // IPv6, bridges, time namespaces, segmentation: what some kernels lack
    "lab",          // hosts in network namespaces: root and a TAP device
    "layer",        // a file system over that of the host
    "prometheus",   // the programs `prometheus` and `promtool`
    "python",       // 3.10 or newer, with `cryptography`
    "root",         // rights to stop a thread, or to install a package
    "schemathesis", // the Python package
    "systemd",      // `systemd-analyze`, 250 or newer
    "zsh",          // to read completions
];

/// Says loudly that a test, or a part of it, did not run for lack of `needs`, past the capture of the test harness, which would
/// keep the words of a passing test to itself.
///
/// # Panics
/// If the variable requires it, or `needs`, or a name in the variable, is none of [`NEEDS`].
pub fn skipped(needs: &str, why: &str) {
    assert!(NEEDS.contains(&needs), "{needs:?} is none of {NEEDS:?}");
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    match requires(&wanted, needs) {
        Ok(false) => left_out(why),
        Ok(true) => panic!("{VARIABLE}={wanted} requires {needs}, and the test cannot run: {why}"),
        Err(unknown) => panic!("{VARIABLE}={wanted}: {unknown:?} is none of {NEEDS:?}"),
    }
}

/// Says as loudly that something did not run that takes a wish of its own, whatever is required.
pub fn left_out(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // There is nobody to tell when the standard error is closed.
    let _ = io::stderr().write_all(format!("SKIPPED, NOT TESTED: {name}: {why}\n").as_bytes());
}

/// Whether the value `wanted` of the variable requires `needs`.
///
/// # Errors
/// A name in it that is none of [`NEEDS`].
fn requires<'a>(wanted: &'a str, needs: &str) -> Result<bool, &'a str> {
    if wanted == "1" {
        return Ok(true);
    }
    let names = wanted
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let mut is_named = false;
    for name in names {
        if !NEEDS.contains(&name) {
            return Err(name);
        }
        is_named |= name == needs;
    }
    Ok(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_required_and_everything_by_1() {
        assert_eq!(requires("", "lab"), Ok(false));
        assert_eq!(requires("1", "lab"), Ok(true));
        assert_eq!(requires("python,lab", "lab"), Ok(true));
        assert_eq!(requires(",python, lab", "lab"), Ok(true));
        assert_eq!(requires("python", "lab"), Ok(false));
        assert_eq!(requires("lab,pyhton", "lab"), Err("pyhton"));
        assert_eq!(requires("yes", "lab"), Err("yes"));
    }

    #[test]
    #[should_panic(expected = "is none of")]
    fn a_need_that_the_variable_cannot_name_is_a_mistake_of_the_test() {
        skipped("luck", "there is none");
    }
}
