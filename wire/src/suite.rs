//! Cipher suites. A suite belongs to a key record, for ever; nothing negotiates it.

use std::fmt;

/// The AEAD of a key record and its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Suite {
    /// AES-128-GCM.
    Aes128Gcm = 1,
    /// AES-256-GCM: the default.
    Aes256Gcm = 2,
    /// ChaCha20-Poly1305, for machines without AES instructions.
    ChaCha20Poly1305 = 3,
    /// AES-192-GCM, in builds with the feature `aes-192`.
    #[cfg(feature = "aes-192")]
    Aes192Gcm = 4,
}

/// Name of suite 4, which a build without the feature refuses by it.
pub(crate) const AES_192_NAME: &str = "aes-192-gcm";

impl Suite {
    /// Every suite of this build.
    pub const ALL: [Self; 3 + cfg!(feature = "aes-192") as usize] = [
        Self::Aes128Gcm,
        Self::Aes256Gcm,
        Self::ChaCha20Poly1305,
        #[cfg(feature = "aes-192")]
        Self::Aes192Gcm,
    ];

    /// The suite with this number. 0xE0-0xFF (embedders) are reserved and unknown here, as is 4 without its feature.
    pub fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| *suite as u8 == byte)
    }

    /// The suite with this name, as keyring files write it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// The name that keyring files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes-128-gcm",
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            #[cfg(feature = "aes-192")]
            Self::Aes192Gcm => AES_192_NAME,
        }
    }

    /// Bytes of a derived key.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            #[cfg(feature = "aes-192")]
            Self::Aes192Gcm => 24,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
