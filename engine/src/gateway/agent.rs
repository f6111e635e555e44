//! A client's dealings with one overlay, on that overlay's shard: its requests become calls on the seat, what the core says
//! becomes frames in [`Out`]. A connection has one for its own overlay, and one behind a link for each overlay elsewhere.
//!
//! Two halves that are borrowed apart: the ledger, which only requests touch, and the output, which deliveries and events
//! touch while a request is on the stack. The output's borrow is never held across a call on the seat.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use tidings_protocol::{
    CommandError, Delivery, Event, PublishError, PublisherId, Redelivery, Run, SlowPolicy, SubSpec,
    Taken,
};
use tidings_wire::client::presence::{Unwatch, Watch};
use tidings_wire::client::publish::{
    AskOwed, CONNECTION, Close, Closed, Credit, Open, Opened, Owed, Publish,
};
use tidings_wire::client::subscribe::{Ack, Subscribe, Unsubscribe, Unsubscribed};
use tidings_wire::client::{AckMode, ErrorCode, Kind, Order, Policy, Records, Request};

use super::client::Part;
use super::held::{Front, Held};
use super::limits::{OPENED_AT_ONCE, OUTPUT_SOFT, PUBLISHERS_MAX, SUBSCRIPTIONS_MAX, WATCHES_MAX};
use super::out::Out;
use super::publisher::Publisher;
use super::tell;
use crate::seat::Seat;

/// The client broke the protocol: the connection ends with this sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breach(pub(crate) &'static str);

/// What the client knows of the overlay's largest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Largest {
    /// All that there is to know.
    Told,
    /// Some publishers are told; the others are in the ledger's `untold`.
    Telling,
    /// It is another one now.
    Changed,
}

/// What requests touch.
#[derive(Default)]
struct Ledger {
    publishers: HashMap<u32, Publisher>,
    /// Those whose client has to be told another largest message.
    untold: Vec<u32>,
    /// The node's number by the client's.
    subs: HashMap<u32, u32>,
    watches: Vec<u32>,
    held: Held,
    /// Bytes of PUBLISH frames that are done with.
    consumed: u64,
}

/// See the module.
pub(crate) struct Agent {
    part: RefCell<Option<Part>>,
    /// Name of the overlay.
    overlay: String,
    ledger: RefCell<Ledger>,
    largest: Cell<Largest>,
    pub(crate) out: RefCell<Out>,
}

impl Agent {
    pub(crate) fn new(part: Part, overlay: &str) -> Self {
        Self {
            part: RefCell::new(Some(part)),
            overlay: overlay.to_owned(),
            ledger: RefCell::default(),
            largest: Cell::new(Largest::Told),
            out: RefCell::default(),
        }
    }

    pub(crate) fn overlay(&self) -> &str {
        &self.overlay
    }

    /// Bytes of PUBLISH frames that are done with, since the beginning.
    pub(crate) fn consumed(&self) -> u64 {
        self.ledger.borrow().consumed
    }

    /// Whether the client's number is taken: of a publisher, subscription or watch, as the frame that begins it says.
    pub(crate) fn has(&self, kind: Kind, number: u32) -> bool {
        let ledger = self.ledger.borrow();
        match kind {
            Kind::Open => ledger.publishers.contains_key(&number),
            Kind::Subscribe => ledger.subs.contains_key(&number),
            Kind::Watch => ledger.watches.contains(&number),
            _ => false,
        }
    }

    pub(crate) fn is_choked(&self) -> bool {
        self.out.borrow().is_choked()
    }

    pub(crate) fn is_overrun(&self) -> bool {
        self.out.borrow().is_overrun()
    }

    fn refuse(&self, code: ErrorCode, refused: Kind, number: u32, text: &str) {
        self.out.borrow_mut().refuse(code, refused, number, text);
    }

