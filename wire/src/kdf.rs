//! Hashes and key derivation: SHA-256, HMAC, HKDF, and the pseudorandom key of one keyring record.

use ring::{digest, hkdf, hmac};
use zeroize::Zeroizing;

use crate::aead::{AeadKey, IV};
use crate::ids::OverlayId;
use crate::suite::Suite;

/// SHA-256 of the concatenation of `parts`.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    fixed(context.finish().as_ref())
}

/// HMAC-SHA-256 of the concatenation of `parts`.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    fixed(context.sign().as_ref())
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().expect("SHA-256 gives 32 bytes")
}

/// Fills `out` from exactly twice as many hex digits; false if `text` is anything else.
pub(crate) fn hex_into(text: &str, out: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return false;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    out.iter_mut()
        .zip(digits.chunks_exact(2))
        .all(|(byte, pair)| match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => {
                *byte = ((high << 4) | low) as u8;
                true
            }
            _ => false,
        })
}

/// HKDF-Extract of one record under one overlay: everything else is expanded from it. Overwritten when dropped.
pub(crate) struct Root {
    prk: hkdf::Prk,
    suite: Suite,
    slot: u8,
}

impl Root {
    /// PRK = HKDF-Extract(salt = "tidings/1" || overlay id, key).
    pub(crate) fn extract(overlay: OverlayId, suite: Suite, slot: u8, key: &[u8; 32]) -> Self {
        let mut salt = [0; 25];
        salt[..9].copy_from_slice(b"tidings/1");
        salt[9..].copy_from_slice(&overlay.0);
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(key);
        Self { prk, suite, slot }
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn slot(&self) -> u8 {
        self.slot
    }

    /// HKDF-Expand(PRK, label || suite || slot || context) over the whole of `out`.
    pub(crate) fn expand(&self, label: &str, context: &[&[u8]], out: &mut [u8]) {
        let ctx = [self.suite as u8, self.slot];
        let mut info: [&[u8]; 8] = [&[]; 8];
        info[0] = label.as_bytes();
        info[1] = &ctx;
        info[2..2 + context.len()].copy_from_slice(context);
        self.prk
            .expand(&info, OutputLen(out.len()))
            .and_then(|okm| okm.fill(out))
            .expect("fewer than 255 blocks are asked for");
    }

    /// The AEAD key and IV under a label and context.
    pub(crate) fn sealing_key(&self, label: &str, context: &[&[u8]]) -> SealingKey {
        let mut okm = Zeroizing::new([0; 32 + IV]);
        let split = self.suite.key_len();
        self.expand(label, context, &mut okm[..split + IV]);
        let mut iv = [0; IV];
        iv.copy_from_slice(&okm[split..split + IV]);
        SealingKey {
            key: AeadKey::new(self.suite, &okm[..split]),
            iv,
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &[0; 32]);
        std::hint::black_box(&self.prk);
    }
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

/// An AEAD key with its derived IV: nonce = IV xor (0u32 || counter as u64 big-endian).
pub(crate) struct SealingKey {
    key: AeadKey,
    iv: [u8; IV],
}

impl SealingKey {
    fn nonce(&self, counter: u64) -> [u8; IV] {
        let mut nonce = self.iv;
        for (byte, count) in nonce[4..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= count;
        }
        nonce
    }

    /// Seals `[header][body][tag]` in place: the header is authenticated, the body encrypted.
    pub(crate) fn seal(&self, counter: u64, header: usize, datagram: &mut [u8]) -> bool {
        let (header, sealed) = datagram.split_at_mut(header);
        let Some((body, tag)) = sealed.split_last_chunk_mut() else {
            return false;
        };
        let Some(made) = self.key.seal(self.nonce(counter), header, body) else {
            return false;
        };
        *tag = made;
        true
    }

    /// Opens `[header][body][tag]` in place.
    pub(crate) fn open<'a>(
        &self,
        counter: u64,
        header: usize,
        datagram: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (header, sealed) = datagram.split_at_mut(header);
        self.key.open(self.nonce(counter), header, sealed)
    }

    /// Opens body and tag in `sealed`, the header lying elsewhere.
    pub(crate) fn open_apart<'a>(
        &self,
        counter: u64,
        header: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.key.open(self.nonce(counter), header, sealed)
    }
}

impl Drop for SealingKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.iv);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hkdf_matches_rfc_5869_case_1_when_fed_its_prk() {
        let salt: Vec<u8> = (0..=12).collect();
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&[0x0b; 22]);
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut okm = [0; 42];
        prk.expand(&[&info], OutputLen(42))
            .unwrap()
            .fill(&mut okm)
            .unwrap();
        let mut expected = [0; 42];
        assert!(hex_into(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            &mut expected
        ));
        assert_eq!(okm, expected);
    }

    #[test]
    fn labels_and_contexts_lead_to_other_keys() {
        let overlay = OverlayId::from_name("a");
        let root = Root::extract(overlay, Suite::Aes256Gcm, 1, &[7; 32]);
        let expand = |root: &Root, label: &str, context: &[u8]| {
            let mut out = [0; 16];
            root.expand(label, &[context], &mut out);
            out
        };
        let base = expand(&root, "pair", b"x");
        assert_ne!(base, expand(&root, "bulk", b"x"));
        assert_ne!(base, expand(&root, "pair", b"y"));
        assert_ne!(
            base,
            expand(
                &Root::extract(overlay, Suite::Aes256Gcm, 2, &[7; 32]),
                "pair",
                b"x"
            )
        );
        assert_ne!(
            base,
            expand(
                &Root::extract(overlay, Suite::Aes128Gcm, 1, &[7; 32]),
                "pair",
                b"x"
            )
        );
    }

    #[test]
    fn the_counter_reaches_the_low_bytes_of_the_nonce() {
        let key =
            Root::extract(OverlayId::ZERO, Suite::Aes128Gcm, 0, &[1; 32]).sealing_key("t", &[]);
        let (zero, one) = (key.nonce(0), key.nonce(1));
        assert_eq!(zero[..11], one[..11]);
        assert_eq!(zero[11] ^ one[11], 1);
    }
}
