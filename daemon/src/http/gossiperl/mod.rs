//! The paths of Gossiperl, for programs that were written for it: its authorities, names and statuses in front of what the paths
//! under `/v1` do. What differs, and why, is in docs/management.md.

mod options;
mod overlays;
mod told;

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Authority, tokens};
use super::error::{ApiError, ApiResult};
use super::reply::{self, Json};
use super::shared::Shared;
use super::{body, publish, wall};

/// The routes of this folder.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .merge(overlays::routes())
        .merge(told::routes())
        .routes(routes!(digest))
        .routes(routes!(all_tokens))
        .routes(routes!(reconfigure))
}

/// What ends most answers.
#[derive(Serialize, ToSchema)]
struct Done {
    /// What was asked for.
    #[schema(value_type = String, example = "overlays")]
    operation: &'static str,
    /// Now, in seconds since 1970.
    timestamp: u64,
}

impl Done {
    fn now(operation: &'static str) -> Self {
        let timestamp = wall::seconds();
        Self {
            operation,
            timestamp,
        }
    }
}

/// The body as a JSON value, whatever it is said to be: Gossiperl did not look.
async fn value(request: Request) -> ApiResult<Value> {
    reply::parse(&body::whole(request).await?)
}

/// The same as an object.
async fn object(request: Request) -> ApiResult<Map<String, Value>> {
    match value(request).await? {
        Value::Object(object) => Ok(object),
        _ => Err(ApiError::bad(
            "bad_json",
            "the body is no JSON object",
            "send one: {\"name\": value}",
        )),
    }
}

/// A refusal with the status that Gossiperl has for it.
fn conflict(error: &'static str, detail: String, hint: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, error, detail, hint.into())
}

/// Publishes what is beside `type`, as JSON, on the topic that `type` names.
#[utoipa::path(post, path = "/digest/{overlay}", tag = "gossiperl", operation_id = "gossiperl_digest",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    request_body(content = Value, description = "`type`, which is the topic, and the fields of the message", content_type = "application/json"),
    responses((status = 202, description = "It is published", body = Value),
        (status = 409, description = "The form is Gossiperl's own, or names a recipient", body = ApiError)))]
async fn digest(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    request: Request,
) -> ApiResult<Response> {
    let (topic, message) = message(object(request).await?)?;
    publish::accept(&shared, &overlay, &topic, message).await?;
    let answer = json!({ "status": "ok" });
    Ok(reply::json(StatusCode::ACCEPTED, &answer))
}

/// Topic and bytes of a message of JSON.
fn message(mut fields: Map<String, Value>) -> ApiResult<(String, Bytes)> {
    if fields.contains_key("recipient_ip") || fields.contains_key("recipient_port") {
        return Err(conflict(
            "no_recipient",
            "nothing is sent to one address alone".to_owned(),
            "leave recipient_ip and recipient_port out: whoever has subscribed gets the message",
        ));
    }
    let topic = match fields.remove("type") {
        Some(Value::String(topic)) => topic,
        Some(_) => {
            return Err(ApiError::bad(
                "bad_type",
                "`type` is no text",
                "name the topic by it",
            ));
        }
        // Thrift's numbers of fields, in the order in which they stand.
        None if fields.len() == 1 && fields.values().all(Value::is_array) => {
            return Err(conflict(
                "old_form",
                "the message has the form {type: [{field: value, kind: order}]}".to_owned(),
                "send {\"type\": TOPIC, \"field\": value}: kinds and orders are not needed any more",
            ));
        }
        None => {
            return Err(ApiError::bad(
                "no_type",
                "nothing says what the topic is",
                "send {\"type\": TOPIC, \"field\": value}",
            ));
        }
    };
    // Texts and values: they can be written.
    let text = serde_json::to_vec(&fields).unwrap_or_default();
    Ok((topic, text.into()))
}

/// The tokens of all overlays.
#[derive(Serialize, ToSchema)]
struct AllTokens {
    /// Overlay and name of each. Secrets are not kept.
    #[schema(value_type = Vec<Value>, example = json!([{ "news": "first" }]))]
    tokens: Vec<Value>,
    #[serde(flatten)]
    done: Done,
}

/// The names of the tokens of all overlays.
#[utoipa::path(get, path = "/tokens", tag = "gossiperl", operation_id = "gossiperl_tokens",
    responses((status = 200, description = "By overlay", body = AllTokens)))]
async fn all_tokens(
    State(shared): State<Arc<Shared>>,
    Extension(_): Extension<Authority>,
) -> Json<AllTokens> {
    let now = wall::seconds();
    let tokens = shared.state.read(|state| {
        let names = state.overlays.keys();
        let each = names.flat_map(|overlay| {
            let tokens = tokens::list(state, overlay, now).into_iter();
            tokens.map(move |token| json!({ overlay.as_str(): token.name }))
        });
        each.collect()
    });
    Json(AllTokens {
        tokens,
        done: Done::now("tokens"),
    })
}

/// What a reload did.
#[derive(Serialize, ToSchema)]
struct Reconfigured {
    /// `reconfigured`.
    #[schema(value_type = String, example = "reconfigured")]
    status: &'static str,
    /// What holds now.
    applied: Vec<String>,
    /// What does not, and why.
    refused: Vec<String>,
    #[serde(flatten)]
    done: Done,
}

/// Reads the configuration again.
#[utoipa::path(post, path = "/reconfigure", tag = "gossiperl", operation_id = "gossiperl_reconfigure",
    responses((status = 202, description = "What holds now, and what does not", body = Reconfigured),
        (status = 400, description = "The configuration has mistakes; nothing was changed", body = ApiError)))]
async fn reconfigure(State(shared): State<Arc<Shared>>) -> ApiResult<Response> {
    let again = Arc::clone(&shared);
    let report = shared.change(move |_| again.reload()).await??;
    let answer = Reconfigured {
        status: "reconfigured",
        applied: report.applied,
        refused: report.refused,
        done: Done::now("reconfigure"),
    };
    Ok(reply::json(StatusCode::ACCEPTED, &answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ApiResult<(String, Bytes)> {
        message(reply::parse(text.as_bytes())?)
    }

    #[test]
    fn a_message_is_what_stands_beside_its_type_in_any_order() {
        for text in [
            r#"{"type": "orders.new", "id": 1, "of": ["a"]}"#,
            r#"{"of": ["a"], "id": 1, "type": "orders.new"}"#,
        ] {
            let (topic, bytes) = read(text).unwrap();
            assert_eq!(topic, "orders.new");
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(value, json!({ "id": 1, "of": ["a"] }));
        }
        for (text, code) in [
            (r#"{"id": 1}"#, "no_type"),
            (r#"{"type": 1}"#, "bad_type"),
            (r#"{"some": [{"id": 1, "i32": 1}]}"#, "old_form"),
            (r#"{"type": "t", "recipient_ip": "::1"}"#, "no_recipient"),
            (r#"{"type": "t""#, "bad_json"),
        ] {
            assert_eq!(read(text).expect_err(text).code(), code);
        }
    }
}
