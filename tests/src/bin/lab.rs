//! `lab`: hosts and a bad network between them, for trying things by hand and in scripts. What it makes vanishes with it.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidings_tests::host::Host;
use tidings_tests::lab::{self, Burst, Classes, Impairment, Lab, Rate};

/// Makes hosts with a bad network between them and runs a command on them.
///
/// Every host is a network namespace with one interface at 10.77.0.N/24 and fd77::N/64. COMMAND runs once, outside the
/// hosts, or with --each inside every host; a single word is given to a shell. It finds these in its environment:
/// TIDINGS_LAB_HOSTS (how many), TIDINGS_LAB_HOST_1 and so on (paths to the namespaces, for `nsenter --net=PATH` or
/// `lab --enter PATH`), TIDINGS_LAB_IP4_1, TIDINGS_LAB_IP6_1, and inside a host TIDINGS_LAB_SELF (its number). When it
/// ends, the counters are printed and everything vanishes.
///
/// A SPEC is a list like `delay=5ms,loss=2%`; its keys are those of the options, and also: clear, corrupt-through,
/// queue (after rate), cut, cut=pair+fan. LINKS is FROM-TO, both a number or `*`.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Options {
    /// How many hosts
    #[arg(long, default_value_t = 2)]
    hosts: usize,
    /// One-way delay: 5ms, 250us
    #[arg(long, value_parser = lab::parse_duration, value_name = "TIME")]
    delay: Option<Duration>,
    /// The delay varies by up to this much
    #[arg(long, value_parser = lab::parse_duration, value_name = "TIME")]
    jitter: Option<Duration>,
    /// Jitter lets no packet overtake another
    #[arg(long)]
    in_order: bool,
    /// Share of packets lost
    #[arg(long, value_parser = lab::parse_share, value_name = "SHARE")]
    loss: Option<f64>,
    /// Losses in runs: how often one begins, how many packets it lasts, how much of it is lost: 1%:4 or 1%:4:50%
    #[arg(long, value_parser = lab::parse_burst, value_name = "SHARE:RUN[:SHARE]")]
    burst: Option<Burst>,
    /// Share of packets that arrive twice
    #[arg(long, value_parser = lab::parse_share, value_name = "SHARE")]
    duplicate: Option<f64>,
    /// Share of packets sent ahead without delay
    #[arg(long, value_parser = lab::parse_share, value_name = "SHARE")]
    ahead: Option<f64>,
    /// Share of packets with one flipped bit
    #[arg(long, value_parser = lab::parse_share, value_name = "SHARE")]
    corrupt: Option<f64>,
    /// Loss, bursts, duplication, ahead and corruption hit only these classes: hello pair bulk fan udp icmp tcp other
    #[arg(long, value_name = "CLASS+CLASS")]
    only: Option<Classes>,
    /// Bits per second: 100mbit
    #[arg(long, value_parser = lab::parse_rate, value_name = "RATE")]
    rate: Option<u64>,
    /// Bytes that wait for the rate
    #[arg(long, value_parser = lab::parse_bytes, value_name = "BYTES", requires = "rate")]
    queue: Option<usize>,
    /// Settings of some links: 1-2:delay=50ms
    #[arg(long, value_name = "LINKS:SPEC")]
    link: Vec<Change>,
    /// Settings from some time on: 3s:1-*:cut
    #[arg(long, value_parser = parse_at, value_name = "TIME:LINKS:SPEC")]
    at: Vec<(Duration, Change)>,
    /// Decides the fate of every packet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Largest IP packet
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// Hosts ask for each other by ARP instead of knowing each other
    #[arg(long)]
    discovery: bool,
    /// A kernel bridge without impairment, over which offload batches stay whole
    #[arg(long)]
    bridge: bool,
    /// Captures every directed link into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "bridge")]
    pcap: Option<PathBuf>,
    /// Counts frames that contain this text
    #[arg(long, value_name = "TEXT", conflicts_with = "bridge")]
    search: Vec<String>,
    /// How the counters are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where the counters go, instead of the standard output
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Runs COMMAND in every host
    #[arg(long, requires = "command")]
    each: bool,
    /// Prints how to enter the hosts and takes orders from the standard input: LINKS:SPEC, unplug N, plug N, report, quit
    #[arg(long, conflicts_with = "command")]
    shell: bool,
    /// Runs COMMAND in a namespace of a running lab, and does nothing else
    #[arg(long, value_name = "PATH", requires = "command")]
    enter: Option<PathBuf>,
    /// Says whether a lab can run on this machine, and does nothing else
    #[arg(long)]
    check: bool,
    /// What to run
    #[arg(last = true, required_unless_present_any = ["shell", "check"])]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Settings for some links. `None` means any host.
#[derive(Clone, Debug)]
struct Change {
    from: Option<usize>,
    to: Option<usize>,
    spec: String,
}

