//! One link: everything known of the way to one boot of one peer, and the two channels to it.
//!
//! `pack.rs` writes its datagrams; `mod.rs` owns all links and feeds them what arrives. One over which nothing is said is folded:
//! a cluster of thousands has few that are not.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{BulkAckView, BulkView, CtlAck, CtlView, PathProbe, Writer};
use tidings_wire::limits::MAX_ACK_WORDS;
use tidings_wire::{Boot, NodeId};

use super::budget::Bucket;
use super::channel::{Ack, Arrival, Channel, Size};
use super::congestion::Congestion;
use super::handshake::Local;
use super::loose::{Loose, PAIR_BODY};
use super::path::{self, Echo, Path, Verdict};
use super::rtt::Rtt;
use super::session::{Folded as FoldedSession, Session, Sessions};
use super::traffic::PeerCounters;
use crate::peer::PeerIx;

/// PAIR datagrams a second to one peer, and how many at once: a control socket of the usual size holds these of two peers, most being small.
const PAIR_RATE: u64 = 8000;
const PAIR_BURST: u64 = 200;
/// A chunk's head inside a datagram's body.
const CHUNK_HEAD: usize = 8;
/// The control channel: its acknowledgement has 64 bits; 256 KiB are some 5,000 digests.
pub(crate) const CTL: Size = Size {
    chunk: PAIR_BODY - CHUNK_HEAD,
    // Acknowledgements of a few streams ride along.
    fill: PAIR_BODY - CHUNK_HEAD - 256,
    queue: 256 * 1024,
    window: 64,
    // Far fewer than may be under way without being full.
    per_ack: 8,
    ack_wait: (1_000_000, 1_000_000),
    alone: 1_000_000,
};
/// The bulk channel: 512 chunks in flight are 600 kB, 15 MB/s at 40 ms.
pub(crate) const BULK: Size = Size {
    chunk: PAIR_BODY - CHUNK_HEAD,
    fill: PAIR_BODY - CHUNK_HEAD,
    queue: 1024 * 1024,
    window: 512,
    per_ack: 16,
    ack_wait: (200_000, 25_000_000),
    alone: u64::MAX,
};
/// A link that carried nothing for this long is folded ...
pub(super) const REST_NS: u64 = 5_000_000_000;
/// ... or for this long, or two round trips, if only probes go over it: a node sends and gets seven a second, and each keeps 4 KB open
/// until then. An ICMP error is there before.
pub(super) const PROBE_REST_NS: u64 = 20_000_000;
/// A link that carried nothing for this long is dropped unless somebody wants it. Partners are probed every 5 s, every 40 s by a node
/// in bad health; whoever else was spoken to, while joining for one, is not needed.
const IDLE_NS: u64 = 120_000_000_000;
/// Between two dials to a peer that does not acknowledge: at first, and at most.
const REDIAL_NS: (u64, u64) = (50_000_000, 1_000_000_000);
/// A link that the preferred of two handshakes began within this time is not replaced by the other one.
const CROSSING_NS: u64 = 3_000_000_000;
/// A peer that was not heard for this long may not have heard us either.
pub(super) const SILENCE_NS: u64 = 2_000_000_000;
/// One that is heard, but does not acknowledge, is tried this often: the path to it may be good again any time.
const RETRY_NS: u64 = 1_000_000_000;
/// How far back an ICMP error may quote.
const QUOTE_NS: u64 = 2_000_000_000;

const _: () = assert!(BULK.window as usize <= MAX_ACK_WORDS * 64);

/// What the peer said of itself in the handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) boot: Boot,
    pub(crate) generation: u64,
    pub(crate) rcvbuf: u32,
    pub(crate) caps: u32,
    /// Number of its link state.
    pub(crate) link: u32,
}

