//! What the service manager is told, as sd_notify(3) has it: datagrams of `NAME=value` lines to the socket that `NOTIFY_SOCKET`
//! names. A thread of its own tells when the node is ready, and from then on who is there and that every shard still answers;
//! `start` tells when it stops, whoever reloads the configuration tells that. Without such a variable nothing is told and no
//! thread runs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tidings_engine::{Engine, EngineError, MemberState};

use super::view;

/// How often the status line is made where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// The watchdog is answered no more often than this, whatever it asks for.
const BEAT_MIN: Duration = Duration::from_millis(10);
/// How often it is looked whether the node still waits for others.
const READY_LOOK: Duration = Duration::from_millis(50);
/// The same once it has waited for so long.
const READY_SOON: Duration = Duration::from_secs(5);
const READY_LOOK_LATER: Duration = Duration::from_millis(500);
/// How long a manager whose queue is full is waited for.
const SEND_WAIT: Duration = Duration::from_secs(1);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    link: Option<Link>,
    /// The manager kills a node that is silent for so long.
    watchdog: Option<Duration>,
    /// It was told that the node is ready.
    is_ready: AtomicBool,
}

#[derive(Debug)]
struct Link {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notify {
    /// As the environment says. What it says wrong is logged, and no reason not to run.
    pub fn from_env() -> Self {
        let variable = |name| env::var_os(name);
        let Some(path) = variable("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        let link = Link::to(&path).map_err(|error| {
            let socket = path.display();
            tracing::warn!(%socket, %error, "NOTIFY_SOCKET cannot be used: the service manager is told nothing");
        });
        Self {
            link: link.ok(),
            watchdog: watchdog(
                variable("WATCHDOG_USEC"),
                variable("WATCHDOG_PID"),
                std::process::id(),
            ),
            is_ready: AtomicBool::new(false),
        }
    }

    /// The node is ready.
    fn ready(&self) {
        self.tell("READY=1");
        self.is_ready.store(true, Ordering::Release);
    }

    /// The node reads its configuration anew; [`Self::reloaded`] ends that. Of a node that is not ready nothing is told: it would be
    /// taken for ready by the end of it.
    pub fn reloading(&self) {
        if !self.is_ready.load(Ordering::Acquire) {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}"));
    }

    /// The node has taken its new configuration, or refused it.
    pub fn reloaded(&self) {
        if self.is_ready.load(Ordering::Acquire) {
            self.tell("READY=1");
        }
    }

    /// The node leaves.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, lines: &str) {
        let Some(link) = &self.link else { return };
        if let Err(error) = link.socket.send_to_addr(lines.as_bytes(), &link.to) {
            tracing::warn!(%error, lines, "the service manager cannot be told");
        }
    }
}

