//! From checked settings to a running node, and from a signal to one that has left, or stopped.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use signal_hook::consts::SIGTERM;
use tidings_engine::gateway::{Gateway, GatewayConfig, Grant};
use tidings_engine::{
    Engine, EngineBuilder, Notice, Poll, StartError, StorageError, Tuning, memory,
};

use super::banner::banner;
use super::clients::{self, Clients};
use super::control::NodeControl;
use super::drain::{DRAIN_TIME, Drain};
use super::dump::{self, Depth};
use super::notify::{self, Notify};
use super::overlays::{Overlays, forget_others, start, storage_remedy};
use super::reloading::Reloading;
use super::signals::{self, Giver, Order, Stop, Taker};
use super::view::Facts;
use super::{log, roster};
use crate::config::{self, NodeSettings, OnTerminate, Settings};
use crate::http::{self, Service};
use crate::load::{Loaded, load_with};
use crate::output::Failure;
use crate::state::StateFile;

/// A node has started and joined by then: what only that needs of the program need not stay in memory.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the answer to a client's `leave` may take to reach it before its connection goes.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runs a node until it is told to stop.
pub fn run(loaded: Loaded) -> Result<(), Failure> {
    log::start(&loaded.settings.node.log);
    raise_file_limit();
    let (stop, orders) = signals::listen().map_err(Failure::new)?;
    check_folder(&loaded.settings.socket)?;
    let engine = Arc::new(start_engine(&loaded.settings, stop.clone())?);
    let (state, loaded) = read_again(loaded)?;
    let Loaded {
        base,
        settings,
        keyrings,
        clients: given,
        ..
    } = loaded;
    let sockets = http::bind(&settings, engine.local_addr().port())?;
    for (overlay, keyring) in settings.overlays.iter().zip(keyrings) {
        start(&engine, overlay, keyring, &settings.node).map_err(|error| {
            let remedy = error.remedy();
            let remedy = remedy.map_or_else(String::new, |remedy| format!("\n  remedy: {remedy}"));
            Failure::Failed(format!("overlay {:?}: {error}{remedy}", overlay.name))
        })?;
    }
    forget_others(&engine, &settings.overlays);
    let facts = Arc::new(Facts {
        name: settings.node.name.clone(),
        socket: settings.socket.clone(),
        data_dir: settings.node.data_dir.clone(),
        since: Instant::now(),
        ready_timeout: settings.node.ready_timeout,
    });
    let grants = state.read(|state| clients::grants(&given, state));
    let drain = Arc::new(Drain::new(Arc::downgrade(&engine), stop.clone()));
    let gateway = open_door(&engine, &settings, grants, Arc::clone(&facts), stop)?;
    let gateway = Arc::new(gateway);
    let telling = roster::tell(&engine);
    let on_change = {
        let (gateway, telling) = (Arc::downgrade(&gateway), telling.clone());
        Box::new(move || {
            if let Some(gateway) = gateway.upgrade() {
                gateway.refresh();
            }
            telling.refresh();
        })
    };
    let clients = Clients::new(Arc::downgrade(&gateway), Arc::clone(&state), given);
    let overlays = Overlays::new(
        Arc::downgrade(&engine),
        Arc::clone(&state),
        (base, settings.clone()),
        Arc::new(clients),
        on_change,
    );
    let overlays = Arc::new(overlays);
    let changes = Arc::clone(&overlays);
    let parts = http::Parts {
        engine: Arc::downgrade(&engine),
        certificate: sockets.certificate(&settings.http, &settings.node.data_dir),
        facts,
        state: Arc::clone(&state),
        overlays,
        drain: Arc::clone(&drain),
        metrics_open: settings.http.metrics_open,
        influx: settings.influx.clone(),
    };
    let service = Service::start(sockets, parts)?;
    service.started();
    let banner = banner(&engine, &settings, service.address());
    // Whoever started the node may have closed its standard output: it runs all the same.
    let _ = writeln!(std::io::stdout(), "{banner}");
    let notify = Arc::new(Notify::from_env());
    let watch = notify::watch(&notify, &engine, settings.node.ready_timeout);
    let reloading = Reloading::new(Arc::clone(&notify), service.reloader());
    let obeying = Obeying {
        drain,
        engine: &engine,
        reloading: &reloading,
    };
    let end = obeying.wait(&orders, &settings.node);
    drop(watch);
    reloading.end();
    notify.stopping();
    service.stopping();
    changes.stop();
    telling.stop();
    drop(gateway);
    drop(service);
    if end == End::Stay {
        engine.halt();
        tracing::info!("stopped without leaving");
        return Ok(());
    }
    leave(engine);
    tracing::info!("left and stopped");
    if end == End::Twin {
        return Err(Failure::Twin(settings.node.data_dir));
    }
    Ok(())
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It leaves its overlays.
    Leave,
    /// It stays a member, which the others wait for.
    Stay,
    /// It leaves because another has its id.
    Twin,
}

