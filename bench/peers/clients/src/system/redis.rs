//! Redis pub/sub. Commands are written many at a time and their replies counted by another thread.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings_loadgen::{
    Class, Error, Place, Plan, Seen, Sent, Services, Sink, Source, System, Tally, While,
};

use super::broker::Broker;
use crate::catalogue::Known;
use crate::home;
use crate::reader::Reader;
use crate::resp::{self, Push};
use crate::stream::{self, GATHER, Inbox};
use crate::writer::{Link, Writers};

/// Bytes that are written at a time when more follows.
const WRITE_BYTES: usize = 16 << 10;
/// Commands without a reply: more only fill the server's buffers, and the caches.
const UNANSWERED_MAX: u64 = 4096;
const UNANSWERED_BYTES: u64 = 1 << 20;

/// How long room is waited for before it is looked at everything else again.
const PATIENCE: Duration = Duration::from_millis(5);

pub(super) struct Redis {
    pub(super) known: Known,
}

impl System for Redis {
    fn name(&self) -> &'static str {
        self.known.name
    }

    fn about(&self) -> &'static str {
        self.known.about
    }

    fn class(&self) -> Class {
        self.known.class
    }

    fn services(&self, _: &Plan, _: &Place) -> Result<Box<dyn Services>, Error> {
        Broker::start("redis-server", |folder, port| {
            let port = port.to_string();
            let folder = folder.display().to_string();
            let arguments = [
                // Nothing is kept on disk, and a subscriber that is behind is not cut off.
                ["--save", ""].as_slice(),
                &["--appendonly", "no", "--loglevel", "warning"],
                &["--client-output-buffer-limit", "pubsub 0 0 0"],
                &["--bind", "127.0.0.1", "--port", &port, "--dir", &folder],
            ];
            Ok(arguments.concat().iter().map(ToString::to_string).collect())
        })
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        super::check(plan)?;
        let links = (0..plan.publishers).map(|_| Publisher::open(plan, place));
        let links = links.collect::<Result<_, _>>()?;
        Ok(Box::new(Writers::new(plan, sent, links)))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        super::check(plan)?;
        let (addr, channel) = (home::addr(place)?, plan.pattern());
        let tally = Tally::new(plan, place, seen);
        let reader = Reader::start(tally, move |tally, stop, ready| {
            subscribe(stream::connect(addr)?, &channel, tally, stop, ready)
        })?;
        Ok(Box::new(reader))
    }
}

fn subscribe(
    mut stream: TcpStream,
    channel: &str,
    tally: &mut Tally,
    stop: &AtomicBool,
    ready: &mut dyn FnMut(),
) -> Result<(), String> {
    let command = resp::command(&[b"SUBSCRIBE", channel.as_bytes()]);
    stream::write(&mut stream, &command)?;
    let mut inbox = Inbox::new();
    while !stop.load(Relaxed) {
        inbox.fill(&mut stream)?;
        while let Some((push, len)) = resp::push(inbox.bytes())? {
            match push {
                Push::Subscribed => ready(),
                Push::Message(payload) => tally.take(payload, false),
            }
            inbox.take(len);
        }
    }
    Ok(())
}

/// One connection that publishes.
struct Publisher {
    stream: TcpStream,
    channel: String,
    kept: Vec<u8>,
    sent: u64,
    unanswered_max: u64,
    answered: Arc<AtomicU64>,
    answers: Option<JoinHandle<()>>,
}

impl Publisher {
    fn open(plan: &Plan, place: &Place) -> Result<Self, Error> {
        let stream = stream::connect(home::addr(place)?).during("publish")?;
        let mut replies = stream.try_clone().during("read replies")?;
        replies.set_read_timeout(None).during("read replies")?;
        let answered = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&answered);
        let answers = thread::Builder::new()
            .name("replies".to_owned())
            .spawn(move || {
                let mut bytes = vec![0; 64 << 10];
                // It ends with the connection. Each reply is one line.
                while let Ok(len @ 1..) = replies.read(&mut bytes) {
                    let lines = bytes[..len].iter().filter(|byte| **byte == b'\n').count();
                    count.fetch_add(lines as u64, Relaxed);
                    thread::sleep(GATHER);
                }
            })
            .during("read replies")?;
        Ok(Self {
            stream,
            channel: plan.topic(0),
            kept: Vec::with_capacity(2 * WRITE_BYTES),
            sent: 0,
            unanswered_max: UNANSWERED_MAX.min(UNANSWERED_BYTES / plan.sizes.most().max(1) as u64),
            answered,
            answers: Some(answers),
        })
    }
}

impl Link for Publisher {
    fn send(&mut self, payload: &[u8]) -> Result<bool, String> {
        if self.kept.len() >= WRITE_BYTES {
            self.flush()?;
        }
        if self.sent - self.answered.load(Relaxed) >= self.unanswered_max {
            return Ok(false);
        }
        resp::publish(&mut self.kept, &self.channel, payload);
        self.sent += 1;
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), String> {
        if !self.kept.is_empty() {
            stream::write(&mut self.stream, &self.kept)?;
            self.kept.clear();
        }
        Ok(())
    }

    // Not for room for a single one: each write wakes the server.
    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let enough = self.unanswered_max / 2;
        while self.sent - self.answered.load(Relaxed) > enough && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(20));
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Closed already: the thread ends by that.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(answers) = self.answers.take() {
            let _ = answers.join();
        }
    }
}
