//! A small server that writes down what it is sent and answers as it is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// When its head had come.
    pub(crate) at: Instant,
    /// The first line and the headers as they came.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// See the module. Its thread ends with the process.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Answers these heads in turn, and 204 from then on. Over TLS with a configuration.
    pub(crate) fn start(answers: &[&str], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut answers: Vec<String> = answers
            .iter()
            .rev()
            .map(|text| (*text).to_owned())
            .collect();
        let notes = Arc::clone(&seen);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let answer = answers.last().cloned();
                let answer = answer.unwrap_or_else(|| "204 No Content".to_owned());
                let recorded = match &tls {
                    None => serve(socket, &answer),
                    Some(tls) => {
                        let server = ServerConnection::new(Arc::clone(tls)).unwrap();
                        serve(StreamOwned::new(server, socket), &answer)
                    }
                };
                // A client that does not trust us says nothing.
                if let Some(recorded) = recorded {
                    answers.pop();
                    notes.lock().unwrap().push(recorded);
                }
            }
        });
        Self { address, seen }
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Recorded> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(mut way: impl Read + Write, answer: &str) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let mut part = [0; 65_536];
    let (mut head, mut at) = (None, Instant::now());
    loop {
        if head.is_none()
            && let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
        {
            at = Instant::now();
            head = Some(String::from_utf8(bytes[..end].to_vec()).unwrap());
            bytes.drain(..end + 4);
        }
        if let Some(head) = &head {
            let length = header(head, "content-length").map_or(0, |text| text.parse().unwrap());
            if bytes.len() >= length {
                break;
            }
        }
        match way.read(&mut part) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
    let _ = way.write_all(text.as_bytes()).and_then(|()| way.flush());
    Some(Recorded {
        at,
        head: head?,
        body: String::from_utf8(bytes).unwrap(),
    })
}

/// The value of a header of a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

/// A port that is free now, and another test's a moment later, perhaps.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Asks a server of this machine in HTTP/1.0, which answers in one piece: status and body, none if it does not.
pub(crate) fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A text as part of a query.
pub(crate) fn coded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
