//! A host of the lab with a system of its own: a layer over the fresh one, with its own name, mounts and network. All of it is
//! in memory and gone with the process that holds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidings_tests::blackbox::Done;
use tidings_tests::host::{Host, Process};
use tidings_tests::lab::Lab;

/// How long a command may take that waits for nobody.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);
/// Where the service's clients find it.
const SOCKET: &str = "/run/tidings/tidings.sock";

/// `$1`: an empty folder, `$2`: the fresh system, `$3`: the host's name, then packages.
const BOOT: &str = r#"
set -eu
umask 022
layer=$1 fresh=$2 name=$3; shift 3
mount -t tmpfs layer "$layer"
mkdir "$layer/up" "$layer/aside" "$layer/tree"
mount -t overlay layer -o "lowerdir=$fresh,upperdir=$layer/up,workdir=$layer/aside" "$layer/tree"
tree=$layer/tree
mount --rbind /dev "$tree/dev"
mount --bind /proc "$tree/proc"
mount --bind /sys "$tree/sys"
mount -t tmpfs run "$tree/run"
mkdir -p "$tree/run/systemd" "$tree/srv/packages"
echo "$name" >/proc/sys/kernel/hostname
echo "$name" >"$tree/etc/hostname"
cp "$@" "$tree/srv/packages"
cd "$tree"
exec chroot "$tree" sh -c 'echo up; exec sleep infinity'
"#;

/// A host with its system.
pub(crate) struct Machine<'a> {
    lab: &'a Lab,
    host: &'a Host,
    /// Its mounts and its name live as long as this does.
    holder: Process,
}

impl<'a> Machine<'a> {
    /// Starts one; the packages lie in `/srv/packages`.
    ///
    /// # Errors
    /// If this machine takes no such layers.
    pub(crate) fn boot(
        lab: &'a Lab,
        number: usize,
        system: &Path,
        packages: &[PathBuf],
    ) -> Result<Self, String> {
        let host = lab.host(number);
        let name = format!("host-{number}");
        let layer = lab.folder().join(format!("layer-{number}"));
        fs::create_dir(&layer).map_err(|error| error.to_string())?;
        let mut command = host.command("unshare");
        command
            .args(["--mount", "--uts", "--propagation", "private"])
            .args(["sh", "-c", BOOT, "sh"])
            .args([&layer, system])
            .arg(&name)
            .args(packages);
        let holder = host
            .spawn(&format!("{name}-holder"), command)
            .map_err(|error| error.to_string())?;
        if let Err(error) = holder.wait_for("up", WITHIN) {
            return Err(format!("no layer over it: {error}: {}", holder.stderr()));
        }
        let machine = Self { lab, host, holder };
        let hosts = lab.hosts().iter();
        let hosts = hosts.map(|host| format!("{} host-{}\n", host.ip4(), host.number()));
        let hosts: String = hosts.collect();
        machine.write("etc/hosts", &format!("127.0.0.1 localhost\n{hosts}"));
        Ok(machine)
    }

    /// Its number, from 1.
    pub(crate) fn number(&self) -> usize {
        self.host.number()
    }

    /// Its name, which is its node's.
    pub(crate) fn name(&self) -> String {
        format!("host-{}", self.number())
    }

    /// A file of its system, named without the first slash, as this process reaches it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        let process = format!("/proc/{}", self.holder.id());
        Path::new(&process).join("root").join(path)
    }

    /// Reads a file of it.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Writes a file of it.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.file(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// A command that root types there.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.host.command("nsenter");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("TIDINGS_SOCKET", SOCKET)
            .arg(format!("--target={}", self.holder.id()))
            .args(["--mount", "--uts", "--root", "--wd", "--"])
            .args(words);
        command
    }

    /// A command that a user types there.
    pub(crate) fn command_as(&self, user: &str, words: &[&str]) -> Command {
        let ids = [format!("--reuid={user}"), format!("--regid={user}")];
        let who = ["setpriv", &ids[0], &ids[1], "--init-groups", "--"];
        self.command(&[&who[..], words].concat())
    }

    /// Starts a command; its output lies in the lab's folder.
    pub(crate) fn spawn(&self, what: &str, command: Command) -> Process {
        let count = self.lab.folder().read_dir().unwrap().count();
        let what = what.replace('/', "-");
        let name = format!("{}-{what}-{count}", self.name());
        self.host.spawn(&name, command).unwrap()
    }

    /// Starts `tidings` with these words, as the service's user.
    pub(crate) fn start(&self, words: &[&str]) -> Process {
        let all = [&["tidings"], words].concat();
        self.spawn(words[0], self.command_as("tidings", &all))
    }

    /// Runs a command of root to its end.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Done {
        Done::of(&self.spawn(words[0], self.command(words)), WITHIN)
    }

    /// The same, which must succeed; what it wrote.
    #[track_caller]
    pub(crate) fn good(&self, words: &[&str]) -> String {
        good(&self.name(), words, self.run(words))
    }

    /// Runs `tidings` as the service's user, which must succeed; what it wrote.
    #[track_caller]
    pub(crate) fn tidings(&self, words: &[&str]) -> String {
        good(&self.name(), words, Done::of(&self.start(words), WITHIN))
    }

    /// The same with `--format json`.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let told = self.tidings(&[words, &["--format", "json"]].concat());
        serde_json::from_str(&told)
            .unwrap_or_else(|error| panic!("{words:?}: {error} in {told:.300}"))
    }

    /// What curl gets from the management service, over its Unix socket.
    #[track_caller]
    pub(crate) fn curl(&self, path: &str) -> String {
        let url = format!("http://localhost{path}");
        let words = ["curl", "-sS", "--fail", "--unix-socket", MANAGEMENT, &url];
        let process = self.spawn("curl", self.command_as("tidings", &words));
        good(&self.name(), &words, Done::of(&process, WITHIN))
    }
}

/// Where the management service is.
pub(crate) const MANAGEMENT: &str = "/run/tidings/tidings.http.sock";

/// The output of a command that must have succeeded.
#[track_caller]
pub(crate) fn good(host: &str, words: &[&str], done: Done) -> String {
    assert_eq!(
        done.code,
        Some(0),
        "{words:?} on {host}: {:.1000}{:.1000}",
        done.out,
        done.err
    );
    done.out
}
