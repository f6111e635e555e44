//! One life of the service: accepts connections, shakes hands, and hands requests to the routes. Ends when told to, or with the
//! panic of a part of it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::auth::Peer;
use super::limits::{
    ACCEPT_PAUSE, CONNECTIONS, CONNECTIONS_UNIX, HANDSHAKE_TIME, READ_BUFFER, SHUTDOWN_TIME,
};
use super::patience::{Answering, Patient, Stages};
use super::pulse::Pulse;
use super::questions::Asker;
use super::report;
use super::request;
use super::routes;
use super::shared::Shared;

/// No further request over the connection.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Serves until `stopped`, with this pulse.
pub async fn serve(
    shared: Arc<Shared>,
    tcp: Option<std::net::TcpListener>,
    unix: std::os::unix::net::UnixListener,
    stopped: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
) -> io::Result<()> {
    let router = made_aside(&shared)?;
    let rooms = [CONNECTIONS - CONNECTIONS_UNIX, CONNECTIONS_UNIX]
        .map(|places| Arc::new(Semaphore::new(places)));
    let life = |room: &Arc<Semaphore>| Life {
        shared: Arc::clone(&shared),
        router: router.clone(),
        room: Arc::clone(room),
        stopped: stopped.clone(),
    };
    let mut parts = JoinSet::new();
    if let Some(tcp) = tcp {
        let tcp = TcpListener::from_std(tcp)?;
        parts.spawn(accept_tcp(life(&rooms[0]), tcp));
    }
    parts.spawn(accept_unix(life(&rooms[1]), UnixListener::from_std(unix)?));
    let own = || (Arc::clone(&shared), stopped.clone());
    let (reported, sent) = (own(), own());
    parts.spawn(Asker::Service.does(report::sample(reported.0, reported.1)));
    parts.spawn(Asker::Service.does(report::send(sent.0, sent.1)));
    let ends = stopped.clone();
    parts.spawn(async move { pulse.answer(ends).await });
    #[cfg(debug_assertions)]
    parts.spawn(super::injected::wait(stopped.clone()));
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    let gone = async {
        for (room, places) in rooms
            .iter()
            .zip([CONNECTIONS - CONNECTIONS_UNIX, CONNECTIONS_UNIX])
        {
            // Every place is free again: nothing is under way any more.
            let _ = room.acquire_many(places as u32).await;
        }
    };
    let _ = timeout(SHUTDOWN_TIME, gone).await;
    Ok(())
}

/// The routes, made on a thread of their own: with them the documentation of all comes into being, which is not needed now, and
/// goes with that thread's memory. Made here it would keep 0.9 MiB of a node at rest.
fn made_aside(shared: &Arc<Shared>) -> io::Result<Router> {
    let of_thread = Arc::clone(shared);
    let made = thread::Builder::new()
        .name("tidings-http-r".to_owned())
        .spawn(move || routes::router(&of_thread))?;
    made.join()
        .map_err(|_| io::Error::other("the routes cannot be made"))
}

/// What every connection needs.
#[derive(Clone)]
struct Life {
    shared: Arc<Shared>,
    router: Router,
    room: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Life {
    /// A place for one more connection; none once the service stops.
    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.room).acquire_owned();
        unless(&mut self.stopped, place).await?.ok()
    }

    /// The next connection, with its place.
    async fn next<T>(
        &mut self,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Option<(T, OwnedSemaphorePermit)> {
        let place = self.place().await?;
        loop {
            match unless(&mut self.stopped, poll_fn(&mut accept)).await? {
                Ok(connection) => return Some((connection, place)),
                Err(error) => {
                    tracing::warn!(%error, "the management service cannot accept a connection");
                    unless(&mut self.stopped, sleep(ACCEPT_PAUSE)).await?;
                }
            }
        }
    }
}

