//! Tokens of overlays: 256 random bits each, of which only the SHA-256 is kept. Made, listed, rotated and revoked here, in the
//! state; the routes that do so are in `http/tokens.rs`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest as hashed};
use subtle::ConstantTimeEq;
use tidings_wire::client::valid_client_name;

use crate::files;
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::{TOKEN_NAME_BYTES, TOKEN_SECONDS_MAX, TOKENS};
use crate::state::{State, Token};

/// What every token begins with, so that people and programs that look for leaked secrets know one.
pub const PREFIX: &str = "tt_";

/// SHA-256 of a token, as it is kept.
pub fn digest(token: &str) -> String {
    let hash = hashed(&SHA256, token.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The token of this digest, if it is valid at `now`. Looks at all of them, however early it finds one.
pub fn find<'a>(tokens: &'a [Token], digest: &str, now: u64) -> Option<&'a Token> {
    tokens.iter().fold(None, |found, token| {
        let is_this: bool = token.sha256.as_bytes().ct_eq(digest.as_bytes()).into();
        match is_this && is_valid(token, now) {
            true => Some(token),
            false => found,
        }
    })
}

fn is_valid(token: &Token, now: u64) -> bool {
    token.expires.is_none_or(|expires| now < expires)
}

/// Makes a token for `overlay`, valid for `seconds`, or until it is revoked: what is kept of it, and its secret.
pub fn create(
    state: &mut State,
    overlay: &str,
    name: &str,
    seconds: Option<u64>,
    now: u64,
) -> ApiResult<(Token, String)> {
    check_name(name)?;
    check_seconds(seconds)?;
    let kept = state.overlays.entry(overlay.to_owned()).or_default();
    kept.tokens.retain(|token| is_valid(token, now));
    if kept.tokens.iter().any(|token| token.name == name) {
        return Err(ApiError::new(
            axum::http::StatusCode::CONFLICT,
            "token_exists",
            format!("overlay {overlay:?} has a token named {name:?}"),
            "rotate or revoke that one, or choose another name",
        ));
    }
    if kept.tokens.len() >= TOKENS {
        return Err(ApiError::new(
            axum::http::StatusCode::CONFLICT,
            "too_many_tokens",
            format!("overlay {overlay:?} has {TOKENS} tokens, the most there may be"),
            "revoke one that is not needed",
        ));
    }
    let (token, secret) = fresh(name, seconds, now)?;
    kept.tokens.push(token.clone());
    Ok((token, secret))
}

/// Replaces the secret of a token. The old one stays valid for `grace` seconds; how long it was to live goes over to the new.
pub fn rotate(
    state: &mut State,
    overlay: &str,
    name: &str,
    grace: u64,
    now: u64,
) -> ApiResult<(Token, String)> {
    check_seconds(Some(grace))?;
    let kept = state.overlays.get_mut(overlay);
    let kept = kept.ok_or_else(|| no_token(overlay, name))?;
    kept.tokens.retain(|token| is_valid(token, now));
    // Of several by this name all but the last were rotated before.
    let last = kept.tokens.iter_mut().rfind(|token| token.name == name);
    let old = last.ok_or_else(|| no_token(overlay, name))?;
    let life = old
        .expires
        .map(|expires| expires.saturating_sub(old.created));
    let ends = now.saturating_add(grace);
    old.expires = Some(old.expires.map_or(ends, |expires| expires.min(ends)));
    kept.tokens.retain(|token| is_valid(token, now));
    if kept.tokens.len() >= TOKENS {
        kept.tokens.retain(|token| token.name != name);
    }
    let (token, secret) = fresh(name, life, now)?;
    kept.tokens.push(token.clone());
    Ok((token, secret))
}

/// Ends a token, and what is left of those that it replaced.
pub fn revoke(state: &mut State, overlay: &str, name: &str) -> ApiResult<()> {
    let kept = state.overlays.get_mut(overlay);
    let kept = kept.ok_or_else(|| no_token(overlay, name))?;
    let before = kept.tokens.len();
    kept.tokens.retain(|token| token.name != name);
    if kept.tokens.len() == before {
        return Err(no_token(overlay, name));
    }
    if *kept == Default::default() {
        state.overlays.remove(overlay);
    }
    Ok(())
}

/// The tokens of `overlay` that are valid, the oldest first.
pub fn list(state: &State, overlay: &str, now: u64) -> Vec<Token> {
    let kept = state.overlays.get(overlay).into_iter();
    let tokens = kept.flat_map(|kept| &kept.tokens);
    tokens
        .filter(|token| is_valid(token, now))
        .cloned()
        .collect()
}

