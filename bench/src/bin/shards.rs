//! Whether shards scale: messages per second of a node with one shard and one overlay, and with several of each, in the same run.

use std::cell::Cell;
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tidings_bench::floor::report::median;
use tidings_bench::print::line;
use tidings_engine::{
    Delivery, Engine, Event, Flushed, KeyRecord, Keyring, OverlayConfig, OverlayId, PublishError,
    Seat, Seed, Session, SubSpec, Suite, Taken, Verdict,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Anything that ends the program.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(
    version,
    about = "Messages per second of two nodes by the number of their shards, each shard with an overlay of its own",
    after_help = "Each node's shard wants a core: two nodes of two shards want four. Where there are fewer, --quota gives every shard's thread the same \
part of a core by a CPU quota, so that shards and not cores are what is short; it wants root and the cpu controller of cgroups v1.\n\
All is one process, on loopback; messages are sealed with AES-256-GCM and acknowledged."
)]
struct Options {
    /// Numbers of shards to compare, the first being what others are compared with
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    shards: Vec<usize>,
    /// Bytes of each message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Runs of each number, by turns: medians and ranges are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Percent of a core for each shard's thread [default: no bound]
    #[arg(long, value_parser = clap::value_parser!(u32).range(10..=100))]
    quota: Option<u32>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let mut rates = vec![Vec::new(); options.shards.len()];
    for _ in 0..options.rounds {
        for (rates, &shards) in rates.iter_mut().zip(&options.shards) {
            rates.push(rate(&options, shards)?);
        }
    }
    let bound = options
        .quota
        .map_or_else(String::new, |quota| format!(", {quota} % of a core each"));
    let mut base = None;
    for (rates, shards) in rates.iter_mut().zip(&options.shards) {
        let [middle, least, most] = median(rates).map(|rate| rate / 1e6);
        let times = middle / *base.get_or_insert(middle);
        line(&format!(
            "shards and overlays {shards}{bound}: {middle:.2} M/s ({least:.2} to {most:.2}), {times:.2} times"
        ));
    }
    Ok(())
}

