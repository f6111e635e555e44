//! How the daemon opens its door to local clients, and closes it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::accept::Reception;
use super::desk::{Control, Desk};
use super::grant::{Grant, Grants};
use super::login::Identity;
use super::socket::Listening;
use crate::engine::Engine;
use crate::entropy;
use crate::supervise::supervise;
use crate::sys::eventfd::EventFd;

/// Settings of the gateway.
pub struct GatewayConfig {
    /// Path of the socket.
    pub socket: PathBuf,
    /// The node's name, told to clients.
    pub node_name: String,
    /// Clients that may attach by name and secret. Without any, only the daemon's own user may attach.
    pub grants: Vec<Grant>,
    /// Serve all clients on this shard, instead of that of the first overlay that each uses.
    pub shard: Option<usize>,
}

/// The door to local clients. Dropping it closes the door; clients that are attached stay until their overlays go.
pub struct Gateway {
    desk: Arc<Desk>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Binds the socket and begins to accept.
    pub fn start(
        engine: &Engine,
        config: GatewayConfig,
        control: Box<dyn Control>,
    ) -> io::Result<Self> {
        let listening = Listening::bind(&config.socket, !config.grants.is_empty())?;
        let desk = Arc::new(Desk::new(EventFd::new()?, Arc::clone(&engine.inner)));
        let who = Identity {
            node: engine.node(),
            boot: engine.boot(),
            uid: rustix::process::geteuid().as_raw(),
            grants: by_name(config.grants),
            dummy: entropy::bytes(),
        };
        let stopping = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&stopping);
        let inner = Arc::clone(&engine.inner);
        let (for_bell, for_supervisor) = (Arc::clone(&desk), Arc::clone(&stopping));
        let mut reception = Reception::new(
            listening,
            who,
            config.node_name,
            Arc::clone(&desk),
            control,
            config.shard,
            for_thread,
        );
        let mut gateway = Self {
            desk,
            stopping,
            thread: None,
        };
        gateway.refresh();
        let thread = thread::Builder::new().name("tidings-clients".to_owned());
        gateway.thread = Some(thread.spawn(move || {
            supervise("clients", &inner.panics, &for_supervisor, || {
                // Questions may wait whose bell was heard before a panic.
                for_bell.bell.signal();
                reception.run();
            });
        })?);
        Ok(gateway)
    }

    /// Replaces the clients that may attach by name and secret. Sessions of those whose secret or rights are not what they were
    /// end; what is owed to a client that comes again waits for it.
    pub fn set_grants(&self, grants: Vec<Grant>) {
        self.desk.set_grants(by_name(grants));
    }

    /// Logins that were refused since the start, by reason: `denied` (name, secret or user), `busy` (too many failed, or it took too
    /// long), `crowded` (too many clients or logins at a time), `protocol`, and `other`.
    pub fn logins_refused(&self) -> [(&'static str, u64); 5] {
        self.desk.refusals.each()
    }

    /// To be called when overlays came or went.
    pub fn refresh(&self) {
        self.desk.refresh();
    }
}

fn by_name(grants: Vec<Grant>) -> Grants {
    let grants = grants.into_iter();
    grants
        .map(|grant| (grant.name.clone(), Arc::new(grant)))
        .collect()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        self.desk.bell.signal();
        if let Some(thread) = self.thread.take() {
            // A panic of the control thread has been told; there is nothing to save here.
            let _ = thread.join();
        }
    }
}
