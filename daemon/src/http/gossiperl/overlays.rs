//! Overlays by Gossiperl's paths: listed, made, changed, removed, under `/overlays`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use subtle::ConstantTimeEq;
use tidings_engine::{Engine, Suite};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::options::{self, Asked, Here};
use super::{Done, conflict, object, value};
use crate::http::auth::tokens;
use crate::http::error::{ApiError, ApiResult};
use crate::http::reply::{self, Json};
use crate::http::shared::Shared;
use crate::http::wall;
use crate::node::Wish;

/// Name of the token that comes with an overlay.
const TOKEN: &str = "first";

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(add, replace, remove))
        .routes(routes!(set))
}

/// Overlays by name.
#[derive(Serialize, ToSchema)]
struct Names {
    /// Those that run here.
    overlays: Vec<String>,
    #[serde(flatten)]
    done: Done,
}

/// An overlay that was made.
#[derive(Serialize, ToSchema)]
struct Added {
    /// The secret of its first token, which nobody is told again.
    token: String,
    #[serde(flatten)]
    names: Names,
}

/// An overlay that was changed.
#[derive(Serialize, ToSchema)]
struct Changed {
    /// Its name.
    overlay: String,
    /// The option that was set, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    property: Option<String>,
    #[serde(flatten)]
    done: Done,
}

async fn names(shared: &Shared, operation: &'static str) -> ApiResult<Names> {
    let list = |engine: &Engine| {
        let entries = engine.overlays().into_iter();
        Ok(entries.map(|entry| entry.name).collect())
    };
    Ok(Names {
        overlays: shared.ask(list).await?,
        done: Done::now(operation),
    })
}

/// The node, as far as options are about it.
pub async fn here(shared: &Shared) -> ApiResult<Here> {
    let name = shared.facts.name.clone();
    let of_node =
        |engine: &tidings_engine::Engine| (engine.local_addr(), engine.discovery().clone());
    let (bind, discovery) = shared.ask(move |engine| Ok(of_node(engine))).await?;
    Ok(Here {
        name,
        bind,
        discovery,
    })
}

/// Wrong options are a conflict there.
fn as_there(error: ApiError) -> ApiError {
    match error.code() {
        "bad_options" => error.with_status(StatusCode::CONFLICT),
        _ => error,
    }
}

/// The overlays that run here.
#[utoipa::path(get, path = "/overlays", tag = "gossiperl", operation_id = "gossiperl_overlays",
    responses((status = 200, description = "Their names", body = Names)))]
async fn list(State(shared): State<Arc<Shared>>) -> ApiResult<Json<Names>> {
    names(&shared, "overlays").await.map(Json)
}

/// Makes an overlay and starts it. The header `x-session-token` has its token, too.
#[utoipa::path(post, path = "/overlays/{overlay}", tag = "gossiperl", operation_id = "gossiperl_add_overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    request_body(content = Value, description = "Gossiperl's options; symmetric_key is needed", content_type = "application/json"),
    responses((status = 201, description = "It runs", body = Added),
        (status = 409, description = "There is one of that name, or an option cannot be", body = ApiError),
        (status = 412, description = "There are no seeds of its rack", body = ApiError)))]
async fn add(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    request: Request,
) -> ApiResult<Response> {
    let Asked { options, keyring } =
        options::whole(&object(request).await?, &here(&shared).await?)?;
    let Some(keyring) = keyring else {
        return Err(conflict(
            "no_key",
            "symmetric_key is missing".to_owned(),
            "give 64 hexadecimal digits, the same at every node; POST /v1/overlays makes a key of its own",
        ));
    };
    let wish = Wish {
        name: overlay.clone(),
        options,
        keyring: Some(keyring),
        suite: Suite::Aes256Gcm,
    };
    let made = shared.change(move |overlays| {
        let now = wall::seconds();
        overlays.create(wish, |state| {
            tokens::create(state, &overlay, TOKEN, None, now)
        })
    });
    let made: ApiResult<_> = made.await?;
    let (_, (_, secret)) = made.map_err(as_there)?;
    let header = HeaderValue::from_str(&secret).ok();
    let added = Added {
        token: secret,
        names: names(&shared, "add_overlay").await?,
    };
    let mut response = reply::json(StatusCode::CREATED, &added);
    if let Some(mut header) = header {
        header.set_sensitive(true);
        let name = HeaderName::from_static("x-session-token");
        response.headers_mut().insert(name, header);
    }
    Ok(response)
}

