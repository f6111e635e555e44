//! The Debian package that `deploy/package` makes: what is in it, and that it is installed, upgraded, removed and purged without
//! a trace. The binary in it is the one under test. Nothing is installed on this system: dpkg runs in a layer over it.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{stderr, stdout};
use tidings_skip::{left_out, skipped};

/// What happens in the layer: `$1` and `$2` are a version and a later one.
const LIFE: &str = r#"
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
as_tidings() { setpriv --reuid=tidings --regid=tidings --clear-groups "$@"; }
traces() { find /etc /usr /var /run -xdev -name '*tidings*' -not -path '/var/log/*'; getent passwd tidings || :; getent group tidings || :; }
is() { test "$(stat -c '%U:%G %a' "$1")" = "$2" || { stat "$1"; exit 1; }; }
traces >/run/before
# What the package asks of the service manager is written down; it is none of this layer's.
mkdir -p /run/systemd/system
printf '#!/bin/sh\necho "$*" >>/run/asked\n' >/usr/bin/deb-systemd-invoke
chmod 755 /usr/bin/deb-systemd-invoke
asked() { test "$(cat /run/asked)" = "$1" || { echo "asked for: $(cat /run/asked)"; exit 1; }; rm /run/asked; }
echo STEP install
dpkg --no-triggers -i "$1"
asked 'start tidings.service'
is /etc/tidings 'root:tidings 750'
is /etc/tidings/tidings.toml 'root:tidings 640'
is /var/lib/tidings 'tidings:tidings 700'
as_tidings tidings validate /etc/tidings/tidings.toml
test -e /etc/systemd/system/multi-user.target.wants/tidings.service
echo STEP upgrade
sed -i 's/^#rack.*/rack = "mine"/' /etc/tidings/tidings.toml
as_tidings touch /var/lib/tidings/node
dpkg --no-triggers -i "$2"
asked 'restart tidings.service'
grep -q '^rack = "mine"' /etc/tidings/tidings.toml
test -e /var/lib/tidings/node
echo STEP remove
dpkg --no-triggers -r tidings
asked 'stop tidings.service'
test ! -e /usr/bin/tidings
test -e /etc/tidings/tidings.toml
test -e /var/lib/tidings/node
echo STEP install again
dpkg --no-triggers -i "$2"
# Its configuration was there: for dpkg it is an upgrade.
asked 'restart tidings.service'
is /var/lib/tidings 'tidings:tidings 700'
echo STEP purge
dpkg --no-triggers -P tidings
asked 'stop tidings.service'
traces >/run/after
diff /run/before /run/after
echo DONE
"#;

/// Lays a layer over this system that is gone with the process: `$1` is an empty folder, the rest is for the script there.
const LAYER: &str = r#"
set -eu
mount -t tmpfs layer "$1"
mkdir "$1/up" "$1/aside" "$1/tree"
mount -t overlay layer -o "lowerdir=/,upperdir=$1/up,workdir=$1/aside" "$1/tree"
mount --rbind /dev "$1/tree/dev"
mount --bind /proc "$1/tree/proc"
mount -t tmpfs run "$1/tree/run"
cp "$2" "$1/tree/run/life"
cp "$3" "$1/tree/run/first.deb"
cp "$4" "$1/tree/run/second.deb"
exec chroot "$1/tree" sh /run/life /run/first.deb /run/second.deb
"#;

fn has(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    asked.status().is_ok()
}

/// Packs the binary under test; `target` is a target directory of its own.
fn pack(target: &Path, revision: &str) -> PathBuf {
    let release = target.join("release");
    fs::create_dir_all(&release).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_tidings"));
    fs::copy(binary, release.join("tidings")).unwrap();
    let loadgen = binary.with_file_name("tidings-loadgen");
    let loadgen = match loadgen.exists() {
        true => loadgen,
        false => {
            eprintln!("the load generator is not built: the daemon takes its place in the package");
            binary.to_owned()
        }
    };
    fs::copy(loadgen, release.join("tidings-loadgen")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/package");
    let output = Command::new(script)
        .args(["--no-build", "--fast", "--deb-revision", revision])
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let path = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("{}", stderr(&output)));
    PathBuf::from(path)
}

/// Whether a package can be made here; if not, says loudly what is missing.
fn can_pack() -> bool {
    let missing: Vec<_> = ["cargo-deb", "dpkg-deb"]
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        let why = format!("{missing} is missing here; `deploy/package` installs cargo-deb");
        skipped("cargo-deb", &why);
        return false;
    }
    true
}

