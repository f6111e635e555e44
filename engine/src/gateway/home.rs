//! A client's connection: the session that owns the descriptor. It serves requests about its own overlay itself, passes
//! those about overlays on other shards over links, questions to the control thread, and writes everybody's frames.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_protocol::{Delivery, Event, Taken};
use tidings_wire::client::frame::split;
use tidings_wire::client::{ErrorCode, FrameError, Kind, Request};

use super::agent::{Agent, Breach, grant_connection};
use super::client::{Client, Part};
use super::desk::{Desk, Question};
use super::input::{Got, Input};
use super::limits::{CONNECTION_WINDOW, OUTPUT_SOFT, RETRY_NS};
use super::link::{self, End};
use super::mail::Mailbox;
use super::remote::Remote;
use super::wake::Wake;
use crate::limits::SESSION_READ_BYTES_MAX;
use crate::seat::Seat;
use crate::session::{Flushed, Session, Verdict};

/// How often a flush fills the output again before the others get their turn.
const ROUNDS: usize = 4;

/// Where a client's number leads: its own overlay, or one of the links.
type Route = Option<usize>;

/// Which link serves which number. What is not here is of the connection's own overlay.
#[derive(Default)]
struct Routes {
    publishers: HashMap<u32, usize>,
    subs: HashMap<u32, usize>,
    watches: HashMap<u32, usize>,
}

/// An overlay on another shard.
struct Elsewhere {
    overlay: String,
    end: End,
}

/// Counts of the connection's credit.
struct Credits {
    came: u64,
    granted: u64,
    /// Frames that were passed to nobody: their overlay is not here.
    consumed_here: u64,
}

/// The session.
pub(crate) struct Home {
    client: Arc<Client>,
    socket: UnixStream,
    agent: Agent,
    wake: Arc<Wake>,
    mailbox: Arc<Mailbox>,
    desk: Arc<Desk>,
    input: RefCell<Input>,
    routes: RefCell<Routes>,
    elsewhere: RefCell<Vec<Elsewhere>>,
    credits: RefCell<Credits>,
    /// The last frame is written: close when it is.
    ending: Cell<bool>,
    /// A link is full: the frame at the front of the input waits.
    stalled: Cell<bool>,
    retry_at: Cell<Option<u64>>,
    /// The client closed its side.
    over: Cell<bool>,
}

/// What a connection is made of, on its way to its shard.
pub(crate) struct Arrival {
    pub(crate) client: Arc<Client>,
    pub(crate) part: Part,
    pub(crate) socket: UnixStream,
    pub(crate) overlay: String,
    pub(crate) wake: Arc<Wake>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) desk: Arc<Desk>,
    /// What was read and not handled.
    pub(crate) input: Vec<u8>,
}

impl Home {
    pub(crate) fn new(arrival: Arrival) -> Self {
        let redelivery = arrival.desk.redelivery(&arrival.overlay);
        Self {
            agent: Agent::new(arrival.part, &arrival.overlay, redelivery),
            client: arrival.client,
            socket: arrival.socket,
            wake: arrival.wake,
            mailbox: arrival.mailbox,
            desk: arrival.desk,
            input: RefCell::new(Input::new(&arrival.input)),
            routes: RefCell::default(),
            elsewhere: RefCell::default(),
            credits: RefCell::new(Credits {
                came: 0,
                granted: CONNECTION_WINDOW,
                consumed_here: 0,
            }),
            ending: Cell::new(false),
            stalled: Cell::new(false),
            retry_at: Cell::new(None),
            over: Cell::new(false),
        }
    }

