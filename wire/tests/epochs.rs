//! Counters at their borders: key epochs, the end of counters, jumps, and what a window does to them.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::Rng;
use common::goldens::{self, frame};
use tidings_wire::limits::{BULK_WINDOW, COUNTER_END, FAN_WINDOW, PAIR_WINDOW};
use tidings_wire::*;

const BORDER: u64 = 1 << 26;

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    (1..items.len()).for_each(|at| items.swap(at, rng.below(at + 1)));
}

fn link(class: Class, counter: u64) -> (LinkTx, LinkRx) {
    let keys = PairKeys::derive(
        &goldens::ring(Suite::Aes256Gcm),
        goldens::SLOT,
        &goldens::who(),
        true,
    );
    let keys = keys.unwrap();
    let tx = if class == Class::Pair {
        keys.pair_tx
    } else {
        keys.bulk_tx
    };
    let rx = goldens::link_rx(Suite::Aes256Gcm, class, true, counter);
    (tx.at_counter(counter), rx)
}

fn seal(tx: &mut LinkTx) -> Vec<u8> {
    let mut datagram = frame(PAIR_HEADER, &tx.next_counter().to_le_bytes());
    tx.seal(1, 2, &mut datagram).unwrap();
    datagram
}

#[test]
fn a_link_crosses_an_epoch_in_any_order() {
    let mut rng = Rng(7);
    for border in [BORDER, 2 * BORDER, 77 * BORDER] {
        let (mut tx, mut rx) = link(Class::Bulk, border - 500);
        let mut sent: Vec<_> = (0..1000).map(|_| seal(&mut tx)).collect();
        shuffle(&mut rng, &mut sent);
        for (again, datagram) in sent
            .iter()
            .map(|sent| (false, sent))
            .chain(sent.iter().map(|sent| (true, sent)))
        {
            let mut datagram = datagram.clone();
            let opened = rx.open(&mut datagram).unwrap();
            assert_eq!(opened.body, opened.counter.to_le_bytes());
            assert_eq!(opened.duplicate, again);
            let counter = opened.counter;
            rx.mark(counter);
        }
    }
}

#[test]
fn crossing_an_epoch_stalls_for_less_than_a_millisecond() {
    let mut best = Duration::MAX;
    // The machine may be busy with something else, but not every time.
    for _ in 0..20 {
        let (mut tx, mut rx) = link(Class::Bulk, BORDER - 2);
        let mut slowest = Duration::ZERO;
        for _ in 0..4 {
            let began = Instant::now();
            let mut datagram = seal(&mut tx);
            let counter = rx.open(&mut datagram).unwrap().counter;
            rx.mark(counter);
            slowest = slowest.max(began.elapsed());
        }
        best = best.min(slowest);
    }
    assert!(best < Duration::from_millis(1), "{best:?}");
}

#[test]
fn a_stream_crosses_an_epoch_in_any_order_and_is_read_back() {
    let mut rng = Rng(8);
    let mut tx = goldens::fan_tx(Suite::Aes128Gcm, BORDER - 500);
    let mut rx = goldens::fan_rx(Suite::Aes128Gcm, BORDER - 500);
    let mut sent = Vec::new();
    for _ in 0..1000 {
        let mut datagram = frame(FAN_HEADER, &tx.next_counter().to_le_bytes());
        tx.seal(1, &mut datagram).unwrap();
        sent.push(datagram);
    }
    shuffle(&mut rng, &mut sent);
    for datagram in &mut sent {
        let mut scratch = [0; 24];
        let copy = tx.open_copy(datagram, &mut scratch).unwrap();
        let opened = rx.open(datagram).unwrap();
        assert_eq!((opened.body, opened.duplicate), (copy, false));
        let counter = opened.counter;
        rx.mark(counter);
    }
    assert_eq!(
        (rx.floor(), rx.highest()),
        (BORDER + 500, Some(BORDER + 499))
    );
}

#[test]
fn a_publisher_reads_back_what_it_sealed_epochs_ago() {
    let mut tx = goldens::fan_tx(Suite::ChaCha20Poly1305, 3);
    let mut old = frame(FAN_HEADER, b"old");
    tx.seal(0, &mut old).unwrap();
    let mut tx = tx.at_counter(5 * BORDER);
    let mut new = frame(FAN_HEADER, b"new");
    tx.seal(0, &mut new).unwrap();
    let mut scratch = [0; 19];
    assert_eq!(tx.open_copy(&old, &mut scratch).unwrap(), b"old");
    assert_eq!(tx.open_copy(&new, &mut scratch).unwrap(), b"new");
    assert_eq!(
        tx.open_copy(&new, &mut scratch[..18]),
        Err(OpenError::Scratch)
    );
    old[40] ^= 1;
    assert_eq!(tx.open_copy(&old, &mut scratch), Err(OpenError::Forged));
    let ahead = goldens::fan(Suite::ChaCha20Poly1305, 6 * BORDER);
    assert_eq!(tx.open_copy(&ahead, &mut [0; 256]), Err(OpenError::Ahead));
}

