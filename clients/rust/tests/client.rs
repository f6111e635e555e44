//! The client against a daemon that does what each test tells it.
#![allow(clippy::unwrap_used)] // A test.

mod fake;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fake::{BOOT, FakeDaemon, NODE, welcome};
use tidings_client::{
    Client, Distrust, Error, ErrorCode, Event, Options, Outcome, Secret, SubscribeOptions,
};
use tidings_wire::client::auth::{Challenge, Refusal};
use tidings_wire::client::key::Transcript;
use tidings_wire::client::publish::{Accepted, CONNECTION, Credit, Opened, OutcomeRange};
use tidings_wire::client::query::Answer;
use tidings_wire::client::subscribe::{DeliverKey, DeliverRun, Names, Subscribed};
use tidings_wire::client::{ClientKey, Kind, Request, Side};

const SECOND: Option<Duration> = Some(Duration::from_secs(30));

fn opened(publisher: u32, credit: u64) -> Opened {
    Opened {
        publisher,
        handle: 7,
        max_message: 100,
        owed: 1,
        credit,
    }
}

fn deliver(out: &mut Vec<u8>, sub: u32, seq: u64, payloads: &[&[u8]]) {
    let key = DeliverKey {
        sub,
        handle: 7,
        node: NODE,
        boot: BOOT,
        again: false,
    };
    let mut run = DeliverRun::begin(out, key, "orders.new", seq);
    payloads.iter().for_each(|payload| run.push(out, payload));
}

fn subscribed(out: &mut Vec<u8>, sub: u32) {
    Subscribed {
        sub,
        node_sub: 1,
        partial: false,
        pending: Names::default(),
    }
    .encode(out);
}

fn accepted(out: &mut Vec<u8>, count: u32, owed: u32) {
    Accepted {
        publisher: 0,
        owed,
        from: 0,
        count,
        unsynced: false,
    }
    .encode(out);
}

fn delivered(out: &mut Vec<u8>, count: u32) {
    OutcomeRange {
        publisher: 0,
        sub: 1,
        node: NODE,
        from: 0,
        count,
        result: Outcome::Delivered,
    }
    .encode(out);
}

#[test]
fn messages_go_out_in_one_frame_and_outcomes_come_back() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 1 << 20);
        peer.expect("open", |request| {
            matches!(request, Request::Open(open) if open.overlay == "demo" && open.topic == "orders.new")
        });
        peer.send(|out| opened(0, 1 << 20).encode(out));
        let published = peer.next(|request| match request {
            Request::Publish(publish) => publish.records.map(<[u8]>::to_vec).collect::<Vec<_>>(),
            other => panic!("expected a publish, got {other:?}"),
        });
        peer.send(|out| {
            accepted(out, 3, 1);
            delivered(out, 3);
        });
        published.unwrap()
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    assert_eq!(client.attached().name, "fake");
    let publisher = client.open("demo", "orders.new").unwrap();
    for (seq, payload) in [b"a".as_slice(), b"", b"ccc"].into_iter().enumerate() {
        assert_eq!(client.publish(publisher, payload).unwrap(), seq as u64);
    }
    assert!(matches!(
        client.publish(publisher, &[0; 101]),
        Err(Error::TooLarge { limit: 100 })
    ));
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Accepted {
            from: 0,
            count: 3,
            owed: 1,
            ..
        }))
    ));
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Outcome {
            from: 0,
            count: 3,
            outcome: Outcome::Delivered,
            ..
        }))
    ));
    assert_eq!(
        server.join().unwrap(),
        [b"a".to_vec(), b"".to_vec(), b"ccc".to_vec()]
    );
}

