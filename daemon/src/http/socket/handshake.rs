//! The handshake of WebSocket (RFC 6455, section 4.2): what a request has to say, and the answer after which both ends speak in
//! frames. Called by the route; what is wrong is an error as of any other request.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::frames::Protocol;
use crate::http::error::{ApiError, ApiResult};

/// What the answer is computed with: it shows that the server knows the protocol, and protects nothing.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that can be answered.
pub struct Asked {
    /// Ready when the answer has gone out.
    pub upgraded: OnUpgrade,
    /// In which form messages come.
    pub protocol: Protocol,
    accept: String,
    is_named: bool,
}

impl Asked {
    /// Checks `request`.
    pub fn of(request: &mut Request) -> ApiResult<Self> {
        let headers = request.headers();
        let asks = lists(headers, CONNECTION, "upgrade") && lists(headers, UPGRADE, "websocket");
        // What goes for GET goes for HEAD, too, but nothing can follow its answer.
        if !asks || request.method() != Method::GET {
            return Err(ApiError::upgrade_required());
        }
        if request.version() != Version::HTTP_11 {
            return Err(bad("a WebSocket begins with HTTP/1.1", "speak HTTP/1.1"));
        }
        let version = headers.get(SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|version| version != "13") {
            return Err(bad(
                "Sec-WebSocket-Version is not 13",
                "send Sec-WebSocket-Version: 13",
            ));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
        let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
        let key = key.ok_or_else(|| {
            bad(
                "Sec-WebSocket-Key is not 16 bytes in base64",
                "send 16 random bytes in base64",
            )
        })?;
        let accept = accept(key);
        let protocol = protocol(headers)?;
        Ok(Self {
            accept,
            is_named: protocol.is_some(),
            protocol: protocol.unwrap_or_default(),
            upgraded: hyper::upgrade::on(request),
        })
    }

    /// The answer.
    pub fn answer(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Base64 is a header's value.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.is_named {
            let name = HeaderValue::from_static(self.protocol.name());
            headers.insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        response
    }
}

fn bad(detail: &'static str, hint: &'static str) -> ApiError {
    ApiError::bad("bad_handshake", detail, hint)
}

fn accept(key: &[u8]) -> String {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(GUID);
    STANDARD.encode(digest.finish())
}

/// The words of a header that is a list.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|there| there.eq_ignore_ascii_case(word))
}

/// The first subprotocol of ours that the client lists; none: it lists none at all.
fn protocol(headers: &HeaderMap) -> ApiResult<Option<Protocol>> {
    let mut wanted = words(headers, SEC_WEBSOCKET_PROTOCOL).filter(|word| !word.is_empty());
    let Some(first) = wanted.next() else {
        return Ok(None);
    };
    let found = std::iter::once(first).chain(wanted).find_map(Protocol::of);
    found.map(Some).ok_or_else(|| {
        ApiError::bad(
            "bad_subprotocol",
            format!("{first:?} is not spoken here"),
            "list tidings.json or tidings.binary in Sec-WebSocket-Protocol, or leave it out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().append(name, value);
        }
        request
    }

    const GOOD: [(&str, &str); 4] = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        let asked = Asked::of(&mut request(&GOOD)).unwrap_or_else(|_| panic!("it is good"));
        let answer = asked.answer();
        assert_eq!(answer.status(), 101);
        let header = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap());
        let accept = header("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(header("sec-websocket-protocol"), None);
    }

    #[test]
    fn what_is_missing_is_told() {
        for (at, value, code) in [
            (0, "keep-alive", "upgrade_required"),
            (1, "h2c", "upgrade_required"),
            (2, "8", "bad_handshake"),
            (3, "short", "bad_handshake"),
            (3, "", "bad_handshake"),
        ] {
            let mut headers = GOOD;
            headers[at].1 = value;
            let refused = Asked::of(&mut request(&headers)).err();
            assert_eq!(refused.map(|error| error.code()), Some(code), "{value:?}");
        }
        let mut head = request(&GOOD);
        *head.method_mut() = Method::HEAD;
        assert!(Asked::of(&mut head).is_err());
    }

    #[test]
    fn the_first_subprotocol_that_is_known_counts() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_str(value).unwrap();
                headers.append(SEC_WEBSOCKET_PROTOCOL, value);
            }
            protocol(&headers).map_err(|error| error.code())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["tidings.json"]), Ok(Some(Protocol::Json)));
        let both = of(&["mqtt, tidings.binary", "tidings.json"]);
        assert_eq!(both, Ok(Some(Protocol::Binary)));
        assert_eq!(of(&["mqtt"]), Err("bad_subprotocol"));
    }
}
