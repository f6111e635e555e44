//! Daemons on loopback for the length of a run, in directories of their own: one that is published to, one for each
//! subscribing process.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tidings_client::{Client, Options};

use super::OVERLAY;
use super::node::keyring;
use crate::error::{Error, While};
use crate::plan::{Place, Plan, Side};
use crate::server::{Server, free_port};
use crate::system::Services;
use crate::usage::Usage;

/// How long a daemon may take to serve clients.
const START: Duration = Duration::from_secs(20);

struct Daemon {
    server: Server,
    socket: PathBuf,
}

/// Those of a run. The directory goes last.
pub(crate) struct Daemons {
    publishing: Daemon,
    subscribing: Vec<Daemon>,
    _dir: TempDir,
}

/// The daemon's program: as told, or beside this one.
fn program(place: &Place) -> Result<PathBuf, Error> {
    if let Some(path) = &place.program {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().during("find this program")?;
    let beside = own.with_file_name("tidings");
    if beside.is_file() {
        Ok(beside)
    } else {
        Err(Error::Usage(format!(
            "there is no daemon at {}: build it (`cargo build --release -p tidings`) or say --program",
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
        let seed = free_port()?;
        let mut subscribing = Vec::new();
        for index in 0..plan.subscribers {
            let name = match plan.subscribers {
                1 => "daemon (sub)".to_owned(),
                _ => format!("daemon (sub {})", index + 1),
            };
            let home = dir.path().join(format!("subscribing-{index}"));
            let (bind, join) = match index {
                0 => (seed, None),
                _ => (free_port()?, Some(seed)),
            };
            let side = (plan, Side::Subscribing);
            let daemon = Daemon::start(&name, &program, side, &home, &key, bind, join)?;
            subscribing.push(daemon);
        }
        let home = dir.path().join("publishing");
        let side = (plan, Side::Publishing);
        let bind = free_port()?;
        let publishing = Daemon::start(
            "daemon (pub)",
            &program,
            side,
            &home,
            &key,
            bind,
            Some(seed),
        )?;
        let mut daemons = Self {
            publishing,
            subscribing,
            _dir: dir,
        };
        for daemon in &mut daemons.subscribing {
            daemon.wait_until_it_serves()?;
        }
        daemons.publishing.wait_until_it_serves()?;
        Ok(daemons)
    }
}

impl Services for Daemons {
    fn place(&self, side: Side, index: usize) -> Place {
        let daemon = match side {
            Side::Publishing => &self.publishing,
            Side::Subscribing => {
                // Those that come and go are clients of a daemon that stays.
                self.subscribing.get(index).unwrap_or(&self.subscribing[0])
            }
        };
        Place {
            socket: Some(daemon.socket.clone()),
            index,
            ..Place::loopback()
        }
    }

    fn usages(&self) -> Vec<(String, Usage)> {
        let all = std::iter::once(&self.publishing).chain(&self.subscribing);
        all.map(|daemon| daemon.server.usage()).collect()
    }
}

impl Daemon {
    fn start(
        name: &str,
        program: &Path,
        (plan, side): (&Plan, Side),
        home: &Path,
        key: &Path,
        bind: SocketAddr,
        join: Option<SocketAddr>,
    ) -> Result<Self, Error> {
        fs::create_dir(home).during("make a directory")?;
        let socket = home.join("socket");
        let mut arguments = vec!["run".into(), "--data-dir".into(), home.join("data").into()];
        arguments.extend(["--bind".into(), bind.to_string().into()]);
        arguments.extend(["--overlay".into(), OVERLAY.into()]);
        arguments.extend(["--key-file".into(), key.as_os_str().to_owned()]);
        arguments.extend(["--socket".into(), socket.clone().into()]);
        // The port above one that was free just now may be somebody's.
        arguments.extend(["--http".into(), "off".into()]);
        if let Some(join) = join {
            arguments.extend(["--join".into(), join.to_string().into()]);
        }
        if let Some(bytes) = plan.max_datagram {
            let file = home.join("tidings.toml");
            let text = format!("[[overlay]]\nname = \"{OVERLAY}\"\nmax_datagram = \"{bytes}B\"\n");
            fs::write(&file, text).during("write the daemon's configuration")?;
            arguments.extend(["--config".into(), file.into()]);
        }
        let cpu = plan.cpu(side);
        let server = Server::start(name, program, arguments, cpu, &home.join("log"))?;
        Ok(Self { server, socket })
    }

    fn wait_until_it_serves(&mut self) -> Result<(), Error> {
        let socket = &self.socket;
        self.server
            .wait_until(START, || Client::connect(Options::new(socket)).is_ok())
    }
}
