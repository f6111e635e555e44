//! Keyrings with several records: the header names the one key that is tried, and what that does not open stays shut.
#![allow(clippy::unwrap_used)]

mod common;

use common::goldens::{self, frame};
use tidings_wire::*;

const OWN: u8 = 5;
const OTHER: u8 = 2;
const BODY: &[u8] = b"sixteen bytes, and some more";

/// The same 32 bytes under two slots.
fn ring(own: Suite, other: Suite) -> Keyring {
    let records = [(OWN, own), (OTHER, other)]
        .map(|(slot, suite)| KeyRecord::new(slot, suite, goldens::key()))
        .into_iter()
        .collect();
    Keyring::new(OverlayId::from_name(goldens::OVERLAY), records, OWN).unwrap()
}

enum Receiver {
    Hello(Keyring),
    Link(Box<LinkRx>),
    Fan(Box<FanRx>),
}

impl Receiver {
    fn open(&mut self, datagram: &mut [u8]) -> Result<Vec<u8>, OpenError> {
        match self {
            Self::Hello(ring) => hello_open(ring, datagram).map(|opened| opened.body.to_vec()),
            Self::Link(rx) => rx.open(datagram).map(|opened| opened.body.to_vec()),
            Self::Fan(rx) => rx.open(datagram).map(|opened| opened.body.to_vec()),
        }
    }
}

/// One datagram of each class, sealed by the record in [`OWN`], with who opens it.
fn datagrams(ring: &Keyring) -> Vec<(Vec<u8>, Receiver)> {
    let mut hello = frame(HELLO_HEADER, BODY);
    hello_seal(ring, OWN, HelloKind::H2, 1, [9; 32], 0, &mut hello).unwrap();
    let derive = |initiator| PairKeys::derive(ring, OWN, &goldens::who(), initiator).unwrap();
    let (mut ours, theirs) = (derive(true), derive(false));
    let (mut pair, mut bulk) = (frame(PAIR_HEADER, BODY), frame(PAIR_HEADER, BODY));
    ours.pair_tx.seal(1, 2, &mut pair).unwrap();
    ours.bulk_tx.seal(1, 2, &mut bulk).unwrap();
    let (node, boot) = (goldens::who().initiator, goldens::who().initiator_boot);
    let mut fan = frame(FAN_HEADER, BODY);
    let mut tx = FanTx::new(ring, OWN, node, boot, 7, 0).unwrap();
    tx.seal(1, &mut fan).unwrap();
    let rx = FanRx::new(ring, OWN, node, boot, 7, 0, 0).unwrap();
    vec![
        (hello, Receiver::Hello(ring.share())),
        (pair, Receiver::Link(Box::new(theirs.pair_rx))),
        (bulk, Receiver::Link(Box::new(theirs.bulk_rx))),
        (fan, Receiver::Fan(Box::new(rx))),
    ]
}

#[test]
fn a_header_that_names_another_installed_key_is_refused_and_the_session_goes_on() {
    for own in Suite::ALL {
        for other in Suite::ALL {
            let ring = ring(own, other);
            for (datagram, mut receiver) in datagrams(&ring) {
                let slot = (datagram[2] & 0xf0) | OTHER;
                for (suite, slot) in [
                    (other as u8, slot),
                    (own as u8, slot),
                    (other as u8, datagram[2]),
                ] {
                    let mut bent = datagram.clone();
                    (bent[1], bent[2]) = (suite, slot);
                    if bent == datagram {
                        continue;
                    }
                    let refused = receiver.open(&mut bent);
                    assert!(refused.is_err(), "{own} {other}: {refused:?}");
                }
                let body = receiver.open(&mut datagram.clone());
                assert_eq!(body.as_deref(), Ok(BODY), "{own} {other}");
            }
        }
    }
}

#[test]
fn what_does_not_open_leaves_no_plaintext_and_never_opens() {
    for suite in Suite::ALL {
        for (datagram, mut receiver) in datagrams(&ring(suite, suite)) {
            let mut forged = datagram.clone();
            let last = forged.len() - 1;
            forged[last] ^= 1;
            assert_eq!(receiver.open(&mut forged), Err(OpenError::Forged));
            let part = &BODY[..8];
            let readable = forged.windows(part.len()).any(|bytes| bytes == part);
            assert!(!readable, "{suite}");
            // The header is whole, and the tag was what was wrong.
            forged[last] ^= 1;
            assert!(receiver.open(&mut forged).is_err(), "{suite}");
            assert_eq!(receiver.open(&mut datagram.clone()).as_deref(), Ok(BODY));
        }
    }
}
