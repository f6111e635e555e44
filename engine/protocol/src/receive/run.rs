//! Messages that follow one another on their way to a local subscription: whatever is looked up for one serves all.

use super::intake::Intake;
use crate::event::{Delivery, PublisherId, Taken};
use crate::fan::Items;

/// Messages of one publisher that follow one another, on their way to one local subscription.
pub struct Run<'a, 'd> {
    intake: &'a mut Intake,
    publisher: PublisherId,
    topic: &'a str,
    items: &'a mut Items<'d>,
    // The next message is this one; those from `settled` on are yet to be entered into the intake, all taken alike.
    seq: u64,
    first: u64,
    settled: u64,
    acked: bool,
    // A message that is kept by the node counts as acknowledged.
    keeps_acked: bool,
    bytes: u64,
    refused: Option<&'d [u8]>,
}

/// What became of a run.
pub(crate) struct Finished<'d> {
    /// All below were taken.
    pub(crate) to: u64,
    /// Payload bytes of these.
    pub(crate) bytes: u64,
    /// Found no room: this message, `to`. Those behind it are still where the run was made from.
    pub(crate) refused: Option<&'d [u8]>,
}

impl<'a, 'd> Run<'a, 'd> {
    /// What follows in `items` for the subscription of `intake`, whose next number is `seq`.
    pub(crate) fn new(
        intake: &'a mut Intake,
        (publisher, topic): (PublisherId, &'a str),
        (seq, items): (u64, &'a mut Items<'d>),
        keeps_acked: bool,
    ) -> Self {
        Self {
            intake,
            publisher,
            topic,
            items,
            seq,
            first: seq,
            settled: seq,
            acked: true,
            keeps_acked,
            bytes: 0,
            refused: None,
        }
    }

    /// Calls `take` with one message after the other, until one finds no room.
    #[inline]
    pub fn each(&mut self, mut take: impl FnMut(&Delivery<'_>) -> Taken) {
        let mut message = Delivery {
            publisher: self.publisher,
            seq: self.seq,
            topic: self.topic,
            payload: &[],
            again: false,
        };
        while self.refused.is_none()
            && let Some(payload) = self.items.next_following()
        {
            message.payload = payload;
            let acked = match take(&message) {
                Taken::Full => {
                    self.refused = Some(payload);
                    break;
                }
                Taken::Acked => true,
                Taken::Kept => self.keeps_acked,
            };
            if acked != self.acked {
                self.seq = message.seq;
                self.settle();
                self.acked = acked;
            }
            message.seq += 1;
            self.bytes += payload.len() as u64;
        }
        self.seq = message.seq;
    }

    /// How many were taken until now.
    pub fn taken(&self) -> u64 {
        self.seq - self.first
    }

    /// Whether one found no room.
    pub fn is_full(&self) -> bool {
        self.refused.is_some()
    }

    fn settle(&mut self) {
        if self.settled < self.seq {
            self.intake.got_run(self.settled, self.seq, self.acked);
            self.settled = self.seq;
        }
    }

    pub(crate) fn finish(mut self) -> Finished<'d> {
        // Whoever did not look at them had no room for them.
        self.each(|_| Taken::Full);
        self.settle();
        Finished {
            to: self.seq,
            bytes: self.bytes,
            refused: self.refused,
        }
    }
}
