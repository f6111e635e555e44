//! Headers and seals: a header is its bytes, and nothing opens but what was sealed.

use std::cell::RefCell;

use tidings_protocol::props::Input;
use tidings_wire::{Header, TAG};
use zerocopy::IntoBytes;

use super::wire::{Golden, golden_body, goldens};

thread_local! {
    static GOLDENS: RefCell<([[Golden; 4]; 2], Vec<u8>)> = RefCell::new((goldens(), golden_body()));
}

/// The first byte chooses: the rest is edits of a datagram that opens, 0 to 3 or, of the second suite, 8 to 11; else a datagram.
pub fn datagrams(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = usize::from(input.u8());
    GOLDENS.with_borrow_mut(|(goldens, body)| {
        let of_suite = goldens.get_mut(choice / 8);
        match of_suite.and_then(|all| all.get_mut(choice % 8)) {
            Some(golden) => edited(golden, body, input),
            None => arbitrary(goldens, input.rest()),
        }
    });
}

fn arbitrary(goldens: &mut [[Golden; 4]; 2], datagram: &[u8]) {
    let Ok(header) = Header::parse(datagram) else {
        return;
    };
    let bytes = match header {
        Header::Hello(header) => {
            assert!((1..=5).contains(&header.kind()) && header.slot() < 8);
            assert!(header.sealed_len.get() as usize == datagram.len() - bytes_of(&header));
            header.as_bytes()
        }
        Header::Pair(header) | Header::Bulk(header) => {
            assert!(header.slot < 8);
            header.as_bytes()
        }
        Header::Fan(header) => {
            assert!(header.slot < 8 && header.reserved == [0; 7]);
            header.as_bytes()
        }
    };
    assert_eq!(bytes.len(), header.class().header_len());
    assert_eq!(bytes, &datagram[..bytes.len()], "a header is its bytes");
    assert!(datagram.len() >= bytes.len() + TAG);
    let mut copy = datagram.to_vec();
    let all = goldens.iter_mut().flatten();
    for golden in all.filter(|golden| golden.datagram != datagram) {
        copy.copy_from_slice(datagram);
        assert!(golden.open(&mut copy).is_none(), "nobody sealed that");
    }
}

fn bytes_of<T>(_: &&T) -> usize {
    size_of::<T>()
}

// Edits are {place u16, byte}; a place beyond the end changes the length.
fn edited(golden: &mut Golden, body: &[u8], mut input: Input<'_>) {
    let mut datagram = golden.datagram.clone();
    while !input.is_empty() {
        let place = usize::from(input.u16());
        let byte = input.u8();
        match datagram.get_mut(place) {
            Some(at) => *at = byte,
            None => datagram.resize(place % 256, byte),
        }
    }
    let is_same = datagram == golden.datagram;
    let opened = golden.open(&mut datagram);
    assert_eq!(opened.is_some(), is_same, "only what was sealed opens");
    assert!(opened.is_none_or(|opened| opened == body));
    datagram.clone_from(&golden.datagram);
    let opened = golden.open(&mut datagram);
    assert_eq!(opened, Some(body), "what was refused uses up nothing");
}
