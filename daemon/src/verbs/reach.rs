//! `tidings reach`: whether members answer from here. Each address is greeted as a node greets one that it does not know (HELLO, wire
//! specification): only a holder of the overlay's key answers, and it remembers nothing of it. Larger greetings then tell what the way
//! carries. They go from a port of their own, so that no running node is needed, or disturbed.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use serde_json::{Value, json};
use tidings_client::Question;
use tidings_engine::Seed;
use tidings_wire::digest::{Digest, Digests, H1, Introduction, Writer};
use tidings_wire::limits::MIN_H1_DATAGRAM;
use tidings_wire::{
    Boot, HELLO_HEADER, HelloKind, Keyring, MIN_DATAGRAM_SIZE, NodeId, TAG, VERSION, hello_hash,
    hello_open, hello_seal, steer,
};

use super::attach::attach;
use super::read::ask;
use super::top::tell::time;
use crate::args::{ClientArgs, Format, ReachArgs};
use crate::doctor::toward;
use crate::load::load;
use crate::output::{Failure, Table, json, line};

/// Greetings of one kind, and how long each is waited for.
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_millis(500);
/// Bytes of UDP payload that ways are tried for, beyond the smallest: a tunnel over Ethernet, Ethernet. Nodes answer no larger greeting;
/// what else a way carries they find out between them.
const SIZES: [usize; 2] = [1_400, 1_448];
/// Most addresses of one run.
const ADDRESSES_MAX: usize = 256;

/// What came of an address.
struct Reached {
    name: String,
    address: SocketAddr,
    found: Result<Answer, Problem>,
}

/// What answered.
struct Answer {
    node: NodeId,
    rtt: Duration,
    /// Bytes of the largest greeting that came there.
    datagram: usize,
}

/// What is wrong, and what to do about it.
struct Problem {
    wrong: String,
    remedy: String,
}

/// Runs the verb.
pub fn reach(args: ReachArgs) -> Result<(), Failure> {
    let loaded = load(&args.run).map_err(|problems| Failure::Usage(problems.to_string()))?;
    let settings = &loaded.settings;
    let wanted = args.run.overlay.as_deref();
    let at = match (wanted, settings.overlays.len()) {
        (Some(name), _) => settings.overlays.iter().position(|o| o.name == name),
        (None, 1) => Some(0),
        (None, _) => None,
    };
    let key = at.and_then(|at| Some((&settings.overlays[at], loaded.keyrings[at].as_ref()?)));
    let Some((overlay, ring)) = key else {
        return Err(Failure::Usage(
            "error: it is not said which overlay is meant, or it has no key yet\n  remedy: add --overlay NAME, and --config FILE or --key-file FILE"
                .to_owned(),
        ));
    };
    let targets = match args.addresses.is_empty() {
        true => members(&overlay.name, &settings.socket)?,
        false => named(&args.addresses)?,
    };
    if targets.is_empty() {
        return line("there is no other member to reach");
    }
    let reached: Vec<Reached> = targets
        .into_iter()
        .take(ADDRESSES_MAX)
        .map(|(name, address)| Reached {
            name,
            address,
            found: greet(ring, settings.node.bind.ip(), address),
        })
        .collect();
    match args.format {
        Format::Json => json(&reached.iter().map(Reached::json).collect())?,
        Format::Text => tell(&reached)?,
    }
    match reached.iter().filter(|one| one.found.is_err()).count() {
        0 => Ok(()),
        lost => Err(Failure::Failed(format!(
            "{lost} of {} addresses cannot be reached well, each with its remedy",
            reached.len()
        ))),
    }
}

