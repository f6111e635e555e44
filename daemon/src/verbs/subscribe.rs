//! `tidings sub`: writes what comes, acknowledges once it is written and flushed, goes on for ever.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidings_client::{AckMode, Client, Delivered, Event, Messages, Order, SubscribeOptions};

use super::attach::{attach, seconds};
use crate::args::{AckName, SubArgs, SubFormat};
use crate::output::{Failure, count};

/// Output that is gathered before it is flushed and acknowledged, while more is there to be written.
const BATCH_BYTES: usize = 256 << 10;

/// Runs the verb.
pub fn subscribe(args: SubArgs) -> Result<(), Failure> {
    let idle = args.idle.map(|idle| seconds("--idle", idle)).transpose()?;
    let mut client = attach(&args.client)?;
    let options = SubscribeOptions {
        ack: if args.ack == AckName::Node {
            AckMode::Node
        } else {
            AckMode::Client
        },
        order: if args.ordered {
            Order::Ordered
        } else {
            Order::Unordered
        },
        ..SubscribeOptions::default()
    };
    for pattern in &args.patterns {
        client
            .begin_subscribe(&args.overlay, pattern, options)
            .map_err(Failure::new)?;
    }
    let mut run = Run {
        out: Output::new(args.format),
        acknowledges: args.ack == AckName::Client,
        acks: Vec::new(),
        left: args.count,
        standing: 0,
        args: &args,
    };
    run.all(&mut client, idle)
}

struct Run<'a> {
    out: Output,
    acknowledges: bool,
    acks: Vec<Delivered>,
    /// Messages until the end, if one is asked for.
    left: Option<u64>,
    /// Subscriptions that stand.
    standing: usize,
    args: &'a SubArgs,
}

impl Run<'_> {
    fn all(&mut self, client: &mut Client, idle: Option<Duration>) -> Result<(), Failure> {
        let mut last = Instant::now();
        while self.left != Some(0) {
            let timeout = if self.acks.is_empty() && self.out.pending() == 0 {
                idle.map(|idle| idle.saturating_sub(last.elapsed()))
            } else {
                Some(Duration::ZERO)
            };
            match client.next(timeout).map_err(Failure::new)? {
                Some(Event::Messages(messages)) => {
                    last = Instant::now();
                    self.messages(messages)?;
                }
                Some(event) => self.other(event)?,
                None if self.acks.is_empty() && self.out.pending() == 0 => {
                    if idle.is_some_and(|idle| last.elapsed() >= idle) {
                        break;
                    }
                }
                None => self.commit(client)?,
            }
            if self.out.pending() >= BATCH_BYTES {
                self.commit(client)?;
            }
        }
        self.commit(client)?;
        match self.left {
            None | Some(0) => Ok(()),
            Some(left) => Err(Failure::Failed(format!(
                "{} did not come",
                count(left, "message")
            ))),
        }
    }

    fn messages(&mut self, messages: Messages<'_>) -> Result<(), Failure> {
        let here = messages.payloads.len() as u64;
        let wanted = self.left.map_or(here, |left| left.min(here));
        for (seq, payload) in (messages.seq..)
            .zip(messages.payloads)
            .take(wanted as usize)
        {
            self.out.message(&messages, seq, payload)?;
        }
        self.left = self.left.map(|left| left - wanted);
        if !self.acknowledges {
            return Ok(());
        }
        let written = messages.first(wanted);
        if !self.acks.last_mut().is_some_and(|last| last.join(&written)) {
            self.acks.push(written);
        }
        Ok(())
    }

    /// Flushes what was written and acknowledges it.
    fn commit(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.out.flush()?;
        for ack in self.acks.drain(..) {
            client.acknowledge(&ack);
        }
        match client.flush() {
            Ok(()) | Err(tidings_client::Error::Lost(_)) => Ok(()),
            Err(error) => Err(Failure::new(error)),
        }
    }

    fn other(&mut self, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Subscribed {
                partial, pending, ..
            } => {
                self.standing += 1;
                if partial {
                    let names: Vec<&str> = pending.collect();
                    eprintln!("not known yet at {}", names.join(", "));
                }
                if self.standing == self.args.patterns.len() {
                    eprintln!(
                        "subscribed to {} on {}",
                        self.args.patterns.join(", "),
                        self.args.overlay
                    );
                }
            }
            Event::Gap {
                publisher,
                topic,
                from,
                count: holes,
                reason,
                ..
            } => {
                eprintln!(
                    "gap: {} of {topic} by {} (publisher {:x}) never come, seq {from} to {}: {reason}",
                    count(holes, "message"),
                    publisher.node,
                    publisher.handle,
                    (from + holes).saturating_sub(1),
                );
            }
            Event::Lost { why } => {
                self.standing = 0;
                self.acks.clear(); // They come again, under another session.
                eprintln!("the daemon is lost: {why}; attaching again");
            }
            Event::Attached(attached) => eprintln!("attached to {} again", attached.name),
            Event::Refused { text, .. } => return Err(Failure::Failed(text)),
            _ => {}
        }
        Ok(())
    }
}

/// Standard output in one of the formats.
struct Output {
    out: BufWriter<io::Stdout>,
    format: SubFormat,
    /// On a terminal each message begins on a line of its own.
    terminal: bool,
    pending: usize,
}

impl Output {
    fn new(format: SubFormat) -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        Self {
            out: BufWriter::with_capacity(BATCH_BYTES, out),
            format,
            terminal,
            pending: 0,
        }
    }

    fn pending(&self) -> usize {
        self.pending
    }

    fn message(
        &mut self,
        messages: &Messages<'_>,
        seq: u64,
        payload: &[u8],
    ) -> Result<(), Failure> {
        self.pending += payload.len() + 1;
        let written = match self.format {
            SubFormat::Raw => self.raw(payload),
            SubFormat::Json => writeln!(self.out, "{}", as_json(messages, seq, payload)),
        };
        written.map_err(Failure::output)
    }

    fn raw(&mut self, payload: &[u8]) -> io::Result<()> {
        self.out.write_all(payload)?;
        if self.terminal && !payload.ends_with(b"\n") {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.pending = 0;
        self.out.flush().map_err(Failure::output)
    }
}

fn as_json(messages: &Messages<'_>, seq: u64, payload: &[u8]) -> Value {
    let mut object = json!({
        "topic": messages.topic,
        "node": messages.publisher.node.to_string(),
        "boot": messages.publisher.boot.to_string(),
        "handle": messages.publisher.handle,
        "seq": seq,
        "again": messages.again,
    });
    match std::str::from_utf8(payload) {
        Ok(text) => object["payload"] = text.into(),
        Err(_) => {
            object["payload_hex"] = payload
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                .into();
        }
    }
    object
}