/// What is known of the way to one boot of one peer, whether anything is said over it or not.
pub(crate) struct Known {
    pub(crate) peer: PeerIx,
    pub(crate) id: NodeId,
    pub(crate) boot: Boot,
    /// The boot to which the link before it was that was to another; zero if there was none.
    pub(crate) boot_before: Boot,
    pub(crate) generation: u64,
    pub(crate) addr: SocketAddr,
    pub(crate) rtt: Rtt,
    /// Bytes of the largest datagram that the path is known to carry.
    pub(crate) datagram: usize,
    /// Bytes of the peer's data-socket buffer that we may fill.
    pub(crate) peer_rcvbuf: u32,
    pub(crate) peer_caps: u32,
    /// Numbers of this link state at both ends; a peer that states another has forgotten what we remember.
    pub(crate) our_link: u32,
    pub(crate) peer_link: u32,
    pub(crate) last_heard: u64,
    pub(crate) last_used: u64,
    pub(crate) counters: PeerCounters,
}

/// The link to one boot of one peer.
pub(crate) struct Link {
    pub(crate) known: Known,
    pub(crate) congestion: Congestion,
    pub(crate) ctl: Channel,
    /// The last PAIR datagram had no room left for the chunk that waits: it goes first in the next.
    pub(super) chunk_first: bool,
    pub(crate) bulk: Channel,
    /// What streams sent while chunks of `bulk` waited for room: these get as much before streams send more that is new.
    pub(super) owed_to_bulk: u64,
    /// The largest datagram of a stream for which there was no room in this flush: `bulk` leaves it that much when it is not its turn.
    pub(super) stream_waits: u64,
    pub(crate) sessions: Sessions,
    pub(crate) path: Path,
    pub(crate) loose: Loose,
    pub(crate) bucket: Bucket,
    /// A datagram is owed although there is nothing to say: the peer waits to hear us on a new session.
    pub(crate) owes_sign: bool,
    /// A dial to the peer is under way besides.
    pub(crate) dialled: bool,
    /// When a session of the key that seals now is to be opened, if that in use is of another.
    pub(super) rekey_at: Option<u64>,
    // Before this it is not dialled again for being stuck, and how long that rests after the next time.
    redial_at: u64,
    redial_wait: u64,
    /// Until when handshakes that are not preferred may be answers to the state before this link.
    crossing_until: u64,
    quotable: Quotable,
}

impl Deref for Link {
    type Target = Known;

    fn deref(&self) -> &Known {
        &self.known
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Known {
        &mut self.known
    }
}

/// Counters of the last seconds, at two marks a second apart.
#[derive(Default)]
struct Quotable {
    older: (u64, u64),
    newer: (u64, u64),
}

impl Link {
    /// A link with its first session.
    pub(crate) fn new(
        now: u64,
        (peer, id, addr): (PeerIx, NodeId, SocketAddr),
        our_link: u32,
        terms: &Terms,
        session: Session,
        path: Path,
    ) -> Self {
        let known = Known {
            peer,
            id,
            boot: terms.boot,
            boot_before: Boot::ZERO,
            generation: terms.generation,
            addr,
            rtt: Rtt::default(),
            datagram: path.least(),
            peer_rcvbuf: terms.rcvbuf,
            peer_caps: terms.caps,
            our_link,
            peer_link: terms.link,
            last_heard: now,
            last_used: now,
            counters: PeerCounters {
                links: 1,
                ..PeerCounters::default()
            },
        };
        let crossing_until = if session.preferred {
            now + CROSSING_NS
        } else {
            0
        };
        let channels = (Channel::new(CTL), Channel::new(BULK));
        Self {
            crossing_until,
            ..Link::of(known, session, path, channels)
        }
    }

    fn of(known: Known, session: Session, path: Path, (ctl, bulk): (Channel, Channel)) -> Self {
        Self {
            congestion: Congestion::new(known.datagram, u64::from(known.peer_rcvbuf)),
            known,
            ctl,
            chunk_first: false,
            bulk,
            owed_to_bulk: 0,
            stream_waits: 0,
            sessions: Sessions::new(session),
            path,
            loose: Loose::default(),
            bucket: Bucket::new(PAIR_RATE, PAIR_BURST),
            owes_sign: false,
            dialled: false,
            rekey_at: None,
            redial_at: 0,
            redial_wait: REDIAL_NS.0,
            crossing_until: 0,
            quotable: Quotable::default(),
        }
    }

