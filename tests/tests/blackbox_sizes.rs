//! Messages of every size arrive as they were, and one byte too many is refused with the limit.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tidings_client::{Client, Error, Event, SubscribeOptions};
use tidings_tests::blackbox::{
    Cluster, OVERLAY, bad_network, beside_others, publish_all, wait_owed,
};

const WITHIN: Duration = Duration::from_secs(60);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

macro_rules! needs_lab {
    () => {
        if !tidings_tests::lab::ready() {
            return;
        }
    };
}

/// Bytes that differ everywhere and by size.
fn payload(size: usize) -> Vec<u8> {
    let mut state = size as u32 | 1;
    let byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(byte).take(size).collect()
}

/// Receives messages of these sizes, in any order, and looks at every byte.
fn receive(client: &mut Client, sizes: &[usize]) {
    let mut wanted: Vec<usize> = sizes.to_vec();
    let until = Instant::now() + WITHIN;
    while !wanted.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        match client.next(Some(left)).unwrap() {
            Some(Event::Messages(messages)) => {
                for got in messages.payloads {
                    assert!(got == payload(got.len()), "{} bytes differ", got.len());
                    let at = wanted.iter().position(|&size| size == got.len());
                    wanted.swap_remove(at.expect("a size that was published, once"));
                }
                let all = messages.all();
                client.acknowledge(&all);
            }
            Some(Event::Gap { count, reason, .. }) => panic!("{count} missing: {reason}"),
            Some(_) => {}
            None => panic!("sizes {wanted:.5?} did not come"),
        }
    }
    client.flush().unwrap();
    while client
        .next(Some(Duration::from_millis(300)))
        .unwrap()
        .is_some()
    {}
}

fn arrive_intact(cluster: &Cluster, sizes: &[usize]) {
    std::thread::scope(|scope| {
        // One on another node, one on the publisher's own.
        let readers = [1, 2].map(|n| {
            let mut client = cluster.node(n).client();
            client
                .subscribe(OVERLAY, "sizes", SubscribeOptions::default())
                .unwrap();
            scope.spawn(move || receive(&mut client, sizes))
        });
        let mut client = cluster.node(1).client();
        let publisher = client.open(OVERLAY, "sizes").unwrap();
        wait_owed(&mut client, publisher, 2);
        for batch in sizes.chunks(32) {
            let payloads: Vec<Vec<u8>> = batch.iter().map(|&size| payload(size)).collect();
            let payloads = payloads.iter().map(Vec::as_slice);
            let published = publish_all(&mut client, publisher, payloads, WITHIN);
            assert_eq!(published.owed, 2 * batch.len() as u64);
            assert_eq!(published.settled(), published.owed, "sizes {batch:?}");
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

fn is_refused(cluster: &Cluster, size: usize, limit: usize) {
    let mut client = cluster.node(1).client();
    let publisher = client.open(OVERLAY, "sizes").unwrap();
    match client.publish(publisher, &vec![7; size]) {
        Err(Error::TooLarge { limit: told }) => assert_eq!(told, limit),
        other => panic!("{size} bytes: {other:?}"),
    }
    let path = cluster.folder().join("large");
    std::fs::write(&path, vec![b'x'; size]).unwrap();
    let args = ["pub", OVERLAY, "sizes", "--file", path.to_str().unwrap()];
    let done = cluster.node(1).verb(&args, WITHIN);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("TooLarge"), "{:.300}", done.err);
    assert!(done.err.contains(&limit.to_string()), "{:.300}", done.err);
}

/// Sizes around which a datagram of 1,200 B, one for an MTU of 1,500 by IPv4, and one by IPv6 are full: each of them holds
/// one size that fills it exactly and the next one.
fn around_one_datagram() -> impl Iterator<Item = usize> {
    (1080..=1200).chain(1352..=1472)
}

#[test]
fn every_size_up_to_the_limit_arrives_intact_and_one_more_is_refused() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).start();
    let sizes: Vec<usize> = [
        0,
        1,
        2,
        7,
        8,
        9,
        64 * KIB - 1,
        64 * KIB,
        64 * KIB + 1,
        MIB - 1,
        MIB,
    ]
    .into_iter()
    .chain(around_one_datagram())
    .collect();
    arrive_intact(&cluster, &sizes);
    is_refused(&cluster, MIB + 1, MIB);
}

#[test]
fn large_messages_cross_a_bad_network_intact() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder()
        .nodes(2)
        .impairment(bad_network())
        .start();
    arrive_intact(&cluster, &[0, 1, 64 * KIB, 200 * KIB, 777 * KIB + 5, MIB]);
}

#[test]
fn four_mebibytes_arrive_where_the_cap_is_raised() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder()
        .nodes(2)
        .overlay_keys("max_message = \"4MiB\"")
        .start();
    arrive_intact(&cluster, &[4 * MIB, MIB + 1, 0, 4 * MIB - 1]);
    is_refused(&cluster, 4 * MIB + 1, 4 * MIB);
}

#[test]
fn the_command_line_publishes_the_empty_message() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).start();
    let subscriber = cluster
        .node(2)
        .subscribe(&[OVERLAY, "empty", "--format", "json", "--count", "2"]);
    for message in ["", "x"] {
        let args = ["pub", OVERLAY, "empty", message, "--wait-for", "1"];
        let args = [&args[..], &["--confirm", "delivered"]].concat();
        let done = cluster.node(1).verb(&args, WITHIN);
        assert_eq!(done.code, Some(0), "{:.300}", done.err);
    }
    assert_eq!(subscriber.process().wait(WITHIN).unwrap().code(), Some(0));
    let payloads: Vec<_> = subscriber
        .messages()
        .into_iter()
        .map(|m| m.payload)
        .collect();
    assert_eq!(payloads, [Some(String::new()), Some("x".into())]);
}
