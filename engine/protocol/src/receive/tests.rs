//! The subscriber's side by itself, fed by hand.

use super::*;
use crate::event::{Delivery, Event, Taken};

const P: PeerIx = PeerIx(1);
const KIB: usize = 1 << 10;
const MAX: u32 = limits::MAX_MESSAGE_CAP as u32;

/// Counts what subscriptions get, and notes what they are told not to get.
#[derive(Default)]
struct Got {
    count: usize,
    gaps: Vec<(u64, u64)>,
}

impl Outlet for Got {
    fn deliver(&mut self, _: u32, _: &Delivery<'_>) -> Taken {
        self.count += 1;
        Taken::Acked
    }

    fn event(&mut self, event: Event<'_>) {
        if let Event::Gap { from, to, .. } = event {
            self.gaps.push((from, to));
        }
    }
}

// A publisher node with one topic, to which this node subscribes so often.
fn subscribed(subs: u32, ordered: bool) -> Receive {
    let mut receive = Receive::default();
    receive.on_session(P, NodeId([1; 16]), Boot([1; 16]));
    for sub in 0..subs {
        let mut spec = SubSpec::new("t");
        spec.ordered = ordered;
        receive.subscribe(sub, &spec);
    }
    receive.define(P, 1, 0, "t");
    receive
}

fn message(seq: u64, payload: &[u8]) -> Incoming<'_> {
    Incoming {
        peer: P,
        handle: 1,
        seq,
        payload,
    }
}

fn fetches(receive: &mut Receive, now: u64) -> Vec<Fetch> {
    std::iter::from_fn(|| receive.next_fetch(P, now)).collect()
}

#[test]
fn all_subscriptions_together_hold_back_no_more_than_the_overlay_may() {
    let (mut receive, mut out) = (subscribed(50, true), Got::default());
    let payload = [7; KIB];
    // The stream is known from its first message on; the second is lost.
    receive.on_message(message(0, &payload), &mut out).unwrap();
    for seq in 2..4000 {
        receive
            .on_message(message(seq, &payload), &mut out)
            .unwrap();
    }
    assert!(receive.bytes() <= limits::HELD && receive.bytes() > limits::HELD / 2);
    assert_eq!(out.count, 50);
    assert!(
        fetches(&mut receive, 0).is_empty(),
        "they wait for the hole"
    );
    receive.on_message(message(1, &payload), &mut out).unwrap();
    assert_eq!(receive.bytes(), 0);
    let intakes = &receive.origins[&P].handles[&1].intakes;
    let lacked = intakes.iter().filter_map(Intake::next_missed);
    let lacked: Vec<u64> = lacked.map(|(from, _)| from).collect();
    assert_eq!(lacked.len(), 50, "everybody lacks something");
    let below: u64 = lacked.iter().sum();
    assert_eq!(out.count as u64, below, "and has all below it");
    assert!(!fetches(&mut receive, 0).is_empty());
}

#[test]
fn what_is_held_back_is_given_back_however_it_ends() {
    let payload = [7; KIB];
    let ends: [fn(&mut Receive); 3] = [
        |receive| (0..5).for_each(|sub| receive.unsubscribe(sub, 1)),
        |receive| (0..5).for_each(|sub| receive.detach(sub)),
        |receive| receive.forget(P),
    ];
    for end in ends {
        let (mut receive, mut out) = (subscribed(5, true), Got::default());
        for seq in [0, 2, 3] {
            receive
                .on_message(message(seq, &payload), &mut out)
                .unwrap();
        }
        assert!(receive.bytes() >= 10 * KIB);
        end(&mut receive);
        assert_eq!(receive.bytes(), 0);
    }
}

#[test]
fn fetches_under_way_are_bounded_by_number_and_bytes() {
    let mut receive = Receive::default();
    receive.on_session(P, NodeId([1; 16]), Boot([1; 16]));
    receive.subscribe(1, &SubSpec::new("*"));
    let asked = |receive: &mut Receive, count: u64| {
        for handle in 0..5000 {
            receive.on_backlog(P, 1, handle, (0, count), false, &format!("t.{handle}"));
        }
        fetches(receive, 0)
    };
    let few = asked(&mut receive, 1);
    assert_eq!(few.len(), limits::FETCHES);
    for fetch in few {
        receive.on_fetched(P, fetch.sub, fetch.handle, fetch.from);
    }
    let many = asked(&mut receive, 1_000_000);
    let bytes: usize = many.iter().map(|fetch| fetch.max_bytes as usize).sum();
    assert_eq!(bytes, limits::FETCH_WINDOW);
    assert!(fetches(&mut receive, 1).is_empty());
    let late = fetches(&mut receive, 20_000_000_000);
    assert_eq!(late.len(), many.len(), "the publisher is silent");
}

