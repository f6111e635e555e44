//! Messages and presence over WebSocket: `/v1/overlays/{overlay}/socket`. Unlike a stream of events it is told what was taken, and
//! how much more may be sent; it publishes, too. `handshake` begins it, `talk` is its life, `frames` and `window` what it says.

mod frames;
mod handshake;
mod talk;
mod window;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use tidings_engine::{AckMode, Subscriber, SubscriberOptions};
use tidings_wire::client::valid_client_name;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::frames::{Said, Told};
use self::handshake::Asked;
use self::talk::{Begun, Talk};
use super::auth::Authority;
use super::error::ApiResult;
use super::limits::{
    BATCH_BYTES, CREDIT, CREDIT_MAX, SOCKET_FRAME_BYTES, SOCKET_READ_BUFFER, SOCKET_WRITE_BUFFER,
};
use super::query;
use super::serve::{Standing, Stop};
use super::shared::Shared;
use super::stream::messages::check;
use super::stream::presence::Watch;
use super::stream::{Pulse, place};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(Said)))]
    struct Frames;
    let frames = <Frames as utoipa::OpenApi>::openapi();
    OpenApiRouter::with_openapi(frames).routes(routes!(socket))
}

/// What is wanted of a socket.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    patterns: Vec<String>,
    client: Option<String>,
    ordered: bool,
    credit: usize,
    presence: bool,
}

impl Wish {
    fn of(query: Option<&str>) -> ApiResult<Self> {
        let mut wish = Self {
            patterns: Vec::new(),
            client: None,
            ordered: false,
            credit: CREDIT,
            presence: false,
        };
        let known = ["pattern", "client", "ordered", "credit", "presence"];
        for (name, value) in query::pairs(query, &known)? {
            match name.as_str() {
                "pattern" => wish.patterns.push(value),
                "client" => wish.client = Some(client(value)?),
                "ordered" => wish.ordered = query::truth(&name, &value)?,
                "credit" => wish.credit = credit(&value)?,
                _ => wish.presence = query::truth(&name, &value)?,
            }
        }
        if wish.patterns.is_empty() && wish.client.is_some() {
            return Err(query::bad(
                "client is for a subscription".to_owned(),
                "name what it is to: pattern=…, or leave it out".to_owned(),
            ));
        }
        check(&wish.patterns, 0)?;
        Ok(wish)
    }
}

fn client(name: String) -> ApiResult<String> {
    match valid_client_name(&name) {
        true => Ok(name),
        false => Err(query::bad(
            format!("client cannot be {name:?}"),
            "use 1 to 64 of a-z A-Z 0-9 . _ -".to_owned(),
        )),
    }
}

fn credit(text: &str) -> ApiResult<usize> {
    let credit = text.parse().ok().filter(|credit| *credit <= CREDIT_MAX);
    credit.ok_or_else(|| {
        query::bad(
            format!("credit cannot be {text:?}"),
            format!("say a number up to {CREDIT_MAX}"),
        )
    })
}

/// A WebSocket: messages with acknowledgements and credit, publishing with outcomes, presence.
///
/// After 101 both ends speak in frames; docs/management.md has them, and the codes that it is closed with. The node's are as `SocketTold`, and those of the
/// client as `SocketSaid`. The subprotocol `tidings.json` (default) has messages as text, in base64; `tidings.binary` as binary frames: the length
/// of the JSON in 4 bytes, the highest first, the JSON, the message. A client may publish in either form.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/socket", tag = "messages",
    params(("overlay" = String, Path, description = "Name of the overlay"),
        ("pattern" = Option<Vec<String>>, Query, description = "A topic, a prefix such as orders.*, or *; may come again, 16 times at most"),
        ("client" = Option<String>, Query, description = "A name: the subscription outlives the socket, and goes on with the next of that name"),
        ("ordered" = Option<bool>, Query, description = "Whether each publisher's messages come in order, and what is missing is told"),
        ("credit" = Option<u32>, Query, description = "Messages that may be unacknowledged at a time: 64, if nothing is said, and at most 1024"),
        ("presence" = Option<bool>, Query, description = "Whether presence is told, too")),
    responses((status = 101, description = "Frames from now on; those of the node are as here", body = Told, content_type = "application/json"),
        (status = 426, description = "That was no handshake of WebSocket", body = super::error::ApiError)))]
