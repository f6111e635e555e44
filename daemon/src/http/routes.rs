//! The routes: which there are, what each needs, and the gate in front of them. The table below is the one place that says who
//! may ask for what: a handler without its row here is not reached by anybody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::header::{HOST, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;

use super::auth::{Authority, Level, Peer};
use super::error::ApiError;
use super::shared::Shared;
use super::{
    clients, drain, gossiperl, health, keys, links, members, metrics, node, openapi, overlays,
    passwords, publish, reload, socket, statistics, stream, subscriptions, tokens, trace,
};

/// What one method of one path needs.
#[derive(Clone, Debug)]
pub struct Row {
    /// The method; `HEAD` goes with `GET`.
    pub method: Method,
    /// The path, as the router knows it. An overlay is always `{overlay}`.
    pub path: &'static str,
    /// What it needs.
    pub level: Level,
}

const fn row(method: Method, path: &'static str, level: Level) -> Row {
    Row {
        method,
        path,
        level,
    }
}

/// Every method of every path.
pub const TABLE: &[Row] = &[
    row(Method::GET, "/livez", Level::Open),
    row(Method::GET, "/healthz", Level::Open),
    row(Method::GET, "/readyz", Level::Open),
    row(Method::GET, "/startupz", Level::Open),
    row(Method::GET, "/metrics", Level::Metrics),
    row(Method::GET, "/v1/openapi.json", Level::Open),
    row(Method::GET, "/v1/node", Level::User),
    row(Method::GET, "/v1/stats", Level::User),
    row(Method::GET, "/v1/overlays", Level::User),
    row(Method::POST, "/v1/overlays", Level::User),
    row(Method::POST, "/v1/reload", Level::Superuser),
    row(Method::POST, "/v1/drain", Level::Superuser),
    row(Method::GET, "/v1/overlays/{overlay}", Level::Overlay),
    row(Method::PATCH, "/v1/overlays/{overlay}", Level::Overlay),
    row(Method::PUT, "/v1/overlays/{overlay}", Level::Overlay),
    row(Method::DELETE, "/v1/overlays/{overlay}", Level::Overlay),
    row(
        Method::GET,
        "/v1/overlays/{overlay}/members",
        Level::Overlay,
    ),
    row(Method::GET, "/v1/overlays/{overlay}/keys", Level::Overlay),
    row(
        Method::POST,
        "/v1/overlays/{overlay}/keys",
        Level::Superuser,
    ),
    row(
        Method::POST,
        "/v1/overlays/{overlay}/keys/{slot}/use",
        Level::Superuser,
    ),
    row(
        Method::DELETE,
        "/v1/overlays/{overlay}/keys/{slot}",
        Level::Superuser,
    ),
    row(Method::GET, "/v1/overlays/{overlay}/links", Level::Overlay),
    row(
        Method::GET,
        "/v1/overlays/{overlay}/trace/{topic}",
        Level::Overlay,
    ),
    row(Method::GET, "/v1/overlays/{overlay}/stats", Level::Overlay),
    row(
        Method::GET,
        "/v1/overlays/{overlay}/statistics/{window}",
        Level::Overlay,
    ),
    row(
        Method::POST,
        "/v1/overlays/{overlay}/publish/{topic}",
        Level::Overlay,
    ),
    row(
        Method::GET,
        "/v1/overlays/{overlay}/presence",
        Level::Overlay,
    ),
    row(
        Method::GET,
        "/v1/overlays/{overlay}/subscribe",
        Level::Overlay,
    ),
    row(Method::GET, "/v1/overlays/{overlay}/socket", Level::Overlay),
    row(
        Method::GET,
        "/v1/overlays/{overlay}/subscriptions",
        Level::Overlay,
    ),
    row(Method::GET, "/v1/overlays/{overlay}/tokens", Level::Overlay),
    row(
        Method::POST,
        "/v1/overlays/{overlay}/tokens",
        Level::Overlay,
    ),
    row(
        Method::DELETE,
        "/v1/overlays/{overlay}/tokens/{name}",
        Level::Overlay,
    ),
    row(
        Method::POST,
        "/v1/overlays/{overlay}/tokens/{name}/rotate",
        Level::Overlay,
    ),
    row(Method::GET, "/v1/clients", Level::Superuser),
    row(Method::POST, "/v1/clients", Level::Superuser),
    row(Method::DELETE, "/v1/clients/{name}", Level::Superuser),
    row(Method::POST, "/v1/clients/{name}/rotate", Level::Superuser),
    row(Method::PUT, "/v1/passwords/{user}", Level::Superuser),
    row(Method::GET, "/overlays", Level::User),
    row(Method::POST, "/overlays/{overlay}", Level::User),
    row(Method::PUT, "/overlays/{overlay}", Level::Overlay),
    row(
        Method::PUT,
        "/overlays/{overlay}/{property}",
        Level::Overlay,
    ),
    row(Method::DELETE, "/overlays/{overlay}", Level::Overlay),
    row(Method::GET, "/configuration/{overlay}", Level::Overlay),
    row(Method::GET, "/membership/{overlay}", Level::Overlay),
    row(Method::GET, "/subscriptions/{overlay}", Level::Overlay),
    row(Method::GET, "/statistics/{overlay}", Level::Overlay),
    row(
        Method::GET,
        "/statistics/{overlay}/{window}",
        Level::Overlay,
    ),
    row(Method::POST, "/digest/{overlay}", Level::Overlay),
    row(Method::GET, "/tokens", Level::Superuser),
    row(Method::POST, "/reconfigure", Level::Superuser),
];

