//! From checked settings to a running node, and from a signal to a left one.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use tidings_engine::gateway::{Gateway, GatewayConfig, Grant};
use tidings_engine::{
    Engine, EngineBuilder, Keyring, Notice, OverlayConfig, Poll, Profile, Redelivery, StartError,
    StorageError, Suite, Tuning, memory,
};
use tidings_wire::Pattern;

use super::banner::banner;
use super::control::{Facts, NodeControl};
use super::signals::{self, Stop};
use super::{log, roster};
use crate::config::clients::ClientGrant;
use crate::config::{self, Key, NodeSettings, OverlaySettings, Settings};
use crate::load::{Loaded, generate_key};
use crate::output::Failure;

/// A node has started and joined by then: what only that needs of the program need not stay in memory.
const SETTLED: Duration = Duration::from_secs(10);
/// How long the answer to a client's `leave` may take to reach it before its connection goes.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runs a node until it is told to stop.
pub fn run(loaded: Loaded) -> Result<(), Failure> {
    log::start();
    raise_file_limit();
    let (stop, stopped) = signals::listen().map_err(Failure::new)?;
    let Loaded {
        settings,
        keyrings,
        clients,
    } = loaded;
    check_folder(&settings.socket)?;
    let engine = Arc::new(start_engine(&settings.node, stop.clone())?);
    let mut suites = Vec::new();
    for (overlay, keyring) in settings.overlays.iter().zip(keyrings) {
        let suite = start_overlay(&engine, &settings, overlay, keyring)?;
        suites.push((overlay.name.clone(), suite));
    }
    let gateway = open_door(&engine, &settings, clients, suites, stop)?;
    let telling = roster::tell(&engine);
    // Whoever started the node may have closed its standard output: it runs all the same.
    let _ = writeln!(std::io::stdout(), "{}", banner(&engine, &settings));
    let is_twin = wait(&stopped, settings.node.tuning);
    telling.stop();
    drop(gateway);
    leave(engine);
    tracing::info!("left and stopped");
    if is_twin {
        return Err(Failure::Twin(settings.node.data_dir));
    }
    Ok(())
}

/// Waits until the node is to stop; whether that is because another has its id.
fn wait(stopped: &Receiver<Stop>, tuning: Tuning) -> bool {
    let mut stop = stopped.recv_timeout(SETTLED);
    if stop == Err(RecvTimeoutError::Timeout) {
        if tuning != Tuning::Latency {
            memory::let_go_of_program();
        }
        stop = stopped.recv().map_err(RecvTimeoutError::from);
    }
    match stop {
        Ok(Stop::Command) => {
            tracing::info!("leaving, as a client asked");
            std::thread::sleep(LAST_WORDS);
        }
        Ok(Stop::Signal(signal)) => {
            tracing::info!(signal, "leaving; another signal stops at once");
        }
        // The engine has said so.
        Ok(Stop::Twin) => {}
        // The thread of the signals is gone, which it never is.
        Err(_) => tracing::warn!("signals can no longer be heard; leaving"),
    }
    stop == Ok(Stop::Twin)
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

fn start_engine(node: &NodeSettings, stop: SyncSender<Stop>) -> Result<Engine, Failure> {
    let mut builder = Engine::builder()
        .data_dir(&node.data_dir)
        .bind(node.bind)
        .advertise(node.advertise.clone())
        .name(node.name.clone())
        .rack(node.rack.clone())
        .metadata(node.metadata.clone())
        .profile(profile(node.profile))
        .tuning(node.tuning)
        .on_notice(move |_, notice| {
            if *notice == Notice::IdConflict {
                // Whoever waits has gone: the node stops already.
                let _ = stop.try_send(Stop::Twin);
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

fn profile(profile: config::Profile) -> Profile {
    match profile {
        config::Profile::Lan => Profile::LAN,
        config::Profile::Wan => Profile::WAN,
        config::Profile::Local => Profile::LOCAL,
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

fn start_overlay(
    engine: &Engine,
    settings: &Settings,
    overlay: &OverlaySettings,
    keyring: Option<Keyring>,
) -> Result<&'static str, Failure> {
    let failed = |what: String| Failure::Failed(format!("overlay {:?}: {what}", overlay.name));
    let keyring = match (keyring, &overlay.key) {
        (Some(keyring), _) => keyring,
        (None, Key::Generated(path) | Key::File(path)) => {
            generate_key(overlay, path).map_err(|error| {
                failed(format!(
                    "its key cannot be made at {}: {error}",
                    path.display()
                ))
            })?
        }
    };
    let suite = keyring
        .suite(keyring.primary_slot())
        .map_or("", Suite::name);
    let mut config = OverlayConfig::new(&overlay.name, keyring);
    config.join.clone_from(&overlay.join);
    config.max_message = overlay.max_message;
    config.max_datagram = overlay.max_datagram;
    config.retain = overlay.retain;
    config.shard = overlay.shard;
    config.park_max = nanos(overlay.park_max);
    config.client_grace = nanos(settings.client_grace);
    engine
        .add_overlay(config)
        .map_err(|error| failed(error.to_string()))?;
    Ok(suite)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn open_door(
    engine: &Arc<Engine>,
    settings: &Settings,
    clients: Vec<ClientGrant>,
    suites: Vec<(String, &'static str)>,
    stop: SyncSender<Stop>,
) -> Result<Gateway, Failure> {
    let redelivery = settings.overlays.iter().map(|overlay| {
        let every_ms = u32::try_from(overlay.every.as_millis()).unwrap_or(u32::MAX);
        (
            overlay.name.clone(),
            Redelivery {
                attempts: overlay.attempts,
                every_ms,
            },
        )
    });
    let config = GatewayConfig {
        socket: settings.socket.clone(),
        node_name: settings.node.name.clone(),
        grants: clients.into_iter().map(grant).collect(),
        redelivery: redelivery.collect::<HashMap<_, _>>(),
        shard: settings.client_shard,
    };
    let facts = Facts {
        name: settings.node.name.clone(),
        socket: settings.socket.clone(),
        data_dir: settings.node.data_dir.clone(),
        since: Instant::now(),
        suites,
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

fn grant(client: ClientGrant) -> Grant {
    // The client file was checked: what is no pattern is not in it.
    let patterns = |texts: Vec<String>| {
        texts
            .iter()
            .filter_map(|text| Pattern::parse(text).ok())
            .collect()
    };
    Grant {
        name: client.name,
        secret: client.secret,
        overlays: client.overlays,
        publish: patterns(client.publish),
        subscribe: patterns(client.subscribe),
    }
}
