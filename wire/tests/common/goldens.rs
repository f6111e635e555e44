//! Golden datagrams of every class and suite, and the receivers that open them.

use tidings_wire::digest::Writer;
use tidings_wire::*;

use super::samples;

pub const OVERLAY: &str = "vectors";
pub const SLOT: u8 = 5;
pub const STEER: u8 = 0x53;
pub const INDEX: u32 = 0xabc1_2345;
pub const SESSION: u64 = 0x1111_2222_3333_4444;
pub const LANE: u8 = 2;
pub const COOKIE: u64 = 0x1122_3344_5566_7788;
/// Counters that the sealed vectors use: the first, and one of the second epoch.
pub const COUNTERS: [u64; 2] = [0, (1 << 26) + 5];

pub fn key() -> [u8; 32] {
    samples::run(0xc0)
}

pub fn salt(kind: HelloKind) -> [u8; 32] {
    samples::run(kind as u8 * 16)
}

pub fn ring(suite: Suite) -> Keyring {
    let record = KeyRecord::new(SLOT, suite, key());
    Keyring::new(OverlayId::from_name(OVERLAY), vec![record], SLOT).unwrap()
}

pub fn who() -> PairIdentity {
    PairIdentity {
        initiator: NodeId(samples::run(0x10)),
        initiator_boot: Boot(samples::run(0x20)),
        responder: NodeId(samples::run(0x50)),
        responder_boot: Boot(samples::run(0x60)),
        nonce_i: samples::run(0x30),
        nonce_r: samples::run(0x70),
    }
}

pub const KINDS: [HelloKind; 5] = [
    HelloKind::H1,
    HelloKind::H2,
    HelloKind::H3,
    HelloKind::Cookie,
    HelloKind::Beacon,
];

/// The body of a HELLO of this kind; H1's is padded, H3's holds a real PAIR datagram.
pub fn hello_body(suite: Suite, kind: HelloKind) -> Vec<u8> {
    let sample = &samples::hello()[kind as usize - 1];
    let mut body = vec![0; 512];
    let mut writer = Writer::new(&mut body);
    match kind {
        HelloKind::H3 => {
            let mut digests = digest::Digests::new(&sample.bytes);
            let Some(Ok(digest::Digest::H3(view))) = digests.next() else {
                panic!("no H3")
            };
            assert!(writer.put_h3(view.fixed, view.addrs, &inner(suite)));
        }
        _ => assert!(writer.put_encoded(&sample.bytes)),
    }
    if kind == HelloKind::H1 {
        assert!(writer.pad_to(limits::MIN_H1_DATAGRAM - HELLO_HEADER - TAG));
    }
    writer.as_bytes().to_vec()
}

/// The PAIR datagram inside H3: counter 0, index 0, no digests.
fn inner(suite: Suite) -> Vec<u8> {
    let mut keys = PairKeys::derive(&ring(suite), SLOT, &who(), true).unwrap();
    let mut datagram = vec![0; PAIR_HEADER + TAG];
    assert_eq!(keys.pair_tx.seal(0, 0, &mut datagram), Ok(0));
    datagram
}

/// Room for a header, the body, room for a tag.
pub fn frame(header: usize, body: &[u8]) -> Vec<u8> {
    [&vec![0; header], body, &[0; TAG]].concat()
}

pub fn hello(suite: Suite, kind: HelloKind) -> Vec<u8> {
    let mut datagram = frame(HELLO_HEADER, &hello_body(suite, kind));
    hello_seal(
        &ring(suite),
        SLOT,
        kind,
        STEER,
        salt(kind),
        COOKIE,
        &mut datagram,
    )
    .unwrap();
    datagram
}

pub fn link_body(class: Class) -> Vec<u8> {
    match class {
        Class::Pair => samples::body(&samples::pair()),
        _ => samples::bulk()[0].bytes.clone(),
    }
}

/// Sealed by the initiator (`forward`) or by the responder.
pub fn link(suite: Suite, class: Class, forward: bool, counter: u64) -> Vec<u8> {
    let keys = PairKeys::derive(&ring(suite), SLOT, &who(), forward).unwrap();
    let tx = if class == Class::Pair {
        keys.pair_tx
    } else {
        keys.bulk_tx
    };
    let mut datagram = frame(PAIR_HEADER, &link_body(class));
    assert_eq!(
        tx.at_counter(counter).seal(INDEX, STEER, &mut datagram),
        Ok(counter)
    );
    datagram
}

pub fn link_rx(suite: Suite, class: Class, forward: bool, counter: u64) -> LinkRx {
    let keys = PairKeys::derive(&ring(suite), SLOT, &who(), !forward).unwrap();
    let rx = if class == Class::Pair {
        keys.pair_rx
    } else {
        keys.bulk_rx
    };
    rx.at_counter(counter)
}

pub fn fan_body() -> Vec<u8> {
    samples::body(&samples::fan())
}

pub fn fan_tx(suite: Suite, counter: u64) -> FanTx {
    let who = who();
    let ring = ring(suite);
    let tx = FanTx::new(
        &ring,
        SLOT,
        who.initiator,
        who.initiator_boot,
        SESSION,
        LANE,
    )
    .unwrap();
    tx.at_counter(counter)
}

pub fn fan(suite: Suite, counter: u64) -> Vec<u8> {
    let mut datagram = frame(FAN_HEADER, &fan_body());
    assert_eq!(
        fan_tx(suite, counter).seal(STEER, &mut datagram),
        Ok(counter)
    );
    datagram
}

pub fn fan_rx(suite: Suite, floor: u64) -> FanRx {
    let who = who();
    let ring = ring(suite);
    FanRx::new(
        &ring,
        SLOT,
        who.initiator,
        who.initiator_boot,
        SESSION,
        LANE,
        floor,
    )
    .unwrap()
}

/// A golden datagram with the receiver that takes it.
pub struct Golden {
    pub name: String,
    pub datagram: Vec<u8>,
    receiver: Receiver,
}

enum Receiver {
    Hello(Box<Keyring>),
    Link(Box<LinkRx>),
    Fan(Box<FanRx>),
}

impl Golden {
    /// The whole path of a datagram: header, window or gate, key, AEAD. Marks nothing.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        match &mut self.receiver {
            Receiver::Hello(ring) => hello_open(ring, datagram).map(|opened| opened.body),
            Receiver::Link(rx) => rx.open(datagram).map(|opened| opened.body),
            Receiver::Fan(rx) => rx.open(datagram).map(|opened| opened.body),
        }
    }
}

/// Every class in every suite.
pub fn all() -> Vec<Golden> {
    let mut goldens = Vec::new();
    for suite in Suite::ALL {
        for kind in KINDS {
            goldens.push(Golden {
                name: format!("{suite} {kind:?}"),
                datagram: hello(suite, kind),
                receiver: Receiver::Hello(Box::new(ring(suite))),
            });
        }
        for class in [Class::Pair, Class::Bulk] {
            goldens.push(Golden {
                name: format!("{suite} {class:?}"),
                datagram: link(suite, class, true, COUNTERS[1]),
                receiver: Receiver::Link(Box::new(link_rx(suite, class, true, COUNTERS[1]))),
            });
        }
        goldens.push(Golden {
            name: format!("{suite} FAN"),
            datagram: fan(suite, COUNTERS[1]),
            receiver: Receiver::Fan(Box::new(fan_rx(suite, COUNTERS[1]))),
        });
    }
    goldens
}