#[test]
fn the_package_holds_everything_that_an_installation_needs() {
    if !can_pack() {
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let package = pack(target.path(), "1");
    let listed = Command::new("dpkg-deb")
        .arg("-c")
        .arg(&package)
        .output()
        .unwrap();
    let listed = stdout(&listed);
    for wanted in [
        "./usr/bin/tidings\n",
        "./usr/bin/tidings-loadgen",
        "/systemd/system/tidings.service",
        "./etc/tidings/tidings.toml",
        "./usr/share/man/man1/tidings.1",
        "./usr/share/man/man1/tidings-doctor.1",
        "./usr/share/bash-completion/completions/tidings",
        "./usr/share/zsh/vendor-completions/_tidings",
        "./usr/share/fish/vendor_completions.d/tidings.fish",
        "./usr/share/doc/tidings/copyright",
        "./usr/share/doc/tidings/examples/tidings.json",
        "./usr/share/doc/tidings/examples/tidings.rules.yml",
        "./usr/share/doc/tidings/runbook.md",
    ] {
        assert!(listed.contains(wanted), "{wanted} in {listed}");
    }
    let fields = Command::new("dpkg-deb")
        .arg("-I")
        .args([&package])
        .arg("conffiles")
        .output()
        .unwrap();
    assert_eq!(stdout(&fields).trim(), "/etc/tidings/tidings.toml");
    // The user is made by the one; the unit reloads by the kill of the other, which a minimal system lacks.
    let depends = Command::new("dpkg-deb")
        .arg("-f")
        .args([&package])
        .arg("Depends")
        .output()
        .unwrap();
    for needed in ["adduser", "procps"] {
        assert!(stdout(&depends).contains(needed), "{needed}: {depends:?}");
    }
    // What they do is seen where they run, below; that takes root.
    let scripts = target.path().join("scripts");
    let unpacked = Command::new("dpkg-deb")
        .arg("-e")
        .args([&package, &scripts])
        .status();
    assert!(unpacked.unwrap().success());
    let script = |name: &str| fs::read_to_string(scripts.join(name)).unwrap();
    for (name, wanted) in [
        ("postinst", "_dh_action=restart"),
        ("postinst", "deb-systemd-invoke $_dh_action tidings.service"),
        ("prerm", "[ \"$1\" = remove ]"),
        ("prerm", "deb-systemd-invoke stop tidings.service"),
    ] {
        let text = script(name);
        assert!(text.contains(wanted), "{wanted} in {name}: {text}");
    }
}

/// The architecture that this machine is not of: as Debian calls it, and as compilers do.
fn foreign() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("amd64", "x86_64"),
        _ => ("arm64", "aarch64"),
    }
}

fn package_script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/package"))
}

#[test]
fn without_a_compiler_for_it_another_architecture_is_refused_with_a_remedy() {
    let bin = tempfile::tempdir().unwrap();
    for name in ["bash", "dirname", "uname"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|dir| dir.join(name))
            .find(|file| file.exists());
        std::os::unix::fs::symlink(found.unwrap(), bin.path().join(name)).unwrap();
    }
    // It is looked for first, and not needed by then.
    std::os::unix::fs::symlink("/bin/false", bin.path().join("cargo-deb")).unwrap();
    let (debian, compiler) = foreign();
    let asked = |arch: &str| {
        let mut script = package_script();
        script.args(["--arch", arch]).env("PATH", bin.path());
        script.output().unwrap()
    };
    let refused = asked(debian);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let wanted = format!("{compiler}-linux-gnu-gcc is missing; remedy: apt install gcc-");
    assert!(stderr(&refused).contains(&wanted), "{}", stderr(&refused));
    let refused = asked("riscv");
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--arch riscv: say amd64 or arm64"));
}

#[test]
fn the_package_of_another_architecture_is_built_across() {
    let (debian, compiler) = foreign();
    let gcc = format!("{compiler}-linux-gnu-gcc");
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = rustc.map(|output| stdout(&output)).unwrap_or_default();
    let target = format!("{compiler}-unknown-linux-gnu");
    let std = Path::new(sysroot.trim()).join("lib/rustlib").join(target);
    let is_wanted = std::env::var_os("TIDINGS_PACKAGE_ACROSS").is_some();
    if !is_wanted || !has(&gcc) || !std.exists() || !can_pack() {
        // Nobody is made to build for ten minutes by requiring everything.
        left_out(&format!(
            "building the package of {debian} takes {gcc}, Rust's libraries for it, cargo-deb, some 10 minutes of a core, and TIDINGS_PACKAGE_ACROSS=1"
        ));
        return;
    }
    let output = package_script().args(["--arch", debian]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stdout(&output);
    let package = told.lines().last().unwrap();
    let field = Command::new("dpkg-deb")
        .args(["-f", package, "Architecture"])
        .output()
        .unwrap();
    assert_eq!(stdout(&field).trim(), debian);
}

#[test]
fn the_change_log_of_the_package_begins_with_this_version() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/debian/changelog");
    let log = fs::read_to_string(log).unwrap();
    let begins = concat!("tidings (", env!("CARGO_PKG_VERSION"), "-");
    assert!(log.starts_with(begins), "{begins}: {log}");
}

fn in_layer(home: &Path, first: &Path, second: &Path) -> Output {
    let (life, layer) = (home.join("life"), home.join("layer"));
    fs::write(&life, LIFE).unwrap();
    fs::create_dir(&layer).unwrap();
    Command::new("timeout")
        .args([
            "600",
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            LAYER,
            "sh",
        ])
        .args([&layer, &life, first, second])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn the_package_comes_and_goes_without_a_trace() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !["adduser", "dpkg", "ps"].into_iter().all(has) {
        let why =
            "installing a package in a layer over this system takes root, dpkg, adduser and procps";
        skipped("root", why);
        return;
    }
    if !can_pack() {
        return;
    }
    let targets = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let packages = [pack(targets[0].path(), "1"), pack(targets[1].path(), "2")];
    let home = tempfile::tempdir().unwrap();
    let output = in_layer(home.path(), &packages[0], &packages[1]);
    let told = stdout(&output);
    if !told.contains("STEP") && stderr(&output).contains("mount") {
        let error = stderr(&output);
        skipped(
            "layer",
            &format!("no layer can be laid over this system: {error}"),
        );
        return;
    }
    assert!(output.status.success(), "{told}{}", stderr(&output));
    assert!(told.ends_with("DONE\n"), "{told}");
}
