//! `echo --rate`: one way, open loop. Message i is due at i/rate after the start whatever became of those before it, and
//! counts from then until it arrives. The sender waits for due times as the load generator does, so that its own lag, which
//! stands beside the latency, is alike.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::echo::{Ear, Echo, Names, Waiting, histogram, percentiles};
use super::report::{Figure, Unit};
use super::{Fault, socket};
use crate::sys;

/// From the decision to begin to the first message, in ns.
const BEFORE_START: u64 = 20_000_000;
/// What is under way when the last message is sent may take so long: the receiver of a loaded machine may not run before.
const DRAIN: Duration = Duration::from_secs(2);
/// How often it is looked whether all has arrived.
const LOOK: Duration = Duration::from_millis(1);

const LATENCY: Names = [
    "latency.count",
    "latency.mean",
    "latency.p50",
    "latency.p90",
    "latency.p99",
    "latency.p999",
    "latency.max",
];
const LAG: Names = [
    "lag.count",
    "lag.mean",
    "lag.p50",
    "lag.p90",
    "lag.p99",
    "lag.p999",
    "lag.max",
];

/// When messages are due, in ns of [`sys::now`].
#[derive(Clone, Copy)]
struct Schedule {
    start: u64,
    measure_from: u64,
    end: u64,
    rate: f64,
}

impl Schedule {
    fn new(echo: &Echo, rate: f64, start: u64) -> Self {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let measure_from = start + ns(echo.measure.warmup);
        Self {
            start,
            measure_from,
            end: measure_from + ns(echo.measure.seconds),
            rate,
        }
    }

    /// When this message is due; `None` behind the last.
    fn due(&self, number: u64) -> Option<u64> {
        let at = self.start + (number as f64 * 1e9 / self.rate) as u64;
        (at < self.end).then_some(at)
    }
}

struct Told {
    /// Those that do not count among them.
    messages: u64,
    times: Histogram<u64>,
    cpu: Duration,
}

/// One round.
pub fn round(echo: &Echo, rate: f64) -> Result<Vec<Figure>, Fault> {
    let (near, far) = socket::connected()?;
    // Messages that the receiver waits for: without end until all are sent.
    let wanted = AtomicU64::new(u64::MAX);
    let schedule = Schedule::new(echo, rate, sys::now() + BEFORE_START);
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            pinned(echo, 1)?;
            receive(&Ear::new(&far, echo.receiver)?, echo.size, &wanted)
        });
        let sender = scope.spawn(|| {
            pinned(echo, 0)?;
            send(&Ear::new(&near, Waiting::Parked)?, echo, schedule)
        });
        // A panic of theirs goes on here.
        let sent = sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let messages = sent.as_ref().map_or(0, |sent| sent.messages);
        wanted.store(messages, Relaxed);
        let until = Instant::now() + DRAIN;
        while !receiver.is_finished() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        wanted.store(0, Relaxed);
        let received = receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        io::Result::Ok((sent?, received?))
    })?;
    let mut figures = percentiles(&LATENCY, &received.times);
    figures.extend(percentiles(&LAG, &sent.times));
    let count = sent.times.len();
    let lost = count.saturating_sub(received.times.len());
    figures.push(("lost", Unit::Count, lost as f64));
    let cpu = (sent.cpu + received.cpu).as_nanos() as f64;
    figures.push(("cpu_ns", Unit::Ns, cpu / count.max(1) as f64));
    Ok(figures)
}

fn pinned(echo: &Echo, side: usize) -> io::Result<()> {
    echo.measure.cpu(side).map_or(Ok(()), sys::pin)
}

/// The due time of messages that do not count is 0.
fn send(ear: &Ear<'_>, echo: &Echo, schedule: Schedule) -> io::Result<Told> {
    sys::sleep_exactly();
    let mut message = vec![1; echo.size];
    let mut lag = histogram();
    let mut cpu = Duration::ZERO;
    let mut number = 0;
    while let Some(due) = schedule.due(number) {
        let now = wait_until(due, echo.sender);
        let counts = due >= schedule.measure_from;
        if counts && lag.is_empty() {
            cpu = sys::thread_cpu_time();
        }
        let stamp = if counts { due } else { 0 };
        message[..8].copy_from_slice(&stamp.to_le_bytes());
        ear.send(&message)?;
        if counts {
            lag.saturating_record((now - due).max(1));
        }
        number += 1;
    }
    let cpu = sys::thread_cpu_time().saturating_sub(cpu);
    Ok(Told {
        messages: number,
        times: lag,
        cpu,
    })
}

/// Answers the time, which is `due` or later.
fn wait_until(due: u64, waiting: Waiting) -> u64 {
    loop {
        let now = sys::now();
        if now >= due {
            return now;
        }
        match waiting {
            Waiting::Polling => std::hint::spin_loop(),
            Waiting::Parked | Waiting::Epoll => sys::sleep_until(due),
        }
    }
}

fn receive(ear: &Ear<'_>, size: usize, wanted: &AtomicU64) -> io::Result<Told> {
    let mut message = vec![0; size];
    let mut latency = histogram();
    let mut cpu = Duration::ZERO;
    let mut messages = 0;
    while messages < wanted.load(Relaxed) {
        if ear.recv(&mut message)?.is_none() {
            continue;
        }
        messages += 1;
        let now = sys::now();
        let due = message
            .first_chunk()
            .map_or(0, |due| u64::from_le_bytes(*due));
        if due != 0 {
            if latency.is_empty() {
                cpu = sys::thread_cpu_time();
            }
            latency.saturating_record(now.saturating_sub(due).max(1));
        }
    }
    let cpu = sys::thread_cpu_time().saturating_sub(cpu);
    Ok(Told {
        messages,
        times: latency,
        cpu,
    })
}
