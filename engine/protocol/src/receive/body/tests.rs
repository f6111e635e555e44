//! Messages that follow one another are taken as if each had come by itself.

use proptest::prelude::*;

use super::*;
use crate::config::{AckMode, SlowPolicy};
use crate::event::{Delivery, Event, Taken};
use crate::publish::record::Record;

const P: PeerIx = PeerIx(1);
const SUBS: u32 = 4;

/// Subscribers of whom each takes messages as it likes, and what they were told, each in its order.
#[derive(Clone, Default, PartialEq, Debug)]
struct Likes {
    seed: u64,
    // Calls that had an answer `Full`: the same message may find room the next time.
    asked: BTreeMap<(u32, u32, u64), u64>,
    told: BTreeMap<u32, Vec<(u32, u64, u64, bool)>>,
}

impl Outlet for Likes {
    fn deliver(&mut self, sub: u32, message: &Delivery<'_>) -> Taken {
        let id = (sub, message.publisher.handle, message.seq);
        let times = self.asked.entry(id).or_default();
        *times += 1;
        let mixed = (self.seed ^ u64::from(sub) << 8 ^ u64::from(id.1) << 16 ^ id.2 << 24 ^ *times)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let taken = match mixed >> 55 {
            0 => Taken::Full,
            // One likes to keep, another to acknowledge; some do both.
            n if n > u64::from(sub + 1) * 120 => Taken::Acked,
            _ => Taken::Kept,
        };
        if taken != Taken::Full {
            let told = (id.1, id.2, message.payload.len() as u64, message.again);
            self.told.entry(sub).or_default().push(told);
        }
        taken
    }

    fn event(&mut self, event: Event<'_>) {
        if let Event::Gap {
            sub,
            publisher,
            from,
            to,
            ..
        } = event
        {
            let told = (publisher.handle, from, to, true);
            self.told.entry(sub).or_default().push(told);
        }
    }
}

fn subscribed(node_acks: bool) -> Receive {
    let mut receive = Receive::default();
    receive.on_session(P, NodeId([1; 16]), Boot([1; 16]));
    for sub in 0..SUBS {
        let mut spec = SubSpec::new("t");
        spec.ordered = sub % 2 == 1;
        spec.policy = match sub {
            2 => SlowPolicy::DropNewest,
            3 => SlowPolicy::DropOldest,
            _ => SlowPolicy::Detach,
        };
        spec.ack = if sub == 3 && node_acks {
            AckMode::Node
        } else {
            AckMode::Client
        };
        receive.subscribe(sub, &spec);
    }
    for publisher in 0..2 {
        receive.define(P, publisher, 0, "t");
    }
    receive
}

// What `Receive::on_body` does, without any short way.
fn take_one_by_one(receive: &mut Receive, body: &[u8], out: &mut Likes) {
    for item in Items::new(body) {
        match item.expect("a body of ours") {
            Item::Define(_) => unreachable!("none was written"),
            Item::Message {
                handle,
                seq,
                payload,
            } => {
                let message = Incoming {
                    peer: P,
                    handle,
                    seq,
                    payload,
                };
                receive.on_message(message, out).expect("defined");
            }
            Item::Part {
                handle,
                seq,
                offset,
                total,
                payload,
            } => {
                let part = Incoming {
                    peer: P,
                    handle,
                    seq,
                    payload,
                };
                let part = receive.on_part(part, (offset, total), None, 0, out);
                part.expect("defined");
            }
        }
    }
}

/// One record: publisher, how far its numbers jump before it, whether it is the first part of a large message.
type Made = (u32, u64, bool);

fn body(records: &[Made], next: &mut [u64; 2]) -> Vec<u8> {
    let (mut body, mut last) = (Vec::new(), None);
    for &(handle, jump, is_part) in records {
        let number = &mut next[handle as usize];
        *number += jump;
        let seq = *number;
        *number += 1;
        let payload = &[7; 20][..seq as usize % 20];
        let record = if is_part {
            Record::Fragment {
                handle,
                seq,
                offset: 0,
                total: 5000,
                part: &[7; 20],
            }
        } else {
            let follows = last == Some((handle, seq));
            Record::Message {
                handle,
                seq: (!follows).then_some(seq),
                payload,
            }
        };
        last = Some((handle, seq + 1));
        let from = body.len();
        body.resize(from + record.len(), 0);
        record.write(&mut body[from..]);
    }
    body
}

