//! Messages that follow one another are taken as if each had come by itself.

use proptest::prelude::*;

use super::*;
use crate::config::SlowPolicy;
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
        let taken = match mixed >> 60 {
            0 => Taken::Full,
            // One likes to keep, another to acknowledge; some do both.
            n if n > u64::from(sub) * 5 => Taken::Acked,
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

fn subscribed() -> Receive {
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

// Everything that a publisher would be asked and told.
fn said(receive: &mut Receive, now: u64) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(fetch) = receive.next_fetch(P, now) {
        said.push(format!("{fetch:?}"));
    }
    for (handle, publisher) in &mut receive.origins.get_mut(&P).expect("known").handles {
        for intake in &mut publisher.intakes {
            let sub = intake.sub;
            intake.reports(|from, to, outcome| {
                said.push(format!("{handle} {sub} {from}..{to} {outcome:?}"));
                true
            });
        }
    }
    said
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
    fn a_run_is_taken_as_its_messages_would_be(made in bodies(), seed: u64, again in 0usize..4) {
        let mut next = [0; 2];
        let mut all: Vec<Vec<u8>> = made.iter().map(|records| body(records, &mut next)).collect();
        if let Some(twice) = all.get(again).cloned() {
            all.push(twice);
        }
        let (mut one, mut other) = (subscribed(), subscribed());
        let mut out = [Likes { seed, ..Likes::default() }, Likes { seed, ..Likes::default() }];
        for (turn, body) in all.iter().enumerate() {
            one.on_body(P, body, 0, &mut out[0]).expect("a body of ours");
            take_one_by_one(&mut other, body, &mut out[1]);
            prop_assert_eq!(&out[0], &out[1]);
            prop_assert_eq!(one.counters, other.counters);
            prop_assert_eq!(one.bytes(), other.bytes());
            let now = turn as u64 * 1_000_000;
            prop_assert_eq!(said(&mut one, now), said(&mut other, now));
            if turn % 2 == 1 {
                for sub in 0..SUBS {
                    one.ready(sub, &mut out[0]);
                    other.ready(sub, &mut out[1]);
                }
            }
        }
    }
}
