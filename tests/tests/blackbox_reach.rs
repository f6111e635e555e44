//! Who gets what: nothing is lost by publishing early, and payload goes to the nodes with a subscriber and to no other.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidings_tests::blackbox::{Cluster, OVERLAY, alone, bad_network, beside_others};
use tidings_tests::lab::Class;

const WITHIN: Duration = Duration::from_secs(90);

macro_rules! needs_lab {
    () => {
        if !tidings_tests::lab::ready() {
            return;
        }
    };
}

/// A file of `count` lines of 100 bytes.
fn lines(cluster: &Cluster, count: usize) -> String {
    let path = cluster.folder().join("lines");
    let text: String = (0..count).map(|i| format!("{i:099}\n")).collect();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_node_that_publishes_as_its_first_act_loses_nothing() {
    needs_lab!();
    let _turn = alone();
    let cluster = Cluster::builder()
        .nodes(5)
        .impairment(bad_network())
        .build();
    cluster.node(1).start();
    cluster.node(2).start();
    cluster.wait_view(&[1, 2], WITHIN);
    // A node on a machine that stands still may give up waiting for its members, and says so: then another one begins.
    let synced = (3..=5).any(|number| publishes_as_its_first_act(&cluster, number));
    assert!(synced, "no node was synced in time");
}

/// Whether the new node knew the subscriptions of all members in time; then nothing may be lost.
fn publishes_as_its_first_act(cluster: &Cluster, number: usize) -> bool {
    let topic = format!("first.act.{number}");
    let subscribers = [1, 2].map(|n| cluster.node(n).subscribe(&[OVERLAY, &topic, "--ordered"]));
    let path = lines(cluster, 1000);
    let daemon = cluster.node(number).start();
    let args = ["pub", OVERLAY, &topic, "--lines", "--file", &path];
    let done = cluster.node(number).verb(
        &[&args[..], &["--confirm", "delivered", "--format", "json"]].concat(),
        WITHIN,
    );
    if daemon.stderr().contains("not synced in time") {
        return false;
    }
    assert_eq!(done.code, Some(0), "{:.300}", done.err);
    let counts = done.json();
    assert_eq!(
        (&counts["owed"], &counts["delivered"]),
        (&2000.into(), &2000.into())
    );
    assert_eq!(counts["unsynced"], false);
    for subscriber in &subscribers {
        let got = std::fs::read(subscriber.output()).unwrap();
        assert!(got == std::fs::read(&path).unwrap(), "{} bytes", got.len());
    }
    true
}

#[test]
fn a_topic_without_subscriber_sends_no_payload() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(3).start();
    // Somebody subscribes to something else.
    let _other = cluster.node(2).subscribe(&[OVERLAY, "other"]);
    let before = cluster.lab().counts();
    let path = lines(&cluster, 5000);
    let args = [
        "pub",
        OVERLAY,
        "nobody",
        "--lines",
        "--file",
        &path,
        "--confirm",
        "delivered",
    ];
    let done = cluster.node(1).verb(&args, WITHIN);
    assert_eq!(done.code, Some(3), "{:.300}", done.err);
    assert!(done.err.contains("no subscriber"));
    std::thread::sleep(Duration::from_millis(500));
    let sent = cluster.lab().counts() - before;
    assert_eq!(sent.class(Class::Fan).sent, 0);
    assert!(
        sent.class(Class::Bulk).sent_payload < 50_000,
        "{:?}",
        sent.class(Class::Bulk)
    );
}

#[test]
fn payload_reaches_the_nodes_with_a_subscriber_only() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(5).start();
    let subscribers = [2, 4].map(|n| cluster.node(n).subscribe(&[OVERLAY, "some.*", "--ordered"]));
    let _other = cluster.node(3).subscribe(&[OVERLAY, "other"]);
    let path = lines(&cluster, 5000);
    let before: Vec<_> = (2..=5)
        .map(|to| cluster.lab().link(1, to).counts())
        .collect();
    let all_before = cluster.lab().counts();
    let args = [
        "pub",
        OVERLAY,
        "some.topic",
        "--lines",
        "--file",
        &path,
        "--confirm",
        "delivered",
    ];
    let done = cluster
        .node(1)
        .verb(&[&args[..], &["--wait-for", "2"]].concat(), WITHIN);
    assert_eq!(done.code, Some(0), "{:.300}", done.err);
    for (to, before) in (2..=5).zip(before) {
        let sent = cluster.lab().link(1, to).counts() - before;
        if [2, 4].contains(&to) {
            assert!(sent.of(Class::Fan | Class::Bulk).sent_payload >= 500_000);
            assert!(sent.class(Class::Fan).sent > 0);
        } else {
            assert_eq!(sent.class(Class::Fan).sent, 0, "to node {to}");
            assert!(
                sent.class(Class::Bulk).sent_payload < 50_000,
                "to node {to}"
            );
        }
    }
    let all = (cluster.lab().counts() - all_before).class(Class::Fan);
    let ours: u64 = [2, 4]
        .iter()
        .map(|&to| cluster.lab().link(1, to).counts().class(Class::Fan).sent)
        .sum();
    assert!(all.sent <= ours, "nobody else sends payload");
    for subscriber in &subscribers {
        let got = std::fs::read(subscriber.output()).unwrap();
        assert!(got == std::fs::read(&path).unwrap(), "{} bytes", got.len());
    }
}

#[test]
fn a_subscriber_on_the_publishers_own_node_receives_and_nothing_is_sent() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).start();
    let subscriber = cluster.node(1).subscribe(&[OVERLAY, "own", "--ordered"]);
    let path = lines(&cluster, 5000);
    let before = cluster.lab().counts();
    let args = [
        "pub",
        OVERLAY,
        "own",
        "--lines",
        "--file",
        &path,
        "--confirm",
        "delivered",
        "--wait-for",
        "1",
    ];
    let done = cluster.node(1).verb(&args, WITHIN);
    assert_eq!(done.code, Some(0), "{:.300}", done.err);
    let got = std::fs::read(subscriber.output()).unwrap();
    assert!(got == std::fs::read(&path).unwrap(), "{} bytes", got.len());
    let sent = cluster.lab().counts() - before;
    assert_eq!(sent.class(Class::Fan).sent, 0);
}

#[test]
fn patterns_choose_topics_across_nodes() {
    needs_lab!();
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(2).start();
    let prefix = cluster.node(2).subscribe(&[OVERLAY, "orders.*"]);
    let exact = cluster.node(2).subscribe(&[OVERLAY, "orders"]);
    let all = cluster.node(2).subscribe(&[OVERLAY, "*"]);
    for (topic, subscriptions) in [
        ("orders", "2"),
        ("orders.new", "2"),
        ("orders.new.big", "2"),
        ("orderspast", "1"),
        ("people", "1"),
    ] {
        let args = [
            "pub",
            OVERLAY,
            topic,
            &format!("{topic};"),
            "--confirm",
            "delivered",
            "--wait-for",
            subscriptions,
        ];
        let done = cluster.node(1).verb(&args, WITHIN);
        assert_eq!(done.code, Some(0), "{topic}: {:.300}", done.err);
    }
    let text = |subscriber: &tidings_tests::blackbox::Subscriber| {
        std::fs::read_to_string(subscriber.output()).unwrap()
    };
    assert_eq!(text(&prefix), "orders.new;orders.new.big;");
    assert_eq!(text(&exact), "orders;");
    assert_eq!(
        text(&all),
        "orders;orders.new;orders.new.big;orderspast;people;"
    );
}
