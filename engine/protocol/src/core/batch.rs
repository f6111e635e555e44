//! Several messages of one publisher: for as many as fit into a datagram everything is looked up once.

use super::*;
use crate::event::{Accepted, PublishError};
use crate::publish::following::Following;

/// Messages of one publisher, taken one after the other: see [`Core::batch`].
pub struct Batch<'a> {
    core: &'a mut Core,
    out: &'a mut dyn Outlet,
    now: u64,
    number: u32,
    following: Option<Following>,
    accepted: u64,
}

impl Batch<'_> {
    /// Takes a message, as [`Core::publish`] does.
    #[inline]
    pub fn publish(&mut self, payload: &[u8]) -> Result<Accepted, PublishError> {
        if let Some(following) = &mut self.following
            && let Some(accepted) = self.core.publish.put_following(following, payload)
        {
            self.accepted += 1;
            return Ok(accepted);
        }
        self.publish_next(payload)
    }

    // The message goes the whole way, and those behind it follow it.
    fn publish_next(&mut self, payload: &[u8]) -> Result<Accepted, PublishError> {
        self.enter();
        let accepted = self
            .core
            .publish(self.now, self.number, payload, self.out)?;
        self.accepted += 1;
        let epoch = self.core.tables.epoch();
        self.following = self.core.publish.following(self.number, epoch);
        Ok(accepted)
    }

    /// How many it has taken.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    fn enter(&mut self) {
        if let Some(following) = self.following.take() {
            self.core.publish.enter(&following, self.now);
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
            core: self,
            out,
            now,
            number: handle,
            following: None,
            accepted: 0,
        }
    }
}
