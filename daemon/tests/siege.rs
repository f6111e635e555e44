//! Messages between two nodes while somebody wears out the management service of one: nothing is lost, no request makes it
//! fail, and how long messages take meanwhile is measured and printed (`--nocapture` shows it).
#![allow(clippy::unwrap_used)] // A test.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::http::{Service, basic, request};
use common::{Node, Over, meet, within};
use tidings_client::{Client, Event, Options, SubscribeOptions};

/// Requests of the bad kind at least,
const BAD: usize = 10_000;
/// and how long they go on at least: enough messages that a hundredth of them means something.
const LONG: Duration = Duration::from_secs(3);
/// Who sends them at a time.
const SENDERS: usize = 4;
/// Time between two messages.
const EVERY: Duration = Duration::from_millis(2);

/// Sends messages from `a` to `b` for as long as `busy` takes, and returns how long each took, in microseconds, shortest first.
fn latencies(a: &Node, b: &Node, busy: impl FnOnce()) -> Vec<u64> {
    let (begun, is_over, sent) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let mut publishes = Client::connect(Options::new(a.socket())).unwrap();
    let mut reads = Client::connect(Options::new(b.socket())).unwrap();
    reads
        .subscribe("met", "ticks", SubscribeOptions::default())
        .unwrap();
    let publisher = publishes.open("met", "ticks").unwrap();
    let known = |client: &mut Client| client.owed(publisher).unwrap() == 1;
    assert!(within(Duration::from_secs(20), || known(&mut publishes)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                let now = u64::try_from(begun.elapsed().as_nanos()).unwrap();
                publishes.publish(publisher, &now.to_le_bytes()).unwrap();
                publishes.flush().unwrap();
                sent.fetch_add(1, Ordering::Release);
                next += EVERY;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let (is_over, sent) = (&is_over, &sent);
        let reader = scope.spawn(move || {
            let mut took = Vec::new();
            let mut silent = 0;
            // All that were sent, and for half a minute at most.
            while silent < 30 {
                let all = sent.load(Ordering::Acquire);
                if is_over.load(Ordering::Relaxed) && took.len() as u64 >= all {
                    break;
                }
                match reads.next(Some(Duration::from_secs(1))).unwrap() {
                    Some(Event::Messages(messages)) => {
                        silent = 0;
                        for payload in messages.payloads {
                            let then = u64::from_le_bytes(payload.try_into().unwrap());
                            let now = u64::try_from(begun.elapsed().as_nanos()).unwrap();
                            took.push((now - then) / 1_000);
                        }
                        let all = messages.all();
                        reads.acknowledge(&all);
                    }
                    Some(_) => {}
                    None => silent += usize::from(is_over.load(Ordering::Relaxed)),
                }
            }
            reads.flush().unwrap();
            took
        });
        let over = Over(is_over);
        busy();
        drop(over);
        let mut took = reader.join().unwrap();
        took.sort_unstable();
        took
    })
}

