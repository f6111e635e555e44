//! Changing a user's password: `/v1/passwords/{user}`. How passwords are kept is in `auth/passwords.rs`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::credential::User;
use super::error::{ApiError, ApiResult};
use super::reply::Json;
use super::shared::Shared;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(change))
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// 12 to 256 bytes without control characters.
    #[schema(example = "correct horse battery staple")]
    password: String,
}

/// Replaces a user's password. The old one is refused from now on.
#[utoipa::path(put, path = "/v1/passwords/{user}", tag = "passwords", operation_id = "change_password",
    params(("user" = String, Path, description = "`superuser` or `user`")), request_body = NewPassword,
    responses((status = 204, description = "It counts from now on")))]
async fn change(
    State(shared): State<Arc<Shared>>,
    Path(user): Path<String>,
    Json(new): Json<NewPassword>,
) -> ApiResult<StatusCode> {
    let user = User::named(&user).ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "no_user",
            format!("there is no user {user:?}"),
            "the users are superuser and user",
        )
    })?;
    let passwords = shared.doorman.passwords();
    passwords.change(user.name(), new.password).await?;
    tracing::info!(
        user = user.name(),
        "a password of the management service was changed"
    );
    Ok(StatusCode::NO_CONTENT)
}
