//! Who has subscribed to what, as far as this node knows: `/v1/overlays/{overlay}/subscriptions`. Called by Gossiperl's path, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use serde::Serialize;
use tidings_engine::{AckMode, Engine, EngineError, NodeId, OverlayId, SlowPolicy, Subscription};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::limits::{SUBSCRIPTIONS, SUBSCRIPTIONS_MAX};
use super::query;
use super::reply::Json;
use super::shared::Shared;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(subscriptions))
}

/// Some subscriptions of an overlay.
#[derive(Serialize, ToSchema)]
struct Listed {
    /// This node's first, then those of the others by node.
    subscriptions: Vec<SubscriptionView>,
    /// What to say as `after` to hear more; null: that was all.
    #[schema(example = "000102030405060708090a0b0c0d0e0f/3735928559")]
    next: Option<String>,
}

/// A subscription.
#[derive(Serialize, ToSchema)]
struct SubscriptionView {
    /// Id of the node that subscribed.
    node: String,
    /// That node's label, if it is a member.
    node_name: Option<String>,
    /// It is this node.
    #[serde(rename = "self")]
    is_self: bool,
    /// Its number there.
    sub: u32,
    /// A topic, a prefix such as orders.*, or *.
    #[schema(example = "orders.*")]
    pattern: String,
    /// Whether it outlives its client, which has a name.
    named: bool,
    /// That name, of this node's own; names of this service's clients begin with `http/`.
    client: Option<String>,
    /// Who acknowledges: `client`, or `node` when it queued the message.
    #[schema(value_type = String, example = "client")]
    ack: &'static str,
    /// Each publisher's messages come in order.
    ordered: bool,
    /// What happens to a client that does not keep up: `detach`, `drop_newest`, `drop_oldest` or `block`.
    #[schema(value_type = String, example = "detach")]
    policy: &'static str,
    /// When publishers give a message up: after so many times, 0 is without end,
    attempts: u32,
    /// and so many ms each.
    every_ms: u32,
    /// Whether its client is there, of this node's own.
    attached: Option<bool>,
    /// Publishers that have messages for it which it did not take yet, of this node's own.
    behind: Option<usize>,
}

/// What is wanted of the list.
struct Wish {
    after: Option<(NodeId, u32)>,
    limit: usize,
}

impl Wish {
    fn of(query: Option<&str>) -> ApiResult<Self> {
        let mut wish = Self {
            after: None,
            limit: SUBSCRIPTIONS,
        };
        for (name, value) in query::pairs(query, &["after", "limit"])? {
            match name.as_str() {
                "after" => wish.after = Some(after(&value)?),
                _ => wish.limit = limit(&value)?,
            }
        }
        Ok(wish)
    }
}

fn after(text: &str) -> ApiResult<(NodeId, u32)> {
    let parts = text.split_once('/');
    let read = parts.and_then(|(node, sub)| Some((NodeId::from_hex(node)?, sub.parse().ok()?)));
    read.ok_or_else(|| {
        query::bad(
            format!("after cannot be {text:?}"),
            "say what the answer before had as `next`, or leave it out".to_owned(),
        )
    })
}

fn limit(text: &str) -> ApiResult<usize> {
    let limit = text.parse().ok();
    let limit = limit.filter(|limit| (1..=SUBSCRIPTIONS).contains(limit));
    limit.ok_or_else(|| {
        query::bad(
            format!("limit cannot be {text:?}"),
            format!("say a number from 1 to {SUBSCRIPTIONS}"),
        )
    })
}

/// Who has subscribed to what: this node's clients, and the other members as far as they have told.
///
/// A node knows the patterns of the others, not the names of their clients.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/subscriptions", tag = "overlays",
    params(("overlay" = String, Path, description = "Name of the overlay"),
        ("after" = Option<String>, Query, description = "What the answer before had as `next`"),
        ("limit" = Option<u32>, Query, description = "How many at most: 1000, if nothing is said, and at most")),
    responses((status = 200, description = "Some of them", body = Listed)))]
