//! What a request presents: a password, a token or nothing, in any of the forms of its headers. Only reads; whether it is
//! valid is decided elsewhere.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::tokens::PREFIX;
use crate::http::error::{ApiError, ApiResult};

/// The header that Gossiperl's clients send a token in.
const SESSION_TOKEN: &str = "x-session-token";
/// Whatever the padding: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const HINT: &str = "send Authorization: Basic with base64 of name:password, Authorization: Bearer TOKEN, or X-Session-Token: TOKEN";

/// Users that have a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// May do everything.
    Superuser,
    /// May list and make overlays, and read of the node.
    User,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Superuser, Self::User];

    /// The name to log in with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Superuser => "superuser",
            Self::User => "user",
        }
    }

    /// The user of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|user| user.name() == name)
    }
}

/// What is presented. Not `Debug`: it holds secrets.
#[derive(PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A user's password.
    Password {
        /// Whose.
        user: User,
        /// The secret.
        password: String,
    },
    /// A token.
    Token {
        /// The overlay that it is said to be of, in the form `OVERLAY:TOKEN`.
        overlay: Option<String>,
        /// The secret.
        token: String,
    },
    /// The password of a user that does not exist.
    Stranger,
}

impl Credential {
    /// Reads the headers. `Authorization` goes before `X-Session-Token`.
    pub fn of(headers: &HeaderMap) -> ApiResult<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        if let Some(value) = values.next() {
            if values.next().is_some() {
                return Err(malformed("Authorization is there twice"));
            }
            let text = value
                .to_str()
                .map_err(|_| malformed("Authorization is not plain text"))?;
            return authorization(text);
        }
        match headers.get(SESSION_TOKEN) {
            None => Ok(Self::None),
            Some(value) => value
                .to_str()
                .map(|token| bearer(token.trim()))
                .map_err(|_| malformed("X-Session-Token is not plain text")),
        }
    }
}

fn malformed(what: &'static str) -> ApiError {
    ApiError::unauthorized("malformed_credentials", what, HINT)
}

fn bearer(token: &str) -> Credential {
    Credential::Token {
        overlay: None,
        token: token.to_owned(),
    }
}

fn authorization(text: &str) -> ApiResult<Credential> {
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(bearer(rest));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed("Authorization is neither Basic nor Bearer"));
    }
    let decoded = BASE64
        .decode(rest)
        .map_err(|_| malformed("Authorization: Basic is not followed by base64"))?;
    let text = String::from_utf8(decoded)
        .map_err(|_| malformed("Authorization: Basic does not hold UTF-8"))?;
    let (name, secret) = text
        .split_once(':')
        .ok_or_else(|| malformed("Authorization: Basic does not hold name:password"))?;
    if let Some(user) = User::named(name) {
        return Ok(Credential::Password {
            user,
            password: secret.to_owned(),
        });
    }
    // The name of an overlay may have colons, a token has none.
    Ok(match text.rsplit_once(':') {
        Some((overlay, token)) if token.starts_with(PREFIX) => Credential::Token {
            overlay: Some(overlay.to_owned()),
            token: token.to_owned(),
        },
        _ => Credential::Stranger,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> ApiResult<Credential> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Credential::of(&headers)
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64.encode(text))
    }

    fn is(found: ApiResult<Credential>, wanted: &Credential) -> bool {
        found.is_ok_and(|found| found == *wanted)
    }

    #[test]
    fn passwords_and_tokens_are_read_in_every_form() {
        let password = Credential::Password {
            user: User::Superuser,
            password: "a:b".to_owned(),
        };
        assert!(is(
            read("authorization", &basic("superuser:a:b")),
            &password
        ));
        let token = bearer("tt_x");
        assert!(is(read("authorization", "Bearer tt_x"), &token));
        assert!(is(read("authorization", "bearer  tt_x"), &token));
        assert!(is(read("x-session-token", "tt_x"), &token));
        let of = Credential::Token {
            overlay: Some("a:b".to_owned()),
            token: "tt_x".to_owned(),
        };
        assert!(is(read("authorization", &basic("a:b:tt_x")), &of));
        let stranger = read("authorization", &basic("root:toor"));
        assert!(is(stranger, &Credential::Stranger));
        let without_padding = basic("user:x").trim_end_matches('=').to_owned();
        assert!(read("authorization", &without_padding).is_ok());
        assert!(is(Credential::of(&HeaderMap::new()), &Credential::None));
    }

    #[test]
    fn no_header_panics_and_what_is_read_was_there() {
        use proptest::prelude::*;
        let config = ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        proptest!(config, |(bytes: Vec<u8>, text in "(?i)(basic|bearer)? ?\\PC{0,40}")| {
            for value in [&bytes, text.as_bytes(), basic(&text).as_bytes()] {
                let mut headers = HeaderMap::new();
                if let Ok(value) = axum::http::HeaderValue::from_bytes(value) {
                    headers.insert("authorization", value);
                }
                match Credential::of(&headers) {
                    Ok(Credential::Token { overlay: Some(_), token }) => {
                        prop_assert!(token.starts_with(PREFIX) && !token.contains(':'));
                    }
                    Ok(_) => {}
                    Err(error) => prop_assert_eq!(error.code(), "malformed_credentials"),
                }
            }
        });
    }

    #[test]
    fn headers_that_are_no_credentials_are_refused() {
        for value in [
            "Basic %%%",
            "Basic",
            "Basic ",
            "Basic =",
            "Basic AAAA=AAA",
            "Digest x",
            "",
            &basic("no colon"),
            "Basic /////w==",
        ] {
            let error = read("authorization", value).err().expect("refused");
            assert_eq!(error.code(), "malformed_credentials", "{value}");
        }
        let mut twice = HeaderMap::new();
        twice.append("authorization", "Bearer a".parse().unwrap());
        twice.append("authorization", "Bearer b".parse().unwrap());
        assert!(Credential::of(&twice).is_err());
    }
}
