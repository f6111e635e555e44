//! Properties of every digest and header: what is encoded decodes to itself, and no input panics.
#![allow(clippy::unwrap_used)]

mod common;

use common::again::put_again;
use proptest::collection::vec;
use proptest::prelude::*;
use tidings_wire::digest::*;
use tidings_wire::limits::{MAX_ACK_WORDS, MAX_METADATA, SEQ_END};
use tidings_wire::{
    Class, DecodeError, FAN_HEADER, HELLO_HEADER, Header, PAIR_HEADER, TAG, validate_topic,
};

/// A fixed part of random bytes, its head as a writer makes it.
fn fixed<T: Layout + std::fmt::Debug>() -> impl Strategy<Value = T> {
    vec(any::<u8>(), size_of::<T>()).prop_map(|mut bytes| {
        bytes[0] = T::KIND;
        bytes[2..4].copy_from_slice(&(size_of::<T>() as u16).to_le_bytes());
        T::read_from_bytes(&bytes).unwrap()
    })
}

/// Puts, decodes, and hands the one digest over.
fn through(put: impl FnOnce(&mut Writer<'_>) -> bool, check: impl FnOnce(Digest<'_>)) {
    let mut body = vec![0xff; 8192];
    let mut writer = Writer::new(&mut body);
    assert!(put(&mut writer));
    let len = writer.len();
    let mut digests = Digests::new(&body[..len]);
    check(digests.next().unwrap().unwrap());
    assert!(digests.next().is_none());
}

macro_rules! fixed_digests {
    ($($test:ident: $variant:ident($ty:ident) $(, $fix:expr)?;)*) => { proptest! { $(
        #[test]
        fn $test(made in fixed::<$ty>()) {
            let mut made = made;
            $(let fix: fn(&mut $ty) = $fix; fix(&mut made);)?
            let _ = &mut made;
            through(|writer| writer.put(&made), |digest| assert_eq!(digest, Digest::$variant(&made)));
        }
    )* } };
}

fixed_digests! {
    h2_comes_back: H2(H2);
    cookie_comes_back: Cookie(Cookie);
    beacon_comes_back: Beacon(Beacon), |beacon| {
        beacon.port = beacon.port.get().max(1).into();
        (beacon.id.0[0], beacon.boot.0[0], beacon.ip[0]) = (1, 1, 0x20);
    };
    opened_comes_back: Opened(LinkOpened);
    ping_comes_back: Ping(Ping);
    ack_comes_back: Ack(Ack);
    ping_req_comes_back: PingReq(PingReq);
    nack_comes_back: Nack(Nack);
    rumour_comes_back: Rumour(Rumour), |rumour| rumour.state = 1 + rumour.state % 4;
    ctl_ack_comes_back: CtlAck(CtlAck);
    fan_beat_comes_back: FanBeat(FanBeat);
    you_are_dead_comes_back: YouAreDead(YouAreDead);
    path_probe_comes_back: PathProbe(PathProbe);
    path_ack_comes_back: PathAck(PathAck);
    stream_open_comes_back: StreamOpen(StreamOpen);
    stream_ready_comes_back: StreamReady(StreamReady);
    stream_close_comes_back: StreamClose(StreamClose);
    delivered_comes_back: Delivered(Delivered), |run| {
        run.from = (run.from.get() >> 3).into();
        run.count = run.count.get().max(1).into();
        run.result = (run.result.get() % 9).into();
    };
    deferred_comes_back: Deferred(Deferred);
    resumed_comes_back: Resumed(Resumed);
    fetch_comes_back: Fetch(Fetch), |run| {
        run.from = (run.from.get() >> 3).into();
        run.count = run.count.get().max(1).into();
    };
    fetched_comes_back: Fetched(Fetched), |run| run.from = (run.from.get() >> 1).into();
    gap_comes_back: Gap(Gap), |run| {
        run.from = (run.from.get() >> 3).into();
        run.count = run.count.get().max(1).into();
        run.reason = (run.reason.get() % 9).into();
    };
    table_ack_comes_back: TableAck(TableAck);
    table_ask_comes_back: TableAsk(TableAsk);
    bucket_ask_comes_back: BucketAsk(BucketAsk);
    table_comes_back: Table(Table);
    sub_del_comes_back: SubDel(SubDel);
    table_end_comes_back: TableEnd(TableEnd);
    retired_comes_back: Retired(Retired), |run| {
        run.handle = (run.handle.get() >> 1).into();
        run.count = (run.count.get() >> 1).max(1).into();
    };
}

