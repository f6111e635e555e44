//! Under load: a slow subscriber, a client that holds on to a message, very many topics, floods of junk.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tidings_client::{Client, Event, Order, Outcome, SubscribeOptions};
use tidings_tests::blackbox::{
    Cluster, Flood, Junk, Node, OVERLAY, PORT, Published, Sniffer, Watcher, alone, figure, lasting,
    wait_owed,
};
use tidings_tests::lab::{self, Class};

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

macro_rules! needs_lab {
    () => {
        if !tidings_tests::lab::ready() {
            return;
        }
    };
}

fn ordered() -> SubscribeOptions {
    SubscribeOptions {
        order: Order::Ordered,
        ..SubscribeOptions::default()
    }
}

/// Most memory that a node used, looked at while something runs.
#[derive(Debug, Default)]
struct Peak(AtomicU64);

impl Peak {
    fn look(&self, node: Node<'_>) {
        if let Ok(rss) = node.daemon().rss_bytes() {
            self.0.fetch_max(rss, Relaxed);
        }
    }

    fn mib(&self) -> u64 {
        self.0.load(Relaxed) / MIB
    }
}

/// When after the epoch a message was published, and how long it was under way.
type Latency = (Duration, Duration);

/// Receives and acknowledges at once, and notes how long each message was under way: its payload begins with the
/// nanoseconds since `epoch` at which it was published. Ends after `count` messages.
fn latencies(mut client: Client, epoch: Instant, count: usize, within: Duration) -> Vec<Latency> {
    let mut took = Vec::with_capacity(count);
    let until = Instant::now() + within;
    while took.len() < count {
        let left = until.saturating_duration_since(Instant::now());
        match client.next(Some(left)).unwrap() {
            Some(Event::Messages(messages)) => {
                for payload in messages.payloads {
                    let sent = u64::from_le_bytes(payload[..8].try_into().unwrap());
                    let sent = Duration::from_nanos(sent);
                    took.push((sent, epoch.elapsed() - sent));
                }
                let all = messages.all();
                client.acknowledge(&all);
            }
            Some(Event::Gap { count, reason, .. }) => panic!("{count} missing: {reason}"),
            Some(_) => {}
            None => panic!("{} of {count} messages came", took.len()),
        }
    }
    client.flush().unwrap();
    took
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The 99th percentile of what was published in each second.
fn p99_by_second(times: &[Latency]) -> Vec<Duration> {
    let mut seconds: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
    for (sent, took) in times {
        seconds.entry(sent.as_secs()).or_default().push(*took);
    }
    seconds.values().map(|took| quantile(took, 0.99)).collect()
}

/// Publishes `count` messages of 1 KiB, `rate` a second, open loop; calls `each` a hundred times a second.
fn publish_at(
    client: &mut Client,
    publisher: tidings_client::Publisher,
    epoch: Instant,
    (count, rate): (u32, u32),
    mut each: impl FnMut(),
) -> Published {
    let mut published = Published::default();
    let began = Instant::now();
    let mut payload = [0; 1024];
    for i in 0..count {
        let due = began + SECOND * i / rate;
        if i % (rate / 100).max(1) == 0 {
            client.flush().unwrap();
            each();
            published.watch(client, began, due, |_| false);
        }
        payload[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
        client.publish(publisher, &payload).unwrap();
    }
    client.flush().unwrap();
    published
}

#[test]
fn a_slow_subscriber_delays_nobody_and_memory_stays_bounded() {
    needs_lab!();
    let _turn = alone();
    const RATE: u32 = 2000;
    let cluster = Cluster::builder()
        .nodes(4)
        .overlay_keys("retain = \"32MiB\"")
        .start();
    let seconds = lasting(40 * SECOND, 12 * SECOND).as_secs() as u32;
    let count = RATE * seconds;
    let slow = cluster.node(4).subscribe(&[OVERLAY, "rates", "--ordered"]);
    slow.process().stop().unwrap();
    let epoch = Instant::now();
    let peaks: [Peak; 4] = Default::default();
    let started: Vec<u64> = cluster
        .nodes()
        .map(|n| n.daemon().rss_bytes().unwrap() / MIB)
        .collect();
    std::thread::scope(|scope| {
        let fast = [2, 3].map(|n| {
            let mut client = cluster.node(n).client();
            client.subscribe(OVERLAY, "rates", ordered()).unwrap();
            scope.spawn(move || latencies(client, epoch, count as usize, 120 * SECOND))
        });
        let mut client = cluster.node(1).client();
        let publisher = client.open(OVERLAY, "rates").unwrap();
        wait_owed(&mut client, publisher, 3);
        let began = Instant::now();
        let look = || {
            cluster
                .nodes()
                .zip(&peaks)
                .for_each(|(node, peak)| peak.look(node))
        };
        let mut published = publish_at(&mut client, publisher, epoch, (count, RATE), look);
        let took = began.elapsed();
        assert!(
            took < SECOND * (2 * seconds + 20),
            "{count} messages took {took:?} to publish"
        );
        for times in fast.map(|reader| reader.join().unwrap()) {
            // The machine may stand still in some seconds; a slow subscriber would delay the others in all of them.
            let seconds = p99_by_second(&times);
            let late = quantile(&seconds, 0.5);
            figure(format_args!(
                "the others: p99 of the median second {late:?}"
            ));
            assert!(late < SECOND / 2, "p99 by second {seconds:?}");
        }
        slow.process().cont().unwrap();
        published.watch(&mut client, began, Instant::now() + 60 * SECOND, |all| {
            all.settled() >= 3 * u64::from(count)
        });
        let (delivered, overflow) = (
            published.count(Outcome::Delivered),
            published.count(Outcome::Overflow),
        );
        assert_eq!(
            delivered + overflow,
            3 * u64::from(count),
            "{:?}",
            published.settled()
        );
        let sent_mib = u64::from(count) / 1024;
        assert!(
            overflow == 0 || sent_mib > 16,
            "{overflow} given up of {sent_mib} MiB"
        );
        // What was in the slow client's hands already is written all the same, though it was given up as not known delivered.
        let in_hands = if overflow == 0 { 0 } else { 8 * MIB };
        let (written, least) = (slow.written(), (u64::from(count) - overflow) * 1024);
        assert!(
            (least..=least + in_hands).contains(&written) && written % 1024 == 0,
            "{written} bytes written of at least {least}"
        );
        figure(format_args!(
            "the slow one caught up; {overflow} messages were given up"
        ));
    });
    for ((peak, started), number) in peaks.iter().zip(started).zip(1..) {
        let grown = peak.mib().saturating_sub(started);
        assert!(grown <= 32 + 48, "node {number} grew by {grown} MiB");
        figure(format_args!(
            "node {number}: {started} MiB, at most {} MiB",
            peak.mib()
        ));
    }
}

#[test]
fn a_client_that_holds_one_message_delays_nothing_else() {
    needs_lab!();
    let _turn = alone();
    // Scaled down, it is held for longer than a period of redelivery (5 s) and of detaching (5 s).
    let held_for = lasting(60 * SECOND, 20 * SECOND);
    let cluster = Cluster::builder().nodes(2).start();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbour = cluster.node(2).subscribe(&[OVERLAY, "held", "--ordered"]);
        let mut holder = cluster.node(2).client();
        holder
            .subscribe(OVERLAY, "held", SubscribeOptions::default())
            .unwrap();
        let holder = scope.spawn(|| hold_first(holder, held_for, &over));
        let mut client = cluster.node(1).client();
        let publisher = client.open(OVERLAY, "held").unwrap();
        wait_owed(&mut client, publisher, 2);
        let began = Instant::now();
        let mut published = Published::default();
        let count = 50 * held_for.as_secs();
        for seq in 0..count {
            client
                .publish(publisher, format!("{seq:07}\n").as_bytes())
                .unwrap();
            client.flush().unwrap();
            let next = began + Duration::from_millis(20) * (seq as u32 + 1);
            published.watch(&mut client, began, next, |_| false);
        }
        // What is acknowledged has been written.
        published.watch(&mut client, began, Instant::now() + 30 * SECOND, |_| {
            neighbour.written() == 8 * count
        });
        assert_eq!(neighbour.written(), 8 * count, "the neighbour got all");
        published.watch(&mut client, began, began + held_for + 60 * SECOND, |all| {
            all.settled() == 2 * count
        });
        over.store(true, Relaxed);
        let copies = holder.join().unwrap();
        assert_eq!(published.count(Outcome::Delivered), 2 * count);
        let mut late = Duration::ZERO;
        for (seq, outcomes) in &published.outcomes {
            assert_eq!(outcomes.len(), 2, "message {seq}");
            let due = Duration::from_millis(20) * *seq as u32;
            let slowest = outcomes
                .iter()
                .map(|(_, at)| at.saturating_sub(due))
                .max()
                .unwrap();
            if *seq == 0 {
                assert!(
                    slowest >= held_for,
                    "the held one was acknowledged after {slowest:?}"
                );
            } else {
                late = late.max(slowest);
            }
        }
        // One that had to wait for the held one would be late by nearly all of that time.
        assert!(
            late < held_for / 2,
            "another message was acknowledged {late:?} late"
        );
        figure(format_args!(
            "one held for {held_for:?}; the slowest other took {late:?}; {copies} copies of the held one"
        ));
        assert_eq!(copies, 1, "within one session nothing comes twice");
    });
}

