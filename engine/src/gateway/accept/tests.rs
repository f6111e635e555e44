//! The control thread's steps, called by hand, with clients that speak in frames.

use super::*;
use tidings_wire::client::Reply;
use tidings_wire::client::auth::{Hello, Proof};
use tidings_wire::client::key::{ClientKey, Side, Transcript};
use tidings_wire::client::query::{Query, Topic};
use tidings_wire::{Boot, NodeId};

use crate::engine::Engine;
use crate::gateway::desk::{Refused, Viewer};
use crate::gateway::grant::Grant;
use crate::sys::eventfd::EventFd;

/// Answers every question with a long text.
struct Talker;

impl Control for Talker {
    fn answer(&self, _: Topic, _: &str, viewer: Viewer<'_>) -> Result<String, Refused> {
        let sees = ["demo", "prod", ""].map(|overlay| viewer.may_see(overlay));
        let long = "x".repeat(10_000);
        Ok(format!("{sees:?} {} {long}", viewer.is_owner()))
    }

    fn leave(&self, _: &str, _: Viewer<'_>) -> Result<(), Refused> {
        Ok(())
    }
}

fn reception(folder: &std::path::Path) -> Reception {
    let engine = Engine::builder()
        .bind("127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let grant = |name: &str| {
        let grant = Grant {
            name: name.into(),
            secret: [5; 32],
            overlays: vec!["demo".into()],
            publish: Vec::new(),
            subscribe: Vec::new(),
        };
        (name.to_owned(), Arc::new(grant))
    };
    let who = Identity {
        node: NodeId([1; 16]),
        boot: Boot([2; 16]),
        uid: rustix::process::geteuid().as_raw(),
        grants: HashMap::from([grant("worker"), grant("other")]),
        dummy: [9; 32],
    };
    let desk = Desk::new(EventFd::new().unwrap(), Arc::clone(&engine.inner));
    Reception::new(
        Listening::bind(&folder.join("sock"), false).unwrap(),
        who,
        "node".to_owned(),
        Arc::new(desk),
        Box::new(Talker),
        None,
        Arc::default(),
    )
}

impl Reception {
    /// Lets a client in whose connection is already made.
    fn meet(&mut self) -> UnixStream {
        let (client, daemon) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        self.admit(daemon).unwrap();
        client
    }

    /// Logs in with a secret, or by uid alone, and gives the last answer.
    fn log_in(&mut self, name: &str, secret: Option<[u8; 32]>) -> (UnixStream, Answered) {
        let mut client = self.meet();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            nonce: [3; 32],
            prove: secret.is_some(),
            name,
        };
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        client.write_all(&bytes).unwrap();
        self.serve_visitors();
        let mut answer = answered(&mut client);
        if let (Answered::Challenge(challenge), Some(secret)) = (&answer, secret) {
            let transcript = Transcript {
                client_nonce: &[3; 32],
                daemon_nonce: &challenge.nonce,
                node: challenge.node,
                boot: challenge.boot,
                name,
            };
            let proof = ClientKey::derive(&secret, name).prove(Side::Client, &transcript);
            let mut bytes = Vec::new();
            Proof { proof }.encode(&mut bytes);
            client.write_all(&bytes).unwrap();
            self.serve_visitors();
            answer = answered(&mut client);
        }
        (client, answer)
    }
}

#[derive(Debug, PartialEq)]
enum Answered {
    Challenge(tidings_wire::client::auth::Challenge),
    Welcome,
    Refused(ErrorCode),
    Json(String),
    Nothing,
}

/// What the daemon said.
fn answered(client: &mut UnixStream) -> Answered {
    let mut bytes = vec![0; 64 << 10];
    let read = client.read(&mut bytes).unwrap_or(0);
    match split(&bytes[..read]).unwrap() {
        None => Answered::Nothing,
        Some((raw, _)) => match Reply::decode(raw).unwrap() {
            Reply::Challenge(challenge) => Answered::Challenge(challenge),
            Reply::Welcome(_) => Answered::Welcome,
            Reply::Error(refusal) => Answered::Refused(refusal.code),
            Reply::Answer(answer) => Answered::Json(answer.json.to_owned()),
            other => panic!("{other:?}"),
        },
    }
}

/// `false`: the daemon takes no more.
fn ask(client: &mut UnixStream, overlay: &str) -> bool {
    let query = Query {
        request: 1,
        what: Topic::Stats,
        overlay,
    };
    let mut bytes = Vec::new();
    query.encode(&mut bytes);
    client
        .write(&bytes)
        .is_ok_and(|written| written == bytes.len())
}

