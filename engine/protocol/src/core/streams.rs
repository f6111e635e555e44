//! Streams of publishers elsewhere that are open here: their datagrams, and when to acknowledge them.

use std::collections::BTreeMap;
use std::ops::Bound;
use tidings_wire::mutants::{Mutant, mutant};

use tidings_wire::digest::{FanAck, FanBeat, StreamClose, StreamOpen, StreamReady};
use tidings_wire::{Boot, FanRx, Keyring, NodeId};

use crate::encode::{Encoded, encode, with};
use crate::limits;
use crate::links::Links;
use crate::peer::PeerIx;
use crate::receive::stream::StreamRx;

/// Words of a FAN_ACK that one digest of a PAIR datagram carries.
const ACK_WORDS: usize = 128;
/// Its size with all of them.
const ACK_BYTES: usize = size_of::<FanAck>() + 8 * ACK_WORDS;

/// The one lane of this version.
const LANE: u8 = 0;

/// Streams by session.
pub(crate) struct Streams {
    open: BTreeMap<u64, StreamRx>,
    // How much of the receive buffer one peer may fill.
    share: u64,
    // Where the next flush begins: the first that found no room in the last one.
    turn: u64,
    // A heartbeat waits for its answer, perhaps.
    is_asked: bool,
    // Datagrams came that were not handed in yet.
    unread: bool,
}

impl Streams {
    /// `share` is how much of the receive buffer one peer may fill.
    pub(crate) fn new(share: u64) -> Self {
        Streams {
            open: BTreeMap::new(),
            share,
            turn: 0,
            is_asked: false,
            unread: false,
        }
    }

    pub(crate) fn get_mut(&mut self, session: u64) -> Option<&mut StreamRx> {
        self.open.get_mut(&session)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// A publisher opens a stream, or opens it anew further on. Returns the answer's result: refused if another publisher has
    /// the session, the key is not ours or of another suite, or the lane is none of this version.
    pub(crate) fn on_open(
        &mut self,
        peer: PeerIx,
        node: NodeId,
        boot: Boot,
        open: &StreamOpen,
        keyring: &Keyring,
    ) -> u32 {
        let session = open.session.get();
        let suite = keyring.suite(open.slot).map(|suite| suite as u8);
        if suite != Some(open.suite) || open.lane != LANE {
            return StreamReady::REFUSED;
        }
        match self.open.get_mut(&session) {
            Some(stream) if stream.peer == peer || mutant(Mutant::SessionStolen) => {
                stream.reopen(open.floor.get());
                return StreamReady::READY;
            }
            Some(_) => return StreamReady::REFUSED,
            None => {}
        }
        if self.open.values().filter(|s| s.peer == peer).count() >= limits::MAX_STREAMS_PER_PEER {
            self.drop_quietest(peer);
        }
        match FanRx::new(
            keyring,
            open.slot,
            node,
            boot,
            session,
            open.lane,
            open.floor.get(),
        ) {
            Ok(keys) => {
                let stream = StreamRx::new(peer, boot, session, keys, self.share);
                self.open.insert(session, stream);
                StreamReady::READY
            }
            Err(_) => StreamReady::REFUSED,
        }
    }

    fn drop_quietest(&mut self, peer: PeerIx) {
        let quietest = self
            .open
            .values()
            .filter(|s| s.peer == peer)
            .min_by_key(|s| s.last_heard());
        if let Some(session) = quietest.map(|s| s.session) {
            self.open.remove(&session);
        }
    }

    pub(crate) fn on_close(&mut self, peer: PeerIx, close: &StreamClose) {
        let session = close.session.get();
        if self.open.get(&session).is_some_and(|s| s.peer == peer) {
            self.open.remove(&session);
        }
    }

    pub(crate) fn on_beat(&mut self, peer: PeerIx, beat: &FanBeat) {
        if let Some(stream) = self
            .open
            .get_mut(&beat.session.get())
            .filter(|s| s.peer == peer)
        {
            stream.on_beat();
            self.is_asked = true;
        }
    }

    /// Whether a heartbeat waits for its answer, perhaps.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Whether datagrams came that were not handed in yet.
    pub(crate) fn note_unread(&mut self, unread: bool) {
        if self.unread && !unread {
            let asked = self.open.values_mut().filter(|s| s.is_asked());
            asked.for_each(StreamRx::answer);
        }
        self.unread = unread;
    }

    /// The link is gone: there is nobody to acknowledge to.
    pub(crate) fn on_link_down(&mut self, peer: PeerIx) {
        for stream in self.open.values_mut().filter(|s| s.peer == peer) {
            stream.hush();
        }
    }

    /// The publisher is met in this life: the keys of an earlier one are no longer valid.
    pub(crate) fn keep_life(&mut self, peer: PeerIx, boot: Boot) {
        if !mutant(Mutant::OldStreamsHeard) {
            let is_valid = |stream: &StreamRx| stream.peer != peer || stream.boot == boot;
            self.open.retain(|_, stream| is_valid(stream));
        }
    }

    /// Ends the streams under keys in these slots (one bit each), and returns whose they were, once for each stream.
    pub(crate) fn end_keys(&mut self, gone: u8) -> Vec<PeerIx> {
        let is_gone = |stream: &StreamRx| gone & key_bit(stream) != 0;
        let ending = self.open.values().filter(|stream| is_gone(stream));
        let publishers = ending.map(|stream| stream.peer).collect();
        self.open.retain(|_, stream| !is_gone(stream));
        publishers
    }

    /// From whom datagrams came since `since`, and the slot of the key that they were under as a bit; a node once for each stream.
    pub(crate) fn keys_heard(&self, since: u64) -> impl Iterator<Item = (PeerIx, u8)> + '_ {
        let heard = self.open.values();
        let heard = heard.filter(move |stream| stream.last_heard() >= since);
        heard.map(|stream| (stream.peer, key_bit(stream)))
    }

