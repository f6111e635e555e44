//! Bodies: whatever is read as a digest is written again as the same bytes.

use std::net::SocketAddr;

use tidings_wire::digest::{Addr, Digest, Digests, Writer};

#[path = "../../../wire/tests/common/again.rs"]
#[expect(unreachable_pub, reason = "shared with the tests of the wire format")]
mod again;

/// A body, as it lies in an opened datagram or in a chunk.
pub fn digests(body: &[u8]) {
    walk(body, 1);
}

fn walk(body: &[u8], chunks: u32) {
    let mut at = 0;
    let mut digests = Digests::new(body);
    while let Some(digest) = digests.next() {
        let Ok(digest) = digest else {
            assert!(digests.next().is_none(), "nothing comes after a fault");
            return;
        };
        let len = usize::from(u16::from_le_bytes([body[at + 2], body[at + 3]]));
        come_back(&body[at..at + len], &digest);
        look(&digest);
        at = (at + len).next_multiple_of(8);
        match digest {
            Digest::Ctl(chunk) if chunks > 0 => walk(chunk.content, chunks - 1),
            Digest::Bulk(chunk) if chunks > 0 => walk(chunk.content, chunks - 1),
            _ => {}
        }
    }
}

// What a later version appended is lost; nothing else is.
fn come_back(digest: &[u8], decoded: &Digest<'_>) {
    if let Digest::Unknown(head) = decoded {
        assert_eq!(usize::from(head.len.get()), digest.len());
        return;
    }
    let mut buffer = vec![0xff; digest.len()];
    let mut writer = Writer::new(&mut buffer);
    let put = again::put_again(&mut writer, decoded);
    assert!(put, "what was read can be written: {decoded:?}");
    let again = writer.as_bytes();
    assert_eq!(again[..2], digest[..2], "kind and flags: {decoded:?}");
    assert_eq!(again[4..], digest[4..again.len()], "{decoded:?}");
    let len = usize::from(u16::from_le_bytes([again[2], again[3]]));
    assert_eq!(len, again.len());
    assert!(matches!(Digests::new(again).next(), Some(Ok(_))));
}

// Views that promise a value have one.
fn look(digest: &Digest<'_>) {
    let reach = |addrs: &[Addr]| {
        for addr in addrs {
            let port = SocketAddr::from(*addr).port();
            assert_eq!(port, addr.port.get());
        }
    };
    match digest {
        Digest::H1(h1) => reach(h1.addrs),
        Digest::H3(h3) => reach(h3.addrs),
        Digest::Member(member) => {
            let _ = member.state();
            reach(member.addrs);
        }
        Digest::SubAdd(sub) => {
            let _ = (sub.ack(), sub.order(), sub.policy());
        }
        _ => {}
    }
}
