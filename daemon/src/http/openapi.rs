//! The OpenAPI document: paths and values come from the handlers, what is common to all of them (who may, which errors) from
//! the table of `routes`. Made when it is asked for, so that it takes no memory before.

use std::sync::Arc;

use axum::Extension;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Authority, Level};
use super::error::ApiError;
use super::reply::Json;
use super::routes::{self as table, TABLE};
use super::shared::Shared;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// What the document begins with.
pub fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tidings")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Management of one Tidings node. Every error answer is {error, detail, hint}: a stable code, what is wrong, what to do. \
             Over the Unix socket a process of the daemon's user is superuser without a password.",
        ))
        .build();
    let mut components = Components::new();
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
    let basic = basic.description(Some(
        "superuser:PASSWORD, user:PASSWORD, or OVERLAY:TOKEN for what belongs to that overlay",
    ));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("A token of an overlay"));
    let session = ApiKeyValue::with_description("X-Session-Token", "A token of an overlay");
    for (name, scheme) in [
        ("basic", SecurityScheme::Http(basic.build())),
        ("bearer", SecurityScheme::Http(bearer.build())),
        ("session", SecurityScheme::ApiKey(ApiKey::Header(session))),
    ] {
        components.add_security_scheme(name, scheme);
    }
    let mut document = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build();
    // The one form of errors.
    document.merge(errors());
    document
}

fn errors() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(components(schemas(ApiError)))]
    struct Errors;
    <Errors as utoipa::OpenApi>::openapi()
}

/// The whole document.
pub fn document() -> OpenApi {
    let (_, mut document) = table::documented().split_for_parts();
    for row in TABLE {
        let item = document.paths.paths.get_mut(row.path);
        if let Some(operation) = item.and_then(|item| operation(item, row.method.as_str())) {
            complete(operation, row.path, row.level);
        }
    }
    document
}

fn operation<'a>(item: &'a mut PathItem, method: &str) -> Option<&'a mut Operation> {
    match method {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "PUT" => item.put.as_mut(),
        "PATCH" => item.patch.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None,
    }
}

/// Adds who may, and what can go wrong with every operation of its kind.
fn complete(operation: &mut Operation, path: &str, level: Level) {
    let schemes: &[&str] = match level {
        Level::Open => &[],
        Level::User | Level::Metrics | Level::Superuser => &["basic"],
        Level::Overlay => &["basic", "bearer", "session"],
    };
    let mut security: Vec<_> = schemes
        .iter()
        .map(|scheme| SecurityRequirement::new(*scheme, Vec::<String>::new()))
        .collect();
    if level == Level::Open {
        security.push(SecurityRequirement::default());
    }
    operation.security = Some(security);
    let mut told = vec![
        ("431", "Path and headers are too long"),
        ("500", "The service failed at this request"),
        ("503", "The node is busy or stopping"),
    ];
    if path.contains('{') {
        told.push((
            "400",
            "A name in the path, or the body, is not what is wanted",
        ));
        told.push(("404", "There is no such overlay, user or token"));
    }
    if level != Level::Open {
        told.push(("401", "Credentials are missing or not valid"));
        told.push(("403", "They do not suffice"));
        told.push(("429", "Too many wrong credentials, or too many at a time"));
    }
    if let Some(body) = &operation.request_body {
        told.push(("413", "The body is too large"));
        let is_json =
            matches!(body, RefOr::T(body) if body.content.contains_key("application/json"));
        if is_json {
            told.push(("415", "The body is not said to be JSON"));
        }
    }
    told.push(("405", "There is no such method here"));
    for (status, what) in told {
        let responses = &mut operation.responses.responses;
        responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(error(what)));
    }
}

fn error(what: &str) -> utoipa::openapi::Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ApiError")))
        .build();
    ResponseBuilder::new()
        .description(what)
        .content("application/json", content)
        .build()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
async fn openapi(Extension(_): Extension<Authority>) -> Json<serde_json::Value> {
    Json(serde_json::to_value(document()).unwrap_or(json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_says_who_may_and_how_it_may_fail() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["components"]["schemas"]["ApiError"].is_object());
        for row in TABLE {
            let method = row.method.as_str().to_lowercase();
            let operation = &document["paths"][row.path][&method];
            let has = |status: &str| operation["responses"][status].is_object();
            assert!(operation["security"].is_array(), "{}", row.path);
            assert_eq!(has("401"), row.level != Level::Open, "{}", row.path);
            assert_eq!(has("413"), operation["requestBody"].is_object());
            assert!(has("500") && has("503") && has("405"), "{}", row.path);
            let good = operation["responses"].as_object().unwrap();
            let is_good = |status: &String| status.starts_with('2') || status == "101";
            assert!(good.keys().any(is_good));
        }
    }
}
