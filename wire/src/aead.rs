//! The seam to the AEAD library: one key type, seal and open in place. Nothing else names its types.

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
    key: LessSafeKey,
}

impl AeadKey {
    /// Expands `key`, which is as long as the suite says.
    pub(crate) fn new(suite: Suite, key: &[u8]) -> Self {
        Self {
            key: expand(algorithm(suite), key),
        }
    }

    /// Encrypts `body` in place and returns the tag; `None` if the body is longer than the AEAD allows.
    pub(crate) fn seal(&self, nonce: [u8; IV], aad: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = if mutant(Mutant::HeaderUnsealed) {
            &aad[4..]
        } else {
            aad
        };
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts body and tag in place and returns the body; `None` if the tag does not verify, and
    /// then the buffer is destroyed.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; IV],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = if mutant(Mutant::HeaderUnsealed) {
            &aad[4..]
        } else {
            aad
        };
        self.key.open_in_place(nonce, Aad::from(aad), sealed).ok()
    }
}

impl Drop for AeadKey {
    /// The expanded key lies inline in the library's type, which has no wipe of its own: the schedule of
    /// the zero key is put over it, and the barrier keeps the compiler from dropping that store.
    fn drop(&mut self) {
        let algorithm = self.key.algorithm();
        self.key = expand(algorithm, &[0; 32][..algorithm.key_len()]);
        std::hint::black_box(&self.key);
    }
}

fn algorithm(suite: Suite) -> &'static Algorithm {
    match suite {
        Suite::Aes128Gcm => &AES_128_GCM,
        Suite::Aes256Gcm => &AES_256_GCM,
        Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    }
}

fn expand(algorithm: &'static Algorithm, key: &[u8]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("the key is as long as its suite says"))
}
