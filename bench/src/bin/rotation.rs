//! What changing the key costs those who wait for messages: latencies at a steady rate, while nothing is changed and while the overlay
//! goes over to another key and cipher, by turns in one run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use tidings_bench::floor::report::median;
use tidings_bench::print::line;
use tidings_bench::sys::{now, sleep_exactly, sleep_until};
use tidings_engine::{
    Engine, KeyRecord, Keyring, OverlayConfig, OverlayId, Publisher, PublisherOptions, Seed,
    SubSpec, Suite, Taken,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that ends the program.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(
    version,
    about = "Latencies between two nodes at a steady rate: quiet, and while key and cipher are changed",
    after_help = "A latency is counted from when a message was due, so that none is left out because the sender was late. All is one process, on loopback. \
Exit code 1 if a message is lost, comes twice or out of order."
)]
struct Options {
    /// Messages a second
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    rate: u64,
    /// Bytes of each message
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(16..=1_024))]
    size: u64,
    /// Seconds of each quiet part
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Times that the key goes through all four ciphers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

const OVERLAY: &str = "rotation";
const TOPIC: &str = "bench.rotation";
/// Messages of this time are published at once.
const STEP_NS: u64 = 1_000_000;
/// The ciphers in their order; the first is where it begins and ends.
const SUITES: [Suite; 4] = [
    Suite::Aes256Gcm,
    Suite::ChaCha20Poly1305,
    Suite::Aes128Gcm,
    Suite::Aes192Gcm,
];
/// How long anything that has to come may take.
const WITHIN: Duration = Duration::from_secs(120);

/// What the subscriber saw.
#[derive(Default)]
struct Seen {
    seconds: Mutex<Seconds>,
    count: AtomicU64,
    /// Messages that were not the next one.
    wrong: AtomicU64,
}

/// Latencies in ns, second by second.
#[derive(Default)]
struct Seconds {
    since: u64,
    all: Vec<Histogram<u64>>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let (publishing, subscribing) = (node()?, node()?);
    let mut key = 1;
    let mut at = Held {
        slot: 0,
        suite: SUITES[0],
        key,
    };
    let id = subscribing.add_overlay(OverlayConfig::new(OVERLAY, at.ring()?))?;
    let join = Seed::Address(subscribing.local_addr());
    publishing.add_overlay(OverlayConfig::new(OVERLAY, at.ring()?).join([join]))?;
    let seen = subscribe(&subscribing, id)?;
    await_that("a subscriber", || Ok(publishing.owed(id, TOPIC)? == 1))?;
    let publisher = publishing.publisher(id, TOPIC, PublisherOptions::default())?;

    let is_over = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        let (rate, size) = (options.rate, options.size as usize);
        move || publish(publisher, rate, size, &is_over)
    });
    let quiet = || std::thread::sleep(Duration::from_secs_f64(options.seconds));
    quiet();
    let (mut still, mut changing) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for suite in SUITES.iter().cycle().skip(1).take(SUITES.len()) {
            seen.part();
            quiet();
            still.push(seen.part().tell("quiet"));
            key += 1;
            let next = Held {
                slot: 1 - at.slot,
                suite: *suite,
                key,
            };
            rotate(&[&publishing, &subscribing], id, &at, &next)?;
            changing.push(seen.part().tell(&format!("to {suite}")));
            at = next;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let sent = sender.join().map_err(|_| "the sender panicked")??;
    await_that("all messages", || {
        Ok(seen.count.load(Ordering::Relaxed) >= sent)
    })?;
    let wrong = seen.wrong.load(Ordering::Relaxed);
    let times = [0, 1].map(|which| {
        let of = |parts: &[[f64; 2]]| {
            median(&mut parts.iter().map(|part| part[which]).collect::<Vec<_>>())[0]
        };
        of(&changing) / of(&still)
    });
    line(&format!(
        "{sent} messages, {wrong} lost, double or out of order; while the key changes, p99 is {:.2} times that of quiet, and its worst second {:.2} times the worst of quiet (medians)",
        times[0], times[1]
    ));
    if wrong > 0 || seen.count.load(Ordering::Relaxed) != sent {
        return Err("messages were lost, doubled or out of order".into());
    }
    publishing.shutdown();
    subscribing.shutdown();
    Ok(())
}

fn node() -> Result<Engine, Failure> {
    let builder = Engine::builder().bind(([127, 0, 0, 1], 0).into());
    Ok(builder.shards(1).start()?)
}

/// A key that the overlay holds.
struct Held {
    slot: u8,
    suite: Suite,
    key: u8,
}

impl Held {
    fn record(&self) -> KeyRecord {
        KeyRecord::new(self.slot, self.suite, [self.key; 32])
    }

    /// It alone.
    fn ring(&self) -> Result<Keyring, Failure> {
        Ok(Keyring::new(
            OverlayId::from_name(OVERLAY),
            vec![self.record()],
            self.slot,
        )?)
    }