#[test]
fn publishing_waits_for_credit_of_the_publisher_and_of_the_connection() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 30);
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.send(|out| opened(0, 10).encode(out));
        let records = |request: &Request<'_>| match request {
            Request::Publish(publish) => publish.records.len(),
            other => panic!("expected a publish, got {other:?}"),
        };
        let first = peer.next(records).unwrap();
        peer.send(|out| {
            Credit {
                publisher: 0,
                credit: 1000,
            }
            .encode(out)
        });
        peer.send(|out| {
            Credit {
                publisher: CONNECTION,
                credit: 1000,
            }
            .encode(out)
        });
        (first, peer.next(records).unwrap())
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    let publisher = client.open("demo", "orders.new").unwrap();
    client.publish(publisher, b"123456").unwrap();
    assert!(matches!(
        client.try_publish(publisher, b""),
        Err(Error::WouldBlock)
    ));
    client.publish(publisher, b"1").unwrap();
    client.publish(publisher, b"2").unwrap();
    client.flush().unwrap();
    assert_eq!(server.join().unwrap(), (1, 2));
}

#[test]
fn opened_again_is_the_largest_message_and_the_credit_from_then_on() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let (told, hears) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 1 << 20);
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.send(|out| opened(0, 200).encode(out));
        for (max_message, credit) in [(1000, 5 + 1004), (10, 2000)] {
            peer.expect("publish", |request| matches!(request, Request::Publish(_)));
            let again = Opened {
                max_message,
                ..opened(0, credit)
            };
            peer.send(|out| again.encode(out));
            told.send(()).unwrap();
        }
        peer.expect("publish", |request| matches!(request, Request::Publish(_)));
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    let publisher = client.open("demo", "orders.new").unwrap();
    let refused = client.publish(publisher, &[0; 1000]);
    assert!(matches!(refused, Err(Error::TooLarge { limit: 100 })));
    assert_eq!(client.publish(publisher, b"1").unwrap(), 0);
    client.flush().unwrap();
    hears.recv().unwrap();
    // Though it has read nothing since.
    let refused = client.try_publish(publisher, &[0; 1001]);
    assert!(matches!(refused, Err(Error::TooLarge { limit: 1000 })));
    assert_eq!(client.try_publish(publisher, &[0; 1000]).unwrap(), 1);
    let waits = client.try_publish(publisher, b"");
    assert!(
        matches!(waits, Err(Error::WouldBlock)),
        "what was sent counts"
    );
    client.flush().unwrap();
    hears.recv().unwrap();
    assert!(client.next(Some(Duration::ZERO)).unwrap().is_none());
    assert_eq!(client.max_message(publisher), Some(10));
    let refused = client.publish(publisher, &[0; 11]);
    assert!(matches!(refused, Err(Error::TooLarge { limit: 10 })));
    assert_eq!(client.publish(publisher, &[0; 10]).unwrap(), 2);
    client.flush().unwrap();
    server.join().unwrap();
}

#[test]
fn a_question_is_answered_while_messages_wait_to_be_taken() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(9, 0);
        peer.expect("subscribe", |request| {
            matches!(request, Request::Subscribe(_))
        });
        peer.send(|out| {
            deliver(out, 0, 5, &[b"x", b"y"]);
            subscribed(out, 0);
        });
        let request = peer.next(|request| match request {
            Request::Query(query) => query.request,
            other => panic!("expected a query, got {other:?}"),
        });
        peer.send(|out| {
            Answer {
                request: request.unwrap(),
                json: "[1]",
            }
            .encode(out)
        });
        peer.next(|request| format!("{request:?}")).unwrap()
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    client
        .subscribe("demo", "orders.*", SubscribeOptions::default())
        .unwrap();
    assert_eq!(
        client
            .ask(tidings_client::Question::Members, "demo")
            .unwrap(),
        "[1]"
    );
    let last = match client.next(SECOND) {
        Ok(Some(Event::Messages(messages))) => {
            assert_eq!(messages.payloads.collect::<Vec<_>>(), [b"x", b"y"]);
            messages.all()
        }
        other => panic!("expected messages, got {other:?}"),
    };
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Subscribed { .. }))
    ));
    assert!(matches!(client.next(Some(Duration::ZERO)), Ok(None)));
    client.acknowledge(&last);
    client.flush().unwrap();
    let ack = server.join().unwrap();
    assert!(ack.contains("from: 5, to: 6, session_epoch: 9"), "{ack}");
}

