//! SUB_ADD: one subscription of the sender's table.

use std::str;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U32, U64};

use crate::digest::{AckMode, OrderMode, SlowPolicy, split};
use crate::error::DecodeError;
use crate::topic::validate_pattern;

digest! {
    /// SUB_ADD: the fixed part, then the pattern.
    SubAdd = 0x31, 32 bytes {
        /// Number of the subscription at its node.
        4 sub: U32,
        /// [`client_hash`] of the client's name, 0 if it has none.
        8 client: U64,
        /// Attempts before the publisher gives up, 0 for ever.
        16 attempts: U32,
        /// Milliseconds of one attempt.
        20 every_ms: U32,
        /// An [`AckMode`].
        24 ack: u8,
        /// An [`OrderMode`].
        25 order: u8,
        /// A [`SlowPolicy`].
        26 policy: u8,
        /// Zero.
        27 rsv: [u8; 5],
    }
}

/// SUB_ADD with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAddView<'a> {
    /// The fixed part.
    pub fixed: &'a SubAdd,
    /// A valid pattern.
    pub pattern: &'a str,
}

impl<'a> SubAddView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, tail) = split::<SubAdd>(digest)?;
        AckMode::from_wire(fixed.ack).ok_or(DecodeError::Value)?;
        OrderMode::from_wire(fixed.order).ok_or(DecodeError::Value)?;
        SlowPolicy::from_wire(fixed.policy).ok_or(DecodeError::Value)?;
        let pattern = str::from_utf8(tail).map_err(|_| DecodeError::Text)?;
        validate_pattern(pattern).map_err(|_| DecodeError::Text)?;
        Ok(Self { fixed, pattern })
    }

    /// Who acknowledges.
    pub fn ack(&self) -> AckMode {
        AckMode::from_wire(self.fixed.ack).expect("decode refuses other values")
    }

    /// In which order.
    pub fn order(&self) -> OrderMode {
        OrderMode::from_wire(self.fixed.order).expect("decode refuses other values")
    }

    /// What happens when it is slow.
    pub fn policy(&self) -> SlowPolicy {
        SlowPolicy::from_wire(self.fixed.policy).expect("decode refuses other values")
    }
}

/// xxh3 of a client's name, never 0.
pub fn client_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes()).max(1)
}
