//! DELIVERED: a subscription is done with a run of messages.

use zerocopy::little_endian::{U32, U64};

use crate::digest::{FailReason, check_run};
use crate::error::DecodeError;

digest! {
    /// DELIVERED: the delivery acknowledgement, or the subscriber's refusal.
    Delivered = 0x23, 32 bytes {
        /// Subscription, of the digest's sender.
        4 sub: U32,
        /// Publisher, of the digest's receiver.
        8 handle: U32,
        /// Messages in the run.
        12 count: U32,
        /// First of the run.
        16 from: U64,
        /// 0 delivered, else a [`FailReason`].
        24 result: U32,
        /// Zero.
        28 rsv: [u8; 4],
    }
}

impl Delivered {
    /// `result` of a delivery.
    pub const DELIVERED: u32 = 0;

    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let result = self.result.get();
        if result != Self::DELIVERED {
            FailReason::from_u32(result).ok_or(DecodeError::Value)?;
        }
        check_run(self.from.get(), self.count.get())
    }
}
