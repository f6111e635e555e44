//! A request's body, received whole within its bound. Called by what takes bodies; nothing else reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use http_body::Body;

use super::error::ApiError;
use super::limits::{BODIES_BYTES, BODY_BYTES};

/// Bytes that bodies under way may take, all requests together. In the extensions of each request.
#[derive(Clone, Debug, Default)]
pub struct BodyRoom(Arc<AtomicUsize>);

/// Room of one body, given back when it is dropped.
pub struct Share {
    room: BodyRoom,
    bytes: usize,
}

impl BodyRoom {
    fn take(&self, bytes: usize) -> Option<Share> {
        let taken = self.0.fetch_add(bytes, Ordering::Relaxed);
        let share = Share {
            room: self.clone(),
            bytes,
        };
        // Dropping it gives back what was too much.
        (taken + bytes <= BODIES_BYTES).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The whole body, which is used at once.
pub async fn whole(request: Request) -> Result<Bytes, ApiError> {
    held(request).await.map(|(body, _)| body)
}

/// The whole body, and its room, to be held as long as the body is.
pub async fn held(request: Request) -> Result<(Bytes, Share), ApiError> {
    let room = request.extensions().get::<BodyRoom>().cloned();
    // Of a body that does not say how long it is the largest is expected.
    let upper = request.body().size_hint().upper();
    let expected = upper.map_or(BODY_BYTES, |bytes| {
        usize::try_from(bytes).unwrap_or(usize::MAX)
    });
    if expected > BODY_BYTES {
        return Err(too_large());
    }
    let share = room
        .unwrap_or_default()
        .take(expected)
        .ok_or(ApiError::too_many(
            "busy",
            "too many large requests are being received",
            1,
        ))?;
    let body = to_bytes(request.into_body(), BODY_BYTES).await;
    let body = body.map_err(|error| explain(&error))?;
    Ok((body, share))
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("a body has at most {BODY_BYTES} bytes"),
        "send less at a time",
    )
}

fn explain(error: &axum::Error) -> ApiError {
    let text = error.to_string();
    if text.contains("length limit") {
        return too_large();
    }
    ApiError::bad(
        "bad_body",
        format!("the body did not come whole: {text}"),
        "send as many bytes as Content-Length says",
    )
}
