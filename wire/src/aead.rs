//! The seam to the AEAD libraries: one key type, seal and open in place. Nothing else names their types.

#[cfg(feature = "aes-192")]
mod aes_192;

use crate::mutants::{Mutant, mutant};
use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use crate::header::TAG;
use crate::suite::Suite;

/// Bytes of a nonce and of a derived IV.
pub(crate) const IV: usize = 12;

/// An expanded AEAD key. Overwritten when dropped.
pub(crate) struct AeadKey {
    key: Expanded,
}

/// The expanded key by its library: one branch for each datagram, none without the feature.
// A pointer to ring's key would be one more cache line to fetch for each datagram.
#[allow(clippy::large_enum_variant)]
enum Expanded {
    Ring(LessSafeKey),
    /// Elsewhere, for it is larger than ring's: keys of the other suites stay as small as they are, at the price of an
    /// allocation for each key of this one, never for a datagram of a session or stream.
    #[cfg(feature = "aes-192")]
    Aes192(Box<aes_192::Aes192Key>),
}

impl AeadKey {
    /// Expands `key`, which is as long as the suite says.
    pub(crate) fn new(suite: Suite, key: &[u8]) -> Self {
        let ring = |algorithm| Expanded::Ring(expand(algorithm, key));
        let key = match suite {
            Suite::Aes128Gcm => ring(&AES_128_GCM),
            Suite::Aes256Gcm => ring(&AES_256_GCM),
            Suite::ChaCha20Poly1305 => ring(&CHACHA20_POLY1305),
            #[cfg(feature = "aes-192")]
            Suite::Aes192Gcm => Expanded::Aes192(Box::new(aes_192::Aes192Key::new(key))),
        };
        Self { key }
    }

    /// Encrypts `body` in place and returns the tag; `None` if the body is longer than the AEAD allows.
    pub(crate) fn seal(&self, nonce: [u8; IV], aad: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        let aad = if mutant(Mutant::HeaderUnsealed) {
            &aad[4..]
        } else {
            aad
        };
        match &self.key {
            Expanded::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
                    .ok()?;
                tag.as_ref().try_into().ok()
            }
            #[cfg(feature = "aes-192")]
            Expanded::Aes192(key) => key.seal(nonce, aad, body),
        }
    }

    /// Decrypts body and tag in place and returns the body; `None` if the tag does not verify, and
    /// then the buffer is destroyed.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; IV],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let aad = if mutant(Mutant::HeaderUnsealed) {
            &aad[4..]
        } else {
            aad
        };
        match &self.key {
            Expanded::Ring(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(aad), sealed).ok()
            }
            #[cfg(feature = "aes-192")]
            Expanded::Aes192(key) => key.open(nonce, aad, sealed),
        }
    }
}

impl Drop for AeadKey {
    /// The expanded key lies inline in ring's type, which has no wipe of its own: the schedule of
    /// the zero key is put over it, and the barrier keeps the compiler from dropping that store.
    fn drop(&mut self) {
        match &mut self.key {
            Expanded::Ring(key) => {
                let algorithm = key.algorithm();
                *key = expand(algorithm, &[0; 32][..algorithm.key_len()]);
                std::hint::black_box(&*key);
            }
            // It wipes itself.
            #[cfg(feature = "aes-192")]
            Expanded::Aes192(_) => {}
        }
    }
}

fn expand(algorithm: &'static Algorithm, key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("the key is as long as its suite says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_library_adds_no_byte_to_keys_of_the_first() {
        assert_eq!(size_of::<AeadKey>(), size_of::<LessSafeKey>());
    }
}
