//! Everything recorded on a link before a restart of one side, the other, or both, is sent again from its old address:
//! nothing of it is accepted, nobody is held dead, and delivery goes on.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use serde_json::Value;
use tidings_tests::blackbox::{
    Cluster, Flood, Junk, OVERLAY, Recorder, Seen, Watcher, alone, beside_others, classes,
    commonest, eventually, figure, replay, wait_owed,
};

const SECOND: Duration = Duration::from_secs(1);
const HELLO: usize = 1;
const PAIR: usize = 2;
const FAN: usize = 4;
/// What a shard drops before any link looks at it.
const DROPS: [&str; 4] = ["drop_header", "drop_overlay", "drop_index", "drop_moved"];

/// What node `at` has counted of its peer `of`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    /// Datagrams that were opened.
    opened: u64,
    /// Links that began.
    links: u64,
    /// Messages that local subscriptions got.
    delivered: u64,
    /// Datagrams refused for any reason, of anybody.
    refused: u64,
    /// Datagrams received, of anybody.
    received: u64,
}

fn counted(cluster: &Cluster, at: usize, of: usize) -> Counted {
    let stats = cluster.node(at).stats();
    let overlay = &stats.value()["overlays"][0];
    let name = format!("n{of}");
    let peers = overlay["peers"].as_array().unwrap();
    let peer = &peers.iter().find(|peer| peer["name"] == *name).unwrap()["counters"];
    let number = |value: &Value| value.as_u64().unwrap();
    let refused = overlay["refused"].as_object().unwrap().values().map(number);
    Counted {
        opened: number(&peer["datagrams_in"]),
        links: number(&peer["links"]),
        delivered: stats.sum("delivered"),
        refused: refused.sum::<u64>() + stats.sum_of(&DROPS),
        received: stats.sum("recv_datagrams"),
    }
}

/// Freezes node `from`; gives what `to` has counted of it when all has arrived.
fn freeze(cluster: &Cluster, from: usize, to: usize) -> Counted {
    cluster.node(from).daemon().stop().unwrap();
    if !cluster.lab().is_bridge() {
        // The switch takes a change after all that was sent.
        cluster.lab().change(|_, _, _| {});
    }
    // What is on its way has arrived when two looks find the same.
    let mut before = counted(cluster, to, from);
    eventually("the frozen node is silent", 20 * SECOND, || {
        std::thread::sleep(Duration::from_millis(100));
        let last = std::mem::replace(&mut before, counted(cluster, to, from));
        last.opened == before.opened
    });
    before
}

/// Sends what was recorded from `from` to `to` again, while `from` is frozen: what `to` accepts from it, it accepts of that.
/// Gives for how long it was frozen.
fn attack(cluster: &Cluster, from: usize, to: usize, frames: &[Vec<u8>]) -> Duration {
    let frozen = Instant::now();
    let before = freeze(cluster, from, to);
    replay(cluster.lab().host(from), frames);
    let kinds = classes(frames);
    // First handshakes are answered without keeping anything; all else must be refused and counted.
    let countable = frames.len() - kinds[HELLO];
    // On a busy machine some are lost where the kernel's queues are short.
    let enough = before.refused + countable as u64 * 3 / 4;
    let began = Instant::now();
    let (mut after, mut grew) = (before, began);
    while began.elapsed() < 20 * SECOND && (after.refused < enough || grew.elapsed() < SECOND / 2) {
        let last = std::mem::replace(&mut after, counted(cluster, to, from));
        if last.refused != after.refused {
            grew = Instant::now();
        }
    }
    cluster.node(from).daemon().cont().unwrap();
    let frozen = frozen.elapsed();
    figure(format_args!(
        "{from} to {to}: {} datagrams again, {} of them handshakes: {} opened, {} refused",
        frames.len(),
        kinds[HELLO],
        after.opened - before.opened,
        after.refused - before.refused
    ));
    assert_eq!(
        (after.opened, after.links, after.delivered),
        (before.opened, before.links, before.delivered),
        "something recorded was accepted"
    );
    assert!(
        after.refused >= enough,
        "{countable} of {}, {kinds:?}: {before:?} {after:?}",
        frames.len()
    );
    frozen
}

fn restart(cluster: &Cluster, numbers: &[usize]) {
    numbers
        .iter()
        .for_each(|&number| cluster.node(number).kill9());
    for &number in numbers {
        cluster.node(number).start();
    }
    cluster.wait_whole(60 * SECOND);
}

/// Publishes numbered messages from node `from` until all are delivered; gives the next number.
fn publish(cluster: &Cluster, from: usize, first: u64, count: u64, copies: &str) -> u64 {
    // Long ones, or a few datagrams would hold them all.
    let lines: Vec<String> = (first..first + count)
        .map(|n| format!("{n:01000}"))
        .collect();
    let file = cluster.folder().join("lines");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let args = [
        "pub",
        OVERLAY,
        "replayed",
        "--file",
        file.to_str().unwrap(),
        "--lines",
        "--confirm",
        "delivered",
        "--wait-for",
        copies,
    ];
    let done = cluster.node(from).verb(&args, 60 * SECOND);
    assert_eq!(done.code, Some(0), "{:.300}", done.err);
    first + count
}

