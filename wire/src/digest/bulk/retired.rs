//! RETIRED: publishers that are closed and of which everything is settled.

use zerocopy::little_endian::U32;

use crate::error::DecodeError;

digest! {
    /// RETIRED: the receiver forgets these publishers of the sender's boot, and takes nothing of theirs any more.
    Retired = 0x35, 16 bytes {
        /// First of the run.
        4 handle: U32,
        /// Publishers in the run.
        8 count: U32,
        /// Zero.
        12 rsv: [u8; 4],
    }
}

impl Retired {
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let end = self.handle.get().checked_add(self.count.get());
        if self.count.get() == 0 || end.is_none() {
            return Err(DecodeError::Value);
        }
        Ok(())
    }
}
