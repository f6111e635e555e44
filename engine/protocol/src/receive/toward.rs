//! The last step to a local subscription: hand over, hold back, or account why not.

use super::asking::Asking;
use super::held::Held;
use super::intake::{Gap, Intake, Verdict};
use super::run::Run;
use super::{DROP_OLDEST_WAITING, LocalSub, ReceiveCounters};
use crate::config::{AckMode, SlowPolicy};
use crate::event::{Delivery, Event, Outcome, Outlet, PublisherId, Taken};
use crate::fan::Items;
use crate::peer::PeerIx;
use tidings_wire::mutants::{Mutant, mutant};

// Keeps both lists of who is behind true after an intake changed.
pub(super) fn note_behind(
    local: &mut LocalSub,
    asking: &mut Asking,
    at: (PeerIx, u32),
    intake: &Intake,
) {
    if intake.has_missed() || intake.has_held() {
        local.behind.insert(at);
    } else {
        local.behind.remove(&at);
    }
    // What is held back waits for others to arrive, or for room: only then the publisher is told.
    let no_room = local.full || !local.attached;
    let waits = intake.has_missed() || (no_room && intake.has_held());
    let pair = (intake.sub, at.1);
    asking.note(pair, waits, || intake.oldest_waiting());
    if !no_room && intake.has_missed() {
        asking.want(pair);
    }
}

/// The way to one local subscription for messages of one publisher.
pub(super) struct Toward<'a> {
    pub(super) local: &'a mut LocalSub,
    pub(super) counters: &'a mut ReceiveCounters,
    pub(super) held: &'a mut Held,
    pub(super) id: PublisherId,
    pub(super) topic: &'a str,
    pub(super) out: &'a mut dyn Outlet,
}