/// The others that the running node lists, each at its best address.
fn members(overlay: &str, socket: &std::path::Path) -> Result<Vec<(String, SocketAddr)>, Failure> {
    let client = ClientArgs {
        socket: Some(socket.to_owned()),
        name: None,
        secret_file: None,
    };
    let listed = ask(&mut attach(&client)?, Question::Members, overlay)?;
    let listed = listed.as_array().map_or(&[][..], Vec::as_slice);
    let others = listed.iter().filter(|member| {
        let state = member.get("state").and_then(Value::as_str);
        member.get("self") != Some(&Value::Bool(true)) && state != Some("left")
    });
    let text = |member: &Value, key: &str| {
        let text = member.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    Ok(others
        .filter_map(|member| Some((text(member, "name"), text(member, "address").parse().ok()?)))
        .collect())
}

/// Those that were named, in all forms that `join` takes.
fn named(texts: &[String]) -> Result<Vec<(String, SocketAddr)>, Failure> {
    let mut all = Vec::new();
    for text in texts {
        let wrong = |error: String| {
            Failure::Usage(format!(
                "error: {text:?}: {error}\n  remedy: write ip, ip:port, host, host:port, [v6]:port or srv+name; `getent ahosts NAME` must list addresses"
            ))
        };
        let seed: Seed = text
            .parse()
            .map_err(|_| wrong("is no address".to_owned()))?;
        let found = seed.resolve().map_err(|error| wrong(error.to_string()))?;
        all.extend(found.into_iter().map(|address| (text.clone(), address)));
    }
    Ok(all)
}

/// Greets one address, first small, then larger.
fn greet(ring: &Keyring, bind: IpAddr, address: SocketAddr) -> Result<Answer, Problem> {
    let socket = open(bind, address).map_err(|error| no_way(address, &error))?;
    let (node, rtt) =
        answered(ring, &socket, MIN_H1_DATAGRAM).map_err(|error| no_answer(address, &error))?;
    if answered(ring, &socket, MIN_DATAGRAM_SIZE).is_err() {
        return Err(Problem {
            wrong: format!("answers, but a datagram of {MIN_DATAGRAM_SIZE} B does not come there"),
            remedy: format!(
                "raise the MTU on the way to {}, of tunnels above all: {MIN_DATAGRAM_SIZE} B of UDP payload must pass",
                address.ip()
            ),
        });
    }
    let mut datagram = MIN_DATAGRAM_SIZE;
    for size in SIZES {
        if !fits(&socket, address, size) || answered(ring, &socket, size).is_err() {
            break;
        }
        datagram = size;
    }
    Ok(Answer {
        node,
        rtt,
        datagram,
    })
}

fn open(bind: IpAddr, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = toward(bind, address)?;
    // Nothing is cut to pieces on the way, as with nodes.
    match address {
        SocketAddr::V4(_) => {
            sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        }
        SocketAddr::V6(_) => {
            sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
        }
    }
    Ok(socket)
}

/// Whether the kernel would send so much in one packet, unfragmented.
fn fits(socket: &UdpSocket, address: SocketAddr, size: usize) -> bool {
    let (mtu, head) = match address {
        SocketAddr::V4(_) => (sockopt::ip_mtu(socket), 28),
        SocketAddr::V6(_) => (sockopt::ipv6_mtu(socket), 48),
    };
    mtu.is_ok_and(|mtu| size + head <= mtu as usize)
}

/// Greets with a datagram of this size until it is answered: by whom, and how soon.
fn answered(ring: &Keyring, socket: &UdpSocket, size: usize) -> io::Result<(NodeId, Duration)> {
    let mut cookie = 0;
    for _ in 0..TRIES {
        let (greeting, nonce) = greeting(ring, cookie, size)?;
        let hash = hello_hash(&greeting);
        let sent = Instant::now();
        socket.send(&greeting)?;
        let until = sent + WAIT;
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|t| !t.is_zero())
        {
            socket.set_read_timeout(Some(left))?;
            let mut datagram = [0; 2_048];
            let read = match socket.recv(&mut datagram) {
                Ok(read) => read,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            };
            // What does not open is not from a holder of the key.
            let Ok(opened) = hello_open(ring, &mut datagram[..read]) else {
                continue;
            };
            match (opened.kind, Digests::new(opened.body).next()) {
                (HelloKind::H2, Some(Ok(Digest::H2(h2)))) if h2.h1_hash == hash => {
                    return Ok((h2.id, sent.elapsed()));
                }
                (HelloKind::Cookie, Some(Ok(Digest::Cookie(asked)))) if asked.nonce_i == nonce => {
                    cookie = asked.cookie.get();
                    break;
                }
                _ => {}
            }
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// An H1 of a node that nobody knows, and its nonce. It is for whoever listens there.
fn greeting(ring: &Keyring, cookie: u64, size: usize) -> io::Result<(Vec<u8>, [u8; 16])> {
    let random = SystemRandom::new();
    let (mut id, mut boot, mut nonce, mut salt) = ([0; 16], [0; 16], [0; 16], [0; 32]);
    for part in [&mut id[..], &mut boot, &mut nonce, &mut salt] {
        random
            .fill(part)
            .map_err(|_| io::Error::other("the system's random generator fails"))?;
    }
    let h1 = H1 {
        who: Introduction {
            ver_min: VERSION,
            ver_max: VERSION,
            id: NodeId(id),
            boot: Boot(boot),
            nonce,
            ..Default::default()
        },
        ..Default::default()
    };
    let mut datagram = vec![0; size];
    let end = size - TAG;
    let mut writer = Writer::new(&mut datagram[HELLO_HEADER..end]);
    let is_written = writer.put_h1(&h1, &[]) && writer.pad_to(end - HELLO_HEADER);
    assert!(is_written, "an H1 fits the smallest datagram");
    let way = steer(ring.overlay(), 0);
    let slot = ring.primary_slot();
    let sealed = hello_seal(ring, slot, HelloKind::H1, way, salt, cookie, &mut datagram);
    sealed
        .map_err(|error| io::Error::other(format!("the greeting cannot be sealed: {error:?}")))?;
    Ok((datagram, nonce))
}

fn no_way(address: SocketAddr, error: &io::Error) -> Problem {
    Problem {
        wrong: format!("this host knows no way there: {error}"),
        remedy: format!("`ip route get {}` must show a way", address.ip()),
    }
}

fn no_answer(address: SocketAddr, error: &io::Error) -> Problem {
    match error.kind() {
        ErrorKind::ConnectionRefused => Problem {
            wrong: "nobody listens at this port".to_owned(),
            remedy: format!(
                "start the node there, or name the port that it is bound to instead of {}",
                address.port()
            ),
        },
        ErrorKind::TimedOut => Problem {
            wrong: format!("no answer to {TRIES} greetings"),
            remedy: format!(
                "let UDP to port {} pass in firewalls, both ways; compare the key files: holders of another key, or of this one under another name of the overlay, do not answer",
                address.port()
            ),
        },
        _ => no_way(address, error),
    }
}

impl Reached {
    fn json(&self) -> Value {
        let us = |rtt: Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        let (answer, problem) = (self.found.as_ref().ok(), self.found.as_ref().err());
        json!({
            "name": self.name,
            "address": self.address.to_string(),
            "ok": answer.is_some(),
            "node": answer.map(|answer| answer.node.to_string()),
            "rtt_us": answer.map(|answer| us(answer.rtt)),
            "datagram_bytes": answer.map(|answer| answer.datagram),
            "wrong": problem.map(|problem| &problem.wrong),
            "remedy": problem.map(|problem| &problem.remedy),
        })
    }
}

fn tell(reached: &[Reached]) -> Result<(), Failure> {
    let mut table = Table::new(&["MEMBER", "ADDRESS", "RTT", "DATAGRAM", "NODE"]);
    for one in reached {
        let cells = match &one.found {
            Ok(answer) => [
                time(u64::try_from(answer.rtt.as_micros()).unwrap_or(u64::MAX)),
                format!("{} B", answer.datagram),
                answer.node.to_string(),
            ],
            Err(_) => ["-", "-", "-"].map(str::to_owned),
        };
        table.row(
            [one.name.clone(), one.address.to_string()]
                .into_iter()
                .chain(cells),
        );
    }
    line(table)?;
    for one in reached {
        if let Err(Problem { wrong, remedy }) = &one.found {
            line(format_args!("{}: {wrong}\n  remedy: {remedy}", one.address))?;
        }
    }
    Ok(())
}