    /// It and another, this one sealing.
    fn ring_with(&self, other: &Self) -> Result<Keyring, Failure> {
        let records = vec![self.record(), other.record()];
        Ok(Keyring::new(
            OverlayId::from_name(OVERLAY),
            records,
            self.slot,
        )?)
    }
}

fn subscribe(engine: &Engine, id: OverlayId) -> Result<Arc<Seen>, Failure> {
    let seen = Arc::new(Seen::default());
    seen.part();
    let (for_handler, mut next) = (Arc::clone(&seen), 0);
    let mut spec = SubSpec::new(TOPIC);
    spec.ordered = true;
    let subscribed = engine.on_shard(id, move |desk| {
        desk.subscribe(spec, move |message, _| {
            let word = |at: usize| {
                message
                    .payload
                    .get(at..at + 8)?
                    .try_into()
                    .ok()
                    .map(u64::from_le_bytes)
            };
            for_handler.take(word(0), word(8), &mut next);
            Taken::Acked
        })
    })?;
    subscribed.map_err(|error| format!("subscribe: {error:?}"))?;
    Ok(seen)
}

/// Nanoseconds up to a minute: more counts as a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and digits that are allowed")
}

impl Seen {
    /// A message with this number came, that was due at that time.
    fn take(&self, number: Option<u64>, due: Option<u64>, next: &mut u64) {
        let at = now();
        if number != Some(*next) {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        *next = number.unwrap_or(*next) + 1;
        let mut seconds = self.seconds();
        let index = (at.saturating_sub(seconds.since) / 1_000_000_000) as usize;
        while seconds.all.len() <= index {
            seconds.all.push(histogram());
        }
        seconds.all[index].saturating_record(at.saturating_sub(due.unwrap_or(0)));
        drop(seconds);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn seconds(&self) -> MutexGuard<'_, Seconds> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a part, begins the next.
    fn part(&self) -> Seconds {
        let next = Seconds {
            since: now(),
            all: Vec::new(),
        };
        std::mem::replace(&mut *self.seconds(), next)
    }
}

impl Seconds {
    /// Writes down a part; its p99 in us, and that of its worst second.
    fn tell(&self, what: &str) -> [f64; 2] {
        let mut whole = histogram();
        let mut worst = 0;
        for second in &self.all {
            whole.add(second).expect("histograms of one kind");
            worst = worst.max(second.value_at_quantile(0.99));
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |part: f64| us(whole.value_at_quantile(part));
        line(&format!(
            "{what:20} {:3} s: p50 {:8.1} us, p99 {:8.1} us, worst second's p99 {:8.1} us, max {:8.1} us",
            self.all.len(),
            at(0.5),
            at(0.99),
            us(worst),
            us(whole.max())
        ));
        [at(0.99), us(worst)]
    }
}

/// Installs the new key on all nodes, then all seal with it, then the old one goes.
fn rotate(nodes: &[&Engine], id: OverlayId, old: &Held, new: &Held) -> Result<(), Failure> {
    let on_all = |ring: &dyn Fn() -> Result<Keyring, Failure>| -> Result<(), Failure> {
        for node in nodes {
            node.set_keyring(id, ring()?)?;
        }
        Ok(())
    };
    let both = 1 << old.slot | 1 << new.slot;
    on_all(&|| old.ring_with(new))?;
    await_that("all members to hold the new key", || {
        let mut all = true;
        for node in nodes {
            all &= node.members(id)?.iter().all(|member| member.keys == both);
        }
        Ok(all)
    })?;
    on_all(&|| new.ring_with(old))?;
    await_that("the old key to be out of use", || {
        let mut all = true;
        for node in nodes {
            all &= node.key_use(id)?.used == 1 << new.slot;
        }
        Ok(all)
    })?;
    on_all(&|| new.ring())
}

/// Publishes at the rate until it is over; the number of messages.
fn publish(
    mut publisher: Publisher,
    rate: u64,
    size: usize,
    is_over: &AtomicBool,
) -> Result<u64, String> {
    sleep_exactly();
    let mut payload = vec![0; size];
    let (began, mut sent) = (now(), 0u64);
    let mut step = began;
    while !is_over.load(Ordering::Relaxed) {
        step += STEP_NS;
        sleep_until(step);
        let due = ((step - began) as u128 * u128::from(rate) / 1_000_000_000) as u64;
        while sent < due {
            payload[..8].copy_from_slice(&sent.to_le_bytes());
            payload[8..16].copy_from_slice(&step.to_le_bytes());
            let taken = publisher.publish_within(&payload, WITHIN);
            taken.map_err(|refusal| format!("publish: {refusal}"))?;
            sent += 1;
        }
    }
    Ok(sent)
}

/// Waits until it is so.
fn await_that(what: &str, mut is_so: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let until = Instant::now() + WITHIN;
    while !is_so()? {
        if Instant::now() > until {
            return Err(format!("waited {} s for {what}", WITHIN.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
