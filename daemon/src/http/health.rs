//! Whether the node lives, is ready, has started: `/livez`, `/readyz`, `/startupz`. Whoever may not know more learns the
//! verdict alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tidings_engine::SyncStage;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Authority;
use super::looks::Found;
use super::questions::Asker;
use super::reply;
use super::shared::Shared;
use crate::node::view;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(startupz))
}

/// A verdict.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok` or `failed`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
    /// What it is made of; with `?verbose`, for users with a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

/// One reason.
#[derive(Serialize, ToSchema)]
struct Check {
    /// What was looked at.
    #[schema(example = "overlay news")]
    name: String,
    /// Whether it is as it should be.
    ok: bool,
    /// What was found.
    #[schema(example = "synced")]
    detail: String,
}

fn check(name: impl Into<String>, ok: bool, good: &str, bad: &str) -> Check {
    Check {
        name: name.into(),
        ok,
        detail: if ok { good } else { bad }.to_owned(),
    }
}

/// The answer to whoever asks.
fn verdict(checks: Vec<Check>, query: Option<&str>, authority: &Authority) -> Response {
    let is_good = checks.iter().all(|check| check.ok);
    let mut words = query.unwrap_or_default().split('&');
    let is_verbose = words.any(|word| matches!(word, "verbose" | "verbose=true" | "verbose=1"));
    let may_know = matches!(authority, Authority::User | Authority::Superuser);
    let health = Health {
        status: if is_good { "ok" } else { "failed" },
        checks: (is_verbose && may_know).then_some(checks),
    };
    let status = match is_good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    reply::json(status, &health)
}

/// Whether the shards answer, and how far each overlay is. However many ask, the shards are asked for one of them at a time.
async fn look(shared: &Arc<Shared>) -> Found {
    if shared.is_stopping.load(Ordering::Relaxed) {
        return None;
    }
    let of_look = Arc::clone(shared);
    let ask = || {
        Asker::Service.does(async move {
            let stages = of_look.ask(|engine| {
                let overlays = engine.stats()?.overlays.into_iter();
                let stages = overlays.map(|overlay| (overlay.name, overlay.sync));
                Ok(stages.collect())
            });
            stages.await.ok()
        })
    };
    shared.looks.look(ask).await
}

fn shards(found: &Found) -> Check {
    let bad = "they do not answer within 1 s, or the node ends";
    check("shards", found.is_some(), "they answer", bad)
}

/// Whether every shard answers within 1 s.
#[utoipa::path(get, path = "/livez", tag = "health",
    params(("verbose" = Option<bool>, Query, description = "List the checks; needs a password")),
    responses((status = 200, description = "It lives", body = Health),
        (status = 503, description = "It does not, or ends", body = Health)))]
async fn livez(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    Extension(authority): Extension<Authority>,
) -> Response {
    let found = look(&shared).await;
    verdict(vec![shards(&found)], query.as_deref(), &authority)
}

/// The same as `/livez`.
#[utoipa::path(get, path = "/healthz", tag = "health",
    params(("verbose" = Option<bool>, Query, description = "List the checks; needs a password")),
    responses((status = 200, description = "It lives", body = Health),
        (status = 503, description = "It does not, or ends", body = Health)))]
async fn healthz(
    state: State<Arc<Shared>>,
    query: RawQuery,
    authority: Extension<Authority>,
) -> Response {
    livez(state, query, authority).await
}

/// Whether it is worth asking: everything has started, in every overlay messages are taken, and the node is not about to end.
///
/// A message is not taken while the overlay waits for the subscriptions of its members, 5 s at most since it had whom to join, and
/// as long since it met the first one. Without them it is ready when `node.ready_timeout` is over since the start, 5 s by default.
#[utoipa::path(get, path = "/readyz", tag = "health",
    params(("verbose" = Option<bool>, Query, description = "List the checks; needs a password")),
    responses((status = 200, description = "It is ready", body = Health),
        (status = 503, description = "It is not, or not any more", body = Health)))]
async fn readyz(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    Extension(authority): Extension<Authority>,
) -> Response {
    let is_stopping = shared.is_stopping.load(Ordering::Relaxed);
    let mut checks = vec![
        started(&shared),
        check("node", !is_stopping, "goes on", "is about to end"),
        check(
            "drain",
            !shared.drain.is_draining(),
            "none",
            "it goes out of service",
        ),
    ];
    let found = look(&shared).await;
    checks.push(shards(&found));
    let has_waited = shared.facts.has_waited();
    let overlays = found.iter().flat_map(|stages| stages.iter());
    checks.extend(overlays.map(|(name, stage)| overlay(name, *stage, has_waited)));
    verdict(checks, query.as_deref(), &authority)
}

fn overlay(name: &str, stage: SyncStage, has_waited: bool) -> Check {
    Check {
        name: format!("overlay {name}"),
        ok: view::is_ready(stage, has_waited),
        detail: match stage {
            SyncStage::Seeking => "waits for somebody to meet",
            SyncStage::Joining => "waits for the subscriptions of a member",
            SyncStage::Alone if !has_waited => "nobody was met yet; node.ready_timeout is not over",
            SyncStage::Alone => "nobody was met; it goes on alone",
            SyncStage::Late if !has_waited => {
                "the subscriptions of some member are missing; node.ready_timeout is not over"
            }
            SyncStage::Late => "goes on without the subscriptions of some member",
            SyncStage::Synced => "synced",
        }
        .to_owned(),
    }
}

fn started(shared: &Shared) -> Check {
    let has_started = shared.has_started.load(Ordering::Relaxed);
    check("start", has_started, "done", "overlays are being started")
}

/// Whether everything has started.
#[utoipa::path(get, path = "/startupz", tag = "health",
    params(("verbose" = Option<bool>, Query, description = "List the checks; needs a password")),
    responses((status = 200, description = "It has", body = Health),
        (status = 503, description = "Not yet", body = Health)))]
async fn startupz(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    Extension(authority): Extension<Authority>,
) -> Response {
    verdict(vec![started(&shared)], query.as_deref(), &authority)
}
