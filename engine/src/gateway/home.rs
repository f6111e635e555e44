//! A client's connection: the session that owns the descriptor. It serves requests about its own overlay itself, passes
//! those about overlays on other shards over links, questions to the control thread, and writes everybody's frames.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tidings_protocol::{Delivery, Event, Run, Taken};
use tidings_wire::client::frame::split;
use tidings_wire::client::{ErrorCode, FrameError, Kind, Request};

use super::agent::{Agent, Breach, grant_connection};
use super::client::{Client, Part};
use super::desk::{Desk, Question};
use super::elsewhere::{Elsewhere, Lost};
use super::input::{Got, Input};
use super::limits::{
    CONNECTION_WINDOW, LAST_WORDS_NS, OUTPUT_SOFT, PUBLISHERS_MAX, RETRY_NS, SUBSCRIPTIONS_MAX,
    WATCHES_MAX,
};
use super::link::{self, Ended};
use super::mail::Mailbox;
use super::out::Out;
use super::remote::Remote;
use super::wake::Wake;
use crate::limits::SESSION_READ_BYTES_MAX;
use crate::seat::Seat;
use crate::session::{Departed, Flushed, Session, Verdict};

/// How often a flush fills the output again before the others get their turn.
const ROUNDS: usize = 4;

/// Where a client's number leads: its own overlay, or one of the links.
type Route = Option<usize>;

/// Why a request leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unrouted {
    /// Its overlay is not here, or not for this client.
    NoOverlay,
    /// Its number is taken.
    Taken,
    /// The client has too many of what it asks for.
    TooMany,
    /// The overlay's shard takes no command now.
    Later,
}

/// Counts of the connection's credit.
struct Credits {
    came: u64,
    granted: u64,
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
    elsewhere: RefCell<Elsewhere>,
    credits: RefCell<Credits>,
    /// The last frame is in the output: close when it is written.
    ending: Cell<bool>,
    /// When to close though it is not.
    end_at: Cell<Option<u64>>,
    /// The frame at the front of the input waits: a link is full, or a shard takes no command.
    stalled: Cell<bool>,
    /// Nothing is read until the client has read.
    choked: Cell<bool>,
    retry_at: Cell<Option<u64>>,
    /// The client closed its side.
    over: Cell<bool>,
    _here: Arc<Here>,
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
    /// Dropped with the socket.
    pub(crate) here: Arc<Here>,
}

/// That a connection is there: it may outlive its client's session, to tell its end.
pub(crate) struct Here;

impl Home {
    pub(crate) fn new(arrival: Arrival) -> Self {
        Self {
            agent: Agent::new(arrival.part, &arrival.overlay),
            client: arrival.client,
            socket: arrival.socket,
            wake: arrival.wake,
            mailbox: arrival.mailbox,
            desk: arrival.desk,
            input: RefCell::new(Input::new(&arrival.input)),
            elsewhere: RefCell::default(),
            credits: RefCell::new(Credits {
                came: 0,
                granted: CONNECTION_WINDOW,
            }),
            ending: Cell::new(false),
            end_at: Cell::new(None),
            stalled: Cell::new(false),
            choked: Cell::new(false),
            retry_at: Cell::new(None),
            over: Cell::new(false),
            _here: arrival.here,
        }
    }

    /// Reads and serves a bounded part of what came.
    fn read(&self, seat: &mut Seat<'_>) -> Result<Verdict, Breach> {
        let mut left = SESSION_READ_BYTES_MAX;
        loop {
            self.serve_input(seat)?;
            if self.stalled.get() || self.choked.get() {
                return Ok(Verdict::Pause);
            }
            if self.ending.get() || left == 0 {
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
                // The descriptor has no more: look at it again, in another turn.
                Got::Some(_) => left = 0,
                Got::Full(read) => left = left.saturating_sub(read),
            }
        }
    }

