//! Opening publishers, subscribers, presence watches, handlers and sessions: rings are made here, one end of each goes to
//! the shard, the other to the caller.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use tidings_protocol::{CommandError, PublisherId};
use tidings_wire::OverlayId;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::limits::{ACK_RING_BYTES, OUTCOME_RING_BYTES, SUBSCRIBE_WAIT, WATCH_RING_BYTES};
use crate::on_shard::{Desk, Resident, ResidentSession};
use crate::presence::Presence;
use crate::publisher::{Publisher, PublisherOptions, PublisherParts, PublisherShared};
use crate::queue::ring::{Consumer, Producer, record_bytes, ring};
use crate::session::Session;
use crate::shard::Shard;
use crate::shard::outlet::{OutcomeSink, PublisherSink, RingSink, Sink};
use crate::shard::overlay::ShardOverlay;
use crate::shard::port::{Port, PublisherPort, SubscriberPort};
use crate::subscriber::{Subscriber, SubscriberOptions, SubscriberParts, SubscriberShared};
use crate::whereabouts::PortBell;

impl Engine {
    /// Opens a publisher on a topic.
    pub fn publisher(
        &self,
        overlay: OverlayId,
        topic: &str,
        options: PublisherOptions,
    ) -> Result<Publisher, EngineError> {
        let running = self.inner.running(overlay)?;
        let (tx, consumer) = ring(ring_bytes(
            options.ring_bytes,
            running.shared.message_bytes_max(),
        ));
        let (outcome_tx, outcomes) = ring(OUTCOME_RING_BYTES);
        let shared = Arc::new(PublisherShared::new());
        let for_shard = Arc::clone(&shared);
        let asked = topic.to_owned();
        let opened = self.inner.ask(overlay, move |_, overlay| {
            let port = overlay.free_port().ok_or(EngineError::TooMany)?;
            let handle = overlay.open_publisher(&asked, PublisherSink::Ring(port))?;
            let sink = OutcomeSink::new(outcome_tx, Arc::clone(&for_shard), options.outcomes);
            let publisher = PublisherPort {
                handle,
                consumer,
                shared: for_shard,
                next_seq: 0,
            };
            overlay.set_port(port, Port::Publisher(publisher), None, Some(sink));
            Ok::<_, EngineError>((handle, port))
        })?;
        let (handle, port) = opened?;
        Ok(Publisher::new(PublisherParts {
            id: PublisherId {
                node: self.inner.node,
                boot: self.inner.boot,
                handle,
            },
            topic: topic.to_owned(),
            ring: tx,
            outcomes,
            shared,
            bell: PortBell::new(&running.shared.at, port),
            overlay: running.shared,
        }))
    }

    /// Subscribes to patterns, all into one queue. Returns when the subscription is effective at every member held alive,
    /// or after 2 s with the others named in [`Subscriber::partial`].
    pub fn subscribe(
        &self,
        overlay: OverlayId,
        patterns: &[&str],
        options: SubscriberOptions,
    ) -> Result<Subscriber, EngineError> {
        let running = self.inner.running(overlay)?;
        let shared = Arc::new(SubscriberShared::new());
        let (messages, ring_end) = ring(ring_bytes(
            options.ring_bytes,
            running.shared.message_bytes_max(),
        ));
        let (acks, acks_end) = ring(ACK_RING_BYTES);
        let wish = Wish {
            patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            options,
            messages,
            acks: acks_end,
            shared: Arc::clone(&shared),
        };
        let (effective, heard) = channel();
        let opened = self.inner.ask(overlay, move |now, overlay| {
            let (subs, port) = wish.open(now, overlay)?;
            for &sub in &subs {
                let effective = effective.clone();
                // Whoever subscribed may have stopped waiting.
                overlay.when_effective(sub, Box::new(move |missing| drop(effective.send(missing))));
            }
            Ok::<_, EngineError>((subs, port))
        })?;
        let (subs, port) = opened?;
        let deadline = Instant::now() + SUBSCRIBE_WAIT;
        let mut partial = Vec::new();
        for _ in &subs {
            let left = deadline.saturating_duration_since(Instant::now());
            partial.extend(heard.recv_timeout(left).unwrap_or_default());
        }
        partial.sort_unstable();
        partial.dedup();
        Ok(Subscriber::new(SubscriberParts {
            subs,
            partial,
            ring: ring_end,
            acks,
            shared,
            bell: PortBell::new(&running.shared.at, port),
        }))
    }