/// The same, with nothing lost, told in one line.
fn measured(what: &str, a: &Node, b: &Node, busy: impl FnOnce()) {
    let before = outcomes(a);
    let took = latencies(a, b, busy);
    let after = || {
        let (accepted, delivered) = outcomes(a);
        (accepted - before.0, delivered - before.1)
    };
    let all = took.len() as u64;
    assert!(all > 100, "{what}: {all} messages came");
    assert!(
        within(Duration::from_secs(20), || after() == (all, all)),
        "{what}: {:?} of {all}",
        after()
    );
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "{what}: {all} messages, p50 {} us, p99 {} us, max {} us",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Messages accepted and delivered so far.
fn outcomes(node: &Node) -> (u64, u64) {
    let path = "/v1/overlays/met/stats";
    let stats = common::http::unix(&node.management(), "GET", path, None).json();
    let count = |name: &str| stats["publish"][name].as_u64().unwrap();
    (count("accepted"), count("delivered"))
}

/// What has stopped daemons of this kind: credentials that are none, values of the wrong kind, names that nobody has heard of,
/// configurations that lack what they need, and bodies that are not what they are said to be.
fn bad(number: usize, superuser: &str, token: &str) -> Vec<u8> {
    let bearer = format!("X-Session-Token: {token}");
    let unknown = format!("/overlays/o{number}");
    // Whoever guesses is locked out under the name that they guess for.
    let wrong = basic("user", &format!("wrong {number}"));
    let post = |path: &str, header: &str, body: &str| request("POST", path, &[header], Some(body));
    match number % 20 {
        0 => request("GET", "/overlays", &["Authorization: Basic %%%"], None),
        1 => request(
            "GET",
            "/v1/node",
            &["Authorization: Basic \u{1}\u{2}"],
            None,
        ),
        2 => request("GET", "/v1/node", &["Authorization: Bearer"], None),
        3 => request("GET", "/overlays", &[&wrong], None),
        4 => request(
            "GET",
            "/configuration/met",
            &["X-Session-Token: none"],
            None,
        ),
        5 => post("/digest/met", &bearer, "{\"type\": 7, \"n\": \"x\"}"),
        6 => post("/digest/met", &bearer, "{\"t\":[{\"f\":\"x\",\"i32\":1}]}"),
        7 => post(
            "/digest/met",
            &bearer,
            "{\"type\": \"t\", \"recipient_ip\": {}}",
        ),
        8 => post(&unknown, superuser, "{\"iface\": \"none0\", \"port\": 1}"),
        9 => post(&unknown, superuser, "{\"rack_name\": \"a\", \"racks\": {}}"),
        10 => post(
            &unknown,
            superuser,
            "{\"port\": 99999999, \"quarantine_after\": -1}",
        ),
        11 => post(&unknown, superuser, "{"),
        12 => request(
            "PUT",
            "/overlays/met/ip",
            &[&bearer],
            Some("{\"not\": \"an address\"}"),
        ),
        13 => request("DELETE", &unknown, &[superuser], None),
        14 => request(
            "GET",
            &format!("/statistics/met/{number}h"),
            &[&bearer],
            None,
        ),
        15 => post("/v1/overlays", superuser, &"[".repeat(5_000)),
        16 => post("/v1/overlays/met/publish/a..b", superuser, "x"),
        17 => request(
            "GET",
            &format!("/v1/overlays/met/%ff{number}"),
            &[superuser],
            None,
        ),
        18 => request("BREW", "/v1/overlays/met", &[superuser], None),
        _ => request(
            "GET",
            "/v1/overlays/met/socket",
            &[superuser, "Upgrade: websocket"],
            None,
        ),
    }
}

/// How often each status was the answer to all of the bad requests.
fn besiege(service: &Service, token: &str) -> BTreeMap<u16, usize> {
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let send = || {
        let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= BAD && begun.elapsed() >= LONG {
                return answers;
            }
            let answer = service.send(&bad(number, &service.superuser, token));
            assert!((400..500).contains(&answer.status), "{number}: {answer:?}");
            *answers.entry(answer.status).or_default() += 1;
        }
    };
    let mut all: BTreeMap<u16, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        for sender in senders {
            for (status, count) in sender.join().unwrap() {
                *all.entry(status).or_default() += count;
            }
        }
    });
    all
}

