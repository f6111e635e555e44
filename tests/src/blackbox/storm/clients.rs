//! The clients of a storm: threads that publish or subscribe through the client library and write down what they do and
//! what they are told.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::Release};
use std::time::{Duration, Instant};

use tidings_client::{
    Client, Delivered, Error, ErrorCode, Event, Messages, Options, Order, Outcome, Publisher,
    PublisherId, SubscribeOptions,
};

use super::dice::Dice;
use super::entry::{Log, Origin, What};
use super::payload::{hash, named, payload};

/// How long a client waits for events before it looks what else there is to do.
const LOOK: Duration = Duration::from_millis(5);
/// Longest time that a subscriber holds a message before it acknowledges.
const HOLD_MS: u64 = 800;
/// How often a client asks for what it does not have yet.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Pause between two attempts of a new client to attach.
const ATTACH_EVERY: Duration = Duration::from_millis(100);

/// What all clients of a storm share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) seed: u64,
    pub(super) overlay: String,
    pub(super) folder: PathBuf,
    pub(super) began: Instant,
    /// Publishers publish for the storm.
    pub(super) blowing: AtomicBool,
    /// Messages that each publisher shall have published once all is healed.
    pub(super) calm: AtomicU64,
    /// Everybody ends.
    pub(super) over: AtomicBool,
    /// Subscribers to crash, by name.
    pub(super) crash: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) fn new(seed: u64, overlay: &str, folder: &Path) -> Stage {
        std::fs::create_dir_all(folder).expect("a folder for logs");
        Stage {
            seed,
            overlay: overlay.to_owned(),
            folder: folder.to_owned(),
            began: Instant::now(),
            blowing: AtomicBool::new(true),
            calm: AtomicU64::new(0),
            over: AtomicBool::new(false),
            crash: Mutex::new(Vec::new()),
        }
    }

    fn over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn crashes(&self, name: &str) -> bool {
        let mut crash = self.crash.lock().expect("no thread panics with it");
        let before = crash.len();
        crash.retain(|other| other != name);
        crash.len() < before
    }
}

/// A client that publishes.
#[derive(Debug)]
pub(super) struct Talker<'a> {
    pub(super) stage: &'a Stage,
    pub(super) name: String,
    pub(super) socket: PathBuf,
    /// Messages a second.
    pub(super) rate: u64,
    /// Outcomes and answers of its present session that have not come.
    pub(super) waits_for: &'a AtomicU64,
    /// Messages that it has published in the calm. Whoever finds one here finds it in `waits_for`, too.
    pub(super) calm: &'a AtomicU64,
    /// Subscriptions that its node would owe a message to, asked for after the storm.
    pub(super) owed: &'a AtomicU64,
}

/// What a publisher knows of its present session.
#[derive(Default)]
struct Session {
    /// None while it must be opened anew, as after a refusal.
    publisher: Option<Publisher>,
    unaccepted: u64,
    unsettled: u64,
}

