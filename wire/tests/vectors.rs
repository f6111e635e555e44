//! The golden bytes in `vectors/`: made again from the code and compared, then read back and opened from their own
//! inputs alone. `TIDINGS_BLESS=1` rewrites them.
#![allow(clippy::unwrap_used)]

mod common;

use common::again::put_again;
use common::goldens::{self, KINDS};
use common::samples::{self, Sample};
use common::schedule;
use common::vectors::{File, Record, read};
use siphasher::sip::SipHasher24;
use tidings_wire::digest::{
    Digest, Digests, MemberState, Writer, bucket_of, client_hash, member_hash,
};
use tidings_wire::*;
use zerocopy::IntoBytes;

#[test]
fn hashes() {
    let mut file = File::new("hashes.hex", "Ids, tags, steers and hashes.");
    for name in ["vectors", "", "größe"] {
        let id = OverlayId::from_name(name);
        file.record("overlay")
            .line("name", name)
            .line("id", id.0)
            .line("tag", overlay_tag(id));
        file.line("steer_of_lane_0", steer(id, 0))
            .line("steer_of_lane_1", steer(id, 1));
    }
    let id = NodeId(samples::run(0x10));
    file.record("member")
        .line("id", id)
        .line("generation", 5u64)
        .line("incarnation", 6u64);
    file.line("bucket", bucket_of(&id));
    file.line(
        "hash_alive_or_suspect",
        member_hash(&id, 5, 6, MemberState::Suspect),
    );
    file.line("hash_dead", member_hash(&id, 5, 6, MemberState::Dead));
    file.line("hash_left", member_hash(&id, 5, 6, MemberState::Left));
    file.record("client")
        .line("name", "billing")
        .line("hash", client_hash("billing"));
    file.settle();
}

#[test]
fn digests() {
    for (name, about, samples) in groups() {
        let mut file = File::new(name, about);
        for sample in samples {
            file.record(sample.name);
            sample.fields.iter().for_each(|(name, value)| {
                file.shown(name, value);
            });
            file.line("digest", sample.bytes);
        }
        file.settle();
        read(name).iter().for_each(view_and_write_again);
    }
}

fn groups() -> [(&'static str, &'static str, Vec<Sample>); 5] {
    [
        (
            "digests-hello.hex",
            "Digests of the handshake.",
            samples::hello(),
        ),
        ("digests-pair.hex", "Digests of PAIR.", samples::pair()),
        (
            "digests-ctl.hex",
            "Digests of the control channel.",
            samples::ctl(),
        ),
        (
            "digests-bulk.hex",
            "Digests of BULK and its channel.",
            samples::bulk(),
        ),
        ("digests-fan.hex", "Records of FAN.", samples::fan()),
    ]
}

fn view_and_write_again(record: &Record) {
    let golden = record.bytes("digest");
    let mut digests = Digests::new(&golden);
    let digest = digests.next().unwrap().unwrap();
    assert!(digests.next().is_none());
    assert!(!matches!(digest, Digest::Unknown(_)));
    let mut body = vec![0xff; 2048];
    let mut writer = Writer::new(&mut body);
    assert!(put_again(&mut writer, &digest), "{}", record.name);
    assert_eq!(writer.as_bytes(), golden, "{}", record.name);
}

#[test]
fn headers() {
    let mut file = File::new("headers.hex", "One header of each class, and its fields.");
    for datagram in [
        goldens::hello(Suite::Aes256Gcm, HelloKind::H1),
        goldens::link(Suite::Aes256Gcm, Class::Pair, true, goldens::COUNTERS[1]),
        goldens::link(Suite::Aes256Gcm, Class::Bulk, true, goldens::COUNTERS[1]),
        goldens::fan(Suite::Aes256Gcm, goldens::COUNTERS[1]),
    ] {
        match Header::parse(&datagram).unwrap() {
            Header::Hello(header) => {
                file.record("hello")
                    .line("suite", header.suite)
                    .line("kind", header.kind());
                file.line("slot", header.slot()).line("steer", header.steer);
                file.line("sealed_len", header.sealed_len.get())
                    .line("gate", header.gate.get());
                file.line("salt", header.salt)
                    .line("cookie", header.cookie.get());
                file.line("overlay_tag", header.tag)
                    .line("header", header.as_bytes());
            }
            Header::Pair(header) => link_header(&mut file, "pair", header),
            Header::Bulk(header) => link_header(&mut file, "bulk", header),
            Header::Fan(header) => {
                file.record("fan")
                    .line("suite", header.suite)
                    .line("slot", header.slot);
                file.line("steer", header.steer)
                    .line("overlay_tag", header.tag);
                file.line("counter", header.counter.get())
                    .line("session", header.session.get());
                file.line("lane", header.lane)
                    .line("header", header.as_bytes());
            }
        }
    }
    file.settle();
}

