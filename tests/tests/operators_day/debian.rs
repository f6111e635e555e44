//! What an operator starts from: a fresh Debian, made once by debootstrap and kept, and two versions of the package.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidings_tests::blackbox::tidings;
use tidings_tests::lab;

/// The release whose libraries the program under test is linked with.
const RELEASE: &str = "bookworm";
/// What the package depends on, and what an operator has at hand.
const PACKAGES: &str = "adduser,procps,curl";

/// Longest time for making it, seconds. It takes one minute, and more over a slow network.
const PATIENCE: &str = "480";
/// Before `debootstrap`: mounts and processes of its own, which are gone with this one.
const APART: [&str; 8] = [
    "--mount",
    "--propagation",
    "private",
    "--pid",
    "--fork",
    "--kill-child",
    "timeout",
    PATIENCE,
];

/// Whether a day can be played here.
///
/// # Errors
/// What is missing: one of the names of `tidings_skip`, and in words.
pub(crate) fn available() -> Result<(), (&'static str, String)> {
    if fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid()) != 0 {
        return Err((
            "root",
            "a system of its own for each host takes root".into(),
        ));
    }
    let needed = [
        ("debootstrap", "debootstrap", "apt-get install debootstrap"),
        ("cargo-deb", "cargo-deb", "`deploy/package` installs it"),
        ("cargo-deb", "dpkg-deb", "it comes with dpkg"),
        ("debootstrap", "nsenter", "it comes with util-linux"),
    ];
    match needed.into_iter().find(|(_, program, _)| !has(program)) {
        None => Ok(()),
        Some((needs, program, remedy)) => Err((needs, format!("{program} is missing ({remedy})"))),
    }
}

fn has(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    asked.status().is_ok()
}

/// A fresh system, which nobody writes to. The first call makes it, within minutes; it is kept below the target directory.
///
/// # Errors
/// The last lines of what debootstrap says: mostly that there is no network.
pub(crate) fn system() -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operators-day");
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    // Two runs at a time would make it twice.
    let lock = File::open(&home).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let names = PACKAGES.replace(',', "-");
    let made = home.join(format!("{RELEASE}-{names}"));
    if made.is_dir() {
        return Ok(made);
    }
    let begun = home.join("begun");
    // What an interrupted run left.
    let _ = fs::remove_dir_all(&begun);
    let mut command = Command::new("unshare");
    command
        .args(APART)
        .args(["debootstrap", "--variant=minbase"])
        .arg(format!("--include={PACKAGES}"))
        .arg(RELEASE)
        .arg(&begun)
        .stdin(Stdio::null());
    lab::die_with_thread(&mut command);
    let output = command
        .output()
        .map_err(|error| format!("debootstrap: {error}"))?;
    if !output.status.success() {
        let told =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = told.lines().collect();
        let last = lines[lines.len().saturating_sub(3)..].join("; ");
        let _ = fs::remove_dir_all(&begun);
        return Err(format!("debootstrap cannot make {RELEASE} here: {last}"));
    }
    fs::rename(&begun, &made).map_err(|error| error.to_string())?;
    Ok(made)
}

/// Packs the program under test below `folder`, as `deploy/package` does.
///
/// # Panics
/// If that fails.
pub(crate) fn package(folder: &Path, revision: &str) -> PathBuf {
    let release = folder.join("release");
    fs::create_dir_all(&release).unwrap();
    let program = tidings();
    fs::copy(program, release.join("tidings")).unwrap();
    // No step of the day needs the load generator: without one built the program takes its place.
    let loadgen = program.with_file_name("tidings-loadgen");
    let packed = match loadgen.exists() {
        true => loadgen,
        false => program.to_owned(),
    };
    fs::copy(packed, release.join("tidings-loadgen")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/package");
    let output = Command::new(script)
        .args(["--no-build", "--fast", "--deb-revision", revision])
        .env("CARGO_TARGET_DIR", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    PathBuf::from(told.lines().last().expect("the path of the package"))
}