    /// Ends subscriptions of this node, named ones included: nothing is kept for their clients, and what they had not
    /// acknowledged fails. Those that ended by themselves are no error.
    pub fn unsubscribe(&self, overlay: OverlayId, subs: &[u32]) -> Result<(), EngineError> {
        let subs = subs.to_vec();
        self.inner.ask(overlay, move |now, overlay| {
            for sub in subs {
                overlay.unsubscribe(now, sub);
            }
        })
    }

    /// Watches presence: a snapshot first, then every change.
    pub fn presence(&self, overlay: OverlayId) -> Result<Presence, EngineError> {
        let running = self.inner.running(overlay)?;
        let shared = Arc::new(SubscriberShared::new());
        let for_shard = Arc::clone(&shared);
        let (events, ring_end) = ring(WATCH_RING_BYTES);
        let (end, consumer) = ring(0);
        let opened = self.inner.ask(overlay, move |_, overlay| {
            let port = overlay.free_port()?;
            let watch = SubscriberPort {
                subs: Vec::new(),
                named: false,
                consumer,
                shared: Arc::clone(&for_shard),
            };
            overlay.set_port(
                port,
                Port::Subscriber(watch),
                Some(RingSink::new(events, for_shard)),
                None,
            );
            overlay.outlets.watchers.push(Sink::Ring(port));
            Some((overlay.members(), port))
        })?;
        let (snapshot, port) = opened.ok_or(EngineError::TooMany)?;
        Ok(Presence {
            snapshot,
            ring: ring_end,
            end,
            shared,
            bell: PortBell::new(&running.shared.at, port),
        })
    }

    /// Runs `set_up` on the overlay's shard, where it puts handlers that stay there: the fastest path. See [`Desk`].
    pub fn on_shard<R: Send + 'static>(
        &self,
        overlay: OverlayId,
        set_up: impl FnOnce(&mut Desk<'_>) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        self.with_session(overlay, move |shard, slot| {
            let resident = std::rc::Rc::new(Resident::default());
            let session = Box::new(ResidentSession(std::rc::Rc::clone(&resident)));
            shard.seat(slot, session, |seat| {
                let mut desk = Desk { seat, resident };
                set_up(&mut desk)
            })
        })
    }

    /// Puts a session on the overlay's shard; `make` builds it there. For local clients, whose descriptor it owns.
    pub fn attach_session(
        &self,
        overlay: OverlayId,
        make: impl FnOnce() -> Box<dyn Session> + Send + 'static,
    ) -> Result<(), EngineError> {
        self.with_session(overlay, move |shard, slot| shard.seat(slot, make(), |_| ()))
    }

    fn with_session<R: Send + 'static>(
        &self,
        id: OverlayId,
        add: impl FnOnce(&mut Shard, u16) -> Option<R> + Send + 'static,
    ) -> Result<R, EngineError> {
        let added = self.inner.visit(id, add)?;
        added.ok_or(EngineError::TooMany)
    }
}

/// What a subscriber asks of its shard.
struct Wish {
    patterns: Vec<String>,
    options: SubscriberOptions,
    messages: Producer,
    acks: Consumer,
    shared: Arc<SubscriberShared>,
}

impl Wish {
    /// Subscribes to all patterns or to none.
    fn open(self, now: u64, overlay: &mut ShardOverlay) -> Result<(Vec<u32>, u32), EngineError> {
        let port = overlay.free_port().ok_or(EngineError::TooMany)?;
        let subscriber = SubscriberPort {
            subs: Vec::new(),
            named: !self.options.client.is_empty(),
            consumer: self.acks,
            shared: Arc::clone(&self.shared),
        };
        let sink = RingSink::new(self.messages, self.shared);
        overlay.set_port(port, Port::Subscriber(subscriber), Some(sink), None);
        let mut subs: Vec<u32> = Vec::with_capacity(self.patterns.len());
        for pattern in &self.patterns {
            match overlay.subscribe(now, self.options.spec(pattern), Sink::Ring(port)) {
                Ok(sub) => subs.push(sub),
                Err(error) => {
                    overlay.give_up_port(now, port, &subs);
                    return Err(error.into());
                }
            }
        }
        if subs.is_empty() {
            overlay.give_up_port(now, port, &subs);
            return Err(CommandError::BadTopic.into());
        }
        overlay.set_subs(port, &subs);
        Ok((subs, port))
    }
}

/// A ring that holds the largest message with its head twice.
fn ring_bytes(wished: usize, message_bytes_max: usize) -> usize {
    let largest = record_bytes(message_bytes_max + crate::record::HEAD_BYTES_MAX) as usize;
    wished.max(2 * largest)
}
