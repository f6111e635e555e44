//! Every bound of this crate, with the sum that justifies it. Read by all modules; changes nothing at run time.

pub use tidings_protocol::limits::{DATAGRAM_MAX, GSO_BYTES_MAX, GSO_SEGMENTS_MAX};

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
/// Receive slots of the data socket at most: 8 x 64 KiB = 512 KiB fit a cache and half of a subscriber's ring; more in one call
/// brought nothing.
pub const SLOTS_DATA_MAX: usize = 8;
/// Receive slots of the control socket at most: PAIR is small, 8 x 64 KiB hold 5,000 acks.
pub const SLOTS_CONTROL_MAX: usize = 8;
/// Receive slots of the hello socket, which is also its budget per turn: junk cannot take more than this of a turn.
pub const SLOTS_HELLO: usize = 16;
/// How long the data socket is left unread at most for a reader that is short of room: as long as a thread may have to wait for
/// a core that another thread uses.
pub const BRAKE_NS: u64 = 8 * MILLISECOND_NS;
/// Whoever made no room within that is not waited for again for so long, at first ...
pub const BRAKE_AGAIN_NS_MIN: u64 = 32 * MILLISECOND_NS;
/// ... and in the end, so that those that make none cost others less than a hundredth of the time.
pub const BRAKE_AGAIN_NS_MAX: u64 = SECOND_NS;
/// Full batches of one socket in a turn before the other inputs get their turn.
pub const BATCHES_PER_TURN_MAX: usize = 4;
/// How often a shard whose receive pools have grown looks whether they may shrink.
pub const RELAX_NS: u64 = SECOND_NS;

/// A shard that moves so many bytes ...
pub const BUSY_BYTES: u64 = 4 << 20;
/// ... within this time is busy. Joining a cluster of a thousand takes a quarter of it.
pub const BUSY_NS: u64 = SECOND_NS;

/// Messages of one `sendmmsg`.
pub const SEND_BATCH_MAX: usize = 64;
/// Routes on which segmentation offload is remembered as broken; the oldest gives way.
pub const GSO_OFF_ROUTES_MAX: usize = 64;
/// How long segmentation offload stays off on a route that refused it.
pub const GSO_OFF_NS: u64 = 600 * SECOND_NS;
/// A path that refuses datagrams for their size is logged once in this time.
pub const TOO_BIG_LOG_NS: u64 = 600 * SECOND_NS;
/// Paths of which that is remembered; of more nothing is logged meanwhile.
pub const TOO_BIG_LOG_MAX: usize = 64;
/// How often one send is tried again after the kernel reported another datagram's error on it.
pub const SEND_RETRIES_MAX: usize = 4;
/// Entries read from a socket's error queue in one turn.
pub const ERRORS_PER_TURN_MAX: usize = 32;
/// Bytes of our own datagram that an ICMP error quotes and that we keep: a PAIR header is 16, IPv4 routers quote 28 at least.
pub const QUOTED_BYTES_MAX: usize = 64;

/// Receive buffer asked for the data socket of one shard.
pub const RCVBUF_DATA_BYTES: usize = 4 << 20;
/// Receive buffer asked for the control socket of one shard: PAIR datagrams are small, and a peer sends at most 200 at once.
pub const RCVBUF_CONTROL_BYTES: usize = 1 << 20;
/// Receive buffer of the hello socket: small on purpose, a flood of handshakes is dropped here by the kernel.
pub const RCVBUF_HELLO_BYTES: usize = 256 << 10;
/// Send buffer asked for each socket.
pub const SNDBUF_BYTES: usize = 4 << 20;

/// One ring between two shards: datagrams that reached the wrong one, at most about 4 coalesced runs.
pub const MESH_RING_BYTES: usize = 256 << 10;

/// Blocks of 256 receiver indices: 12 of the 20 slot bits.
pub const BLOCKS: usize = 4_096;
/// Entries of a shard's ring: it waits for one descriptor and cancels one.
pub const URING_DEPTH: usize = 8;
/// A shard is quiet until so many sleeps in a row were shorter than this: with less than 100 wake-ups a second it is, and a question
/// with its answer does not count. A quiet shard sleeps in the set of descriptors itself, which costs one system call where the
/// executor makes eight.
pub const SHORT_NS: u64 = 10_000_000;
/// See [`SHORT_NS`].
pub const SHORTS_MAX: u32 = 8;
/// What is due so soon is not slept for: arming the timer alone takes about as long.
pub const NEAR_NS: u64 = 2_000;
/// So many times of polling in a row that data ended, without a sleep, and the shard reads the data socket without asking.
pub const FINDS_MIN: u32 = 8;
/// How often a shard that polls for data looks at everything else.
pub const LOOK_NS: u64 = 2_000;
/// What is due so soon is waited for without looking at descriptors: a look takes about as long.
pub const SOON_NS: u64 = 500;
/// A quiet shard waits for deadlines at least this far away to the next whole millisecond, without the timer.
pub const FAR_NS: u64 = 20_000_000;
/// How long adaptive polling looks after activity, in ns: twice the 20 us that a wake-up costs, and some.
pub const POLL_ADAPTIVE_NS: u64 = 50_000;
/// Idle times that adaptive polling remembers.
pub const POLL_HISTORY: u32 = 16;

