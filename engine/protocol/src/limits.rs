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
/// A node this far behind its stream's head lags.
pub const STREAM_BEHIND: u64 = STREAM_WINDOW / 2;
/// Sealed datagrams that may wait for the slowest live node before publishers wait.
pub const STREAM_BACKLOG: u64 = STREAM_WINDOW / 4;
/// ... and their bytes: half of the credit, as much again as a receive buffer of the usual size holds.
pub const STREAM_BACKLOG_BYTES: u32 = 4 << 20;
/// Datagrams of large messages that may wait to be sealed before publishers of large ones wait, too: one of the largest does
/// not keep another out. Of the smallest datagrams; of larger ones as many as have the same bytes.
pub const STREAM_WAITING: u64 = STREAM_BEHIND;
/// How long the slowest of several live nodes may hold the others back, in ns: twice what a thread waits for a core that seven others
/// want, which have it for 3 ms each.
pub const STREAM_HOLD: u64 = 50_000_000;
/// How long a node that lags may make no progress before its messages go to catch-up, in ns.
pub const STREAM_STALL: u64 = 1_000_000_000;
/// How long, at least, nothing of a stream must arrive at a node that is heard before its datagrams are held too large, in ns.
pub const SIZE_STALL: u64 = 200_000_000;
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
/// Messages that an ordered subscription holds back behind a hole of one publisher.
pub const HOLD_MESSAGES: usize = 4096;
/// Bytes that they take: the largest message, and some for what keeping each of them costs.
pub const HOLD_BYTES: usize = MAX_MESSAGE_CAP + 64 * HOLD_MESSAGES;
/// Bytes that all subscriptions of an overlay hold back; what is more is fetched when the holes are closed.
pub const HELD: usize = 32 << 20;
/// FETCHes to one publisher node that may be under way: 100,000 publishers with a message each are asked in 105 round trips.
pub const FETCHES: usize = 960;
/// FETCHes of one node that wait here for their answers; more are dropped, and asked again.
pub const FETCH_JOBS: usize = 1024;
/// Bytes that the FETCHes to one publisher node ask for: 100 MB/s at 40 ms.
pub const FETCH_WINDOW: usize = 4 << 20;
/// Most and least bytes that one FETCH asks for.
pub const FETCH_BYTES: u32 = 1 << 20;
/// See [`FETCH_BYTES`]: so small that as many FETCHes as may be under way fit the window.
pub const FETCH_LEAST: u32 = 4 << 10;
/// Messages that one FETCH asks for.
pub const FETCH_COUNT: u32 = 16_384;
/// Disjoint ranges of one publisher's numbers that a subscription keeps apart; honest loss and reordering make some hundreds.
pub const RANGES: usize = 4096;

/// Local subscriptions of one overlay.
pub const MAX_SUBS: usize = 1 << 20;
/// Publishers (topics) of one overlay on this node, and of one peer as seen from here.
pub const MAX_PUBLISHERS: usize = 1 << 21;
/// Publishers that keep the memory of what they had outstanding, for their next message.
pub const RESTING: usize = 1024;
/// Changes of the own table that are kept for increments; older peers get the whole table.
pub const TABLE_LOG: usize = 4096;
/// A message that could not be written where it goes leaves its memory to the next, if it is no longer than this: a datagram of the
/// longest. Longer ones are rare, and each overlay would keep the memory of one.
pub const DRAFT: usize = 64 << 10;
/// Segments of one GSO send. Kernels before 6.9 stop at 64.
pub const GSO_SEGMENTS_MAX: usize = 64;
/// Bytes of one GSO send: what devices segment (65,535 B) less the longest headers, 45 datagrams of 1,448 B.
pub const GSO_BYTES_MAX: usize = 65_400;
/// Paths are probed for at most this many bytes of UDP payload, unless less is asked for: what loopback carries, in one chunk of the
/// store and one send.
pub const DATAGRAM_MAX: usize = 64_992;
/// How long the streams of others wait for a node with a new link to show what its path carries, in ns.
pub const PROBING: u64 = 2_000_000_000;
/// How long `subscribe` waits for every alive member, in ns.
pub const SUBSCRIBE_WAIT: u64 = 2_000_000_000;
/// How long publishing waits for tables after joining, in ns.
pub const SYNC_WAIT: u64 = 5_000_000_000;
/// An attached client that takes nothing for this long no longer holds publishers back, in ns.
pub const SLOW_DETACH: u64 = 5_000_000_000;

const _: () = assert!(MAX_MESSAGE_CAP as u64 * 2 <= CREDIT);
// As many datagrams as a chunk holds go in one send, of the size that Ethernet carries too.
const _: () = assert!(GSO_BYTES_MAX / 1448 == CHUNK / 1448);
const _: () = assert!(STREAM_BACKLOG_BYTES as u64 * 2 <= CREDIT && DATAGRAM_MAX <= CHUNK);
const _: () = assert!(STREAM_BACKLOG_BYTES as usize * 8 <= RETAIN_DEFAULT);
const _: () = assert!(MAX_MESSAGE_CAP * 2 <= REASSEMBLY);
const _: () = assert!(MAX_MESSAGE_CAP + 64 <= HOLD_BYTES && HOLD_BYTES <= HELD);
const _: () = assert!(FETCHES < FETCH_JOBS && FETCHES * FETCH_LEAST as usize <= FETCH_WINDOW);
// The cap fits into half the window, and is less than may wait: it is cut at more than 1,100 bytes per datagram.
const _: () = assert!(MAX_MESSAGE_CAP as u64 <= STREAM_BEHIND * (MIN_DATAGRAM_SIZE as u64 - 100));
const _: () = assert!(STREAM_BACKLOG < STREAM_BEHIND && STREAM_BEHIND < STREAM_WINDOW);
const _: () = assert!(MAX_MESSAGE_CAP * 2 <= RETAIN_DEFAULT);