impl Toward<'_> {
    // Takes a message; true if the subscription is behind after it, or was.
    pub(super) fn take(&mut self, intake: &mut Intake, seq: u64, payload: &[u8]) -> bool {
        match intake.judge(seq, payload.len(), self.held) {
            Verdict::Duplicate => {
                self.counters.duplicates += 1;
                return false;
            }
            // Of what waits for room it keeps the newest, in whatever order it came.
            Verdict::Hold | Verdict::Miss if self.sheds_oldest() => self.no_room(intake, seq),
            Verdict::Hold => {
                self.counters.held += 1;
                intake.hold(seq, payload, self.held);
                return true;
            }
            Verdict::Miss => self.miss(intake, seq),
            Verdict::Now => {
                let was_behind = intake.has_missed() || intake.has_held();
                if !self.offer(intake, seq, payload) {
                    return true;
                }
                if !was_behind {
                    return false;
                }
                self.drain(intake);
            }
        }
        true
    }

    // The same for a message on the live path, which may have to leave the room to what is fetched.
    pub(super) fn take_live(&mut self, intake: &mut Intake, seq: u64, payload: &[u8]) -> bool {
        let behind = if intake.yields() {
            self.pass(intake, seq)
        } else {
            self.take(intake, seq, payload)
        };
        if behind && self.local.full {
            intake.yield_room();
        }
        behind
    }

    // Leaves a message to be fetched; true as by `take`.
    fn pass(&mut self, intake: &mut Intake, seq: u64) -> bool {
        if intake.wants(seq) {
            self.no_room(intake, seq);
        } else {
            self.counters.duplicates += 1;
        }
        true
    }

    fn has_room(&self) -> bool {
        self.local.has_room()
    }

    fn sheds_oldest(&self) -> bool {
        self.local.policy == SlowPolicy::DropOldest && !self.has_room()
    }

    // Hands one message over, or accounts why not.
    fn offer(&mut self, intake: &mut Intake, seq: u64, payload: &[u8]) -> bool {
        if !self.has_room() || !self.deliver(intake, seq, payload) {
            self.no_room(intake, seq);
            return false;
        }
        true
    }

    fn deliver(&mut self, intake: &mut Intake, seq: u64, payload: &[u8]) -> bool {
        let again = intake.is_again(seq);
        let delivery = Delivery {
            publisher: self.id,
            seq,
            topic: self.topic,
            payload,
            again,
        };
        let acked = match self.out.deliver(intake.sub, &delivery) {
            Taken::Full => {
                self.local.full = true;
                return false;
            }
            Taken::Acked => true,
            Taken::Kept => self.keeps_acked(),
        };
        self.counters.delivered += 1;
        self.counters.delivered_bytes += payload.len() as u64;
        self.counters.again += u64::from(again);
        intake.got(seq, acked);
        true
    }

    // Hands over the messages that follow, the first of them `from`, which the intake takes as they come. Returns the number of
    // the first that is left; if one found no room it is that.
    pub(super) fn flow<'d>(
        &mut self,
        intake: &mut Intake,
        from: u64,
        items: &mut Items<'d>,
    ) -> (u64, Option<&'d [u8]>) {
        let sub = intake.sub;
        let publisher = (self.id, self.topic);
        let mut run = Run::new(intake, publisher, (from, items), self.keeps_acked());
        self.out.deliver_run(sub, &mut run);
        let run = run.finish();
        self.counters.delivered += run.to - from;
        self.counters.delivered_bytes += run.bytes;
        self.local.full = run.refused.is_some();
        (run.to, run.refused)
    }

    // Whether what its node keeps for it counts as delivered.
    fn keeps_acked(&self) -> bool {
        self.local.ack == AckMode::Node || mutant(Mutant::AckedUnread)
    }

    fn no_room(&mut self, intake: &mut Intake, seq: u64) {
        match self.local.policy {
            SlowPolicy::DropNewest if self.local.attached => self.refuse(intake, seq),
            SlowPolicy::DropOldest => {
                self.miss(intake, seq);
                self.counters.refused += intake.refuse_oldest(DROP_OLDEST_WAITING, self.held);
            }
            SlowPolicy::DropNewest | SlowPolicy::Detach | SlowPolicy::Block => {
                self.miss(intake, seq)
            }
        }
    }

    fn miss(&mut self, intake: &mut Intake, seq: u64) {
        self.counters.missed += 1;
        intake.miss(seq, seq + 1);
    }

    fn refuse(&mut self, intake: &mut Intake, seq: u64) {
        self.counters.refused += 1;
        intake.refuse(seq, seq + 1);
        self.drain(intake);
    }

    // Hands over what is next in order: gaps, and what was held back. Nothing while nobody is there to hear it, and no gap that
    // grows until there is room.
    pub(super) fn drain(&mut self, intake: &mut Intake) {
        while self.local.attached && !self.sheds_oldest() {
            let begun = intake.has_begun();
            if let Some(gap) = intake.next_gap() {
                self.tell(intake.sub, gap, begun);
                continue;
            }
            let drops = self.local.policy == SlowPolicy::DropNewest;
            if self.local.full && !drops {
                return;
            }
            let Some((seq, payload)) = intake.next_held(self.held) else {
                return;
            };
            if !self.local.full && self.deliver(intake, seq, &payload) {
                continue;
            }
            if !drops {
                intake.unhold(seq, payload, self.held);
                return;
            }
            self.counters.refused += 1;
            intake.refuse(seq, seq + 1);
        }
    }

    // Tells a gap of a subscription that had got something before it, or not.
    pub(super) fn tell(&mut self, sub: u32, gap: Gap, begun: bool) {
        let Gap { from, to, reason } = gap;
        let reason = match reason {
            // What the publisher began to send for a subscription that had ended goes no further when it hears of that.
            Outcome::Delivered if begun && self.local.returned => Outcome::Unsubscribed,
            // Settled in an earlier session: nothing is missing.
            Outcome::Delivered => return,
            reason => reason,
        };
        if mutant(Mutant::HoleUntold) {
            return;
        }
        self.counters.gaps += to - from;
        self.out.event(Event::Gap {
            sub,
            publisher: self.id,
            topic: self.topic,
            from,
            to,
            reason,
        });
    }
}
