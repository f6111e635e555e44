//! Every bound of the management service, with the sum or the reason behind it.

use std::time::Duration;

/// Connections at a time, TCP and Unix together. One has at most some 80 KiB of TLS and HTTP buffers besides its body: 20 MiB.
/// Those above wait in the kernel's queue until one ends.
pub const CONNECTIONS: usize = 256;
/// Those of them that only the Unix socket has: however many come from the network, the daemon's own user gets in.
pub const CONNECTIONS_UNIX: usize = 16;
/// Bytes that a connection reads ahead. Twice the head, so that one that is too long is told so in words; hyper itself
/// refuses what does not fit here, without a body.
pub const READ_BUFFER: usize = 2 * HEAD_BYTES;
/// Bytes of a request's line and headers together. Gossiperl's clients send some 200.
pub const HEAD_BYTES: usize = 16 << 10;
/// Bytes of a body: the largest message, and 64 KiB for what JSON puts around it.
pub const BODY_BYTES: usize = (4 << 20) + (64 << 10);
/// Bytes of all bodies that are being received: eight of the largest. More are asked to come again.
pub const BODIES_BYTES: usize = 8 * BODY_BYTES;
/// A request's head has come by then, counted from its first byte.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// A request is answered by then, counted from its head: its body has come, and the engine, which itself gives up after 10 s, has said.
pub const REQUEST_TIME: Duration = Duration::from_secs(30);
/// A connection without a request is closed after this.
pub const IDLE_TIME: Duration = Duration::from_secs(60);
/// A peer that takes nothing of its answer for so long is gone.
pub const WRITE_TIME: Duration = Duration::from_secs(30);
/// A TLS handshake is done by then.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Requests under way may end within this when the daemon stops. With [`BLOCKING_END`] that is less than 1 s.
pub const SHUTDOWN_TIME: Duration = Duration::from_millis(600);
/// Questions to shards under way may end within this after it.
pub const BLOCKING_END: Duration = Duration::from_millis(200);
/// Pause after accepting failed, usually for want of descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Threads for what waits: a shard's answer, a disk, the members to hear of a subscription; and one for a password's hash. All that
/// may be on one have their turn before, so that nothing waits behind what another kind of asker asks.
pub const BLOCKING_THREADS: usize = ASKING + ASKING_OWNER + ASKING_SERVICE + 1;
/// Those for the network: two subscriptions, one change of overlays, and one for what only looks.
pub const ASKING: usize = 4;
/// Those for the daemon's own user, for the same.
pub const ASKING_OWNER: usize = 4;
/// Those for the service by itself: one look at the shards for health, one sample for InfluxDB, and the reading of its secrets. Each
/// waits for the one before it, so that none waits for a thread.
pub const ASKING_SERVICE: usize = 3;
/// A blocking thread without work ends after this, so that a node at rest has none.
pub const BLOCKING_IDLE: Duration = Duration::from_secs(1);
/// Questions of the network that wait for its threads or are on them. A shard answers within microseconds; one that does not would
/// otherwise let them pile up, 10 s each.
pub const QUESTIONS: usize = 64;
/// The same of the daemon's own user: one for each connection that the Unix socket has.
pub const QUESTIONS_OWNER: usize = CONNECTIONS_UNIX;
/// The same of the service by itself: never more than it has threads.
pub const QUESTIONS_SERVICE: usize = ASKING_SERVICE;
/// A shard that does not answer within this is stuck: a turn takes milliseconds at most.
pub const LIVE_TIME: Duration = Duration::from_secs(1);
/// How long an answer to that is good for others who ask: ten looks a second, however many ask.
pub const LIVE_FRESH: Duration = Duration::from_millis(100);

/// Pause before the service starts again after a panic, doubled each time.
pub const RESTART_MIN: Duration = Duration::from_millis(100);
/// The longest such pause.
pub const RESTART_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether anything goes on in a life of the service: it has so long to answer.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks one after the other without a beat after which it hangs: 10 to 15 s. Nothing that it does by itself takes a tenth of that.
pub const SILENT_LOOKS: u32 = 2;
/// Threads of lives that hang at a time, each with what it holds: after so many of them no other is begun.
pub const HUNG_MAX: usize = 3;
/// The daemon waits so long for the service to end: several times what it takes.
pub const STOP_TIME: Duration = Duration::from_secs(3);
/// A panic after so long a life is the first one again.
pub const RESTART_FORGOTTEN: Duration = Duration::from_secs(60);

