//! AES-192-GCM, which ring lacks: one key by RustCrypto's `aes-gcm`. Called by `aead` alone.

use aes::Aes192Enc;
use aes_gcm::aead::consts::U12;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};

use super::IV;
use crate::header::TAG;

/// The expanded key: round keys and hash key, made once. GCM only ever encrypts blocks, so the round keys of
/// decryption, which the library's `Aes192` has besides, are not made. Its parts wipe themselves when dropped.
pub(super) struct Aes192Key {
    gcm: AesGcm<Aes192Enc, U12>,
}

impl Aes192Key {
    /// Expands `key`, 24 bytes.
    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            gcm: AesGcm::new_from_slice(key).expect("the key is as long as its suite says"),
        }
    }

    /// Encrypts `body` in place and returns the tag; `None` if the body is longer than GCM allows.
    // Apart and held for unlikely, so that the code of the other suites is laid out as without this one: a call more
    // for each datagram here, eight instructions there.
    #[cold]
    #[inline(never)]
    pub(super) fn seal(&self, nonce: [u8; IV], aad: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        let tag = self
            .gcm
            .encrypt_inout_detached(&nonce.into(), aad, body.into());
        tag.ok().map(Into::into)
    }

    /// Decrypts body and tag in place and returns the body; `None` if the tag does not verify, and
    /// then the buffer is destroyed.
    #[cold]
    #[inline(never)]
    pub(super) fn open<'a>(
        &self,
        nonce: [u8; IV],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let (body, tag) = sealed.split_last_chunk_mut::<TAG>()?;
        let tag = (*tag).into();
        let opened = self
            .gcm
            .decrypt_inout_detached(&nonce.into(), aad, (&mut *body).into(), &tag);
        if opened.is_err() {
            // The library leaves what it refuses as it came; ring does not, and callers may rely on neither.
            body.fill(0);
            return None;
        }
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kdf::hex_into;

    fn bytes(hex: &str) -> Vec<u8> {
        let mut bytes = vec![0; hex.len() / 2];
        assert!(hex_into(hex, &mut bytes), "{hex}");
        bytes
    }

    /// Key, nonce, header, plaintext, ciphertext, tag: the cases of McGrew and Viega, "The Galois/Counter Mode of
    /// Operation (GCM)", appendix B, with 192-bit keys and 96-bit nonces: 7 to 10.
    const CASES: [[&str; 6]; 4] = [
        [
            "000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "",
            "",
            "cd33b28ac773f74ba00ed1f312572435",
        ],
        [
            "000000000000000000000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "98e7247c07f0fe411c267e4384b0f600",
            "2ff58d80033927ab8ef4d4587514f0fb",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c",
            "cafebabefacedbaddecaf888",
            "",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c\
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710acade256",
            "9924a7c8587336bfb118024db8674a14",
        ],
        [
            "feffe9928665731c6d6a8f9467308308feffe9928665731c",
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c\
             7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710",
            "2519498e80f1478f37ba55bd6d27618c",
        ],
    ];

    #[test]
    fn it_is_the_gcm_of_its_authors() {
        for case in CASES {
            let [key, nonce, header, plain, cipher, tag] = case.map(bytes);
            let key = Aes192Key::new(&key);
            let nonce: [u8; IV] = nonce.try_into().unwrap();
            let mut body = plain.clone();
            assert_eq!(key.seal(nonce, &header, &mut body).unwrap(), *tag);
            assert_eq!(body, cipher);
            body.extend(&tag);
            assert_eq!(*key.open(nonce, &header, &mut body).unwrap(), *plain);
        }
    }

    #[test]
    fn what_does_not_verify_is_destroyed() {
        let [key, nonce, header, _, cipher, tag] = CASES[3].map(bytes);
        let key = Aes192Key::new(&key);
        let nonce: [u8; IV] = nonce.try_into().unwrap();
        let sealed = [cipher, tag].concat();
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(nonce, &header, &mut forged).is_none());
            let (body, _) = forged.split_last_chunk::<TAG>().unwrap();
            assert!(body.iter().all(|byte| *byte == 0), "bit {bit}");
        }
        let mut short = [0; TAG - 1];
        assert!(key.open(nonce, &header, &mut short).is_none());
    }

    #[test]
    fn the_key_wipes_itself_when_dropped() {
        fn wipes<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wipes(&Aes192Key::new(&[7; 24]).gcm);
    }
}
