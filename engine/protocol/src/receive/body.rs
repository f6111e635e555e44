//! What a datagram of a stream brings: definitions, messages, parts of large ones.

use super::*;
use crate::fan::{Item, Items, Malformed};

#[cfg(test)]
mod tests;

/// Why the records of a datagram were not all taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is none that a publisher writes.
    Malformed,
    /// It must come again, after a definition.
    Undefined,
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Self {
        Stop::Malformed
    }
}

impl From<Undefined> for Stop {
    fn from(_: Undefined) -> Self {
        Stop::Undefined
    }
}

impl Receive {
    /// Takes what is in a datagram of a publisher's stream.
    pub(crate) fn on_body(
        &mut self,
        peer: PeerIx,
        body: &[u8],
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<(), Stop> {
        let mut items = Items::new(body);
        while let Some(item) = items.next() {
            match item? {
                Item::Define(define) => {
                    let fixed = define.fixed;
                    self.define(peer, fixed.handle.get(), fixed.seq.get(), define.topic);
                }
                Item::Message {
                    handle,
                    seq,
                    payload,
                } => {
                    let message = Incoming {
                        peer,
                        handle,
                        seq,
                        payload,
                    };
                    self.on_message(message, out)?;
                    self.on_following((peer, handle, seq), &mut items, out);
                }
                Item::Part {
                    handle,
                    seq,
                    offset,
                    total,
                    payload,
                } => {
                    let part = Incoming {
                        peer,
                        handle,
                        seq,
                        payload,
                    };
                    self.on_part(part, (offset, total), None, now, out)?;
                }
            }
        }
        Ok(())
    }

    // The messages that follow message `seq` of the publisher in its datagram, as long as every subscription takes them as they
    // come; whatever is left in `items` is to be taken one by one.
    fn on_following(
        &mut self,
        (peer, number, seq): (PeerIx, u32, u64),
        items: &mut Items<'_>,
        out: &mut dyn Outlet,
    ) {
        if items.clone().next_following().is_none() {
            return;
        }
        let Self {
            subs,
            origins,
            counters,
            held,
            reassembly,
            ..
        } = self;
        let Some(origin) = origins.get_mut(&peer) else {
            return;
        };
        let Some(handle) = origin.handles.get_mut(&number) else {
            return;
        };
        let (first, opened) = (seq + 1, origin.opened);
        let flows = |intake: &Intake| {
            let has_room = |local: &LocalSub| local.has_room();
            intake.flows(first, opened) && subs.get(&intake.sub).is_some_and(has_room)
        };
        // What is settled here may be the last of a publisher that is gone.
        if origin.retired.contains(number.into())
            || handle.intakes.is_empty()
            || !handle.intakes.iter().all(flows)
        {
            return;
        }
        let id = PublisherId {
            node: origin.node,
            boot: origin.boot,
            handle: number,
        };
        let Handle {
            topic,
            intakes,
            seen,
        } = handle;
        let (all, mut end) = (items.clone(), first);
        for intake in intakes.iter_mut() {
            let Some(local) = subs.get_mut(&intake.sub) else {
                continue;
            };
            *items = all.clone();
            let mut to = Toward {
                local,
                counters,
                held,
                id,
                topic,
                out,
            };
            let (left, mut refused) = to.flow(intake, first, items);
            end = left;
            while let Some(payload) = refused {
                // There is no room any more: each is accounted for by itself.
                if to.take_live(intake, end, payload) {
                    note_behind(to.local, &mut origin.asking, (peer, number), intake);
                }
                end += 1;
                refused = items.next_following();
            }
        }
        *seen = end.max(*seen);
        reassembly.discard(peer, number, (first, end), intakes);
        if intakes.iter().any(Intake::has_reports) {
            origin.dirty.insert(number);
        }
    }
}
