//! Anti-entropy: two members compare 256 bucket hashes and exchange only the buckets that differ.

use std::mem;

use tidings_wire::digest::{BucketAsk, BucketsView, MemberState, Rumour, Writer, bucket_of};
use tidings_wire::limits::{BUCKETS, BUCKETS_PER_DIGEST};

use super::table::Entry;
use super::{Ctx, Members, SECOND, Timer, rumour_of};
use crate::links::Links;
use crate::peer::PeerIx;
use crate::rng::Rng;
use xxhash_rust::xxh3::xxh3_64;
use zerocopy::IntoBytes;

/// Between two comparisons with a random member, +- 50 %.
const PERIOD_NS: u64 = 20 * SECOND;
/// A node that exchanged its first buckets this long ago knows the cluster: what is new to it is news.
const SETTLING_NS: u64 = 5 * SECOND;
/// Until the next comparison after one that found a difference, +- 50 %: at least this, ...
const SOON_NS: u64 = SECOND;
/// ... and this for each live member, so that what a node asks for is some 2,000 records a second, however many there are. Those who join
/// at once all differ in nearly all buckets, and each pair of them that compares exchanges nearly all that it knows.
const PACE_NS: u64 = SECOND / 2000;
/// A peer that has our hashes sends by itself what it has of what differs; after this long it is asked all the same.
const INFORMED_NS: u64 = 5 * SECOND;
/// Peers that pages are sent to at once.
const JOBS_MAX: usize = 64;
/// Room that is left in a peer's bulk queue for what else goes there.
const QUEUE_SPARE: usize = 512 * 1024;

type Bitmap = [u8; BUCKETS / 8];

/// Pages under way to one peer: all members of some buckets, from a number on.
struct Job {
    peer: PeerIx,
    buckets: Bitmap,
    next: usize,
    /// Not begun: our own record is first.
    own: bool,
    /// The peer is told where they end: by a BUCKET_ASK for nothing.
    ends: bool,
    /// What was added since it has begun comes after it: buckets, and whether that ends.
    then: Option<(Bitmap, bool)>,
}

impl Job {
    fn new(peer: PeerIx, buckets: Bitmap, ends: bool) -> Self {
        Self {
            peer,
            buckets,
            next: 0,
            own: true,
            ends,
            then: None,
        }
    }

    fn add(&mut self, more: &Bitmap, end: bool) {
        let (buckets, ends) = if self.own {
            (&mut self.buckets, &mut self.ends)
        } else {
            let (buckets, ends) = self.then.get_or_insert_default();
            (buckets, ends)
        };
        for (byte, more) in buckets.iter_mut().zip(more) {
            *byte |= more;
        }
        *ends |= end;
    }
}

/// A peer that was sent our hashes.
struct Informed {
    peer: PeerIx,
    at: u64,
    /// It said that what it sent is all.
    has_ended: bool,
}

/// The state of anti-entropy.
pub(crate) struct Sync {
    /// Between the last comparison that the timer began and the next.
    pause: u64,
    /// When that is.
    next_at: u64,
    /// A hash over our view when it last differed from another.
    differed: Option<u64>,
    jobs: Vec<Job>,
    first_at: Option<u64>,
    /// When we last began a comparison.
    began_at: Option<u64>,
    /// Peers that have our hashes.
    informed: Vec<Informed>,
    /// A peer has sent all that we lacked when we met it.
    joined: bool,
}

impl Sync {
    /// Nothing was compared yet; it will be at `next_at`, if no peer is met before.
    pub(super) fn new(next_at: u64) -> Self {
        Self {
            pause: PERIOD_NS,
            next_at,
            differed: None,
            jobs: Vec::new(),
            first_at: None,
            began_at: None,
            informed: Vec::new(),
            joined: false,
        }
    }

    /// Whether a peer has told us all members that it knows.
    pub(super) fn is_joined(&self) -> bool {
        self.joined
    }

    /// Nobody has told us anything: there is nobody, and others are to be joined.
    pub(super) fn forget_joining(&mut self) {
        self.joined = false;
    }

    /// Whether we have known the cluster for a while.
    pub(super) fn is_settled(&self, now: u64) -> bool {
        self.first_at.is_some_and(|at| now >= at + SETTLING_NS)
    }

    #[cfg(test)]
    pub(super) fn pause(&self) -> u64 {
        self.pause
    }

