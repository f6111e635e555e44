//! Several messages of one publisher: for as many as fit into a datagram everything is looked up once.

use super::*;
use tidings_wire::digest::Payload;

use crate::event::{Accepted, PublishError};
use crate::limits;
use crate::publish::following::Following;

/// Messages of one publisher, taken one after the other: see [`Core::batch`].
pub struct Batch<'a> {
    core: &'a mut Core,
    out: &'a mut dyn Outlet,
    now: u64,
    number: u32,
    limit: usize,
    following: Option<Following>,
    accepted: u64,
}

impl Batch<'_> {
    /// Takes messages of up to `limit` bytes, whatever the overlay's policy says now: it said so when they came. The hard cap
    /// of 4 MiB holds for all.
    pub fn up_to(&mut self, limit: usize) {
        self.limit = limit.min(limits::MAX_MESSAGE_CAP);
    }

    /// Takes a message, as [`Core::publish`] does.
    #[inline]
    pub fn publish(&mut self, payload: &[u8]) -> Result<Accepted, PublishError> {
        if let Some((mut place, accepted)) = self.follow(payload.len()) {
            place.put(payload);
            return Ok(accepted);
        }
        self.publish_next(payload)
    }

    /// Takes a message of `bytes` bytes that `write` writes, part by part, straight to where it is sent from if it follows another of
    /// this batch in a datagram; elsewhere, to be copied, if it is a datagram's first, or has a local subscription. What it leaves
    /// out is zero. It may be called though the message is refused then. For messages that fill datagrams
    /// [`publish`](Self::publish) costs less.
    ///
    /// # Panics
    /// If `write` writes more. The message may have been taken then.
    #[inline]
    pub fn publish_with(
        &mut self,
        bytes: usize,
        write: impl FnOnce(&mut Payload<'_>),
    ) -> Result<Accepted, PublishError> {
        let mut draft = Vec::new();
        let (mut place, accepted) = match self.follow(bytes) {
            Some((place, accepted)) => (place, Some(accepted)),
            None => {
                draft = self.take_draft(bytes)?;
                (Payload::new(&mut draft), None)
            }
        };
        write(&mut place);
        place.finish();
        match accepted {
            Some(accepted) => Ok(accepted),
            None => self.publish_draft(draft),
        }
    }

    // A place behind the last message.
    #[inline]
    fn follow(&mut self, bytes: usize) -> Option<(Payload<'_>, Accepted)> {
        self.following.as_mut()?.put(bytes)
    }

    fn take_draft(&mut self, bytes: usize) -> Result<Vec<u8>, PublishError> {
        self.check(bytes)?;
        let mut draft = std::mem::take(&mut self.core.draft);
        draft.clear();
        draft.resize(bytes, 0);
        Ok(draft)
    }

    #[inline(never)] // or what every message needs is not inlined
    fn publish_draft(&mut self, draft: Vec<u8>) -> Result<Accepted, PublishError> {
        let accepted = self.publish_next(&draft);
        if draft.len() <= limits::DRAFT {
            self.core.draft = draft;
        }
        accepted
    }

    // The message goes the whole way, and those behind it follow it.
    #[inline(never)]
    fn publish_next(&mut self, payload: &[u8]) -> Result<Accepted, PublishError> {
        self.enter();
        self.check(payload.len())?;
        let accepted = self.core.accept(self.now, self.number, payload, self.out)?;
        self.accepted += 1;
        let epoch = self.core.tables.epoch();
        self.following = self.core.publish.following(self.number, epoch, self.limit);
        Ok(accepted)
    }

    fn check(&self, bytes: usize) -> Result<(), PublishError> {
        let limit = self.limit;
        match bytes > limit {
            true => Err(PublishError::TooLarge { limit }),
            false => Ok(()),
        }
    }

    /// How many it has taken.
    pub fn accepted(&self) -> u64 {
        let following = self.following.as_ref().map_or(0, Following::count);
        self.accepted + u64::from(following)
    }

    fn enter(&mut self) {
        if let Some(following) = self.following.take() {
            self.accepted += u64::from(following.count());
            self.core.publish.enter(following, self.now);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.enter();
    }
}

impl Core {
    /// For several messages of one publisher at once. They are taken as [`Core::publish`] would take each, and cost less.
    pub fn batch<'a>(&'a mut self, now: u64, handle: u32, out: &'a mut dyn Outlet) -> Batch<'a> {
        Batch {
            limit: self.config.policy.max_message,
            core: self,
            out,
            now,
            number: handle,
            following: None,
            accepted: 0,
        }
    }
}