    /// Bytes of streams that may be sent now: of what window and pacing let go, what is left beside that which waits in the bulk channel
    /// and whose turn it is. Else a stream that is given all it can take would keep catch-up and tables waiting for ever.
    pub(crate) fn stream_allowance(&mut self, now: u64) -> u64 {
        let all = self.congestion.allowance(now);
        all.saturating_sub(self.owed_to_bulk.min(self.bulk.tx.queued_on_path()))
    }

    /// A datagram of a stream of so many bytes found no room.
    pub(crate) fn note_stream_waits(&mut self, bytes: u64) {
        self.stream_waits = self.stream_waits.max(bytes);
    }

    /// Bytes of the bulk channel that may be sent now.
    pub(super) fn bulk_allowance(&mut self, now: u64) -> u64 {
        let all = self.congestion.allowance(now);
        if self.owed_to_bulk > 0 {
            return all;
        }
        all.saturating_sub(self.stream_waits)
    }

    /// A datagram of a stream went out, or several, of so many bytes in all.
    pub(crate) fn on_stream_sent(&mut self, bytes: u64) {
        self.congestion.on_sent(bytes);
        if self.bulk.tx.wants_room() {
            self.owed_to_bulk += bytes;
        }
    }

    /// Whether the handshake crossed the preferred one that began this link: each end would answer it with a state that the
    /// other end's next answer replaces, and so for ever. Both ends refuse it.
    pub(super) fn is_crossed(
        &self,
        now: u64,
        terms: &Terms,
        our_link: Option<u32>,
        preferred: bool,
    ) -> bool {
        !preferred
            && now < self.crossing_until
            && self.boot == terms.boot
            && !self.continues(terms, our_link)
    }

    /// Whether nothing was said for a while and nothing waits: it may be folded.
    pub(super) fn rests(&self, now: u64, rest: u64) -> bool {
        now >= self.last_used + rest
            && !self.owes_sign
            && !self.dialled
            && self.rekey_at.is_none()
            && self.loose.is_empty()
            && self.ctl.rests()
            && self.bulk.rests()
            && self.path.rests(now)
            && self.sessions.only().is_some()
    }

    /// What must be remembered until something is said again; itself unless it rests.
    pub(super) fn fold(self: Box<Self>) -> Result<Folded, Box<Self>> {
        let Some(session) = self.sessions.only() else {
            return Err(self);
        };
        Ok(Folded {
            session: session.fold(),
            channels: (self.ctl.numbers(), self.bulk.numbers()),
            known: self.known,
        })
    }

    /// Queues a state for this turn's PAIR datagrams: an acknowledgement of a stream, or a heartbeat. False if others take all
    /// the room that there is for these; it goes in the next turn then.
    pub(crate) fn queue_state(&mut self, digest: &[u8]) -> bool {
        self.loose.push_state(digest)
    }

    /// Queues what `write` puts for this turn's PAIR datagrams.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Writer<'_>) -> bool) -> bool {
        self.loose.push_with(write)
    }

    /// Whether the cap on PAIR datagrams lets one more go. Probes and acknowledgements go anyway, but count; whoever
    /// sends state that can wait asks first.
    pub(crate) fn may_send(&mut self, now: u64) -> bool {
        self.bucket.level(now) > 0
    }

    /// A valid datagram of `len` bytes of the peer came on one of our slots.
    pub(crate) fn heard(&mut self, now: u64, slot: u32, from: SocketAddr, len: usize) {
        let wait = if now >= self.last_heard + SILENCE_NS {
            0
        } else {
            self.rtt.rto().max(RETRY_NS)
        };
        self.ctl.tx.retry(now, wait);
        self.bulk.tx.retry(now, wait);
        self.last_heard = now;
        self.last_used = now;
        self.sessions.heard(slot, now);
        self.path.heard(now, from, len, self.addr);
        if mutant(Mutant::AddressBelieved) {
            self.addr = from;
        }
    }

