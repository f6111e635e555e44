//! The short way of a message leads where the long one does.

use tidings_wire::{KeyRecord, OverlayId, Suite};

use super::*;
use crate::config::{AckMode, CoreConfig, Redelivery, SlowPolicy};
use crate::event::{Delivery, Event, Taken};
use crate::receive::Receive;
use crate::rng::Rng;
use crate::tables::Tables;
use crate::tables::remote::RemoteSub;

struct Nobody;

impl Outlet for Nobody {
    fn deliver(&mut self, _: u32, _: &Delivery<'_>) -> Taken {
        Taken::Kept
    }

    fn event(&mut self, _: Event<'_>) {}
}

/// A publishing side that knows the tables of some subscriber nodes, without links to them.
struct Side {
    publish: Publish,
    tables: Tables,
    keyring: Keyring,
    rng: Rng,
    peers: Peers,
    receive: Receive,
}

const BOOT: Boot = Boot([7; 16]);

impl Side {
    fn new() -> Self {
        let record = KeyRecord::new(0, Suite::ChaCha20Poly1305, [7; 32]);
        let keyring = Keyring::new(OverlayId::from_name("t"), vec![record], 0).expect("valid");
        let config = CoreConfig::new(NodeId([1; 16]), Boot([2; 16]), "t");
        let mut side = Self {
            publish: Publish::new(&config, keyring.primary_slot(), 9),
            tables: Tables::default(),
            keyring,
            rng: Rng::from_seed([3; 32]),
            peers: Peers::new(5),
            receive: Receive::default(),
        };
        side.publish.add_local(1);
        side
    }

    fn subscribe(&mut self, node: u8, sub: u32, pattern: &str) {
        let peer = self.peers.intern(NodeId([node; 16]));
        let entry = RemoteSub {
            pattern: pattern.into(),
            client: 0,
            ack: AckMode::Client,
            ordered: false,
            policy: SlowPolicy::Detach,
            redelivery: Redelivery {
                attempts: 0,
                every_ms: 5_000,
            },
        };
        let have = self.tables.held(peer, BOOT);
        assert!(self.tables.begin(peer, BOOT, have + 1, have));
        assert!(self.tables.change(peer, sub, Some(entry)));
        let applied = self
            .tables
            .end(peer, BOOT, have + 1)
            .expect("a whole table");
        for sub in applied.added {
            let entry = self.tables.remote(peer, sub).expect("just added");
            self.publish.on_remote_sub((peer, BOOT), sub, entry, 1);
        }
    }

    // Publishes by the way asked for.
    fn take(&mut self, short: bool, handle: u32, payload: &[u8], now: u64) -> Option<Accepted> {
        let Self {
            publish,
            tables,
            keyring,
            rng,
            peers,
            receive,
        } = self;
        let mut sealing = Sealing {
            keyring,
            rng,
            peers,
        };
        let (s, out) = (&mut sealing, &mut Nobody);
        let taken = if short {
            publish.publish(handle, payload, tables, s, receive, now, out)
        } else {
            publish.publish_anew(handle, payload, tables, s, receive, now, out)
        };
        taken.ok()
    }

    // Everything that publishing may have changed.
    fn state(&self) -> String {
        let p = &self.publish;
        let mut state = format!("{:?} {:?}\n", p.counters, p.active);
        for stream in p.streams.iter().flatten() {
            state += &format!("{} {:?}\n", stream.state(), stream.waiting());
            for counter in 0..stream.head() {
                if let Some(entry) = stream.entry(counter) {
                    state += &format!("{:?}\n", p.store.bytes(entry.place));
                }
            }
        }
        for number in 0..3 {
            if let Some(handle) = p.handle(number) {
                let (next, out) = (handle.next, &handle.out);
                state += &format!("{next} {:?} {out:?}\n", handle.defined);
            }
        }
        state
    }
}

#[test]
fn what_follows_a_message_is_laid_down_and_booked_as_if_it_came_alone() {
    let (mut long, mut short) = (Side::new(), Side::new());
    for side in [&mut long, &mut short] {
        side.subscribe(11, 1, "one");
        side.subscribe(12, 1, "one");
        side.subscribe(12, 2, "two*");
        side.subscribe(12, 3, "two");
        for topic in ["one", "two", "three"] {
            side.publish.open(topic).expect("a valid topic");
        }
    }
    let mut random = Rng::from_seed([8; 32]);
    let mut shortened = 0;
    for turn in 0..3_000u64 {
        if turn == 1_500 {
            for side in [&mut long, &mut short] {
                side.subscribe(13, 1, "two");
            }
        }
        // Runs of one publisher, sometimes another, sometimes too large for a datagram.
        let handle = if random.below(8) == 0 {
            random.below(3) as u32
        } else {
            (turn / 100 % 2) as u32
        };
        let len = match random.below(40) {
            0 => 0,
            1 => 5_000,
            2 => 30_000,
            n => 7 * n as usize,
        };
        let payload = vec![turn as u8; len];
        let epoch = short.tables.epoch();
        if let Some(following) = short.publish.following(handle, epoch, len) {
            shortened += 1;
            // Nothing was put there, and nothing changed.
            short.publish.enter(following, turn);
        }
        let taken = [(&mut long, false), (&mut short, true)]
            .map(|(side, is_short)| side.take(is_short, handle, &payload, turn));
        assert_eq!(taken[0], taken[1], "turn {turn}");
        if random.below(30) == 0 {
            // A flush closes what is open.
            for side in [&mut long, &mut short] {
                for stream in side.publish.streams.iter_mut().flatten() {
                    stream.close(&mut side.publish.store, false);
                }
            }
        }
        if turn % 100 == 99 {
            assert!(long.state() == short.state(), "turn {turn}");
        }
    }
    assert!(shortened > 1_000, "{shortened}");
}
