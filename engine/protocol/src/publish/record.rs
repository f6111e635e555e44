//! The records of a FAN body as the publisher writes them, and how much fits into a datagram.

use tidings_wire::digest::{Define, Fragment, Head, Message, Writer};
use tidings_wire::{FAN_HEADER, TAG};

/// One record.
pub(crate) enum Record<'a> {
    Define {
        handle: u32,
        seq: u64,
        topic: &'a str,
    },
    /// `seq` is stated unless the record before is of the same handle and one below.
    Message {
        handle: u32,
        seq: Option<u64>,
        payload: &'a [u8],
    },
    Fragment {
        handle: u32,
        seq: u64,
        offset: u32,
        total: u32,
        part: &'a [u8],
    },
}

const MESSAGE: usize = size_of::<Message>();
const SEQ: usize = size_of::<u64>();

/// Bytes of a MESSAGE record, padding included.
pub(crate) fn message_len(bytes: usize, stated: bool) -> usize {
    // For every message: `next_multiple_of` takes more instructions.
    (MESSAGE + if stated { SEQ } else { 0 } + bytes + 7) & !7
}

/// Largest payload that is sent whole in datagrams of `size` bytes.
pub(crate) fn whole_max(size: usize) -> usize {
    size - FAN_HEADER - TAG - MESSAGE - SEQ
}

/// Payload of a full FRAGMENT in datagrams of `size` bytes.
pub(crate) fn fragment_max(size: usize) -> usize {
    size - FAN_HEADER - TAG - size_of::<Fragment>()
}

impl Record<'_> {
    /// Bytes on the wire, padding to the next record included.
    pub(crate) fn len(&self) -> usize {
        match self {
            Record::Define { topic, .. } => (size_of::<Define>() + topic.len()).next_multiple_of(8),
            Record::Message { seq, payload, .. } => message_len(payload.len(), seq.is_some()),
            Record::Fragment { part, .. } => {
                (size_of::<Fragment>() + part.len()).next_multiple_of(8)
            }
        }
    }

    /// Writes the record into `place`, which is [`Record::len`] bytes long.
    pub(crate) fn write(&self, place: &mut [u8]) {
        let whole = place.len();
        let mut writer = Writer::new(place);
        let written = match *self {
            Record::Define { handle, seq, topic } => {
                let fixed = Define {
                    handle: handle.into(),
                    seq: seq.into(),
                    ..Define::default()
                };
                writer.put_tail(&fixed, &[topic.as_bytes()])
            }
            Record::Message {
                handle,
                seq: None,
                payload,
            } => writer.put_tail(
                &Message {
                    head: Head::default(),
                    handle: handle.into(),
                },
                &[payload],
            ),
            Record::Message {
                handle,
                seq: Some(seq),
                payload,
            } => {
                let fixed = Message {
                    head: Head::flagged(Message::SEQ),
                    handle: handle.into(),
                };
                writer.put_tail(&fixed, &[&seq.to_le_bytes(), payload])
            }
            Record::Fragment {
                handle,
                seq,
                offset,
                total,
                part,
            } => {
                let fixed = Fragment {
                    handle: handle.into(),
                    seq: seq.into(),
                    offset: offset.into(),
                    total: total.into(),
                    ..Fragment::default()
                };
                writer.put_tail(&fixed, &[part])
            }
        };
        assert!(
            written && writer.pad_to(whole),
            "a record fits the place that was made for it"
        );
    }
}