#[test]
fn a_lost_daemon_is_told_and_attached_to_again_with_everything_that_stood() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 1 << 20);
        peer.expect("subscribe", |request| {
            matches!(request, Request::Subscribe(_))
        });
        peer.send(|out| subscribed(out, 0));
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.send(|out| opened(0, 1 << 20).encode(out));
        peer.expect("publish", |request| matches!(request, Request::Publish(_)));
        peer.send(|out| {
            accepted(out, 1, 2);
            deliver(out, 0, 0, &[b"x"]);
        });
        drop(peer);
        let mut peer = daemon.welcome(2, 1 << 20);
        peer.expect("subscribe", |request| {
            matches!(request, Request::Subscribe(subscribe) if subscribe.sub == 0 && subscribe.pattern == "orders.*")
        });
        peer.expect(
            "open",
            |request| matches!(request, Request::Open(open) if open.publisher == 0),
        );
        peer.send(|out| {
            subscribed(out, 0);
            opened(0, 1 << 20).encode(out);
        });
        peer.expect("publish", |request| matches!(request, Request::Publish(_)));
        peer.send(|out| accepted(out, 1, 0));
        peer.next(|_| ());
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    client
        .subscribe("demo", "orders.*", SubscribeOptions::default())
        .unwrap();
    let publisher = client.open("demo", "orders.new").unwrap();
    client.publish(publisher, b"one").unwrap();
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Subscribed { .. }))
    ));
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Accepted { .. }))
    ));
    let stale = match client.next(SECOND) {
        Ok(Some(Event::Messages(messages))) => messages.all(),
        other => panic!("expected messages, got {other:?}"),
    };
    assert!(matches!(client.next(SECOND), Ok(Some(Event::Lost { .. }))));
    match client.next(SECOND) {
        Ok(Some(Event::Unknown {
            messages: 0,
            outcomes: 2,
            ..
        })) => {}
        other => panic!("expected what is unknown, got {other:?}"),
    }
    assert!(matches!(client.next(SECOND), Ok(Some(Event::Attached(_)))));
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Subscribed { .. }))
    ));
    client.acknowledge(&stale); // Of the lost session: never sent, the server would not expect it.
    assert_eq!(client.publish(publisher, b"two").unwrap(), 1);
    assert!(matches!(
        client.next(SECOND),
        Ok(Some(Event::Accepted {
            from: 1,
            count: 1,
            ..
        }))
    ));
    drop(client);
    server.join().unwrap();
}

#[test]
fn what_came_before_a_publisher_was_refused_keeps_its_numbers() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 1 << 20);
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.send(|out| opened(0, 1 << 20).encode(out));
        peer.expect("publish", |request| matches!(request, Request::Publish(_)));
        peer.send(|out| accepted(out, 1, 1));
        drop(peer);
        let mut peer = daemon.welcome(2, 1 << 20);
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.send(|out| opened(0, 1 << 20).encode(out));
        peer.expect("publish", |request| matches!(request, Request::Publish(_)));
        peer.send(|out| {
            accepted(out, 1, 1);
            delivered(out, 1);
            Refusal {
                code: ErrorCode::Leaving,
                fatal: false,
                refused: Kind::Publish as u8,
                number: 0,
                text: "the node is leaving the overlay",
            }
            .encode(out);
        });
        for number in [1, 0] {
            peer.expect(
                "open",
                |request| matches!(request, Request::Open(open) if open.publisher == number),
            );
        }
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    let publisher = client.open("demo", "orders.new").unwrap();
    client.publish(publisher, b"one").unwrap();
    let next = |client: &mut Client| format!("{:?}", client.next(SECOND).unwrap().unwrap());
    assert!(next(&mut client).starts_with("Accepted"));
    assert!(next(&mut client).starts_with("Lost"));
    assert!(next(&mut client).starts_with("Unknown"));
    assert!(next(&mut client).starts_with("Attached"));
    assert_eq!(client.publish(publisher, b"two").unwrap(), 1);
    let told = next(&mut client);
    assert!(
        told.contains("Accepted") && told.contains("from: 1,"),
        "{told}"
    );
    // The refusal came, and an outcome before it that was not taken.
    assert!(matches!(
        client.try_publish(publisher, b"three"),
        Err(Error::Closed)
    ));
    let other = client.begin_open("demo", "orders.new").unwrap();
    assert_ne!(other, publisher);
    let told = next(&mut client);
    assert!(
        told.contains("Outcome") && told.contains("from: 1,"),
        "{told}"
    );
    assert!(next(&mut client).starts_with("Refused"));
    assert_eq!(client.begin_open("demo", "orders.new").unwrap(), publisher);
    client.flush().unwrap();
    server.join().unwrap();
}