fn fresh(name: &str, seconds: Option<u64>, now: u64) -> ApiResult<(Token, String)> {
    let mut bytes = [0; 32];
    files::random(&mut bytes)
        .map_err(|error| ApiError::unavailable("no_randomness", error.to_string(), "try again"))?;
    let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let token = Token {
        name: name.to_owned(),
        sha256: digest(&secret),
        created: now,
        expires: seconds.map(|seconds| now.saturating_add(seconds)),
    };
    Ok((token, secret))
}

fn check_name(name: &str) -> ApiResult<()> {
    if valid_client_name(name) && name.len() <= TOKEN_NAME_BYTES {
        return Ok(());
    }
    Err(ApiError::bad(
        "bad_name",
        format!("{name:?} is not the name of a token"),
        format!("use 1 to {TOKEN_NAME_BYTES} of a-z A-Z 0-9 . _ -"),
    ))
}

fn check_seconds(seconds: Option<u64>) -> ApiResult<()> {
    match seconds {
        Some(seconds) if seconds > TOKEN_SECONDS_MAX => Err(ApiError::bad(
            "bad_time",
            format!("{seconds} s is longer than a token may be valid"),
            format!("write 0 to {TOKEN_SECONDS_MAX}, or leave it out"),
        )),
        _ => Ok(()),
    }
}

fn no_token(overlay: &str, name: &str) -> ApiError {
    ApiError::new(
        axum::http::StatusCode::NOT_FOUND,
        "no_token",
        format!("overlay {overlay:?} has no token named {name:?}"),
        "GET the tokens of the overlay to see their names",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(state: &State, secret: &str, now: u64) -> bool {
        let tokens = &state.overlays["news"].tokens;
        find(tokens, &digest(secret), now).is_some()
    }

    #[test]
    fn a_token_is_known_by_its_secret_until_it_expires_and_the_secret_is_not_kept() {
        let mut state = State::default();
        let (token, secret) = create(&mut state, "news", "a", Some(60), 1_000).unwrap();
        assert_eq!((token.created, token.expires), (1_000, Some(1_060)));
        assert!(secret.starts_with("tt_") && secret.len() == 3 + 43);
        assert!(!format!("{state:?}").contains(&secret[3..]));
        assert!(is_known(&state, &secret, 1_059) && !is_known(&state, &secret, 1_060));
        assert!(!is_known(&state, "tt_other", 1_000));
        assert!(list(&state, "news", 1_060).is_empty());
    }

    #[test]
    fn a_rotated_token_has_a_new_secret_and_the_old_one_a_time_of_grace() {
        let mut state = State::default();
        let (_, old) = create(&mut state, "news", "a", None, 0).unwrap();
        let (_, new) = rotate(&mut state, "news", "a", 10, 100).unwrap();
        assert!(is_known(&state, &old, 109) && !is_known(&state, &old, 110));
        assert!(is_known(&state, &new, 1_000));
        let (_, newer) = rotate(&mut state, "news", "a", 0, 105).unwrap();
        assert!(!is_known(&state, &new, 105) && is_known(&state, &newer, 105));
        assert!(is_known(&state, &old, 105));
        revoke(&mut state, "news", "a").unwrap();
        assert_eq!(state, State::default());
        let error = rotate(&mut state, "news", "a", 0, 105).unwrap_err();
        assert_eq!(error.code(), "no_token");
    }

    #[test]
    fn names_are_checked_unique_and_bounded_in_number() {
        let mut state = State::default();
        for name in ["", "a b", "a/b", &"x".repeat(65)] {
            let error = create(&mut state, "news", name, None, 0).unwrap_err();
            assert_eq!(error.code(), "bad_name");
        }
        for index in 0..TOKENS {
            create(&mut state, "news", &format!("t{index}"), Some(5), 0).unwrap();
        }
        let code = |state: &mut State, name: &str, now| {
            create(state, "news", name, None, now)
                .err()
                .map(|error| error.code())
        };
        assert_eq!(code(&mut state, "t0", 0), Some("token_exists"));
        assert_eq!(code(&mut state, "more", 0), Some("too_many_tokens"));
        assert_eq!(code(&mut state, "more", 5), None);
        assert_eq!(state.overlays["news"].tokens.len(), 1);
        let error = create(&mut state, "news", "x", Some(u64::MAX), 0).unwrap_err();
        assert_eq!(error.code(), "bad_time");
    }
}
