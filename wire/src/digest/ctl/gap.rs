//! GAP: messages that will never come.

use zerocopy::little_endian::{U32, U64};

use crate::digest::{FailReason, check_run};
use crate::error::DecodeError;

digest! {
    /// GAP: the publisher gave a run up for this subscription.
    Gap = 0x28, 32 bytes {
        /// Subscription, of the digest's receiver.
        4 sub: U32,
        /// Publisher, of the digest's sender.
        8 handle: U32,
        /// Messages in the run.
        12 count: U32,
        /// First of the run.
        16 from: U64,
        /// [`SETTLED`](Gap::SETTLED), else a [`FailReason`].
        24 reason: U32,
        /// Zero.
        28 rsv: [u8; 4],
    }
}

impl Gap {
    /// `reason` where nothing is missing: the run was never owed, or is settled already.
    pub const SETTLED: u32 = 0;

    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let reason = self.reason.get();
        if reason != Self::SETTLED {
            FailReason::from_u32(reason).ok_or(DecodeError::Value)?;
        }
        check_run(self.from.get(), self.count.get())
    }
}
