//! The control thread of local clients: accepts, checks uid and secret, answers questions, and hands each connection to the
//! shard of the first overlay that it uses. It holds no message.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tidings_wire::client::auth::{NO_NUMBER, Refusal, Welcome};
use tidings_wire::client::frame::split;
use tidings_wire::client::{CLIENT_PROTOCOL, ErrorCode, Kind, MAX_FRAME, Request};

use super::client::{Client, Ending, Part};
use super::desk::{Control, Desk, Place, answer};
use super::failures::Failures;
use super::grant::Rights;
use super::home::{Arrival, Here, Home};
use super::limits::{
    CLIENTS_MAX, CONNECTION_WINDOW, FENCE_TIME, LOGIN_BYTES_MAX, LOGIN_TIME, LOGINS_MAX,
    VISITOR_OUTPUT,
};
use super::login::{Identity, Login, Step};
use super::mail::Mailbox;
use super::socket::Listening;
use crate::entropy;

/// Connections accepted before the others get their turn.
const ACCEPTS: usize = 64;
/// How soon something that had to wait is looked at again.
const AGAIN: Duration = Duration::from_millis(2);

/// How far a connection got.
enum Stage {
    /// Who is it?
    Login(Login),
    /// Admitted; the older session of its name has to let go first.
    Fencing {
        client: Arc<Client>,
        older: Arc<Client>,
        since: Instant,
    },
    /// Welcome; no overlay is named yet.
    Attached(Arc<Client>),
}

/// A connection that is not on a shard.
struct Visitor {
    socket: UnixStream,
    uid: u32,
    since: Instant,
    stage: Stage,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Close as soon as the output is written.
    ending: bool,
    /// Why, until that is counted.
    refused: Option<ErrorCode>,
}

/// What became of a visitor after it was served.
enum After {
    /// It stays.
    Stays,
    /// It waits for something that no descriptor tells.
    Waits,
    /// It is gone, or on its shard.
    Leaves,
}

/// The current session of a name.
struct Current {
    client: Arc<Client>,
    /// How to reach it once it is on a shard.
    mailbox: Option<Arc<Mailbox>>,
}

impl Current {
    /// Ends the session.
    fn end(&self, why: Ending) {
        self.client.end(why);
        if let Some(mailbox) = &self.mailbox {
            mailbox.wake();
        }
    }
}

/// The thread's state.
pub(crate) struct Reception {
    pub(crate) listening: Listening,
    pub(crate) who: Identity,
    pub(crate) node_name: String,
    pub(crate) desk: Arc<Desk>,
    pub(crate) control: Box<dyn Control>,
    /// Serve all connections on this shard, if it has an overlay.
    pub(crate) shard: Option<usize>,
    pub(crate) stopping: Arc<AtomicBool>,
    visitors: Vec<Visitor>,
    names: HashMap<String, Current>,
    /// Connections on shards, to bound their number.
    attached: Vec<Weak<Here>>,
    failures: Failures,
    epoch: u64,
}

