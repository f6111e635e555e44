//! SRV records (RFC 2782) from the name servers of `/etc/resolv.conf`: the system's resolver does not know them. Asks one
//! server after the other over UDP and believes nothing that does not fit its question.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::entropy;
use crate::limits::{NAME_SERVERS_MAX, SRV_RECORDS_MAX};

const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
const HEADER: usize = 12;
const NO_ERROR: u16 = 0;
const NO_SUCH_NAME: u16 = 3;
/// A UDP answer without extensions is no longer (RFC 1035 2.3.4); a cut one lists enough seeds.
const ANSWER_BYTES_MAX: usize = 512;
const WAIT: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// Compression pointers followed in one name.
const JUMPS_MAX: usize = 16;

/// Hosts and ports of a service, by priority.
pub(crate) fn lookup(name: &str) -> io::Result<Vec<(String, u16)>> {
    lookup_at(&name_servers()?, name)
}

fn lookup_at(servers: &[SocketAddr], name: &str) -> io::Result<Vec<(String, u16)>> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..TRIES {
        for &server in servers {
            match ask(server, name) {
                Ok(records) => return Ok(records),
                Err(error) => failed = error,
            }
        }
    }
    Err(failed)
}

/// One question to one server. An error: it does not answer, or cannot.
fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<(String, u16)>> {
    let id = u16::from_ne_bytes(entropy::bytes());
    let question = question(id, name).ok_or(io::ErrorKind::InvalidInput)?;
    let any: IpAddr = if server.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0u16; 8].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.send(&question)?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    let len = socket.recv(&mut answer)?;
    records(&answer[..len], id).ok_or(io::ErrorKind::InvalidData.into())
}

fn name_servers() -> io::Result<Vec<SocketAddr>> {
    Ok(servers_of(&std::fs::read_to_string("/etc/resolv.conf")?))
}

fn servers_of(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf.lines();
    let servers = lines.filter_map(|line| line.trim().strip_prefix("nameserver"));
    let ips = servers.filter_map(|rest| rest.trim().parse::<IpAddr>().ok());
    ips.map(|ip| SocketAddr::new(ip, 53))
        .take(NAME_SERVERS_MAX)
        .collect()
}

/// A question for the SRV records of `name`, recursion desired. `None`: not a name.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER + name.len() + 6);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        let len = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..64).contains(len))?;
        bytes.push(len);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&TYPE_SRV.to_be_bytes());
    bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// The records of an answer to question `id`, sorted by priority; none if the name is unknown. `None`: not an answer to
/// it, or the server says that it cannot tell.
fn records(answer: &[u8], id: u16) -> Option<Vec<(String, u16)>> {
    let flags = word(answer, 2)?;
    let is_answer = flags & 0x8000 != 0;
    let can_tell = matches!(flags & 0xf, NO_ERROR | NO_SUCH_NAME);
    if word(answer, 0)? != id || !is_answer || !can_tell {
        return None;
    }
    let (questions, answers) = (word(answer, 4)?, word(answer, 6)?);
    let mut at = HEADER;
    for _ in 0..questions {
        at = name(answer, at)?.1 + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        // A cut answer ends in the middle of a record; those before it are good.
        let Some((record, next)) = record(answer, at) else {
            break;
        };
        found.extend(record);
        at = next;
        if found.len() == SRV_RECORDS_MAX {
            break;
        }
    }
    found.sort_by_key(|&(priority, ..)| priority);
    Some(
        found
            .into_iter()
            .map(|(_, host, port)| (host, port))
            .collect(),
    )
}

type Target = (u16, String, u16);

/// The record at `at`, if it is one of ours, and where the next begins.
fn record(answer: &[u8], at: usize) -> Option<(Option<Target>, usize)> {
    let at = name(answer, at)?.1;
    let (kind, class, len) = (
        word(answer, at)?,
        word(answer, at + 2)?,
        word(answer, at + 8)?,
    );
    let data = at + 10;
    let next = data + usize::from(len);
    if next > answer.len() {
        return None;
    }
    if (kind, class) != (TYPE_SRV, CLASS_IN) {
        return Some((None, next));
    }
    let (priority, port) = (word(answer, data)?, word(answer, data + 4)?);
    let (host, _) = name(answer, data + 6)?;
    Some((Some((priority, host, port)), next))
}