#[test]
fn a_loss_that_a_question_meets_keeps_the_events_before_it() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 1 << 20);
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.send(|out| opened(0, 1 << 20).encode(out));
        peer.expect("publish", |request| matches!(request, Request::Publish(_)));
        peer.expect("ask", |request| matches!(request, Request::Query(_)));
        peer.send(|out| {
            accepted(out, 1, 1);
            delivered(out, 1);
        });
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    let publisher = client.open("demo", "orders.new").unwrap();
    client.publish(publisher, b"one").unwrap();
    let asked = client.ask(tidings_client::Question::Node, "");
    assert!(matches!(asked, Err(Error::Lost(_))), "{asked:?}");
    for expected in ["Accepted", "Outcome", "Lost"] {
        let told = format!("{:?}", client.next(SECOND).unwrap().unwrap());
        assert!(told.starts_with(expected), "{told}");
    }
    // Nothing of it is unknown.
    assert!(client.next(Some(Duration::ZERO)).unwrap().is_none());
    server.join().unwrap();
}

#[test]
fn a_daemon_that_is_busy_at_the_new_login_is_tried_again() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        drop(daemon.welcome(1, 0));
        // As for a client that was stopped in the middle of its login.
        let mut peer = daemon.accept();
        peer.refuse(
            ErrorCode::Busy,
            true,
            0,
            u32::MAX,
            "the login took too long; try again",
        );
        drop(peer);
        daemon.welcome(2, 0)
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    assert!(matches!(client.next(SECOND), Ok(Some(Event::Lost { .. }))));
    assert!(matches!(client.next(SECOND), Ok(Some(Event::Attached(_)))));
    server.join().unwrap();
}

#[test]
fn a_daemon_that_does_not_know_the_secret_learns_nothing() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.accept();
        peer.expect(
            "hello",
            |request| matches!(request, Request::Hello(hello) if hello.prove),
        );
        peer.send(|out| {
            Challenge {
                node: NODE,
                boot: BOOT,
                nonce: [3; 32],
                proof: [4; 32],
            }
            .encode(out)
        });
        peer.next(|request| format!("{request:?}"))
    });
    let options = Options::new(path)
        .name("worker")
        .secret(Secret::new([5; 32]));
    assert!(matches!(Client::connect(options), Err(Error::Impostor)));
    assert_eq!(
        server.join().unwrap(),
        None,
        "nothing follows a wrong proof"
    );
}

#[test]
fn both_sides_prove_the_secret() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.accept();
        let client_nonce = peer.next(|request| match request {
            Request::Hello(hello) => hello.nonce,
            other => panic!("expected hello, got {other:?}"),
        });
        let key = ClientKey::derive(&[5; 32], "worker");
        let client_nonce = client_nonce.unwrap();
        let transcript = Transcript {
            client_nonce: &client_nonce,
            daemon_nonce: &[3; 32],
            node: NODE,
            boot: BOOT,
            name: "worker",
        };
        let proof = key.prove(Side::Daemon, &transcript);
        peer.send(|out| {
            Challenge {
                node: NODE,
                boot: BOOT,
                nonce: [3; 32],
                proof,
            }
            .encode(out)
        });
        let verified = peer.next(|request| match request {
            Request::Proof(proof) => key.verify(Side::Client, &transcript, &proof.proof),
            other => panic!("expected proof, got {other:?}"),
        });
        peer.send(|out| welcome(1, 0).encode(out));
        verified
    });
    let options = Options::new(path)
        .name("worker")
        .secret(Secret::new([5; 32]));
    Client::connect(options).unwrap();
    assert_eq!(server.join().unwrap(), Some(true));
}