#[test]
fn a_fetch_is_asked_again_that_the_publisher_dropped_and_none_that_only_waits() {
    const S: u64 = 1_000_000_000;
    let (mut receive, mut out) = (Receive::default(), Got::default());
    receive.on_session(P, NodeId([1; 16]), Boot([1; 16]));
    receive.subscribe(1, &SubSpec::new("*"));
    for handle in 0..3 {
        receive.on_backlog(P, 1, handle, (0, 2), false, &format!("t.{handle}"));
    }
    assert_eq!(fetches(&mut receive, 0).len(), 3);
    // A slow path: something comes, but no answer is complete for long.
    for n in 1..5 {
        let bytes = [n as u8; KIB];
        let part = Incoming {
            handle: 0,
            ..message(0, &bytes)
        };
        let at = ((n - 1) as u32 * KIB as u32, MAX);
        receive
            .on_part(part, at, Some(1), n * 9 * S, &mut out)
            .unwrap();
        assert!(fetches(&mut receive, n * 9 * S).is_empty());
    }
    receive.on_fetched(P, 1, 1, 0);
    let again: Vec<u32> = fetches(&mut receive, 40 * S)
        .iter()
        .map(|f| f.handle)
        .collect();
    assert_eq!(again, [0, 1], "number 0 was passed over, 1 lacks it still");
}

#[test]
fn who_waits_for_room_does_not_wait_for_a_publisher_whose_link_is_down() {
    let (mut receive, mut out) = (Receive::default(), Got::default());
    receive.subscribe(1, &SubSpec::new("*"));
    let bytes = [7; KIB];
    // The first three fill the memory; the others find none.
    for n in 1..=5 {
        let peer = PeerIx(n);
        receive.on_session(peer, NodeId([n as u8; 16]), Boot([1; 16]));
        receive.on_backlog(peer, 1, 0, (0, 1), false, "t");
        assert!(receive.next_fetch(peer, 0).is_some());
        let part = Incoming {
            peer,
            handle: 0,
            ..message(0, &bytes)
        };
        receive
            .on_part(part, (0, MAX), Some(1), 0, &mut out)
            .unwrap();
    }
    for n in [4, 5] {
        receive.on_fetched(PeerIx(n), 1, 0, 0);
        assert!(receive.next_fetch(PeerIx(n), 0).is_none(), "no room");
    }
    receive.on_link_down(PeerIx(1));
    assert!(receive.next_fetch(PeerIx(5), 0).is_none(), "4 is before it");
    receive.on_link_down(PeerIx(4));
    assert!(receive.next_fetch(PeerIx(5), 0).is_some());
}

#[test]
fn what_lies_before_a_stream_that_was_opened_again_is_asked_for_by_those_who_want_order() {
    let (mut receive, mut out) = (subscribed(2, true), Got::default());
    for seq in 0..3 {
        receive.on_message(message(seq, b"x"), &mut out).unwrap();
    }
    // The publisher took the node for dead meanwhile: it sends the rest to the subscriptions that it knows, if to any.
    receive.on_stream_open(P);
    receive.on_message(message(9, b"x"), &mut out).unwrap();
    let asked = fetches(&mut receive, 0);
    let asked: Vec<(u64, u32)> = asked.iter().map(|f| (f.from, f.count)).collect();
    assert_eq!(asked, [(3, 6); 2]);
    // A hole on the same stream is repaired there.
    let (mut receive, mut out) = (subscribed(2, true), Got::default());
    for seq in [0, 1, 2, 9] {
        receive.on_message(message(seq, b"x"), &mut out).unwrap();
    }
    assert!(fetches(&mut receive, 0).is_empty());
    // Unless the stream is opened anew before that.
    receive.on_stream_open(P);
    assert_eq!(fetches(&mut receive, 0).len(), 2);
}