fn link_header(file: &mut File, name: &str, header: &LinkHeader) {
    file.record(name)
        .line("suite", header.suite)
        .line("slot", header.slot);
    file.line("steer", header.steer)
        .line("index", header.index.get());
    file.line("counter", header.counter.get())
        .line("header", header.as_bytes());
}

fn common_lines(file: &mut File, suite: Suite) {
    file.line("overlay", goldens::OVERLAY)
        .line("key", goldens::key());
    file.line("suite", suite as u8)
        .line("slot", goldens::SLOT)
        .line("steer", goldens::STEER);
}

/// key || iv as SPEC.md derives them, independently of the crate.
fn okm(suite: Suite, label: &str, context: &[u8]) -> Vec<u8> {
    let overlay = OverlayId::from_name(goldens::OVERLAY);
    let prk = schedule::prk(&overlay.0, &goldens::key());
    schedule::okm(&prk, label, suite as u8, goldens::SLOT, context)
}

/// Notes key and IV, and that the crate sealed what SPEC.md's text alone leads to.
fn sealed(file: &mut File, suite: Suite, okm: &[u8], counter: u64, body: &[u8], datagram: &[u8]) {
    let header = &datagram[..datagram.len() - body.len() - TAG];
    assert_eq!(
        schedule::seal(suite as u8, okm, counter, header, body),
        datagram
    );
    let (key, iv) = okm.split_at(okm.len() - 12);
    file.line("derived_key", key).line("derived_iv", iv);
    file.line("body", body).line("datagram", datagram);
}

#[test]
fn hellos() {
    let mut file = File::new(
        "sealed-hello.hex",
        "Sealed HELLO datagrams of each kind and suite.",
    );
    for suite in Suite::ALL {
        for kind in KINDS {
            let (salt, datagram) = (goldens::salt(kind), goldens::hello(suite, kind));
            file.record(&format!("{kind:?} {suite}").to_lowercase());
            common_lines(&mut file, suite);
            file.line("kind", kind as u8)
                .line("salt", salt)
                .line("cookie", goldens::COOKIE);
            let sip = sip_key(suite);
            let rest = [&datagram[..8], &datagram[16..HELLO_HEADER]].concat();
            let gate = SipHasher24::new_with_key(&sip).hash(&rest);
            assert_eq!(datagram[8..16], gate.to_le_bytes());
            file.line("sip_key", sip).line("gate", gate);
            let okm = okm(suite, "hello", &[&[kind as u8], salt.as_slice()].concat());
            sealed(
                &mut file,
                suite,
                &okm,
                0,
                &goldens::hello_body(suite, kind),
                &datagram,
            );
        }
    }
    file.settle();
    for record in read("sealed-hello.hex") {
        let mut datagram = record.bytes("datagram");
        let opened = hello_open(&ring_of(&record), &mut datagram).unwrap();
        assert_eq!(opened.body, record.bytes("body"), "{}", record.name);
        assert_eq!(opened.kind as u64, record.int("kind"));
        assert_eq!(opened.cookie, record.int("cookie"));
        assert_eq!(opened.salt, record.array("salt"));
    }
}

fn sip_key(suite: Suite) -> [u8; 16] {
    let overlay = OverlayId::from_name(goldens::OVERLAY);
    let prk = schedule::prk(&overlay.0, &goldens::key());
    let info = [b"sip".as_slice(), &[suite as u8, goldens::SLOT]].concat();
    schedule::expand(&prk, &info, 16).try_into().unwrap()
}

fn ring_of(record: &Record) -> Keyring {
    let suite = Suite::from_wire(record.int("suite") as u8).unwrap();
    let slot = record.int("slot") as u8;
    let key = KeyRecord::new(slot, suite, record.array("key"));
    Keyring::new(
        OverlayId::from_name(record.text("overlay")),
        vec![key],
        slot,
    )
    .unwrap()
}

