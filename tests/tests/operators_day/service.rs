//! What systemd does with the installed unit, as far as a node sees it: the folders, the user, the limits and the environment
//! of its process, the socket that it tells how it is, the watchdog, the reload and the stop.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidings_tests::blackbox::{Done, eventually};
use tidings_tests::host::Process;

use super::machine::{Machine, WITHIN, good};

/// The manager's socket in the host's system.
const NOTIFY: &str = "run/systemd/notify";

/// The installed unit.
pub(crate) struct Unit(String);

impl Unit {
    /// Reads what the package installed.
    #[track_caller]
    pub(crate) fn of(machine: &Machine<'_>) -> Self {
        let files = machine.good(&["dpkg", "-L", "tidings"]);
        let mut files = files.lines();
        let path = files
            .find(|path| path.ends_with("/systemd/system/tidings.service"))
            .expect("the package has a unit");
        Self(machine.read(path.trim_start_matches('/')))
    }

    /// Its text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// The value of a key.
    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> &str {
        let mut values = self
            .0
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values
            .next()
            .unwrap_or_else(|| panic!("{key} in {}", self.0))
    }

    /// A time in seconds, as the unit writes it.
    #[track_caller]
    fn seconds(&self, key: &str) -> Duration {
        let value = self
            .get(key)
            .strip_suffix('s')
            .and_then(|value| value.parse().ok());
        Duration::from_secs(value.unwrap_or_else(|| panic!("{key} in seconds")))
    }

    /// The script that becomes the process of the unit. Limits above those of the test's own machine stay at these.
    fn script(&self) -> String {
        let (user, group) = (self.get("User"), self.get("Group"));
        let (state, run) = (self.get("StateDirectory"), self.get("RuntimeDirectory"));
        let config = self.get("ConfigurationDirectory");
        let locked = self.get("LimitMEMLOCK").strip_suffix('M').expect("in MiB");
        let locked = locked.parse::<u64>().expect("a number") << 10;
        assert_eq!(self.get("CapabilityBoundingSet"), "");
        assert_eq!(self.get("NoNewPrivileges"), "yes");
        format!(
            "set -eu\n\
            rm -rf /run/{run}\n\
            install -d -o {user} -g {group} -m {} /run/{run}\n\
            install -d -o {user} -g {group} -m {} /var/lib/{state}\n\
            chmod {} /etc/{config}\n\
            ulimit -l {locked} || :; ulimit -n {} || :; ulimit -c {}; umask {}\n\
            exec setpriv --reuid={user} --regid={group} --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\\n\
            env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin USER={user} LOGNAME={user} HOME=/var/lib/{state} \\\n\
            RUNTIME_DIRECTORY=/run/{run} STATE_DIRECTORY=/var/lib/{state} CONFIGURATION_DIRECTORY=/etc/{config} \\\n\
            NOTIFY_SOCKET=/{NOTIFY} WATCHDOG_USEC={} WATCHDOG_PID=$$ \\\n\
            {}\n",
            self.get("RuntimeDirectoryMode"),
            self.get("StateDirectoryMode"),
            self.get("ConfigurationDirectoryMode"),
            self.get("LimitNOFILE"),
            self.get("LimitCORE"),
            self.get("UMask"),
            self.seconds("WatchdogSec").as_micros(),
            self.get("ExecStart"),
        )
    }
}

/// The manager of one host's service: what the node told it, and when.
struct Manager {
    told: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Manager {
    fn listen(machine: &Machine<'_>) -> Self {
        let path = machine.file(NOTIFY);
        let socket = UnixDatagram::bind(&path).expect("a socket in the host's system");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::downgrade(&told);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Some(log) = log.upgrade() {
                if let Ok(len) = socket.recv(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push((Instant::now(), text));
                }
            }
        });
        Self { told }
    }

    fn told(&self) -> Vec<(Instant, String)> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The service of one host, running or not.
pub(crate) struct Service<'a> {
    machine: &'a Machine<'a>,
    unit: Unit,
    manager: Manager,
    process: Option<Process>,
    /// What was told before this start.
    before: usize,
}

impl<'a> Service<'a> {
    /// Of a host on which the package is installed; not started yet.
    pub(crate) fn of(machine: &'a Machine<'a>) -> Self {
        Self {
            machine,
            unit: Unit::of(machine),
            manager: Manager::listen(machine),
            process: None,
            before: 0,
        }
    }

    /// The host that it runs on.
    pub(crate) fn machine(&self) -> &'a Machine<'a> {
        self.machine
    }