    /// Serves a request about this overlay. `cost` is the size of its frame.
    pub(crate) fn serve(
        &self,
        seat: &mut Seat<'_>,
        request: &Request<'_>,
        cost: u64,
    ) -> Result<(), Breach> {
        match request {
            Request::Publish(publish) => return self.publish(seat, publish, cost),
            Request::Ack(ack) => self.acknowledge(seat, ack),
            Request::Open(open) => self.open(seat, open),
            Request::Close(close) => self.close(seat, close),
            Request::AskOwed(ask) => self.ask_owed(seat, ask),
            Request::Subscribe(subscribe) => self.subscribe(seat, subscribe),
            Request::Unsubscribe(unsubscribe) => self.unsubscribe(seat, unsubscribe),
            Request::Watch(watch) => self.watch(seat, watch),
            Request::Unwatch(unwatch) => self.unwatch(seat, unwatch),
            Request::Hello(_) | Request::Proof(_) => {
                return Err(Breach("the session stands already"));
            }
            Request::Query(_) | Request::Leave(_) => {
                unreachable!("the connection passes questions on")
            }
        }
        Ok(())
    }

    // Publishing.

    fn open(&self, seat: &mut Seat<'_>, open: &Open<'_>) {
        let part = self.part.borrow();
        let Some(part) = part.as_ref() else { return };
        let refuse = |code, text: &str| self.refuse(code, Kind::Open, open.publisher, text);
        let mut ledger = self.ledger.borrow_mut();
        if ledger.publishers.contains_key(&open.publisher) {
            return refuse(ErrorCode::BadNumber, "this publisher is open already");
        }
        if ledger.publishers.len() >= PUBLISHERS_MAX {
            return refuse(
                ErrorCode::TooMany,
                "too many publishers are open on this connection",
            );
        }
        if !part.rights.may_publish(open.topic) {
            let text = format!("the client {} may not publish on {}", part.name, open.topic);
            tracing::warn!(client = %part.name, topic = ?open.topic, "denied: it may not publish there");
            return refuse(ErrorCode::NotAllowed, &text);
        }
        if seat.is_draining() {
            return refuse(ErrorCode::Leaving, "this node is draining");
        }
        let handle = match seat.open_publisher(open.topic) {
            Ok(handle) => handle,
            Err(error) => {
                let (code, text) = explain(error, open.topic);
                return refuse(code, &text);
            }
        };
        let publisher = Publisher::new(handle, seat.message_bytes_max());
        let mut out = self.out.borrow_mut();
        out.add_publisher(handle, open.publisher);
        tell_opened(&mut out, open.publisher, &publisher, seat.owed(open.topic));
        ledger.publishers.insert(open.publisher, publisher);
    }

    fn publish(&self, seat: &mut Seat<'_>, publish: &Publish<'_>, cost: u64) -> Result<(), Breach> {
        let ledger = &mut *self.ledger.borrow_mut();
        let Some(publisher) = ledger.publishers.get_mut(&publish.publisher) else {
            // Its OPEN was refused, or it was closed for a message that is too large; the client may not know yet.
            ledger.consumed += cost;
            return Ok(());
        };
        if !publisher.come(publish.bytes) {
            return Err(Breach(
                "more was published than the publisher's credit allows",
            ));
        }
        if !ledger.held.is_empty() {
            ledger.held.push(publish.publisher, publish.records, cost);
            return Ok(());
        }
        let unsynced = !seat.is_synced();
        let mut rest = publish.records;
        let refused = self.publish_all(seat, publisher, publish.publisher, &mut rest, unsynced);
        match refused {
            Ok(()) => {}
            Err(PublishError::WouldBlock) => {
                ledger.held.push(publish.publisher, rest, cost);
                return Ok(());
            }
            Err(error) => ledger.drop_publisher(seat, self, publish.publisher, error),
        }
        ledger.consumed += cost;
        Ok(())
    }

