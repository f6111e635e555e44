//! Overlays: which run here, one of them with its options and its counters; made, changed and removed: `/v1/overlays`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tidings_engine::{Engine, EngineError, Suite};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::tokens;
use super::error::{ApiError, ApiResult};
use super::options::{Options, OptionsPatch};
use super::reply::{self, Json};
use super::shared::{Shared, stats_of};
use super::tokens::NewToken;
use super::wall;
use crate::config::OverlaySettings;
use crate::node::Wish;
use crate::node::view::{self, OverlayStatsView, OverlayView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, change, replace, remove))
        .routes(routes!(stats))
}

/// The overlays that run here.
#[utoipa::path(get, path = "/v1/overlays", tag = "overlays", operation_id = "list_overlays",
    responses((status = 200, description = "By name", body = Vec<OverlayView>)))]
async fn list(State(shared): State<Arc<Shared>>) -> ApiResult<Json<Vec<OverlayView>>> {
    let overlays = shared.ask(|engine| view::overlays(engine, &engine.overlays()));
    overlays.await.map(Json)
}

/// What overlay to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOverlay {
    /// Its name: members of one overlay use the same name and key.
    #[schema(example = "news")]
    name: String,
    /// The text of a keyring, as `tidings keygen` makes it; left out: the node makes a key of its own.
    keyring: Option<String>,
    /// The cipher of a key that the node makes.
    #[schema(example = "aes-256-gcm")]
    suite: Option<String>,
    /// Options that differ from the defaults.
    #[serde(default)]
    options: OptionsPatch,
    /// Name of the token that is made with it.
    #[serde(default = "first_token")]
    #[schema(example = "first")]
    token: String,
}

fn first_token() -> String {
    "first".to_owned()
}

/// An overlay with its options.
#[derive(Serialize, ToSchema)]
struct WholeOverlay {
    #[serde(flatten)]
    overlay: OverlayView,
    /// Every option as it holds now.
    options: Options,
}

/// An overlay that was just made.
#[derive(Serialize, ToSchema)]
struct MadeOverlay {
    #[serde(flatten)]
    overlay: WholeOverlay,
    /// A token that may manage it.
    token: NewToken,
}

/// Makes an overlay and starts it.
///
/// All of it or nothing: when this is answered with 201, the overlay runs and will at the node's next start.
#[utoipa::path(post, path = "/v1/overlays", tag = "overlays", operation_id = "create_overlay", request_body = NewOverlay,
    responses((status = 201, description = "It runs", body = MadeOverlay),
        (status = 400, description = "Name, options or keyring are not what is wanted", body = ApiError),
        (status = 409, description = "There is one of that name", body = ApiError)))]
async fn create(
    State(shared): State<Arc<Shared>>,
    Json(new): Json<NewOverlay>,
) -> ApiResult<Response> {
    let suite = suite(new.suite.as_deref())?;
    let wish = Wish {
        name: new.name.clone(),
        options: new.options.into_whole(),
        keyring: new.keyring,
        suite,
    };
    let engine = shared.engine();
    let made = shared.change(move |overlays| {
        let now = wall::seconds();
        let (settings, token) = overlays.create(wish, |state| {
            tokens::create(state, &new.name, &new.token, None, now)
        })?;
        // The secret of the token must be told, whatever the engine says now.
        let overlay = seen(engine.upgrade().as_deref(), &settings)
            .unwrap_or_else(|_| OverlayView::unseen(&settings.name));
        Ok::<_, ApiError>(MadeOverlay {
            overlay: WholeOverlay {
                overlay,
                options: Options::from(&settings),
            },
            token: token.into(),
        })
    });
    Ok(reply::json(StatusCode::CREATED, &made.await??))
}

fn suite(name: Option<&str>) -> ApiResult<Suite> {
    let Some(name) = name else {
        return Ok(Suite::Aes256Gcm);
    };
    Suite::from_name(name).ok_or_else(|| {
        ApiError::bad(
            "bad_suite",
            // What somebody wrote there by mistake may be a key.
            "that is not a cipher that this node has",
            "use aes-128-gcm, aes-192-gcm, aes-256-gcm or chacha20-poly1305",
        )
    })
}

/// An overlay as it is shown.
async fn whole(shared: &Shared, settings: OverlaySettings) -> ApiResult<Json<WholeOverlay>> {
    let whole = shared.ask(move |engine| {
        Ok(WholeOverlay {
            overlay: seen(Some(engine), &settings)?,
            options: Options::from(&settings),
        })
    });
    whole.await.map(Json)
}

/// What the engine says of it.
fn seen(engine: Option<&Engine>, settings: &OverlaySettings) -> Result<OverlayView, EngineError> {
    let engine = engine.ok_or(EngineError::Stopped)?;
    let entries = engine.overlays();
    let entry = entries.iter().find(|entry| entry.name == settings.name);
    view::overlay(engine, entry.ok_or(EngineError::Unknown)?)
}

/// Changes options of an overlay, for the members, subscriptions and messages that are there, too.
#[utoipa::path(patch, path = "/v1/overlays/{overlay}", tag = "overlays", operation_id = "change_overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")), request_body = OptionsPatch,
    responses((status = 200, description = "It holds, and will at the node's next start", body = WholeOverlay),
        (status = 409, description = "An option cannot change", body = ApiError)))]
async fn change(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    Json(patch): Json<OptionsPatch>,
) -> ApiResult<Json<WholeOverlay>> {
    let changed = shared.change(move |overlays| overlays.change(&overlay, &patch.into_map()));
    whole(&shared, changed.await??).await
}

/// Replaces the options of an overlay: those that are left out are what the node's configuration or the default says.
#[utoipa::path(put, path = "/v1/overlays/{overlay}", tag = "overlays", operation_id = "replace_overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")), request_body = OptionsPatch,
    responses((status = 200, description = "It holds, and will at the node's next start", body = WholeOverlay),
        (status = 409, description = "An option cannot change", body = ApiError)))]
async fn replace(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    Json(options): Json<OptionsPatch>,
) -> ApiResult<Json<WholeOverlay>> {
    let changed = shared.change(move |overlays| overlays.replace(&overlay, &options.into_whole()));
    whole(&shared, changed.await??).await
}

/// Leaves an overlay gracefully and forgets it, with its tokens and its key.
#[utoipa::path(delete, path = "/v1/overlays/{overlay}", tag = "overlays", operation_id = "remove_overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 204, description = "It is left and forgotten"),
        (status = 409, description = "It stands in the node's configuration", body = ApiError)))]
async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<StatusCode> {
    let removed = shared.change(move |overlays| overlays.remove(&overlay));
    removed.await??;
    Ok(StatusCode::NO_CONTENT)
}

/// One overlay with its options.
#[utoipa::path(get, path = "/v1/overlays/{overlay}", tag = "overlays", operation_id = "overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "The overlay", body = WholeOverlay)))]
async fn one(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<WholeOverlay>> {
    let settings = shared.overlays.options(&overlay)?;
    whole(&shared, settings).await
}

/// What is counted of an overlay since it started.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/stats", tag = "statistics", operation_id = "overlay_stats",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "Counters, gauges and peers", body = OverlayStatsView)))]
async fn stats(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<OverlayStatsView>> {
    let stats = shared.ask_overlay(overlay, |engine, id| {
        let members = engine.members(id)?;
        Ok(view::overlay_stats(&stats_of(engine, id)?, &members))
    });
    stats.await.map(Json)
}
