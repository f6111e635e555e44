//! Every bound of this crate, with the sum that justifies it. Read by all modules; changes nothing at run time.

/// Shards of one node. 16 sockets pairs and one hello socket stay far below a reuseport group's practical size, and the
/// mesh of queues grows with the square: 16 x 15 rings.
pub const SHARDS_MAX: usize = 16;

/// Values of the steer byte.
pub const STEERS: usize = 256;

/// Bytes of one receive slot when the kernel coalesces (GRO): the largest UDP payload it hands over in one piece.
pub const SLOT_BYTES_GRO: usize = 65_536;
/// Bytes of one slot of the hello socket. No HELLO is longer than one Ethernet frame; a longer one is cut and refused.
pub const SLOT_BYTES_HELLO: usize = 2_048;
/// Receive slots at start: 2 x 64 KiB, so that an idle node stays small.
pub const SLOTS_MIN: usize = 2;
/// Receive slots of the data socket at most: 32 x 64 KiB = 2 MiB, half of the usual `rmem_max` of 4 MiB.
pub const SLOTS_DATA_MAX: usize = 32;
/// Receive slots of the control socket at most: PAIR is small, 8 x 64 KiB hold 5,000 acks.
pub const SLOTS_CONTROL_MAX: usize = 8;
/// Receive slots of the hello socket, which is also its budget per turn: junk cannot take more than this of a turn.
pub const SLOTS_HELLO: usize = 16;
/// Full batches of one socket in a turn before the other inputs get their turn.
pub const BATCHES_PER_TURN_MAX: usize = 4;
/// Batches in a row that came at most a quarter full before the slots are halved.
pub const SHRINK_AFTER_BATCHES: u32 = 4_096;

/// Messages of one `sendmmsg`.
pub const SEND_BATCH_MAX: usize = 64;
/// Segments of one GSO send. Kernels before 6.9 stop at 64.
pub const GSO_SEGMENTS_MAX: usize = 64;
/// Bytes of one GSO send: the largest IPv4 UDP payload is 65,507; some room is left for options.
pub const GSO_BYTES_MAX: usize = 65_000;
/// Routes on which segmentation offload is remembered as broken; the oldest gives way.
pub const GSO_OFF_ROUTES_MAX: usize = 64;
/// How long segmentation offload stays off on a route that refused it.
pub const GSO_OFF_NS: u64 = 600 * SECOND_NS;
/// How often one send is tried again after the kernel reported another datagram's error on it.
pub const SEND_RETRIES_MAX: usize = 4;
/// Entries read from a socket's error queue in one turn.
pub const ERRORS_PER_TURN_MAX: usize = 32;
/// Bytes of our own datagram that an ICMP error quotes and that we keep: a PAIR header is 16, IPv4 routers quote 28 at least.
pub const QUOTED_BYTES_MAX: usize = 64;

/// Receive buffer asked for the data socket of one shard.
pub const RCVBUF_DATA_BYTES: usize = 4 << 20;
/// Receive buffer asked for the control socket of one shard: 2,000 PAIR datagrams/s per peer leave room for 1,000 peers' worth of one turn.
pub const RCVBUF_CONTROL_BYTES: usize = 1 << 20;
/// Receive buffer of the hello socket: small on purpose, a flood of handshakes is dropped here by the kernel.
pub const RCVBUF_HELLO_BYTES: usize = 256 << 10;
/// Send buffer asked for each socket.
pub const SNDBUF_BYTES: usize = 4 << 20;

/// One ring between two shards: datagrams that reached the wrong one, at most about 4 coalesced runs.
pub const MESH_RING_BYTES: usize = 256 << 10;

/// One second in the unit of all times here.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Instructions that Linux takes in one classic BPF program (`BPF_MAXINSNS`).
pub const BPF_INSTRUCTIONS_MAX: usize = 4_096;

const _: () = assert!(SLOTS_MIN <= SLOTS_CONTROL_MAX && SLOTS_CONTROL_MAX <= SLOTS_DATA_MAX);
const _: () = assert!(SLOTS_HELLO <= SEND_BATCH_MAX && SLOTS_DATA_MAX <= SEND_BATCH_MAX);
const _: () = assert!(SHARDS_MAX <= STEERS);
// The worst steering program: a leaf of 3 instructions for each steer value, an inner node of 2 between them, 16 around.
const _: () = assert!(3 * STEERS + 2 * (STEERS - 1) + 16 <= BPF_INSTRUCTIONS_MAX);