// Messages per second that all overlays deliver together.
fn rate(options: &Options, shards: usize) -> Result<f64, Failure> {
    let start = || {
        Engine::builder()
            .bind(([127, 0, 0, 1], 0).into())
            .shards(shards)
            .start()
    };
    let (subscriber, publisher) = (start()?, start()?);
    let counts: Vec<Arc<AtomicU64>> = (0..shards).map(|_| Arc::default()).collect();
    for (at, count) in counts.iter().enumerate() {
        let (name, payload) = (format!("shards-{at}"), vec![7; options.size]);
        let ours = subscriber.add_overlay(config(&name)?)?;
        let join = Seed::Address(subscriber.local_addr());
        let theirs = publisher.add_overlay(config(&name)?.join([join]))?;
        let (count, mut seen) = (Arc::clone(count), 0);
        subscriber
            .on_shard(ours, move |desk| {
                desk.subscribe(SubSpec::new("t"), move |_, _| {
                    seen += 1;
                    count.store(seen, Ordering::Relaxed);
                    Taken::Acked
                })
            })?
            .map_err(|error| format!("subscribe: {error:?}"))?;
        let deadline = Instant::now() + Duration::from_secs(15);
        while publisher.owed(theirs, "t")? == 0 {
            if Instant::now() > deadline {
                return Err(format!("overlay {name}: no subscriber after 15 s").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        publisher.attach_session(theirs, move || -> Box<dyn Session> {
            Box::new(Publishing {
                payload,
                handle: Cell::new(None),
                is_blocked: Cell::new(false),
            })
        })?;
    }
    let _quota = options.quota.map(Quota::new).transpose()?;
    std::thread::sleep(Duration::from_secs_f64(options.seconds / 4.0));
    let delivered = || {
        counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let (began, before) = (Instant::now(), delivered());
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    if let Some(idle) = counts
        .iter()
        .position(|count| count.load(Ordering::Relaxed) == 0)
    {
        return Err(format!("overlay shards-{idle}: nothing was delivered").into());
    }
    let rate = (delivered() - before) as f64 / began.elapsed().as_secs_f64();
    publisher.shutdown();
    subscriber.shutdown();
    Ok(rate)
}

fn config(name: &str) -> Result<OverlayConfig, Failure> {
    let record = KeyRecord::new(0, Suite::Aes256Gcm, [7; 32]);
    let keyring = Keyring::new(OverlayId::from_name(name), vec![record], 0)?;
    Ok(OverlayConfig::new(name, keyring))
}

/// Publishes as much as the overlay takes.
struct Publishing {
    payload: Vec<u8>,
    handle: Cell<Option<u32>>,
    is_blocked: Cell<bool>,
}

/// Messages published before the shard does anything else.
const BATCH: usize = 4096;

impl Publishing {
    fn publish(&self, seat: &mut Seat<'_>) -> Verdict {
        let Some(handle) = self.handle.get() else {
            return Verdict::Stay;
        };
        let refused = seat.publish_batch(handle, |batch| {
            (0..BATCH).find_map(|_| batch.publish(&self.payload).err())
        });
        self.is_blocked.set(refused.is_some());
        match refused {
            None => Verdict::Stay,
            Some(PublishError::WouldBlock) => Verdict::Pause,
            // The run is over.
            Some(PublishError::Closed) => Verdict::Close,
            Some(error) => {
                line(&format!("publish: {error:?}"));
                Verdict::Close
            }
        }
    }
}

impl Session for Publishing {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        self.publish(seat)
    }

    fn deliver(&self, _: u32, _: &Delivery<'_>) -> Taken {
        Taken::Full
    }

    fn event(&self, _: &Event<'_>) {}

    fn flush(&self, _: &mut Seat<'_>) -> Flushed {
        Flushed::Done
    }

    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        self.handle.set(seat.open_publisher("t").ok());
        false
    }

    fn deadline(&self) -> Option<u64> {
        // Always due, but while there is no room.
        (!self.is_blocked.get()).then_some(1)
    }

    fn on_deadline(&self, seat: &mut Seat<'_>) -> Verdict {
        self.publish(seat)
    }

    fn on_close(&self, _: &mut Seat<'_>) {}
}

/// Groups of one thread each, with a bound; removed on drop.
struct Quota(Vec<PathBuf>);

/// Where the cpu controller is mounted.
const CPU: &str = "/sys/fs/cgroup/cpu";
/// Microseconds over which a quota counts: so short that buffers bridge the rest of it.
const PERIOD_US: u32 = 10_000;

impl Quota {
    /// Bounds every shard of this process.
    fn new(percent: u32) -> Result<Self, Failure> {
        let mut quota = Quota(Vec::new());
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?;
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let number = name.trim().strip_prefix("tidings-");
            if number.is_none_or(|number| number.parse::<u32>().is_err()) {
                continue;
            }
            let thread = task.file_name().to_string_lossy().into_owned();
            let group = Path::new(CPU).join(format!("tidings-bench-{thread}"));
            let refused = |error| {
                format!(
                    "--quota: cannot bound a thread in {}: {error}; it wants root and cgroups v1",
                    group.display()
                )
            };
            fs::create_dir(&group).map_err(refused)?;
            quota.0.push(group.clone());
            let files = [
                ("cpu.cfs_period_us", PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", (PERIOD_US * percent / 100).to_string()),
                ("tasks", thread),
            ];
            for (file, value) in files {
                fs::write(group.join(file), value).map_err(refused)?;
            }
        }
        Ok(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        for group in &self.0 {
            // A group's threads go back to the one above before it may go.
            for thread in fs::read_to_string(group.join("tasks"))
                .unwrap_or_default()
                .lines()
            {
                // Ended meanwhile: nothing to move.
                let _ = fs::write(Path::new(CPU).join("tasks"), thread);
            }
            if let Err(error) = fs::remove_dir(group) {
                eprintln!("{} is left: {error}", group.display());
            }
        }
    }
}
