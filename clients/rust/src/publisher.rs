//! What the client knows of each of its publishers.

use tidings_wire::client::publish::Opened;

/// A publisher of a [`Client`](crate::Client).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Publisher(pub(crate) u32);

/// Its books.
pub(crate) struct PublisherState {
    pub(crate) overlay: String,
    pub(crate) topic: String,
    /// Whether OPENED came on this connection.
    pub(crate) open: bool,
    /// Whether CLOSE was sent.
    pub(crate) closing: bool,
    /// Whether it is over, and only events that wait to be taken still speak of it.
    pub(crate) ended: bool,
    /// The largest message, as the daemon told last.
    pub(crate) max_message: usize,
    pub(crate) owed: u32,
    /// Bytes of records sent on this connection, and how many may be.
    pub(crate) sent: u64,
    pub(crate) credit: u64,
    /// Seq of the first message of this connection: seqs go on after a reconnection.
    pub(crate) base: u64,
    /// Seq of the next message.
    pub(crate) next: u64,
    /// Seq that ACCEPTED has reached.
    pub(crate) accepted: u64,
    /// Outcomes that are owed for accepted messages, and those that came.
    pub(crate) outcomes_owed: u64,
    pub(crate) outcomes: u64,
}

impl PublisherState {
    pub(crate) fn new(overlay: &str, topic: &str) -> Self {
        Self {
            overlay: overlay.to_owned(),
            topic: topic.to_owned(),
            open: false,
            closing: false,
            ended: false,
            max_message: 0,
            owed: 0,
            sent: 0,
            credit: 0,
            base: 0,
            next: 0,
            accepted: 0,
            outcomes_owed: 0,
            outcomes: 0,
        }
    }

    /// OPENED: it stands; or, if it did before, the overlay takes messages of another size from now on.
    pub(crate) fn opened(&mut self, opened: &Opened) {
        self.open = true;
        self.max_message = opened.max_message as usize;
        self.owed = opened.owed;
        self.credit = self.credit.max(opened.credit);
    }

    /// The connection is lost: everything that is not settled is unknown. Gives the counts of messages that were never
    /// accepted and of outcomes that will not come.
    pub(crate) fn lost(&mut self) -> (u64, u64) {
        let counts = (
            self.next - self.accepted,
            self.outcomes_owed.saturating_sub(self.outcomes),
        );
        self.open = false;
        self.sent = 0;
        self.credit = 0;
        self.base = self.next;
        self.accepted = self.next;
        self.outcomes_owed = 0;
        self.outcomes = 0;
        counts
    }
}