#[test]
fn nothing_recorded_before_a_restart_is_accepted_after_it() {
    if !tidings_tests::lab::ready() {
        return;
    }
    let _turn = beside_others();
    let cluster = Cluster::builder().nodes(3).build();
    let recorders = [(1, 2), (2, 1)]
        .map(|(from, to)| Recorder::between(cluster.lab().host(from), cluster.lab().host(to)));
    cluster.nodes().for_each(|node| drop(node.start()));
    cluster.wait_whole(60 * SECOND);
    let witness = Watcher::of(cluster.node(3), OVERLAY);
    let subscriber = cluster
        .node(3)
        .subscribe(&[OVERLAY, "replayed", "--format", "json"]);
    let mut next = 0;
    for restarted in [&[2][..], &[1], &[1, 2]] {
        // Both sides subscribe and publish, so that every class goes both ways.
        let listening = [1, 2].map(|n| cluster.node(n).subscribe(&[OVERLAY, "replayed"]));
        for from in [1, 2] {
            next = publish(&cluster, from, next, 300, "3");
        }
        drop(listening);
        let recorded = recorders.each_ref().map(Recorder::frames);
        for frames in &recorded {
            let kinds = classes(frames);
            assert!(
                kinds[HELLO] > 0 && kinds[PAIR] > 10 && kinds[FAN] > 200,
                "{kinds:?}"
            );
        }
        restart(&cluster, restarted);
        let before = witness.changes();
        let rejoined = before
            .iter()
            .filter(|(event, _)| event == "member_rejoin")
            .count();
        let frozen = attack(&cluster, 1, 2, &recorded[0]).max(attack(&cluster, 2, 1, &recorded[1]));
        // Being frozen may make a node suspect, and dead after 4 s; nothing more has happened to anybody.
        let mut harmless = vec!["member_quarantine", "member_rejoin"];
        if frozen > 3 * SECOND {
            harmless.push("member_unreachable");
        }
        std::thread::sleep(2 * SECOND);
        let changes = witness.changes();
        let since: Vec<_> = changes[before.len()..]
            .iter()
            .filter(|(event, _)| !harmless.contains(&event.as_str()))
            .collect();
        assert!(since.is_empty(), "{since:?}, {rejoined} before");
        cluster.wait_whole(60 * SECOND);
        next = publish(&cluster, 1, next, 20, "1");
    }
    subscriber.wait_lines(next as usize, 60 * SECOND);
    let messages = subscriber.messages();
    assert_eq!(messages.len() as u64, next, "each came once");
    assert!(
        messages.iter().all(|message| !message.again),
        "{:?}",
        Seen::of(&messages).unflagged
    );
}

#[test]
fn a_replay_as_fast_as_one_core_can_is_refused_and_what_it_costs_is_told() {
    if !tidings_tests::lab::ready() {
        return;
    }
    if let Err(missing) = tidings_tests::lab::bridge_available() {
        tidings_tests::lab::skipped("kernel", &missing);
        return;
    }
    let _turn = alone();
    // A bridge, so that batches arrive as they were sent; host 3 is the attacker.
    let cluster = Cluster::builder().nodes(2).hosts(3).bridge().build();
    let recorder = Recorder::between(cluster.lab().host(1), cluster.lab().host(2));
    cluster.nodes().for_each(|node| drop(node.start()));
    cluster.wait_whole(60 * SECOND);
    let subscriber = cluster.node(2).subscribe(&[OVERLAY, "recorded"]);
    let mut client = cluster.node(1).client();
    let publisher = client.open(OVERLAY, "recorded").unwrap();
    wait_owed(&mut client, publisher, 1);
    // Each alone, or the recorder sees batches: where the machine is held up it takes more of them.
    let mut published = 0;
    let datagrams = loop {
        for _ in 0..200 {
            client.publish(publisher, &[7; 1000]).unwrap();
            client.flush().unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        published += 200;
        subscriber.wait_written(published * 1000, 60 * SECOND);
        // Of the stream: what names the boot of its receiver the kernel drops for the node, at no cost to it.
        let datagrams = commonest(&recorder.frames());
        if datagrams.len() > 100 || published >= 5000 {
            break datagrams;
        }
    };
    drop((subscriber, client));
    assert!(datagrams.len() > 100, "{}", datagrams.len());
    restart(&cluster, &[2]);
    let before = freeze(&cluster, 1, 2);
    let victim = cluster.node(2).daemon();
    let cpu = victim.cpu().unwrap();
    let sent = Flood::run(
        cluster.lab().host(3),
        cluster.node(2).address(),
        &Junk::Again(datagrams),
        2 * SECOND,
    );
    let (after, cpu) = (counted(&cluster, 2, 1), victim.cpu().unwrap() - cpu);
    cluster.node(1).daemon().cont().unwrap();
    let received = after.received - before.received;
    let each = cpu.as_nanos() / u128::from(received.max(1));
    figure(format_args!(
        "{sent} sent in 2 s, {received} received, {each} ns of a core each: 500,000 a second take {} % of a core",
        each * 500_000 / 10_000_000
    ));
    assert!(received > 10_000, "{received} datagrams are no flood");
    assert_eq!(
        (after.opened, after.links, after.delivered),
        (before.opened, before.links, before.delivered),
        "something recorded was accepted"
    );
    assert!(after.refused - before.refused >= received * 9 / 10);
    cluster.wait_whole(60 * SECOND);
}
