//! Large messages part by part: which are wanted, and what becomes of those that find no room.

use super::reassembly::{Lay, MessageKey, Part};
use super::toward::note_behind;
use super::*;

impl Receive {
    /// A part of a large message, live (`only` is `None`) or by catch-up.
    pub(crate) fn on_part(
        &mut self,
        part: Incoming<'_>,
        (offset, total): (u32, u32),
        only: Option<u32>,
        now: u64,
        out: &mut dyn Outlet,
    ) -> Result<(), Undefined> {
        let key = MessageKey {
            peer: part.peer,
            handle: part.handle,
            seq: part.seq,
        };
        if only.is_some()
            && let Some(origin) = self.origins.get_mut(&part.peer)
        {
            origin.asking.on_part(now);
        }
        if !self.wants_part(key, offset, only)? {
            return Ok(());
        }
        let lay = Lay {
            offset,
            total,
            fetched: only.is_some(),
        };
        let mut put = self.reassembly.put(key, lay, part.payload, now);
        if put == Part::NoRoom && self.drop_stale(now) {
            put = self.reassembly.put(key, lay, part.payload, now);
        }
        match put {
            // Both paths may have contributed: whoever lacks it gets it.
            Part::Whole(payload) => {
                let whole = Incoming {
                    payload: &payload,
                    ..part
                };
                let Some(sub) = only else {
                    return self.hand_over(whole, Way::Live, out).map(|_| ());
                };
                self.on_catchup(whole, sub, now, out)?;
                self.hand_over(whole, Way::Beside, out).map(|_| ())
            }
            Part::NoRoom => {
                self.put_off(key, lay, only);
                Ok(())
            }
            Part::Taken | Part::Bad => Ok(()),
        }
    }

    // Whether any subscription, or the one named, lacks the message that the part is of.
    fn wants_part(
        &mut self,
        key: MessageKey,
        offset: u32,
        only: Option<u32>,
    ) -> Result<bool, Undefined> {
        // What was missed is fetched whole: to begin it by a part that came live would only take room.
        let begins = only.is_none() && !self.reassembly.has_begun(key);
        let origin = self.origins.get_mut(&key.peer).ok_or(Undefined)?;
        let opened = origin.opened;
        let Some(handle) = origin.handles.get_mut(&key.handle) else {
            return origin.unknown(key.handle).map(|()| false);
        };
        let seen = handle.seen;
        handle.seen = seen.max(key.seq + 1);
        let mut wanted = false;
        for intake in &mut handle.intakes {
            if only.is_some_and(|sub| intake.sub != sub) {
                continue;
            }
            if only.is_none()
                && intake.part_begins_late((key.seq, offset), seen, opened)
                && let Some(local) = self.subs.get_mut(&intake.sub)
            {
                note_behind(local, &mut origin.asking, (key.peer, key.handle), intake);
            }
            wanted |= intake.wants(key.seq) && !(begins && intake.is_missed(key.seq));
        }
        Ok(wanted)
    }

    // There is no room to put the message together: it is fetched, alone if it was fetched when there was none.
    fn put_off(&mut self, key: MessageKey, lay: Lay, only: Option<u32>) {
        let Some(sub) = only else {
            self.counters.evicted += 1;
            return self.miss_everywhere(key);
        };
        let Some(origin) = self.origins.get_mut(&key.peer) else {
            return;
        };
        let pair = (sub, key.handle);
        if lay.offset == 0 && origin.asking.crowded.insert(pair) {
            self.counters.evicted += 1;
            self.crowd.push_back(Crowded {
                peer: key.peer,
                pair,
                total: lay.total as usize,
            });
        }
    }

    // Messages that got no part for long make room; true if there are any.
    pub(super) fn drop_stale(&mut self, now: u64) -> bool {
        let stale = self.reassembly.drop_stale(now);
        self.counters.evicted += stale.len() as u64;
        stale.iter().for_each(|key| self.miss_everywhere(*key));
        !stale.is_empty()
    }

    fn miss_everywhere(&mut self, key: MessageKey) {
        let Some(origin) = self.origins.get_mut(&key.peer) else {
            return;
        };
        let Some(handle) = origin.handles.get_mut(&key.handle) else {
            return;
        };
        for intake in &mut handle.intakes {
            let Some(local) = self.subs.get_mut(&intake.sub) else {
                continue;
            };
            intake.miss(key.seq, key.seq + 1);
            note_behind(local, &mut origin.asking, (key.peer, key.handle), intake);
        }
    }
}
