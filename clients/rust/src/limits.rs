//! The bounds of a client, with the sums that justify them.

use std::time::Duration;

use tidings_wire::client::MAX_FRAME;

/// Bytes of the input buffer at the start: one read then fills about what a Unix socket holds (208 KiB by default).
pub(crate) const INPUT_MIN: usize = 256 << 10;
/// Bytes of unread events that may pile up while the client publishes without asking for them: some of the largest frames.
pub(crate) const INPUT_MAX: usize = 64 << 20;
/// Free room that a read should find: below it what is left moves to the front of the buffer.
pub(crate) const READ_ROOM: usize = 64 << 10;
/// Reads of one look at what has come: more than the socket holds, and no more than its writer can follow for ever.
pub(crate) const LOOK_READS: usize = 16;
/// Output is written once it reaches this: large enough that the system call is below a nanosecond per byte.
pub(crate) const FLUSH_BYTES: usize = 64 << 10;
/// A PUBLISH frame is closed at this size, so that the daemon can begin with it.
pub(crate) const RUN_BYTES: usize = 64 << 10;
/// Output that may wait while the daemon does not read: the largest frame and some acknowledgements.
pub(crate) const OUTPUT_MAX: usize = MAX_FRAME + (1 << 20);
/// How long the daemon may take to say who it is.
pub(crate) const LOGIN_WAIT: Duration = Duration::from_secs(5);
/// How long the daemon may take to answer a question; a subscription may take 2 s by itself.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// First and longest pause between two attempts to attach again.
pub(crate) const BACK_OFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(2));
/// Numbers are below this.
pub(crate) const NUMBERS: usize = 1 << 31;

const _: () = assert!(INPUT_MAX > 4 * MAX_FRAME && INPUT_MIN > READ_ROOM);
