//! A broker for the length of a run: one process on a free port of loopback, with a folder of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidings_loadgen::{Error, Place, Server, Services, Side, Usage};

use crate::home;

/// How long a broker may take to take connections.
const START: Duration = Duration::from_secs(10);

/// The broker. Its folder goes last.
pub(crate) struct Broker {
    server: Server,
    addr: SocketAddr,
    folder: TempDir,
}

impl Broker {
    /// Starts a program with what `arguments` makes of its folder and port, and waits until it serves.
    pub(crate) fn start(
        program: &str,
        arguments: impl FnOnce(&Path, u16) -> Result<Vec<String>, Error>,
    ) -> Result<Box<dyn Services>, Error> {
        let path = home::program(program)?;
        let (folder, addr) = (home::folder()?, home::free_tcp_port()?);
        let arguments = arguments(folder.path(), addr.port())?;
        let log = folder.path().join("log");
        let mut server = Server::start("broker", &path, arguments, None, &log)?;
        server.wait_until(START, || home::is_served(addr))?;
        Ok(Box::new(Self {
            server,
            addr,
            folder,
        }))
    }
}

impl Services for Broker {
    fn place(&self, _: Side, index: usize) -> Place {
        Place {
            join: Some(self.addr),
            socket: Some(self.folder.path().to_owned()),
            index,
            ..Place::loopback()
        }
    }

    fn usages(&self) -> Vec<(String, Usage)> {
        vec![self.server.usage()]
    }
}
