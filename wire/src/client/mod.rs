//! The local client protocol: length-prefixed frames between a client process and the daemon on its host, over a Unix
//! stream socket. The engine's gateway and the client libraries call it; it never touches a socket, and it never
//! allocates on decoding: every frame is a view of the bytes that were read.
//!
//! `wire/SPEC.md`, chapter "Local client protocol", is the normative text.
//!
//! A frame is a head of 8 bytes ([`frame`]), a fixed part of the layout that its kind names, and tails. What a client
//! sends is a [`Request`], what the daemon sends is a [`Reply`]; one file per subject holds the layouts.

pub mod auth;
pub mod codes;
pub mod frame;
pub mod key;
pub mod presence;
pub mod publish;
pub mod query;
pub mod records;
mod reply;
mod request;
pub mod subscribe;

pub use codes::{AckMode, ErrorCode, Order, Outcome, Policy};
pub use frame::{FrameError, HEAD_SIZE, Kind, MAX_FRAME, Raw};
pub use key::{ClientKey, Side};
pub use records::{RECORD_HEAD, Records};
pub use reply::Reply;
pub use request::Request;

/// The version of the local client protocol that this crate speaks.
pub const CLIENT_PROTOCOL: u16 = 1;

/// Longest client name, in bytes of UTF-8.
pub const MAX_CLIENT_NAME: usize = 64;

/// Whether `name` can name a client: 1 to 64 characters out of `a-z A-Z 0-9 . _ -`.
pub fn valid_client_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_CLIENT_NAME
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