/// The state as it is now that no other node has the directory: one that was just stopping may have changed it since it was read.
fn read_again(loaded: Loaded) -> Result<(Arc<StateFile>, Loaded), Failure> {
    let state = StateFile::open(&loaded.settings.node.data_dir)
        .map_err(|error| Failure::Usage(format!("error: {error}\n  remedy: {}", error.remedy())))?;
    let loaded = match state.read(|now| (*now != loaded.state).then(|| now.clone())) {
        None => loaded,
        Some(now) => {
            load_with(loaded.base, now).map_err(|problems| Failure::Usage(problems.to_string()))?
        }
    };
    Ok((Arc::new(state), loaded))
}

/// What orders are about.
struct Obeying<'a> {
    drain: Arc<Drain>,
    engine: &'a Arc<Engine>,
    reloading: &'a Arc<Reloading>,
}

impl Obeying<'_> {
    fn drain(&self) {
        if let Err(error) = self.drain.begin(DRAIN_TIME) {
            tracing::warn!(%error, "the node cannot go out of service: no thread can be started");
        }
    }

    /// Obeys until the node is to stop; how.
    fn wait(&self, orders: &Taker, node: &NodeSettings) -> End {
        let mut settles = Some(Instant::now() + SETTLED);
        loop {
            match orders.next(settles) {
                Err(RecvTimeoutError::Timeout) => {
                    settles = None;
                    if node.tuning != Tuning::Latency {
                        memory::let_go_of_program();
                    }
                }
                Ok(Order::Reload) => self.reloading.begin(),
                Ok(Order::Dump) => dump::begin(self.engine, Depth::State),
                Ok(Order::DumpThreads) => dump::begin(self.engine, Depth::Threads),
                Ok(Order::Drain) => self.drain(),
                Ok(Order::Stop(stop)) => return say_why(stop, node.on_terminate),
                // The thread of the signals is gone, which it never is.
                Err(RecvTimeoutError::Disconnected) => {
                    tracing::warn!("signals can no longer be heard; leaving");
                    return End::Leave;
                }
            }
        }
    }
}

fn say_why(stop: Stop, on_terminate: OnTerminate) -> End {
    match stop {
        Stop::Command => {
            tracing::info!("leaving, as a client asked");
            std::thread::sleep(LAST_WORDS);
            End::Leave
        }
        Stop::Signal(SIGTERM) if on_terminate == OnTerminate::Stop => {
            tracing::info!("stopping without leaving: the others wait for this node");
            End::Stay
        }
        Stop::Signal(signal) => {
            tracing::info!(signal, "leaving; another signal stops at once");
            End::Leave
        }
        // Who saw it come has said so.
        Stop::Drained => End::Leave,
        Stop::Twin => End::Twin,
    }
}

/// Leaves every overlay. The engine may still be looked at by a thread that is about to end.
fn leave(engine: Arc<Engine>) {
    match Arc::try_unwrap(engine) {
        Ok(engine) => engine.shutdown(),
        Err(shared) => shared.leave(),
    }
}

