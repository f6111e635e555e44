//! AES-192-GCM once more, bit by bit after NIST SP 800-38D, on the bare block cipher.

use aes::Aes192Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};

fn block(cipher: &Aes192Enc, input: [u8; 16]) -> [u8; 16] {
    let mut block = input.into();
    cipher.encrypt_block(&mut block);
    block.into()
}

/// The product of two elements of the field, 6.3: the bit that stands first is the lowest power.
fn product(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            z ^= v;
        }
        v = (v >> 1) ^ if v & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    z
}

/// GHASH of `parts`, each filled up with zeros, and of their lengths in bits.
fn ghash(h: u128, parts: [&[u8]; 2]) -> u128 {
    let mut y = 0;
    for chunk in parts.into_iter().flat_map(|part| part.chunks(16)) {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        y = product(y ^ u128::from_be_bytes(block), h);
    }
    let [header, text] = parts.map(|part| part.len() as u128 * 8);
    product(y ^ (header << 64 | text), h)
}

/// Ciphertext and tag.
pub fn seal(key: &[u8], nonce: [u8; 12], header: &[u8], body: &[u8]) -> Vec<u8> {
    let cipher = Aes192Enc::new_from_slice(key).unwrap();
    let stream = |count: u32| {
        let mut counter = [0; 16];
        counter[..12].copy_from_slice(&nonce);
        counter[12..].copy_from_slice(&count.to_be_bytes());
        block(&cipher, counter)
    };
    let mut sealed = body.to_vec();
    for (chunk, count) in sealed.chunks_mut(16).zip(2..) {
        chunk
            .iter_mut()
            .zip(stream(count))
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    let h = u128::from_be_bytes(block(&cipher, [0; 16]));
    let tag = ghash(h, [header, &sealed]) ^ u128::from_be_bytes(stream(1));
    sealed.extend(tag.to_be_bytes());
    sealed
}