    /// Publishes one record after the other until one is refused; those not published are left in `records`.
    fn publish_all(
        &self,
        seat: &mut Seat<'_>,
        publisher: &mut Publisher,
        number: u32,
        records: &mut Records<'_>,
        unsynced: bool,
    ) -> Result<(), PublishError> {
        let published = seat.publish_batch(publisher.handle, |batch| {
            batch.up_to(publisher.takes());
            loop {
                let rest = *records;
                let Some(payload) = records.next() else {
                    return Ok(());
                };
                match batch.publish(payload) {
                    Ok(accepted) => {
                        publisher.accept(payload);
                        let mut out = self.out.borrow_mut();
                        out.accept(number, accepted.seq, accepted.owed, unsynced);
                    }
                    Err(error) => {
                        *records = rest;
                        return Err(error);
                    }
                }
            }
        });
        self.grant(publisher, number);
        published
    }

    /// Tells the client that it may send more on a publisher, once it has used half of what it was granted.
    fn grant(&self, publisher: &mut Publisher, number: u32) {
        if let Some(credit) = publisher.grant() {
            Credit {
                publisher: number,
                credit,
            }
            .encode(self.out.borrow_mut().frame());
        }
    }

    /// The overlay takes messages of another size from now on: the client hears of it for each of its publishers.
    pub(crate) fn largest_changed(&self) {
        self.largest.set(Largest::Changed);
    }

    /// Tells it, for as many publishers as one look allows and the output has room for.
    fn tell_largest(&self, seat: &Seat<'_>) {
        let ledger = &mut *self.ledger.borrow_mut();
        let mut out = self.out.borrow_mut();
        let largest = seat.message_bytes_max();
        if self.largest.replace(Largest::Telling) == Largest::Changed {
            let others = ledger.publishers.iter();
            let others = others.filter(|(_, publisher)| publisher.told() != largest);
            ledger.untold = others.map(|(&number, _)| number).collect();
        }
        for _ in 0..OPENED_AT_ONCE {
            if out.backlog() >= OUTPUT_SOFT {
                return;
            }
            let Some(number) = ledger.untold.pop() else {
                ledger.untold = Vec::new();
                self.largest.set(Largest::Told);
                return;
            };
            // It may be closed since, or its number be that of one opened since.
            if let Some(publisher) = ledger.publishers.get_mut(&number)
                && publisher.told() != largest
                && !publisher.closing
            {
                publisher.tell(largest);
                let owed = seat.owed_by(publisher.handle);
                tell_opened(&mut out, number, publisher, owed);
            }
        }
    }

    /// Whether the output has room for more that the client is to be told at once.
    pub(crate) fn has_more_to_tell(&self) -> bool {
        self.largest.get() != Largest::Told && self.out.borrow().backlog() < OUTPUT_SOFT
    }

    /// There may be room again: what is held goes on. Returns whether anything is held still.
    pub(crate) fn publish_held(&self, seat: &mut Seat<'_>) -> bool {
        let ledger = &mut *self.ledger.borrow_mut();
        if ledger.held.is_empty() {
            return false;
        }
        let unsynced = !seat.is_synced();
        while let Some(front) = ledger.held.front() {
            match front {
                Front::Close { publisher } => {
                    ledger.held.pop_close();
                    ledger.close_publisher(seat, self, publisher);
                }
                Front::Run {
                    publisher: number,
                    mut records,
                } => {
                    let Some(publisher) = ledger.publishers.get_mut(&number) else {
                        ledger.consumed += ledger.held.forget(number);
                        continue;
                    };
                    let published =
                        self.publish_all(seat, publisher, number, &mut records, unsynced);
                    let (left, left_bytes) = (records.len(), records.as_bytes().len());
                    ledger.consumed += ledger.held.keep(left, left_bytes);
                    match published {
                        Ok(()) => {}
                        Err(PublishError::WouldBlock) => return true,
                        Err(error) => {
                            ledger.consumed += ledger.held.forget(number);
                            ledger.drop_publisher(seat, self, number, error);
                        }
                    }
                }
            }
        }
        false
    }

