//! The keys of an overlay: who has which, and changing them while it runs: `/v1/overlays/{overlay}/keys`.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use serde::Deserialize;
use tidings_engine::OverlayId;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::query;
use super::reply::Json;
use super::shared::Shared;
use crate::node::{KeyChange, KeysView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list, install))
        .routes(routes!(seal_with))
        .routes(routes!(remove))
}

/// The keys of an overlay, and which members have them.
///
/// Fingerprints tell the same key from another in the same slot. The keys themselves are never told.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/keys", tag = "keys", operation_id = "keys",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "Keys and members", body = KeysView)))]
async fn list(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<KeysView>> {
    let overlays = Arc::clone(&shared.overlays);
    let keys = shared.blocking(move || overlays.keys(&overlay));
    Ok(Json(keys.await??))
}

/// Keys to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKeys {
    /// The text of a keyring, as `tidings keygen` makes it. Which of its keys is primary does not matter.
    keyring: String,
}

/// Adds keys: they open from now on, and seal nothing.
///
/// Those that are there already stay as they are.
#[utoipa::path(post, path = "/v1/overlays/{overlay}/keys", tag = "keys", operation_id = "install_keys",
    params(("overlay" = String, Path, description = "Name of the overlay")), request_body = NewKeys,
    responses((status = 200, description = "They are there, and will be at the node's next start", body = KeysView),
        (status = 409, description = "There is another key in the slot, or the key file cannot be replaced", body = ApiError)))]
async fn install(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    Json(new): Json<NewKeys>,
) -> ApiResult<Json<KeysView>> {
    let change = KeyChange::Install {
        keyring: new.keyring,
        overlay: OverlayId::from_name(&overlay),
    };
    change_keys(&shared, overlay, change).await
}

/// Makes a key the one that seals. Links change over to it within a minute.
#[utoipa::path(post, path = "/v1/overlays/{overlay}/keys/{slot}/use", tag = "keys", operation_id = "use_key",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("slot" = u8, Path, description = "Slot of the key, 0 to 7"),
        ("force" = Option<bool>, Query, description = "Though members lack it")),
    responses((status = 200, description = "It seals", body = KeysView),
        (status = 409, description = "Members lack it, those that are held dead included, or the key file cannot be replaced", body = ApiError)))]
async fn seal_with(
    State(shared): State<Arc<Shared>>,
    Path((overlay, slot)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<KeysView>> {
    let (slot, force) = (slot_of(&slot)?, is_forced(query.as_deref())?);
    change_keys(&shared, overlay, KeyChange::Use { slot, force }).await
}

/// Drops a key.
#[utoipa::path(delete, path = "/v1/overlays/{overlay}/keys/{slot}", tag = "keys", operation_id = "remove_key",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("slot" = u8, Path, description = "Slot of the key, 0 to 7"),
        ("force" = Option<bool>, Query, description = "Though it is in use; never the one that seals here")),
    responses((status = 200, description = "It is gone", body = KeysView),
        (status = 409, description = "It is in use, a member that is held dead lacks the one that seals, or the key file cannot be replaced", body = ApiError)))]
async fn remove(
    State(shared): State<Arc<Shared>>,
    Path((overlay, slot)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<KeysView>> {
    let (slot, force) = (slot_of(&slot)?, is_forced(query.as_deref())?);
    change_keys(&shared, overlay, KeyChange::Remove { slot, force }).await
}

async fn change_keys(
    shared: &Shared,
    overlay: String,
    change: KeyChange,
) -> ApiResult<Json<KeysView>> {
    let changed = shared.change(move |overlays| overlays.change_keys(&overlay, &change));
    Ok(Json(changed.await??))
}

fn slot_of(text: &str) -> ApiResult<u8> {
    match text.as_bytes() {
        [digit @ b'0'..=b'7'] => Ok(digit - b'0'),
        _ => Err(ApiError::bad(
            "bad_slot",
            format!("{text:?} is no slot of a key"),
            "name one of 0 to 7",
        )),
    }
}

fn is_forced(query: Option<&str>) -> ApiResult<bool> {
    let mut force = false;
    for (name, value) in query::pairs(query, &["force"])? {
        force = query::truth(&name, &value)?;
    }
    Ok(force)
}
