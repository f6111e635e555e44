//! Keys, identities and golden datagrams that several properties share.

use tidings_wire::digest::{Ping, Writer};
use tidings_wire::{
    Boot, FAN_HEADER, FanRx, FanTx, HELLO_HEADER, HelloKind, KeyRecord, Keyring, LinkRx, NodeId,
    Opened, OverlayId, PAIR_HEADER, PairIdentity, PairKeys, Suite, TAG, hello_open, hello_seal,
};

pub(super) const SLOT: u8 = 3;

pub(super) fn ring(key: u8) -> Keyring {
    ring_of(Suite::Aes128Gcm, key)
}

fn ring_of(suite: Suite, key: u8) -> Keyring {
    let record = KeyRecord::new(SLOT, suite, [key; 32]);
    Keyring::new(OverlayId::from_name("test"), vec![record], SLOT).expect("a valid keyring")
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

enum Receiver {
    Hello(Keyring),
    Link(Box<LinkRx>),
    Fan(Box<FanRx>),
}

/// A datagram that opens, with what opens it. Opening marks nothing.
pub(super) struct Golden {
    pub(super) datagram: Vec<u8>,
    receiver: Receiver,
}

impl Golden {
    pub(super) fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        match &mut self.receiver {
            Receiver::Hello(ring) => hello_open(ring, datagram).ok().map(|opened| opened.body),
            Receiver::Link(rx) => rx.open(datagram).ok().map(unmarked),
            Receiver::Fan(rx) => rx.open(datagram).ok().map(unmarked),
        }
    }
}

fn unmarked<'a>(opened: Opened<'a>) -> &'a [u8] {
    assert!(!opened.duplicate, "opening marks nothing");
    opened.body
}

fn frame(header: usize) -> Vec<u8> {
    let mut datagram = vec![0; header + 24 + TAG];
    let ping = Ping {
        no: 9.into(),
        target: NodeId([8; 16]),
        ..Default::default()
    };
    let mut writer = Writer::new(&mut datagram[header..header + 24]);
    assert!(writer.put(&ping), "a ping has 24 bytes");
    datagram
}

/// What every golden datagram holds.
pub(super) fn golden_body() -> Vec<u8> {
    frame(0)[..24].to_vec()
}

/// One of each class, HELLO, PAIR, BULK and FAN, in a suite of each library: first AES-128-GCM, then AES-192-GCM.
pub(super) fn goldens() -> [[Golden; 4]; 2] {
    [Suite::Aes128Gcm, Suite::Aes192Gcm].map(goldens_of)
}

fn goldens_of(suite: Suite) -> [Golden; 4] {
    let ring = ring_of(suite, 7);
    let mut hello = frame(HELLO_HEADER);
    hello_seal(&ring, SLOT, HelloKind::H2, 77, [9; 32], 5, &mut hello).expect("it fits");
    let derive = |initiator| PairKeys::derive(&ring, SLOT, &who(), initiator).expect("a slot");
    let (mut ours, theirs) = (derive(true), derive(false));
    let (mut pair, mut bulk, mut fan) = (frame(PAIR_HEADER), frame(PAIR_HEADER), frame(FAN_HEADER));
    ours.pair_tx.seal(0xabc0_0001, 4, &mut pair).expect("fits");
    ours.bulk_tx.seal(0xabc0_0001, 4, &mut bulk).expect("fits");
    let (node, boot) = (who().initiator, who().initiator_boot);
    let mut tx = FanTx::new(&ring, SLOT, node, boot, 99, 1).expect("a slot");
    tx.seal(4, &mut fan).expect("it fits");
    let rx = FanRx::new(&ring, SLOT, node, boot, 99, 1, 0).expect("a slot");
    let link = |rx| Receiver::Link(Box::new(rx));
    let golden = |datagram, receiver| Golden { datagram, receiver };
    [
        golden(hello, Receiver::Hello(ring)),
        golden(pair, link(theirs.pair_rx)),
        golden(bulk, link(theirs.bulk_rx)),
        golden(fan, Receiver::Fan(Box::new(rx))),
    ]
}
