//! Each class, sealed and opened with each suite.
#![allow(clippy::unwrap_used)]

use tidings_wire::digest::{Digest, Digests, Ping, Writer};
use tidings_wire::*;

fn ring(suite: Suite) -> Keyring {
    let overlay = OverlayId::from_name("test");
    Keyring::new(overlay, vec![KeyRecord::new(3, suite, [7; 32])], 3).unwrap()
}

fn who() -> PairIdentity {
    PairIdentity {
        initiator: NodeId([1; 16]),
        initiator_boot: Boot([2; 16]),
        responder: NodeId([3; 16]),
        responder_boot: Boot([4; 16]),
        nonce_i: [5; 16],
        nonce_r: [6; 16],
    }
}

fn body(datagram: &mut [u8], header: usize) {
    let end = datagram.len() - TAG;
    let mut writer = Writer::new(&mut datagram[header..end]);
    assert!(writer.put(&Ping {
        no: 9.into(),
        target: NodeId([8; 16]),
        ..Default::default()
    }));
}

fn is_ping(body: &[u8]) -> bool {
    let mut digests = Digests::new(body);
    let ping = matches!(digests.next(), Some(Ok(Digest::Ping(ping))) if ping.no.get() == 9);
    ping && digests.next().is_none()
}

#[test]
fn a_hello_opens_with_its_keyring() {
    for suite in Suite::ALL {
        let ring = ring(suite);
        let mut datagram = [0; HELLO_HEADER + 24 + TAG];
        body(&mut datagram, HELLO_HEADER);
        hello_seal(&ring, 3, HelloKind::H2, 77, [9; 32], 5, &mut datagram).unwrap();
        let opened = hello_open(&ring, &mut datagram).unwrap();
        assert!(is_ping(opened.body));
        assert_eq!(
            (opened.kind, opened.cookie, opened.salt),
            (HelloKind::H2, 5, [9; 32])
        );
    }
}

#[test]
fn a_link_opens_in_both_classes_and_directions() {
    for suite in Suite::ALL {
        let ring = ring(suite);
        let mut one = PairKeys::derive(&ring, 3, &who(), true).unwrap();
        let mut two = PairKeys::derive(&ring, 3, &who(), false).unwrap();
        let directions = [
            (&mut one.pair_tx, &mut two.pair_rx),
            (&mut two.pair_tx, &mut one.pair_rx),
            (&mut one.bulk_tx, &mut two.bulk_rx),
            (&mut two.bulk_tx, &mut one.bulk_rx),
        ];
        for (tx, rx) in directions {
            let mut datagram = [0; PAIR_HEADER + 24 + TAG];
            body(&mut datagram, PAIR_HEADER);
            assert_eq!(tx.seal(0xabc0_0001, 4, &mut datagram), Ok(0));
            let mut again = datagram;
            let opened = rx.open(&mut datagram).unwrap();
            assert!(is_ping(opened.body) && !opened.duplicate);
            rx.mark(opened.counter);
            assert!(rx.open(&mut again).unwrap().duplicate);
        }
    }
}

#[test]
fn a_stream_opens_at_its_receivers_and_at_its_publisher() {
    for suite in Suite::ALL {
        let ring = ring(suite);
        let (node, boot) = (NodeId([1; 16]), Boot([2; 16]));
        let mut tx = FanTx::new(&ring, 3, node, boot, 99, 1).unwrap();
        let mut rx = FanRx::new(&ring, 3, node, boot, 99, 1, 0).unwrap();
        let mut datagram = [0; FAN_HEADER + 24 + TAG];
        body(&mut datagram, FAN_HEADER);
        assert_eq!(tx.seal(4, &mut datagram), Ok(0));
        let mut scratch = [0; 64];
        assert!(is_ping(tx.open_copy(&datagram, &mut scratch).unwrap()));
        let opened = rx.open(&mut datagram).unwrap();
        assert!(is_ping(opened.body));
        rx.mark(0);
        assert_eq!((rx.floor(), rx.highest()), (1, Some(0)));
    }
}
