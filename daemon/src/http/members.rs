//! Who is in an overlay: `/v1/overlays/{overlay}/members`.

use std::sync::Arc;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiResult;
use super::reply::Json;
use super::shared::Shared;
use crate::node::view::{self, MemberView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(members))
}

/// Everybody in an overlay, this node included.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/members", tag = "overlays",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "The members", body = Vec<MemberView>)))]
async fn members(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Vec<MemberView>>> {
    let members = shared.ask_overlay(overlay, |engine, id| {
        Ok(engine.members(id)?.iter().map(view::member).collect())
    });
    members.await.map(Json)
}
