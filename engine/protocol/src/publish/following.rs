//! Messages that follow the publisher's last one in the open datagram: what was looked up for that serves them too.

use super::outstanding::DatagramId;
use super::store::ChunkIx;
use super::*;
use crate::event::Accepted;
use crate::publish::record::message_len;
use tidings_wire::digest::{Message, Payload};

#[cfg(test)]
mod tests;

/// Where the next message of a publisher goes: behind its last one, in the same datagram, owed to the same subscriptions. It has
/// the store's chunk with it, for a place to be found by one comparison; with it goes into the books by [`Publish::enter`], before
/// anything else happens, what was put there.
#[derive(Debug)]
pub(crate) struct Following {
    number: u32,
    stream: u32,
    owed: u32,
    chunk: ChunkIx,
    lent: Box<[u8]>,
    // Where in it the next record goes, and where it must end.
    next: usize,
    end: usize,
    max_message: usize,
    count: u32,
    bytes: u64,
    seq: u64,
}

impl Following {
    /// Takes a message of so many bytes there, if it fits. The caller writes its payload.
    #[inline]
    pub(crate) fn put(&mut self, bytes: usize) -> Option<(Payload<'_>, Accepted)> {
        if bytes > self.max_message {
            return None;
        }
        let next = self.next + message_len(bytes, false);
        if next > self.end {
            return None;
        }
        let place = self.lent.get_mut(self.next..next)?;
        let seq = self.seq + u64::from(self.count);
        self.next = next;
        self.bytes += bytes as u64;
        self.count += 1;
        let owed = self.owed;
        let payload = Message::encode_following(self.number, bytes, place);
        Some((payload, Accepted { seq, owed }))
    }

    /// How many it took.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

impl Publish {
    /// Where the next message of the publisher goes, if its last one lies in the open datagram of its stream, and the same
    /// subscriptions, none of them local, are owed it. Room in store and stream was asked about for the whole datagram.
    #[inline]
    pub(crate) fn following(
        &mut self,
        number: u32,
        epoch: u64,
        max_message: usize,
    ) -> Option<Following> {
        let handle = self.handles.get(number)?;
        let route = handle.current_route(epoch).filter(|r| r.local == 0)?;
        let stream = self.streams[route.stream as usize].as_ref()?;
        if handle.defined != (route.stream, stream.define_epoch) {
            return None;
        }
        let at = DatagramId {
            stream: route.stream,
            counter: stream.head(),
        };
        let seq = handle.next;
        if !handle.out.as_ref()?.is_continued(route.id, seq, at) {
            return None;
        }
        let (place, room) = stream.after((number, seq))?;
        let next = usize::from(place.offset);
        Some(Following {
            number,
            stream: route.stream,
            owed: route.subs.len() as u32,
            chunk: place.chunk,
            lent: self.store.lend(place.chunk),
            next,
            end: next + room,
            max_message,
            count: 0,
            bytes: 0,
            seq,
        })
    }

    /// Enters what was put there.
    pub(crate) fn enter(&mut self, following: Following, now: u64) {
        self.store.give_back(following.chunk, following.lent);
        let (count, pairs) = (following.count, following.count * following.owed);
        if count == 0 {
            return;
        }
        let next = following.seq + u64::from(count);
        let handle = self.handles.get_mut(following.number);
        let stream = self.streams[following.stream as usize].as_mut();
        let (Some(handle), Some(stream)) = (handle, stream) else {
            unreachable!("nothing happened since it was looked up");
        };
        handle.next = next;
        if let Some(out) = &mut handle.out {
            out.extend(count, pairs);
        }
        stream.extend(following.next, (following.number, next), pairs, now);
        self.counters.accepted += u64::from(count);
        self.counters.accepted_bytes += following.bytes;
    }
}