    fn close(&self, seat: &mut Seat<'_>, close: &Close) {
        let ledger = &mut *self.ledger.borrow_mut();
        let open = ledger.publishers.get_mut(&close.publisher);
        let Some(publisher) = open.filter(|publisher| !publisher.closing) else {
            return self.refuse(
                ErrorCode::BadNumber,
                Kind::Close,
                close.publisher,
                "no such publisher is open",
            );
        };
        if ledger.held.is_empty() {
            return ledger.close_publisher(seat, self, close.publisher);
        }
        publisher.closing = true;
        ledger.held.push_close(close.publisher);
    }

    fn ask_owed(&self, seat: &mut Seat<'_>, ask: &AskOwed) {
        let ledger = self.ledger.borrow();
        let Some(publisher) = ledger.publishers.get(&ask.publisher) else {
            return self.refuse(
                ErrorCode::BadNumber,
                Kind::AskOwed,
                ask.publisher,
                "no such publisher is open",
            );
        };
        let owed = seat.owed_by(publisher.handle);
        Owed {
            publisher: ask.publisher,
            owed,
        }
        .encode(self.out.borrow_mut().frame());
    }

    // Subscribing.

    fn subscribe(&self, seat: &mut Seat<'_>, subscribe: &Subscribe<'_>) {
        let part = self.part.borrow();
        let Some(part) = part.as_ref() else { return };
        let refuse = |code, text: &str| self.refuse(code, Kind::Subscribe, subscribe.sub, text);
        let mut ledger = self.ledger.borrow_mut();
        if ledger.subs.contains_key(&subscribe.sub) {
            return refuse(ErrorCode::BadNumber, "this subscription stands already");
        }
        if ledger.subs.len() >= SUBSCRIPTIONS_MAX {
            return refuse(
                ErrorCode::TooMany,
                "too many subscriptions stand on this connection",
            );
        }
        if !part.rights.may_subscribe(subscribe.pattern) {
            let text = format!(
                "the client {} may not subscribe to {}",
                part.name, subscribe.pattern
            );
            let (client, pattern) = (&part.name, subscribe.pattern);
            tracing::warn!(%client, ?pattern, "denied: it may not subscribe to that");
            return refuse(ErrorCode::NotAllowed, &text);
        }
        self.out
            .borrow_mut()
            .begin_sub(subscribe.sub, subscribe.ack == AckMode::Node);
        let made = seat.subscribe(self.spec(subscribe, &part.name));
        let mut out = self.out.borrow_mut();
        let twice = made.is_ok_and(|node_sub| {
            out.number_of(node_sub)
                .is_some_and(|number| number != subscribe.sub)
        });
        match made {
            // A named client's second subscription to the same pattern is its first one.
            Ok(_) if twice => {
                out.end_sub(None);
                drop(out);
                refuse(
                    ErrorCode::BadNumber,
                    "this client is subscribed to this pattern already",
                );
            }
            Ok(node_sub) => {
                out.end_sub(Some(node_sub));
                ledger.subs.insert(subscribe.sub, node_sub);
            }
            Err(error) => {
                out.end_sub(None);
                drop(out);
                let (code, text) = explain(error, subscribe.pattern);
                refuse(code, &text);
            }
        }
    }

    fn spec(&self, subscribe: &Subscribe<'_>, client: &str) -> SubSpec {
        let own = Redelivery {
            attempts: subscribe.attempts,
            every_ms: subscribe.every_ms,
        };
        SubSpec {
            pattern: subscribe.pattern.to_owned(),
            client: client.to_owned(),
            ack: match subscribe.ack {
                AckMode::Client => tidings_protocol::AckMode::Client,
                AckMode::Node => tidings_protocol::AckMode::Node,
            },
            ordered: subscribe.order == Order::Ordered,
            policy: match subscribe.policy {
                Policy::Detach => SlowPolicy::Detach,
                Policy::DropOldest => SlowPolicy::DropOldest,
                Policy::DropNewest => SlowPolicy::DropNewest,
                Policy::Block => SlowPolicy::Block,
            },
            redelivery: (own.every_ms > 0).then_some(own),
        }
    }

