//! Clears up after a lab, however it ends. A small shell process waits for the end of its input, which comes when the lab
//! is dropped or its process is killed; then it kills whatever still runs in the lab's namespaces and removes its folder.
//! It holds the namespaces open meanwhile, so that their numbers cannot mean another lab's.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::namespace::{Namespace, context};
use super::sys;

/// `$1` is the folder, or empty to keep it; the others are descriptors of namespaces. `-ef` compares what both paths
/// refer to. The rounds are bounded, because a process may hang in the kernel where no signal reaches it.
const SCRIPT: &str = r#"
read -r _
folder=$1; shift; round=0; again=yes
while [ $again = yes ] && [ $round -lt 100 ]; do
    again=no; round=$((round + 1))
    for process in /proc/[0-9]*; do for held in "$@"; do
        if [ "$process/ns/net" -ef "/proc/self/fd/$held" ]; then kill -9 "${process#/proc/}" && again=yes; fi
    done; done
    if [ $again = yes ]; then sleep 0.02; fi
done 2>/dev/null
if [ -n "$folder" ]; then rm -rf -- "$folder"; fi
"#;

#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    /// Watches over `namespaces`; `folder` goes with the lab unless it is `None`.
    pub(super) fn start<'a>(
        namespaces: impl Iterator<Item = &'a Namespace>,
        folder: Option<&Path>,
    ) -> io::Result<Watchdog> {
        let held: Vec<_> = namespaces.map(|n| n.as_fd().as_raw_fd()).collect();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "lab-watchdog"])
            .arg(folder.unwrap_or(Path::new("")));
        command.args(held.iter().map(ToString::to_string));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        sys::keep_open(&mut command, held);
        let mut shell = command
            .spawn()
            .map_err(|e| context(e, "starting /bin/sh, which clears up after the lab"))?;
        Ok(Watchdog {
            input: shell.stdin.take(),
            shell,
        })
    }
}

impl Drop for Watchdog {
    /// Returns when nothing of the lab runs any more.
    fn drop(&mut self) {
        self.input.take();
        // An error means that it was killed or reaped by somebody else: there is nothing more to wait for.
        let _ = self.shell.wait();
    }
}
