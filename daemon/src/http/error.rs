//! The one form of every answer that is an error: `{error, detail, hint}` with its status. Handlers return it; the service
//! makes it of what hyper, axum and panics leave behind, so that no other form reaches a client. It never holds a secret.

use std::borrow::Cow;

use axum::http::header::{ALLOW, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_engine::EngineError;
use utoipa::ToSchema;

use super::reply;
use crate::node::Refusal;
use crate::state::StateError;

/// What a client may try when it has presented nothing that was taken.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"tidings\", Bearer");

/// An error, as its answer's body says it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    /// What kind of error it is: stable, for programs.
    #[schema(value_type = String, example = "no_overlay")]
    error: &'static str,
    /// What is wrong, with the names and values that it is about.
    #[schema(value_type = String, example = "no overlay named \"news\" runs here")]
    detail: Cow<'static, str>,
    /// What to do about it.
    #[schema(value_type = String, example = "GET /v1/overlays lists those that do")]
    hint: Cow<'static, str>,
    #[serde(skip)]
    header: Header,
}

/// The header that goes with an error.
#[derive(Clone, Debug)]
enum Header {
    None,
    /// How to say who asks.
    Challenge,
    /// The methods that there are.
    Allow(String),
    /// Seconds to wait.
    RetryAfter(u64),
    /// What else is spoken here.
    Upgrade,
}

impl Header {
    fn pair(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::None => None,
            Self::Challenge => Some((WWW_AUTHENTICATE, CHALLENGE)),
            Self::Allow(methods) => Some((ALLOW, HeaderValue::from_str(&methods).ok()?)),
            Self::RetryAfter(seconds) => Some((RETRY_AFTER, HeaderValue::from(seconds))),
            Self::Upgrade => Some((UPGRADE, HeaderValue::from_static("websocket"))),
        }
    }
}

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error in words.
    pub fn new(
        status: StatusCode,
        error: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error,
            detail: detail.into(),
            hint: hint.into(),
            header: Header::None,
        }
    }

    fn with(mut self, header: Header) -> Self {
        self.header = header;
        self
    }

    /// The same with another status, for paths that have had theirs for long.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Its code.
    pub fn code(&self) -> &'static str {
        self.error
    }

    /// 400 with a code of the caller's own.
    pub fn bad(
        error: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, detail, hint)
    }

    /// 401: nothing was presented, or nothing that is valid.
    pub fn unauthorized(error: &'static str, detail: &'static str, hint: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error, detail, hint).with(Header::Challenge)
    }

    /// 403: who asks is known, and may not.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>, needed: &str) -> Self {
        let hint = format!("this needs the authority of {needed}");
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail, hint)
    }

    /// 404 of a path.
    pub fn no_path(path: &str) -> Self {
        let detail = format!("nothing is at {path:?}");
        let hint = "/v1/openapi.json lists every path";
        Self::new(StatusCode::NOT_FOUND, "not_found", detail, hint)
    }

    /// 404 of an overlay.
    pub fn no_overlay(name: &str) -> Self {
        let detail = format!("no overlay named {name:?} runs here");
        let hint = "GET /v1/overlays lists those that do";
        Self::new(StatusCode::NOT_FOUND, "no_overlay", detail, hint)
    }

    /// 405 with the methods that there are.
    pub fn no_method(method: &str, path: &str, allowed: &str) -> Self {
        let detail = format!("{path} cannot be asked for with {method}");
        let hint = format!("use {allowed}");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            detail,
            hint,
        )
        .with(Header::Allow(allowed.to_owned()))
    }

    /// 426: only WebSocket is spoken at this path.
    pub fn upgrade_required() -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "this path is for WebSocket",
            "open it with a WebSocket client: ws:// or wss://, over HTTP/1.1",
        )
        .with(Header::Upgrade)
    }

    /// 429: come again in so many seconds.
    pub fn too_many(error: &'static str, detail: &'static str, seconds: u64) -> Self {
        let hint = format!("wait {seconds} s before the next try");
        Self::new(StatusCode::TOO_MANY_REQUESTS, error, detail, hint)
            .with(Header::RetryAfter(seconds.max(1)))
    }

    /// 503: not now.
    pub fn unavailable(
        error: &'static str,
        detail: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, detail, hint).with(Header::RetryAfter(1))
    }

    /// 500 of a panic, which the log tells.
    pub fn panicked() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the service failed at this request; the node goes on",
            "the daemon's log says where; report it",
        )
    }

    /// 503 of a node that is about to end.
    pub fn stopping() -> Self {
        Self::unavailable("stopping", "the daemon is stopping", "ask another node")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = reply::json(self.status, &self);
        if let Some((name, value)) = self.header.pair() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::Exists => Self::new(
                StatusCode::CONFLICT,
                "exists",
                text,
                "choose another name, or remove that overlay first",
            ),
            EngineError::Unknown => Self::new(
                StatusCode::NOT_FOUND,
                "no_overlay",
                text,
                "GET /v1/overlays lists those that do",
            ),
            EngineError::Refused(_) => Self::bad("refused", text, "mend the value and ask again"),
            EngineError::TooMany => Self::unavailable("limit", text, "remove what is not needed"),
            EngineError::Discovery(_) => Self::unavailable(
                "limit",
                text,
                "raise the daemon's limits of threads and open files, and ask again",
            ),
            EngineError::NoShard(_) | EngineError::HasHandlers => Self::new(
                StatusCode::CONFLICT,
                "unchangeable",
                text,
                "name a shard that runs",
            ),
            EngineError::Busy => Self::unavailable("busy", text, "ask again"),
            EngineError::Stopped => Self::unavailable("stopping", text, "ask another node"),
            EngineError::Storage(_) | EngineError::Steering(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "failed",
                text,
                "look at the daemon's log, its disk and its limits",
            ),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let (text, hint) = (refusal.to_string(), refusal.remedy());
        let conflict = |code| Self::new(StatusCode::CONFLICT, code, text.clone(), hint.clone());
        match refusal {
            Refusal::Unknown(name, _) => Self::no_overlay(&name),
            Refusal::Exists(_) | Refusal::Idle(_) => conflict("exists"),
            Refusal::Configured(_) => conflict("configured"),
            Refusal::Fixed { .. } => conflict("fixed"),
            Refusal::Invalid(_) => Self::bad("bad_options", text, hint),
            Refusal::Keys(refusal) => match refusal.is_mistake() {
                true => Self::bad(refusal.code(), text, hint),
                false => conflict(refusal.code()),
            },
            Refusal::State(error) => Self::from(error),
            Refusal::Engine(error) => Self::from(error),
            Refusal::NotMade { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", text, hint)
            }
            Refusal::Stopping => Self::stopping(),
        }
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        let hint = error.remedy();
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "not_kept",
            error.to_string(),
            hint,
        )
    }
}
