//! Walks over the records of a FAN body: each message with its number, stated or implied.

use tidings_wire::digest::{DefineView, Digest, Digests};
use tidings_wire::limits::SEQ_END;

/// One record with everything implied made explicit.
pub(crate) enum Item<'a> {
    Define(DefineView<'a>),
    Message {
        handle: u32,
        seq: u64,
        payload: &'a [u8],
    },
    Part {
        handle: u32,
        seq: u64,
        offset: u32,
        total: u32,
        payload: &'a [u8],
    },
}

/// A body that no publisher writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The records of a FAN body.
#[derive(Clone, Debug)]
pub(crate) struct Items<'a> {
    digests: Digests<'a>,
    // Of the latest record: the handle and the number that its next message has.
    last: Option<(u32, u64)>,
}

impl<'a> Items<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Items {
            digests: Digests::new(body),
            last: None,
        }
    }

    /// The payload of the next record, if that is the message which follows the latest one of the same publisher. Whatever else
    /// comes next is left to [`Iterator::next`].
    #[inline]
    pub(crate) fn next_following(&mut self) -> Option<&'a [u8]> {
        let (handle, seq) = self.last?;
        let next = seq.checked_add(1).filter(|next| *next < SEQ_END)?;
        let payload = self.digests.next_message_of(handle)?;
        self.last = Some((handle, next));
        Some(payload)
    }

    fn number(&mut self, handle: u32, stated: Option<u64>) -> Result<u64, Malformed> {
        let seq = match (stated, self.last) {
            (Some(seq), _) => seq,
            (None, Some((last, next))) if last == handle => next,
            _ => return Err(Malformed),
        };
        // Leaves room for half-open ranges everywhere.
        let next = seq
            .checked_add(1)
            .filter(|next| *next < SEQ_END)
            .ok_or(Malformed)?;
        self.last = Some((handle, next));
        Ok(seq)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            return Some(match self.digests.next()? {
                Err(_) => Err(Malformed),
                Ok(Digest::Define(define)) => {
                    self.last = Some((define.fixed.handle.get(), define.fixed.seq.get()));
                    Ok(Item::Define(define))
                }
                Ok(Digest::Message(message)) => {
                    let handle = message.fixed.handle.get();
                    let payload = message.payload;
                    self.number(handle, message.seq).map(|seq| Item::Message {
                        handle,
                        seq,
                        payload,
                    })
                }
                Ok(Digest::Fragment(part)) => {
                    let (handle, payload) = (part.fixed.handle.get(), part.payload);
                    let (offset, total) = (part.fixed.offset.get(), part.fixed.total.get());
                    let stated = Some(part.fixed.seq.get());
                    self.number(handle, stated).map(|seq| Item::Part {
                        handle,
                        seq,
                        offset,
                        total,
                        payload,
                    })
                }
                Ok(Digest::Unknown(_)) => continue,
                // Every other digest belongs to another class.
                Ok(_) => Err(Malformed),
            });
        }
    }
}
