//! Mosquitto with MQTT QoS 1: each message is acknowledged by the broker, and to the broker by the subscriber.

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
use crate::mqtt::{self, Packet};
use crate::reader::Reader;
use crate::stream::{self, GATHER, Inbox};
use crate::writer::{Link, Writers};

/// Bytes that are written at a time when more follows.
const WRITE_BYTES: usize = 16 << 10;
/// Messages that the broker has not acknowledged, and that it sends without acknowledgement.
const IN_FLIGHT_MAX: u64 = 1000;

/// Acknowledgements of four messages for one read: the subscriber is behind, and lets more gather.
const BUSY_BYTES: usize = 4 * 4;
/// How long room is waited for before it is looked at everything else again.
const PATIENCE: Duration = Duration::from_millis(5);

pub(super) struct Mosquitto {
    pub(super) known: Known,
}

impl System for Mosquitto {
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
        Broker::start("mosquitto", |folder, port| {
            let settings = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
                 max_inflight_messages {IN_FLIGHT_MAX}\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n"
            );
            let file = folder.join("mosquitto.conf");
            std::fs::write(&file, settings).during("write the broker's settings")?;
            Ok(vec!["-c".to_owned(), file.display().to_string()])
        })
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        super::check(plan)?;
        let links = (0..plan.publishers).map(|index| Publisher::open(plan, place, index));
        let links = links.collect::<Result<_, _>>()?;
        Ok(Box::new(Writers::new(plan, sent, links)))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        super::check(plan)?;
        let (addr, topic) = (home::addr(place)?, plan.pattern());
        let client = format!("subscriber-{}", place.index);
        let tally = Tally::new(plan, place, seen);
        let reader = Reader::start(tally, move |tally, stop, ready| {
            let stream = connect(addr, &client)?;
            subscribe(stream, &topic, tally, stop, ready)
        })?;
        Ok(Box::new(reader))
    }
}

/// Connects and waits until the broker took the connection.
fn connect(addr: std::net::SocketAddr, client: &str) -> Result<TcpStream, String> {
    let mut stream = stream::connect(addr)?;
    stream::write(&mut stream, &mqtt::connect(client))?;
    let mut inbox = Inbox::new();
    loop {
        inbox.fill(&mut stream)?;
        match mqtt::read(inbox.bytes())? {
            Some((Packet::Connected, _)) => return Ok(stream),
            Some((other, _)) => return Err(format!("{other:?} instead of a connection")),
            None => {}
        }
    }
}

fn subscribe(
    mut stream: TcpStream,
    topic: &str,
    tally: &mut Tally,
    stop: &AtomicBool,
    ready: &mut dyn FnMut(),
) -> Result<(), String> {
    stream::write(&mut stream, &mqtt::subscribe(1, topic))?;
    let (mut inbox, mut acks) = (Inbox::new(), Vec::new());
    while !stop.load(Relaxed) {
        if acks.len() >= BUSY_BYTES {
            thread::sleep(GATHER);
        }
        acks.clear();
        inbox.fill(&mut stream)?;
        while let Some((packet, len)) = mqtt::read(inbox.bytes())? {
            match packet {
                Packet::Subscribed => ready(),
                Packet::Message { id, again, payload } => {
                    tally.take(payload, again);
                    mqtt::puback(&mut acks, id);
                }
                other => return Err(format!("{other:?} to a subscriber")),
            }
            inbox.take(len);
        }
        if !acks.is_empty() {
            stream::write(&mut stream, &acks)?;
        }
    }
    Ok(())
}

/// One connection that publishes.
struct Publisher {
    stream: TcpStream,
    topic: String,
    kept: Vec<u8>,
    sent: u64,
    acked: Arc<AtomicU64>,
    told: u64,
    over: Arc<AtomicBool>,
    acks: Option<JoinHandle<Result<(), String>>>,
}

impl Publisher {
    fn open(plan: &Plan, place: &Place, index: usize) -> Result<Self, Error> {
        let name = format!("publisher-{index}");
        let stream = connect(home::addr(place)?, &name).during("publish")?;
        let mut answers = stream.try_clone().during("read acknowledgements")?;
        let (acked, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, stop) = (Arc::clone(&acked), Arc::clone(&over));
        let acks = thread::Builder::new()
            .name("acks".to_owned())
            .spawn(move || read_acks(&mut answers, &count, &stop))
            .during("read acknowledgements")?;
        Ok(Self {
            stream,
            topic: plan.topic(0),
            kept: Vec::with_capacity(2 * WRITE_BYTES),
            sent: 0,
            acked,
            told: 0,
            over,
            acks: Some(acks),
        })
    }
}

fn read_acks(stream: &mut TcpStream, acked: &AtomicU64, over: &AtomicBool) -> Result<(), String> {
    let mut inbox = Inbox::new();
    while !over.load(Relaxed) {
        inbox.fill(stream)?;
        let mut count = 0;
        while let Some((packet, len)) = mqtt::read(inbox.bytes())? {
            match packet {
                Packet::Acked => count += 1,
                other => return Err(format!("{other:?} to a publisher")),
            }
            inbox.take(len);
        }
        acked.fetch_add(count, Relaxed);
        thread::sleep(GATHER);
    }
    Ok(())
}

impl Link for Publisher {
    const HAS_OUTCOMES: bool = true;

    fn send(&mut self, payload: &[u8]) -> Result<bool, String> {
        if self.kept.len() >= WRITE_BYTES {
            self.flush()?;
        }
        if self.sent - self.acked.load(Relaxed) >= IN_FLIGHT_MAX {
            return Ok(false);
        }
        // Numbers 1 to 65,535 in turn: no more than 1,000 of them are in flight.
        let id = 1 + (self.sent % 0xffff) as u16;
        mqtt::publish(&mut self.kept, &self.topic, id, payload);
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

    // Not for room for a single one: each write wakes the broker.
    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let enough = IN_FLIGHT_MAX / 2;
        while self.sent - self.acked.load(Relaxed) > enough && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(20));
        }
    }

    fn outcomes(&mut self) -> Result<u64, String> {
        let acked = self.acked.load(Relaxed);
        let news = acked - self.told;
        self.told = acked;
        Ok(news)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // Closed already: the thread ends by that.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(acks) = self.acks.take() {
            let _ = acks.join();
        }
    }
}
