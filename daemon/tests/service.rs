//! The unit and the configuration in `deploy`, which the package installs: systemd understands the one, the daemon the other,
//! and both mean the same folders.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Node, run, stderr, stdout, tidings};
use tidings_skip::skipped;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(deploy(file)).unwrap()
}

/// The value of a key of the unit.
fn unit(key: &str) -> String {
    let text = read("tidings.service");
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values
        .next()
        .unwrap_or_else(|| panic!("{key} in {text}"))
        .to_owned()
}

/// The unit with the binary under test in the place of the installed one.
fn unit_of_this_binary(home: &Path) -> PathBuf {
    let file = home.join("tidings.service");
    let text = read("tidings.service").replace("/usr/bin/tidings", env!("CARGO_BIN_EXE_tidings"));
    fs::write(&file, text).unwrap();
    file
}

fn analyze(args: &[&str], unit: &Path) -> Option<Output> {
    let command = Command::new("systemd-analyze")
        .args(args)
        .arg(unit)
        .output();
    match command {
        Ok(output) => Some(output),
        Err(error) => {
            let why =
                format!("systemd-analyze cannot be run here ({error}); it comes with systemd");
            skipped("systemd", &why);
            None
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let home = tempfile::tempdir().unwrap();
    let unit = unit_of_this_binary(home.path());
    let Some(output) = analyze(&["verify", "--man=no"], &unit) else {
        return;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let about_it = |line: &&str| line.contains("tidings");
    let complaints: Vec<_> = stderr(&output)
        .lines()
        .filter(about_it)
        .map(str::to_owned)
        .collect();
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn the_unit_leaves_little_of_the_system_exposed() {
    let Some(output) = analyze(
        &["security", "--offline=true", "--threshold=30"],
        &deploy("tidings.service"),
    ) else {
        return;
    };
    if stderr(&output).contains("unrecognized option") {
        skipped(
            "systemd",
            "systemd-analyze here is older than 250 and judges no files",
        );
        return;
    }
    assert!(
        output.status.success(),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
}

#[test]
fn the_unit_allows_no_core_dump() {
    assert_eq!(unit("LimitCORE"), "0");
}

/// The installed configuration with its folders below `home`.
fn configuration(home: &Path) -> String {
    let state = format!("/var/lib/{}", unit("StateDirectory"));
    let run = format!("/run/{}", unit("RuntimeDirectory"));
    let text = read("tidings.toml");
    for folder in [&state, &run] {
        assert!(text.contains(&format!("\"{folder}")), "{folder} in {text}");
    }
    text.replace(
        &format!("\"{state}\""),
        &format!("{:?}", home.join("state")),
    )
    .replace(
        &format!("\"{run}/"),
        &format!("\"{}/", home.join("run/tidings").display()),
    )
}

#[test]
fn the_service_starts_as_it_is_installed() {
    let home = tempfile::tempdir().unwrap();
    let started = unit("ExecStart");
    let mut words = started.split(' ');
    assert_eq!(words.next(), Some("/usr/bin/tidings"));
    let installed = format!("/etc/{}/tidings.toml", unit("ConfigurationDirectory"));
    let config = home.path().join("tidings.toml");
    let text = configuration(home.path()).replace("[node]\n", "[node]\nbind = \"127.0.0.1:0\"\n");
    fs::write(&config, text).unwrap();
    let args: Vec<_> = words
        .map(|word| {
            if word == installed {
                config.to_str().unwrap()
            } else {
                word
            }
        })
        .collect();
    assert!(args.contains(&config.to_str().unwrap()), "{started}");
    let manager = UnixDatagram::bind(home.path().join("notify")).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let child = tidings(home.path())
        .args(&args)
        .env("NOTIFY_SOCKET", home.path().join("notify"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let node = Node::of(home, child);
    assert_eq!(unit("Type"), "notify");
    let mut told = [0; 64];
    let len = manager.recv(&mut told).unwrap();
    assert!(told[..len].starts_with(b"READY=1") || told[..len].starts_with(b"STATUS="));
    for made in ["state/node", "state/demo.key", "run/tidings/tidings.sock"] {
        assert!(node.path().join(made).exists(), "{made}");
    }
}

#[test]
fn every_example_in_the_configuration_is_valid_once_its_mark_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    assert!(
        run(home.path(), &["keygen", &path("news.key")])
            .status
            .success()
    );
    let marked = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| !rest.starts_with(' '))
            .map(str::to_owned)
    };
    let text: Vec<_> = configuration(home.path())
        .lines()
        .map(|line| marked(line).unwrap_or(line.to_owned()))
        .filter(|line| !line.starts_with("clients_file"))
        .collect();
    fs::write(path("tidings.toml"), text.join("\n")).unwrap();
    let output = run(home.path(), &["validate", &path("tidings.toml")]);
    assert!(output.status.success(), "{}", stderr(&output));
    let valid = stdout(&output);
    assert!(
        valid.contains("news") && valid.contains("host-b:7400"),
        "{valid}"
    );
}