// Everything that a publisher would be asked and told; it answers with what was asked for.
fn said(receive: &mut Receive, now: u64, out: &mut Likes) -> Vec<String> {
    let mut said = vec![format!("{}", receive.has_reports(P))];
    let mut asked = Vec::new();
    while let Some(fetch) = receive.next_fetch(P, now) {
        said.push(format!("{fetch:?}"));
        asked.push(fetch);
    }
    receive.take_notices(P, |notice, gone| {
        said.push(format!("{notice:?} {gone}"));
        true
    });
    receive.take_reports(P, |sub, handle, from, to, outcome| {
        said.push(format!("{handle} {sub} {from}..{to} {outcome:?}"));
        true
    });
    for fetch in asked {
        for seq in fetch.from..fetch.from + u64::from(fetch.count.min(50)) {
            let message = Incoming {
                peer: P,
                handle: fetch.handle,
                seq,
                payload: &[7; 20][..seq as usize % 20],
            };
            let taken = receive.on_catchup(message, fetch.sub, now, out);
            taken.expect("defined");
        }
        receive.on_fetched(P, fetch.sub, fetch.handle, fetch.from);
    }
    // A run goes to one subscription after the other: which of them waits first is another matter.
    said.sort();
    said
}

// What else may happen between two datagrams.
fn interfere(receive: &mut Receive, what: u8, next: &[u64; 2], out: &mut Likes) {
    let sub = u32::from(what) % SUBS;
    match what / 4 {
        0..6 => receive.ready(sub, out),
        6..8 => receive.detach(sub),
        8..12 => receive.attach(sub, out),
        12..16 => {
            receive.acknowledge(P, Boot([1; 16]), sub, 0, 0, next[0]);
        }
        16 => receive.on_stream_open(P),
        17 => receive.define(P, 0, next[0], "t"),
        18 => receive.on_retired(P, (1, 2)),
        _ => {}
    }
}

fn bodies() -> impl Strategy<Value = Vec<Vec<Made>>> {
    let jump = prop_oneof![12 => Just(0u64), 1 => 1u64..4];
    let record = (
        prop_oneof![5 => Just(0u32), 1 => Just(1)],
        jump,
        prop::bool::weighted(0.03),
    );
    prop::collection::vec(prop::collection::vec(record, 1..12), 1..12)
}

proptest! {
    #[test]
    fn a_run_is_taken_as_its_messages_would_be(
        made in bodies(),
        seed: u64,
        again in 0usize..4,
        events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 12),
    ) {
        let mut next = [0; 2];
        let mut all: Vec<Vec<u8>> = made.iter().map(|records| body(records, &mut next)).collect();
        if let Some(twice) = all.get(again).cloned() {
            all.push(twice);
        }
        let (mut one, mut other) = (subscribed(seed.is_multiple_of(2)), subscribed(seed.is_multiple_of(2)));
        let mut out = [Likes { seed, ..Likes::default() }, Likes { seed, ..Likes::default() }];
        for (turn, body) in all.iter().enumerate() {
            one.on_body(P, body, 0, &mut out[0]).expect("a body of ours");
            take_one_by_one(&mut other, body, &mut out[1]);
            prop_assert_eq!(&out[0], &out[1]);
            prop_assert_eq!(one.counters, other.counters);
            prop_assert_eq!(one.bytes(), other.bytes());
            let now = turn as u64 * 1_000_000;
            let told = said(&mut one, now, &mut out[0]);
            prop_assert_eq!(told, said(&mut other, now, &mut out[1]));
            for &what in &events[turn % events.len()] {
                interfere(&mut one, what, &next, &mut out[0]);
                interfere(&mut other, what, &next, &mut out[1]);
            }
        }
    }
}
