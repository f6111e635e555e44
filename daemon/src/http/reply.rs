//! Bodies: JSON out, JSON in. Every handler answers through [`Json`], and takes a body as one; what is wrong with a body is
//! told with its line, column and key.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body;
use super::error::ApiError;

/// JSON out with status 200, or in.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// An answer of `status` with `value` as its body.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let (status, text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        // Maps with keys that are no texts: none of ours has them.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec()),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    // What is true now, and may be for few eyes.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers().get(CONTENT_TYPE)) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the body is not said to be JSON",
                "send it with Content-Type: application/json",
            ));
        }
        object(&body::whole(request).await?).map(Self)
    }
}

/// Reads an object. The fields of an array would be taken for it in their order, which no document says.
fn object<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    if text.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::bad(
            "bad_json",
            "the body is not what is wanted: an array instead of an object",
            "mend the body; /v1/openapi.json shows what each request takes",
        ));
    }
    parse(text)
}

/// Reads `text`, telling where it is wrong.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let key = match path.as_str() {
            "." => String::new(),
            path => format!(", at {path}"),
        };
        ApiError::bad(
            "bad_json",
            format!(
                "the body is not what is wanted{key}: {}",
                without_value(&error.inner().to_string())
            ),
            "mend the body; /v1/openapi.json shows what each request takes",
        )
    })?;
    reader.end().map_err(|error| {
        ApiError::bad(
            "bad_json",
            format!("the body goes on after its end: {error}"),
            "send one JSON value",
        )
    })?;
    Ok(read)
}

/// The text of an error without the value that it is about, which may be a password in the wrong place.
fn without_value(text: &str) -> String {
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some((_, rest)) = text
            .strip_prefix(kind)
            .and_then(|t| t.rsplit_once(", expected "))
        {
            return format!("{kind}expected {rest}");
        }
    }
    text.to_owned()
}

fn is_json(kind: Option<&HeaderValue>) -> bool {
    let Some(text) = kind.and_then(|kind| kind.to_str().ok()) else {
        return false;
    };
    let name = text.split(';').next().unwrap_or_default().trim();
    name.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        #[serde(rename = "count")]
        _count: u32,
    }

    #[test]
    fn bad_json_is_told_with_its_place_and_key() {
        for (text, wanted) in [
            ("{", "line 1 column 1"),
            (
                "{\n\"count\": \"x\"}",
                "at count: invalid type: expected u32 at line 2",
            ),
            ("{\"cuont\": 1}", "unknown field `cuont`"),
            ("{\"count\": 1} x", "goes on after its end"),
            ("", "line 1 column 0"),
            (" [1]", "an array instead of an object"),
        ] {
            let error = object::<Wanted>(text.as_bytes()).expect_err("a mistake");
            let told = serde_json::to_string(&error).unwrap();
            assert!(told.contains(&wanted.replace('"', "\\\"")), "{told}");
        }
    }
}