    fn unsubscribe(&self, seat: &mut Seat<'_>, unsubscribe: &Unsubscribe) {
        let Some(node_sub) = self.ledger.borrow_mut().subs.remove(&unsubscribe.sub) else {
            let text = "no such subscription stands";
            return self.refuse(
                ErrorCode::BadNumber,
                Kind::Unsubscribe,
                unsubscribe.sub,
                text,
            );
        };
        self.out.borrow_mut().remove_sub(node_sub);
        seat.unsubscribe(node_sub);
        Unsubscribed {
            sub: unsubscribe.sub,
        }
        .encode(self.out.borrow_mut().frame());
    }

    fn acknowledge(&self, seat: &mut Seat<'_>, ack: &Ack) {
        let ledger = self.ledger.borrow();
        let epoch = self
            .part
            .borrow()
            .as_ref()
            .filter(|part| part.ending().is_none())
            .map(|part| part.epoch);
        let Some(&node_sub) = ledger.subs.get(&ack.sub) else {
            return;
        };
        if epoch != Some(ack.session_epoch) || ack.from > ack.to {
            return; // Of an older session, or of nothing.
        }
        let publisher = PublisherId {
            node: ack.node,
            boot: ack.boot,
            handle: ack.handle,
        };
        seat.acknowledge_range(node_sub, publisher, ack.from, ack.to.saturating_add(1));
    }

    // Presence.

    fn watch(&self, seat: &mut Seat<'_>, watch: &Watch<'_>) {
        let mut ledger = self.ledger.borrow_mut();
        if ledger.watches.contains(&watch.watch) || ledger.watches.len() >= WATCHES_MAX {
            let text = "this watch stands already, or too many do";
            return self.refuse(ErrorCode::BadNumber, Kind::Watch, watch.watch, text);
        }
        ledger.watches.push(watch.watch);
        seat.watch_presence(true);
        let (this, _) = seat.node();
        let members = seat.members();
        tell::snapshot(self.out.borrow_mut().frame(), watch.watch, this, &members);
    }

    fn unwatch(&self, seat: &mut Seat<'_>, unwatch: &Unwatch) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.watches.retain(|watch| *watch != unwatch.watch);
        if ledger.watches.is_empty() {
            seat.watch_presence(false);
        }
    }

    // The core's side.

    pub(crate) fn deliver(&self, node_sub: u32, message: &Delivery<'_>) -> Taken {
        self.out.borrow_mut().deliver(node_sub, message)
    }

    pub(crate) fn deliver_run(&self, node_sub: u32, run: &mut Run<'_, '_>) {
        let mut out = self.out.borrow_mut();
        run.each(|message| out.deliver(node_sub, message));
    }

    pub(crate) fn event(&self, event: &Event<'_>) {
        self.out.borrow_mut().event(event);
    }

    /// Tells what had to be looked up, and goes on publishing if there is room. To be called before the output is written.
    pub(crate) fn settle(&self, seat: &mut Seat<'_>) {
        let (later, writable) = {
            let mut out = self.out.borrow_mut();
            (out.take_later(), std::mem::take(&mut out.writable))
        };
        if !later.is_empty() {
            let ledger = self.ledger.borrow();
            tell::later(&mut self.out.borrow_mut(), later, &ledger.watches, seat);
        }
        if self.largest.get() != Largest::Told {
            self.tell_largest(seat);
        }
        if writable {
            self.publish_held(seat);
        }
    }