#[test]
fn links() {
    for (class, label, name) in [
        (Class::Pair, "pair", "sealed-pair.hex"),
        (Class::Bulk, "bulk", "sealed-bulk.hex"),
    ] {
        let mut file = File::new(
            name,
            "Sealed datagrams of each suite, direction and two epochs.",
        );
        for suite in Suite::ALL {
            for forward in [true, false] {
                for counter in goldens::COUNTERS {
                    link_record(&mut file, suite, class, label, forward, counter);
                }
            }
        }
        file.settle();
        read(name)
            .iter()
            .for_each(|record| open_link(record, class));
    }
}

fn link_record(
    file: &mut File,
    suite: Suite,
    class: Class,
    label: &str,
    forward: bool,
    counter: u64,
) {
    let who = goldens::who();
    let direction = u8::from(!forward);
    file.record(&format!(
        "{label} {suite} direction {direction} counter {counter}"
    ));
    common_lines(file, suite);
    file.line("index", goldens::INDEX)
        .line("direction", direction)
        .line("counter", counter);
    file.line("initiator", who.initiator)
        .line("initiator_boot", who.initiator_boot);
    file.line("responder", who.responder)
        .line("responder_boot", who.responder_boot);
    file.line("nonce_i", who.nonce_i)
        .line("nonce_r", who.nonce_r);
    let epoch = ((counter >> 26) as u32).to_le_bytes();
    let parts: [&[u8]; 8] = [
        &[direction],
        &who.initiator.0,
        &who.initiator_boot.0,
        &who.responder.0,
        &who.responder_boot.0,
        &who.nonce_i,
        &who.nonce_r,
        &epoch,
    ];
    let okm = okm(suite, label, &parts.concat());
    let datagram = goldens::link(suite, class, forward, counter);
    sealed(
        file,
        suite,
        &okm,
        counter,
        &goldens::link_body(class),
        &datagram,
    );
}

fn open_link(record: &Record, class: Class) {
    let who = PairIdentity {
        initiator: NodeId(record.array("initiator")),
        initiator_boot: Boot(record.array("initiator_boot")),
        responder: NodeId(record.array("responder")),
        responder_boot: Boot(record.array("responder_boot")),
        nonce_i: record.array("nonce_i"),
        nonce_r: record.array("nonce_r"),
    };
    let we_are_initiator = record.int("direction") == 1;
    let slot = record.int("slot") as u8;
    let keys = PairKeys::derive(&ring_of(record), slot, &who, we_are_initiator).unwrap();
    let rx = if class == Class::Pair {
        keys.pair_rx
    } else {
        keys.bulk_rx
    };
    let mut datagram = record.bytes("datagram");
    let mut rx = rx.at_counter(record.int("counter"));
    let opened = rx.open(&mut datagram).unwrap();
    assert_eq!(opened.body, record.bytes("body"), "{}", record.name);
    assert_eq!(opened.counter, record.int("counter"));
}

#[test]
fn streams() {
    let mut file = File::new(
        "sealed-fan.hex",
        "Sealed FAN datagrams of each suite and two epochs.",
    );
    for suite in Suite::ALL {
        for counter in goldens::COUNTERS {
            let who = goldens::who();
            file.record(&format!("fan {suite} counter {counter}"));
            common_lines(&mut file, suite);
            file.line("node", who.initiator)
                .line("boot", who.initiator_boot);
            file.line("session", goldens::SESSION)
                .line("lane", goldens::LANE)
                .line("counter", counter);
            let parts: [&[u8]; 5] = [
                &who.initiator.0,
                &who.initiator_boot.0,
                &goldens::SESSION.to_le_bytes(),
                &[goldens::LANE],
                &((counter >> 26) as u32).to_le_bytes(),
            ];
            let okm = okm(suite, "fan", &parts.concat());
            let datagram = goldens::fan(suite, counter);
            sealed(
                &mut file,
                suite,
                &okm,
                counter,
                &goldens::fan_body(),
                &datagram,
            );
        }
    }
    file.settle();
    for record in read("sealed-fan.hex") {
        let (node, boot) = (NodeId(record.array("node")), Boot(record.array("boot")));
        let (ring, slot) = (ring_of(&record), record.int("slot") as u8);
        let (session, lane) = (record.int("session"), record.int("lane") as u8);
        let floor = record.int("counter");
        let mut rx = FanRx::new(&ring, slot, node, boot, session, lane, floor).unwrap();
        let mut datagram = record.bytes("datagram");
        assert_eq!(
            rx.open(&mut datagram).unwrap().body,
            record.bytes("body"),
            "{}",
            record.name
        );
    }
}