impl Talker<'_> {
    /// Publishes until the storm is over.
    pub(super) fn run(&self) {
        let topic = format!("storm.{}", self.name);
        let mut log = Log::create(&self.stage.folder, &self.name, self.stage.began);
        let mut dice = Dice::new(self.stage.seed, &self.name);
        let Some(mut client) = attach(self.stage, &mut log, || Options::new(&self.socket)) else {
            return;
        };
        let mut session = Session::default();
        let (mut id, mut calm) = (0, 0);
        let mut due = Instant::now();
        let (mut asked, mut opened) = (due, due);
        while !self.stage.over() {
            if session.publisher.is_none() && opened.elapsed() > ASK_EVERY {
                opened = Instant::now();
                session.publisher = client.begin_open(&self.stage.overlay, &topic).ok();
            }
            let blowing = self.stage.blowing.load(Relaxed);
            let wanted = self.stage.calm.load(Relaxed);
            if due <= Instant::now() && (blowing || calm < wanted) {
                due += Duration::from_millis(1000 / self.rate);
                let burst = if blowing && dice.happens(1) { 100 } else { 1 };
                for _ in 0..burst {
                    if self.publish(
                        &mut client,
                        &mut session,
                        &topic,
                        id,
                        !blowing,
                        &mut dice,
                        &mut log,
                    ) {
                        id += 1;
                        calm += u64::from(!blowing);
                    }
                }
            }
            let told = |event: Event<'_>, log: &mut Log| session.told(event, &topic, log);
            listen(&mut client, told, &mut log);
            if !blowing && asked.elapsed() > ASK_EVERY {
                asked = Instant::now();
                // A daemon that is not there owes nothing.
                let owed = session.publisher.map(|publisher| client.owed(publisher));
                let owed = owed.and_then(Result::ok).unwrap_or(0);
                self.owed.store(owed.into(), Relaxed);
            }
            self.waits_for.store(
                session.unaccepted + session.unsettled + (wanted.saturating_sub(calm)),
                Relaxed,
            );
            self.calm.store(calm, Release);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn publish(
        &self,
        client: &mut Client,
        session: &mut Session,
        topic: &str,
        id: u64,
        calm: bool,
        dice: &mut Dice,
        log: &mut Log,
    ) -> bool {
        let bytes = match dice.between(0, 100) {
            0 => dice.between(20_000, 200_000),
            1..10 => dice.between(1_200, 9_000),
            _ => dice.between(16, 1_200),
        };
        let payload = payload(self.stage.seed, &self.name, id, bytes as usize);
        // No credit, no daemon: the next one gets this number.
        let sent = session
            .publisher
            .and_then(|publisher| client.try_publish(publisher, &payload).ok());
        let Some(seq) = sent else {
            return false;
        };
        session.unaccepted += 1;
        log.note(What::Sent {
            id,
            topic: topic.to_owned(),
            seq,
            bytes: payload.len() as u64,
            hash: hash(&payload),
            calm,
        });
        true
    }
}

impl Session {
    fn told(&mut self, event: Event<'_>, topic: &str, log: &mut Log) {
        match event {
            Event::Accepted {
                from, count, owed, ..
            } => {
                let count = u64::from(count);
                self.unaccepted = self.unaccepted.saturating_sub(count);
                self.unsettled += count * u64::from(owed);
                log.note(What::Accepted {
                    topic: topic.to_owned(),
                    from,
                    count,
                    owed: owed.into(),
                });
            }
            Event::Outcome {
                node,
                sub,
                from,
                count,
                outcome,
                ..
            } => {
                self.unsettled = self.unsettled.saturating_sub(count.into());
                log.note(What::Outcome {
                    topic: topic.to_owned(),
                    node: node.to_string(),
                    sub,
                    from,
                    count: count.into(),
                    outcome: name(outcome),
                });
            }
            Event::Lost { .. } => (self.unaccepted, self.unsettled) = (0, 0),
            Event::Refused { .. } => self.publisher = None,
            _ => {}
        }
    }
}

/// A client that subscribes.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub(super) stage: &'a Stage,
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) pattern: String,
    pub(super) options: SubscribeOptions,
    pub(super) got: &'a AtomicU64,
}

