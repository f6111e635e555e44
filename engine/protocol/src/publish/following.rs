//! Messages that follow the publisher's last one in the open datagram: what was looked up for that serves them too.

use super::outstanding::DatagramId;
use super::store::Place;
use super::*;
use crate::event::Accepted;
use crate::publish::record::message_len;
use tidings_wire::digest::Message;

#[cfg(test)]
mod tests;

/// Where the next message of a publisher goes: behind its last one, in the same datagram, owed to the same subscriptions. What was
/// put there is entered into the books by [`Publish::enter`], before anything else happens.
#[derive(Debug)]
pub(crate) struct Following {
    number: u32,
    stream: u32,
    owed: u32,
    // Where the next record goes, and where it must end.
    next: Place,
    room: usize,
    count: u32,
    bytes: u64,
    seq: u64,
}

impl Publish {
    /// Where the next message of the publisher goes, if its last one lies in the open datagram of its stream, and the same
    /// subscriptions, none of them local, are owed it. Room in store and stream was asked about for the whole datagram.
    #[inline]
    pub(crate) fn following(&self, number: u32, epoch: u64) -> Option<Following> {
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
        let (next, room) = stream.after((number, seq))?;
        Some(Following {
            number,
            stream: route.stream,
            owed: route.subs.len() as u32,
            next,
            room,
            count: 0,
            bytes: 0,
            seq,
        })
    }

    /// Puts a message there, if it fits.
    #[inline]
    pub(crate) fn put_following(
        &mut self,
        following: &mut Following,
        payload: &[u8],
    ) -> Option<Accepted> {
        let len = message_len(payload, false);
        if len > following.room || payload.len() > self.max_message {
            return None;
        }
        let place = Place {
            len: len as u16,
            ..following.next
        };
        Message::encode_following(following.number, payload, self.store.bytes_mut(place));
        following.next.offset += len as u16;
        following.room -= len;
        following.bytes += payload.len() as u64;
        let seq = following.seq + u64::from(following.count);
        following.count += 1;
        Some(Accepted {
            seq,
            owed: following.owed,
        })
    }

    /// Enters what was put there.
    pub(crate) fn enter(&mut self, following: &Following, now: u64) {
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
