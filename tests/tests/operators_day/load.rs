//! Messages without end from one host to all others, and the account of them: what `tidings pub` was given line by line, and
//! what `tidings sub` wrote on the other hosts.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeWriter, Write, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidings_tests::blackbox::{Done, eventually};
use tidings_tests::host::Process;

use super::machine::{Machine, good};

/// Messages a second that are asked for. A machine that cannot carry them takes as many as it can.
const RATE: u64 = 100_000;
/// How often the feeder writes.
const STEP: Duration = Duration::from_millis(5);
/// Most messages that it writes at once: a machine that was late is not flooded.
const BURST: u64 = RATE / 20;
/// Most bytes of a line: numbers below ten million and the end.
const LINE_BYTES: u64 = 8;
/// How long what is on its way may take at the end, on a machine that other work keeps busy.
const DRAIN: Duration = Duration::from_secs(240);

/// A running load.
pub(crate) struct Load<'a> {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    feeder: JoinHandle<()>,
    publisher: Process,
    readers: Vec<(&'a Machine<'a>, Process)>,
    began: Instant,
    /// Fewest messages that were taken while something was changed.
    fewest: u64,
}

/// What a load came to.
pub(crate) struct Account {
    /// Messages published, all of which came.
    pub(crate) messages: u64,
    /// How many of them were taken a second.
    pub(crate) rate: f64,
    /// Fewest of them that were taken while something was changed.
    pub(crate) fewest: u64,
}

impl<'a> Load<'a> {
    /// Begins to publish on `topic` of the overlay.
    pub(crate) fn begin(
        from: &Machine<'_>,
        to: &'a [Machine<'a>],
        overlay: &str,
        topic: &str,
    ) -> Self {
        let reader = |machine: &'a Machine<'a>| {
            let process = machine.start(&["sub", overlay, topic, "--ordered"]);
            process
                .wait_for_err("subscribed to", DRAIN)
                .expect("a subscription");
            (machine, process)
        };
        let readers: Vec<_> = to.iter().map(reader).collect();
        let wanted = readers.len().to_string();
        let publish = [
            "tidings",
            "pub",
            overlay,
            topic,
            "--lines",
            "--confirm",
            "delivered",
            "--wait-for",
        ];
        let mut command = from.command_as("tidings", &[&publish[..], &[&wanted]].concat());
        let (input, output) = pipe().expect("a pipe");
        command.stdin(input);
        let publisher = from.spawn("pub", command);
        let (ends, sent) = (Arc::default(), Arc::default());
        let feeder = std::thread::spawn({
            let (ends, sent) = (Arc::clone(&ends), Arc::clone(&sent));
            move || feed(output, &ends, &sent)
        });
        let load = Self {
            ends,
            sent,
            feeder,
            publisher,
            readers,
            began: Instant::now(),
            fewest: u64::MAX,
        };
        load.goes_on();
        load
    }

    /// Makes a change under load: messages come on all hosts between any two of its `parts`, such as the same change on one
    /// host after the other, and behind the last.
    #[track_caller]
    pub(crate) fn during<T>(
        &mut self,
        parts: impl IntoIterator<Item = T>,
        mut make: impl FnMut(T),
    ) {
        let before = self.sent.load(Ordering::Relaxed);
        for part in parts {
            make(part);
            self.goes_on();
        }
        let taken = self.sent.load(Ordering::Relaxed) - before;
        self.fewest = self.fewest.min(taken);
    }

    /// Waits until so many more messages were taken, and have come on every host. Fewer than those taken could still be in the
    /// pipe to the publisher.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.sent.load(Ordering::Relaxed);
        let bytes = || -> Vec<u64> {
            let files = self.readers.iter().map(|(_, reader)| reader.stdout_path());
            files
                .map(|file| std::fs::metadata(file).expect("its output").len())
                .collect()
        };
        let had = bytes();
        eventually("the load goes on", DRAIN, || {
            assert!(
                self.publisher.is_running(),
                "{:.500}",
                self.publisher.stderr()
            );
            let mut came = bytes().into_iter().zip(&had).map(|(now, had)| now - had);
            self.sent.load(Ordering::Relaxed) >= before + 2 * BURST
                && came.all(|bytes| bytes >= 2 * BURST * LINE_BYTES)
        });
    }

    /// Ends it. Every message was delivered to every reader, once and in order.
    #[track_caller]
    pub(crate) fn end(self) -> Account {
        self.ends.store(true, Ordering::Relaxed);
        self.feeder.join().expect("the feeder");
        let took = self.began.elapsed();
        let sent = self.sent.load(Ordering::Relaxed);
        let told = good("host", &["pub"], Done::of(&self.publisher, DRAIN));
        let owed = sent * self.readers.len() as u64;
        let all = format!("accepted {sent}, delivered {owed}, failed 0");
        assert_eq!(told.trim(), all);
        for (machine, reader) in &self.readers {
            let file = File::open(reader.stdout_path()).expect("its output");
            let mut wanted = 0;
            for line in BufReader::with_capacity(1 << 20, file).lines() {
                let line = line.expect("a line");
                let got = line.parse::<u64>().ok();
                assert_eq!(
                    got,
                    Some(wanted),
                    "the next message at {}: {line}",
                    machine.name()
                );
                wanted += 1;
            }
            assert_eq!(wanted, sent, "messages at {}", machine.name());
            let told = reader.stderr();
            assert!(
                !told.contains("gap: ") && !told.contains("lost"),
                "{told:.500}"
            );
        }
        Account {
            messages: sent,
            rate: sent as f64 / took.as_secs_f64(),
            fewest: self.fewest,
        }
    }
}

/// Writes numbered lines at the rate until it is told to end; it waits where they are not taken so fast.
fn feed(mut output: PipeWriter, ends: &AtomicBool, sent: &AtomicU64) {
    let began = Instant::now();
    let mut next = 0;
    let mut text = Vec::new();
    // What was not due in time is not made up for: the load is never above the rate for long.
    let mut skipped = 0;
    while !ends.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_micros() as u64 * RATE / 1_000_000).saturating_sub(skipped);
        let behind = due.saturating_sub(next);
        skipped += behind.saturating_sub(BURST);
        text.clear();
        for number in next..next + behind.min(BURST) {
            writeln!(text, "{number}").expect("writing to memory");
        }
        // The publisher ended: its own account tells why.
        if output.write_all(&text).is_err() {
            return;
        }
        next += behind.min(BURST);
        sent.store(next, Ordering::Relaxed);
        std::thread::sleep(STEP);
    }
}
