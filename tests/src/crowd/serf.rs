//! A crowd of Serf agents with default settings and an encryption key, watched through their logs.

use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::herd::{Herd, Sight, What};
use super::tails::Tails;
use crate::blackbox::eventually;
use crate::host::{Process, Usage};
use crate::lab::Lab;

const PORT: u16 = 7946;
/// Inside each host's own namespace.
const RPC: &str = "127.0.0.1:7373";

/// The agents.
pub struct SerfHerd {
    agents: Mutex<Vec<Option<Arc<Process>>>>,
    lab: Lab,
    key: String,
    version: String,
    sights: Receiver<Sight>,
    tell: Sender<Sight>,
    tails: Tails,
    followed: OnceLock<()>,
    starts: Mutex<usize>,
}

impl SerfHerd {
    /// So many agents; none runs yet. `None` if there is no `serf` on this machine.
    pub fn new(nodes: usize) -> Option<SerfHerd> {
        let run = |arg| Command::new("serf").arg(arg).output().ok();
        let key = String::from_utf8_lossy(&run("keygen")?.stdout)
            .trim()
            .to_owned();
        let version = String::from_utf8_lossy(&run("version")?.stdout).into_owned();
        let (tell, sights) = channel();
        Some(SerfHerd {
            agents: Mutex::new(vec![None; nodes]),
            lab: Lab::builder().hosts(nodes).build().expect("a lab"),
            key,
            version: version.lines().next().unwrap_or("").to_owned(),
            sights,
            tell,
            tails: Tails::default(),
            followed: OnceLock::new(),
            starts: Mutex::new(0),
        })
    }

    fn agent(&self, number: usize) -> Arc<Process> {
        let agents = self.agents.lock().expect("no thread panics with it");
        agents[number - 1].clone().expect("it was started")
    }

    fn follow(&self) {
        self.followed.get_or_init(|| {
            let (tails, tell) = (self.tails.clone(), self.tell.clone());
            std::thread::spawn(move || {
                tails.run(|by, line| sight(by, line).is_none_or(|sight| tell.send(sight).is_ok()));
            });
        });
    }
}

/// What a line of an agent's log tells.
fn sight(by: usize, line: &str) -> Option<Sight> {
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
    let (what, rest) = if let Some(rest) = after("serf: EventMemberJoin: ") {
        (What::Alive, rest)
    } else if let Some(rest) = after("serf: EventMemberFailed: ") {
        (What::Dead, rest)
    } else if let Some(rest) = after("memberlist: Suspect ") {
        (What::Suspect, rest)
    } else if after("agent: Received event: user-event: ").is_some() {
        (What::Message, "n0")
    } else {
        return None;
    };
    let name = rest.split(' ').next()?;
    let of = name.strip_prefix('n')?.parse().ok()?;
    Some(Sight {
        at: Instant::now(),
        by,
        of,
        what,
    })
}

impl Herd for SerfHerd {
    fn name(&self) -> String {
        self.version.clone()
    }

    fn start(&self, number: usize) -> Instant {
        let host = self.lab.host(number);
        let mut command = host.command("serf");
        command
            .args(["agent", "-node", &format!("n{number}"), "-rpc-addr", RPC])
            .args(["-bind", &format!("{}:{PORT}", host.ip4())])
            .args(["-encrypt", &self.key]);
        if number != 1 {
            let seed = format!("{}:{PORT}", self.lab.host(1).ip4());
            command.args(["-retry-join", &seed, "-retry-interval", "1s"]);
        }
        let mut starts = self.starts.lock().expect("no thread panics with it");
        *starts += 1;
        let at = Instant::now();
        let name = format!("serf-{number}-{starts}");
        let agent = Arc::new(host.spawn(&name, command).expect("serf starts"));
        self.tails.follow(number, agent.stdout_path().to_owned());
        let errors = agent.stdout_path().with_extension("err");
        self.tails.follow(number, errors);
        self.follow();
        eventually("an agent runs", Duration::from_secs(20), || {
            agent.stdout().contains("Serf agent running!")
        });
        let mut agents = self.agents.lock().expect("no thread panics with it");
        agents[number - 1] = Some(agent);
        at
    }

    fn kill(&self, number: usize) {
        self.agent(number).kill9().expect("its end");
    }

    fn freeze(&self, number: usize) {
        self.agent(number).stop().expect("it runs");
    }

    fn thaw(&self, number: usize) {
        self.agent(number).cont().expect("it runs");
    }

    fn plug(&self, number: usize, plugged: bool) {
        if plugged {
            self.lab.plug(number);
        } else {
            self.lab.unplug(number);
        }
    }

    fn speak(&self, number: usize) -> Instant {
        let mut command = self.lab.host(number).command("serf");
        let payload = "7".repeat(64);
        command.args([
            "event",
            "-rpc-addr",
            RPC,
            "-coalesce=false",
            "hello",
            &payload,
        ]);
        let at = Instant::now();
        let process = self
            .lab
            .host(number)
            .spawn("event", command)
            .expect("serf starts");
        process.wait(Duration::from_secs(10)).expect("its end");
        at
    }

    fn usage(&self, number: usize) -> Usage {
        self.agent(number).usage().expect("it runs")
    }

    fn sights(&self) -> &Receiver<Sight> {
        &self.sights
    }
}