impl std::str::FromStr for Change {
    type Err = String;
    fn from_str(text: &str) -> Result<Change, String> {
        let wrong = || format!("`{text}` is not LINKS:SPEC, such as 1-2:loss=2%");
        let (links, spec) = text.split_once(':').ok_or_else(wrong)?;
        let (from, to) = links.split_once('-').ok_or_else(wrong)?;
        let host = |text: &str| match text {
            "*" => Ok(None),
            number => number.parse().map(Some).map_err(|_| wrong()),
        };
        Impairment::default().apply(spec)?;
        Ok(Change {
            from: host(from)?,
            to: host(to)?,
            spec: spec.into(),
        })
    }
}

fn parse_at(text: &str) -> Result<(Duration, Change), String> {
    let (time, change) = text
        .split_once(':')
        .ok_or("not TIME:LINKS:SPEC, such as 3s:1-*:cut")?;
    Ok((lab::parse_duration(time)?, change.parse()?))
}

impl Change {
    fn make(&self, lab: &Lab) -> Result<(), String> {
        let hosts = lab.hosts().len();
        if [self.from, self.to]
            .into_iter()
            .flatten()
            .any(|host| !(1..=hosts).contains(&host))
        {
            return Err(format!("hosts are numbered 1 to {hosts}"));
        }
        let meant = |wanted: Option<usize>, host| wanted.is_none_or(|wanted| wanted == host);
        let mut result = Ok(());
        lab.change(|from, to, link| {
            if meant(self.from, from) && meant(self.to, to) {
                result = link.apply(&self.spec);
            }
        });
        result
    }
}

impl Options {
    fn impairment(&self) -> Impairment {
        let none = Impairment::default();
        let rate = |bits_per_second| Rate {
            bits_per_second,
            queue: self.queue.unwrap_or(Rate::QUEUE),
        };
        Impairment {
            delay: self.delay.unwrap_or_default(),
            jitter: self.jitter.unwrap_or_default(),
            in_order: self.in_order,
            loss: self.loss.unwrap_or_default(),
            burst: self.burst,
            duplicate: self.duplicate.unwrap_or_default(),
            ahead: self.ahead.unwrap_or_default(),
            corrupt: self.corrupt.unwrap_or_default(),
            only: self.only.unwrap_or(none.only),
            rate: self.rate.map(rate),
            ..none
        }
    }

    fn build(&self) -> io::Result<Lab> {
        let mut builder = Lab::builder()
            .hosts(self.hosts)
            .seed(self.seed)
            .mtu(self.mtu)
            .impairment(self.impairment());
        if self.bridge {
            builder = builder.bridge();
        }
        if self.discovery {
            builder = builder.discovery();
        }
        if let Some(folder) = &self.pcap {
            builder = builder.pcap(folder);
        }
        builder.build()
    }

    /// COMMAND, or a shell that runs it if it is one word.
    fn words(&self) -> Vec<&str> {
        match self.command.as_slice() {
            [line] => vec!["/bin/sh", "-c", line],
            words => words.iter().map(String::as_str).collect(),
        }
    }

    fn print(&self, lab: &Lab) -> io::Result<()> {
        let report = lab.report()?;
        let text = match self.format {
            Format::Text => report.to_string(),
            Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        };
        match &self.report {
            Some(path) => std::fs::write(path, text),
            None => io::stdout().write_all(text.as_bytes()),
        }
    }
}

/// What the main loop hears of.
enum Event {
    Ended(io::Result<u8>),
    Order(String),
    Signal,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = if options.check {
        check()
    } else if let Some(namespace) = &options.enter {
        enter(namespace, &options)
    } else {
        run(&options)
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> io::Result<u8> {
    let told = [
        ("switch", lab::available()),
        ("bridge", lab::bridge_available()),
    ]
    .map(|(name, result)| {
        println!(
            "{name}: {}",
            result
                .as_ref()
                .map_or_else(|missing| format!("no: {missing}"), |()| "yes".into())
        );
        result.is_ok()
    });
    Ok(u8::from(told.contains(&false)))
}

fn enter(namespace: &Path, options: &Options) -> io::Result<u8> {
    lab::enter(namespace)?;
    let words = options.words();
    Err(Command::new(words[0]).args(&words[1..]).exec())
}

fn run(options: &Options) -> io::Result<u8> {
    if options.bridge && !(options.link.is_empty() && options.at.is_empty()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a bridge does not impair: leave out --link and --at",
        ));
    }
    // Before any other thread, so that no signal finds the default action in place.
    let signals = Signals::new([SIGINT, SIGTERM])?;
    let lab = options.build()?;
    for change in &options.link {
        change.make(&lab).map_err(io::Error::other)?;
    }
    for text in &options.search {
        lab.search(text.as_bytes());
    }
    let (events, heard) = channel();
    listen(signals, events.clone());
    let running = if options.shell {
        print_doors(&lab);
        take_orders(events);
        1
    } else {
        start(options, &lab, &events)?
    };
    let code = attend(options, &lab, &heard, running)?;
    options.print(&lab)?;
    Ok(code)
}

