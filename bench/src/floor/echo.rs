//! `echo`: one datagram there and back, closed loop. What a question and its answer cost when nothing is in between but the
//! kernel, with each side asleep in the call, asleep in epoll, or polling. With `--rate` see `one_way.rs`.

use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use rustix::event::epoll;
use serde_json::json;

use super::meter::{self, Meter};
use super::mmsg::is_nothing;
use super::options::Measure;
use super::report::{Figure, Unit};
use super::{Fault, one_way, socket};

/// After so long a datagram is held lost, and the next is sent.
const PATIENCE: Duration = Duration::from_millis(500);
/// Times above a minute are counted as a minute.
const TIME_MAX: u64 = 60_000_000_000;
/// Least size of a one-way message: it carries its due time.
const STAMP: usize = 8;
/// Above that the floor would measure the copy.
const SIZE_MAX: usize = socket::DATAGRAM_MAX;

/// How a side waits for what is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Waiting {
    /// Asleep in the receiving call
    Parked,
    /// Asleep in epoll_wait; receives until nothing is left
    Epoll,
    /// Never asleep: receives again and again
    Polling,
}

impl Waiting {
    fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Epoll => "epoll",
            Self::Polling => "polling",
        }
    }
}

/// Its command line.
#[derive(Args, Clone, Debug)]
pub struct Echo {
    /// Bytes of each datagram
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// How the sender waits: for answers, or with --rate for due times
    #[arg(long, value_enum, default_value_t = Waiting::Parked)]
    pub sender: Waiting,
    /// How the receiver waits
    #[arg(long, value_enum, default_value_t = Waiting::Parked)]
    pub receiver: Waiting,
    /// One way at so many messages a second, from due to arrival (open loop), instead of round trips
    #[arg(long)]
    pub rate: Option<f64>,
    /// How long and where
    #[command(flatten)]
    pub measure: Measure,
}

impl Echo {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        self.measure.check()?;
        let least = if self.rate.is_some() { STAMP } else { 1 };
        if !(least..=SIZE_MAX).contains(&self.size) {
            return Err(format!("--size {}: give {least} to {SIZE_MAX}", self.size).into());
        }
        let mut settings = vec![
            ("size", json!(self.size)),
            ("sender", json!(self.sender.name())),
            ("receiver", json!(self.receiver.name())),
        ];
        let Some(rate) = self.rate else {
            return super::rounds("echo", &self.measure, settings, || self.round());
        };
        if !(1e-3..=1e7).contains(&rate) {
            return Err(format!("--rate {rate}: give 0.001 to 10000000").into());
        }
        settings.push(("rate_wanted", json!(rate)));
        super::rounds("echo", &self.measure, settings, || {
            one_way::round(self, rate)
        })
    }

    /// One round of the closed loop. The cost model takes from it what a sleep costs.
    pub fn round(&self) -> Result<Vec<Figure>, Fault> {
        let (near, far) = socket::connected()?;
        let ((asked, times), (answered, ())) = meter::pair(
            &self.measure,
            |meter| ask(&Ear::new(&near, self.sender)?, self.size, meter),
            |meter| answer(&Ear::new(&far, self.receiver)?, meter),
        )?;
        let mut figures = percentiles(&RTT, &times.rtt);
        figures.push(("lost", Unit::Count, times.lost as f64));
        figures.push((
            "cpu_ns",
            Unit::Ns,
            asked.cpu_ns(asked.count) + answered.cpu_ns(asked.count),
        ));
        Ok(figures)
    }
}

/// Names of a histogram's figures.
pub type Names = [&'static str; 7];
const RTT: Names = [
    "rtt.count",
    "rtt.mean",
    "rtt.p50",
    "rtt.p90",
    "rtt.p99",
    "rtt.p999",
    "rtt.max",
];

/// An empty histogram of times in ns.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_MAX, 3).expect("the bounds are in order")
}

/// Count, mean and percentiles, as the load generator has them.
pub fn percentiles(names: &Names, times: &Histogram<u64>) -> Vec<Figure> {
    let at = |quantile| times.value_at_quantile(quantile) as f64;
    let values = [
        times.mean(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        times.max() as f64,
    ];
    let count = (names[0], Unit::Count, times.len() as f64);
    let rest = names[1..].iter().zip(values);
    std::iter::once(count)
        .chain(rest.map(|(&name, value)| (name, Unit::Us, value)))
        .collect()
}

/// A socket with a way to wait for it.
pub struct Ear<'a> {
    socket: &'a UdpSocket,
    epoll: Option<OwnedFd>,
}

impl<'a> Ear<'a> {
    /// Sets the socket up for it.
    pub fn new(socket: &'a UdpSocket, waiting: Waiting) -> io::Result<Self> {
        socket.set_nonblocking(waiting != Waiting::Parked)?;
        let epoll = match waiting {
            Waiting::Epoll => {
                let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                let nothing = epoll::EventData::new_u64(0);
                epoll::add(&set, socket, nothing, epoll::EventFlags::IN)?;
                Some(set)
            }
            Waiting::Parked | Waiting::Polling => None,
        };
        Ok(Self { socket, epoll })
    }

    /// Sends to the other side, waiting for room.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(bytes) {
                Ok(_) => return Ok(()),
                Err(error) if is_nothing(&error) => std::hint::spin_loop(),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next datagram, or `None` after the time of one look.
    pub fn recv(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.recv(bytes) {
            Ok(len) => return Ok(Some(len)),
            Err(error) if is_nothing(&error) => {}
            Err(error) => return Err(error),
        }
        if let Some(set) = &self.epoll {
            let mut events = [epoll::Event {
                flags: epoll::EventFlags::empty(),
                data: epoll::EventData::new_u64(0),
            }];
            let look = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: socket::LOOK.as_nanos() as i64,
            };
            match epoll::wait(set, &mut events, Some(&look)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

struct Times {
    rtt: Histogram<u64>,
    lost: u64,
}

fn ask(ear: &Ear<'_>, size: usize, meter: &mut Meter<'_>) -> io::Result<Times> {
    let question = vec![1; size];
    let mut answer = vec![0; size];
    let mut times = Times {
        rtt: histogram(),
        lost: 0,
    };
    let mut count = 0;
    while meter.go_on(count) {
        let start = Instant::now();
        ear.send(&question)?;
        let came = loop {
            if ear.recv(&mut answer)?.is_some() {
                break true;
            }
            if start.elapsed() > PATIENCE {
                break false;
            }
        };
        if !came {
            // The other side may have ended first.
            times.lost += u64::from(meter.go_on(count));
        } else if meter.is_measuring() {
            times
                .rtt
                .saturating_record(start.elapsed().as_nanos() as u64);
        }
        count += u64::from(came);
    }
    Ok(times)
}

fn answer(ear: &Ear<'_>, meter: &mut Meter<'_>) -> io::Result<()> {
    let mut question = vec![0; SIZE_MAX];
    let mut count = 0;
    while meter.go_on(count) {
        if let Some(len) = ear.recv(&mut question)? {
            ear.send(&question[..len])?;
            count += 1;
        }
    }
    Ok(())
}
