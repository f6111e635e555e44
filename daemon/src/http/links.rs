//! The ways to the other members of an overlay: `/v1/overlays/{overlay}/links`.

use std::sync::Arc;

use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiResult;
use super::reply::Json;
use super::shared::{Shared, stats_of};
use crate::node::view::{self, PeerView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(links))
}

/// The way to each other member: round trip, window, queues, counters.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/links", tag = "overlays",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "One for each other member", body = Vec<PeerView>)))]
async fn links(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Vec<PeerView>>> {
    let links = shared.ask_overlay(overlay, |engine, id| {
        let members = engine.members(id)?;
        Ok(view::peers(&stats_of(engine, id)?, &members))
    });
    links.await.map(Json)
}
