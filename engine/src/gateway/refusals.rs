//! Logins that were refused, by reason: counted by the control thread, read by whoever tells statistics.

use std::sync::atomic::{AtomicU64, Ordering};

use tidings_wire::client::ErrorCode;

/// Reasons, as labels. A new one goes before the last.
const REASONS: [&str; 5] = ["denied", "busy", "crowded", "protocol", "other"];

/// Counts by [`REASONS`].
#[derive(Default)]
pub(crate) struct LoginRefusals([AtomicU64; REASONS.len()]);

impl LoginRefusals {
    /// A login was refused with this word.
    pub(crate) fn count(&self, code: ErrorCode) {
        let reason = match code {
            ErrorCode::Denied => 0,
            ErrorCode::Busy => 1,
            ErrorCode::TooMany => 2,
            ErrorCode::Protocol | ErrorCode::Version => 3,
            _ => 4,
        };
        self.0[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// Every reason with its count.
    pub(crate) fn each(&self) -> [(&'static str, u64); REASONS.len()] {
        std::array::from_fn(|at| (REASONS[at], self.0[at].load(Ordering::Relaxed)))
    }
}