/// Addresses of members kept on disk for one overlay.
pub const CACHED_PEERS_MAX: usize = 64;
/// Bytes read of any file in the data directory: 64 addresses of at most 64 bytes.
pub const STORED_FILE_BYTES_MAX: u64 = 4_096;

/// Commands that may wait for one shard.
pub const COMMANDS_MAX: usize = 1_024;
/// Errands at an overlay that moved wait so long for room at its new shard before the next look.
pub const PASSING_NS: u64 = MILLISECOND_NS;
/// Commands done in one turn; each may be as long as a subscription.
pub const COMMANDS_PER_TURN_MAX: usize = 16;
/// How long another thread waits for a shard to take or answer a command. A turn lasts a millisecond at most.
pub const COMMAND_WAIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Bells that may wait for one shard; when more ring, it looks at every port.
pub const BELLS_MAX: usize = 4_096;
/// Bells heard in one turn.
pub const BELLS_PER_TURN_MAX: usize = 1_024;
/// Forwarded datagrams taken from one other shard in a turn: one mesh ring of small ones.
pub const FORWARDED_PER_TURN_MAX: usize = 1_024;
/// Publishers and subscribers of other threads on one overlay: 16 bits of a bell.
pub const PORTS_MAX: usize = 1 << 16;
/// Sessions on one shard: local clients and handlers; the process' descriptors run out first.
pub const SESSIONS_MAX: usize = 1 << 16;
/// Bytes that a session reads from its descriptor in one turn.
pub const SESSION_READ_BYTES_MAX: usize = 256 << 10;
/// Bytes taken from one publisher's ring in a turn, so that its neighbours and the network get theirs: four GSO sends.
pub const PUBLISH_BYTES_PER_TURN_MAX: usize = 256 << 10;
/// Acknowledgement records taken from one subscriber in a turn.
pub const ACKS_PER_TURN_MAX: usize = 1_024;
/// Messages in one acknowledgement record of a subscriber.
pub const ACKS_HELD_MAX: u64 = 256;
/// A subscriber gives ring memory back in this many parts, so that it costs the shard's cache line rarely.
pub const RELEASE_PARTS: u64 = 16;
/// Ring of a publisher or subscriber: twice the default `max_message` of 1 MiB, and as much again.
pub const RING_BYTES_DEFAULT: usize = 4 << 20;
/// Ring of acknowledgements of a subscriber: 1,800 records.
pub const ACK_RING_BYTES: usize = 128 << 10;
/// Ring of a watcher: 200 changes of members, more wait at the shard.
pub const WATCH_RING_BYTES: usize = 8 << 10;
/// Ring of outcomes of a publisher: 2,700 ranges.
pub const OUTCOME_RING_BYTES: usize = 128 << 10;
/// Outcome ranges that may wait for a full ring before its publisher must wait; each is 48 bytes.
pub const OUTCOMES_WAITING_MAX: usize = 16_384;
/// Gaps that may wait for a subscriber's full ring one by one; more of them wait as wider ones, one for each publisher.
pub const GAPS_WAITING_MAX: usize = 16_384;
/// Presence events that may wait for a watcher's full ring one by one; of more than these, the last of each member waits.
pub const CHANGES_WAITING_MAX: usize = 16_384;
/// Notices that may wait for the control thread.
pub const NOTICES_MAX: usize = 1_024;

