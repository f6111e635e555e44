//! What is true of every request, whatever its route: its head has a bound, it is answered in time, a panic is its own alone.
//! Called by `serve` for each; the routes know nothing of it.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tower::ServiceExt;

use super::error::ApiError;
use super::limits::{HEAD_BYTES, REQUEST_TIME};
use super::shared::Shared;

/// The answer of `router`, or why there is none; counted either way.
pub async fn answer(shared: &Arc<Shared>, router: Router, request: Request) -> Response {
    let response = bounded(shared, router, request).await;
    let class = usize::from(response.status().as_u16() / 100);
    if let Some(count) = shared.counted.answers.get(class.wrapping_sub(1)) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    response
}

async fn bounded(shared: &Arc<Shared>, router: Router, request: Request) -> Response {
    if head_bytes(&request) > HEAD_BYTES {
        return ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            format!("path and headers together have at most {HEAD_BYTES} bytes"),
            "send fewer or shorter headers",
        )
        .into_response();
    }
    let routed = Guarded(Box::pin(async move {
        #[cfg(debug_assertions)]
        super::injected::panic_if_asked(&request);
        router.oneshot(request).await
    }));
    match timeout(REQUEST_TIME, routed).await {
        Ok(Some(Ok(response))) => response,
        Ok(None) => {
            shared.panicked("a request of the management service panicked");
            ApiError::panicked().into_response()
        }
        Err(_) => ApiError::unavailable(
            "timeout",
            format!("no answer within {} s", REQUEST_TIME.as_secs()),
            "send the body faster, or look at the node: /livez tells whether its shards answer",
        )
        .into_response(),
    }
}

fn head_bytes(request: &Request) -> usize {
    let path = request.uri().path_and_query();
    let path = path.map_or(0, |path| path.as_str().len());
    let headers = request.headers().iter();
    path + headers
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
}

type Routed = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// A request whose panic is caught: none then.
struct Guarded(Routed);

impl Future for Guarded {
    type Output = Option<Result<Response, Infallible>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.0.as_mut();
        // What it held is dropped with it; what is shared is behind locks that are taken over whole.
        match catch_unwind(AssertUnwindSafe(|| inner.poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}