#[test]
fn nothing_is_sealed_or_opened_at_2_to_the_60() {
    let last = COUNTER_END - 1;
    let (mut tx, mut rx) = link(Class::Pair, last);
    let mut datagram = seal(&mut tx);
    assert_eq!(rx.open(&mut datagram).unwrap().counter, last);
    assert_eq!(tx.seal(1, 2, &mut [0; 64]), Err(SealError::Exhausted));
    assert_eq!(tx.next_counter(), COUNTER_END);
    let mut beyond = seal(&mut link(Class::Pair, last).0);
    beyond[8..16].copy_from_slice(&COUNTER_END.to_le_bytes());
    assert_eq!(rx.open(&mut beyond), Err(OpenError::Epoch));

    let mut stream = goldens::fan_tx(Suite::Aes256Gcm, last);
    assert_eq!(stream.seal(0, &mut [0; 64]), Ok(last));
    assert_eq!(stream.seal(0, &mut [0; 64]), Err(SealError::Exhausted));
}

#[test]
fn a_jump_of_2_to_the_40_is_refused_and_moves_nothing() {
    let (mut tx, mut rx) = link(Class::Pair, 0);
    let mut first = seal(&mut tx);
    let mut second = seal(&mut tx);
    let mut far = seal(&mut tx.at_counter(1 << 40));
    assert_eq!(rx.open(&mut first).unwrap().counter, 0);
    rx.mark(0);
    assert_eq!(rx.open(&mut far), Err(OpenError::Epoch));
    assert_eq!(rx.open(&mut second).unwrap().counter, 1);

    let mut rx = goldens::fan_rx(Suite::Aes256Gcm, 0);
    assert_eq!(
        rx.open(&mut goldens::fan(Suite::Aes256Gcm, 1 << 40)),
        Err(OpenError::Ahead)
    );
    assert_eq!(
        rx.open(&mut goldens::fan(Suite::Aes256Gcm, 0))
            .unwrap()
            .counter,
        0
    );
}

#[test]
fn the_next_epoch_opens_and_the_one_after_does_not() {
    let (_, mut rx) = link(Class::Pair, 0);
    for (counter, good) in [(2 * BORDER - 1, true), (2 * BORDER, false)] {
        let mut datagram = seal(&mut link(Class::Pair, counter).0);
        assert_eq!(rx.open(&mut datagram).is_ok(), good, "{counter}");
    }
}

#[test]
fn counters_behind_the_window_are_stale() {
    for (class, window) in [(Class::Pair, PAIR_WINDOW), (Class::Bulk, BULK_WINDOW)] {
        let (mut tx, mut rx) = link(class, 0);
        let mut sent: Vec<_> = (0..=window).map(|_| seal(&mut tx)).collect();
        rx.mark(window);
        assert_eq!(rx.open(&mut sent[0]), Err(OpenError::Stale));
        assert_eq!(rx.open(&mut sent[1]).unwrap().counter, 1);
    }
    let mut rx = goldens::fan_rx(Suite::Aes256Gcm, 10);
    let mut at = |counter| {
        rx.open(&mut goldens::fan(Suite::Aes256Gcm, counter))
            .map(|opened| opened.counter)
    };
    assert_eq!(at(9), Err(OpenError::Stale));
    assert_eq!(at(10 + FAN_WINDOW - 1), Ok(10 + FAN_WINDOW - 1));
    assert_eq!(at(10 + FAN_WINDOW), Err(OpenError::Ahead));
}

#[test]
fn a_raised_floor_refuses_what_lies_below_it() {
    let mut rx = goldens::fan_rx(Suite::Aes256Gcm, 0);
    rx.raise_floor(100);
    rx.raise_floor(50);
    assert_eq!((rx.floor(), rx.highest()), (100, None));
    assert_eq!(
        rx.open(&mut goldens::fan(Suite::Aes256Gcm, 99)),
        Err(OpenError::Stale)
    );
    assert!(rx.open(&mut goldens::fan(Suite::Aes256Gcm, 100)).is_ok());
}