    /// Runs ExecStart as the unit says, and waits until the node tells that it is ready.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        assert_eq!(self.unit.get("Type"), "notify");
        // An upgrade may have changed it.
        self.unit = Unit::of(self.machine);
        self.before = self.manager.told().len();
        let command: Command = self.machine.command(&["sh", "-c", &self.unit.script()]);
        let process = self.process.insert(self.machine.spawn("service", command));
        let what = format!("READY=1 of {}", self.machine.name());
        eventually(&what, WITHIN, || {
            assert!(process.is_running(), "{:.1000}", process.stderr());
            self.manager.told()[self.before..]
                .iter()
                .any(|(_, text)| text == "READY=1")
        });
    }

    /// What the manager was told since the start, the status left out.
    fn told(&self) -> Vec<(Instant, String)> {
        let told = self.manager.told().split_off(self.before);
        told.into_iter()
            .filter(|(_, text)| !text.starts_with("STATUS="))
            .collect()
    }

    /// How often a text was told since the start.
    fn count(&self, wanted: &str) -> usize {
        self.told()
            .iter()
            .filter(|(_, text)| text.starts_with(wanted))
            .count()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started")
    }

    /// The last status that the manager could show.
    pub(crate) fn status(&self) -> String {
        let told = self.manager.told().split_off(self.before);
        let status = told
            .iter()
            .rev()
            .find_map(|(_, text)| text.strip_prefix("STATUS="));
        status.unwrap_or_default().to_owned()
    }

    /// `systemctl reload`: ExecReload, then the node tells that it reloads, and that it is ready again.
    #[track_caller]
    pub(crate) fn reload(&self) {
        let reload = self.unit.get("ExecReload");
        let reload = reload.replace("$MAINPID", &self.process().id().to_string());
        let (reloads, readies) = (self.count("RELOADING=1"), self.count("READY=1"));
        self.machine.good(&reload.split(' ').collect::<Vec<_>>());
        eventually("RELOADING=1, then READY=1", WITHIN, || {
            self.count("RELOADING=1") > reloads && self.count("READY=1") > readies
        });
        let told = self.told();
        let last = |wanted: &str| told.iter().rposition(|(_, text)| text.starts_with(wanted));
        assert!(
            last("RELOADING=1\nMONOTONIC_USEC=") < last("READY=1"),
            "{told:?}"
        );
    }

    /// The watchdog was fed all the time: the manager had no reason to kill it.
    #[track_caller]
    fn was_fed(&self, until: Instant) {
        let limit = self.unit.seconds("WatchdogSec");
        let told = self.told();
        let fed: Vec<Instant> = told
            .iter()
            .filter(|(_, text)| text == "READY=1" || text == "WATCHDOG=1")
            .map(|(at, _)| *at)
            .chain([until])
            .collect();
        assert!(self.count("WATCHDOG=1") > 0, "{told:?}");
        let hungry = fed.windows(2).find(|pair| pair[1] - pair[0] > limit);
        assert!(
            hungry.is_none(),
            "{} told nothing for {limit:?}",
            self.machine.name()
        );
    }

    /// `systemctl stop`: the signal of the unit; the node tells that it stops, and ends well within the unit's time.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        assert_eq!(self.unit.get("KillSignal"), "SIGINT");
        self.end_by(Process::int);
    }

    /// `systemctl restart`: the other signal of the unit, then a start.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert_eq!(self.unit.get("RestartKillSignal"), "SIGTERM");
        self.end_by(Process::term);
        self.start();
    }

    #[track_caller]
    fn end_by(&mut self, signal: fn(&Process) -> std::io::Result<()>) {
        self.was_fed(Instant::now());
        signal(self.process()).expect("it runs");
        let limit = self.unit.seconds("TimeoutStopSec");
        let process = self.process.take().expect("it runs");
        let done = Done::of(&process, limit);
        good(&self.machine.name(), &["the service"], done);
        eventually("STOPPING=1", WITHIN, || self.count("STOPPING=1") == 1);
        let run = self.unit.get("RuntimeDirectory");
        self.machine.good(&["rm", "-rf", &format!("/run/{run}")]);
    }

    /// The node has been told to leave and ends by itself.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let process = self.process.take().expect("it runs");
        good(
            &self.machine.name(),
            &["the service"],
            Done::of(&process, WITHIN),
        );
        eventually("STOPPING=1", WITHIN, || self.count("STOPPING=1") == 1);
    }

    /// `kill -9`. The unit has the manager start it again, which is left to the caller.
    #[track_caller]
    pub(crate) fn kill9(&mut self) {
        assert_eq!(self.unit.get("Restart"), "on-failure");
        self.was_fed(Instant::now());
        self.process
            .take()
            .expect("it runs")
            .kill9()
            .expect("its end");
    }
}