impl Reception {
    pub(crate) fn new(
        listening: Listening,
        who: Identity,
        node_name: String,
        desk: Arc<Desk>,
        control: Box<dyn Control>,
        shard: Option<usize>,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            listening,
            who,
            node_name,
            desk,
            control,
            shard,
            stopping,
            visitors: Vec::new(),
            names: HashMap::new(),
            attached: Vec::new(),
            failures: Failures::default(),
            epoch: 0,
        }
    }

    /// Serves until it is told to stop.
    pub(crate) fn run(&mut self) {
        while !self.stopping.load(Ordering::Acquire) {
            let waits = self.serve_visitors();
            self.wait(waits);
            self.desk.bell.clear();
            self.desk.answer_all(&*self.control);
            self.take_grants();
            self.accept();
        }
        for visitor in &mut self.visitors {
            visitor.refuse_all(ErrorCode::Leaving, "the daemon is stopping");
            visitor.write();
        }
    }

    /// Waits for a descriptor, or until something has to be looked at anyway.
    fn wait(&self, waits: bool) {
        let mut fds = vec![
            PollFd::new(&self.listening.listener, PollFlags::IN),
            PollFd::from_borrowed_fd(self.desk.bell.as_fd(), PollFlags::IN),
        ];
        for visitor in &self.visitors {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, !visitor.is_choked() && !visitor.ending);
            flags.set(PollFlags::OUT, !visitor.output.is_empty());
            fds.push(PollFd::new(&visitor.socket, flags));
        }
        let logging_in = self
            .visitors
            .iter()
            .any(|visitor| matches!(visitor.stage, Stage::Login(_)));
        let timeout = match (waits, logging_in) {
            (true, _) => Some(AGAIN),
            (false, true) => Some(Duration::from_millis(250)),
            (false, false) => None,
        };
        let timeout = timeout.map(|time| Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        // Interrupted or not: whatever is there is looked at.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let socket = match self.listening.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    std::thread::sleep(AGAIN);
                    return;
                }
            };
            if let Err(error) = self.admit(socket) {
                tracing::debug!(%error, "a client was gone before it was looked at");
            }
        }
    }

    /// The clients that may attach are others now. Sessions of those whose secret or rights are not what they were end: who may
    /// comes again.
    fn take_grants(&mut self) {
        let Some(grants) = self.desk.take_grants() else {
            return;
        };
        let is_same = |rights: &Rights, name: &str| match rights {
            Rights::All => true,
            Rights::Granted(old) => grants.get(name).is_some_and(|new| **new == **old),
        };
        for (name, current) in &self.names {
            if !is_same(&current.client.rights, name) {
                current.end(Ending::Changed);
            }
        }
        self.who.grants = grants;
        // A login under way was judged by what held before.
        for visitor in self.visitors.iter_mut().filter(|v| v.is_logging_in()) {
            let (code, text) = Ending::Changed.word();
            visitor.refuse_all(code, text);
        }
        if let Err(error) = self.listening.set_open(!self.who.grants.is_empty()) {
            tracing::warn!(%error, "the mode of the clients' socket cannot be changed");
        }
    }

    /// Looks at the uid before anything is read.
    fn admit(&mut self, socket: UnixStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let uid = rustix::net::sockopt::socket_peercred(&socket)?.uid.as_raw();
        let mut visitor = Visitor::new(socket, uid);
        self.forget_gone();
        if uid != self.who.uid && self.who.grants.is_empty() {
            visitor.refuse_all(ErrorCode::Denied, "this user may not attach to this daemon");
        } else if self.attached.len() + self.visitors.len() >= CLIENTS_MAX {
            visitor.refuse_all(ErrorCode::TooMany, "too many clients are attached");
        }
        let logins = self.visitors.iter().filter(|v| v.is_logging_in()).count();
        if logins >= LOGINS_MAX
            && let Some(oldest) = self.visitors.iter().position(Visitor::is_logging_in)
        {
            self.visitors.remove(oldest);
            self.desk.refusals.count(ErrorCode::TooMany);
        }
        self.visitors.push(visitor);
        Ok(())
    }

    /// Forgets the connections that are gone, and the names that nobody holds any more.
    fn forget_gone(&mut self) {
        self.attached.retain(|here| here.strong_count() > 0);
        // A session that is no visitor's and nowhere on a shard is known by its name alone.
        self.names
            .retain(|_, current| Arc::strong_count(&current.client) > 1);
    }

    /// Serves every visitor. Returns whether one waits for something that no descriptor tells.
    fn serve_visitors(&mut self) -> bool {
        let mut waits = false;
        for mut visitor in std::mem::take(&mut self.visitors) {
            match self.serve(&mut visitor) {
                After::Stays => self.visitors.push(visitor),
                After::Waits => {
                    waits = true;
                    self.visitors.push(visitor);
                }
                After::Leaves => {}
            }
        }
        waits
    }

    fn serve(&mut self, visitor: &mut Visitor) -> After {
        if !visitor.ending && !visitor.read() {
            return After::Leaves;
        }
        let late = visitor.since.elapsed() > LOGIN_TIME;
        if late && matches!(visitor.stage, Stage::Login(_)) {
            // Not final: a client that was stopped meanwhile tries again.
            visitor.refuse_all(ErrorCode::Busy, "the login took too long; try again");
        }
        let mut after = After::Stays;
        while !visitor.ending && !visitor.is_choked() {
            match self.advance(visitor) {
                Some(found) => {
                    after = found;
                    break;
                }
                None => continue,
            }
        }
        if matches!(after, After::Leaves) {
            return after;
        }
        if let Some(code) = visitor.refused.take()
            && visitor.is_logging_in()
        {
            self.desk.refusals.count(code);
        }
        if !visitor.write() || (visitor.ending && visitor.output.is_empty()) {
            return After::Leaves;
        }
        after
    }

    /// Takes one step; `None` if another may follow at once.
    fn advance(&mut self, visitor: &mut Visitor) -> Option<After> {
        if let Stage::Fencing { older, since, .. } = &visitor.stage {
            if !older.is_over() && since.elapsed() < FENCE_TIME {
                return Some(After::Waits);
            }
            self.welcome(visitor);
            return None;
        }
        if let Stage::Attached(client) = &visitor.stage
            && let Some(ending) = client.ending()
        {
            let (code, text) = ending.word();
            visitor.refuse_all(code, text);
            return None;
        }
        let input = std::mem::take(&mut visitor.input);
        let (raw, used) = match split(&input) {
            Ok(Some(found)) => found,
            Ok(None) => {
                let too_much = input.len() > LOGIN_BYTES_MAX;
                visitor.input = input;
                if too_much {
                    visitor.refuse_all(
                        ErrorCode::Protocol,
                        "a frame that is too long before an overlay is named",
                    );
                    return None;
                }
                return Some(After::Stays);
            }
            Err(_) => {
                visitor.refuse_all(
                    ErrorCode::Protocol,
                    "what was sent is no frame of the client protocol",
                );
                return None;
            }
        };
        let Ok(request) = Request::decode(raw) else {
            visitor.refuse_all(ErrorCode::Protocol, "a malformed or unknown frame");
            return None;
        };
        let after = match &visitor.stage {
            Stage::Attached(client) => {
                let client = Arc::clone(client);
                self.attend(visitor, &client, &request, &input)
            }
            _ => {
                self.step(visitor, &request);
                Ok(())
            }
        };
        match after {
            Ok(()) => {
                visitor.input = input;
                visitor.input.drain(..used);
                None
            }
            Err(After::Leaves) => Some(After::Leaves),
            Err(after) => {
                visitor.input = input;
                Some(after)
            }
        }
    }

    /// Goes on with a login.
    fn step(&mut self, visitor: &mut Visitor, request: &Request<'_>) {
        let Stage::Login(login) = &mut visitor.stage else {
            return;
        };
        if let Request::Hello(hello) = request
            && hello.prove
            && !self
                .failures
                .admits(visitor.uid, hello.name, Instant::now())
        {
            let text = "too many logins under this name failed; try again later";
            return visitor.refuse_all(ErrorCode::Busy, text);
        }
        match login.step(request, visitor.uid, entropy::bytes(), &self.who) {
            Step::Challenge(challenge) => challenge.encode(&mut visitor.output),
            Step::Refuse { code, text, failed } => {
                if let Some(name) = failed {
                    tracing::warn!(uid = visitor.uid, name, "a client login failed");
                    self.failures.count(visitor.uid, name, Instant::now());
                }
                visitor.refuse_all(code, text);
            }
            Step::Admit { name, rights } => {
                if let Rights::Granted(_) = rights {
                    self.failures.forget(visitor.uid, &name);
                }
                self.epoch += 1;
                let client = Arc::new(Client::new(name, rights, self.epoch));
                visitor.stage = self.fence(client);
            }
        }
    }

    /// The newer login wins: the older session of the name, if there is one, has to let go.
    fn fence(&mut self, client: Arc<Client>) -> Stage {
        if client.name.is_empty() {
            let older = Arc::clone(&client);
            return Stage::Fencing {
                client,
                older,
                since: Instant::now(),
            };
        }
        let new = Current {
            client: Arc::clone(&client),
            mailbox: None,
        };
        let older = match self.names.insert(client.name.clone(), new) {
            None => Arc::clone(&client),
            Some(older) => {
                older.end(Ending::Newer);
                older.client
            }
        };
        Stage::Fencing {
            client,
            older,
            since: Instant::now(),
        }
    }

    fn welcome(&self, visitor: &mut Visitor) {
        let Stage::Fencing { client, .. } = &visitor.stage else {
            return;
        };
        let client = Arc::clone(client);
        let welcome = Welcome {
            version: CLIENT_PROTOCOL,
            max_frame: MAX_FRAME as u32,
            node: self.who.node,
            boot: self.who.boot,
            session_epoch: client.epoch,
            credit: CONNECTION_WINDOW,
            name: &self.node_name,
        };
        welcome.encode(&mut visitor.output);
        visitor.stage = Stage::Attached(client);
    }

    /// Serves an attached client until it names an overlay, which is where it goes then.
    fn attend(
        &mut self,
        visitor: &mut Visitor,
        client: &Arc<Client>,
        request: &Request<'_>,
        input: &[u8],
    ) -> Result<(), After> {
        let (kind, number, overlay) = match request {
            Request::Query(_) | Request::Leave(_) => {
                let frames = answer(&*self.control, &client.rights, request);
                visitor.output.extend_from_slice(&frames);
                if let Request::Leave(_) = request {
                    self.desk.refresh();
                }
                return Ok(());
            }
            Request::Open(open) => (Kind::Open, open.publisher, open.overlay),
            Request::Subscribe(subscribe) => (Kind::Subscribe, subscribe.sub, subscribe.overlay),
            Request::Watch(watch) => (Kind::Watch, watch.watch, watch.overlay),
            Request::Hello(_) | Request::Proof(_) => {
                visitor.refuse_all(ErrorCode::Protocol, "the session stands already");
                return Ok(());
            }
            // About something whose making was refused.
            Request::Publish(_)
            | Request::Ack(_)
            | Request::Close(_)
            | Request::AskOwed(_)
            | Request::Unsubscribe(_)
            | Request::Unwatch(_) => return Ok(()),
        };
        let place = self
            .desk
            .place(overlay)
            .filter(|_| client.rights.may_use(overlay));
        let Some(place) = place else {
            let (code, text) = self.desk.why_not(&client.rights, overlay);
            visitor.refuse(code, kind, number, &text);
            return Ok(());
        };
        if !visitor.write() {
            return Err(After::Leaves);
        }
        if !visitor.output.is_empty() {
            return Err(After::Waits);
        }
        let pinned = self.shard.and_then(|shard| self.desk.any_on(shard));
        let (name, place) = pinned.unwrap_or_else(|| (overlay.to_owned(), place));
        self.hand_over(visitor, client, name, &place, input)
    }

    fn hand_over(
        &mut self,
        visitor: &mut Visitor,
        client: &Arc<Client>,
        overlay: String,
        place: &Place,
        input: &[u8],
    ) -> Result<(), After> {
        let Ok(socket) = visitor.socket.try_clone() else {
            return Err(After::Waits);
        };
        let wake = Arc::new(place.wake());
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&wake)));
        let here = Arc::new(Here);
        let is_here = Arc::downgrade(&here);
        let arrival = Arrival {
            client: Arc::clone(client),
            part: Part::new(client),
            socket,
            overlay,
            wake,
            mailbox: Arc::clone(&mailbox),
            desk: Arc::clone(&self.desk),
            input: input.to_vec(),
            here,
        };
        if !place.attach(move || Box::new(Home::new(arrival))) {
            return Err(After::Waits);
        }
        if let Some(current) = self.names.get_mut(&client.name)
            && Arc::ptr_eq(&current.client, client)
        {
            current.mailbox = Some(mailbox);
        }
        self.attached.push(is_here);
        Err(After::Leaves)
    }
}

