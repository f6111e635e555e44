//! One request to the destination: connects, over TLS if that is said, sends, and reads what is answered, all within a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::RETRY_AFTER;
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::lookup::Lookup;
use crate::config::InfluxSettings;
use crate::http::limits::POST_TIME;

/// Bytes of an answer that are read: the destination says in them what it did not like.
const ANSWER_BYTES: usize = 4 << 10;

/// What the destination said.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// When to come again, if it says so in seconds.
    pub retry_after: Option<Duration>,
    /// Its words.
    pub text: String,
}

/// Sends a request to where `settings` say; without `tls` in clear.
pub async fn post(
    settings: &InfluxSettings,
    lookup: &Mutex<Lookup>,
    tls: Option<Arc<ClientConfig>>,
    request: Request<Body>,
) -> io::Result<Answer> {
    let posted = timeout(POST_TIME, connect(settings, lookup, tls, request)).await;
    posted.unwrap_or_else(|_| {
        let late = format!("did not answer within {POST_TIME:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, late))
    })
}

async fn connect(
    settings: &InfluxSettings,
    lookup: &Mutex<Lookup>,
    tls: Option<Arc<ClientConfig>>,
    request: Request<Body>,
) -> io::Result<Answer> {
    let (host, port) = (&settings.host, settings.port);
    let found = lookup.lock().await.addresses(host, port).await?;
    let socket = TcpStream::connect(&*found).await?;
    match tls {
        None => exchange(socket, request).await,
        Some(tls) => {
            let name = ServerName::try_from(settings.host.clone()).map_err(io::Error::other)?;
            let sealed = TlsConnector::from(tls).connect(name, socket).await?;
            exchange(sealed, request).await
        }
    }
}

async fn exchange<Io>(io: Io, request: Request<Body>) -> io::Result<Answer>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    // Its errors come with the answer, too. It ends when the answer was read, or is dropped.
    let moving = AbortOnDrop(tokio::spawn(async move { drop(connection.await) }));
    let response = sender.send_request(request).await;
    let (head, body) = response.map_err(io::Error::other)?.into_parts();
    let wait = head.headers.get(RETRY_AFTER);
    let wait = wait.and_then(|text| text.to_str().ok()?.trim().parse().ok());
    let text = match head.status.is_success() {
        true => String::new(),
        // What is longer than anybody reads is not read.
        false => to_bytes(Body::new(body), ANSWER_BYTES)
            .await
            .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
            .unwrap_or_default(),
    };
    drop(moving);
    Ok(Answer {
        status: head.status,
        retry_after: wait.map(Duration::from_secs),
        text,
    })
}

/// What moves the bytes of a connection ends with the request.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