#[test]
fn refusals_reach_whoever_asked_and_a_fenced_client_does_not_come_back() {
    let daemon = FakeDaemon::new();
    let path = daemon.path().to_owned();
    let server = thread::spawn(move || {
        let mut peer = daemon.welcome(1, 0);
        peer.expect("open", |request| matches!(request, Request::Open(_)));
        peer.refuse(
            ErrorCode::NoOverlay,
            false,
            Kind::Open as u8,
            0,
            "no overlay named x",
        );
        peer.expect("ask", |request| matches!(request, Request::Query(_)));
        peer.refuse(
            ErrorCode::Fenced,
            true,
            0,
            u32::MAX,
            "a newer login took over",
        );
    });
    let mut client = Client::connect(Options::new(path)).unwrap();
    match client.open("x", "orders.new") {
        Err(Error::Refused {
            code: ErrorCode::NoOverlay,
            text,
        }) => assert_eq!(text, "no overlay named x"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    let error = client.ask(tidings_client::Question::Node, "").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                code: ErrorCode::Fenced,
                ..
            }
        ),
        "{error:?}"
    );
    server.join().unwrap();
}

#[test]
fn without_a_daemon_the_socket_is_named() {
    let error = Client::connect(Options::new("/nonexistent/tidings.sock"))
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("no daemon at /nonexistent/tidings.sock"),
        "{error}"
    );
}

const STRANGER: &str = "TIDINGS_TEST_STRANGER";

/// Listens at the path in the variable, as the user that it was started under, until it is killed.
fn listen_as_stranger(socket: &str) -> ! {
    let listener = UnixListener::bind(socket).unwrap();
    let _first = listener.accept();
    loop {
        thread::park();
    }
}

/// A process of another user that listens at `socket`. `None`: it cannot be started here.
fn stranger(socket: &Path) -> Option<Child> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let started = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_listener_of_another_user_is_told_nothing"])
        .env(STRANGER, socket)
        .stdout(Stdio::null())
        .uid(65_534)
        .spawn();
    // This program may be out of that user's reach.
    let mut child = started.ok()?;
    while !socket.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        thread::sleep(Duration::from_millis(5));
    }
    Some(child)
}

#[test]
fn a_listener_of_another_user_is_told_nothing() {
    if let Ok(socket) = std::env::var(STRANGER) {
        listen_as_stranger(&socket);
    }
    let dir = tempfile::tempdir().unwrap();
    // As in /tmp: everybody may make files, nobody may replace those of others.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let socket = dir.path().join("tidings.sock");
    let Some(mut stranger) = stranger(&socket) else {
        return;
    };
    let refused = Client::connect(Options::new(&socket)).map(drop);
    // With a secret it is asked to prove that it knows it.
    let named = Options::new(&socket).name("w").secret(Secret::new([7; 32]));
    let asked = Client::connect(named).map(drop);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let distrust = Distrust::Listener { uid: 65_534 };
    assert!(
        matches!(&refused, Err(Error::Untrusted { distrust: found, .. }) if *found == distrust),
        "{refused:?}"
    );
    assert!(matches!(asked, Err(Error::TimedOut)), "{asked:?}");
}

#[test]
fn a_socket_in_a_folder_that_others_may_write_is_not_touched() {
    let daemon = FakeDaemon::new();
    let folder = daemon.path().parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Client::connect(Options::new(daemon.path())).map(drop);
    assert!(
        matches!(refused, Err(Error::Untrusted { .. })),
        "{refused:?}"
    );
}
