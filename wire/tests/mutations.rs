//! Nothing but the datagram that was sealed is ever opened, and nothing panics.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Rng, goldens, samples};
use tidings_wire::OpenError;
use tidings_wire::digest::Digests;

const MUTATIONS: usize = 10_000_000;

#[test]
fn every_golden_datagram_opens() {
    for mut golden in goldens::all() {
        let mut datagram = golden.datagram.clone();
        assert!(golden.open(&mut datagram).is_ok(), "{}", golden.name);
    }
}

#[test]
fn every_flip_of_a_single_bit_is_refused() {
    for mut golden in goldens::all() {
        for bit in 0..golden.datagram.len() * 8 {
            let mut datagram = golden.datagram.clone();
            datagram[bit / 8] ^= 1 << (bit % 8);
            assert!(
                golden.open(&mut datagram).is_err(),
                "{} bit {bit}",
                golden.name
            );
        }
    }
}

#[test]
fn every_prefix_and_every_extension_is_refused() {
    for mut golden in goldens::all() {
        for len in 0..golden.datagram.len() {
            let mut datagram = golden.datagram[..len].to_vec();
            assert!(
                golden.open(&mut datagram).is_err(),
                "{} cut to {len}",
                golden.name
            );
        }
        for more in 1..40 {
            let mut datagram = golden.datagram.clone();
            datagram.resize(datagram.len() + more, 0);
            assert!(
                golden.open(&mut datagram).is_err(),
                "{} longer by {more}",
                golden.name
            );
        }
    }
}

#[test]
fn a_datagram_of_another_class_or_suite_is_refused() {
    let datagrams: Vec<_> = goldens::all()
        .into_iter()
        .map(|golden| golden.datagram)
        .collect();
    for (own, mut golden) in goldens::all().into_iter().enumerate() {
        let kinds = goldens::KINDS.len(); // a keyring opens all HELLOs of its suite
        let suite = kinds + 3;
        for (other, datagram) in datagrams.iter().enumerate() {
            let is_hello = |at: usize| at % suite < kinds;
            let same = is_hello(own) && is_hello(other) && own / suite == other / suite;
            let opened = golden.open(&mut datagram.clone()).is_ok();
            assert_eq!(opened, own == other || same, "{own} {other}");
        }
    }
}

/// Changes one to eight bytes, half the time in the header, and now and then the length.
fn mutate(rng: &mut Rng, golden: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(golden);
    let dice = rng.next();
    let reach = if dice & 1 == 0 { out.len() } else { 64 };
    for _ in 0..1 + (dice >> 1) % 8 {
        let at = rng.below(reach);
        out[at] = match rng.next() >> 40 {
            pick if pick % 4 == 0 => out[at] ^ (1 << (pick >> 2 & 7)),
            pick => (pick >> 2) as u8,
        };
    }
    if (dice >> 8).is_multiple_of(16) {
        let len = rng.below(out.len() + 32);
        out.resize(len, (dice >> 16) as u8);
    }
}

#[test]
fn ten_million_mutations_never_panic_and_are_never_accepted() {
    let mut goldens = goldens::all();
    let mut rng = Rng(0x7469_6469_6e67_7301);
    let mut datagram = Vec::with_capacity(2048);
    let (mut done, mut forged) = (0, 0);
    while done < MUTATIONS {
        for golden in &mut goldens {
            let golden_bytes = std::mem::take(&mut golden.datagram);
            mutate(&mut rng, &golden_bytes, &mut datagram);
            if datagram != golden_bytes {
                let error = golden.open(&mut datagram).expect_err(&golden.name);
                done += 1;
                forged += usize::from(error == OpenError::Forged);
            }
            golden.datagram = golden_bytes;
        }
    }
    assert!(forged > MUTATIONS / 20, "only {forged} reached the AEAD");
}

#[test]
fn mutated_bodies_that_an_insider_sealed_never_panic() {
    let mut bodies: Vec<_> = samples::all()
        .into_iter()
        .map(|sample| sample.bytes)
        .collect();
    bodies.push(samples::body(&samples::pair()));
    bodies.push(samples::body(&samples::fan()));
    let mut rng = Rng(0x7469_6469_6e67_7302);
    let mut body = Vec::with_capacity(2048);
    let (mut good, mut bad) = (0, 0);
    for round in 0..2_000_000 {
        let golden = &bodies[round % bodies.len()];
        body.clear();
        body.extend_from_slice(golden);
        for _ in 0..1 + rng.below(4) {
            let at = rng.below(body.len());
            body[at] = rng.next() as u8;
        }
        body.truncate(rng.below(body.len() * 4) + 1);
        for digest in Digests::new(&body) {
            match digest {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
    }
    assert!(good > 100_000 && bad > 100_000, "{good} {bad}");
}
