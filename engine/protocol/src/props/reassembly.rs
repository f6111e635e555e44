//! Reassembly against messages that are put together byte by byte.

use std::collections::BTreeMap;

use super::Input;
use crate::limits::{MAX_MESSAGE_CAP, REASSEMBLY};
use crate::peer::PeerIx;
use crate::receive::reassembly::{Lay, MessageKey, Part, Reassembly};

const S: u64 = 1_000_000_000;
/// A message without a new part goes after this time.
const STALE: u64 = 10 * S;
/// Messages up to this length are put together in the oracle as well.
const SMALL: usize = 16 << 10;

struct Message {
    bytes: Vec<Option<u8>>,
    total: usize,
    touched: u64,
}

impl Message {
    fn runs(&self) -> usize {
        let edge =
            |at: usize| self.bytes[at].is_some() && (at == 0 || self.bytes[at - 1].is_none());
        (0..self.bytes.len()).filter(|at| edge(*at)).count()
    }
}

#[derive(Default)]
struct Oracle {
    begun: BTreeMap<MessageKey, Message>,
    now: u64,
}

/// Parts come in any order, at any length, contradicting each other; time passes, peers go.
pub fn reassembly(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut parts, mut oracle) = (Reassembly::default(), Oracle::default());
    let mut steps = 0;
    while !input.is_empty() && steps < 256 {
        steps += 1;
        let op = input.u8();
        match op {
            0..8 => oracle.now += u64::from(op + 1) * S,
            8..16 => {
                let old = |m: &Message| m.touched + STALE <= oracle.now;
                let stale: Vec<_> = oracle
                    .begun
                    .iter()
                    .filter(|(_, m)| old(m))
                    .map(|(k, _)| *k)
                    .collect();
                assert_eq!(parts.drop_stale(oracle.now), stale);
                oracle.begun.retain(|key, _| !stale.contains(key));
            }
            16..20 => {
                parts.forget(PeerIx(u32::from(op & 1)));
                oracle
                    .begun
                    .retain(|key, _| key.peer != PeerIx(u32::from(op & 1)));
            }
            20..24 => {
                let (peer, handle) = (PeerIx(u32::from(op & 1)), u32::from(op >> 1 & 1));
                parts.forget_handle(peer, handle);
                oracle
                    .begun
                    .retain(|key, _| (key.peer, key.handle) != (peer, handle));
            }
            24..32 => {
                let peer = PeerIx(u32::from(op & 1));
                let (from, to) = (u64::from(input.u8() % 8), u64::from(input.u8() % 8));
                parts.discard(peer, 0, (from, to), &[]);
                oracle.begun.retain(|key, _| {
                    (key.peer, key.handle) != (peer, 0) || !(from..to).contains(&key.seq)
                });
            }
            _ => put(&mut parts, &mut oracle, op, &mut input),
        }
        assert!(oracle.begun.keys().all(|key| parts.has_begun(*key)));
        let held: usize = oracle.begun.values().map(|message| message.total).sum();
        assert!(held <= parts.bytes() && parts.bytes() <= REASSEMBLY);
        assert!(
            !oracle.begun.is_empty() || parts.bytes() == 0,
            "all room is given back"
        );
    }
}

fn put(parts: &mut Reassembly, oracle: &mut Oracle, op: u8, input: &mut Input<'_>) {
    let key = MessageKey {
        peer: PeerIx(u32::from(op & 1)),
        handle: u32::from(op >> 1 & 1),
        seq: u64::from(op >> 2 & 7),
    };
    let shape = input.u8();
    let total = match shape % 16 {
        0 => input.u32() | 1 << 20,
        1 => (1 << 20) + u32::from(input.u16()) * 64,
        2 => SMALL as u32,
        // Mostly what other parts of the message say.
        _ => 1500 + key.seq as u32 * 700,
    };
    let offset = match shape >> 4 & 3 {
        0 => 0,
        1 => input.u32(),
        _ => u32::from(input.u16()) % total.max(1),
    };
    let len = usize::from(input.u16()) % 3000;
    let part: Vec<u8> = (0..len)
        .map(|at| (at as u8).wrapping_mul(shape | 1) ^ op)
        .collect();
    let lay = Lay {
        offset,
        total,
        fetched: shape & 0x80 != 0,
    };
    let room = parts.has_room(total as usize, lay.fetched);
    let done = parts.put(key, lay, &part, oracle.now);
    let expected = oracle.put(key, lay, &part, room);
    assert_eq!(done, expected);
}

impl Oracle {
    fn put(&mut self, key: MessageKey, lay: Lay, part: &[u8], has_room: bool) -> Part {
        let (offset, total) = (lay.offset as usize, lay.total as usize);
        if total > MAX_MESSAGE_CAP || part.is_empty() || offset + part.len() > total {
            return Part::Bad;
        }
        if !self.begun.contains_key(&key) {
            if !has_room || (lay.fetched && offset > 0) {
                return Part::NoRoom;
            }
            let bytes = if total <= SMALL {
                vec![None; total]
            } else {
                Vec::new()
            };
            let touched = self.now;
            self.begun.insert(
                key,
                Message {
                    bytes,
                    total,
                    touched,
                },
            );
        }
        let message = self.begun.get_mut(&key).expect("it is begun");
        if message.total != total || message.runs() > total / 1024 + 8 {
            return Part::Bad;
        }
        message.touched = self.now;
        if total > SMALL {
            // Parts of some KiB cannot fill it in so few steps.
            return Part::Taken;
        }
        for (at, byte) in part.iter().enumerate() {
            message.bytes[offset + at] = Some(*byte);
        }
        if message.bytes.iter().any(Option::is_none) {
            return Part::Taken;
        }
        let whole = self.begun.remove(&key).into_iter().flat_map(|m| m.bytes);
        Part::Whole(whole.flatten().collect())
    }
}