    /// The peer stated its terms anew, in another handshake between the same boots.
    pub(crate) fn renew(&mut self, terms: &Terms) {
        self.generation = self.generation.max(terms.generation);
        self.peer_rcvbuf = terms.rcvbuf;
        self.peer_caps = terms.caps;
        self.congestion.set_share(u64::from(terms.rcvbuf));
    }

    /// Takes a chunk of the control channel: handle its digests now if it is `Next`, then what `ctl.rx.pop` yields.
    pub(crate) fn on_ctl(&mut self, now: u64, chunk: &CtlView<'_>) -> Arrival {
        let srtt = self.rtt.smoothed();
        self.ctl
            .rx
            .receive(now, chunk.fixed.seq.get(), chunk.content, srtt)
    }

    /// Takes a chunk of the bulk channel, as `on_ctl`.
    pub(crate) fn on_bulk(&mut self, now: u64, chunk: &BulkView<'_>) -> Arrival {
        let srtt = self.rtt.smoothed();
        self.bulk
            .rx
            .receive(now, chunk.fixed.seq.get(), chunk.content, srtt)
    }

    /// Takes an acknowledgement of the control channel.
    pub(crate) fn on_ctl_ack(&mut self, now: u64, ack: &CtlAck) {
        let ack = Ack {
            floor: ack.floor.get(),
            words: &[ack.bits.get()],
            delay: (ack.head.flags & CtlAck::LATE == 0).then_some(0),
        };
        self.ctl.tx.on_ack(&ack, now, &mut self.known.rtt, None);
    }

    /// Takes an acknowledgement of the bulk channel.
    pub(crate) fn on_bulk_ack(&mut self, now: u64, ack: &BulkAckView<'_>) {
        let mut words = [0; MAX_ACK_WORDS];
        for (word, wire) in words.iter_mut().zip(ack.bitmap) {
            *word = wire.get();
        }
        let ack = Ack {
            floor: ack.fixed.floor.get(),
            words: &words[..ack.bitmap.len()],
            delay: Some(u64::from(ack.fixed.delay_us.get()) * 1000),
        };
        self.bulk
            .tx
            .on_ack(&ack, now, &mut self.known.rtt, Some(&mut self.congestion));
    }

    /// The peer wants to know whether a datagram arrives.
    pub(crate) fn on_path_probe(&mut self, from: SocketAddr, probe: &PathProbe) {
        self.path.on_probe(Echo {
            to: from,
            no: probe.no.get(),
            size: probe.size.get(),
        });
    }

    /// The peer echoed a probe.
    pub(crate) fn on_path_ack(&mut self, now: u64, from: SocketAddr, no: u32) {
        match self.path.on_echo(now, no, from) {
            Verdict::Nothing => {}
            Verdict::Moved(addr) => {
                self.addr = addr;
                self.shrink(now);
            }
            Verdict::Carries(size) => {
                self.datagram = size;
                self.congestion.set_datagram(size);
            }
        }
    }

    /// Back to the size that every path carries: the path changed, or swallows what it used to carry (a black hole,
    /// RFC 8899 4.4).
    pub(crate) fn shrink(&mut self, now: u64) {
        if self.datagram > self.path.least() {
            self.datagram = self.path.least();
            self.congestion.set_datagram(self.datagram);
            self.path.restart(now);
        }
    }

    /// Another bound of what the path is probed for. One that carries more is known to carry that, too.
    pub(super) fn set_datagram_max(&mut self, now: u64, limit: usize) {
        let carried = self.path.least().max(path::at_most(self.datagram, limit));
        self.path.set_limit(now, limit, carried);
        if self.datagram != carried {
            self.datagram = carried;
            self.congestion.set_datagram(carried);
        }
    }

    /// Whether `counter` towards `index` is one of the last seconds, so that an ICMP error that quotes it is evidence.
    pub(crate) fn sent_lately(&self, now: u64, index: u32, counter: u64) -> bool {
        let session = self.sessions.used_ref();
        let fresh = |(at, first): (u64, u64)| at + QUOTE_NS > now && counter >= first;
        session.tx_index == index
            && counter < session.keys.pair_tx.next_counter()
            && (fresh(self.quotable.newer) || fresh(self.quotable.older))
    }