/// KiB of memory that hashing a password takes (argon2id: m = 12 MiB, t = 3, p = 1, one of the settings that OWASP calls
/// equal). One runs at a time: this is all that passwords cost.
pub const HASH_KIB: u32 = 12 << 10;
/// Passes over it.
pub const HASH_PASSES: u32 = 3;
/// Hashes that wait for the one that runs. At some 30 ms each the last waits half a second.
pub const HASHES_WAITING: usize = 16;
/// Passwords that were right lately, remembered under a key of this start: 64 entries of 40 bytes.
pub const REMEMBERED: usize = 64;
/// Bytes of a password.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 12..=256;

/// Failures of one source under one name within [`FAILURE_WINDOW`] that lock it out.
pub const FAILURES: u32 = 5;
/// See [`FAILURES`].
pub const FAILURE_WINDOW: Duration = Duration::from_secs(10);
/// How long the first time, doubled with each failure after that.
pub const LOCK_MIN: Duration = Duration::from_secs(1);
/// The longest.
pub const LOCK_MAX: Duration = Duration::from_secs(60);
/// (source, name) pairs whose failures are remembered, some 100 bytes each: 100 KiB. The one that failed longest ago makes room.
pub const FAILING: usize = 1024;

/// Tokens of one overlay: a request with a token compares it with each, some 0.1 us.
pub const TOKENS: usize = 256;
/// Bytes of the name of a token.
pub const TOKEN_NAME_BYTES: usize = 64;
/// The longest that a token is valid, or a rotated one stays so: ten years, in s.
pub const TOKEN_SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// Messages that are being published over this service: one order each to a shard, and at most [`BODIES_BYTES`] together.
pub const PUBLISHES: usize = 32;
/// Publishers that it keeps open in one overlay, one for each topic: some 200 bytes each. The one used longest ago makes room, and
/// there always is one whose outcomes nobody waits for.
pub const PUBLISHERS: usize = 64;
/// How long a message waits for room in the overlay's store: longer than a subscriber that takes nothing may hold it up, and than
/// a node that has just joined waits for subscriptions, 5 s each.
pub const ROOM_TIME: Duration = Duration::from_secs(8);
/// Pause between two tries meanwhile: 400 of them.
pub const ROOM_LOOK: Duration = Duration::from_millis(20);
/// How long outcomes are waited for, unless the request says another time,
pub const CONFIRM_TIME: Duration = Duration::from_secs(10);
/// and the longest that it may say: with a body that took 5 s to come the answer is there within [`REQUEST_TIME`].
pub const CONFIRM_TIME_MAX: Duration = Duration::from_secs(25);

/// Streams of events and sockets at a time: 64 of the 240 connections of the network. Each has a ring of twice the
/// largest message, 4 MiB with the default `max_message`, of which only what waits in it takes memory; and one batch.
pub const STREAMS: usize = 64;
/// Subscriptions that wait for the members to hear of them, 4 s at most each, of the network and as many of the daemon's own user:
/// half of the threads, the others are for questions.
pub const SUBSCRIBING: usize = ASKING / 2;
/// Patterns of one stream.
pub const PATTERNS: usize = 16;
/// Changes of members that are told together, some 500 bytes each.
pub const CHANGES: usize = 128;
/// A stream of which nothing was written for so long gets a line of comment: proxies close what is silent for longer.
pub const BEAT: Duration = Duration::from_secs(15);
/// Bytes of events that go out together, and of one more: enough that the system calls do not count.
pub const BATCH_BYTES: usize = 64 << 10;

