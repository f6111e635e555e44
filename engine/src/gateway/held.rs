//! Messages that a client sent and the overlay has no room for: they wait here in order, so that nothing behind them on the
//! connection waits. Their bytes are bounded by the client's credit.

use std::collections::VecDeque;

use tidings_wire::client::Records;

/// Something of one publisher that waits for room.
enum Item {
    /// The last `count` records of a PUBLISH frame, from `at` on; `cost` is returned to the connection when they are gone.
    Run {
        bytes: Vec<u8>,
        at: usize,
        count: usize,
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
    /// Publish these, and say which of them are to be kept.
    Run {
        publisher: u32,
        records: Records<'a>,
    },
    /// Close this.
    Close { publisher: u32 },
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Keeps what is left of a frame.
    pub(crate) fn push(&mut self, publisher: u32, records: Records<'_>, cost: u64) {
        let run = Item::Run {
            bytes: records.as_bytes().to_vec(),
            at: 0,
            count: records.len(),
            cost,
        };
        self.items.push_back((publisher, run));
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
            Item::Run {
                bytes, at, count, ..
            } => Front::Run {
                publisher,
                records: Records::resumed(&bytes[*at..], *count),
            },
        })
    }

    /// Has done with the run at the front but for its last records, so many of so many bytes. Returns the cost of a frame of
    /// which nothing is left.
    pub(crate) fn keep(&mut self, left: usize, left_bytes: usize) -> u64 {
        let Some((
            _,
            Item::Run {
                bytes,
                at,
                count,
                cost,
            },
        )) = self.items.front_mut()
        else {
            return 0;
        };
        (*at, *count) = (bytes.len() - left_bytes, left);
        let cost = *cost;
        if left > 0 {
            return 0;
        }
        self.items.pop_front();
        cost
    }

    /// Has done with the front, which was to be closed.
    pub(crate) fn pop_close(&mut self) {
        self.items.pop_front();
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

    fn front(held: &Held) -> Records<'_> {
        match held.front() {
            Some(Front::Run { records, .. }) => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_leave_in_order_and_give_their_frame_back_once() {
        let bytes = records(&[b"a", b"", b"ccc"]);
        let mut rest = Records::checked(&bytes, 3).unwrap();
        rest.next();
        let mut held = Held::default();
        held.push(1, rest, 50);
        held.push_close(1);
        let mut run = front(&held);
        assert_eq!(run.next(), Some(b"".as_slice()));
        let (left, left_bytes) = (run.len(), run.as_bytes().len());
        assert_eq!(run.collect::<Vec<_>>(), [b"ccc"]);
        assert_eq!(held.keep(left, left_bytes), 0);
        assert_eq!(front(&held).collect::<Vec<_>>(), [b"ccc"]);
        assert_eq!(held.keep(0, 0), 50);
        assert_eq!(held.front(), Some(Front::Close { publisher: 1 }));
        held.pop_close();
        assert!(held.is_empty() && held.front().is_none());
    }

    #[test]
    fn a_publisher_that_is_gone_leaves_nothing_behind() {
        let bytes = records(&[b"a"]);
        let mut held = Held::default();
        held.push(1, Records::checked(&bytes, 1).unwrap(), 10);
        held.push(2, Records::checked(&bytes, 1).unwrap(), 20);
        assert_eq!(held.forget(1), 10);
        assert!(matches!(
            held.front(),
            Some(Front::Run { publisher: 2, .. })
        ));
        assert_eq!(front(&held).collect::<Vec<_>>(), [b"a"]);
    }
}
