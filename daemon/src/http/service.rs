//! The service as the daemon sees it: a thread of its own, `tidings-http`, that is started, told to stop, and started again
//! by itself when it panics. Shards and local clients never notice: nothing of the protocol is here.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tidings_engine::gateway::Listening;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::auth::first;
use super::certificate::Source;
use super::limits::{
    BLOCKING_END, BLOCKING_IDLE, BLOCKING_THREADS, RESTART_FORGOTTEN, RESTART_MAX, RESTART_MIN,
};
use super::listen::{self, Sockets};
use super::serve;
use super::shared::{Parts, Shared, SharedError};
use crate::config::{HttpSettings, HttpTls, Settings};
use crate::output::Failure;
use crate::paths;

/// The running service.
pub struct Service {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Sockets of a service that is about to start. Made first, because an address that is taken fails the start of the daemon.
pub struct Bound {
    sockets: Sockets,
    address: Option<SocketAddr>,
}

/// Binds what `settings` say, for a node whose UDP port is `port`.
pub fn bind(settings: &Settings, port: u16) -> Result<Bound, Failure> {
    let http = &settings.http;
    let tcp = match http.bind.address(settings.node.bind, port) {
        None => None,
        Some(address) => Some(listen::tcp(address).map_err(|error| taken(address, &error))?),
    };
    let address = tcp.as_ref().map(std::net::TcpListener::local_addr);
    let address = address.transpose().map_err(Failure::new)?;
    check_folder(&http.socket)?;
    let unix = Listening::bind(&http.socket, false).map_err(|error| {
        Failure::Usage(format!(
            "error: management cannot be reached at {}: {error}\n  remedy: choose another path with http.socket",
            http.socket.display()
        ))
    })?;
    // Somebody else may have made the folder between the first look and the socket.
    check_folder(&http.socket)?;
    Ok(Bound {
        sockets: Sockets { tcp, unix },
        address,
    })
}

fn taken(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::Usage(format!(
        "error: cannot bind {address} for management: {error}\n  remedy: another process may hold TCP port {}: stop it, or choose another address with --http {}:PORT, or none with --http off",
        address.port(),
        match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        }
    ))
}

fn check_folder(socket: &Path) -> Result<(), Failure> {
    tidings_client::check_folder(socket).map_err(|distrust| {
        Failure::Usage(format!(
            "error: management cannot be reached at {}: {distrust}\n  remedy: {}, or choose another path with http.socket",
            socket.display(),
            distrust.remedy()
        ))
    })
}

impl Bound {
    /// Where its certificate comes from.
    pub fn certificate(&self, settings: &HttpSettings, data_dir: &Path) -> Option<Source> {
        let address = self.address?;
        (settings.tls != HttpTls::Off).then(|| Source {
            tls: settings.tls.clone(),
            data_dir: data_dir.to_owned(),
            address,
            host: paths::host_name(64),
        })
    }
}

impl Service {
    /// Starts it.
    pub fn start(bound: Bound, parts: Parts) -> Result<Self, Failure> {
        if let Err(error) = first::passwords(&parts.state, &parts.facts.data_dir) {
            // A full disk is no reason not to run: the next start tries again.
            let remedy = error.remedy();
            tracing::warn!(%error, remedy, "nobody has a password for management; its Unix socket needs none");
        }
        let shared = Arc::new(Shared::new(parts).map_err(explain)?);
        let (stop, stopped) = watch::channel(false);
        let (sockets, for_thread) = (bound.sockets, Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("tidings-http".to_owned())
            .spawn(move || live(&for_thread, &sockets, &stopped))
            .map_err(Failure::new)?;
        Ok(Self {
            shared,
            address: bound.address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens besides its Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Everything has started: `/startupz` says so from now on.
    pub fn started(&self) {
        self.shared.has_started.store(true, Ordering::Relaxed);
    }

    /// The node is about to end: `/readyz` says so from now on, and nobody is told more.
    pub fn stopping(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
    }

    /// What reads configuration and certificate again, for whoever does so; the log says what came of it.
    pub fn reloader(&self) -> Box<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Box::new(move || {
            // A refusal is in the log.
            let _ = shared.reload();
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopping();
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Its panics are caught and told.
            let _ = thread.join();
        }
    }
}

fn explain(error: SharedError) -> Failure {
    match error {
        SharedError::Certificate(error) => {
            Failure::Usage(format!("error: {error}\n  remedy: {}", error.remedy))
        }
        SharedError::Randomness(error) => Failure::new(error),
    }
}

/// Serves until told to stop, whatever panics.
fn live(shared: &Arc<Shared>, sockets: &Sockets, stopped: &watch::Receiver<bool>) {
    let mut pause = RESTART_MIN;
    while !*stopped.borrow() {
        let since = Instant::now();
        let served = catch_unwind(AssertUnwindSafe(|| once(shared, sockets, stopped)));
        let why = match served {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            // What was said is in the log already, by the panic hook.
            Err(_) => "it panicked".to_owned(),
        };
        shared.counted.restarts.fetch_add(1, Ordering::Relaxed);
        if since.elapsed() >= RESTART_FORGOTTEN {
            pause = RESTART_MIN;
        }
        tracing::error!(why, again_in = ?pause, "the management service ended and is started again");
        let until = Instant::now() + pause;
        // Short naps, so that the daemon can stop meanwhile.
        while Instant::now() < until && !*stopped.borrow() {
            thread::sleep(RESTART_MIN / 5);
        }
        pause = (pause * 2).min(RESTART_MAX);
    }
}

fn once(
    shared: &Arc<Shared>,
    sockets: &Sockets,
    stopped: &watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = Ending(Some(
        Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(BLOCKING_IDLE)
            .thread_name("tidings-http-b")
            .build()?,
    ));
    let (tcp, unix) = sockets.try_clone()?;
    let Some(running) = &runtime.0 else {
        return Ok(());
    };
    running.block_on(serve::serve(Arc::clone(shared), tcp, unix, stopped.clone()))
}

/// A runtime that waits only so long for its blocking threads, also when it ends by a panic.
struct Ending(Option<Runtime>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(BLOCKING_END);
        }
    }
}
