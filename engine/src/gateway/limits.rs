//! The bounds of the gateway, with the sums that justify them.

use std::time::Duration;

use tidings_wire::client::MAX_FRAME;
use tidings_wire::client::query::MAX_ANSWER;

use crate::limits::{SLOT_BYTES_GRO, SLOTS_DATA_MAX};

/// Clients attached at a time, logins included. Each takes one descriptor; a daemon's usual limit is 1,024 and more.
pub(crate) const CLIENTS_MAX: usize = 4096;
/// Logins under way at a time. A login lives at most [`LOGIN_TIME`]; the oldest gives way.
pub(crate) const LOGINS_MAX: usize = 256;
/// How long a client may take to log in.
pub(crate) const LOGIN_TIME: Duration = Duration::from_secs(5);
/// Bytes that a client may send before it is on its shard: HELLO, PROOF, questions, the first frame that names an overlay.
pub(crate) const LOGIN_BYTES_MAX: usize = 64 << 10;
/// Failed proofs of one uid under one name within [`FAILURE_TIME`] after which it is refused that name for a while.
pub(crate) const FAILURES_MAX: u32 = 5;
/// See [`FAILURES_MAX`].
pub(crate) const FAILURE_TIME: Duration = Duration::from_secs(10);
/// First and longest refusal after too many failures; each doubles the one before.
pub(crate) const REFUSAL_TIME: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(60));
/// Users and names whose failures are remembered; the one that failed longest ago gives way.
pub(crate) const FAILING_MAX: usize = 1024;
/// How long a new login waits for the older session of its name to let go.
pub(crate) const FENCE_TIME: Duration = Duration::from_secs(2);
/// How long a client that is told why its connection ends may take to read that, in ns.
pub(crate) const LAST_WORDS_NS: u64 = 2_000_000_000;

/// Bytes of PUBLISH frames that a client may have under way on its connection. Twice what the largest frame takes, so that
/// one of them never waits for itself.
pub(crate) const CONNECTION_WINDOW: u64 = 2 * (MAX_FRAME as u64 + 4);
/// Bytes of records that a client may have under way on one publisher, at least; it holds two of the largest
/// messages, so that one of them never waits for itself.
pub(crate) const PUBLISHER_WINDOW: u64 = 1 << 20;

/// Input buffer of a connection that is idle, and the most that one read brings.
pub(crate) const INPUT_BYTES: (usize, usize) = (16 << 10, 256 << 10);
/// Bytes of answers that one who has not logged in, or only asks the control thread, may leave unread before more is read from it.
pub(crate) const VISITOR_OUTPUT: usize = 1 << 20;
/// Bytes that wait to be written to a client above which its subscriptions are told that there is no room. One message more is
/// always taken, so that the largest fits.
pub(crate) const OUTPUT_SOFT: usize = 4 << 20;
/// Bytes that wait to be written above which the shard may leave its data socket unread for a moment: the rest has room for what it reads
/// at a time, also if that becomes [`GROWTH`] times as much.
pub(crate) const OUTPUT_PRESSED: usize = 256 << 10;
/// A small message that shares its datagram with those of other topics is so much longer as a frame, which names its topic: usually, for
/// one subscription. What does not fit is fetched again.
const GROWTH: usize = 7;
/// Bytes that wait to be written above which no request is read: each may cause an answer. Messages alone never come
/// that far, so that a client which only reads slowly is always heard.
pub(crate) const OUTPUT_CHOKE: usize = OUTPUT_SOFT + MAX_FRAME;
/// Bytes that wait above which the client is given up, whether its socket takes anything or not: outcomes, gaps and
/// presence cannot be refused, and whoever leaves so many unread is not there any more. 300,000 outcomes over what the other
/// bounds allow; gaps that adjoin are one. It holds for the connection and for its agent on each other shard; between them are
/// [`LINK_BYTES`].
pub(crate) const OUTPUT_HARD: usize = OUTPUT_CHOKE + (16 << 20);
/// Written bytes are removed from the front of an output buffer when there are so many.
pub(crate) const OUTPUT_DRAIN: usize = 1 << 20;
/// An output buffer that is larger than this when it is empty is given back.
pub(crate) const OUTPUT_KEEP: usize = 2 << 20;

/// Publishers of one client: one on each of 100,000 topics, with room.
pub(crate) const PUBLISHERS_MAX: usize = 1 << 18;
/// Publishers whose client is told another largest message at a time: fewer than one read brings OPENs.
pub(crate) const OPENED_AT_ONCE: usize = 1024;
/// Subscriptions of one client.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1 << 16;
/// Watches of one client.
pub(crate) const WATCHES_MAX: usize = 64;

/// One direction between a connection and an overlay on another shard: twice the largest frame and some small ones. The
/// memory is touched only as it is used.
pub(crate) const LINK_BYTES: usize = 16 << 20;
/// Bytes of frames that travel in one record of a link, unless one frame alone is larger.
pub(crate) const LINK_RECORD: usize = 128 << 10;
/// Questions that wait for the control thread.
pub(crate) const QUESTIONS_MAX: usize = 1024;
/// Answers that wait for one connection.
pub(crate) const MAIL_MAX: usize = 256;
/// Bytes of answers that wait for one connection: the largest, and many usual ones.
pub(crate) const MAIL_BYTES_MAX: usize = 2 * MAX_ANSWER;
/// How soon a request that found no room is tried again, in ns.
pub(crate) const RETRY_NS: u64 = 1_000_000;

const _: () = assert!(CONNECTION_WINDOW > 2 * MAX_FRAME as u64);
// A whole frame with the head of a record fits half a link, which is what a drained ring takes for sure.
const _: () = assert!(MAX_FRAME + 64 < LINK_BYTES / 2 && CONNECTION_WINDOW < LINK_BYTES as u64);
const _: () = assert!(OUTPUT_PRESSED + GROWTH * SLOTS_DATA_MAX * SLOT_BYTES_GRO < OUTPUT_SOFT);
const _: () = assert!(OUTPUT_CHOKE < OUTPUT_HARD && LOGINS_MAX < CLIENTS_MAX);
