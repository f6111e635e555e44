//! Messages that a client sent and the overlay has no room for: they wait here in order, so that nothing behind them on the
//! connection waits. Their bytes are bounded by the client's credit.

use std::collections::VecDeque;

use tidings_wire::client::{RECORD_HEAD, Records};

/// Something of one publisher that waits for room.
enum Item {
    /// Records of a PUBLISH frame from `at` on; `cost` is returned to the connection when they are gone.
    Run {
        bytes: Vec<u8>,
        at: usize,
        cost: u64,
    },
    /// The publisher is to be closed.
    Close,
}

/// What waits, oldest first, with the client's number of its publisher.
#[derive(Default)]
pub(crate) struct Held {
    items: VecDeque<(u32, Item)>,
}

/// What the front of the line wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// Publish this.
    Message { publisher: u32, payload: &'a [u8] },
    /// Close this.
    Close { publisher: u32 },
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Keeps what is left of a frame.
    pub(crate) fn push(&mut self, publisher: u32, records: Records<'_>, cost: u64) {
        let mut bytes = Vec::new();
        for payload in records {
            tidings_wire::client::records::put_record(&mut bytes, payload);
        }
        self.items
            .push_back((publisher, Item::Run { bytes, at: 0, cost }));
    }

    /// Remembers to close a publisher after everything before.
    pub(crate) fn push_close(&mut self, publisher: u32) {
        self.items.push_back((publisher, Item::Close));
    }

    pub(crate) fn front(&self) -> Option<Front<'_>> {
        let (publisher, item) = self.items.front()?;
        let publisher = *publisher;
        Some(match item {
            Item::Close => Front::Close { publisher },
            Item::Run { bytes, at, .. } => {
                let (head, rest) = bytes[*at..].split_first_chunk::<RECORD_HEAD>()?;
                Front::Message {
                    publisher,
                    payload: rest.get(..u32::from_le_bytes(*head) as usize)?,
                }
            }
        })
    }

    /// Has done with the front. Returns the cost of a frame of which nothing is left.
    pub(crate) fn pop(&mut self) -> u64 {
        let Some((_, item)) = self.items.front_mut() else {
            return 0;
        };
        if let Item::Run { bytes, at, .. } = item
            && let Some((head, _)) = bytes[*at..].split_first_chunk::<RECORD_HEAD>()
        {
            *at += RECORD_HEAD + u32::from_le_bytes(*head) as usize;
            if *at < bytes.len() {
                return 0;
            }
        }
        match self.items.pop_front() {
            Some((_, Item::Run { cost, .. })) => cost,
            Some((_, Item::Close)) | None => 0,
        }
    }

    /// Forgets everything of a publisher. Returns the cost of its frames.
    pub(crate) fn forget(&mut self, publisher: u32) -> u64 {
        let mut cost = 0;
        self.items.retain(|(of, item)| {
            if let (true, Item::Run { cost: it, .. }) = (*of == publisher, item) {
                cost += *it;
            }
            *of != publisher
        });
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        payloads
            .iter()
            .for_each(|payload| tidings_wire::client::records::put_record(&mut bytes, payload));
        bytes
    }

    #[test]
    fn messages_leave_in_order_and_give_their_frame_back_once() {
        let bytes = records(&[b"a", b"", b"ccc"]);
        let mut rest = Records::checked(&bytes, 3).unwrap();
        rest.next();
        let mut held = Held::default();
        held.push(1, rest, 50);
        held.push_close(1);
        assert_eq!(
            held.front(),
            Some(Front::Message {
                publisher: 1,
                payload: b""
            })
        );
        assert_eq!(held.pop(), 0);
        assert_eq!(
            held.front(),
            Some(Front::Message {
                publisher: 1,
                payload: b"ccc"
            })
        );
        assert_eq!(held.pop(), 50);
        assert_eq!(held.front(), Some(Front::Close { publisher: 1 }));
        assert_eq!(held.pop(), 0);
        assert!(held.is_empty() && held.front().is_none());
    }

    #[test]
    fn a_publisher_that_is_gone_leaves_nothing_behind() {
        let bytes = records(&[b"a"]);
        let mut held = Held::default();
        held.push(1, Records::checked(&bytes, 1).unwrap(), 10);
        held.push(2, Records::checked(&bytes, 1).unwrap(), 20);
        assert_eq!(held.forget(1), 10);
        assert_eq!(
            held.front(),
            Some(Front::Message {
                publisher: 2,
                payload: b"a"
            })
        );
    }
}
