//! A reliable ordered channel of digests between two linked peers: everything that must arrive goes through one.
//!
//! Digests are packed into numbered chunks; a chunk is repeated, in a new datagram, until acknowledged, and handed up
//! once and in order. A link has two: `ctl` in PAIR datagrams and `bulk` in BULK datagrams.

mod receiver;
mod sender;

use tidings_wire::digest::Writer;

pub(crate) use receiver::{Arrival, Receiver};
pub(crate) use sender::{Ack, Sender};

/// The sizes of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Most bytes of digests in one chunk.
    pub(crate) chunk: usize,
    /// Bytes beyond which digests are not joined in one chunk.
    pub(crate) fill: usize,
    /// Most bytes queued and unacknowledged together.
    pub(crate) queue: usize,
    /// Most chunks unacknowledged, and buffered ahead of a hole at the receiver.
    pub(crate) window: u64,
    /// One chunk of so many is acknowledged at once, for those before it, too.
    pub(crate) per_ack: u64,
    /// Nanoseconds that other acknowledgements wait for company: a quarter of a round trip, but at least and at most ...
    pub(crate) ack_wait: (u64, u64),
    /// A chunk that comes so many nanoseconds after the one before it, or later, is acknowledged at once.
    pub(crate) alone: u64,
}

/// Both directions of a channel.
pub(crate) struct Channel {
    /// What we send.
    pub(crate) tx: Sender,
    /// What we receive.
    pub(crate) rx: Receiver,
}

impl Channel {
    /// Both directions at chunk 0.
    pub(crate) fn new(size: Size) -> Self {
        Self {
            tx: Sender::new(size),
            rx: Receiver::new(size),
        }
    }

    /// Both directions where an earlier channel rested: its [`Channel::numbers`].
    pub(crate) fn at(size: Size, (next, expected): (u64, u64)) -> Self {
        Self {
            tx: Sender::at(size, next),
            rx: Receiver::at(size, expected),
        }
    }

    /// Whether nothing waits in either direction.
    pub(crate) fn rests(&self) -> bool {
        self.tx.rests() && self.rx.rests()
    }

    /// The next chunk to send and the next expected.
    pub(crate) fn numbers(&self) -> (u64, u64) {
        (self.tx.arrived_to(), self.rx.expected())
    }

    /// Queues one encoded digest. False if the queue has no room for it; nothing changed then.
    pub(crate) fn push(&mut self, digest: &[u8]) -> bool {
        self.tx.push(digest)
    }

