//! The measured part of a run: two threads, each of which notes its own count, time and CPU time when it begins and ends.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::options::Measure;
use crate::sys;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What a thread did in the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lap {
    /// Things done.
    pub count: u64,
    /// How long it took.
    pub time: Duration,
    /// CPU time of the thread.
    pub cpu: Duration,
}

impl Lap {
    /// Things done in a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64().max(1e-9)
    }

    /// CPU time in ns for each of `count` things.
    pub fn cpu_ns(&self, count: u64) -> f64 {
        self.cpu.as_nanos() as f64 / count.max(1) as f64
    }
}

#[derive(Clone, Copy)]
struct Mark {
    count: u64,
    at: Instant,
    cpu: Duration,
}

/// One thread's view of the run. It calls [`Meter::go_on`] in each pass of its loop.
pub struct Meter<'a> {
    phase: &'a AtomicU8,
    begin: Option<Mark>,
    end: Option<Mark>,
}

impl<'a> Meter<'a> {
    fn new(phase: &'a AtomicU8) -> Self {
        Self {
            phase,
            begin: None,
            end: None,
        }
    }

    /// Whether to do more, after `count` things since the start.
    #[inline]
    pub fn go_on(&mut self, count: u64) -> bool {
        let phase = self.phase.load(Relaxed);
        if phase != WARMING && self.begin.is_none() {
            self.begin = Some(mark(count));
        }
        if phase == OVER && self.end.is_none() {
            self.end = Some(mark(count));
        }
        phase != OVER
    }

    /// Whether the measured time has begun.
    pub fn is_measuring(&self) -> bool {
        self.begin.is_some()
    }

    fn lap(&self) -> Lap {
        let (Some(begin), Some(end)) = (self.begin, self.end) else {
            return Lap::default();
        };
        Lap {
            count: end.count - begin.count,
            time: end.at - begin.at,
            cpu: end.cpu.saturating_sub(begin.cpu),
        }
    }
}

fn mark(count: u64) -> Mark {
    Mark {
        count,
        at: Instant::now(),
        cpu: sys::thread_cpu_time(),
    }
}

/// Runs two threads, each on its CPU if `measure` names one, until the measured time is over. Each works until
/// [`Meter::go_on`] says no, and answers with something of its own.
pub fn pair<A: Send, B: Send>(
    measure: &Measure,
    tx: impl FnOnce(&mut Meter<'_>) -> io::Result<A> + Send,
    rx: impl FnOnce(&mut Meter<'_>) -> io::Result<B> + Send,
) -> io::Result<((Lap, A), (Lap, B))> {
    let phase = AtomicU8::new(WARMING);
    thread::scope(|scope| {
        let sender = scope.spawn(|| metered(&phase, measure.cpu(0), tx));
        let receiver = scope.spawn(|| metered(&phase, measure.cpu(1), rx));
        let is_running = || !sender.is_finished() && !receiver.is_finished();
        wait(measure.warmup, is_running);
        phase.store(MEASURING, Relaxed);
        wait(measure.seconds, is_running);
        phase.store(OVER, Relaxed);
        // A panic of theirs goes on here.
        let sent = sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let received = receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((sent?, received?))
    })
}

/// Sleeps, but not on when a thread gave up.
fn wait(seconds: f64, is_running: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while is_running() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

fn metered<T>(
    phase: &AtomicU8,
    cpu: Option<usize>,
    work: impl FnOnce(&mut Meter<'_>) -> io::Result<T>,
) -> io::Result<(Lap, T)> {
    if let Some(cpu) = cpu {
        sys::pin(cpu)?;
    }
    let mut meter = Meter::new(phase);
    let own = work(&mut meter)?;
    Ok((meter.lap(), own))
}
