//! BUCKETS: hashes of the sender's member table, for anti-entropy.

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U16, U64};

use crate::digest::{MemberState, cut, split};
use crate::error::DecodeError;
use crate::ids::NodeId;
use crate::limits::{BUCKETS, BUCKETS_PER_DIGEST};

digest! {
    /// BUCKETS: the fixed part, then `count` hashes.
    Buckets = 0x34, 8 bytes {
        /// Bucket of the first hash.
        4 first: U16,
        /// Hashes in the tail; the writer fills it.
        6 count: U16,
    }
}

/// BUCKETS with its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketsView<'a> {
    /// The fixed part.
    pub fixed: &'a Buckets,
    /// Hash of bucket first + i: xor of [`member_hash`] over its alive and suspect members.
    pub hashes: &'a [U64],
}

impl<'a> BucketsView<'a> {
    pub(crate) fn decode(digest: &'a [u8]) -> Result<Self, DecodeError> {
        let (fixed, mut tail) = split::<Buckets>(digest)?;
        let count = usize::from(fixed.count.get());
        if usize::from(fixed.first.get()) + count > BUCKETS {
            return Err(DecodeError::Limit);
        }
        let hashes = cut(&mut tail, count, BUCKETS_PER_DIGEST)?;
        Ok(Self { fixed, hashes })
    }
}

/// The bucket of a member: the low byte of xxh3 of its id.
pub fn bucket_of(id: &NodeId) -> u8 {
    xxh3_64(&id.0).to_le_bytes()[0]
}

/// xxh3 of id || generation || incarnation || state. A suspect counts as alive: suspicion passes by itself.
pub fn member_hash(id: &NodeId, generation: u64, incarnation: u64, state: MemberState) -> u64 {
    let state = if state == MemberState::Suspect {
        MemberState::Alive
    } else {
        state
    };
    let mut key = [0; 33];
    key[..16].copy_from_slice(&id.0);
    key[16..24].copy_from_slice(&generation.to_le_bytes());
    key[24..32].copy_from_slice(&incarnation.to_le_bytes());
    key[32] = state as u8;
    xxh3_64(&key)
}
