//! Digests that are well-formed as far as their heads go, with numbers in them that sometimes mean something.

use tidings_wire::NodeId;
use tidings_wire::digest::{Fragment, Writer};

use super::random::Random;

/// Kind and bytes of the fixed part of each digest that travels in a session.
const KINDS: &[(u8, usize)] = &[
    (0x10, 32),
    (0x11, 24),
    (0x12, 8),
    (0x13, 24),
    (0x14, 8),
    (0x17, 8),
    (0x18, 16),
    (0x19, 24),
    (0x1a, 48),
    (0x1b, 32),
    (0x1d, 16),
    (0x1e, 16),
    (0x20, 32),
    (0x21, 16),
    (0x22, 16),
    (0x23, 32),
    (0x24, 24),
    (0x25, 8),
    (0x26, 32),
    (0x27, 24),
    (0x28, 32),
    (0x29, 16),
    (0x2a, 16),
    (0x2b, 40),
    (0x2f, 8),
    (0x30, 24),
    (0x31, 32),
    (0x32, 8),
    (0x33, 16),
    (0x34, 8),
    (0x35, 16),
    (0x36, 24),
    (0x37, 32),
    (0x40, 16),
    (0x41, 8),
    (0x42, 24),
    (0x77, 24),
];

const TAILS: &[&str] = &["", "a", "a.b", "a.*", "*", "e", "not a topic\n"];

/// Puts some digests.
pub(crate) fn digests(random: &mut Random, writer: &mut Writer<'_>, ids: &[NodeId]) {
    for _ in 0..random.between(1, 6) {
        let (kind, size) = random.pick(KINDS);
        let mut digest = vec![0; size];
        for word in digest[4..].chunks_mut(4) {
            let value = match random.below(6) {
                0 | 1 => 0,
                2 | 3 => random.below(16) as u32,
                4 => u32::MAX,
                _ => random.next() as u32,
            };
            word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
        }
        // Somebody's id where some digests have one.
        if digest.len() >= 24 && random.below(4) == 0 {
            digest[8..24].copy_from_slice(&random.pick(ids).0);
        }
        match random.below(3) {
            0 => digest.extend_from_slice(random.pick(TAILS).as_bytes()),
            1 => {
                let mut tail = vec![0; random.below(64) as usize];
                random.fill(&mut tail);
                digest.extend(tail);
            }
            _ => {}
        }
        let len = (digest.len() as u16).to_le_bytes();
        digest[0] = kind;
        digest[1] = random.below(4) as u8;
        digest[2..4].copy_from_slice(&len);
        let _fits = writer.put_encoded(&digest);
    }
}

/// Puts what stands on a stream: definitions, messages and parts that do not fit together.
pub(crate) fn records(random: &mut Random, writer: &mut Writer<'_>) {
    for _ in 0..random.between(1, 8) {
        let handle = random.below(4) as u32;
        let seq = match random.below(4) {
            0 => random.next(),
            _ => random.below(64),
        };
        let mut payload = vec![0; random.below(100) as usize];
        random.fill(&mut payload);
        let _fits = match random.below(4) {
            0 => writer.put_define(handle, seq, random.pick(&["a", "a.b", "e", "g"])),
            1 => writer.put_message(handle, random.coin().then_some(seq), &payload),
            2 => {
                let fragment = Fragment {
                    handle: handle.into(),
                    seq: seq.into(),
                    offset: (random.below(4) as u32 * 50).into(),
                    total: (random.below(400) as u32).into(),
                    ..Default::default()
                };
                writer.put_fragment(&fragment, &payload)
            }
            _ => {
                digests(random, writer, &[NodeId([1; 16])]);
                true
            }
        };
    }
}
