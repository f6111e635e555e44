//! Writing a body in place: each digest whole or not at all.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::limits::{
    BUCKETS_PER_DIGEST, MAX_ACK_WORDS, MAX_ADDRESSES, MAX_DIGEST, MAX_METADATA, MAX_NAME,
};

/// Appends digests to a buffer: the body of a datagram, or the content of a chunk. Every `put` answers whether
/// the digest fitted; if it did not, nothing changed.
pub struct Writer<'a> {
    body: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// An empty body in `body`.
    pub fn new(body: &'a mut [u8]) -> Self {
        Self { body, len: 0 }
    }

    /// Goes on behind the first `len` bytes of `body`, which a writer left there.
    pub fn resume(body: &'a mut [u8], len: usize) -> Self {
        assert!(len <= body.len(), "a body lies within its buffer");
        Self { body, len }
    }

    /// Bytes of the body so far. The last digest has no padding behind it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was put.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the next digest may have, head included.
    pub fn room(&self) -> usize {
        self.body
            .len()
            .saturating_sub(self.len.next_multiple_of(8))
            .min(MAX_DIGEST)
    }

    /// Whether a digest of `len` bytes, head included, would fit.
    pub fn fits(&self, len: usize) -> bool {
        len <= self.room()
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.body[..self.len]
    }

    /// Fills with zeroes up to `len` bytes: padding that every reader skips.
    #[must_use]
    pub fn pad_to(&mut self, len: usize) -> bool {
        let Some(padding) = self.body.get_mut(self.len..len.max(self.len)) else {
            return false;
        };
        padding.fill(0);
        self.len = len.max(self.len);
        true
    }

    /// A digest without tail.
    #[must_use]
    pub fn put<T: Layout>(&mut self, fixed: &T) -> bool {
        self.put_tail(fixed, &[])
    }

    /// A digest and the parts of its tail, one behind the other. Fills kind and length; flags are the caller's.
    #[must_use]
    pub fn put_tail<T: Layout>(&mut self, fixed: &T, tail: &[&[u8]]) -> bool {
        let len = size_of::<T>() + tail.iter().map(|part| part.len()).sum::<usize>();
        let Some(place) = self.claim(len) else {
            return false;
        };
        let (front, mut rest) = place.split_at_mut(size_of::<T>());
        front.copy_from_slice(fixed.as_bytes());
        front[0] = T::KIND;
        front[2..4].copy_from_slice(&(len as u16).to_le_bytes());
        for part in tail {
            let (here, next) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = next;
        }
        true
    }

    /// A digest that is already encoded, head included.
    #[must_use]
    pub fn put_encoded(&mut self, digest: &[u8]) -> bool {
        match Head::ref_from_prefix(digest) {
            Ok((head, _)) if usize::from(head.len.get()) == digest.len() => {}
            _ => return false,
        }
        let Some(place) = self.claim(digest.len()) else {
            return false;
        };
        place.copy_from_slice(digest);
        true
    }

    /// The next `len` bytes, behind padding.
    fn claim(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.fits(len) {
            return None;
        }
        let start = self.len.next_multiple_of(8);
        self.body[self.len..start].fill(0);
        self.len = start + len;
        Some(&mut self.body[start..start + len])
    }

    /// H1 and its addresses, 8 at most.
    #[must_use]
    pub fn put_h1(&mut self, h1: &H1, addrs: &[Addr]) -> bool {
        let mut h1 = *h1;
        h1.who.naddr = addrs.len() as u8;
        addrs.len() <= MAX_ADDRESSES && self.put_tail(&h1, &[addrs.as_bytes()])
    }

    /// H3, its addresses, 8 at most, and the sealed PAIR datagram inside it.
    #[must_use]
    pub fn put_h3(&mut self, h3: &H3, addrs: &[Addr], inner: &[u8]) -> bool {
        let mut h3 = *h3;
        h3.who.naddr = addrs.len() as u8;
        addrs.len() <= MAX_ADDRESSES && self.put_tail(&h3, &[addrs.as_bytes(), inner])
    }

    /// MEMBER with its texts, addresses and metadata, each within its limit.
    #[must_use]
    pub fn put_member(
        &mut self,
        member: &Member,
        name: &str,
        rack: &str,
        addrs: &[Addr],
        meta: &[u8],
    ) -> bool {
        let bounded = name.len() <= MAX_NAME
            && rack.len() <= MAX_NAME
            && addrs.len() <= MAX_ADDRESSES
            && meta.len() <= MAX_METADATA;
        let member = Member {
            name_len: name.len() as u8,
            rack_len: rack.len() as u8,
            naddr: addrs.len() as u8,
            meta_len: U16::new(meta.len() as u16),
            ..*member
        };
        let tail = [name.as_bytes(), rack.as_bytes(), addrs.as_bytes(), meta];
        bounded && self.put_tail(&member, &tail)
    }

    /// CTL around a chunk.
    #[must_use]
    pub fn put_ctl(&mut self, seq: u32, content: &[u8]) -> bool {
        let ctl = Ctl {
            seq: U32::new(seq),
            ..Default::default()
        };
        self.put_tail(&ctl, &[content])
    }

    /// BULK around a chunk.
    #[must_use]
    pub fn put_bulk(&mut self, seq: u32, content: &[u8]) -> bool {
        let bulk = Bulk {
            seq: U32::new(seq),
            ..Default::default()
        };
        self.put_tail(&bulk, &[content])
    }

    /// BULK_ACK and its bitmap, 128 words at most.
    #[must_use]
    pub fn put_bulk_ack(&mut self, ack: &BulkAck, bitmap: &[u64]) -> bool {
        let ack = BulkAck {
            words: U16::new(bitmap.len() as u16),
            ..*ack
        };
        bitmap.len() <= MAX_ACK_WORDS && self.put_words(&ack, bitmap)
    }

    /// FAN_ACK and its bitmap, 128 words at most.
    #[must_use]
    pub fn put_fan_ack(&mut self, ack: &FanAck, bitmap: &[u64]) -> bool {
        let ack = FanAck {
            words: U16::new(bitmap.len() as u16),
            ..*ack
        };
        bitmap.len() <= MAX_ACK_WORDS && self.put_words(&ack, bitmap)
    }

    /// BUCKETS: the hashes from bucket `first` on, 128 at most.
    #[must_use]
    pub fn put_buckets(&mut self, first: u16, hashes: &[u64]) -> bool {
        let count = U16::new(hashes.len() as u16);
        let buckets = Buckets {
            first: U16::new(first),
            count,
            ..Default::default()
        };
        hashes.len() <= BUCKETS_PER_DIGEST && self.put_words(&buckets, hashes)
    }

    fn put_words<T: Layout>(&mut self, fixed: &T, words: &[u64]) -> bool {
        let mut tail = [U64::ZERO; MAX_ACK_WORDS];
        for (word, value) in tail.iter_mut().zip(words) {
            *word = U64::new(*value);
        }
        self.put_tail(fixed, &[tail[..words.len()].as_bytes()])
    }

    /// SUB_ADD and its pattern, which must be valid.
    #[must_use]
    pub fn put_sub_add(&mut self, sub: &SubAdd, pattern: &str) -> bool {
        self.put_tail(sub, &[pattern.as_bytes()])
    }

    /// BACKLOG and its topic, which must be valid.
    #[must_use]
    pub fn put_backlog(&mut self, backlog: &Backlog, topic: &str) -> bool {
        self.put_tail(backlog, &[topic.as_bytes()])
    }

    /// CATCHUP and the bytes of the message from its offset on.
    #[must_use]
    pub fn put_catchup(&mut self, catchup: &Catchup, payload: &[u8]) -> bool {
        self.put_tail(catchup, &[payload])
    }

    /// DEFINE of a handle; the topic must be valid.
    #[must_use]
    pub fn put_define(&mut self, handle: u32, seq: u64, topic: &str) -> bool {
        let define = Define {
            handle: U32::new(handle),
            seq: U64::new(seq),
            ..Default::default()
        };
        self.put_tail(&define, &[topic.as_bytes()])
    }

    /// MESSAGE, with its seq or following on the handle's record before it in this body.
    #[must_use]
    pub fn put_message(&mut self, handle: u32, seq: Option<u64>, payload: &[u8]) -> bool {
        let handle = U32::new(handle);
        match seq {
            Some(seq) => {
                let message = Message {
                    head: Head::flagged(Message::SEQ),
                    handle,
                };
                self.put_tail(&message, &[&seq.to_le_bytes(), payload])
            }
            None => self.put_tail(
                &Message {
                    head: Head::default(),
                    handle,
                },
                &[payload],
            ),
        }
    }

    /// FRAGMENT and the bytes of the message from its offset on.
    #[must_use]
    pub fn put_fragment(&mut self, fragment: &Fragment, payload: &[u8]) -> bool {
        self.put_tail(fragment, &[payload])
    }
}
