//! Every bound of the core in one place, with the sums that justify them.

use tidings_wire::MIN_DATAGRAM_SIZE;

/// Default and hard limit of a message.
pub const MAX_MESSAGE_DEFAULT: usize = 1 << 20;
/// No configuration may exceed this.
pub const MAX_MESSAGE_CAP: usize = 4 << 20;
/// Default bound of an overlay's store.
pub const RETAIN_DEFAULT: usize = 64 << 20;
/// Smallest useful store: two of the largest messages and a chunk for each of a few streams.
pub const RETAIN_MIN: usize = 2 * MAX_MESSAGE_DEFAULT + 8 * CHUNK;

/// One chunk of the store: as much as one GSO send may hold.
pub const CHUNK: usize = 64 << 10;
/// Replay window of a stream in datagrams: no node is sent a datagram further ahead of its floor.
pub const STREAM_WINDOW: u64 = 8192;
/// A node this far behind its stream's head goes to catch-up.
pub const STREAM_BEHIND: u64 = STREAM_WINDOW / 2;
/// Sealed datagrams that may wait for the slowest live node before publishers wait.
pub const STREAM_BACKLOG: u64 = STREAM_WINDOW / 4;
/// How long the slowest of several live nodes may hold the others back, in ns. A guess: one bufferbloat's worth.
pub const STREAM_HOLD: u64 = 20_000_000;
/// How long the only live node may make no progress before its messages go to catch-up, in ns.
pub const STREAM_STALL: u64 = 1_000_000_000;
/// Set streams of one overlay and lane.
pub const MAX_STREAMS: usize = 256;
/// Streams that one peer may have open here.
pub const MAX_STREAMS_PER_PEER: usize = 512;

/// Bytes that a receiver lets a publisher send ahead of its acknowledgements.
pub const CREDIT: u64 = 8 << 20;
/// Receive buffer share assumed until the engine states the real one.
pub const RCVBUF_DEFAULT: u32 = 208 << 10;

/// Bytes of partly received large messages, per overlay.
pub const REASSEMBLY: usize = 16 << 20;
/// Bytes that an ordered subscription holds back behind a hole.
pub const HOLD_BYTES: usize = 4 << 20;
/// Messages that an ordered subscription holds back behind a hole.
pub const HOLD_MESSAGES: usize = 4096;
/// Bytes that one FETCH asks for.
pub const FETCH_BYTES: u32 = 256 << 10;
/// Messages that one FETCH asks for.
pub const FETCH_COUNT: u32 = 4096;
/// Disjoint ranges that one range set keeps before it refuses.
pub const RANGES: usize = 16_384;

/// Local subscriptions of one overlay.
pub const MAX_SUBS: usize = 1 << 20;
/// Publishers (topics) of one overlay on this node, and of one peer as seen from here.
pub const MAX_PUBLISHERS: usize = 1 << 21;
/// Publishers that keep the memory of what they had outstanding, for their next message.
pub const RESTING: usize = 1024;
/// Changes of the own table that are kept for increments; older peers get the whole table.
pub const TABLE_LOG: usize = 4096;
/// Paths are probed for this many bytes of UDP payload: Ethernet, less an IPv6 and a UDP header.
pub const DATAGRAM_MAX: usize = 1448;
/// How long the streams of others wait for a node with a new link to show what its path carries, in ns.
pub const PROBING: u64 = 2_000_000_000;
/// How long `subscribe` waits for every alive member, in ns.
pub const SUBSCRIBE_WAIT: u64 = 2_000_000_000;
/// How long publishing waits for tables after joining, in ns.
pub const SYNC_WAIT: u64 = 5_000_000_000;
/// An attached client that takes nothing for this long no longer holds publishers back, in ns.
pub const SLOW_DETACH: u64 = 5_000_000_000;

const _: () = assert!(MAX_MESSAGE_CAP as u64 * 2 <= CREDIT);
const _: () = assert!(MAX_MESSAGE_CAP * 2 <= REASSEMBLY);
const _: () = assert!(MAX_MESSAGE_CAP <= HOLD_BYTES);
// The cap fits into half the window: it is cut at more than 1,100 bytes per datagram.
const _: () = assert!(MAX_MESSAGE_CAP as u64 <= STREAM_BEHIND * (MIN_DATAGRAM_SIZE as u64 - 100));
const _: () = assert!(STREAM_BACKLOG < STREAM_BEHIND && STREAM_BEHIND < STREAM_WINDOW);
const _: () = assert!(MAX_MESSAGE_CAP * 2 <= RETAIN_DEFAULT);