/// Acknowledges everything at once but the first message, which it holds; gives how often that one came.
fn hold_first(mut client: Client, held_for: Duration, over: &AtomicBool) -> u32 {
    let mut held = None;
    let mut copies = 0;
    while !over.load(Relaxed) {
        if let Some(Event::Messages(messages)) = client.next(Some(SECOND / 20)).unwrap() {
            let mut acks = Vec::new();
            for at in 0..messages.payloads.len() as u64 {
                let one = messages.nth(at);
                if messages.seq + at == 0 {
                    copies += 1;
                    held = Some((one, Instant::now()));
                } else {
                    acks.push(one);
                }
            }
            acks.iter().for_each(|one| client.acknowledge(one));
            client.flush().unwrap();
        }
        if let Some((one, _)) = held.take_if(|(_, since)| since.elapsed() >= held_for) {
            client.acknowledge(&one);
            client.flush().unwrap();
        }
    }
    copies
}

#[test]
fn a_hundred_thousand_topics_share_datagrams_and_take_little_memory() {
    needs_lab!();
    let _turn = alone();
    const TOPICS: u64 = 100_000;
    let cluster = Cluster::builder().start();
    let started: Vec<u64> = cluster
        .nodes()
        .map(|n| n.daemon().rss_bytes().unwrap())
        .collect();
    let peaks: [Peak; 3] = Default::default();
    let before = [2, 3].map(|to| cluster.lab().link(1, to).counts().class(Class::Fan));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let readers = [2, 3].map(|n| {
            let mut client = cluster.node(n).client();
            client
                .subscribe(OVERLAY, "many.*", SubscribeOptions::default())
                .unwrap();
            scope.spawn(move || count_messages(client, TOPICS))
        });
        let mut client = cluster.node(1).client();
        let publishers: Vec<_> = (0..TOPICS)
            .map(|i| {
                client
                    .begin_open(OVERLAY, &format!("many.topic.{i:06}"))
                    .unwrap()
            })
            .collect();
        let mut published = Published::default();
        for (i, publisher) in publishers.into_iter().enumerate() {
            client.publish(publisher, &[i as u8; 64]).unwrap();
            if i % 4096 == 0 {
                cluster
                    .nodes()
                    .zip(&peaks)
                    .for_each(|(node, peak)| peak.look(node));
                let soon = Instant::now() + Duration::from_millis(1);
                published.watch(&mut client, began, soon, |_| false);
            }
        }
        client.flush().unwrap();
        // Outcomes of different publishers share their numbers, so they are counted, not looked at.
        published.watch(&mut client, began, began + 90 * SECOND, |all| {
            all.accepted == TOPICS && all.settled() >= all.owed
        });
        assert_eq!((published.accepted, published.owed), (TOPICS, 2 * TOPICS));
        assert_eq!(published.count(Outcome::Delivered), 2 * TOPICS);
        cluster
            .nodes()
            .zip(&peaks)
            .for_each(|(node, peak)| peak.look(node));
        for reader in readers {
            drop(reader.join().unwrap());
        }
    });
    for (to, before) in [2, 3].into_iter().zip(before) {
        let sent = (cluster.lab().link(1, to).counts().class(Class::Fan) - before).sent;
        let each = TOPICS as f64 / sent as f64;
        assert!(each >= 8.0, "{each:.1} messages per datagram to node {to}");
        figure(format_args!("{each:.1} messages per datagram to node {to}"));
    }
    for ((peak, started), number) in peaks.iter().zip(started).zip(1..) {
        let grown = peak.mib().saturating_sub(started / MIB);
        assert!(grown <= 64, "node {number} grew by {grown} MiB");
        figure(format_args!("node {number} grew by {grown} MiB"));
    }
    figure(format_args!("took {:.1} s", began.elapsed().as_secs_f64()));
}

