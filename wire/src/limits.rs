//! Every bound of the wire format, with the sum that justifies it and the asserts on how they relate.

use crate::header::{FAN_HEADER, HELLO_HEADER, PAIR_HEADER, TAG};

/// UDP payload that every path carries (IPv6 minimum MTU 1280 less 40 + 8, rounded down); larger only after probing.
pub const MIN_DATAGRAM_SIZE: usize = 1200;
/// Largest UDP payload ever sent: 65,535 less 8 (UDP) less 20 (IPv4).
pub const MAX_DATAGRAM_SIZE: usize = 65_507;
/// Smallest H1 datagram, so that no answer to it is larger than it.
pub const MIN_H1_DATAGRAM: usize = 256;

/// Records in one keyring; the slot is three bits.
pub const MAX_KEY_SLOTS: usize = 8;
/// Counters of one key: 2^26 datagrams of 9,000 B keep the GCM advantage below 2^-58.
pub const EPOCH_BITS: u32 = 26;
/// No datagram is sealed or opened at this counter or above.
pub const COUNTER_END: u64 = 1 << 60;
/// Failed opens after which a session is worn out: half of what ChaCha20-Poly1305 allows (2^36).
pub const FORGERY_END: u64 = 1 << 35;

/// Counters below the highest that PAIR still accepts: a quarter of a second at its 8,000 datagrams/s.
pub const PAIR_WINDOW: u64 = 2048;
/// Counters below the highest that BULK still accepts: 82 ms at 100,000 datagrams/s.
pub const BULK_WINDOW: u64 = 8192;
/// Counters from its floor on that a FAN receiver tracks.
pub const FAN_WINDOW: u64 = 8192;
/// Bitmap words of an acknowledgement: the whole window, 1 KiB.
pub const MAX_ACK_WORDS: usize = 128;

/// Bytes of a topic or a pattern.
pub const MAX_TOPIC: usize = 255;
/// Bytes of a member's name or rack: HOST_NAME_MAX.
pub const MAX_NAME: usize = 64;
/// Addresses that one member advertises.
pub const MAX_ADDRESSES: usize = 8;
/// Bytes of a member's metadata.
pub const MAX_METADATA: usize = 512;
/// No message is numbered by this seq or above: runs end within u64 whatever is added to them.
pub const SEQ_END: u64 = 1 << 62;
/// Hard cap of one message.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Anti-entropy buckets of a member table.
pub const BUCKETS: usize = 256;
/// Bucket hashes of one digest, so that it fits the smallest datagram.
pub const BUCKETS_PER_DIGEST: usize = 128;
/// Bytes of one digest: its length is u16.
pub const MAX_DIGEST: usize = 65_535;

const PAIR_BODY: usize = MIN_DATAGRAM_SIZE - PAIR_HEADER - TAG;
const CHUNK_HEAD: usize = 8;
const MEMBER_MAX: usize = 80 + 2 * MAX_NAME + MAX_ADDRESSES * 18 + MAX_METADATA;
const H3_MAX: usize = HELLO_HEADER + 152 + MAX_ADDRESSES * 18 + PAIR_HEADER + TAG + TAG;

const _: () = {
    assert!(CHUNK_HEAD + MEMBER_MAX <= PAIR_BODY);
    assert!(CHUNK_HEAD + 8 + BUCKETS_PER_DIGEST * 8 <= PAIR_BODY);
    assert!(48 + MAX_ACK_WORDS * 8 <= PAIR_BODY);
    assert!(24 + MAX_TOPIC + CHUNK_HEAD <= PAIR_BODY);
    assert!(H3_MAX <= MIN_DATAGRAM_SIZE);
    assert!(FAN_WINDOW as usize == MAX_ACK_WORDS * 64);
    assert!(FAN_HEADER + TAG + 16 + MAX_TOPIC < MIN_DATAGRAM_SIZE);
    assert!(PAIR_WINDOW.is_power_of_two() && BULK_WINDOW.is_power_of_two());
    assert!(BULK_WINDOW < 1 << EPOCH_BITS && FAN_WINDOW < 1 << EPOCH_BITS);
    assert!(BUCKETS.is_multiple_of(BUCKETS_PER_DIGEST));
};