    /// Serves the whole frames that were read, until one has to wait.
    fn serve_input(&self, seat: &mut Seat<'_>) -> Result<(), Breach> {
        // Nothing that a request causes reads from this input: deliveries and events touch the output only.
        let mut input = self.input.borrow_mut();
        self.stalled.set(false);
        self.choked.set(false);
        while let Some(frame) = input.frame().map_err(explain)? {
            let Some((raw, size)) = split(frame).map_err(explain)? else {
                break;
            };
            let request = Request::decode(raw).map_err(explain)?;
            if self.agent.is_choked() {
                self.choked.set(true);
                return Ok(());
            }
            if !self.serve(seat, &request, frame)? {
                self.stalled.set(true);
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
        let route = match self.route(seat, request) {
            Ok(route) => route,
            Err(Unrouted::Later) => return Ok(false),
            Err(why) => {
                self.refuse(request, why);
                return Ok(true);
            }
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
        let sent = self.elsewhere.borrow_mut().pass_on(link, request, frame);
        if let (true, Request::Publish(publish)) = (sent, request) {
            seat.count_crossed_out(publish.records.len() as u64);
        }
        sent
    }

    /// Where a request leads.
    fn route(&self, seat: &Seat<'_>, request: &Request<'_>) -> Result<Route, Unrouted> {
        match request {
            Request::Open(open) => self.begin(
                seat,
                (Kind::Open, open.publisher, PUBLISHERS_MAX),
                open.overlay,
            ),
            Request::Subscribe(subscribe) => self.begin(
                seat,
                (Kind::Subscribe, subscribe.sub, SUBSCRIPTIONS_MAX),
                subscribe.overlay,
            ),
            Request::Watch(watch) => {
                self.begin(seat, (Kind::Watch, watch.watch, WATCHES_MAX), watch.overlay)
            }
            _ => Ok(self.elsewhere.borrow().link_for(request)),
        }
    }

    /// Where a number leads that begins now. Whose it is already, here or on a link, is asked first: agents know their own
    /// numbers only.
    fn begin(
        &self,
        seat: &Seat<'_>,
        (kind, number, max): (Kind, u32, usize),
        overlay: &str,
    ) -> Result<Route, Unrouted> {
        if !self.client.rights.may_use(overlay) {
            return Err(Unrouted::NoOverlay);
        }
        let (taken, count) = self.elsewhere.borrow_mut().taken(kind, number);
        if taken {
            return Err(Unrouted::Taken);
        }
        if overlay == self.agent.overlay() {
            return Ok(None);
        }
        if self.agent.has(kind, number) {
            return Err(Unrouted::Taken);
        }
        if count >= max {
            return Err(Unrouted::TooMany);
        }
        let link = self.link_to(seat, overlay)?;
        self.elsewhere.borrow_mut().begin(kind, number, link);
        Ok(Some(link))
    }

    /// The link to an overlay on another shard, made if there is none.
    fn link_to(&self, seat: &Seat<'_>, overlay: &str) -> Result<usize, Unrouted> {
        let mut elsewhere = self.elsewhere.borrow_mut();
        if let Some(link) = elsewhere.link_to(overlay) {
            return Ok(link);
        }
        let place = self.desk.place(overlay).ok_or(Unrouted::NoOverlay)?;
        self.wake.born(seat);
        let (end, agents_end) = link::link(Arc::clone(&self.wake), place.wake());
        let part = Part::new(&self.client);
        let name = overlay.to_owned();
        let made = place.attach(move || Box::new(Remote::new(Agent::new(part, &name), agents_end)));
        match made {
            true => Ok(elsewhere.add(overlay, end)),
            false => Err(Unrouted::Later),
        }
    }

    fn refuse(&self, request: &Request<'_>, why: Unrouted) {
        let (kind, number, overlay) = match request {
            Request::Open(open) => (Kind::Open, open.publisher, open.overlay),
            Request::Subscribe(subscribe) => (Kind::Subscribe, subscribe.sub, subscribe.overlay),
            Request::Watch(watch) => (Kind::Watch, watch.watch, watch.overlay),
            _ => return,
        };
        let (code, text) = match why {
            Unrouted::NoOverlay | Unrouted::Later => {
                self.desk.why_not(&self.client.rights, overlay)
            }
            Unrouted::Taken => (
                ErrorCode::BadNumber,
                "this number is taken on this connection".to_owned(),
            ),
            Unrouted::TooMany => (
                ErrorCode::TooMany,
                "too many of them stand on this connection".to_owned(),
            ),
        };
        self.agent
            .out
            .borrow_mut()
            .refuse(code, kind, number, &text);
    }

    /// Takes what other threads sent: answers, the frames of agents. Returns whether anything came.
    fn take_mail(&self, seat: &mut Seat<'_>) -> bool {
        let mut out = self.agent.out.borrow_mut();
        let mut any = false;
        while out.backlog() < OUTPUT_SOFT
            && let Some(frames) = self.mailbox.pop()
        {
            out.append(&frames);
            any = true;
        }
        let came = self.elsewhere.borrow_mut().collect(&mut out, OUTPUT_SOFT);
        seat.count_crossed_in(came.messages);
        for lost in &came.lost {
            self.tell_lost(lost, &mut out);
        }
        // What found no room may find some when this is written.
        any | came.any | (out.backlog() >= OUTPUT_SOFT)
    }

    /// An overlay elsewhere is over: each number that it served is refused, so that nobody waits for it.
    fn tell_lost(&self, lost: &Lost, out: &mut Out) {
        if lost.why != Ended::Gone {
            // The agent's last frame said why.
            self.ending.set(true);
            self.retry_at.set(Some(0));
            return;
        }
        let text = format!("the node has left the overlay {}", lost.overlay);
        for &(kind, number) in &lost.numbers {
            out.refuse(ErrorCode::Leaving, kind, number, &text);
        }
    }

    fn grant(&self) {
        let mut credits = self.credits.borrow_mut();
        let consumed = self.agent.consumed() + self.elsewhere.borrow().consumed();
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

    /// Nothing is read any more. Whoever does not read either is not waited for.
    fn last_words(&self, now: u64) -> Verdict {
        let end_at = self.end_at.get().unwrap_or(now + LAST_WORDS_NS);
        self.end_at.set(Some(end_at));
        match end_at <= now {
            true => Verdict::Close,
            false => Verdict::Pause,
        }
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
        self.wake.born(seat);
        self.wake.answer();
        if let Some(ending) = self.client.ending() {
            // A newer one does not wait until this one has read its last words.
            self.elsewhere.borrow_mut().end();
            self.agent.end(seat);
            let (code, text) = ending.word();
            self.end_with(code, text);
        }
        if !self.ending.get() {
            match self.read(seat) {
                Ok(verdict) => return verdict,
                Err(Breach(text)) => self.end_with(ErrorCode::Protocol, text),
            }
        }
        self.last_words(seat.now())
    }

    fn deliver(&self, sub: u32, message: &Delivery<'_>) -> Taken {
        self.agent.deliver(sub, message)
    }

    fn deliver_run(&self, sub: u32, run: &mut Run<'_, '_>) {
        self.agent.deliver_run(sub, run);
    }

    fn event(&self, event: &Event<'_>) {
        self.agent.event(event);
    }

    fn largest_changed(&self) {
        self.agent.largest_changed();
    }

    fn waits_for_room(&self) -> bool {
        self.agent.waits_for_room()
    }

    fn is_pressed(&self) -> bool {
        self.agent.out.borrow().is_pressed()
    }

    fn is_overrun(&self) -> bool {
        self.agent.is_overrun() || self.elsewhere.borrow().is_overrun()
    }

    fn flush(&self, seat: &mut Seat<'_>) -> Flushed {
        let stalled = self.stalled.get() && !self.ending.get();
        self.retry_at.set(stalled.then_some(seat.now() + RETRY_NS));
        for _ in 0..ROUNDS {
            self.agent.settle(seat);
            let mut more = self.take_mail(seat);
            self.grant();
            if self.is_overrun() {
                return Flushed::Close;
            }
            match self.write() {
                None => return Flushed::Close,
                Some(true) => return Flushed::Blocked,
                Some(false) if self.ending.get() => return Flushed::Close,
                Some(false) => {}
            }
            if self.choked.replace(false) {
                self.retry_at.set(Some(seat.now()));
            }
            more |= self.agent.feed(seat) | self.agent.has_more_to_tell();
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
        let retry_at = self.retry_at.get().into_iter();
        retry_at.chain(self.end_at.get()).min()
    }

    fn on_deadline(&self, seat: &mut Seat<'_>) -> Verdict {
        self.retry_at.set(None);
        self.on_readable(seat)
    }

    fn can_depart(&self) -> bool {
        true
    }

    fn depart(self: Box<Self>) -> Option<Departed> {
        Some(Box::new(move || self))
    }

    fn on_close(&self, seat: &mut Seat<'_>) {
        self.elsewhere.borrow_mut().end();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    use tidings_wire::client::Reply;
    use tidings_wire::client::auth::Hello;
    use tidings_wire::client::publish::{Open, PublishRun};
    use tidings_wire::client::query::Topic;
    use tidings_wire::{KeyRecord, Keyring, OverlayId, Suite};

    use crate::engine::Engine;
    use crate::gateway::{Control, Gateway, GatewayConfig, Refused, Viewer};
    use crate::overlay_config::OverlayConfig;

    struct Silent;

    impl Control for Silent {
        fn answer(&self, _: Topic, _: &str, _: Viewer<'_>) -> Result<String, Refused> {
            Ok(String::new())
        }

        fn leave(&self, _: &str, _: Viewer<'_>) -> Result<(), Refused> {
            Ok(())
        }
    }

    /// The numbers of the messages that were accepted until `count` were.
    fn accepted(socket: &mut UnixStream, count: usize) -> Vec<u64> {
        let (mut bytes, mut seqs) = (Vec::new(), Vec::new());
        while seqs.len() < count {
            let mut chunk = [0; 4096];
            let read = socket.read(&mut chunk).unwrap();
            assert!(read > 0, "the connection stands");
            bytes.extend_from_slice(&chunk[..read]);
            let mut at = 0;
            while let Some((raw, size)) = split(&bytes[at..]).unwrap() {
                match Reply::decode(raw).unwrap() {
                    Reply::Accepted(it) => seqs.extend(it.from..it.from + u64::from(it.count)),
                    Reply::Error(refusal) => panic!("{refusal:?}"),
                    _ => {}
                }
                at += size;
            }
            bytes.drain(..at);
        }
        seqs
    }

    #[test]
    fn what_is_asked_of_a_shard_that_takes_no_command_waits_and_is_done_once() {
        let bind = "127.0.0.1:0".parse().unwrap();
        let engine = Engine::builder().bind(bind).shards(2).start().unwrap();
        for (shard, name) in ["here", "there"].into_iter().enumerate() {
            let key = KeyRecord::new(0, Suite::Aes256Gcm, [9; 32]);
            let keyring = Keyring::new(OverlayId::from_name(name), vec![key], 0).unwrap();
            let mut config = OverlayConfig::new(name, keyring);
            config.shard = Some(shard);
            engine.add_overlay(config).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let config = GatewayConfig {
            socket: folder.path().join("sock"),
            node_name: String::new(),
            grants: Vec::new(),
            shard: None,
        };
        let _gateway = Gateway::start(&engine, config, Box::new(Silent)).unwrap();
        let mut socket = UnixStream::connect(folder.path().join("sock")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        // The other shard is busy for a while, and its queue full.
        let fill = || {
            let busy = Duration::from_millis(300);
            let door = &engine.inner.doors[1];
            assert!(door.try_send(Box::new(move |_| std::thread::sleep(busy))));
            std::thread::sleep(Duration::from_millis(50));
            while door.try_send(Box::new(|_| ())) {}
        };
        let mut bytes = Vec::new();
        Hello {
            version_min: 1,
            version_max: 1,
            nonce: [3; 32],
            prove: false,
            name: "",
        }
        .encode(&mut bytes);
        for (publisher, overlay) in [(1, "here"), (2, "there")] {
            Open {
                publisher,
                overlay,
                topic: "t",
            }
            .encode(&mut bytes);
        }
        PublishRun::begin(&mut bytes, 2).push(&mut bytes, b"first");
        fill();
        socket.write_all(&bytes).unwrap();
        assert_eq!(accepted(&mut socket, 1), [0]);

        // Now that the link stands, frames go into it while the shard hears no call.
        fill();
        let mut bytes = Vec::new();
        for _ in 0..5 {
            PublishRun::begin(&mut bytes, 2).push(&mut bytes, b"next");
        }
        socket.write_all(&bytes).unwrap();
        assert_eq!(accepted(&mut socket, 5), [1, 2, 3, 4, 5]);
        let mut bytes = Vec::new();
        PublishRun::begin(&mut bytes, 2).push(&mut bytes, b"last");
        socket.write_all(&bytes).unwrap();
        assert_eq!(accepted(&mut socket, 1), [6], "none came twice");
    }
}