/// Bytes that handlers on a shard may publish ahead of the overlay's room.
pub const OUTBOX_BYTES_MAX: usize = 8 << 20;
/// Port of a node that is not told another.
pub const PORT_DEFAULT: u16 = 7_400;
/// Addresses that a join list may lead to.
pub const JOIN_ADDRESSES_MAX: usize = 256;
/// SRV records read of one answer.
pub const SRV_RECORDS_MAX: usize = 64;
/// How long an overlay's farewell may take before it is dropped as it is.
pub const LEAVE_NS: u64 = 2 * SECOND_NS;
/// How often the control thread keeps the addresses of members on disk.
pub const KEEP_PEERS: std::time::Duration = std::time::Duration::from_secs(10);
/// How often names in join lists are resolved anew that resolve and lead to somebody alive ...
pub const RESOLVE_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
/// ... how often others, as seeds are tried: at first ...
pub const RESOLVE_EAGER: std::time::Duration = std::time::Duration::from_secs(2);
/// ... for this long ...
pub const RESOLVE_EAGER_FOR: std::time::Duration = std::time::Duration::from_secs(600);
/// ... and afterwards.
pub const RESOLVE_LATER: std::time::Duration = std::time::Duration::from_secs(10);
/// How long an overlay's start waits for its join names; what comes later is told to it as it runs.
pub const RESOLVE_FIRST: std::time::Duration = std::time::Duration::from_secs(2);
/// A lookup without an answer for so long is made again: the system's resolver gives up after 3 servers x 2 tries x 5 s.
pub const LOOKUP_LOST: std::time::Duration = std::time::Duration::from_secs(60);
/// Lookups at the same time, each on a thread.
pub const LOOKUPS_MAX: usize = 16;
/// Name servers that are asked for SRV records: as many as the system's resolver uses (resolv.conf(5)).
pub const NAME_SERVERS_MAX: usize = 3;
/// First pause before a thread that panicked is started again; it doubles with each panic ...
pub const PANIC_BACK_OFF_MIN: std::time::Duration = std::time::Duration::from_millis(100);
/// ... up to this, which clients and generations can wait ...
pub const PANIC_BACK_OFF_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// ... and begins anew after so long without one.
pub const PANIC_FORGOTTEN: std::time::Duration = std::time::Duration::from_secs(60);
/// How long `subscribe` waits for its answer: the protocol's 2 s, and some.
pub const SUBSCRIBE_WAIT: std::time::Duration = std::time::Duration::from_secs(4);

/// One second in the unit of all times here.
pub const SECOND_NS: u64 = 1_000_000_000;
/// One millisecond in it.
pub const MILLISECOND_NS: u64 = 1_000_000;

/// UDP port of beacons: below the nodes' own ports, which are counted upwards where several run on a host.
pub const BEACON_PORT: u16 = 7_399;
/// Time between two beacons of an overlay ...
pub const BEACON_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// ... at least ...
pub const BEACON_EVERY_MIN: std::time::Duration = std::time::Duration::from_secs(1);
/// ... and at most: what no beacon told of for 3 minutes is forgotten, see the core's `seeds.rs`; beyond that discovery helps at a start.
pub const BEACON_EVERY_MAX: std::time::Duration = std::time::Duration::from_secs(300);
/// Time between the first beacons ...
pub const BEACON_EAGER_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// ... for so long after discovery was turned on.
pub const BEACON_EAGER_FOR: std::time::Duration = std::time::Duration::from_secs(10);
/// How often the interfaces are looked over: getifaddrs takes some 50 us.
pub const BEACON_LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);
/// Addresses from which beacons go out; a host with more names the interfaces to use.
pub const BEACON_ADDRESSES_MAX: usize = 32;
/// Datagrams read from the groups: a second, and at once. 5,000 nodes that send every 5 s are 1,000 a second; at 2 us each a flood
/// costs 1 % of a core.
pub const BEACONS_READ: (u64, u64) = (5_000, 1_000);
/// Datagrams read of one socket before the others.
pub const BEACONS_PER_TURN: usize = 64;
/// Beacons opened of those that pass the gate: a second, and at once. Only recorded ones pass it without the key.
pub const BEACONS_OPENED: (u64, u64) = (2_000, 1_000);
/// Beacons of which a core is told: a second, and at once. A shard has some microseconds of work with each.
pub const BEACONS_TOLD: (u64, u64) = (16, 64);
/// Addresses of which it is known that the core was told, for each overlay: as many as a large segment has, alive members, too.
pub const BEACONS_TOLD_MAX: usize = 1_024;
/// How often it is told of one that is still heard: three times before it forgets it.
pub const BEACONS_TOLD_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Instructions that Linux takes in one classic BPF program (`BPF_MAXINSNS`).
pub const BPF_INSTRUCTIONS_MAX: usize = 4_096;

const _: () = assert!(SLOTS_MIN <= SLOTS_CONTROL_MAX && SLOTS_CONTROL_MAX <= SLOTS_DATA_MAX);
const _: () = assert!(BRAKE_NS < BRAKE_AGAIN_NS_MIN && BRAKE_NS * 100 <= BRAKE_AGAIN_NS_MAX);
const _: () = assert!(SLOTS_HELLO <= SEND_BATCH_MAX && SLOTS_DATA_MAX <= SEND_BATCH_MAX);
const _: () = assert!(SHARDS_MAX <= STEERS);
// What is near is waited for by the timer, which knows nanoseconds.
const _: () = assert!(FAR_NS >= 10 * MILLISECOND_NS);
// A bell carries overlay slot and port in 16 bits each.
const _: () = assert!(PORTS_MAX <= 1 << 16);
const _: () = assert!(POLL_HISTORY <= 32 && BLOCKS << 8 == 1 << 20);
// The worst steering program: a leaf of 3 instructions for each steer value, an inner node of 2 between them, 16 around.
const _: () = assert!(3 * STEERS + 2 * (STEERS - 1) + 16 <= BPF_INSTRUCTIONS_MAX);

/// Subscriptions that are told at a time: some 300 bytes each, 0.3 ms of a shard.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
