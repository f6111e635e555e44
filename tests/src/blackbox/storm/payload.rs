//! Payloads of a storm: a head that names publisher and message, and filling that depends on both, so that a payload of
//! one message cannot pass for that of another.

use std::sync::LazyLock;

use super::dice::Dice;

/// The payload of message `id` of `publisher`, of `bytes` bytes or as many as its head takes.
pub(super) fn payload(seed: u64, publisher: &str, id: u64, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{publisher} {id}\n").into_bytes();
    let mut dice = Dice::new(seed ^ id, publisher);
    while payload.len() + 8 <= bytes {
        payload.extend(dice.roll().to_le_bytes());
    }
    payload
}

/// Publisher and number that a payload names; nobody's and 0 if it names none.
pub(super) fn named(payload: &[u8]) -> (String, u64) {
    let read = || {
        let end = payload.iter().position(|&byte| byte == b'\n')?;
        let head = std::str::from_utf8(&payload[..end]).ok()?;
        let (publisher, id) = head.split_once(' ')?;
        Some((publisher.to_owned(), id.parse().ok()?))
    };
    read().unwrap_or_default()
}

/// CRC-32 as of Ethernet and zlib: every language has it.
pub(super) fn hash(payload: &[u8]) -> u64 {
    static TABLE: LazyLock<[u32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|byte| {
            (0..8).fold(byte as u32, |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        })
    });
    let crc = payload.iter().fold(!0_u32, |crc, &byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    });
    u64::from(!crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_its_message_and_what_is_none_names_nobody() {
        let one = payload(1, "p1", 7, 100);
        assert_eq!(named(&one), ("p1".to_owned(), 7));
        assert!((90..=100).contains(&one.len()));
        assert_ne!(one[5..], payload(1, "p2", 7, 100)[5..]);
        assert_eq!(named(b"nonsense"), (String::new(), 0));
        assert_eq!(hash(b"123456789"), 0xcbf4_3926);
    }
}