    /// The publisher is gone.
    pub(crate) fn forget(&mut self, peer: PeerIx) {
        self.open.retain(|_, stream| stream.peer != peer);
    }

    /// When the next acknowledgement is due.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.open.values().filter_map(StreamRx::due).min()
    }

    /// Queues the acknowledgements that are due, as many as there is room for. Those of whom there are more than that stay
    /// owed: they go first in the next turn, so that no stream waits for ever behind the others.
    pub(crate) fn flush(&mut self, links: &mut Links, now: u64) {
        let begin = self.turn;
        let mut turn = None;
        let rounds = [
            (Bound::Included(begin), Bound::Unbounded),
            (Bound::Unbounded, Bound::Excluded(begin)),
        ];
        for round in rounds {
            for (&session, stream) in self.open.range_mut(round) {
                if stream.due().is_none_or(|at| at > now) {
                    continue;
                }
                let Some(link) = links.link_mut(stream.peer) else {
                    // What was still on its way came after the link's end.
                    stream.hush();
                    continue;
                };
                if !link.may_send(now) {
                    stream.postpone(link.bucket.ready_at());
                } else if link.queue_state(acknowledgement(stream, now, self.unread).bytes()) {
                    stream.acked(self.unread);
                } else {
                    turn.get_or_insert(session);
                }
            }
        }
        self.turn = turn.unwrap_or(0);
        self.is_asked = self.is_asked && self.open.values().any(StreamRx::is_asked);
    }
}

fn key_bit(stream: &StreamRx) -> u8 {
    1 << (stream.keys.key_slot() & 7)
}

fn acknowledgement(stream: &StreamRx, now: u64, unread: bool) -> Encoded<ACK_BYTES> {
    let state = stream.ack_state(now, unread);
    let mut words = [0u64; ACK_WORDS];
    let used = stream.keys.bitmap(&mut words);
    let mut fixed = FanAck {
        delay_us: state.delay_us.into(),
        session: stream.session.into(),
        floor: state.floor.into(),
        credit: state.credit.into(),
        recent: state.recent.into(),
        ..FanAck::default()
    };
    if state.answer {
        fixed.head.flags = FanAck::ANSWER;
    }
    with(|writer| writer.put_fan_ack(&fixed, &words[..used]))
}

/// The answer to a STREAM_OPEN.
pub(crate) fn ready(session: u64, result: u32) -> Encoded<64> {
    encode(
        &StreamReady {
            session: session.into(),
            result: result.into(),
            ..StreamReady::default()
        },
        &[],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_wire::{KeyRecord, OverlayId, Suite};

    #[test]
    fn a_stream_of_another_key_suite_lane_or_sender_is_refused() {
        let record = KeyRecord::new(1, Suite::Aes256Gcm, [7; 32]);
        let keyring = Keyring::new(OverlayId::from_name("test"), vec![record], 1).unwrap();
        let open = |session: u64, slot, suite, lane| StreamOpen {
            session: session.into(),
            slot,
            suite: suite as u8,
            lane,
            ..StreamOpen::default()
        };
        let mut streams = Streams::new(u64::from(limits::RCVBUF_DEFAULT));
        for (peer, open, ready) in [
            (1, open(1, 1, Suite::Aes256Gcm, 0), true),
            (1, open(1, 1, Suite::Aes256Gcm, 0), true),
            (2, open(1, 1, Suite::Aes256Gcm, 0), false),
            (2, open(2, 2, Suite::Aes256Gcm, 0), false),
            (2, open(2, 1, Suite::Aes128Gcm, 0), false),
            (2, open(2, 1, Suite::Aes256Gcm, 1), false),
            (2, open(2, 1, Suite::Aes256Gcm, 0), true),
        ] {
            let (id, boot) = (NodeId([peer; 16]), Boot([peer; 16]));
            let result = streams.on_open(PeerIx(peer.into()), id, boot, &open, &keyring);
            assert_eq!(result == StreamReady::READY, ready, "{open:?}");
        }
        assert_eq!(streams.len(), 2);
    }
}