    /// Reads and serves a bounded part of what came.
    fn read(&self, seat: &mut Seat<'_>) -> Result<Verdict, Breach> {
        let mut left = SESSION_READ_BYTES_MAX;
        loop {
            self.serve_input(seat)?;
            if self.stalled.get() || self.ending.get() || left == 0 {
                return Ok(Verdict::Stay);
            }
            let got = self
                .input
                .borrow_mut()
                .read(&self.socket)
                .map_err(explain)?;
            match got {
                Got::Empty => return Ok(Verdict::Stay),
                Got::End => {
                    // The last acknowledgements came just before: the core reports them in a flush before the end.
                    let was_over = self.over.replace(true);
                    return Ok(if was_over {
                        Verdict::Close
                    } else {
                        Verdict::Stay
                    });
                }
                Got::Some(read) => {
                    self.serve_input(seat)?;
                    if read < left {
                        return Ok(Verdict::Stay);
                    }
                    left = 0;
                }
                Got::Full(read) => left = left.saturating_sub(read),
            }
        }
    }

    /// Serves the whole frames that were read, until one has to wait.
    fn serve_input(&self, seat: &mut Seat<'_>) -> Result<(), Breach> {
        // Nothing that a request causes reads from this input: deliveries and events touch the output only.
        let mut input = self.input.borrow_mut();
        self.stalled.set(false);
        while let Some(frame) = input.frame().map_err(explain)? {
            let Some((raw, size)) = split(frame).map_err(explain)? else {
                break;
            };
            let request = Request::decode(raw).map_err(explain)?;
            if !self.serve(seat, &request, frame)? {
                self.stalled.set(true);
                self.retry_at.set(Some(seat.now() + RETRY_NS));
                return Ok(());
            }
            input.consume(size);
        }
        Ok(())
    }

    /// Serves one request. `false`: it has to wait.
    fn serve(
        &self,
        seat: &mut Seat<'_>,
        request: &Request<'_>,
        frame: &[u8],
    ) -> Result<bool, Breach> {
        if let Request::Query(_) | Request::Leave(_) = request {
            let question = Question::new(request, &self.client, &self.mailbox);
            return Ok(question.is_none_or(|question| self.desk.ask(question)));
        }
        let Ok(route) = self.route(seat, request) else {
            self.refuse_overlay(request);
            return Ok(true);
        };
        let sent = match route {
            None => {
                self.agent.serve(seat, request, frame.len() as u64)?;
                true
            }
            Some(link) => self.pass_on(seat, request, link, frame),
        };
        if sent && let Request::Publish(_) = request {
            let mut credits = self.credits.borrow_mut();
            credits.came += frame.len() as u64;
            if credits.came > credits.granted {
                return Err(Breach(
                    "more was published than the connection's credit allows",
                ));
            }
        }
        Ok(sent)
    }

    fn pass_on(
        &self,
        seat: &mut Seat<'_>,
        request: &Request<'_>,
        link: usize,
        frame: &[u8],
    ) -> bool {
        let mut elsewhere = self.elsewhere.borrow_mut();
        let end = &mut elsewhere[link].end;
        let sent = end.send(frame);
        if let (true, Request::Publish(publish)) = (sent, request) {
            seat.count_crossed_out(publish.records.len() as u64);
        }
        end.shared.agent.call() && sent
    }

    /// Where a request leads. An error: its overlay is not here, or not for this client.
    fn route(&self, seat: &Seat<'_>, request: &Request<'_>) -> Result<Route, ()> {
        let mut routes = self.routes.borrow_mut();
        let routes = &mut *routes;
        Ok(match request {
            Request::Publish(publish) => routes.publishers.get(&publish.publisher).copied(),
            Request::Close(close) => routes.publishers.get(&close.publisher).copied(),
            Request::AskOwed(ask) => routes.publishers.get(&ask.publisher).copied(),
            Request::Ack(ack) => routes.subs.get(&ack.sub).copied(),
            Request::Unsubscribe(unsubscribe) => routes.subs.get(&unsubscribe.sub).copied(),
            Request::Unwatch(unwatch) => routes.watches.get(&unwatch.watch).copied(),
            Request::Open(open) => {
                self.begin(seat, &mut routes.publishers, open.publisher, open.overlay)?
            }
            Request::Subscribe(subscribe) => {
                self.begin(seat, &mut routes.subs, subscribe.sub, subscribe.overlay)?
            }
            Request::Watch(watch) => {
                self.begin(seat, &mut routes.watches, watch.watch, watch.overlay)?
            }
            Request::Hello(_) | Request::Proof(_) | Request::Query(_) | Request::Leave(_) => None,
        })
    }

