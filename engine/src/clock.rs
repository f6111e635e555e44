//! The clock: nanoseconds since the process first asked. Read once per turn by a shard; nothing below the shard reads it.

use std::sync::LazyLock;
use std::time::Instant;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, in ns. Never zero, so that zero may stand for "never".
pub fn now() -> u64 {
    START.elapsed().as_nanos() as u64 + 1
}