/// Messages that a socket may have unacknowledged, if its client says nothing,
pub const CREDIT: usize = 64;
/// and the most that it may grant: some 100 bytes each are remembered, 6.4 MiB for all sockets.
pub const CREDIT_MAX: usize = 1024;
/// Bytes of a frame that a client sends: a message of 1 MiB and what is around it. Larger ones are published by a request, whose body
/// has a bound for all together; these have 64 times this, 68 MiB.
pub const SOCKET_FRAME_BYTES: usize = (1 << 20) + (64 << 10);
/// Bytes that a socket reads at a time.
pub const SOCKET_READ_BUFFER: usize = 16 << 10;
/// Bytes that wait for a client that is slow: a batch, and the largest message in base64 with what is around it.
pub const SOCKET_WRITE_BUFFER: usize = BATCH_BYTES + 2 * BODY_BYTES;
/// Messages of one socket whose outcomes are waited for: a quarter of what may be published at a time.
pub const SOCKET_OUTCOMES: usize = PUBLISHES / 4;
/// A client of which nothing came for so long, not even answers to pings, [`BEAT`] apart, is gone.
pub const SOCKET_SILENCE: Duration = Duration::from_secs(30);
/// A client that is told why its socket is closed has so long to hear it and to close it, too.
pub const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Subscriptions in one answer, some 400 bytes each.
pub const SUBSCRIPTIONS: usize = 1_000;
/// The same of Gossiperl's path, which has no parts: some 150 bytes each, 1.5 MiB.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;

/// How long a drain may wait until what is owed is confirmed: a day, as messages wait for a dead node.
pub const DRAIN_SECONDS_MAX: u64 = 86_400;

/// Time between two samples of every overlay's counters for statistics by window. One wakes each shard once.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// A sample that is being taken may end within this when the daemon stops.
pub const SAMPLE_END: Duration = BLOCKING_END;
/// Rings of samples: spacing in samples of the one before, and length. 10 s over 10 min, 1 min over 1 h, 10 min over 1 d.
pub const RINGS: [(u64, usize); 3] = [(1, 61), (6, 61), (60, 145)];
/// Overlays that have rings: as many as a node runs. A sample has 120 bytes; the rings grow to room for 64, 64 and 256 of them, 46 KB
/// after a day, 11.8 MB for as many overlays as a node may run. Deliveries by age take some 4 bytes a sample for each bucket that has
/// any: with the usual 50 buckets and never a rest 53 KB an overlay. Besides that each peer with traffic takes some 60 bytes.
pub const SAMPLED_OVERLAYS: usize = 256;

/// A request with statistics is answered by then, connecting included.
pub const POST_TIME: Duration = Duration::from_secs(10);
/// Bytes of points that one of them has, unless the points of one snapshot are more.
pub const POST_BYTES: usize = 1 << 20;
/// Pause after one that failed, doubled each time; half of it at least is waited.
pub const POST_PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
pub const POST_PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest that the destination may have itself waited for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// A self-made certificate is valid for so many days,
pub const CERTIFICATE_DAYS: u64 = 365;
/// and made anew so many before its end.
pub const CERTIFICATE_RENEWAL_DAYS: u64 = 30;
/// Bytes of a PEM file: a chain of a few certificates takes 10 KB.
pub const PEM_BYTES: u64 = 1 << 20;

const _: () = {
    assert!(CONNECTIONS_UNIX < CONNECTIONS);
    assert!(PUBLISHES < PUBLISHERS);
    assert!(CREDIT <= CREDIT_MAX);
    assert!(SOCKET_SILENCE.as_secs() >= 2 * BEAT.as_secs());
    assert!(STREAMS < CONNECTIONS - CONNECTIONS_UNIX);
    assert!(SUBSCRIBING > 0 && SUBSCRIBING + 1 < ASKING && SUBSCRIBING + 1 < ASKING_OWNER);
    assert!(CONFIRM_TIME_MAX.as_secs() < REQUEST_TIME.as_secs());
    assert!(RINGS[0].0 == 1 && RINGS[2].1 * 10 > 24 * 60);
    assert!(HEAD_TIME.as_secs() <= REQUEST_TIME.as_secs());
    assert!(SHUTDOWN_TIME.as_millis() + BLOCKING_END.as_millis() < STOP_TIME.as_millis());
    assert!(SHUTDOWN_TIME.as_millis() + BLOCKING_END.as_millis() < 1_000);
    assert!(*PASSWORD_BYTES.start() >= 12);
};
