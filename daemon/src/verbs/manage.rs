//! How verbs ask the management service of a node: over its Unix socket, where the daemon's own user is superuser without a
//! password. One request a connection, and the caller waits for the answer. Whoever listens there must be this user or root.

use std::fmt::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidings_client::{Distrust, check_folder, check_listener};
use tokio::runtime::Builder;

use crate::args::ManageArgs;
use crate::output::Failure;
use crate::paths;

/// Longer than the service itself takes for any answer, which is 30 s.
const TIME: Duration = Duration::from_secs(40);
/// Largest answer that is read: thousands of members with all their counters take some megabytes.
const ANSWER_BYTES: usize = 64 << 20;

/// The management service of a node.
#[derive(Debug)]
pub struct Manage {
    socket: PathBuf,
}

impl Manage {
    /// That of the node which the flags name, or the default one. Connects to nothing yet.
    pub fn of(args: &ManageArgs) -> Self {
        let clients = || args.socket.clone().unwrap_or_else(paths::socket);
        let socket = args.http_socket.clone();
        Self {
            socket: socket.unwrap_or_else(|| paths::management_socket(&clients())),
        }
    }

    /// That at this socket.
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether anybody listens there.
    pub fn is_there(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    /// Asks for what is at `path`, which [`path`] has made if names are in it.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None)
    }

    /// Asks, with a JSON body if there is one. An answer without a body is `null`. What the service refuses is a failure with
    /// its own words.
    pub fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, bytes) = self.exchange(method, path, body)?;
        let read = match bytes.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice(&bytes),
        };
        match read {
            Ok(value) if status.is_success() => Ok(value),
            Err(error) if status.is_success() => Err(Failure::Failed(format!(
                "the answer of {} to {path} is no JSON: {error}",
                self.socket.display()
            ))),
            read => Err(refusal(status, &read.unwrap_or(Value::Null))),
        }
    }

    /// The same for an answer that is text.
    pub fn text(&self, path: &str) -> Result<String, Failure> {
        let (status, bytes) = self.exchange(Method::GET, path, None)?;
        let text = String::from_utf8_lossy(&bytes);
        match status.is_success() {
            true => Ok(text.into_owned()),
            false => Err(refusal(
                status,
                &serde_json::from_str(&text).unwrap_or(Value::Null),
            )),
        }
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let socket = connect(&self.socket)?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(Failure::new)?;
        runtime.block_on(async {
            let exchange = tokio::time::timeout(TIME, send(socket, method, path, body)).await;
            let why = match exchange {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", TIME.as_secs()),
            };
            Err(Failure::Failed(format!(
                "{} did not answer to {path}: {why}\n  remedy: look at the log of the daemon; `tidings overlays` tells whether its shards answer",
                self.socket.display()
            )))
        })
    }
}

/// A path of these parts: whatever a name holds, it stays one part.
pub fn path(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        escape(part, &mut path);
    }
    path
}

/// Appends `text` with all but letters, digits and `-._~` as `%XX`, as RFC 3986 has it for parts of paths and queries.
pub fn escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => to.push(char::from(byte)),
            // Writing to a String cannot fail.
            false => drop(write!(to, "%{byte:02X}")),
        }
    }
}

/// What the service says of an error, in its own words.
fn refusal(status: StatusCode, body: &Value) -> Failure {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let text = match (text("detail"), text("hint")) {
        (Some(detail), Some(hint)) => format!("{detail}\n  remedy: {hint}"),
        _ => format!("the management service answered {status}"),
    };
    match status {
        StatusCode::BAD_REQUEST => Failure::Usage(format!("error: {text}")),
        _ => Failure::Failed(text),
    }
}

fn connect(path: &Path) -> Result<UnixStream, Failure> {
    check_folder(path).map_err(|distrust| untrusted(path, &distrust))?;
    let no_service = |error: std::io::Error| {
        Failure::Failed(format!(
            "no management service at {}: {error}\n  remedy: start a node with `tidings run`, run as its user, or name the socket that its banner tells with --http-socket",
            path.display()
        ))
    };
    let socket = UnixStream::connect(path).map_err(no_service)?;
    check_listener(&socket)
        .map_err(no_service)?
        .map_err(|distrust| untrusted(path, &distrust))?;
    socket.set_nonblocking(true).map_err(no_service)?;
    Ok(socket)
}

fn untrusted(path: &Path, distrust: &Distrust) -> Failure {
    let remedy = match distrust {
        Distrust::FolderMode { .. } => distrust.remedy(),
        Distrust::FolderOwner { .. } | Distrust::Listener { .. } => {
            "run as the user of the daemon, as with `sudo -u tidings`".to_owned()
        }
    };
    Failure::Failed(format!(
        "the management service at {} is not trusted: {distrust}\n  remedy: {remedy}",
        path.display()
    ))
}

type Anything = Box<dyn std::error::Error + Send + Sync>;

async fn send(
    socket: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Vec<u8>), Anything> {
    let socket = TokioIo::new(tokio::net::UnixStream::from_std(socket)?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "localhost");
    let body = match body {
        None => Body::empty(),
        Some(value) => {
            request = request.header(CONTENT_TYPE, "application/json");
            Body::from(serde_json::to_vec(value)?)
        }
    };
    let request = request.body(body)?;
    // It does the work while the answer is waited for, and ends with the runtime. Its error is the answer's.
    drop(tokio::spawn(connection));
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.map(Body::new).into_parts();
    let body = to_bytes(body, ANSWER_BYTES).await?;
    Ok((head.status, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_stay_one_part_of_a_path() {
        assert_eq!(
            path(&["v1", "overlays", "a/b c?%ä"]),
            "/v1/overlays/a%2Fb%20c%3F%25%C3%A4"
        );
    }

    #[test]
    fn a_refusal_is_told_in_the_services_words() {
        let body = json!({ "error": "no_overlay", "detail": "none", "hint": "list them" });
        let Failure::Failed(text) = refusal(StatusCode::NOT_FOUND, &body) else {
            panic!("a failure");
        };
        assert_eq!(text, "none\n  remedy: list them");
        let refused = refusal(StatusCode::BAD_REQUEST, &Value::Null);
        assert!(matches!(refused, Failure::Usage(_)));
    }

    #[test]
    fn the_socket_is_beside_that_of_the_clients_unless_it_is_named() {
        let args = |socket: Option<&str>, http: Option<&str>| ManageArgs {
            socket: socket.map(PathBuf::from),
            http_socket: http.map(PathBuf::from),
        };
        let of = |args| Manage::of(&args).socket;
        assert_eq!(
            of(args(Some("/r/t.sock"), None)),
            Path::new("/r/t.http.sock")
        );
        assert_eq!(of(args(Some("/r/t.sock"), Some("/h"))), Path::new("/h"));
    }

    #[test]
    fn a_service_that_ends_without_an_answer_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let ended = std::thread::spawn(move || drop(listener.accept()));
        let manage = Manage {
            socket: socket.clone(),
        };
        let failure = manage.get("/v1/node").expect_err("no answer");
        ended.join().unwrap();
        assert!(format!("{failure:?}").contains("did not answer to /v1/node"));
        let none = Manage {
            socket: dir.path().join("none"),
        };
        let failure = none.get("/v1/node").expect_err("no socket");
        assert!(format!("{failure:?}").contains("remedy"));
    }
}