    /// Whether somebody who joins compares views with one more peer that it meets: what the last tells need not be told again.
    pub(super) fn may_compare(&self, now: u64, live: usize) -> bool {
        self.began_at.is_none_or(|at| now >= at + pace(live))
    }

    /// A link to the peer is new: nothing that was asked for over an older one comes.
    pub(super) fn on_link_up(&mut self, peer: PeerIx) {
        self.informed.retain(|informed| informed.peer != peer);
    }

    // What is remembered of a peer that has had our hashes for a few seconds.
    fn informed(&mut self, now: u64, peer: PeerIx) -> Option<&mut Informed> {
        let mut informed = self.informed.iter_mut();
        informed.find(|informed| informed.peer == peer && now < informed.at + INFORMED_NS)
    }

    fn add(&mut self, peer: PeerIx, buckets: &Bitmap, ends: bool) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.peer == peer) {
            job.add(buckets, ends);
        } else if self.jobs.len() < JOBS_MAX {
            self.jobs.push(Job::new(peer, *buckets, ends));
        }
    }
}

/// How long until the first comparison.
pub(super) fn wait(rng: &mut Rng) -> u64 {
    rng.jitter(PERIOD_NS)
}

/// The time between two comparisons that may find all buckets different.
fn pace(live: usize) -> u64 {
    live as u64 * PACE_NS
}

fn has(bitmap: &Bitmap, bucket: u8) -> bool {
    bitmap[usize::from(bucket / 8)] >> (bucket % 8) & 1 != 0
}

impl Members {
    pub(super) fn on_sync(&mut self, ctx: &mut Ctx<'_>) {
        let pause = (self.sync.pause * 2).max(pace(self.alive_count()));
        self.sync.pause = pause.clamp(SOON_NS, PERIOD_NS);
        self.sync.next_at = ctx.now + ctx.rng.jitter(self.sync.pause);
        self.arm_late(Timer::Sync, self.sync.next_at);
        let links = &*ctx.links;
        let linked = self.pick(ctx.rng, 1, |peer, _| links.is_up(peer));
        if let Some(peer) = linked.first() {
            self.sync_with(ctx, *peer);
        } else if let Some(peer) = self.pick(ctx.rng, 1, |_, _| true).first() {
            self.reach(ctx, *peer);
        }
    }

    /// Sends all bucket hashes to a linked peer.
    pub(super) fn sync_with(&mut self, ctx: &mut Ctx<'_>, peer: PeerIx) {
        let hashes = self.hashes();
        let Some(link) = ctx.links.link_mut(peer) else {
            return;
        };
        self.sync.began_at = Some(ctx.now);
        let informed = &mut self.sync.informed;
        informed.retain(|other| other.peer != peer && ctx.now < other.at + INFORMED_NS);
        informed.push(Informed {
            peer,
            at: ctx.now,
            has_ended: false,
        });
        for first in (0..BUCKETS).step_by(BUCKETS_PER_DIGEST) {
            let page = &hashes[first..first + BUCKETS_PER_DIGEST];
            link.bulk
                .push_with(|writer| writer.put_buckets(first as u16, page));
        }
    }

    pub(super) fn hashes(&self) -> [u64; BUCKETS] {
        let mut hashes = *self.table.hashes();
        if let Some((bucket, hash)) = self.own.hash() {
            hashes[usize::from(bucket)] ^= hash;
        }
        hashes
    }

    /// BUCKETS: what differs is sent and asked for.
    pub(crate) fn on_buckets(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, view: &BucketsView<'_>) {
        self.sync.first_at.get_or_insert(ctx.now);
        let first = usize::from(view.fixed.first.get());
        let ours = self.hashes();
        let mut ask = BucketAsk::default();
        for (at, theirs) in view.hashes.iter().enumerate() {
            let bucket = first + at;
            if bucket < BUCKETS && ours[bucket] != theirs.get() {
                ask.bitmap[bucket / 8] |= 1 << (bucket % 8);
            }
        }
        let differs = ask.bitmap.iter().any(|byte| *byte != 0);
        // Even if nothing differs: behind the last hashes the peer waits to hear that it lacks nothing.
        let last = first + view.hashes.len() == BUCKETS;
        if differs || last {
            self.sync.add(from, &ask.bitmap, last);
        }
        if differs {
            self.compare_soon(ctx);
        }
        // Who has our hashes sends all that it has of what differs, unasked.
        let informed = self.sync.informed(ctx.now, from);
        let comes = informed.is_some_and(|informed| !informed.has_ended);
        if differs
            && !comes
            && let Some(link) = ctx.links.link_mut(from)
        {
            link.ctl.push_with(|writer| writer.put(&ask));
        }
    }