#[test]
fn what_another_fetched_in_parts_is_not_held_back_for_what_never_comes() {
    let (mut receive, mut out) = (subscribed(2, true), Got::default());
    for seq in 0..3 {
        receive.on_message(message(seq, b"x"), &mut out).unwrap();
    }
    // Only the first is owed what came meanwhile.
    receive.on_backlog(P, 0, 1, (3, 6), false, "t");
    assert_eq!(fetches(&mut receive, 0).len(), 1);
    for seq in 3..5 {
        let fetched = receive.on_catchup(message(seq, b"x"), 0, 0, &mut out);
        fetched.unwrap();
    }
    let (one, two) = ([1; KIB], [2; KIB]);
    let total = 2 * KIB as u32;
    for (offset, part) in [(0, &one), (KIB as u32, &two)] {
        let part = message(5, part);
        receive
            .on_part(part, (offset, total), Some(0), 0, &mut out)
            .unwrap();
    }
    assert!(receive.bytes() > 0, "the other one holds it back");
    receive.on_fetched(P, 0, 1, 3);
    let asked = fetches(&mut receive, 0);
    let asked: Vec<(u32, u64, u32)> = asked.iter().map(|f| (f.sub, f.from, f.count)).collect();
    assert_eq!(asked, [(1, 3, 2)]);
    receive.on_gap(P, 1, 1, (3, 5), Outcome::Delivered, &mut out);
    assert_eq!((receive.bytes(), out.count), (0, 10));
}

#[test]
fn what_a_subscription_that_had_ended_was_owed_is_told_as_a_hole_whatever_came_first() {
    let (mut receive, mut out) = (Receive::default(), Got::default());
    receive.on_session(P, NodeId([1; 16]), Boot([1; 16]));
    let mut spec = SubSpec::new("t");
    (spec.client, spec.ordered) = ("back".into(), true);
    receive.subscribe(7, &spec);
    receive.unsubscribe(7, 2);
    receive.subscribe(7, &spec);
    // The publisher, which takes it for the earlier one, begins to send and then hears of the end.
    receive.on_backlog(P, 7, 1, (0, 6), true, "t");
    receive.on_gap(P, 7, 1, (2, 5), Outcome::Delivered, &mut out);
    for seq in [0, 1, 5] {
        let fetched = receive.on_catchup(message(seq, b"x"), 7, 0, &mut out);
        fetched.unwrap();
    }
    assert_eq!((out.count, out.gaps.as_slice()), (3, &[(2, 5)][..]));
}

#[test]
fn a_message_whose_beginning_came_before_the_stream_was_joined_is_asked_for() {
    for ordered in [false, true] {
        let (mut receive, mut out) = (subscribed(1, ordered), Got::default());
        let part = [1; KIB];
        let total = 3 * KIB as u32;
        for offset in [KIB as u32, 2 * KIB as u32, 0] {
            receive
                .on_part(message(4, &part), (offset, total), None, 0, &mut out)
                .unwrap();
        }
        let asked = fetches(&mut receive, 0);
        let asked: Vec<(u64, u32)> = asked.iter().map(|f| (f.from, f.count)).collect();
        assert_eq!(asked, [(0, 5)], "ordered {ordered}");
        receive.on_gap(P, 0, 1, (0, 5), Outcome::Delivered, &mut out);
        receive.on_fetched(P, 0, 1, 0);
        // Those in between overtook it and went before, too.
        receive.on_message(message(8, b"x"), &mut out).unwrap();
        receive.on_gap(P, 0, 1, (5, 8), Outcome::Delivered, &mut out);
        assert_eq!((receive.bytes(), out.count), (0, 1), "ordered {ordered}");
    }
}

#[test]
fn a_subscription_that_came_back_asks_for_a_hole_before_a_repeated_definition() {
    let (mut receive, mut out) = (subscribed(0, true), Got::default());
    let mut spec = SubSpec::new("t");
    (spec.client, spec.ordered) = ("back".into(), true);
    receive.subscribe(0, &spec);
    receive.unsubscribe(0, 2);
    receive.subscribe(0, &spec);
    receive.define(P, 1, 0, "t");
    receive.on_message(message(0, b"x"), &mut out).unwrap();
    // Subscriptions changed twice: for a while nobody here was owed anything, and no more of the stream will come.
    receive.define(P, 1, 6, "t");
    receive.on_message(message(6, b"x"), &mut out).unwrap();
    let asked = fetches(&mut receive, 0);
    let asked: Vec<(u64, u32)> = asked.iter().map(|f| (f.from, f.count)).collect();
    assert_eq!((out.count, asked.as_slice()), (1, &[(1, 5)][..]));
    receive.on_gap(P, 0, 1, (1, 6), Outcome::Delivered, &mut out);
    assert_eq!((out.count, out.gaps.as_slice()), (2, &[(1, 6)][..]));
    // A hole behind that is a loss, unless the definition itself comes late.
    receive.on_message(message(8, b"x"), &mut out).unwrap();
    receive.on_fetched(P, 0, 1, 1);
    assert!(fetches(&mut receive, 0).is_empty());
    receive.define(P, 1, 8, "t");
    let asked = fetches(&mut receive, 0);
    let asked: Vec<(u64, u32)> = asked.iter().map(|f| (f.from, f.count)).collect();
    assert_eq!(asked, [(7, 1)]);
}
