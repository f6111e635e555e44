//! The conditions of the runs: machine, versions, the command.

use std::fs;
use std::process::Command;

use crate::options::Options;

/// Lines of the page: name and value.
pub(crate) type Conditions = Vec<(&'static str, String)>;

/// Looks at everything. What cannot be found out says so.
pub(crate) fn conditions(options: &Options) -> Conditions {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let installed = options.peers.join("installed");
    let tool = |name: &str| installed.join("venv/bin").join(name).display().to_string();
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let of_crate = |name| version_in_lock(&lock, name).unwrap_or_else(unknown);
    vec![
        ("date", said("date", &["-u", "+%F"])),
        (
            "command",
            std::env::var("SIDE_BY_SIDE_COMMAND").unwrap_or_else(|_| unknown()),
        ),
        (
            "kernel",
            format!("{} {}", text(uname.sysname()), text(uname.release())),
        ),
        ("CPU", cpu()),
        ("memory", memory()),
        (
            "Tidings",
            said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        ),
        ("compiler", said("rustc", &["--version"])),
        (
            "NATS",
            format!(
                "{}; async-nats {}, libnats {}",
                said(&tool("nats-server"), &["--version"]),
                of_crate("async-nats"),
                said("pkg-config", &["--modversion", "libnats"])
            ),
        ),
        ("zenoh", of_crate("zenoh")),
        (
            "Aeron",
            format!(
                "{} (the source in rusteron-media-driver {})",
                fs::read_to_string(installed.join("aeron/version"))
                    .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
                of_crate("rusteron-media-driver")
            ),
        ),
        ("Redis", said("redis-server", &["--version"])),
        ("Mosquitto", said("mosquitto", &["-h"])),
    ]
}

fn unknown() -> String {
    "not known".to_owned()
}

/// The first line that a program says, whatever its exit code: some tell their version with an odd one.
fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return unknown();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .next()
        .map_or_else(unknown, |line| line.trim().to_owned())
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores", model.unwrap_or_else(unknown))
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or_else(unknown, |kib| {
        format!("{:.0} GiB", kib / f64::from(1 << 20))
    })
}

/// The version of a package in a lock file.
fn version_in_lock(lock: &str, name: &str) -> Option<String> {
    let head = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != head);
    let version = lines.nth(1)?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_a_lock_file() {
        let lock = "[[package]]\nname = \"ab\"\nversion = \"1\"\n\n[[package]]\nname = \"a\"\nversion = \"2.3.4\"\n";
        assert_eq!(version_in_lock(lock, "a").as_deref(), Some("2.3.4"));
        assert_eq!(version_in_lock(lock, "c"), None);
    }

    #[test]
    fn what_a_program_says_first_is_its_version() {
        let script = "echo one 1.2; echo two; exit 3";
        assert_eq!(said("sh", &["-c", script]), "one 1.2");
        assert_eq!(said("no such program", &[]), unknown());
    }
}
