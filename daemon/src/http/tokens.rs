//! Tokens of an overlay: `/v1/overlays/{overlay}/tokens`. What they are is in `auth/tokens.rs`. A secret is told once, in the
//! answer that makes it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::tokens;
use super::error::ApiResult;
use super::reply::{self, Json};
use super::shared::Shared;
use super::wall;
use crate::state::Token;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
        .routes(routes!(rotate))
}

/// A token, without its secret.
#[derive(Serialize, ToSchema)]
struct TokenView {
    /// Its name within the overlay.
    #[schema(example = "grafana")]
    name: String,
    /// When it was made, in s since 1970.
    created: u64,
    /// From when on it is refused; null: never.
    expires: Option<u64>,
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub struct NewToken {
    #[serde(flatten)]
    token: TokenView,
    /// Its secret, which nobody is told again.
    #[schema(example = "tt_mFb0c2YkY0tq2mWn8yqv0Jr1mVh4n0mS3b1r9cX5Z2E")]
    secret: String,
}

/// What token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenWish {
    /// Its name within the overlay: 1 to 64 of a-z A-Z 0-9 . _ -
    #[schema(example = "grafana")]
    name: String,
    /// For how many seconds it is valid; left out: until it is revoked.
    expires_in_s: Option<u64>,
}

/// How to replace a secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenRotation {
    /// For how many seconds the old secret stays valid.
    #[serde(default)]
    #[schema(example = 3600)]
    grace_s: u64,
}

fn view(token: Token) -> TokenView {
    TokenView {
        name: token.name,
        created: token.created,
        expires: token.expires,
    }
}

impl From<(Token, String)> for NewToken {
    fn from((token, secret): (Token, String)) -> Self {
        let token = view(token);
        Self { token, secret }
    }
}

fn told(made: (Token, String)) -> Response {
    reply::json(StatusCode::CREATED, &NewToken::from(made))
}

/// The tokens of an overlay.
///
/// A secret that was rotated and is still valid is listed, too, with its end.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/tokens", tag = "tokens", operation_id = "list_tokens",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "The oldest first", body = Vec<TokenView>)))]
async fn list(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Json<Vec<TokenView>>> {
    shared.runs(&overlay).await?;
    let now = wall::seconds();
    let tokens = shared
        .state
        .read(|state| tokens::list(state, &overlay, now));
    Ok(Json(tokens.into_iter().map(view).collect()))
}

/// Makes a token.
#[utoipa::path(post, path = "/v1/overlays/{overlay}/tokens", tag = "tokens", operation_id = "create_token",
    params(("overlay" = String, Path, description = "Name of the overlay")), request_body = TokenWish,
    responses((status = 201, description = "The token with its secret", body = NewToken),
        (status = 409, description = "There is one of that name, or there are too many", body = super::error::ApiError)))]
async fn create(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    Json(wish): Json<TokenWish>,
) -> ApiResult<Response> {
    let overlays = Arc::clone(&shared.overlays);
    let made = shared.blocking(move || {
        let (name, seconds, now) = (&wish.name, wish.expires_in_s, wall::seconds());
        overlays.change_kept(&overlay, |state| {
            tokens::create(state, &overlay, name, seconds, now)
        })
    });
    made.await?.map(told)
}

/// Ends a token.
#[utoipa::path(delete, path = "/v1/overlays/{overlay}/tokens/{name}", tag = "tokens", operation_id = "revoke_token",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("name" = String, Path, description = "Name of the token")),
    responses((status = 204, description = "It is refused from now on")))]
async fn revoke(
    State(shared): State<Arc<Shared>>,
    Path((overlay, name)): Path<(String, String)>,
) -> ApiResult<StatusCode> {
    let overlays = Arc::clone(&shared.overlays);
    let ended = shared.blocking(move || {
        overlays.change_kept(&overlay, |state| tokens::revoke(state, &overlay, &name))
    });
    ended.await?.map(|()| StatusCode::NO_CONTENT)
}

/// Replaces the secret of a token.
#[utoipa::path(post, path = "/v1/overlays/{overlay}/tokens/{name}/rotate", tag = "tokens", operation_id = "rotate_token",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("name" = String, Path, description = "Name of the token")),
    request_body = TokenRotation,
    responses((status = 201, description = "The token with its new secret", body = NewToken)))]
async fn rotate(
    State(shared): State<Arc<Shared>>,
    Path((overlay, name)): Path<(String, String)>,
    Json(rotation): Json<TokenRotation>,
) -> ApiResult<Response> {
    let overlays = Arc::clone(&shared.overlays);
    let made = shared.blocking(move || {
        let (grace, now) = (rotation.grace_s, wall::seconds());
        overlays.change_kept(&overlay, |state| {
            tokens::rotate(state, &overlay, &name, grace, now)
        })
    });
    made.await?.map(told)
}
