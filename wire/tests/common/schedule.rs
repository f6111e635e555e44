//! The key schedule and the sealing of SPEC.md once more, written from its text alone on bare HMAC and AEAD.

use super::gcm;
use ring::{aead, hmac};

pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
        .as_ref()
        .try_into()
        .unwrap()
}

pub fn prk(overlay: &[u8; 16], key: &[u8; 32]) -> [u8; 32] {
    hmac(&[b"tidings/1".as_slice(), overlay].concat(), key)
}

pub fn expand(prk: &[u8; 32], info: &[u8], len: usize) -> Vec<u8> {
    let mut okm = Vec::new();
    let mut block = Vec::new();
    let mut number = 0;
    while okm.len() < len {
        number += 1;
        block = hmac(prk, &[&block, info, &[number]].concat()).to_vec();
        okm.extend_from_slice(&block);
    }
    okm.truncate(len);
    okm
}

/// key || iv under a label and context.
pub fn okm(prk: &[u8; 32], label: &str, suite: u8, slot: u8, context: &[u8]) -> Vec<u8> {
    let info = [label.as_bytes(), &[suite, slot], context].concat();
    let key = match suite {
        1 => 16,
        4 => 24,
        _ => 32,
    };
    expand(prk, &info, key + 12)
}

/// header || ciphertext || tag.
pub fn seal(suite: u8, okm: &[u8], counter: u64, header: &[u8], body: &[u8]) -> Vec<u8> {
    let (key, iv) = okm.split_at(okm.len() - 12);
    let mut nonce: [u8; 12] = iv.try_into().unwrap();
    for (byte, count) in nonce[4..].iter_mut().zip(counter.to_be_bytes()) {
        *byte ^= count;
    }
    let algorithm = match suite {
        1 => &aead::AES_128_GCM,
        2 => &aead::AES_256_GCM,
        3 => &aead::CHACHA20_POLY1305,
        4 => return [header, &gcm::seal(key, nonce, header, body)].concat(),
        _ => unreachable!(),
    };
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).unwrap());
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let mut sealed = body.to_vec();
    key.seal_in_place_append_tag(nonce, aead::Aad::from(header), &mut sealed)
        .unwrap();
    [header, &sealed].concat()
}