    /// Queues what `write` puts: digests of at most one chunk together.
    pub(crate) fn push_with(&mut self, write: impl FnOnce(&mut Writer<'_>) -> bool) -> bool {
        self.tx.push_with(write)
    }

    /// Bytes of digests that `push` would take now.
    pub(crate) fn room(&self) -> usize {
        self.tx.room()
    }
}

/// The full number whose low 32 bits are `low` and which lies nearest to `near`.
fn widen(low: u32, near: u64) -> u64 {
    let distance = i64::from(low.wrapping_sub(near as u32) as i32);
    near.checked_add_signed(distance).unwrap_or(u64::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::congestion::Congestion;
    use crate::links::rtt::Rtt;
    use crate::rng::Rng;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;
    const SIZE: Size = Size {
        chunk: 64,
        fill: 64,
        queue: 4096,
        window: 32,
        per_ack: 16,
        ack_wait: (MS / 5, 25 * MS),
        alone: u64::MAX,
    };

    #[test]
    fn a_short_number_widens_to_the_nearest() {
        assert_eq!(widen(5, 3), 5);
        assert_eq!(widen(2, 1 << 32), (1 << 32) + 2);
        assert_eq!(widen(u32::MAX, 1 << 32), (1 << 32) - 1);
        assert_eq!(widen(u32::MAX, 3), u64::from(u32::MAX));
    }

    enum Packet {
        Chunk(u32, Vec<u8>),
        Ack(u32, Vec<u64>),
    }

    /// Two ends and a network that loses, repeats and reorders, all from one seed.
    struct Rig {
        rng: Rng,
        now: u64,
        wire: Vec<(u64, Packet)>,
        channel: Channel,
        rtt: Rtt,
        congestion: Congestion,
        got: Vec<u32>,
        sends: usize,
    }

    impl Rig {
        fn new(seed: u8) -> Self {
            Self {
                rng: Rng::from_seed([seed; 32]),
                now: MS,
                wire: Vec::new(),
                channel: Channel::new(SIZE),
                rtt: Rtt::default(),
                congestion: Congestion::new(110, 1 << 20),
                got: Vec::new(),
                sends: 0,
            }
        }

        fn send(&mut self, packet: impl Fn() -> Packet, loss: u64) {
            let copies = if self.rng.below(100) < 10 { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.below(100) >= loss {
                    let at = self.now + MS + self.rng.below(4 * MS);
                    self.wire.push((at, packet()));
                }
            }
        }

        fn step(&mut self, loss: u64) {
            self.now += MS / 4;
            let (due, later) = std::mem::take(&mut self.wire)
                .into_iter()
                .partition(|(at, _)| *at <= self.now);
            self.wire = later;
            let due: Vec<(u64, Packet)> = due;
            for (_, packet) in due {
                self.take(packet);
            }
            self.channel
                .tx
                .on_timeout(self.now, &self.rtt, Some(&mut self.congestion));
            while let Some(seq) = self.channel.tx.next(self.congestion.available()) {
                let bytes = self.channel.tx.chunk(seq).to_vec();
                self.channel
                    .tx
                    .sent(seq, self.now, Some(&mut self.congestion));
                self.sends += 1;
                self.send(|| Packet::Chunk(seq as u32, bytes.clone()), loss);
            }
            if self.channel.rx.ack_due(self.now) {
                let mut words = [0; 4];
                let used = self.channel.rx.bitmap(&mut words);
                let floor = self.channel.rx.floor();
                self.channel.rx.acked();
                self.send(|| Packet::Ack(floor, words[..used].to_vec()), loss);
            }
        }

        fn take(&mut self, packet: Packet) {
            match packet {
                Packet::Chunk(seq, bytes) => {
                    if self.channel.rx.receive(self.now, seq, &bytes, 5 * MS) == Arrival::Next {
                        self.read(&bytes);
                        while let Some(bytes) = self.channel.rx.pop() {
                            self.read(&bytes);
                            self.channel.rx.recycle(bytes);
                        }
                    }
                }
                Packet::Ack(floor, words) => {
                    let ack = Ack {
                        floor,
                        words: &words,
                        delay: Some(0),
                    };
                    self.channel.tx.on_ack(
                        &ack,
                        self.now,
                        &mut self.rtt,
                        Some(&mut self.congestion),
                    );
                }
            }
        }

        fn read(&mut self, chunk: &[u8]) {
            for digest in chunk.as_chunks::<8>().0 {
                self.got.push(u32::from_le_bytes([
                    digest[0], digest[1], digest[2], digest[3],
                ]));
            }
        }
    }

    fn run(seed: u8, loss: u64, count: u32) -> Rig {
        let mut rig = Rig::new(seed);
        let mut next = 0u32;
        for _ in 0..400_000 {
            while next < count && rig.channel.push(&u64::from(next).to_le_bytes()) {
                next += 1;
            }
            rig.step(loss);
            if rig.got.len() as u32 == count && rig.channel.tx.rests() {
                break;
            }
        }
        rig
    }

    #[test]
    fn every_digest_arrives_once_and_in_order_through_loss_duplicates_and_reordering() {
        for seed in 0..20 {
            let loss = u64::from(seed) * 3 / 2;
            let rig = run(seed, loss, 3000);
            assert!(
                rig.got.iter().copied().eq(0..3000),
                "seed {seed}: {} came",
                rig.got.len()
            );
            assert!(rig.channel.tx.rests(), "seed {seed}");
            assert_eq!(rig.congestion.in_flight(), 0, "seed {seed}");
        }
    }

    #[test]
    fn without_loss_reordering_costs_few_repeats() {
        let rig = run(1, 0, 3000);
        assert!(rig.sends < 3000 / 8 * 13 / 10, "{} sends", rig.sends);
    }

    #[test]
    fn the_queue_is_bounded_and_refuses_whole_digests() {
        let mut channel = Channel::new(SIZE);
        let mut taken = 0;
        while channel.push(&[0; 24]) {
            taken += 24;
        }
        assert!(taken <= SIZE.queue && taken > SIZE.queue - SIZE.chunk);
        assert!(channel.room() < 24);
        assert!(!Channel::new(SIZE).push(&[0; 65]));
    }

    #[test]
    fn a_silent_peer_gets_one_repeat_per_growing_timeout() {
        let mut channel = Channel::new(SIZE);
        let rtt = Rtt::default();
        for _ in 0..80 {
            channel.push(&[0; 8]);
        }
        let mut sends = Vec::new();
        for tick in 0..40_000u64 {
            let now = tick * MS;
            channel.tx.on_timeout(now, &rtt, None);
            while let Some(seq) = channel.tx.next(u64::MAX) {
                channel.tx.sent(seq, now, None);
                sends.push(tick);
            }
        }
        let first = sends.iter().filter(|tick| **tick == 0).count();
        assert_eq!(first, 10);
        assert!((4..12).contains(&(sends.len() - first)), "{sends:?}");
    }

    #[test]
    fn chunks_that_are_not_full_leave_room_for_those_that_are() {
        let mut channel = Channel::new(SIZE);
        let mut rtt = Rtt::default();
        let mut sent = 0;
        let mut send = |channel: &mut Channel| {
            while let Some(seq) = channel.tx.next(u64::MAX) {
                channel.tx.sent(seq, MS, None);
                sent = seq + 1;
            }
            sent
        };
        for _ in 0..20 {
            channel.push(&[0; 8]);
            send(&mut channel);
        }
        assert_eq!(send(&mut channel), 9, "of the twelve others eight fill one");
        for _ in 0..8 * 40 {
            channel.push(&[0; 8]);
        }
        assert_eq!(send(&mut channel), 32, "full ones fill the window");
        // Each acknowledgement of one lets one full one go, and in the end what is not full.
        for floor in 1..=u32::MAX {
            let words = &[];
            channel.tx.on_ack(
                &Ack {
                    floor,
                    words,
                    delay: Some(0),
                },
                2 * MS,
                &mut rtt,
                None,
            );
            if floor as u64 == send(&mut channel) {
                break;
            }
        }
        assert_eq!(send(&mut channel), 8 + (12 + 8 * 40u64).div_ceil(8));
        assert!(channel.tx.rests());
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
        let mut channel = Channel::new(SIZE);
        let mut rtt = Rtt::default();
        channel.push(&[1; 8]);
        for floor in [1, 2, u32::MAX] {
            let ack = Ack {
                floor,
                words: &[u64::MAX],
                delay: Some(0),
            };
            channel.tx.on_ack(&ack, MS, &mut rtt, None);
        }
        assert_eq!(channel.tx.next(u64::MAX), Some(0));
        assert!(!rtt.is_known());
    }

    #[test]
    fn an_acknowledgement_that_waited_is_no_measure_of_the_round_trip() {
        let mut channel = Channel::new(Size { alone: MS, ..SIZE });
        let mut rtt = Rtt::default();
        for _ in 0..2 {
            channel.push(&[1; 8]);
            let seq = channel.tx.next(u64::MAX).unwrap();
            channel.tx.sent(seq, MS, None);
        }
        for (floor, delay, known) in [(1, None, false), (2, Some(MS), true)] {
            let ack = Ack {
                floor,
                words: &[],
                delay,
            };
            channel.tx.on_ack(&ack, 4 * MS, &mut rtt, None);
            assert_eq!(rtt.is_known(), known);
        }
        assert_eq!(rtt.smoothed(), 2 * MS);
    }

    #[test]
    fn a_chunk_waits_for_its_acknowledgement_only_in_company() {
        let size = Size {
            alone: MS,
            ack_wait: (MS, MS),
            ..SIZE
        };
        let mut rx = Receiver::at(size, 64);
        let mut now = SECOND;
        // How much later each comes, whether it is acknowledged at once, and how long the newest waited when that was written.
        for (seq, later, at_once) in [
            (64, MS, true),
            (65, MS / 4, false),
            (66, MS / 4, false),
            (67, MS, true),
            (69, MS / 2, true),
            (68, MS / 2, true),
            (68, MS / 2, true),
            (70, MS / 2, false),
            (80, MS / 2, true),
        ] {
            now += later;
            if seq == 80 {
                rx = Receiver::at(size, 80);
                assert_eq!(
                    rx.receive(now - MS / 2, 79, &[0; 8], MS),
                    Arrival::Duplicate
                );
                rx.acked();
            }
            rx.receive(now, seq, &[0; 8], MS);
            while rx.pop().is_some() {}
            assert_eq!(rx.ack_due(now), at_once, "{seq}");
            assert_eq!(rx.ack_is_late(), !at_once, "{seq}");
            assert!(rx.ack_due(now + 25 * MS), "{seq}");
            assert_eq!(rx.ack_delay(now + 5), 5, "{seq}: the newest waits so long");
            if at_once {
                rx.acked();
            }
        }
        // One that came before hurries the acknowledgement, and does not say that the newest had not waited.
        now += MS / 2;
        rx.receive(now, 81, &[0; 8], MS);
        assert_eq!(rx.receive(now + 9, 80, &[0; 8], MS), Arrival::Duplicate);
        assert!(rx.ack_due(now + 9) && rx.ack_is_late());
        assert_eq!(rx.ack_delay(now + 9), 9);
    }

    #[test]
    fn a_chunk_longer_than_any_is_not_kept() {
        let mut channel = Channel::new(SIZE);
        assert_eq!(channel.rx.receive(0, 1, &[0; 65], MS), Arrival::TooLong);
        assert_eq!(channel.rx.receive(0, 0, &[0; 65], MS), Arrival::TooLong);
        assert_eq!(channel.rx.receive(0, 1, &[0; 64], MS), Arrival::Early);
    }

    #[test]
    fn a_chunk_beyond_the_window_is_not_kept() {
        let mut channel = Channel::new(SIZE);
        assert_eq!(channel.rx.receive(0, 31, &[0; 8], MS), Arrival::Early);
        assert_eq!(channel.rx.receive(0, 31, &[0; 8], MS), Arrival::Duplicate);
        assert_eq!(channel.rx.receive(0, 32, &[0; 8], MS), Arrival::Beyond);
        assert_eq!(
            channel.rx.receive(0, u32::MAX, &[0; 8], MS),
            Arrival::Beyond
        );
        assert_eq!(channel.rx.receive(0, 0, &[0; 8], MS), Arrival::Next);
        assert_eq!(channel.rx.receive(0, 0, &[0; 8], MS), Arrival::Duplicate);
        assert_eq!(channel.rx.pop(), None);
    }
}