/// Replaces all options of an overlay: those that are left out are the default.
#[utoipa::path(put, path = "/overlays/{overlay}", tag = "gossiperl", operation_id = "gossiperl_reconfigure_overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    request_body(content = Value, description = "Gossiperl's options", content_type = "application/json"),
    responses((status = 200, description = "It holds, and will at the node's next start", body = Changed),
        (status = 409, description = "An option cannot be, or cannot change", body = ApiError),
        (status = 412, description = "There are no seeds of its rack", body = ApiError)))]
async fn replace(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    request: Request,
) -> ApiResult<Json<Changed>> {
    let asked = options::whole(&object(request).await?, &here(&shared).await?)?;
    shared.runs(&overlay).await?;
    if let Some(keyring) = &asked.keyring
        && !is_kept(&shared, &overlay, keyring)
    {
        return Err(conflict(
            "unchangeable",
            "symmetric_key is not the key that the overlay has, or that is in a file of its own"
                .to_owned(),
            "leave it out; a key does not change while the overlay runs",
        ));
    }
    let name = overlay.clone();
    let changed = shared.change(move |overlays| overlays.replace(&name, &asked.options));
    changed.await?.map_err(|refusal| as_there(refusal.into()))?;
    Ok(Json(Changed {
        overlay,
        property: None,
        done: Done::now("reconfigure_overlay"),
    }))
}

/// Whether an overlay was made here with this keyring.
fn is_kept(shared: &Shared, overlay: &str, keyring: &str) -> bool {
    shared.state.read(|state| {
        let kept = state.overlays.get(overlay);
        let kept = kept.and_then(|kept| kept.keyring.as_deref());
        kept.is_some_and(|kept| kept.as_bytes().ct_eq(keyring.as_bytes()).into())
    })
}

/// Sets one option of an overlay. The body is its value, as JSON.
#[utoipa::path(put, path = "/overlays/{overlay}/{property}", tag = "gossiperl", operation_id = "gossiperl_reconfigure_property",
    params(("overlay" = String, Path, description = "Name of the overlay"), ("property" = String, Path, description = "Gossiperl's name of the option")),
    request_body(content = Value, description = "The value", content_type = "application/json"),
    responses((status = 202, description = "It holds, and will at the node's next start", body = Changed),
        (status = 409, description = "The option cannot be, or cannot change", body = ApiError),
        (status = 412, description = "There are no seeds of its rack", body = ApiError)))]
async fn set(
    State(shared): State<Arc<Shared>>,
    Path((overlay, property)): Path<(String, String)>,
    request: Request,
) -> ApiResult<Response> {
    let here = here(&shared).await?;
    let patch = options::property(&property, &value(request).await?, &here)?;
    let name = overlay.clone();
    let changed = shared.change(move |overlays| overlays.change(&name, &patch));
    changed.await?.map_err(|refusal| as_there(refusal.into()))?;
    let changed = Changed {
        overlay,
        property: Some(property),
        done: Done::now("reconfigure_overlay"),
    };
    Ok(reply::json(StatusCode::ACCEPTED, &changed))
}

/// Leaves an overlay gracefully and forgets it.
#[utoipa::path(delete, path = "/overlays/{overlay}", tag = "gossiperl", operation_id = "gossiperl_remove_overlay",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 202, description = "It is left and forgotten; the others", body = Names),
        (status = 409, description = "It stands in the node's configuration", body = ApiError)))]
async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
) -> ApiResult<Response> {
    let removed = shared.change(move |overlays| overlays.remove(&overlay));
    removed.await??;
    let left = names(&shared, "remove_overlay").await?;
    Ok(reply::json(StatusCode::ACCEPTED, &left))
}
