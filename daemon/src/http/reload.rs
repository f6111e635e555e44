//! Reading the configuration again: `/v1/reload`, as SIGHUP does.

use std::sync::Arc;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::reply::Json;
use super::shared::Shared;
use crate::node::Report;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// Reads the configuration file again.
///
/// A mistake anywhere in it changes nothing, nor does an overlay that cannot be started or changed. What a running node cannot change is
/// told, and holds from its next start on; so are keys that would lose a member, and what a change made while the node ran overrules.
/// Each line names an option with its old and new value.
#[utoipa::path(post, path = "/v1/reload", tag = "node",
    responses((status = 200, description = "What holds now, and what does not", body = Report),
        (status = 400, description = "The configuration has mistakes; nothing was changed", body = ApiError),
        (status = 500, description = "An overlay could not be started or changed; nothing was changed", body = ApiError)))]
async fn reload(State(shared): State<Arc<Shared>>) -> ApiResult<Json<Report>> {
    let again = Arc::clone(&shared);
    let report = shared.change(move |_| again.reload());
    report.await?.map(Json).map_err(ApiError::from)
}
