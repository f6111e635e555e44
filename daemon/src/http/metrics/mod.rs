//! `/metrics`: everything that is counted, for Prometheus and what speaks OpenMetrics. Every family is declared in `families`;
//! a scrape takes a fresh look at the engine and writes it with `text`.

mod families;
mod samples;
mod text;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::text::Format;
use super::error::ApiResult;
use super::shared::Shared;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Everything that is counted, as metrics.
///
/// In OpenMetrics if the `Accept` header asks for it, else in the text format of Prometheus. For processes of this machine without
/// a password if `http.metrics_open` is set.
#[utoipa::path(get, path = "/metrics", tag = "statistics", operation_id = "metrics",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> ApiResult<Response> {
    let format = format(&headers);
    let of_thread = Arc::clone(&shared);
    let text = shared.ask(move |engine| samples::write(&of_thread, engine, format));
    let mut response = text.await?.into_response();
    let kind = match format {
        Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Prometheus asks for both, and says with `q` which it would rather have; whoever names OpenMetrics reads it.
fn format(headers: &HeaderMap) -> Format {
    let wants = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("application/openmetrics-text"));
    match wants {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}
