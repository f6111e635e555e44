//! The service as the daemon sees it: a thread of its own, `tidings-http`, that is started, told to stop, and followed by another when
//! it panics or hangs (`watcher`). Shards and local clients never notice: nothing of the protocol is here.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use tidings_engine::gateway::Listening;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::auth::first;
use super::certificate::Source;
use super::limits::{BLOCKING_END, BLOCKING_IDLE, BLOCKING_THREADS, LOOK_EVERY};
use super::listen::{self, Sockets};
use super::pulse::Pulse;
use super::sampler::Sampler;
use super::serve;
use super::shared::{Parts, Shared, SharedError};
use super::watcher::{Begun, News, Watcher};
use crate::config::{HttpSettings, HttpTls, Settings};
use crate::output::Failure;
use crate::paths;

/// The running service.
pub struct Service {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    news: Sender<News>,
    thread: Option<JoinHandle<()>>,
    /// Ends after the service, by being dropped.
    _sampler: Sampler,
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
    let address = tcp.as_ref().map(TcpListener::local_addr);
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
        let sampler = Sampler::start(Arc::clone(&shared)).map_err(Failure::new)?;
        let (tell, news) = channel();
        let (sockets, of_thread, of_lives) = (bound.sockets, Arc::clone(&shared), tell.clone());
        let thread = thread::Builder::new()
            .name("tidings-http-w".to_owned())
            .spawn(move || {
                let watcher = Watcher {
                    counted: &of_thread.counted,
                    news,
                    begin: |life| begin(&of_thread, &sockets, life, &of_lives),
                    every: LOOK_EVERY,
                };
                watcher.watch();
            })
            .map_err(Failure::new)?;
        Ok(Self {
            shared,
            address: bound.address,
            news: tell,
            thread: Some(thread),
            _sampler: sampler,
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
        // Nobody hears it who has ended.
        let _ = self.news.send(News::Stop);
        if let Some(thread) = self.thread.take() {
            // It waits for the service, but not without end.
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

/// Begins a life, which tells when it ends.
fn begin(
    shared: &Arc<Shared>,
    sockets: &Sockets,
    life: u64,
    tell: &Sender<News>,
) -> io::Result<Begun> {
    let sockets = sockets.try_clone()?;
    shared.begin_life();
    let (stop, stopped) = watch::channel(false);
    let pulse = Arc::new(Pulse::default());
    let (shared, tell, of_life) = (Arc::clone(shared), tell.clone(), Arc::clone(&pulse));
    thread::Builder::new()
        .name("tidings-http".to_owned())
        .spawn(move || {
            let served = || once(shared, sockets, stopped, of_life);
            let ended = match catch_unwind(AssertUnwindSafe(served)) {
                Ok(ended) => ended.map_err(|error| error.to_string()),
                // What was said is in the log already, by the panic hook.
                Err(_) => Err("it panicked".to_owned()),
            };
            // Nobody hears it who has stopped waiting.
            let _ = tell.send(News::Ended(life, ended));
        })?;
    Ok(Begun {
        stop,
        beats: Box::new(move || pulse.look()),
    })
}

fn once(
    shared: Arc<Shared>,
    (tcp, unix): (Option<TcpListener>, UnixListener),
    stopped: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
) -> io::Result<()> {
    let (sleeping, waking) = (Arc::clone(&pulse), Arc::clone(&pulse));
    let runtime = Ending(Some(
        Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(BLOCKING_IDLE)
            .thread_name("tidings-http-b")
            .on_thread_park(move || sleeping.sleeps())
            .on_thread_unpark(move || waking.wakes())
            .build()?,
    ));
    let Some(running) = &runtime.0 else {
        return Ok(());
    };
    running.block_on(serve::serve(shared, tcp, unix, stopped, pulse))
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