fn addrs() -> impl Strategy<Value = Vec<Addr>> {
    vec((any::<[u8; 16]>(), any::<u16>()), 0..=8).prop_map(|addrs| {
        addrs
            .into_iter()
            .map(|(ip, port)| Addr {
                ip,
                port: port.into(),
            })
            .collect()
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-zé0-9 -]{0,32}"
}

fn topic() -> impl Strategy<Value = String> {
    "[a-zß]{1,8}(\\.[a-z0-9]{1,9}){0,8}"
}

fn words() -> impl Strategy<Value = Vec<u64>> {
    vec(any::<u64>(), 0..=MAX_ACK_WORDS)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..1400)
}

fn values(words: &[zerocopy::little_endian::U64]) -> Vec<u64> {
    words.iter().map(|word| word.get()).collect()
}

proptest! {
    #[test]
    fn h1_comes_back(made in fixed::<H1>(), addrs in addrs()) {
        let mut made = made;
        made.who.ver_max = made.who.ver_max.max(made.who.ver_min);
        made.who.naddr = addrs.len() as u8;
        through(|writer| writer.put_h1(&made, &addrs), |digest| {
            let Digest::H1(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.who, view.addrs), (made.who, &addrs[..]));
        });
    }

    #[test]
    fn h3_comes_back(made in fixed::<H3>(), addrs in addrs(), inner in payload()) {
        let mut made = made;
        made.who.ver_max = made.who.ver_max.max(made.who.ver_min);
        made.who.naddr = addrs.len() as u8;
        through(|writer| writer.put_h3(&made, &addrs, &inner), |digest| {
            let Digest::H3(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.who, view.addrs, view.inner), (made.who, &addrs[..], &inner[..]));
            assert_eq!(view.fixed.nonce_r, made.nonce_r);
        });
    }

    #[test]
    fn member_comes_back(
        made in fixed::<Member>(), name in name(), rack in name(), addrs in addrs(),
        meta in vec(any::<u8>(), 0..=MAX_METADATA),
    ) {
        let mut made = made;
        made.state = 1 + made.state % 4;
        made.primary %= 8;
        through(|writer| writer.put_member(&made, &name, &rack, &addrs, &meta), |digest| {
            let Digest::Member(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.name, view.rack, view.addrs, view.meta), (&*name, &*rack, &addrs[..], &meta[..]));
            assert_eq!((view.fixed.id, view.fixed.incarnation), (made.id, made.incarnation));
            assert_eq!(view.state() as u8, made.state);
        });
    }

    #[test]
    fn chunks_come_back(seq: u32, content in payload()) {
        through(|writer| writer.put_ctl(seq, &content), |digest| {
            let Digest::Ctl(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.seq.get(), view.content), (seq, &content[..]));
        });
        through(|writer| writer.put_bulk(seq, &content), |digest| {
            let Digest::Bulk(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.seq.get(), view.content), (seq, &content[..]));
        });
    }

    #[test]
    fn acks_come_back(bulk in fixed::<BulkAck>(), fan in fixed::<FanAck>(), bitmap in words()) {
        through(|writer| writer.put_bulk_ack(&bulk, &bitmap), |digest| {
            let Digest::BulkAck(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.floor, view.fixed.credit), (bulk.floor, bulk.credit));
            assert_eq!(values(view.bitmap), bitmap);
        });
        through(|writer| writer.put_fan_ack(&fan, &bitmap), |digest| {
            let Digest::FanAck(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.session, view.fixed.recent), (fan.session, fan.recent));
            assert_eq!(values(view.bitmap), bitmap);
        });
    }

    #[test]
    fn buckets_come_back(first in 0u16..=128, hashes in words()) {
        through(|writer| writer.put_buckets(first, &hashes), |digest| {
            let Digest::Buckets(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.first.get(), values(view.hashes)), (first, hashes.clone()));
        });
    }

    #[test]
    fn sub_add_comes_back(made in fixed::<SubAdd>(), topic in topic(), below: bool) {
        let mut made = made;
        (made.ack, made.order, made.policy) = (made.ack % 2, made.order % 2, made.policy % 4);
        let pattern = if below { format!("{topic}.*") } else { topic };
        through(|writer| writer.put_sub_add(&made, &pattern), |digest| {
            let Digest::SubAdd(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.sub, view.fixed.client, view.pattern), (made.sub, made.client, &*pattern));
            assert_eq!((view.ack() as u8, view.order() as u8), (made.ack, made.order));
            assert_eq!(view.policy() as u8, made.policy);
        });
    }

    #[test]
    fn backlog_and_define_come_back(handle: u32, seq in 0..SEQ_END >> 1, count in 1u32.., topic in topic()) {
        let made = Backlog { handle: handle.into(), count: count.into(), from: seq.into(), ..Default::default() };
        through(|writer| writer.put_backlog(&made, &topic), |digest| {
            let Digest::Backlog(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.from, view.fixed.count, view.topic), (made.from, made.count, &*topic));
        });
        through(|writer| writer.put_define(handle, seq, &topic), |digest| {
            let Digest::Define(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.handle.get(), view.fixed.seq.get(), view.topic), (handle, seq, &*topic));
        });
    }

    #[test]
    fn parts_come_back(handle: u32, seq in 0..SEQ_END, offset in 0u32..1 << 20, more in 0u32..1 << 20, payload in payload()) {
        let payload = if payload.is_empty() { vec![1] } else { payload };
        let total = offset + payload.len() as u32 + more;
        let catchup = Catchup {
            handle: handle.into(), seq: seq.into(), offset: offset.into(),
            total: total.into(), ..Default::default()
        };
        through(|writer| writer.put_catchup(&catchup, &payload), |digest| {
            let Digest::Catchup(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.offset.get(), view.fixed.total.get(), view.payload), (offset, total, &payload[..]));
        });
        let fragment = Fragment {
            handle: handle.into(), seq: seq.into(), offset: offset.into(), total: total.into(), ..Default::default()
        };
        through(|writer| writer.put_fragment(&fragment, &payload), |digest| {
            let Digest::Fragment(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.seq.get(), view.fixed.offset.get(), view.payload), (seq, offset, &payload[..]));
        });
    }

    #[test]
    fn message_comes_back(handle: u32, seq: Option<u64>, payload in payload()) {
        through(|writer| writer.put_message(handle, seq, &payload), |digest| {
            let Digest::Message(view) = digest else { panic!("{digest:?}") };
            assert_eq!((view.fixed.handle.get(), view.seq, view.payload), (handle, seq, &payload[..]));
        });
    }

    #[test]
    fn no_body_panics_a_reader(body in vec(any::<u8>(), 0..2000)) {
        Digests::new(&body).for_each(|digest| { let _ = digest; });
    }

    #[test]
    fn no_digest_of_a_known_kind_panics_a_reader(
        kind in 0u8..0x44, flags: u8, tail in vec(any::<u8>(), 0..400), lie in -8i32..8,
    ) {
        let len = (tail.len() as i32 + 4 + if lie.abs() > 3 { lie } else { 0 }).max(0) as u16;
        let body = [&[kind, flags][..], &len.to_le_bytes(), &tail].concat();
        let mut again = vec![0; 2048];
        for digest in Digests::new(&body).flatten() {
            let mut writer = Writer::new(&mut again);
            let unknown = matches!(digest, Digest::Unknown(_));
            assert!(put_again(&mut writer, &digest) || unknown);
        }
    }

    #[test]
    fn no_header_panics_and_each_is_viewed_as_it_stands(
        class in 0u8..6, suite in 0u8..5, slot in 0u8..10, rest in vec(any::<u8>(), 0..120),
    ) {
        let datagram = [&[0x10 | class, suite, slot], &rest[..]].concat();
        if let Ok(header) = Header::parse(&datagram) {
            let bytes = match header {
                Header::Hello(header) => zerocopy::IntoBytes::as_bytes(header),
                Header::Pair(header) | Header::Bulk(header) => zerocopy::IntoBytes::as_bytes(header),
                Header::Fan(header) => zerocopy::IntoBytes::as_bytes(header),
            };
            assert_eq!(bytes, &datagram[..header.class().header_len()]);
            assert!(datagram.len() >= bytes.len() + TAG);
        }
        assert_eq!(Class::Hello.header_len(), HELLO_HEADER);
        assert_eq!((Class::Bulk.header_len(), Class::Fan.header_len()), (PAIR_HEADER, FAN_HEADER));
    }

    #[test]
    fn no_text_panics_a_check(text in "\\PC{0,300}") {
        let _ = validate_topic(&text);
        let _ = tidings_wire::Pattern::parse(&text);
        let _ = tidings_wire::Keyring::parse(&text, tidings_wire::OverlayId::ZERO);
    }
}

