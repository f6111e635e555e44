//! The harness itself: real text is real, junk arrives, what is sniffed is what was sent.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::time::Duration;

use tidings_tests::blackbox::{Flood, Junk, PORT, Sniffer, alone, difference, real_text, tidings};
use tidings_tests::lab::{self, Lab};

#[test]
fn a_hundred_thousand_lines_are_found_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let text = real_text(&folder.path().join("text"), 100_000);
    let bytes = std::fs::read(&text.path).unwrap();
    assert_eq!(bytes.len() as u64, text.bytes);
    assert_eq!(
        bytes.split_inclusive(|&byte| byte == b'\n').count(),
        100_000
    );
    assert!(text.needles.len() > 5);
    assert_eq!(difference(&text.path, &text.path), None);
    let copy = folder.path().join("copy");
    std::fs::write(&copy, &bytes[..bytes.len() - 1]).unwrap();
    assert!(
        difference(&text.path, &copy)
            .unwrap()
            .contains("in line 100000 on")
    );
}

#[test]
fn the_daemon_under_test_has_no_seeded_faults() {
    let program = std::fs::read(tidings()).unwrap();
    let name = b"TIDINGS_MUTANT";
    assert!(!program.windows(name.len()).any(|bytes| bytes == name));
}

#[test]
fn junk_arrives_in_batches_and_can_be_sniffed() {
    if !lab::ready() {
        return;
    }
    if let Err(missing) = lab::bridge_available() {
        lab::skipped("kernel", &missing);
        return;
    }
    let _turn = alone();
    let lab = Lab::builder().hosts(2).bridge().build().unwrap();
    let address = (lab.host(2).ip4(), PORT);
    let target = lab.host(2).inside(|| UdpSocket::bind(address)).unwrap();
    target
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let sniffer = Sniffer::on(lab.host(2));
    let header: Vec<u8> = (0x14..0x14 + 32).collect();
    let junk = Junk::Header(header.clone());
    let (received, sent) = Flood::during(lab.host(1), address.into(), &junk, || {
        let mut buffer = [0; 2048];
        std::thread::sleep(Duration::from_secs(2));
        let length = target.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    });
    assert!(sent > 10_000, "{sent} datagrams are no flood");
    assert_eq!(received.len(), 1200);
    assert_eq!(received[..32], header);
    let sniffed = sniffer.next(4, PORT, Duration::from_secs(20)).unwrap();
    assert_eq!(sniffed[..32], header);
}