fn count_messages(mut client: Client, wanted: u64) -> Client {
    let (mut count, until) = (0, Instant::now() + 90 * SECOND);
    while count < wanted {
        let left = until.saturating_duration_since(Instant::now());
        match client.next(Some(left)).unwrap() {
            Some(Event::Messages(messages)) => {
                assert!(
                    messages
                        .payloads
                        .into_iter()
                        .all(|payload| payload.len() == 64)
                );
                count += messages.payloads.len() as u64;
                let all = messages.all();
                client.acknowledge(&all);
            }
            Some(Event::Gap { count, reason, .. }) => panic!("{count} missing: {reason}"),
            Some(_) => {}
            None => panic!("{count} of {wanted} messages came"),
        }
    }
    client.flush().unwrap();
    let until = Instant::now() + SECOND;
    while Instant::now() < until {
        let _ = client.next(Some(SECOND / 10));
    }
    client
}

/// Bytes of the header of each class.
const HEADERS: [(Class, usize); 4] = [
    (Class::Hello, 64),
    (Class::Pair, 16),
    (Class::Bulk, 16),
    (Class::Fan, 32),
];

#[test]
fn floods_of_junk_kill_nobody_stop_nothing_and_take_no_memory() {
    needs_lab!();
    if let Err(missing) = lab::bridge_available() {
        lab::skipped("kernel", &missing);
        return;
    }
    let _turn = alone();
    // A bridge, so that the batches arrive as they were sent; host 4 is the attacker.
    let cluster = Cluster::builder().hosts(4).bridge().build();
    let target = cluster.node(2);
    let sniffers = HEADERS.map(|_| Sniffer::on(target.host()));
    for node in cluster.nodes() {
        node.start();
    }
    cluster.wait_whole(60 * SECOND);
    let subscribers = [2, 3].map(|n| cluster.node(n).subscribe(&[OVERLAY, "under.fire"]));
    let mut client = cluster.node(1).client();
    let publisher = client.open(OVERLAY, "under.fire").unwrap();
    wait_owed(&mut client, publisher, 2);
    let mut total = publish_under_fire(&mut client, publisher, SECOND);

    let mut junk = vec![(String::from("random bytes"), Junk::Random)];
    for (class, _) in HEADERS {
        junk.push((
            format!("class {class}, random"),
            Junk::FirstByte(0x10 | class as u8),
        ));
    }
    for ((class, size), sniffer) in HEADERS.into_iter().zip(&sniffers) {
        let seen = sniffer.next(class as u8, PORT, 20 * SECOND);
        let header =
            seen.unwrap_or_else(|| panic!("no {class} datagram was seen"))[..size].to_vec();
        junk.push((
            format!("a real header of class {class}"),
            Junk::Header(header),
        ));
    }
    drop(sniffers);
    // Probes made, and those without an answer.
    let probes = || {
        let all = cluster.nodes().map(|node| node.stats());
        let each = all.map(|stats| (stats.sum("probes"), stats.sum("probes_failed")));
        each.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    };
    let watchers = [1, 2, 3].map(|n| Watcher::of(cluster.node(n), OVERLAY));
    let deaths = || -> usize {
        let all = watchers.iter().flat_map(Watcher::changes);
        all.filter(|(event, _)| event == "member_unreachable")
            .count()
    };
    let before = target.daemon().rss_bytes().unwrap();
    // Deaths that were judged: one that is found out between two floods counts for the second.
    let mut judged = 0;
    for (name, junk) in &junk {
        let lasts = lasting(10 * SECOND, SECOND);
        let host = cluster.lab().host(4);
        let mut tries = Vec::new();
        // Where the machine stands still, probes fail without any junk, but not each time.
        let unharmed = (0..3).any(|_| {
            cluster.wait_whole(60 * SECOND);
            let (made_before, failed_before) = probes();
            let (published, sent) = Flood::during(host, target.address(), junk, || {
                publish_under_fire(&mut client, publisher, lasts)
            });
            let rss = target.daemon().rss_bytes().unwrap();
            let grown = rss.saturating_sub(before) / MIB;
            let (made, failed) = probes();
            let (made, failed) = (made - made_before, failed - failed_before);
            figure(format_args!(
                "{name}: {sent} datagrams, {published} messages delivered, +{grown} MiB; {made} probes, {failed} unanswered"
            ));
            assert!(sent > 10_000, "{sent} datagrams are no flood");
            assert!(grown <= 16, "{name}: memory grew by {grown} MiB");
            total += published;
            let all = deaths();
            let died = all - std::mem::replace(&mut judged, all);
            tries.push(format!("{died} held dead, {failed} of {made} unanswered"));
            died == 0 && made > 0 && 100 * failed <= made
        });
        assert!(unharmed, "{name}: {tries:?}");
    }
    for subscriber in &subscribers {
        assert_eq!(subscriber.written(), 8 * total);
    }
    assert!(cluster.nodes().all(|node| node.daemon().is_running()));
}

/// Publishes 200 messages a second for `lasts` and waits until all are delivered to both; gives their number.
fn publish_under_fire(
    client: &mut Client,
    publisher: tidings_client::Publisher,
    lasts: Duration,
) -> u64 {
    let began = Instant::now();
    let mut published = Published::default();
    let mut count = 0;
    while began.elapsed() < lasts {
        client.publish(publisher, b"a line.\n").unwrap();
        client.flush().unwrap();
        count += 1;
        published.watch(
            client,
            began,
            began + Duration::from_millis(5) * count,
            |_| false,
        );
    }
    let count = u64::from(count);
    published.watch(client, began, began + lasts + 60 * SECOND, |all| {
        all.accepted == count && all.settled() >= all.owed
    });
    assert_eq!((published.accepted, published.owed), (count, 2 * count));
    assert_eq!(
        published.count(Outcome::Delivered),
        2 * count,
        "delivery goes on under fire"
    );
    count
}