#[test]
fn a_digest_longer_than_known_is_read_and_an_unknown_one_skipped() {
    let mut body = [0; 64];
    let mut writer = Writer::new(&mut body);
    assert!(writer.put_tail(
        &Ack {
            no: 1.into(),
            ..Default::default()
        },
        &[b"later"]
    ));
    assert!(writer.put_encoded(&[0x7f, 0, 5, 0, 1]));
    assert!(writer.put(&Nack {
        no: 2.into(),
        ..Default::default()
    }));
    let len = writer.len();
    assert_eq!(len, 16 + 8 + 8);
    let mut digests = Digests::new(&body[..len]);
    assert!(matches!(digests.next(), Some(Ok(Digest::Ack(ack))) if ack.no.get() == 1));
    assert!(matches!(digests.next(), Some(Ok(Digest::Unknown(head))) if head.kind == 0x7f));
    assert!(matches!(digests.next(), Some(Ok(Digest::Nack(nack))) if nack.no.get() == 2));
    assert!(digests.next().is_none());
}

#[test]
fn a_fault_ends_the_body_but_not_what_stood_before_it() {
    for (tail, fault) in [
        (&[0x12, 0, 3, 0][..], DecodeError::Short),
        (&[0x12, 0, 7, 0, 1, 2, 3], DecodeError::Short),
        (&[0x12, 0, 9, 0, 1, 2, 3, 4], DecodeError::Length),
        (&[0x7f, 0, 5, 0, 1, 0, 9, 0], DecodeError::Padding),
        (&[0, 0, 0, 0, 1], DecodeError::Padding),
        (&[0, 0, 1], DecodeError::Padding),
        (
            &[
                0x40, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'.', b'a',
            ],
            DecodeError::Text,
        ),
        (&[0x25, 0, 4, 0], DecodeError::Short),
        (&[0x34, 0, 8, 0, 0, 0, 129, 0], DecodeError::Limit),
        (&[0x34, 0, 8, 0, 0, 0, 1, 0], DecodeError::Short),
        (&[0x34, 0, 8, 0, 250, 0, 7, 0], DecodeError::Limit),
        (&[0x41, 1, 8, 0, 0, 0, 0, 0], DecodeError::Short),
    ] {
        let body = [&[0x12, 0, 8, 0, 1, 0, 0, 0], tail].concat();
        let mut digests = Digests::new(&body);
        assert!(
            matches!(digests.next(), Some(Ok(Digest::Ack(_)))),
            "{tail:?}"
        );
        assert_eq!(digests.next(), Some(Err(fault)), "{tail:?}");
        assert_eq!(digests.next(), None, "{tail:?}");
    }
}