#[test]
fn names_that_nobody_holds_any_more_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut reception = reception(folder.path());
    let (kept, welcome) = reception.log_in("kept", None);
    assert_eq!(welcome, Answered::Welcome);
    for i in 0..200 {
        let (client, welcome) = reception.log_in(&format!("name-{i}"), None);
        assert_eq!(welcome, Answered::Welcome);
        drop(client);
        reception.serve_visitors();
    }
    reception.forget_gone();
    assert_eq!(reception.names.keys().collect::<Vec<_>>(), ["kept"]);
    // It is still fenced by a newer login.
    let (_newer, welcome) = reception.log_in("kept", None);
    assert_eq!(welcome, Answered::Welcome);
    reception.serve_visitors();
    let mut kept = kept;
    assert_eq!(answered(&mut kept), Answered::Refused(ErrorCode::Fenced));
}

#[test]
fn failed_proofs_lock_out_the_claimed_name_only() {
    let is_locked_out = |_| {
        let folder = tempfile::tempdir().unwrap();
        let mut reception = reception(folder.path());
        for _ in 0..5 {
            let (_client, refused) = reception.log_in("worker", Some([6; 32]));
            assert_eq!(refused, Answered::Refused(ErrorCode::Denied));
        }
        let mut try_as = |name: &str, secret| reception.log_in(name, secret).1;
        let first = try_as("worker", Some([5; 32]));
        assert_eq!(try_as("other", Some([5; 32])), Answered::Welcome);
        assert_eq!(try_as("", None), Answered::Welcome);
        // A login by uid proves nothing.
        assert_eq!(try_as("worker", None), Answered::Welcome);
        let last = try_as("worker", Some([5; 32]));
        let is_locked = [first, last]
            .iter()
            .all(|answer| *answer == Answered::Refused(ErrorCode::Busy));
        let refused = reception.desk.refusals.each();
        let counted = [("denied", 5), ("busy", 2), ("crowded", 0)];
        is_locked && refused[..3] == counted
    };
    // For a second, which a busy machine may take for this: it gets more tries.
    assert!((0..5).any(is_locked_out));
}

#[test]
fn a_login_that_takes_too_long_may_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut reception = reception(folder.path());
    let mut client = reception.meet();
    reception.visitors[0].since = Instant::now() - LOGIN_TIME - Duration::from_secs(1);
    reception.serve_visitors();
    assert_eq!(answered(&mut client), Answered::Refused(ErrorCode::Busy));
}

#[test]
fn answers_that_a_client_does_not_read_stay_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut reception = reception(folder.path());
    let (mut client, _) = reception.log_in("", None);
    let mut asked = 0;
    while ask(&mut client, "") {
        asked += 1;
        reception.serve_visitors();
        assert!(reception.visitors[0].output.len() <= VISITOR_OUTPUT + 20_000);
    }
    // What was not read is served when the client reads again.
    let mut chunk = vec![0; 1 << 20];
    let mut came = 0;
    while came < asked * 10_000 {
        let read = client.read(&mut chunk).unwrap_or(0);
        assert!(read > 0, "{came} bytes for {asked} questions");
        came += read;
        reception.serve_visitors();
    }
}

#[test]
fn questions_are_answered_as_far_as_the_client_may_see() {
    let folder = tempfile::tempdir().unwrap();
    let mut reception = reception(folder.path());
    let mut told = |name, secret, overlay: &str| {
        let (mut client, welcome) = reception.log_in(name, secret);
        assert_eq!(welcome, Answered::Welcome);
        assert!(ask(&mut client, overlay));
        reception.serve_visitors();
        match answered(&mut client) {
            Answered::Json(text) => text.split(" x").next().unwrap_or_default().to_owned(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(told("", None, ""), "[true, true, true] true");
    let worker = Some([5; 32]);
    assert_eq!(told("worker", worker, ""), "[true, false, false] false");
    assert_eq!(told("worker", worker, "prod"), "Refused(NotAllowed)");
}

#[test]
fn those_who_connect_and_say_nothing_keep_nobody_out_and_take_few_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut reception = reception(folder.path());
    let (mut kept, welcome) = reception.log_in("kept", None);
    assert_eq!(welcome, Answered::Welcome);
    let mut idle: Vec<UnixStream> = (0..1024).map(|_| reception.meet()).collect();
    assert_eq!(reception.visitors.len(), 1 + LOGINS_MAX);
    reception.serve_visitors();
    let closed = |client: &mut UnixStream| client.read(&mut [0; 1]).is_ok_and(|read| read == 0);
    let open = idle.iter_mut().map(|client| usize::from(!closed(client)));
    assert_eq!(open.sum::<usize>(), LOGINS_MAX, "the oldest give way");
    let path = folder.path().join("sock");
    for n in 0..10_000 {
        drop(UnixStream::connect(&path).unwrap());
        if n % 50 == 0 {
            reception.accept();
            reception.serve_visitors();
            assert!(reception.visitors.len() <= 1 + LOGINS_MAX);
        }
    }
    assert!(ask(&mut kept, ""), "who is attached is served");
    reception.serve_visitors();
    assert!(matches!(answered(&mut kept), Answered::Json(_)));
    let (_client, welcome) = reception.log_in("worker", Some([5; 32]));
    assert_eq!(welcome, Answered::Welcome);
}