async fn socket(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    RawQuery(query): RawQuery,
    Extension(authority): Extension<Authority>,
    Extension(standing): Extension<Standing>,
    Extension(stop): Extension<Stop>,
    mut request: Request,
) -> ApiResult<Response> {
    let wish = Wish::of(query.as_deref())?;
    let asked = Asked::of(&mut request)?;
    let place = place(&shared)?;
    shared.runs(&overlay).await?;
    let subscriber = match wish.patterns.is_empty() {
        true => None,
        false => Some(subscribe(&shared, &overlay, &wish).await?),
    };
    let watch = match wish.presence {
        true => Some(Watch::open(&shared, overlay.clone()).await?),
        false => None,
    };
    let begun = Begun {
        pulse: Pulse::new(stop, &shared, authority),
        shared: Arc::clone(&shared),
        overlay,
        subscriber,
        watch,
        credit: wish.credit,
        protocol: asked.protocol,
    };
    let answer = asked.answer();
    let talking = tokio::spawn(async move {
        let Ok(upgraded) = asked.upgraded.await else {
            // The client is gone.
            return;
        };
        // From now on the socket looks itself whether anybody is there.
        let _answering = standing.answer();
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
        Talk::new(socket, begun).run().await;
        drop((place, standing));
    });
    tokio::spawn(async move {
        if talking.await.is_err_and(|error| error.is_panic()) {
            shared.panicked("a WebSocket of the management service panicked");
        }
    });
    Ok(answer)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(SOCKET_FRAME_BYTES))
        .max_frame_size(Some(SOCKET_FRAME_BYTES))
        .read_buffer_size(SOCKET_READ_BUFFER)
        .write_buffer_size(BATCH_BYTES)
        .max_write_buffer_size(SOCKET_WRITE_BUFFER)
}

async fn subscribe(shared: &Arc<Shared>, overlay: &str, wish: &Wish) -> ApiResult<Subscriber> {
    let asks = shared.places().questions.subscribe().await;
    let options = SubscriberOptions {
        // Apart from the names of local clients, none of which has a slash.
        client: wish
            .client
            .as_ref()
            .map_or(String::new(), |name| format!("http/{name}")),
        ack: AckMode::Client,
        ordered: wish.ordered,
        // As small as the largest message lets it be.
        ring_bytes: 0,
        ..SubscriberOptions::default()
    };
    let patterns = wish.patterns.clone();
    let subscriber = shared.ask_overlay(overlay.to_owned(), move |engine, id| {
        // Until it stands, though nobody may wait for it any more.
        let _asks = asks;
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        engine.subscribe(id, &patterns, options)
    });
    subscriber.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_said_in_the_query() {
        let wish = Wish::of(Some("pattern=a.*&pattern=b&client=till-3&ordered&credit=0")).unwrap();
        assert_eq!(wish.patterns, ["a.*", "b"]);
        assert_eq!(wish.client.as_deref(), Some("till-3"));
        assert!(wish.ordered && wish.credit == 0 && !wish.presence);
        let bare = Wish::of(None).unwrap();
        assert!(bare.patterns.is_empty() && bare.credit == CREDIT);
        for (query, code) in [
            ("client=a", "bad_query"),
            ("pattern=a&client=", "bad_query"),
            ("pattern=a&client=a/b", "bad_query"),
            ("credit=1025", "bad_query"),
            ("credit=-1", "bad_query"),
            ("presence=perhaps", "bad_query"),
            ("ack=node", "bad_query"),
            ("pattern=a..b", "bad_pattern"),
        ] {
            assert_eq!(Wish::of(Some(query)).expect_err(query).code(), code);
        }
    }
}
