//! Taking the node out of service: `/v1/drain`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::limits::DRAIN_SECONDS_MAX;
use super::reply::{self, Json};
use super::shared::Shared;
use crate::node::DRAIN_TIME;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(drain))
}

/// How to drain.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DrainWish {
    /// For how many seconds at most it is waited until what is owed is confirmed; 0 to 86400.
    #[serde(default = "deadline")]
    #[schema(example = 30)]
    deadline_s: u64,
}

fn deadline() -> u64 {
    DRAIN_TIME.as_secs()
}

/// A drain that has begun.
#[derive(Serialize, ToSchema)]
struct DrainView {
    /// Seconds until it leaves at the latest.
    deadline_s: u64,
}

/// Takes the node out of service, which ends the daemon.
///
/// From now on nothing is published over HTTP, local clients open no more publishers, and `/readyz` fails. When every message
/// that the node has accepted is confirmed or failed, or the deadline is over, it leaves its overlays and stops. A
/// drain that has begun keeps its deadline.
#[utoipa::path(post, path = "/v1/drain", tag = "node", request_body = DrainWish,
    responses((status = 202, description = "It has begun", body = DrainView),
        (status = 400, description = "The deadline is out of range", body = ApiError)))]
async fn drain(
    State(shared): State<Arc<Shared>>,
    Json(wish): Json<DrainWish>,
) -> ApiResult<Response> {
    if wish.deadline_s > DRAIN_SECONDS_MAX {
        return Err(ApiError::bad(
            "bad_deadline",
            format!("deadline_s cannot be {}", wish.deadline_s),
            format!("say 0 to {DRAIN_SECONDS_MAX}"),
        ));
    }
    let begun = shared.drain.begin(Duration::from_secs(wish.deadline_s));
    let left = begun.map_err(|error| {
        ApiError::unavailable(
            "no_thread",
            format!("no thread can be started for the drain: {error}"),
            "try again, or stop the node by a signal",
        )
    })?;
    let view = DrainView {
        deadline_s: left.as_secs_f64().ceil() as u64,
    };
    Ok(reply::json(StatusCode::ACCEPTED, &view))
}