impl Link {
    /// `@` begins a name that is on no disk.
    fn to(path: &OsStr) -> io::Result<Self> {
        let to = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(Path::new(path))?,
            _ => return Err(io::Error::other("neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_WAIT))?;
        Ok(Self { socket, to })
    }
}

/// How long the manager bears silence; `None` if it asks for no sign of life, or asks another process.
fn watchdog(usec: Option<OsString>, asked: Option<OsString>, own: u32) -> Option<Duration> {
    if asked.is_some_and(|pid| pid != OsStr::new(&own.to_string())) {
        return None;
    }
    let usec = usec?;
    let time = usec.to_str().and_then(|usec| usec.parse().ok());
    if time.is_none_or(|time: u64| time == 0) {
        let value = usec.display();
        tracing::warn!(%value, "WATCHDOG_USEC is no number of microseconds: the watchdog gets no sign of life");
    }
    time.filter(|time| *time > 0).map(Duration::from_micros)
}

/// The thread that tells how the node is; it ends when this is dropped.
pub struct Watch {
    _end: Option<SyncSender<()>>,
}

/// Tells when the node is ready, `ready_timeout` from now at the latest, and from then on the status, and the watchdog of every time
/// that all shards answered.
pub fn watch(notify: &Arc<Notify>, engine: &Arc<Engine>, ready_timeout: Duration) -> Watch {
    if notify.link.is_none() {
        return Watch { _end: None };
    }
    let (end, ended) = sync_channel(0);
    let (of_thread, engine) = (Arc::clone(notify), Arc::downgrade(engine));
    let period = notify.watchdog.map_or(STATUS_EVERY, |time| time / 2);
    let started = thread::Builder::new()
        .name("tidings-notify".to_owned())
        .spawn(move || {
            if !wait_until_ready(&engine, &ended, ready_timeout) {
                return;
            }
            of_thread.ready();
            let mut last = String::new();
            while tell(&of_thread, &engine, &mut last)
                && ended.recv_timeout(period.max(BEAT_MIN)) == Err(RecvTimeoutError::Timeout)
            {
            }
        });
    if let Err(error) = started {
        tracing::warn!(%error, "the service manager gets no status and no sign of life");
        notify.ready();
    }
    Watch { _end: Some(end) }
}

/// Waits until every overlay has what it waits for, at most so long. False: the node ends before that.
fn wait_until_ready(engine: &Weak<Engine>, ended: &Receiver<()>, at_most: Duration) -> bool {
    let (begun, mut look) = (Instant::now(), READY_LOOK);
    let until = begun + at_most;
    loop {
        let Some(engine) = engine.upgrade() else {
            return false;
        };
        let is_ready = engine.stats().is_ok_and(|stats| {
            let mut overlays = stats.overlays.iter();
            overlays.all(|overlay| view::is_ready(overlay.sync, false))
        });
        // Nobody is kept from stopping it meanwhile.
        drop(engine);
        if is_ready || Instant::now() >= until {
            return true;
        }
        if begun.elapsed() > READY_SOON {
            look = READY_LOOK_LATER;
        }
        if ended.recv_timeout(look) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
    }
}

/// Whether to go on: there is a node.
fn tell(notify: &Notify, engine: &Weak<Engine>, last: &mut String) -> bool {
    let Some(engine) = engine.upgrade() else {
        return false;
    };
    let status = match status(&engine) {
        Ok(status) => {
            if notify.watchdog.is_some() {
                notify.tell("WATCHDOG=1");
            }
            status
        }
        Err(error) => {
            tracing::error!(%error, "a shard does not answer: no sign of life for the watchdog");
            format!("a shard does not answer: {error}")
        }
    };
    if status != *last {
        notify.tell(&format!("STATUS={status}"));
        *last = status;
    }
    true
}

/// Who is there. An error: a shard does not answer; all are asked, those without an overlay, too.
fn status(engine: &Engine) -> Result<String, EngineError> {
    let overlays = engine.stats()?.overlays;
    let mut alive = Vec::with_capacity(overlays.len());
    let mut suspect = 0;
    for overlay in &overlays {
        // An overlay that is gone by now has no members.
        let members = engine.members(overlay.id).unwrap_or_default();
        let count = |state| {
            members
                .iter()
                .filter(|member| member.state == state)
                .count()
        };
        alive.push(count(MemberState::Alive));
        suspect += count(MemberState::Suspect);
    }
    Ok(line(&alive, suspect))
}

/// `alive`: members by overlay.
fn line(alive: &[usize], suspect: usize) -> String {
    let members: usize = alive.iter().sum();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!(
        "{} overlay{}, {members} member{} alive, {suspect} suspect",
        alive.len(),
        plural(alive.len()),
        plural(members)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<OsString> {
        Some(text.into())
    }

    #[test]
    fn the_watchdog_of_another_process_and_nonsense_are_passed_over() {
        let time = Some(Duration::from_secs(1));
        assert_eq!(watchdog(some("1000000"), None, 7), time);
        assert_eq!(watchdog(some("1000000"), some("7"), 7), time);
        assert_eq!(watchdog(some("1000000"), some("8"), 7), None);
        assert_eq!(watchdog(some("1000000"), some("x"), 7), None);
        for usec in ["", "0", "-1", "soon", "99999999999999999999"] {
            assert_eq!(watchdog(some(usec), None, 7), None, "{usec}");
        }
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn a_reload_is_told_with_the_time_at_which_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify {
            link: Some(Link::to(path.as_os_str()).unwrap()),
            ..Notify::default()
        };
        let mut bytes = [0; 256];
        // Before it is ready nothing is told, or the end of it would be taken for that.
        notify.reloading();
        notify.reloaded();
        notify.ready();
        let len = manager.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"READY=1");
        notify.reloading();
        notify.reloaded();
        let len = manager.recv(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..len]).unwrap();
        let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0, "{text}");
        let len = manager.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"READY=1");
    }

    #[test]
    fn a_manager_that_is_gone_or_has_no_address_keeps_nobody_from_running() {
        let dir = tempfile::tempdir().unwrap();
        let nobody = Link::to(dir.path().join("nobody").as_os_str()).unwrap();
        let notify = Notify {
            link: Some(nobody),
            ..Notify::default()
        };
        notify.ready();
        Notify::default().stopping();
        for bad in ["relative", "vsock:2:1", ""] {
            assert!(Link::to(OsStr::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_status_counts_overlays_and_members() {
        assert_eq!(line(&[], 0), "0 overlays, 0 members alive, 0 suspect");
        assert_eq!(line(&[1], 0), "1 overlay, 1 member alive, 0 suspect");
        assert_eq!(line(&[40, 2], 1), "2 overlays, 42 members alive, 1 suspect");
    }
}