    /// Notes where a number that begins now leads. A number may begin again once it has ended; nobody else has it then.
    fn begin(
        &self,
        seat: &Seat<'_>,
        table: &mut HashMap<u32, usize>,
        number: u32,
        overlay: &str,
    ) -> Result<Route, ()> {
        if !self.client.rights.may_use(overlay) {
            return Err(());
        }
        let route = self.overlay_route(seat, overlay)?;
        match route {
            None => table.remove(&number),
            Some(link) => table.insert(number, link),
        };
        Ok(route)
    }

    fn overlay_route(&self, seat: &Seat<'_>, overlay: &str) -> Result<Route, ()> {
        if overlay == self.agent.overlay() {
            return Ok(None);
        }
        let mut elsewhere = self.elsewhere.borrow_mut();
        let known = elsewhere
            .iter()
            .position(|it| it.overlay == overlay && !it.end.shared.is_closed());
        if let Some(link) = known {
            return Ok(Some(link));
        }
        let place = self.desk.place(overlay).ok_or(())?;
        self.wake.born(seat.me.index);
        let (end, agents_end) = link::link(Arc::clone(&self.wake), place.door.clone());
        let part = Part::new(&self.client);
        let redelivery = self.desk.redelivery(overlay);
        let name = overlay.to_owned();
        let made = place
            .attach(move || Box::new(Remote::new(Agent::new(part, &name, redelivery), agents_end)));
        if !made {
            return Err(());
        }
        elsewhere.push(Elsewhere {
            overlay: overlay.to_owned(),
            end,
        });
        Ok(Some(elsewhere.len() - 1))
    }

    fn refuse_overlay(&self, request: &Request<'_>) {
        let (kind, number, overlay) = match request {
            Request::Open(open) => (Kind::Open, open.publisher, open.overlay),
            Request::Subscribe(subscribe) => (Kind::Subscribe, subscribe.sub, subscribe.overlay),
            Request::Watch(watch) => (Kind::Watch, watch.watch, watch.overlay),
            _ => return,
        };
        let (code, text) = self.desk.why_not(&self.client.rights, overlay);
        self.agent
            .out
            .borrow_mut()
            .refuse(code, kind, number, &text);
    }

    /// Takes what other threads sent: answers, the frames of agents. Returns whether anything came.
    fn take_mail(&self, seat: &mut Seat<'_>) -> bool {
        let mut out = self.agent.out.borrow_mut();
        let mut any = false;
        while let Some(frames) = self.mailbox.pop() {
            out.append(&frames);
            any = true;
        }
        for it in self.elsewhere.borrow_mut().iter_mut() {
            let mut some = false;
            seat.count_crossed_in(it.end.shared.crossed.swap(0, Ordering::AcqRel));
            while out.backlog() < OUTPUT_SOFT
                && let Some(frames) = it.end.peek()
            {
                out.append(frames);
                it.end.advance();
                some = true;
            }
            if some && !it.end.wake_blocked_agent() {
                self.retry_at.set(Some(0));
            }
            any |= some;
        }
        any
    }

    fn grant(&self) {
        let links: u64 = self
            .elsewhere
            .borrow()
            .iter()
            .map(|it| it.end.shared.consumed.load(Ordering::Acquire))
            .sum();
        let mut credits = self.credits.borrow_mut();
        let consumed = self.agent.consumed() + links + credits.consumed_here;
        grant_connection(
            &mut self.agent.out.borrow_mut(),
            consumed,
            &mut credits.granted,
            CONNECTION_WINDOW,
        );
    }