/// The name at `at`, compressed or not, and where what follows it begins.
fn name(answer: &[u8], at: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut text) = (at, None, String::new());
    for _ in 0..JUMPS_MAX * 8 {
        let len = usize::from(*answer.get(at)?);
        match len {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..64 => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(std::str::from_utf8(answer.get(at + 1..at + 1 + len)?).ok()?);
                at += 1 + len;
            }
            192.. => {
                end = end.or(Some(at + 2));
                at = usize::from(word(answer, at)? & 0x3fff);
            }
            _ => return None,
        }
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u16, records: &[(u16, &str, u16)]) -> Vec<u8> {
        let mut bytes = question(id, "_tidings._udp.example").unwrap();
        bytes[2] = 0x81;
        bytes[7] = records.len() as u8;
        for &(priority, host, port) in records {
            bytes.extend_from_slice(&[0xc0, HEADER as u8]);
            let mut data = Vec::new();
            for word in [priority, 0, port] {
                data.extend_from_slice(&u16::to_be_bytes(word));
            }
            for label in host.split('.') {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            for word in [TYPE_SRV, CLASS_IN, 0, 60, data.len() as u16] {
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    #[test]
    fn records_come_out_by_priority_with_host_and_port() {
        let bytes = answer(7, &[(20, "b.example", 2), (10, "a.example", 1)]);
        let expected = vec![("a.example".to_owned(), 1), ("b.example".to_owned(), 2)];
        assert_eq!(records(&bytes, 7), Some(expected));
        assert_eq!(records(&bytes, 8), None, "an answer to somebody else");
    }

    #[test]
    fn servers_that_do_not_answer_or_cannot_tell_are_passed_over() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (closed, failing, good) = (bind(), bind(), bind());
        let servers = [&closed, &failing, &good].map(|socket| socket.local_addr().unwrap());
        drop(closed);
        let serve = |socket: UdpSocket, flags: u16| {
            std::thread::spawn(move || {
                let mut question = [0; 512];
                let mut questions = 0;
                // On a busy machine an answer may come too late, and the question again. An empty one ends it.
                while let (1.., from) = socket.recv_from(&mut question).unwrap() {
                    questions += 1;
                    let id = u16::from_be_bytes([question[0], question[1]]);
                    let mut answer = answer(id, &[(1, "a.example", 7400)]);
                    answer[2..4].copy_from_slice(&flags.to_be_bytes());
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&answer, from);
                }
                questions
            })
        };
        let served = [serve(failing, 0x8182), serve(good, 0x8180)];
        let found = (0..5).find_map(|_| lookup_at(&servers, "_t._udp.example").ok());
        assert_eq!(found.unwrap(), [("a.example".to_owned(), 7400)]);
        for (server, address) in served.into_iter().zip(&servers[1..]) {
            bind().send_to(&[], address).unwrap();
            assert!(server.join().unwrap() > 0, "it was asked");
        }
    }

    #[test]
    fn every_name_server_of_the_file_is_read() {
        let text = "# comment\nnameserver 10.0.0.1\nsearch x\n nameserver fd00::1\n";
        let expected = ["10.0.0.1:53", "[fd00::1]:53"].map(|addr| addr.parse().unwrap());
        assert_eq!(servers_of(text), expected);
    }

    #[test]
    fn a_cut_or_mangled_answer_never_panics() {
        let bytes = answer(7, &[(20, "b.example", 2), (10, "a.example", 1)]);
        for cut in 0..bytes.len() {
            let _ = records(&bytes[..cut], 7);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 63, 0x80, 0xc0, 0xff] {
                let mut mangled = bytes.clone();
                mangled[at] = value;
                let _ = records(&mangled, 7);
            }
        }
    }
}
