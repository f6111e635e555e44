//! Who would get a message on a topic: `/v1/overlays/{overlay}/trace/{topic}`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;
use tidings_engine::{Member, NodeId, Trace, TraceWay};
use tidings_wire::validate_topic;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::publish::bad_topic;
use super::reply::Json;
use super::shared::Shared;
use crate::node::view;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(trace))
}

/// Who would get a message.
#[derive(Serialize, ToSchema)]
struct TraceView {
    /// The topic.
    #[schema(example = "orders.new")]
    topic: String,
    /// The cipher that it would be sealed with for other nodes.
    #[schema(value_type = String, example = "aes-256-gcm")]
    suite: &'static str,
    /// Whether the subscriptions of all members held alive are known: others may be missing here otherwise.
    synced: bool,
    /// Subscriptions of this node, which get it unsealed.
    local: u32,
    /// Other nodes with subscriptions.
    nodes: Vec<TraceNodeView>,
}

/// A node that would get it.
#[derive(Serialize, ToSchema)]
struct TraceNodeView {
    /// Its label.
    name: String,
    /// Its id.
    id: String,
    /// `alive`, `suspect`, `dead`, `left`, or null if it is forgotten already.
    #[schema(value_type = Option<String>, example = "alive")]
    state: Option<&'static str>,
    /// Its subscriptions that match.
    subscriptions: u32,
    /// Where its datagrams go; null without a link.
    #[schema(example = "203.0.113.5:7400")]
    address: Option<String>,
    /// `stream`: it takes part in the live stream to these nodes; `joining`: it is about to; `catch_up`: it gets its messages one by
    /// one; `no_stream`: the first message opens the stream.
    #[schema(value_type = String, example = "stream")]
    way: &'static str,
    /// Bytes of the largest datagram on that way.
    datagram_bytes: usize,
}

/// Who would get a message on this topic if it were published here now, and by which way. Nothing is sent.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/trace/{topic}", tag = "messages",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("topic" = String, Path, description = "Topic of the message")),
    responses((status = 200, description = "Local subscriptions and other nodes", body = TraceView),
        (status = 400, description = "It is no topic", body = ApiError)))]
async fn trace(
    State(shared): State<Arc<Shared>>,
    Path((overlay, topic)): Path<(String, String)>,
) -> ApiResult<Json<TraceView>> {
    if validate_topic(&topic).is_err() {
        return Err(bad_topic(&topic));
    }
    let traced = shared.ask_overlay(overlay, move |engine, id| {
        let names = engine.members(id)?;
        let found = engine.trace(id, &topic)?;
        Ok(TraceView {
            suite: engine.suite(id)?.name(),
            synced: engine.is_synced(id)?,
            local: found.local,
            nodes: nodes(found, &names),
            topic,
        })
    });
    traced.await.map(Json)
}

fn nodes(found: Trace, members: &[Member]) -> Vec<TraceNodeView> {
    let names: HashMap<NodeId, &str> = members
        .iter()
        .map(|member| (member.node, member.name.as_str()))
        .collect();
    let view = |node: tidings_engine::TraceNode| TraceNodeView {
        name: names.get(&node.node).copied().unwrap_or("").to_owned(),
        id: node.node.to_string(),
        state: node.state.map(view::state),
        subscriptions: node.subscriptions,
        address: node.address.as_ref().map(SocketAddr::to_string),
        way: match node.way {
            TraceWay::Stream => "stream",
            TraceWay::Joining => "joining",
            TraceWay::CatchUp => "catch_up",
            TraceWay::NoStream => "no_stream",
        },
        datagram_bytes: node.datagram,
    };
    found.nodes.into_iter().map(view).collect()
}