/// A core dump would hold the keys, and so would what a debugger of the same user reads: from now on there is neither.
pub fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("warning: the keys will be in core dumps, should there be any: {error}");
    }
}

/// Each client takes a descriptor: the soft limit is raised to the hard one.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn start_engine(settings: &Settings, stop: Giver) -> Result<Engine, Failure> {
    let node = &settings.node;
    let mut builder = Engine::builder()
        .data_dir(&node.data_dir)
        .bind(node.bind)
        .advertise(node.advertise.clone())
        .name(node.name.clone())
        .rack(node.rack.clone())
        .metadata(node.metadata.clone())
        .tuning(node.tuning)
        .discovery(settings.discovery.clone())
        .on_notice(move |_, notice| {
            if *notice == Notice::IdConflict {
                stop.stop(Stop::Twin);
            }
        });
    builder = match node.tuning {
        Tuning::LowPower => builder,
        Tuning::Balanced => builder.on_load(memory::huge_pages),
        Tuning::Latency => {
            memory::huge_pages(true);
            builder
        }
    };
    builder = with_poll(builder, node.poll);
    if let Some(shards) = node.shards {
        builder = builder.shards(shards);
    }
    builder.start().map_err(|error| explain(error, node))
}

fn with_poll(builder: EngineBuilder, poll: config::Poll) -> EngineBuilder {
    match poll {
        config::Poll::Default => builder,
        config::Poll::Off => builder.poll(Poll::Off),
        config::Poll::Adaptive => builder.poll(Poll::Adaptive),
        config::Poll::For(time) => builder.poll(Poll::For(time)),
    }
}

fn explain(error: StartError, node: &NodeSettings) -> Failure {
    let remedy = match &error {
        StartError::Storage(StorageError::Held { .. }) => {
            format!(
                "stop that node, or give this one another directory than {} with --data-dir DIR",
                node.data_dir.display()
            )
        }
        // It may pass without a word of the configuration: whoever starts the node may try again.
        StartError::Storage(storage @ StorageError::Io(_, cause)) if is_full(cause) => {
            return Failure::Failed(format!("{error}\n  remedy: {}", storage_remedy(storage)));
        }
        StartError::Storage(_) => {
            "choose another directory with --data-dir DIR, or mend this one".to_owned()
        }
        StartError::Bind(addr, _) => format!(
            "another process may hold port {}: stop it, or choose another address with --bind {}:PORT",
            addr.port(),
            addr.ip()
        ),
        StartError::Setting(_) | StartError::Shard(_) => {
            "look at the configuration and at the limits of this user".to_owned()
        }
    };
    Failure::Usage(format!("error: {error}\n  remedy: {remedy}"))
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn open_door(
    engine: &Arc<Engine>,
    settings: &Settings,
    grants: Vec<Grant>,
    facts: Arc<Facts>,
    stop: Giver,
) -> Result<Gateway, Failure> {
    let config = GatewayConfig {
        socket: settings.socket.clone(),
        node_name: settings.node.name.clone(),
        grants,
        shard: settings.client_shard,
    };
    let control = NodeControl::new(engine, facts, stop);
    let gateway = Gateway::start(engine, config, Box::new(control)).map_err(|error| {
        Failure::Usage(format!(
            "error: clients cannot attach at {}: {error}\n  remedy: choose another path with --socket PATH",
            settings.socket.display()
        ))
    })?;
    // Somebody else may have made the folder between the first look and the socket.
    check_folder(&settings.socket)?;
    Ok(gateway)
}

/// Clients would refuse a socket that others may have put there.
fn check_folder(socket: &Path) -> Result<(), Failure> {
    tidings_client::check_folder(socket).map_err(|distrust| {
        Failure::Usage(format!(
            "error: clients cannot attach at {}: {distrust}\n  remedy: {}",
            socket.display(),
            distrust.remedy()
        ))
    })
}