async fn subscriptions(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Listed>> {
    let Wish { after, limit } = Wish::of(query.as_deref())?;
    let listed = shared.ask_overlay(overlay, move |engine, id| {
        let names = names(engine, id)?;
        // One more tells whether there are more.
        let mut found = page(engine, id, after, limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        Ok(Listed {
            next: last.map(|last| format!("{}/{}", last.node, last.sub)),
            subscriptions: found.into_iter().map(|it| view(it, &names)).collect(),
        })
    });
    listed.await.map(Json)
}

/// The subscriptions of an overlay with the labels of their nodes, and whether there are more than are told at a time.
pub async fn all(
    shared: &Shared,
    overlay: String,
) -> Result<(Vec<(Subscription, Option<String>)>, bool), ApiError> {
    let all = shared.ask_overlay(overlay, |engine, id| {
        let names = names(engine, id)?;
        let mut found = page(engine, id, None, SUBSCRIPTIONS_MAX + 1)?;
        let more = found.len() > SUBSCRIPTIONS_MAX;
        found.truncate(SUBSCRIPTIONS_MAX);
        let with_name = |it: Subscription| {
            let name = names.get(&it.node).cloned();
            (it, name)
        };
        Ok((found.into_iter().map(with_name).collect(), more))
    });
    all.await
}

/// As many as are wanted, a part at a time: the shard does other things in between.
fn page(
    engine: &Engine,
    id: OverlayId,
    mut after: Option<(NodeId, u32)>,
    most: usize,
) -> Result<Vec<Subscription>, EngineError> {
    let mut found = Vec::new();
    while found.len() < most {
        let part = engine.subscriptions(id, after, most - found.len())?;
        let Some(last) = part.last() else { break };
        after = Some((last.node, last.sub));
        found.extend(part);
    }
    Ok(found)
}

fn names(engine: &Engine, id: OverlayId) -> Result<BTreeMap<NodeId, String>, EngineError> {
    let members = engine.members(id)?.into_iter();
    Ok(members.map(|member| (member.node, member.name)).collect())
}

fn view(it: Subscription, names: &BTreeMap<NodeId, String>) -> SubscriptionView {
    let client = it.standing.as_ref().map(|standing| standing.client.clone());
    SubscriptionView {
        node: it.node.to_string(),
        node_name: names.get(&it.node).cloned(),
        is_self: it.standing.is_some(),
        sub: it.sub,
        pattern: it.pattern,
        named: it.is_named,
        client: client.filter(|name| !name.is_empty()),
        ack: match it.ack {
            AckMode::Client => "client",
            AckMode::Node => "node",
        },
        ordered: it.ordered,
        policy: match it.policy {
            SlowPolicy::Detach => "detach",
            SlowPolicy::DropNewest => "drop_newest",
            SlowPolicy::DropOldest => "drop_oldest",
            SlowPolicy::Block => "block",
        },
        attempts: it.redelivery.attempts,
        every_ms: it.redelivery.every_ms,
        attached: it.standing.as_ref().map(|standing| standing.is_attached),
        behind: it.standing.as_ref().map(|standing| standing.behind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_part_begins_behind_the_last_entry() {
        let text = format!("{}/4294967295", NodeId([7; 16]));
        let wish = Wish::of(Some(&format!("after={text}&limit=1"))).unwrap();
        assert_eq!(wish.after, Some((NodeId([7; 16]), u32::MAX)));
        assert_eq!(wish.limit, 1);
        assert_eq!(Wish::of(None).unwrap().limit, SUBSCRIPTIONS);
        for bad in [
            "after=",
            "after=00/1",
            "after=1",
            &format!("{text}0"),
            "limit=0",
            "limit=1001",
            "limit=",
            "page=2",
        ] {
            assert!(Wish::of(Some(bad)).is_err(), "{bad}");
        }
    }
}