#[test]
fn a_counter_never_goes_back() {
    let (tx, _) = link(Class::Pair, 100);
    assert_eq!(tx.at_counter(5).next_counter(), 100);
    assert_eq!(
        goldens::fan_tx(Suite::Aes256Gcm, 100)
            .at_counter(5)
            .next_counter(),
        100
    );
}

#[test]
fn forgeries_are_counted_and_junk_that_stops_earlier_is_not() {
    let (mut tx, mut rx) = link(Class::Pair, 0);
    let mut forged = seal(&mut tx);
    forged[20] ^= 1;
    assert_eq!(rx.open(&mut forged), Err(OpenError::Forged));
    assert_eq!(
        rx.open(&mut [0; 40]),
        Err(OpenError::Header(HeaderError::Version))
    );
    assert_eq!(rx.forgeries(), 1);
}

#[test]
fn every_part_of_an_identity_is_bound_into_the_keys() {
    let ring = goldens::ring(Suite::Aes256Gcm);
    let changes: [fn(&mut PairIdentity); 6] = [
        |who| who.initiator.0[0] ^= 1,
        |who| who.initiator_boot.0[0] ^= 1,
        |who| who.responder.0[0] ^= 1,
        |who| who.responder_boot.0[0] ^= 1,
        |who| who.nonce_i[0] ^= 1,
        |who| who.nonce_r[0] ^= 1,
    ];
    for change in changes {
        let (mut tx, _) = link(Class::Pair, 0);
        let mut who = goldens::who();
        change(&mut who);
        let mut keys = PairKeys::derive(&ring, goldens::SLOT, &who, false).unwrap();
        assert_eq!(
            keys.pair_rx.open(&mut seal(&mut tx)),
            Err(OpenError::Forged)
        );
    }
    let mut own = PairKeys::derive(&ring, goldens::SLOT, &goldens::who(), true).unwrap();
    assert_eq!(
        own.pair_rx.open(&mut seal(&mut own.pair_tx)),
        Err(OpenError::Forged),
        "reflected"
    );
    assert_eq!(
        own.bulk_rx.open(&mut seal(&mut own.pair_tx)),
        Err(OpenError::Session),
        "other class"
    );
    let absent = PairKeys::derive(&ring, 1, &goldens::who(), true);
    assert_eq!(absent.err(), Some(SealError::UnknownSlot));
}

#[test]
fn every_part_of_a_stream_is_bound_into_its_keys() {
    let (ring, who) = (goldens::ring(Suite::Aes256Gcm), goldens::who());
    let (node, boot) = (who.initiator, who.initiator_boot);
    let open = |node, boot, session, lane| {
        let mut rx = FanRx::new(&ring, goldens::SLOT, node, boot, session, lane, 0).unwrap();
        rx.open(&mut goldens::fan(Suite::Aes256Gcm, 0))
            .map(|opened| opened.counter)
    };
    let (session, lane) = (goldens::SESSION, goldens::LANE);
    assert_eq!(open(node, boot, session, lane), Ok(0));
    assert_eq!(
        open(NodeId([1; 16]), boot, session, lane),
        Err(OpenError::Forged)
    );
    assert_eq!(
        open(node, Boot([1; 16]), session, lane),
        Err(OpenError::Forged)
    );
    assert_eq!(open(node, boot, session + 1, lane), Err(OpenError::Session));
    assert_eq!(open(node, boot, session, lane + 1), Err(OpenError::Session));
}

#[test]
fn buffers_without_room_are_not_sealed() {
    let (mut tx, _) = link(Class::Pair, 0);
    let ring = goldens::ring(Suite::Aes256Gcm);
    assert_eq!(tx.seal(0, 0, &mut [0; 31]), Err(SealError::Length));
    assert_eq!(tx.seal(0, 0, &mut vec![0; 65_508]), Err(SealError::Length));
    assert_eq!(tx.next_counter(), 0);
    assert_eq!(
        goldens::fan_tx(Suite::Aes256Gcm, 0).seal(0, &mut [0; 47]),
        Err(SealError::Length)
    );
    let hello =
        |slot, datagram: &mut [u8]| hello_seal(&ring, slot, HelloKind::H1, 0, [0; 32], 0, datagram);
    assert_eq!(hello(goldens::SLOT, &mut [0; 79]), Err(SealError::Length));
    assert_eq!(hello(1, &mut [0; 80]), Err(SealError::UnknownSlot));
    assert_eq!(hello(goldens::SLOT, &mut [0; 80]), Ok(()));
}
