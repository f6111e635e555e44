//! Two daemons on loopback for the length of a run, in directories of their own.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidings_client::{Client, Options};

use crate::error::{Error, While};
use crate::node::keyring;
use crate::plan::{OVERLAY, Place, Plan, Side};
use crate::usage::Usage;

/// How long a daemon may take to serve clients.
const START: Duration = Duration::from_secs(20);
/// How long it may take to leave.
const STOP: Duration = Duration::from_secs(5);

/// One daemon; it dies with this.
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

/// The two of a run.
pub(crate) struct Daemons {
    pub(crate) publishing: Daemon,
    pub(crate) subscribing: Daemon,
    _dir: TempDir,
}

/// The daemon's program: as told, or beside this one.
pub(crate) fn program(place: &Place) -> Result<PathBuf, Error> {
    if let Some(path) = &place.tidings {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().during("find this program")?;
    let beside = own.with_file_name("tidings");
    if beside.is_file() {
        Ok(beside)
    } else {
        Err(Error::Usage(format!(
            "there is no daemon at {}: build it (`cargo build --release -p tidings`) or say --tidings",
            beside.display()
        )))
    }
}

impl Daemons {
    pub(crate) fn start(plan: &Plan, place: &Place) -> Result<Self, Error> {
        let program = program(place)?;
        let dir = tempfile::tempdir().during("make a directory")?;
        let key = dir.path().join("key");
        fs::write(&key, keyring()?.to_text()).during("write the key")?;
        fs::set_permissions(&key, Permissions::from_mode(0o600)).during("protect the key")?;
        let addrs = [free_port()?, free_port()?];
        let start = |side: Side, name: &str| {
            let (bind, join) = match side {
                Side::Subscribing => (addrs[0], None),
                Side::Publishing => (addrs[1], Some(addrs[0])),
            };
            let home = dir.path().join(name);
            fs::create_dir(&home).during("make a directory")?;
            Daemon::start(&program, plan.cpu(side), &home, &key, bind, join)
        };
        let subscribing = start(Side::Subscribing, "subscribing")?;
        let publishing = start(Side::Publishing, "publishing")?;
        let mut daemons = Self {
            publishing,
            subscribing,
            _dir: dir,
        };
        daemons.subscribing.wait_until_it_serves()?;
        daemons.publishing.wait_until_it_serves()?;
        Ok(daemons)
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr, Error> {
    let socket = UdpSocket::bind("127.0.0.1:0").during("find a free port")?;
    socket.local_addr().during("find a free port")
}

impl Daemon {
    fn start(
        program: &Path,
        cpu: Option<usize>,
        home: &Path,
        key: &Path,
        bind: SocketAddr,
        join: Option<SocketAddr>,
    ) -> Result<Self, Error> {
        let (socket, log) = (home.join("socket"), home.join("log"));
        let own = std::env::current_exe().during("find this program")?;
        let mut command = Command::new(own);
        command.arg("guard");
        if let Some(cpu) = cpu {
            command.args(["--pin", &cpu.to_string()]);
        }
        command.arg("--").arg(program).arg("run");
        command.arg("--data-dir").arg(home.join("data"));
        command.args(["--bind", &bind.to_string(), "--overlay", OVERLAY]);
        command.arg("--key-file").arg(key);
        command.arg("--socket").arg(&socket);
        if let Some(join) = join {
            command.args(["--join", &join.to_string()]);
        }
        let output = fs::File::create(&log).during("make a log")?;
        let errors = output.try_clone().during("make a log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .during("start a daemon")?;
        Ok(Self { child, socket, log })
    }

    fn wait_until_it_serves(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START;
        loop {
            if Client::connect(Options::new(&self.socket)).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait().during("look after a daemon")?;
            if ended.is_some() || Instant::now() >= deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(Error::Failed(format!(
                    "a daemon does not serve; it said:\n{said}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }
}

impl Drop for Daemon {
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