impl Visitor {
    fn new(socket: UnixStream, uid: u32) -> Self {
        Self {
            socket,
            uid,
            since: Instant::now(),
            stage: Stage::Login(Login::Waiting),
            input: Vec::new(),
            output: Vec::new(),
            ending: false,
            refused: None,
        }
    }

    /// Whether it has still to prove who it is.
    fn is_logging_in(&self) -> bool {
        matches!(self.stage, Stage::Login(_))
    }

    /// Whether it leaves so much unread that nothing more is read from it.
    fn is_choked(&self) -> bool {
        self.output.len() > VISITOR_OUTPUT
    }

    /// Reads what is there, within bounds. `false`: the client is gone.
    fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        while self.input.len() <= LOGIN_BYTES_MAX && !self.is_choked() {
            match self.socket.read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) => self.input.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Writes what the socket takes. `false`: the client is gone.
    fn write(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn refuse(&mut self, code: ErrorCode, refused: Kind, number: u32, text: &str) {
        Refusal {
            code,
            fatal: false,
            refused: refused as u8,
            number,
            text,
        }
        .encode(&mut self.output);
    }

    fn refuse_all(&mut self, code: ErrorCode, text: &str) {
        if !std::mem::replace(&mut self.ending, true) {
            self.refused = Some(code);
            Refusal {
                code,
                fatal: true,
                refused: 0,
                number: NO_NUMBER,
                text,
            }
            .encode(&mut self.output);
        }
    }
}

/// Rights are only looked at here; the name is what a log line shows.
impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::Granted(grant) => write!(f, "Granted({})", grant.name),
        }
    }
}

#[cfg(test)]
mod tests;