    /// BUCKET_ASK: the members of these buckets are sent. One that asks for nothing ends the peer's own pages.
    pub(crate) fn on_bucket_ask(&mut self, ctx: &mut Ctx<'_>, from: PeerIx, ask: &BucketAsk) {
        self.sync.first_at.get_or_insert(ctx.now);
        if ask.bitmap == Bitmap::default() {
            self.sync.joined = true;
            let mut informed = self.sync.informed.iter_mut();
            if let Some(informed) = informed.find(|informed| informed.peer == from)
                && !mem::replace(&mut informed.has_ended, true)
            {
                self.comparisons.record(ctx.now - informed.at, 1);
            }
            return;
        }
        self.sync.add(from, &ask.bitmap, false);
        // Others ask because of members that they hold dead, without a look at our hashes.
        if self.sync.informed(ctx.now, from).is_some() {
            self.compare_soon(ctx);
        }
    }

    // Our view differs from another: more may. The next comparison is soon, and those after it are further and further apart. A difference
    // that a comparison did not change is none that another would.
    fn compare_soon(&mut self, ctx: &mut Ctx<'_>) {
        let view = Some(xxh3_64(self.hashes().as_bytes()));
        if self.sync.differed == view {
            return;
        }
        self.sync.differed = view;
        let soon = pace(self.alive_count()).clamp(SOON_NS, PERIOD_NS);
        self.sync.pause = self.sync.pause.min(soon);
        let at = ctx.now + ctx.rng.jitter(soon);
        if at < self.sync.next_at {
            self.sync.next_at = at;
            self.arm_late(Timer::Sync, at);
        }
    }

    /// Goes on with pages, as far as the peers' queues take them.
    pub(super) fn send_pages(&mut self, ctx: &mut Ctx<'_>) {
        let mut jobs = std::mem::take(&mut self.sync.jobs);
        jobs.retain_mut(|job| {
            while self.send_page(ctx.links, job) {
                let Some((buckets, ends)) = job.then.take() else {
                    return false;
                };
                *job = Job::new(job.peer, buckets, ends);
            }
            true
        });
        self.sync.jobs = jobs;
    }

    /// True if the job is done.
    fn send_page(&self, links: &mut Links, job: &mut Job) -> bool {
        if !links.is_up(job.peer) {
            return true;
        }
        let Some(link) = links.link_mut(job.peer) else {
            return true;
        };
        let mut put = |record: &[u8], state: Option<Rumour>| {
            let write = |writer: &mut Writer<'_>| {
                let fits = record.is_empty() || writer.put_encoded(record);
                fits && state.is_none_or(|rumour| writer.put(&rumour))
            };
            link.bulk.room() > QUEUE_SPARE && link.bulk.push_with(write)
        };
        if let (true, Some((bucket, _))) = (job.own, self.own.hash())
            && has(&job.buckets, bucket)
            && !put(self.own.encoded(), None)
        {
            return false;
        }
        job.own = false;
        for (peer, entry) in self.table.iter_from(job.next) {
            job.next = peer.at();
            let sent = peer == job.peer || !has(&job.buckets, bucket_of(&entry.id())) || {
                let (record, state) = page(entry, self.me);
                put(record, state)
            };
            if !sent {
                return false;
            }
        }
        !job.ends
            || link
                .bulk
                .push_with(|writer| writer.put(&BucketAsk::default()))
    }
}

/// What a page says of a member: its record if it is live, and the rumour if it is anything but alive.
fn page(entry: &Entry, me: tidings_wire::NodeId) -> (&[u8], Option<Rumour>) {
    let accuser = if entry.state == MemberState::Left {
        entry.id()
    } else {
        me
    };
    let state =
        (entry.state != MemberState::Alive).then(|| rumour_of(entry, entry.state, accuser, false));
    let record = if entry.is_live() { entry.record() } else { &[] };
    (record, state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_compares_with_those_it_meets_at_the_pace_at_which_records_are_told() {
        let mut sync = Sync::new(0);
        assert!(sync.may_compare(SECOND, 1000));
        sync.began_at = Some(SECOND);
        assert!(!sync.may_compare(SECOND + SECOND / 2 - 1, 1000));
        assert!(sync.may_compare(SECOND + SECOND / 2, 1000));
        assert!(sync.may_compare(SECOND + 1, 0), "a few cost nothing");
    }
}