#[test]
fn ten_thousand_bad_requests_and_a_flood_cost_no_message_and_no_failure() {
    let (mut a, b) = (Node::plain(), Node::plain());
    meet(&a, &b);
    let service = Service::of(&a);
    let path = "/v1/overlays/met/tokens";
    let made = common::http::unix(&service.unix, "POST", path, Some("{\"name\": \"siege\"}"));
    let token = made.json()["secret"].as_str().unwrap().to_owned();
    let quiet = || std::thread::sleep(LONG);
    measured("quiet", &a, &b, quiet);

    let mut answers = BTreeMap::new();
    measured("bad requests", &a, &b, || {
        answers = besiege(&service, &token)
    });
    println!("their answers: {answers:?}");
    assert!(answers.values().sum::<usize>() >= BAD);

    // More connections than there are places, each with half a request, and good requests as fast as they are answered.
    let asked = AtomicUsize::new(0);
    measured("a flood", &a, &b, || {
        let halves: Vec<_> = (0..300)
            .map(|_| {
                let mut way = service.socket();
                let _ = way.write_all(b"GET /livez HTTP/1.1\r\nHost: t\r\nX-H");
                way
            })
            .collect();
        let until = Instant::now() + LONG;
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    while Instant::now() < until {
                        let answer = service.over_unix("GET", "/v1/overlays/met/stats", &[]);
                        assert_eq!(answer.status, 200, "{answer:?}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        drop(halves);
    });
    println!("answered in the flood: {}", asked.load(Ordering::Relaxed));
    assert!(asked.load(Ordering::Relaxed) > 0);
    measured("quiet again", &a, &b, quiet);

    assert!(a.ended().is_none());
    let metrics = service.over_unix("GET", "/metrics", &[]).body;
    for line in [
        "tidings_http_requests_total{code=\"5xx\"} 0",
        "tidings_http_panics_total 0",
        "tidings_http_restarts_total 0",
        "tidings_thread_panics_total 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
    let healthy = || {
        ["/livez", "/readyz"].iter().all(|path| {
            let health = service.over_unix("GET", path, &[]);
            health.status == 200
        })
    };
    assert!(within(Duration::from_secs(20), healthy));
}

/// Connections that flood the service: more than the network has places for.
const FLOOD: usize = 260;

/// Sends whole requests over one connection, again when it is closed.
struct Flooder {
    way: Option<BufReader<TcpStream>>,
}

impl Flooder {
    fn send(&mut self, service: &Service, text: &[u8]) {
        let way = self
            .way
            .get_or_insert_with(|| BufReader::new(service.socket()));
        if way.get_mut().write_all(text).is_err() {
            self.way = None;
        }
    }

    /// The status of the answer; none if the connection ended without one.
    fn read(&mut self) -> Option<u16> {
        let answer = self.way.as_mut().and_then(|way| answer(way).ok());
        let (status, goes_on) = answer.unwrap_or_default();
        if !goes_on {
            self.way = None;
        }
        (status != 0).then_some(status)
    }
}

/// The status of one answer, and whether the connection goes on after it.
fn answer(way: &mut BufReader<TcpStream>) -> std::io::Result<(u16, bool)> {
    let (mut status, mut goes_on, mut length) = (0, true, 0);
    loop {
        let mut line = String::new();
        way.read_line(&mut line)?;
        let line = line.trim_end().to_lowercase();
        match line.split_once(": ") {
            _ if line.is_empty() => break,
            Some(("content-length", bytes)) => length = bytes.parse().unwrap_or(0),
            Some(("connection", "close")) => goes_on = false,
            Some(_) => {}
            None => {
                status = line
                    .split(' ')
                    .nth(1)
                    .map_or(0, |code| code.parse().unwrap_or(0))
            }
        }
    }
    std::io::copy(&mut way.take(length), &mut std::io::sink())?;
    Ok((status, goes_on))
}

#[test]
fn whole_requests_over_all_connections_keep_nobody_from_hearing_that_the_node_lives() {
    let node = Node::plain();
    let service = Service::of(&node);
    let lives = || service.over_unix("GET", "/livez", &[]).status == 200;
    assert!(within(Duration::from_secs(60), lives));
    let keep = |path: &str, header: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: t\r\n{header}\r\n").into_bytes()
    };
    let known = format!("{}\r\n", service.superuser);
    let floods = [
        keep("/livez", ""),
        keep("/readyz", ""),
        keep("/healthz", ""),
        keep("/v1/overlays", ""),
        keep("/v1/overlays", &known),
        keep("/livez", ""),
        keep("/v1/stats", &known),
    ];
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let flood = |part: usize| {
        let mut all: Vec<_> = (0..FLOOD / SENDERS)
            .map(|_| Flooder { way: None })
            .collect();
        while !is_over.load(Ordering::Relaxed) {
            for (number, flooder) in all.iter_mut().enumerate() {
                flooder.send(&service, &floods[(number + part) % floods.len()]);
            }
            for flooder in &mut all {
                answered.fetch_add(usize::from(flooder.read().is_some()), Ordering::Relaxed);
            }
        }
    };
    let mut probes = 0;
    let (mut unwell, mut refused) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        for part in 0..SENDERS {
            let flood = &flood;
            scope.spawn(move || flood(part));
        }
        let begun = Instant::now();
        // Nothing may panic here before the flood is over.
        let is_begun = within(Duration::from_secs(60), || {
            answered.load(Ordering::Relaxed) >= 2 * FLOOD
        });
        while probes < 20 || begun.elapsed() < LONG {
            probes += 1;
            let health = [
                service.ask("GET", "/livez", &[]),
                service.over_unix("GET", "/livez", &[]),
            ];
            unwell.extend(health.into_iter().filter(|answer| answer.status != 200));
            let owner = service.over_unix("GET", "/v1/overlays", &[]);
            refused.extend(Some(owner).filter(|answer| answer.status != 200));
        }
        drop(over);
        assert!(is_begun, "{} answers", answered.load(Ordering::Relaxed));
    });
    println!("probes: {probes}; answered in the flood: {answered:?}");
    assert!(
        refused.is_empty(),
        "{} of {probes}: {:?}",
        refused.len(),
        refused[0]
    );
    // A busy machine may keep a shard from running for a second.
    let few = probes / 10;
    assert!(
        unwell.len() <= few,
        "{} of {probes}: {:?}",
        unwell.len(),
        unwell[0]
    );
    let metrics = service.over_unix("GET", "/metrics", &[]).body;
    for of in ["windows", "influxdb"] {
        let line = format!("tidings_samples_skipped_total{{of=\"{of}\"}} 0");
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
}
