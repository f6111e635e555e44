//! What Gossiperl's paths tell of an overlay: `/configuration`, `/membership`,
//! `/subscriptions`, `/statistics`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tidings_engine::{Member, MemberState};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Done;
use super::options;
use super::overlays::here;
use crate::http::error::{ApiError, ApiResult};
use crate::http::reply::Json;
use crate::http::shared::Shared;
use crate::http::{statistics, subscriptions, wall};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(configuration))
        .routes(routes!(membership))
        .routes(routes!(subscribed))
        .routes(routes!(total))
        .routes(routes!(window))
}

/// The options of an overlay.
#[derive(Serialize, ToSchema)]
struct Configuration {
    /// By Gossiperl's names; the key is `protected`.
    #[schema(value_type = Value)]
    configuration: Value,
    /// Its name.
    overlay: String,
    #[serde(flatten)]
    done: Done,
}

/// The members of an overlay.
#[derive(Serialize, ToSchema)]
struct Membership {
    /// This node first.
    membership: Vec<OldMember>,
    /// Its name.
    overlay: String,
    #[serde(flatten)]
    done: Done,
}

/// A member.
#[derive(Serialize, ToSchema)]
struct OldMember {
    /// Its label.
    name: String,
    /// `reachable`, `quarantine` or `unreachable`.
    #[schema(value_type = String, example = "reachable")]
    state: &'static str,
    /// Its best address.
    ip: Option<String>,
    /// The port of that.
    port: Option<u16>,
    /// Now, of those that are reachable, in seconds since 1970: nobody sends clocks any more.
    heartbeat: Option<u64>,
}

/// Who has subscribed to what in an overlay.
#[derive(Serialize, ToSchema)]
struct Subscriptions {
    /// This node's first.
    subscriptions: Vec<OldSubscription>,
    /// Whether there are more than are told.
    more: bool,
    /// Its name.
    overlay: String,
    #[serde(flatten)]
    done: Done,
}

/// A subscription.
#[derive(Serialize, ToSchema)]
struct OldSubscription {
    /// A topic, a prefix such as orders.*, or *.
    event_type: String,
    /// The client's name, where it has one and this node knows it; otherwise that of its node.
    member_name: String,
    /// The name of its node.
    origin: String,
    /// Now, in seconds since 1970: nobody sends clocks any more.
    heartbeat: u64,
}

/// What was counted of an overlay.
#[derive(Serialize, ToSchema)]
struct Counted {
    /// Its name.
    overlay: String,
    /// The window.
    #[schema(value_type = String, example = "1h")]
    window: &'static str,
    /// Always.
    enabled: bool,
    /// A JSON object as a text: counters by name.
    statistics: String,
    /// Now, in seconds since 1970.
    ts: u64,
}

/// The options of an overlay.
#[utoipa::path(get, path = "/configuration/{overlay}", tag = "gossiperl", operation_id = "gossiperl_configuration",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "By Gossiperl's names", body = Configuration)))]
async fn configuration(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Configuration>> {
    let (overlays, name) = (Arc::clone(&shared.overlays), overlay.clone());
    let settings = shared.blocking(move || overlays.options(&name)).await??;
    Ok(Json(Configuration {
        configuration: options::shown(&settings, &here(&shared).await?),
        overlay,
        done: Done::now("configuration"),
    }))
}

/// The members of an overlay, without those that left.
#[utoipa::path(get, path = "/membership/{overlay}", tag = "gossiperl", operation_id = "gossiperl_membership",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "This node first", body = Membership)))]
async fn membership(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Membership>> {
    let members = shared.ask_overlay(overlay.clone(), |engine, id| engine.members(id));
    let mut members = members.await?;
    members.sort_by_key(|member| !member.is_self);
    let done = Done::now("membership");
    let each = members.iter();
    let each = each.filter_map(|member| old_member(member, done.timestamp));
    Ok(Json(Membership {
        membership: each.collect(),
        overlay,
        done,
    }))
}

/// Who has subscribed to what: this node's clients, and the other members.
#[utoipa::path(get, path = "/subscriptions/{overlay}", tag = "gossiperl", operation_id = "gossiperl_subscriptions",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "This node's first", body = Subscriptions)))]
async fn subscribed(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Subscriptions>> {
    let (all, more) = subscriptions::all(&shared, overlay.clone()).await?;
    let done = Done::now("subscriptions");
    let each = all.into_iter().map(|(it, name)| {
        // It may have gone since it subscribed.
        let origin = name.unwrap_or_else(|| it.node.to_string());
        let client = it.standing.map(|standing| standing.client);
        OldSubscription {
            event_type: it.pattern,
            member_name: client
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| origin.clone()),
            origin,
            heartbeat: done.timestamp,
        }
    });
    Ok(Json(Subscriptions {
        subscriptions: each.collect(),
        more,
        overlay,
        done,
    }))
}

fn old_member(member: &Member, now: u64) -> Option<OldMember> {
    let state = match member.state {
        MemberState::Alive => "reachable",
        MemberState::Suspect => "quarantine",
        MemberState::Dead => "unreachable",
        MemberState::Left => return None,
    };
    let address = member.addresses.first();
    Some(OldMember {
        name: member.name.clone(),
        state,
        ip: address.map(|address| address.ip().to_string()),
        port: address.map(std::net::SocketAddr::port),
        heartbeat: (member.state == MemberState::Alive).then_some(now),
    })
}

/// What was counted of an overlay since it started.
#[utoipa::path(get, path = "/statistics/{overlay}", tag = "gossiperl", operation_id = "gossiperl_statistics",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "Counters", body = Counted)))]
async fn total(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Counted>> {
    counted(&shared, overlay, "total").await.map(Json)
}

/// What was counted of an overlay within a window.
#[utoipa::path(get, path = "/statistics/{overlay}/{window}", tag = "gossiperl", operation_id = "gossiperl_statistics_window",
    params(("overlay" = String, Path, description = "Name of the overlay"),
        ("window" = String, Path, description = "total, 1d, 12h, 6h, 3h, 1h, 30m, 10m or 1m")),
    responses((status = 200, description = "Counters", body = Counted),
        (status = 412, description = "There is no such window", body = ApiError)))]
async fn window(
    State(shared): State<Arc<Shared>>,
    Path((overlay, window)): Path<(String, String)>,
) -> ApiResult<Json<Counted>> {
    counted(&shared, overlay, &window).await.map(Json)
}

async fn counted(shared: &Shared, overlay: String, window: &str) -> ApiResult<Counted> {
    let told = statistics::look(shared, overlay.clone(), window).await;
    let told = told.map_err(|error| match error.code() {
        "no_window" => error.with_status(StatusCode::PRECONDITION_FAILED),
        _ => error,
    })?;
    Ok(Counted {
        overlay,
        window: told.window,
        enabled: true,
        // Names and numbers: they can be written.
        statistics: serde_json::to_string(&told.counts).unwrap_or_default(),
        ts: wall::seconds(),
    })
}