    /// Whether messages wait for room in the overlay's store.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.ledger.borrow().held.is_empty()
    }

    /// After the output was written: subscriptions that found no room are filled again. Returns whether any was.
    pub(crate) fn feed(&self, seat: &mut Seat<'_>) -> bool {
        let starved = {
            let mut out = self.out.borrow_mut();
            if !out.has_room() {
                return false;
            }
            out.take_starved()
        };
        for &sub in &starved {
            seat.ready(sub);
        }
        !starved.is_empty()
    }

    /// The client is gone: its named subscriptions wait for it, the others end; so do its publishers.
    pub(crate) fn end(&self, seat: &mut Seat<'_>) {
        let Some(part) = self.part.borrow_mut().take() else {
            return;
        };
        let (subs, handles) = {
            let mut ledger = self.ledger.borrow_mut();
            seat.watch_presence(false);
            let subs: Vec<u32> = ledger.subs.drain().map(|(_, node_sub)| node_sub).collect();
            (
                subs,
                ledger
                    .publishers
                    .drain()
                    .map(|(_, publisher)| publisher.handle)
                    .collect::<Vec<_>>(),
            )
        };
        for sub in subs {
            self.out.borrow_mut().remove_sub(sub);
            match part.name.is_empty() {
                true => seat.unsubscribe(sub),
                false => seat.detach(sub),
            }
        }
        handles
            .into_iter()
            .for_each(|handle| seat.close_publisher(handle));
    }
}

impl Ledger {
    fn close_publisher(&mut self, seat: &mut Seat<'_>, agent: &Agent, number: u32) {
        let Some(publisher) = self.publishers.remove(&number) else {
            return;
        };
        seat.close_publisher(publisher.handle);
        let mut out = agent.out.borrow_mut();
        out.remove_publisher(publisher.handle);
        Closed { publisher: number }.encode(out.frame());
    }

    /// A publisher that did what cannot be accepted is closed, and its client told why.
    fn drop_publisher(
        &mut self,
        seat: &mut Seat<'_>,
        agent: &Agent,
        number: u32,
        error: PublishError,
    ) {
        let Some(publisher) = self.publishers.remove(&number) else {
            return;
        };
        seat.close_publisher(publisher.handle);
        agent.out.borrow_mut().remove_publisher(publisher.handle);
        match error {
            PublishError::TooLarge { limit } => {
                let text =
                    format!("TooLarge: this overlay takes messages of at most {limit} bytes");
                agent.refuse(ErrorCode::TooLarge, Kind::Publish, number, &text);
            }
            PublishError::Closed | PublishError::WouldBlock => {
                agent.refuse(
                    ErrorCode::Leaving,
                    Kind::Publish,
                    number,
                    "the node is leaving the overlay",
                );
            }
        }
    }
}

/// What holds for a publisher: when it is opened, and whenever that changes.
fn tell_opened(out: &mut Out, number: u32, publisher: &Publisher, owed: u32) {
    Opened {
        publisher: number,
        handle: publisher.handle,
        max_message: u32::try_from(publisher.told()).unwrap_or(u32::MAX),
        owed,
        credit: publisher.credit(),
    }
    .encode(out.frame());
}

fn explain(error: CommandError, text: &str) -> (ErrorCode, String) {
    match error {
        CommandError::BadTopic => (
            ErrorCode::BadTopic,
            format!(
                "{text:?} is not a topic or pattern: write parts joined by dots, as orders.new, orders.* or *"
            ),
        ),
        CommandError::TooMany => (
            ErrorCode::TooMany,
            "a limit of the node is reached".to_owned(),
        ),
        CommandError::Leaving => (
            ErrorCode::Leaving,
            "the node is leaving the overlay".to_owned(),
        ),
        CommandError::Unknown | CommandError::TooLong => {
            (ErrorCode::Failed, "the node could not do it".to_owned())
        }
    }
}

/// Grants the connection more PUBLISH bytes, once half a window is used.
pub(crate) fn grant_connection(out: &mut Out, consumed: u64, granted: &mut u64, window: u64) {
    if consumed + window > *granted + window / 2 {
        *granted = consumed + window;
        Credit {
            publisher: CONNECTION,
            credit: *granted,
        }
        .encode(out.frame());
    }
}
