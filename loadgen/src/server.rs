//! A server (daemon, broker) for the length of a run. It dies with this process, however that one ends.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, While};
use crate::usage::Usage;

/// How long it may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(5);

/// A port of loopback that was free a moment ago, for UDP.
pub fn free_port() -> Result<SocketAddr, Error> {
    let socket = UdpSocket::bind("127.0.0.1:0").during("find a free port")?;
    socket.local_addr().during("find a free port")
}

/// One server. Dropping it ends it.
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program`, on one CPU if told so, with its output in the file `log`.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        cpu: Option<usize>,
        log: &Path,
    ) -> Result<Self, Error> {
        let what = format!("start {name}");
        let own = std::env::current_exe().during("find this program")?;
        let mut command = Command::new(own);
        command.arg("guard");
        if let Some(cpu) = cpu {
            command.args(["--pin", &cpu.to_string()]);
        }
        command.arg("--").arg(program).args(arguments);
        let output = File::create(log).during("make a log")?;
        let errors = output.try_clone().during("make a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .during(&what)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Waits until `is_ready` says so, at most `patience`; what the server wrote is in the error.
    pub fn wait_until(
        &mut self,
        patience: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while !is_ready() {
            let ended = self.child.try_wait().during("look after a server")?;
            if ended.is_some() || Instant::now() >= deadline {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Error::Failed(format!(
                    "{} does not serve; it said:\n{said}",
                    self.name
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its name and what it used, for [`crate::Services::usages`].
    pub fn usage(&self) -> (String, Usage) {
        (self.name.clone(), Usage::of(self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Gone already: nothing to stop.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
