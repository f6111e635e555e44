//! Identifiers: nodes, boots, overlays, and what is hashed from them.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::kdf::sha256;

macro_rules! id16 {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
        )]
        #[repr(transparent)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// All zero: "unknown" where a layout says so.
            pub const ZERO: Self = Self([0; 16]);

            /// Reads 32 hex digits.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; 16];
                crate::kdf::hex_into(text, &mut bytes).then_some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id16! {
    /// A node: 128 random bits, persisted.
    NodeId
}
id16! {
    /// One start of a node: 128 random bits, never persisted.
    Boot
}
id16! {
    /// An overlay: hashed from its name.
    OverlayId
}

impl OverlayId {
    /// SHA-256("tidings overlay/1" || name), cut to 16 bytes.
    pub fn from_name(name: &str) -> Self {
        let hash = sha256(&[b"tidings overlay/1", name.as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }
}

impl Boot {
    /// The 12 bits that this boot puts on top of every index that it hands out.
    pub fn tag12(&self) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]]) & 0xfff
    }
}

/// SHA-256("tidings tag/1" || id), cut to 8 bytes: names the overlay in HELLO and FAN headers.
pub fn overlay_tag(overlay: OverlayId) -> [u8; 8] {
    let hash = sha256(&[b"tidings tag/1", &overlay.0]);
    let mut tag = [0; 8];
    tag.copy_from_slice(&hash[..8]);
    tag
}

/// The steer byte of HELLO and FAN: the low byte of xxh3(overlay id || lane), equal at every node.
pub fn steer(overlay: OverlayId, lane: u8) -> u8 {
    let mut key = [0; 17];
    key[..16].copy_from_slice(&overlay.0);
    key[16] = lane;
    xxh3_64(&key).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_32_hex_digits_and_reads_back() {
        let id = NodeId(std::array::from_fn(|i| i as u8 * 17));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(NodeId::from_hex(&id.to_string()), Some(id));
        assert_eq!(NodeId::from_hex("0011"), None);
        assert_eq!(NodeId::from_hex(&"zz".repeat(16)), None);
        assert_eq!(NodeId::from_hex(&"é".repeat(16)), None);
    }

    #[test]
    fn overlays_with_other_names_have_other_ids_and_tags() {
        let (a, b) = (OverlayId::from_name("a"), OverlayId::from_name("b"));
        assert_ne!(a, b);
        assert_ne!(overlay_tag(a), overlay_tag(b));
    }

    #[test]
    fn the_lane_moves_the_steer_byte() {
        let overlay = OverlayId::from_name("a");
        assert!((0..=255).any(|lane| steer(overlay, lane) != steer(overlay, 0)));
    }
}
