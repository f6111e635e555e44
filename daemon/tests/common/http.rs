//! A client of the management service that can send anything, also what no well-behaved client would.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::{Node, until, within};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It is an error in the one form.
    pub(crate) fn is_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        assert_eq!(body["error"], code, "{self:?}");
        for key in ["detail", "hint"] {
            assert!(!body[key].as_str().unwrap().is_empty(), "{self:?}");
        }
    }
}

/// A way to the service.
pub(crate) trait Way: Read + Write {}
impl<T: Read + Write> Way for T {}

/// A service, seen from outside.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    pub(crate) unix: std::path::PathBuf,
    pub(crate) superuser: String,
    pub(crate) user: String,
}

impl Service {
    /// That of `node`, whose banner is in the file `out` of its home, under its own certificate.
    pub(crate) fn of(node: &Node) -> Self {
        Self::trusting(node, &node.path().join("data/tidings/http/cert.pem"))
    }

    /// The same, trusting this certificate and no other.
    pub(crate) fn trusting(node: &Node, cert: &std::path::Path) -> Self {
        let read = || fs::read_to_string(node.path().join("out")).unwrap();
        // Clients can attach a moment before it is written.
        let is_written = || read().contains("manage ");
        assert!(within(Duration::from_secs(60), is_written), "no banner");
        let banner = read();
        let line = banner
            .lines()
            .find(|line| line.contains("manage "))
            .unwrap();
        let url = line
            .split_whitespace()
            .nth(1)
            .unwrap()
            .trim_end_matches(',');
        let (scheme, address) = url.split_once("://").unwrap();
        let data = node.path().join("data/tidings");
        let passwords = fs::read_to_string(data.join("passwords")).unwrap();
        let password = |user: &str| {
            let line = passwords.lines().find_map(|line| line.strip_prefix(user));
            line.unwrap().trim_start_matches(": ").to_owned()
        };
        Self {
            address: address.parse().unwrap(),
            tls: (scheme == "https").then(|| trusting(cert)),
            unix: node.path().join("run/tidings/tidings.http.sock"),
            superuser: basic("superuser", &password("superuser")),
            user: basic("user", &password("user")),
        }
    }

    /// A connection as the configuration says.
    pub(crate) fn connect(&self) -> Box<dyn Way> {
        let socket = self.socket();
        match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = ServerName::from(self.address.ip());
                let client = ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(StreamOwned::new(client, socket))
            }
        }
    }

    /// A bare TCP connection.
    pub(crate) fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        socket
    }

    /// Sends this as it stands and reads what comes until the end.
    pub(crate) fn send(&self, text: &[u8]) -> Answer {
        exchange(&mut *self.connect(), text)
    }

    /// Asks over the Unix socket.
    pub(crate) fn over_unix(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        let mut socket = UnixStream::connect(&self.unix).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        exchange(&mut socket, &request(method, path, headers, None))
    }

    /// Asks.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str]) -> Answer {
        self.send(&request(method, path, headers, None))
    }

    /// Asks with a JSON body.
    pub(crate) fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> Answer {
        self.send(&request(method, path, headers, Some(body)))
    }

    /// Asks as superuser.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[&self.superuser])
    }

    /// Makes a token of an overlay.
    pub(crate) fn token(&self, overlay: &str, body: &str) -> String {
        let path = format!("/v1/overlays/{overlay}/tokens");
        let made = self.ask_with("POST", &path, &[&self.superuser], body);
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["secret"].as_str().unwrap().to_owned()
    }
}

/// What is answered once that is 200, or at last: a shard that a busy machine keeps from running for a second makes its node
/// unwell for a moment.
pub(crate) fn once_ok(ask: impl Fn() -> Answer) -> Answer {
    until(Duration::from_secs(60), |answer| answer.status == 200, ask)
}

/// A request whose connection ends with its answer.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    if let Some(body) = body {
        text.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    text.push_str("\r\n");
    text.push_str(body.unwrap_or_default());
    text.into_bytes()
}

/// Sends it and reads to the end.
pub(crate) fn exchange(way: &mut dyn Way, text: &[u8]) -> Answer {
    // A server that has heard enough may close before it has all.
    let _ = way.write_all(text).and_then(|()| way.flush());
    let mut all = Vec::new();
    let mut part = [0; 4096];
    loop {
        match way.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&part[..read]),
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        status: head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// The header of HTTP Basic.
pub(crate) fn basic(name: &str, secret: &str) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{secret}"));
    format!("Authorization: Basic {text}")
}

/// A client that trusts the node's own certificate and no other.
fn trusting(cert: &std::path::Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(cert).unwrap();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Asks over the Unix socket at `path`, as the daemon's own user.
pub(crate) fn unix(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Answer {
    try_unix(socket, method, path, body).unwrap()
}

/// The same of a node that may be gone.
pub(crate) fn try_unix(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> io::Result<Answer> {
    let mut socket = UnixStream::connect(socket)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(exchange(&mut socket, &request(method, path, &[], body)))
}