impl Listener<'_> {
    /// Subscribes until the storm is over; crashes when told to.
    pub(super) fn run(&self) {
        let mut log = Log::create(&self.stage.folder, &self.name, self.stage.began);
        log.note(What::Subscribe {
            pattern: self.pattern.clone(),
            ordered: self.options.order == Order::Ordered,
        });
        let mut dice = Dice::new(self.stage.seed, &self.name);
        while !self.stage.over() {
            self.live(&mut log, &mut dice);
        }
    }

    /// One life, from its login until it crashes.
    fn live(&self, log: &mut Log, dice: &mut Dice) {
        let options = || Options::new(&self.socket).name(&self.name);
        let Some(mut client) = attach(self.stage, log, options) else {
            return;
        };
        let mut held: Vec<(Instant, Delivered, Vec<What>)> = Vec::new();
        let mut subscription = None;
        let mut refused = false;
        let mut asked = Instant::now();
        while !self.stage.over() {
            if subscription.is_none() || (refused && asked.elapsed() > ASK_EVERY) {
                asked = Instant::now();
                refused = false;
                let overlay = &self.stage.overlay;
                let asked = client.begin_subscribe(overlay, &self.pattern, self.options);
                subscription = asked.ok();
            }
            let told = |event: Event<'_>, log: &mut Log| match event {
                Event::Messages(messages) => {
                    let acks = self.note(&messages, log);
                    let wait = if dice.happens(10) {
                        dice.between(1, HOLD_MS)
                    } else {
                        0
                    };
                    let until = Instant::now() + Duration::from_millis(wait);
                    held.push((until, messages.all(), acks));
                }
                Event::Gap {
                    publisher,
                    from,
                    count,
                    reason,
                    ..
                } => log.note(What::Gap {
                    origin: origin(&publisher),
                    from,
                    count,
                    reason: name(reason),
                }),
                Event::Refused { .. } => refused = true,
                // What the lost session had counts nothing any more.
                Event::Lost { .. } => held.clear(),
                _ => {}
            };
            listen(&mut client, told, log);
            let now = Instant::now();
            held.retain(|(until, delivered, acks)| {
                let is_due = *until <= now;
                if is_due {
                    // Written down first: what is told delivered must be found here.
                    acks.iter().for_each(|ack| log.note(ack.clone()));
                    client.acknowledge(delivered);
                }
                !is_due
            });
            if self.stage.crashes(&self.name) {
                log.note(What::Lost {
                    why: "crashed".into(),
                });
                return;
            }
        }
        // Nothing shall be owed to it when it is gone; if the daemon does not answer, the grace of its name ends that.
        if let Some(subscription) = subscription {
            let _ = client.unsubscribe(subscription);
        }
    }

    /// Writes messages down; gives the lines of their acknowledgement.
    fn note(&self, messages: &Messages<'_>, log: &mut Log) -> Vec<What> {
        let origin = origin(&messages.publisher);
        let mut acks = Vec::new();
        for (seq, payload) in (messages.seq..).zip(messages.payloads) {
            let (publisher, id) = named(payload);
            self.got.fetch_add(1, Relaxed);
            log.note(What::Got {
                topic: messages.topic.to_owned(),
                origin: origin.clone(),
                seq,
                again: messages.again,
                publisher,
                id,
                bytes: payload.len() as u64,
                hash: hash(payload),
            });
            acks.push(What::Acked {
                origin: origin.clone(),
                seq,
            });
        }
        acks
    }
}

/// Attaches, however long the daemon is away; `None` when the storm ends first.
fn attach(stage: &Stage, log: &mut Log, options: impl Fn() -> Options) -> Option<Client> {
    while !stage.over() {
        match Client::connect(options()) {
            Ok(client) => {
                let at = client.attached();
                log.attached(at.node.to_string(), at.boot.to_string());
                return Some(client);
            }
            Err(_) => std::thread::sleep(ATTACH_EVERY),
        }
    }
    None
}

/// Takes the events that are there, waiting a moment for the first.
fn listen(client: &mut Client, mut told: impl FnMut(Event<'_>, &mut Log), log: &mut Log) {
    let mut wait = LOOK;
    loop {
        match client.next(Some(wait)) {
            Ok(None) => return,
            Ok(Some(event)) => {
                match &event {
                    Event::Lost { why } => log.note(What::Lost { why: why.clone() }),
                    Event::Attached(at) => log.attached(at.node.to_string(), at.boot.to_string()),
                    // A node that is told to stop says so, and goes.
                    Event::Refused {
                        code: ErrorCode::Leaving,
                        ..
                    } => {}
                    Event::Refused { code, text } => panic!("refused: {code} {text}"),
                    _ => {}
                }
                told(event, log);
            }
            Err(Error::Lost(_) | Error::TimedOut | Error::NoDaemon { .. }) => return,
            Err(error) => panic!("a client is refused for good: {error}"),
        }
        wait = Duration::ZERO;
    }
}

fn origin(publisher: &PublisherId) -> Origin {
    Origin(
        publisher.node.to_string(),
        publisher.boot.to_string(),
        publisher.handle,
    )
}

fn name(outcome: Outcome) -> String {
    format!("{outcome:?}")
}
