//! A search of all traffic for bytes that must not be on it, such as plaintext.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::sys;

/// Bytes looked for in every frame that a host sends, before the switch does anything to it. Found only where they lie
/// within one frame, so keep them short.
pub struct Needle {
    bytes: Vec<u8>,
    frames: AtomicU64,
}

impl Needle {
    pub(super) fn new(bytes: &[u8]) -> Needle {
        assert!(!bytes.is_empty(), "a needle without bytes is everywhere");
        Needle {
            bytes: bytes.to_vec(),
            frames: AtomicU64::new(0),
        }
    }

    pub(super) fn look(&self, frame: &[u8]) {
        if sys::find(frame, &self.bytes).is_some() {
            self.frames.fetch_add(1, Relaxed);
        }
    }

    /// The bytes looked for.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many frames contained them.
    pub fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }
}

impl fmt::Debug for Needle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Needle({:?}, {} frames)",
            self.bytes.escape_ascii().to_string(),
            self.frames()
        )
    }
}