fn listen(mut signals: Signals, events: Sender<Event>) {
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if events.send(Event::Signal).is_err() {
                return;
            }
        }
    });
}

fn take_orders(events: Sender<Event>) {
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if events.send(Event::Order(line)).is_err() {
                return;
            }
        }
    });
}

/// Starts the command, once or in every host; returns how many now run.
fn start(options: &Options, lab: &Lab, events: &Sender<Event>) -> io::Result<usize> {
    let words = options.words();
    let mut commands = Vec::new();
    if options.each {
        for host in lab.hosts() {
            let mut command = host.command(words[0]);
            command.env("TIDINGS_LAB_SELF", host.number().to_string());
            commands.push(command);
        }
    } else {
        let mut command = Command::new(words[0]);
        lab::die_with_thread(&mut command);
        commands.push(command);
    }
    let count = commands.len();
    for mut command in commands {
        let child = command.args(&words[1..]).envs(environment(lab)).spawn();
        let child =
            child.map_err(|e| io::Error::new(e.kind(), format!("starting {}: {e}", words[0])))?;
        await_end(child, events.clone());
    }
    Ok(count)
}

fn await_end(mut child: Child, events: Sender<Event>) {
    std::thread::spawn(move || {
        // A signal's number has no place in an exit code; any failure is 1.
        let code = child
            .wait()
            .map(|status| status.code().map_or(1, |code| code as u8));
        events.send(Event::Ended(code))
    });
}

fn environment(lab: &Lab) -> Vec<(String, String)> {
    let mut variables = vec![(
        "TIDINGS_LAB_HOSTS".to_owned(),
        lab.hosts().len().to_string(),
    )];
    for host in lab.hosts() {
        let number = host.number();
        variables.push((
            format!("TIDINGS_LAB_HOST_{number}"),
            host.path().display().to_string(),
        ));
        variables.push((format!("TIDINGS_LAB_IP4_{number}"), host.ip4().to_string()));
        variables.push((format!("TIDINGS_LAB_IP6_{number}"), host.ip6().to_string()));
    }
    variables
}

fn print_doors(lab: &Lab) {
    for host in lab.hosts() {
        println!(
            "host {}: {} {}  nsenter --net={} sh",
            host.number(),
            host.ip4(),
            host.ip6(),
            host.path().display()
        );
    }
    if let Some(path) = lab.bridge_path() {
        println!("bridge: nsenter --net={} sh", path.display());
    }
    println!("orders: LINKS:SPEC (1-2:loss=2%), unplug N, plug N, report, quit");
}

/// Makes the timed changes and obeys orders until all commands have ended or a signal comes. Returns the exit code.
fn attend(
    options: &Options,
    lab: &Lab,
    heard: &Receiver<Event>,
    mut running: usize,
) -> io::Result<u8> {
    let started = Instant::now();
    let mut changes: Vec<_> = options.at.clone();
    changes.sort_by_key(|(time, _)| *time);
    let mut changes = VecDeque::from(changes);
    let mut exit = 0;
    while running > 0 {
        let wait = changes.front().map_or(Duration::MAX, |(time, _)| {
            time.saturating_sub(started.elapsed())
        });
        let event = match heard.recv_timeout(wait.min(Duration::from_secs(3600))) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if wait.is_zero()
                    && let Some((_, change)) = changes.pop_front()
                {
                    change.make(lab).map_err(io::Error::other)?;
                }
                continue;
            }
        };
        match event {
            Event::Ended(code) => {
                running -= 1;
                exit = if exit == 0 { code? } else { exit };
            }
            Event::Signal => break,
            Event::Order(order) => match obey(options, lab, order.trim()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => eprintln!("lab: {why}"),
            },
        }
    }
    Ok(exit)
}

/// Carries out one line of the standard input; false ends the lab.
fn obey(options: &Options, lab: &Lab, order: &str) -> Result<bool, String> {
    let host = |number: &str| -> Result<&Host, String> {
        let number: usize = number
            .trim()
            .parse()
            .map_err(|_| format!("`{number}` is no number"))?;
        lab.hosts()
            .get(number.wrapping_sub(1))
            .ok_or_else(|| format!("no host {number}"))
    };
    match order.split_once(' ').unwrap_or((order, "")) {
        ("", _) => {}
        ("quit", _) => return Ok(false),
        ("report", _) => options.print(lab).map_err(|e| e.to_string())?,
        _ if lab.is_bridge() => return Err("a bridge does not impair".into()),
        ("unplug", number) => lab.unplug(host(number)?.number()),
        ("plug", number) => lab.plug(host(number)?.number()),
        _ => order.parse::<Change>()?.make(lab)?,
    }
    Ok(true)
}