#[test]
fn runs_that_pass_the_last_number_are_refused() {
    for (from, count, good) in [
        (u64::MAX, 1, false),
        (SEQ_END, 1, false),
        (SEQ_END - 1, 2, false),
        (SEQ_END - 1, 1, true),
        (0, 0, false),
        (0, 1, true),
    ] {
        let (from, count) = (from.into(), count.into());
        let fetch = Fetch {
            from,
            count,
            ..Default::default()
        };
        let backlog = Backlog {
            from,
            count,
            ..Default::default()
        };
        let taken = [
            is_taken(|writer| writer.put(&fetch)),
            is_taken(|writer| writer.put_backlog(&backlog, "t")),
        ];
        assert_eq!(taken, [good; 2], "{from} {count}");
    }
}

#[test]
fn numbers_that_no_message_has_are_refused() {
    for (seq, good) in [(SEQ_END - 1, true), (SEQ_END, false), (u64::MAX, false)] {
        let catchup = Catchup {
            seq: seq.into(),
            total: 1.into(),
            ..Default::default()
        };
        let taken = [
            is_taken(|writer| writer.put_define(1, seq, "t")),
            is_taken(|writer| writer.put_catchup(&catchup, b"x")),
        ];
        assert_eq!(taken, [good; 2], "{seq}");
    }
}

