//! What a run ran on, and the command that made it: figures mean nothing without both.

use std::fs;

use serde::Serialize;

/// The machine of the reporting process.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    /// That this process may run on.
    pub(crate) cores: usize,
    /// Of this program.
    pub(crate) version: &'static str,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let name = rustix::system::uname();
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        // ARM has no model name.
        let model = ["model name", "Model", "CPU part"].iter().find_map(|key| {
            let line = cpus.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Self {
            kernel: format!(
                "{} {} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy(),
                name.machine().to_string_lossy()
            ),
            cpu: model.unwrap_or_else(|| "unknown CPU".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The command line, as one would type it.
pub(crate) fn command() -> String {
    let plain = |each: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+%@".contains(c);
        !each.is_empty() && each.chars().all(safe)
    };
    let arguments = std::env::args().skip(1).map(|each| match plain(&each) {
        true => each,
        false => format!("'{}'", each.replace('\'', r"'\''")),
    });
    let all = std::iter::once(crate::options::program()).chain(arguments);
    all.collect::<Vec<_>>().join(" ")
}