    /// Writes what the socket takes. `None`: it is gone.
    fn write(&self) -> Option<bool> {
        let mut gone = false;
        let mut blocked = false;
        self.agent.out.borrow_mut().take_with(|bytes| {
            loop {
                match (&self.socket).write(bytes) {
                    Ok(written) => return written,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        blocked = true;
                        return 0;
                    }
                    Err(_) => {
                        gone = true;
                        return 0;
                    }
                }
            }
        });
        (!gone).then_some(blocked)
    }

    fn end_with(&self, code: ErrorCode, text: &str) {
        if !self.ending.replace(true) {
            self.agent.out.borrow_mut().refuse_all(code, text);
        }
    }
}

impl Session for Home {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn on_readable(&self, seat: &mut Seat<'_>) -> Verdict {
        self.wake.born(seat.me.index);
        self.wake.answer();
        if self.client.is_fenced() {
            self.end_with(ErrorCode::Fenced, "a newer login under this name took over");
        }
        if self.ending.get() {
            return Verdict::Stay;
        }
        match self.read(seat) {
            Ok(verdict) => verdict,
            Err(Breach(text)) => {
                self.end_with(ErrorCode::Protocol, text);
                Verdict::Stay
            }
        }
    }

    fn deliver(&self, sub: u32, message: &Delivery<'_>) -> Taken {
        self.agent.deliver(sub, message)
    }

    fn event(&self, event: &Event<'_>) {
        self.agent.event(event);
    }

    fn waits_for_room(&self) -> bool {
        self.agent.waits_for_room()
    }

    fn flush(&self, seat: &mut Seat<'_>) -> Flushed {
        self.retry_at
            .set(self.stalled.get().then_some(seat.now() + RETRY_NS));
        for _ in 0..ROUNDS {
            self.agent.settle(seat);
            let mut more = self.take_mail(seat);
            self.grant();
            if self.agent.out.borrow().is_overrun() {
                return Flushed::Close;
            }
            match self.write() {
                None => return Flushed::Close,
                Some(true) => return Flushed::Blocked,
                Some(false) if self.ending.get() => return Flushed::Close,
                Some(false) => {}
            }
            more |= self.agent.feed(seat);
            if !more {
                return Flushed::Done;
            }
        }
        self.retry_at.set(Some(seat.now()));
        Flushed::Done
    }

    /// The first turn: what came with the login is served, and mail finds the way from now on.
    fn on_turn(&self, seat: &mut Seat<'_>) -> bool {
        // The verdict of a connection that is over already comes again when its descriptor is looked at.
        self.on_readable(seat);
        false
    }

    fn deadline(&self) -> Option<u64> {
        self.retry_at.get()
    }

    fn on_deadline(&self, seat: &mut Seat<'_>) -> Verdict {
        self.retry_at.set(None);
        for it in self.elsewhere.borrow().iter() {
            if !it.end.shared.agent.call() {
                self.retry_at.set(Some(seat.now() + RETRY_NS));
            }
        }
        self.on_readable(seat)
    }

    fn on_close(&self, seat: &mut Seat<'_>) {
        for it in self.elsewhere.borrow().iter() {
            it.end.shared.close();
            it.end.shared.agent.call();
        }
        self.agent.end(seat);
        self.mailbox.close();
        // A client that is still there hears why; one that closed itself does not.
        self.end_with(
            ErrorCode::Leaving,
            "the daemon, or the overlay, is stopping",
        );
        self.write();
    }
}

fn explain(error: FrameError) -> Breach {
    Breach(match error {
        FrameError::TooLong => "a frame is longer than the protocol allows",
        FrameError::TooShort => "a frame is shorter than its head",
        FrameError::Reserved => "reserved bytes of a frame are not zero",
        FrameError::UnknownKind(_) => "a frame of unknown kind",
        FrameError::Malformed(_) => "a malformed frame",
    })
}
