//! The node itself, and what its shards count: `/v1/node`, `/v1/stats`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Authority;
use super::error::ApiResult;
use super::reply::Json;
use super::shared::Shared;
use crate::node::view::{self, NodeView, ShardView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(node))
        .routes(routes!(stats))
}

/// Who this node is.
///
/// Process and paths are told to the superuser alone.
#[utoipa::path(get, path = "/v1/node", tag = "node",
    responses((status = 200, description = "The node", body = NodeView)))]
async fn node(
    State(shared): State<Arc<Shared>>,
    Extension(authority): Extension<Authority>,
) -> ApiResult<Json<NodeView>> {
    let facts = Arc::clone(&shared.facts);
    let node = shared.ask(move |engine| Ok(view::node(engine, &facts, authority.is_superuser())));
    node.await.map(Json)
}

/// What the shards count, all overlays together.
#[derive(Serialize, ToSchema)]
struct NodeStats {
    /// Panics of threads beside the shards, each started again since.
    panics: u64,
    /// By number.
    shards: Vec<ShardView>,
}

/// What the shards count, all overlays together.
#[utoipa::path(get, path = "/v1/stats", tag = "node",
    responses((status = 200, description = "Counters since the start", body = NodeStats)))]
async fn stats(State(shared): State<Arc<Shared>>) -> ApiResult<Json<NodeStats>> {
    let stats = shared.ask(|engine| {
        let stats = engine.stats()?;
        let shards = stats.shards.iter().enumerate();
        Ok(NodeStats {
            panics: stats.panics,
            shards: shards
                .map(|(index, shard)| view::shard(index, shard))
                .collect(),
        })
    });
    stats.await.map(Json)
}