/// The routes with their documentation, one module a topic. Whoever adds one adds its rows above.
pub fn documented() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(openapi::routes())
        .merge(node::routes())
        .merge(overlays::routes())
        .merge(members::routes())
        .merge(clients::routes())
        .merge(keys::routes())
        .merge(links::routes())
        .merge(subscriptions::routes())
        .merge(trace::routes())
        .merge(statistics::routes())
        .merge(publish::routes())
        .merge(stream::routes())
        .merge(socket::routes())
        .merge(tokens::routes())
        .merge(passwords::routes())
        .merge(reload::routes())
        .merge(drain::routes())
        .merge(gossiperl::routes())
}

/// The routes behind their gate.
pub fn router(shared: &Arc<Shared>) -> Router {
    let (router, _) = documented().split_for_parts();
    router
        .fallback(no_path)
        .layer(from_fn_with_state(Arc::clone(shared), gate))
        .with_state(Arc::clone(shared))
}

async fn no_path(request: Request) -> ApiError {
    ApiError::no_path(request.uri().path())
}

/// Lets a request through to its handler if whoever sends it may.
async fn gate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match admit(&shared, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn admit(shared: &Arc<Shared>, request: Request) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let Some(path) = parts.extensions.get::<MatchedPath>().cloned() else {
        return Ok(Request::from_parts(parts, body));
    };
    let wanted = match &parts.method {
        method if *method == Method::HEAD => &Method::GET,
        method => method,
    };
    let rows = TABLE.iter().filter(|row| row.path == path.as_str());
    let Some(row) = rows.clone().find(|row| row.method == *wanted) else {
        let allowed: Vec<&str> = rows.map(|row| row.method.as_str()).collect();
        return Err(ApiError::no_method(
            parts.method.as_str(),
            parts.uri.path(),
            &allowed.join(", "),
        ));
    };
    // What begins with an upgrade may do more than look, and no browser asks before it.
    let looks = matches!(parts.method, Method::GET | Method::HEAD);
    if !looks || parts.headers.contains_key(UPGRADE) {
        same_site(&parts.headers)?;
    }
    let level = row.level;
    let overlay = overlay_of(&mut parts).await?;
    let peer = parts.extensions.get::<Peer>().copied();
    // Every connection has its peer; without one nobody is anybody.
    let peer = peer.ok_or_else(ApiError::panicked)?;
    let known = shared.doorman.identify(&parts.headers, peer).await;
    let authority = match known {
        Ok(authority) => authority,
        // Whoever may see the verdict may see it with a wrong password, too.
        Err(_) if level == Level::Open => Authority::Nobody,
        Err(error) => return Err(error),
    };
    let is_open = level == Level::Metrics && shared.metrics_open && peer.is_local();
    if !is_open && !authority.suffices(level, overlay.as_deref()) {
        return Err(refusal(&authority, level));
    }
    parts.extensions.insert(authority);
    Ok(Request::from_parts(parts, body))
}

/// A browser sends the password that it remembers with whatever any page asks: only what our own pages ask changes anything.
fn same_site(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let is_ours = match (
        text(HeaderName::from_static("sec-fetch-site")),
        text(ORIGIN),
    ) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some() && authority == text(HOST)
        }
        // No browser.
        (None, None) => true,
    };
    match is_ours {
        true => Ok(()),
        false => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "a page of another site asked for this",
            "ask without a browser, or from a page of this node",
        )),
    }
}

fn refusal(authority: &Authority, level: Level) -> ApiError {
    if *authority == Authority::Nobody {
        return ApiError::unauthorized(
            "no_credentials",
            "nothing says who asks",
            "send Authorization: Basic with name and password, Authorization: Bearer TOKEN, or X-Session-Token: TOKEN",
        );
    }
    ApiError::forbidden(
        format!("{} may not do this", authority.name()),
        level.name(),
    )
}

/// The overlay that the path names.
async fn overlay_of(parts: &mut axum::http::request::Parts) -> Result<Option<String>, ApiError> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|_| {
        ApiError::bad(
            "bad_path",
            format!("{} holds bytes that are no UTF-8", parts.uri.path()),
            "encode names in UTF-8, then as %XX",
        )
    })?;
    let found = params.iter().find(|(key, _)| *key == "overlay");
    Ok(found.map(|(_, value)| value.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_documented_operation_has_its_row_and_every_row_its_operation() {
        let document = serde_json::to_value(openapi::document()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                documented.insert((path.clone(), method.to_uppercase()));
            }
        }
        let rows: BTreeSet<_> = TABLE
            .iter()
            .map(|row| (row.path.to_owned(), row.method.to_string()))
            .collect();
        assert_eq!(documented, rows);
        assert_eq!(rows.len(), TABLE.len(), "no row is there twice");
        for row in TABLE {
            // Whose token it is could not be told otherwise.
            let names_one = row.path.contains("{overlay}");
            assert!(row.level != Level::Overlay || names_one, "{}", row.path);
        }
    }
}
