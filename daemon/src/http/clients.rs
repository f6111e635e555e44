//! Clients that attach by name and secret: who may, and what each may do: `/v1/clients`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::reply::{self, Json};
use super::shared::Shared;
use crate::node::{ClientRefusal, ClientRights, ClientView, NewSecret};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(remove))
        .routes(routes!(rotate))
}

/// The clients that may attach by name and secret, and what each may do.
#[utoipa::path(get, path = "/v1/clients", tag = "clients", operation_id = "list_clients",
    responses((status = 200, description = "By name", body = Vec<ClientView>)))]
async fn list(State(shared): State<Arc<Shared>>) -> ApiResult<Json<Vec<ClientView>>> {
    let clients = Arc::clone(shared.overlays.clients());
    shared.blocking(move || clients.list()).await.map(Json)
}

/// A client to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewClient {
    /// Its name: 1 to 64 of `a-z A-Z 0-9 . _ -`.
    #[schema(example = "worker")]
    name: String,
    /// Overlays that it may use; `*` stands for all.
    #[schema(example = json!(["news"]))]
    overlays: Vec<String>,
    /// Patterns of topics that it may publish on.
    #[serde(default)]
    #[schema(example = json!(["orders.*"]))]
    publish: Vec<String>,
    /// Patterns that it may subscribe to, or narrower ones.
    #[serde(default)]
    #[schema(example = json!(["*"]))]
    subscribe: Vec<String>,
}

/// Adds a client. Its secret is told in this answer alone.
#[utoipa::path(post, path = "/v1/clients", tag = "clients", operation_id = "add_client", request_body = NewClient,
    responses((status = 201, description = "It may attach from now on", body = NewSecret),
        (status = 400, description = "Name or patterns are none", body = ApiError),
        (status = 409, description = "There is one of that name, or there are too many", body = ApiError)))]
async fn add(State(shared): State<Arc<Shared>>, Json(new): Json<NewClient>) -> ApiResult<Response> {
    let clients = Arc::clone(shared.overlays.clients());
    let rights = ClientRights {
        overlays: new.overlays,
        publish: new.publish,
        subscribe: new.subscribe,
    };
    let added = shared.blocking(move || clients.add(&new.name, rights));
    Ok(reply::json(StatusCode::CREATED, &added.await??))
}

/// Removes a client. Its session ends; what is owed to it is given up when its time is over.
#[utoipa::path(delete, path = "/v1/clients/{name}", tag = "clients", operation_id = "remove_client",
    params(("name" = String, Path, description = "Name of the client")),
    responses((status = 204, description = "It may attach no more"),
        (status = 404, description = "There is none of that name", body = ApiError),
        (status = 409, description = "It stands in the client file", body = ApiError)))]
async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    let clients = Arc::clone(shared.overlays.clients());
    shared.blocking(move || clients.remove(&name)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a client another secret. The old one counts no more; a session under it ends.
#[utoipa::path(post, path = "/v1/clients/{name}/rotate", tag = "clients", operation_id = "rotate_client",
    params(("name" = String, Path, description = "Name of the client")),
    responses((status = 201, description = "The new secret", body = NewSecret),
        (status = 404, description = "There is none of that name", body = ApiError),
        (status = 409, description = "It stands in the client file", body = ApiError)))]
async fn rotate(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let clients = Arc::clone(shared.overlays.clients());
    let rotated = shared.blocking(move || clients.rotate(&name));
    Ok(reply::json(StatusCode::CREATED, &rotated.await??))
}

impl From<ClientRefusal> for ApiError {
    fn from(refusal: ClientRefusal) -> Self {
        let (text, hint) = (refusal.to_string(), refusal.remedy());
        let (status, code) = match refusal {
            ClientRefusal::BadName(_) => (StatusCode::BAD_REQUEST, "bad_name"),
            ClientRefusal::BadRight(_) => (StatusCode::BAD_REQUEST, "bad_pattern"),
            ClientRefusal::TooMany => (StatusCode::CONFLICT, "too_many"),
            ClientRefusal::Exists(_) => (StatusCode::CONFLICT, "exists"),
            ClientRefusal::Unknown(_) => (StatusCode::NOT_FOUND, "no_client"),
            ClientRefusal::InFile(_) => (StatusCode::CONFLICT, "configured"),
            ClientRefusal::Randomness(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            ClientRefusal::State(error) => return Self::from(error),
        };
        Self::new(status, code, text, hint)
    }
}