    /// Notes that a PAIR datagram with this counter is about to leave.
    pub(crate) fn note_counter(&mut self, now: u64, counter: u64) {
        let mark = &mut self.quotable;
        if now >= mark.newer.0 + QUOTE_NS / 2 || counter < mark.newer.1 {
            mark.older = mark.newer;
            mark.newer = (now, counter);
        }
    }

    /// Whether the peer has stopped acknowledging what must arrive.
    fn is_stuck(&self) -> bool {
        self.ctl.tx.timeouts() > 1 || self.bulk.tx.timeouts() > 1
    }

    /// Whether it is stuck and to be dialled again now. It stays stuck until its peer acknowledges what is sent again, which may
    /// be in seconds, whatever sessions are opened meanwhile: so the pauses grow.
    pub(crate) fn redials(&mut self, now: u64) -> bool {
        if !self.is_stuck() {
            self.redial_wait = REDIAL_NS.0;
            return false;
        }
        let due = now >= self.redial_at;
        if due {
            self.redial_at = now + self.redial_wait;
            self.redial_wait = (2 * self.redial_wait).min(REDIAL_NS.1);
        }
        due
    }

    /// When to look whether it can be folded, which it is after `rest` without a word; what does not rest by then is looked at
    /// again.
    pub(super) fn looked_at(&self, now: u64, rest: u64) -> u64 {
        (self.last_used + rest).max(now + rest / 4)
    }

    /// When the link wants to be flushed again.
    pub(super) fn deadline(&mut self, now: u64) -> Option<u64> {
        let paced = self
            .bulk
            .tx
            .has_unsent()
            .then(|| self.congestion.paced_until(now))
            .flatten();
        let capped = (self.ctl.tx.has_unsent() && self.bucket.level(now) == 0)
            .then(|| self.bucket.ready_at());
        let all = [
            self.ctl.tx.deadline(&self.known.rtt),
            self.bulk.tx.deadline(&self.known.rtt),
            self.ctl.rx.ack_at(),
            self.bulk.rx.ack_at(),
            self.sessions.deadline(),
            self.path.deadline(),
            self.rekey_at.filter(|_| !self.dialled),
            paced,
            capped,
        ];
        all.into_iter().flatten().min()
    }
}

/// A link over which nothing is said: see [`Link::fold`].
pub(super) struct Folded {
    pub(super) known: Known,
    session: FoldedSession,
    // Numbers of the control and the bulk channel: next to send, next expected.
    channels: ((u64, u64), (u64, u64)),
}

const _: () = assert!(size_of::<Folded>() <= 400);

impl Folded {
    /// The link again, between the local end and the one that it is to.
    pub(super) fn unfold(self, now: u64, local: &Local) -> Link {
        let Self {
            known,
            session,
            channels: (ctl, bulk),
        } = self;
        let session = session.unfold(now, (local.id, local.boot), (known.id, known.boot));
        let path = Path::known(now, local.datagram_min, local.datagram_max, known.datagram);
        let channels = (Channel::at(CTL, ctl), Channel::at(BULK, bulk));
        Link::of(known, session, path, channels)
    }

    /// Its receive slot.
    pub(super) fn slot(&self) -> u32 {
        self.session.slot()
    }

    /// Slot of the key record that its session was derived from.
    pub(super) fn key_slot(&self) -> u8 {
        self.session.key_slot()
    }
}

impl Known {
    /// Whether a handshake with these terms goes on with the state that is held here. `our_link` is the number that it stated for
    /// us, None if it stated none yet (we responded).
    pub(super) fn continues(&self, terms: &Terms, our_link: Option<u32>) -> bool {
        self.boot == terms.boot
            && self.peer_link == terms.link
            && our_link.is_none_or(|ours| ours == self.our_link)
    }

    /// Whether it carried nothing for so long that it is dropped unless somebody wants it.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        now >= self.last_used + IDLE_NS
    }
}