/// What `future` gives, or none if the service is told to stop first.
pub async fn unless<T>(
    stopped: &mut watch::Receiver<bool>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = pin!(future);
    let mut stop = pin!(stopped.wait_for(|stopped| *stopped));
    poll_fn(|context| {
        if stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}

async fn accept_tcp(mut life: Life, listener: TcpListener) {
    while let Some(((socket, address), place)) =
        life.next(|context| listener.poll_accept(context)).await
    {
        // Answers are written whole: nothing is gained by waiting for more.
        let _ = socket.set_nodelay(true);
        let (life, peer) = (life.clone(), Peer::Ip(address.ip()));
        tokio::spawn(async move {
            match life.shared.tls() {
                None => connection(life, socket, peer, place).await,
                Some(tls) => {
                    let handshake = TlsAcceptor::from(tls).accept(socket);
                    match timeout(HANDSHAKE_TIME, handshake).await {
                        Ok(Ok(sealed)) => connection(life, sealed, peer, place).await,
                        Ok(Err(error)) => tracing::debug!(?peer, %error, "no TLS came about"),
                        Err(_) => tracing::debug!(?peer, "a TLS handshake took too long"),
                    }
                }
            }
        });
    }
}

async fn accept_unix(mut life: Life, listener: UnixListener) {
    while let Some(((socket, _), place)) = life.next(|context| listener.poll_accept(context)).await
    {
        let Ok(owner) = socket.peer_cred() else {
            continue;
        };
        let (life, peer) = (life.clone(), Peer::Uid(owner.uid()));
        tokio::spawn(connection(life, socket, peer, place));
    }
}

/// Whether the service is to stop. In the extensions of each request, for answers that go on until then.
#[derive(Clone)]
pub struct Stop(pub watch::Receiver<bool>);

/// One connection, counted while it stands, with its place. In the extensions of each request, for what goes on with the
/// connection when HTTP is over.
#[derive(Clone)]
pub struct Standing {
    _place: Arc<Place>,
    stages: Stages,
}

struct Place {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Standing {
    fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit, stages: Stages) -> Self {
        shared.counted.connections.fetch_add(1, Ordering::Relaxed);
        Self {
            _place: Arc::new(Place {
                shared: Arc::clone(shared),
                _permit: permit,
            }),
            stages,
        }
    }

    /// Waits for nothing by itself any more, until what is returned is dropped.
    pub fn answer(&self) -> Answering {
        self.stages.answer()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = &self.shared.counted.connections;
        connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers the requests of one connection.
async fn connection<Io>(mut life: Life, io: Io, peer: Peer, place: OwnedSemaphorePermit)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (io, stages) = Patient::new(io);
    let standing = Standing::new(&life.shared, place, stages.clone());
    let (router, shared) = (life.router.clone(), Arc::clone(&life.shared));
    let room = Arc::clone(&life.room);
    let stop = Stop(life.stopped.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let (router, shared, stages) = (router.clone(), Arc::clone(&shared), stages.clone());
        let room = Arc::clone(&room);
        request.extensions_mut().insert(stop.clone());
        request.extensions_mut().insert(standing.clone());
        async move {
            let mut response = answer(&shared, router, peer, &stages, request).await;
            if room.available_permits() == 0 {
                // Others may wait for a place: whoever has one asks once.
                let headers = response.headers_mut();
                headers.entry(CONNECTION).or_insert(CLOSE);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let ended = unless(&mut life.stopped, serving.as_mut()).await;
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, %error, "a connection ended early");
    }
}

async fn answer(
    shared: &Arc<Shared>,
    router: Router,
    peer: Peer,
    stages: &Stages,
    request: hyper::Request<Incoming>,
) -> Response {
    let answering = stages.answer();
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    request
        .extensions_mut()
        .insert(shared.places().bodies.clone());
    request.extensions_mut().insert(stages.flushes());
    let answered = request::answer(shared, router, request);
    let response = Asker::at(peer).does(answered).await;
    response.map(|body| {
        Body::new(Sending {
            body,
            answering: Some(answering),
        })
    })
}

/// A body whose end is the end of its request.
struct Sending {
    body: Body,
    answering: Option<Answering>,
}

impl http_body::Body for Sending {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.body), context);
        if let Poll::Ready(None) = frame {
            self.answering = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