fn is_taken(put: impl FnOnce(&mut Writer<'_>) -> bool) -> bool {
    let mut body = [0; 64];
    let mut writer = Writer::new(&mut body);
    assert!(put(&mut writer));
    Digests::new(writer.as_bytes()).next().unwrap().is_ok()
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut body = [0xee; 20];
    let mut writer = Writer::new(&mut body);
    assert!(writer.put(&Ack {
        no: 1.into(),
        ..Default::default()
    }));
    assert!(!writer.put(&Ping::default()));
    assert!(!writer.put_message(1, None, &[0; 5]));
    assert!(!writer.pad_to(21));
    assert_eq!((writer.len(), writer.room()), (8, 12));
    assert!(writer.put_message(1, None, &[7; 4]));
    assert_eq!((writer.len(), writer.room()), (20, 0));
    assert!(!writer.put(&Ack::default()));
    let mut writer = Writer::resume(&mut body, 8);
    assert!(writer.pad_to(20));
    assert_eq!(body[8..], [0; 12]);
}

#[test]
fn over_long_tails_are_not_written() {
    let mut body = vec![0; 100_000];
    let mut writer = Writer::new(&mut body);
    assert!(!writer.put_message(1, None, &vec![0; 65_528]));
    assert!(!writer.put_fan_ack(&FanAck::default(), &[0; MAX_ACK_WORDS + 1]));
    assert!(!writer.put_member(&Member::default(), &"x".repeat(65), "", &[], &[]));
    assert!(!writer.put_member(&Member::default(), "x", "", &[Addr::default(); 9], &[]));
    assert!(!writer.put_member(&Member::default(), "x", "", &[], &[0; MAX_METADATA + 1]));
    assert!(!writer.put_h1(&H1::default(), &[Addr::default(); 9]));
    assert!(writer.is_empty());
    assert!(writer.put_message(1, None, &vec![0; 65_527]));
}

/// Bodies of messages with and without numbers, of a few publishers, and of what nobody knows, with a byte or two changed.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let record = (0u32..3, 0u8..3, 0usize..40);
    let flips = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (vec(record, 0..20), flips).prop_map(|(records, flips)| {
        let mut body = vec![0; 4096];
        let mut writer = Writer::new(&mut body);
        for (handle, flags, len) in records {
            let message = Message {
                head: Head::flagged(flags),
                handle: handle.into(),
            };
            assert!(writer.put_tail(&message, &[&[7; 40][..len]]));
        }
        let len = writer.len();
        body.truncate(len);
        for (at, byte) in flips {
            if len > 0 {
                body[at.index(len)] = byte;
            }
        }
        body
    })
}

#[test]
fn what_is_not_written_of_a_payload_is_zero() {
    let mut place = [0xff; 24];
    let mut payload = Message::encode_following(7, 10, &mut place);
    payload.put(&[1, 2]);
    payload.put(&[3]);
    payload.finish();
    assert_eq!(place[8..], [1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn a_following_message_is_encoded_as_a_writer_does(handle: u32, payload in vec(any::<u8>(), 0..200), parted: usize) {
        let message = Message { head: Head::default(), handle: handle.into() };
        let mut body = [0xff; 256];
        let mut writer = Writer::new(&mut body);
        prop_assert!(writer.put_tail(&message, &[&payload]));
        let len = writer.len();
        let mut other = vec![0xff; len.next_multiple_of(8)];
        let mut place = Message::encode_following(handle, payload.len(), &mut other);
        let (first, second) = payload.split_at(parted % (payload.len() + 1));
        place.put(first);
        prop_assert_eq!(place.left(), second.len());
        place.put(second);
        prop_assert_eq!(&body[..len], &other[..len]);
        prop_assert!(other[len..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn the_short_way_to_a_message_leads_where_the_long_one_does(body in bodies(), publisher in 0u32..3) {
        let mut digests = Digests::new(&body);
        loop {
            let (mut short, mut long) = (digests, digests);
            let next = long.next();
            match short.next_message_of(publisher) {
                Some(payload) => match next {
                    Some(Ok(Digest::Message(message))) => {
                        prop_assert_eq!(message.payload, payload);
                        prop_assert_eq!(message.seq, None);
                        prop_assert_eq!(message.fixed.handle.get(), publisher);
                        prop_assert_eq!(short, long);
                    }
                    other => prop_assert!(false, "{other:?}"),
                },
                None => {
                    prop_assert_eq!(short, digests, "nothing was taken");
                    let is_such = matches!(next, Some(Ok(Digest::Message(message)))
                        if message.seq.is_none() && message.fixed.head.flags == 0 && message.fixed.handle.get() == publisher);
                    prop_assert!(!is_such, "{next:?}");
                }
            }
            match next {
                Some(Ok(_)) => digests = long,
                _ => break,
            }
        }
    }
}
