//! Samples of the counters of overlays, from which the service tells what happened within the last minutes, hours or day. In
//! memory only, in rings that are coarser the farther they reach back; `limits` says how much they take.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tidings_engine::latency::BUCKETS;
use tidings_engine::{NodeId, OverlayId, OverlayStats};

use super::limits::{RINGS, SAMPLED_OVERLAYS};
use super::packed::Packed;

/// The windows, by name; none: since the overlay started.
pub const WINDOWS: [(&str, Option<Duration>); 9] = [
    ("total", None),
    ("1d", Some(Duration::from_secs(86_400))),
    ("12h", Some(Duration::from_secs(12 * 3_600))),
    ("6h", Some(Duration::from_secs(6 * 3_600))),
    ("3h", Some(Duration::from_secs(3 * 3_600))),
    ("1h", Some(Duration::from_secs(3_600))),
    ("30m", Some(Duration::from_secs(1_800))),
    ("10m", Some(Duration::from_secs(600))),
    ("1m", Some(Duration::from_secs(60))),
];

/// What is counted, in the order of a sample. Messages and bytes published here; handed to subscriptions here; (message,
/// subscription) pairs of messages published here that were acknowledged, failed, or offered again; datagrams to and from others.
pub const COUNTED: [&str; 11] = [
    "messages_published",
    "bytes_published",
    "messages_delivered",
    "bytes_delivered",
    "deliveries_acknowledged",
    "deliveries_failed",
    "redeliveries",
    "datagrams_out",
    "bytes_out",
    "datagrams_in",
    "bytes_in",
];

type Counted = [u64; COUNTED.len()];

/// Traffic with one peer: datagrams and bytes out, datagrams and bytes in.
type Traffic = [u64; 4];

/// What happened within a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Within {
    /// How long it is in truth.
    pub covers: Duration,
    /// Whether that is all that was asked for.
    pub is_complete: bool,
    /// In the order of [`COUNTED`].
    pub counts: Counted,
    /// Deliveries by age, as [`tidings_engine::latency::Latency`] counts them.
    pub latencies: [u64; BUCKETS],
}

#[derive(Clone, Debug)]
struct Sample {
    /// Since the node started.
    at: Duration,
    counts: Counted,
    /// Deliveries by age, shared with the sample before if there was none since.
    latencies: Packed,
}

impl Sample {
    fn zero(at: Duration) -> Self {
        Self {
            at,
            counts: [0; COUNTED.len()],
            latencies: Packed::default(),
        }
    }
}

/// The sum in `limits` is of this.
const _: () = assert!(size_of::<Sample>() == 120);

/// One overlay.
struct Sampled {
    /// From the finest to the coarsest.
    rings: [VecDeque<Sample>; RINGS.len()],
    /// Samples so far.
    count: u64,
    /// The first of all.
    since: Duration,
    /// What each peer's counters said last: a link that ends takes its counters with it.
    peers: HashMap<NodeId, Traffic>,
    traffic: Traffic,
    /// The last sample's.
    last: Counted,
    /// The last sample's.
    latencies: Packed,
}

/// All overlays.
#[derive(Default)]
pub struct Windows {
    overlays: HashMap<OverlayId, Sampled>,
    /// When the last samples were taken.
    sampled: Duration,
}

impl Windows {
    /// Takes a sample of every overlay at `now`, and forgets those that are gone.
    pub fn sample(&mut self, overlays: &[OverlayStats], now: Duration) {
        let is_here = |id: &OverlayId| overlays.iter().any(|stats| stats.id == *id);
        self.overlays.retain(|id, _| is_here(id));
        for stats in overlays.iter().take(SAMPLED_OVERLAYS) {
            let since = self.sampled;
            let overlay = self
                .overlays
                .entry(stats.id)
                .or_insert_with(|| Sampled::new(since));
            if overlay.is_of_another_life(stats) {
                *overlay = Sampled::new(since);
            }
            overlay.take(stats, now);
        }
        self.sampled = now;
    }

    /// What happened to the overlay of `stats`, which were asked for at `now`, within the last `window`. Changes nothing: others ask at
    /// the same time, and their answers come in any order.
    pub fn within(&self, stats: &OverlayStats, now: Duration, window: Option<Duration>) -> Within {
        match self.overlays.get(&stats.id) {
            // A sample came meanwhile: either may be the newer one.
            Some(overlay) if now <= self.sampled => {
                let mut counts = overlay.last;
                for (count, other) in counts.iter_mut().zip(core(stats)) {
                    *count = other.max(*count);
                }
                let mut latencies = *stats.latency.counts();
                for (bucket, other) in overlay.latencies.unpack() {
                    if let Some(count) = latencies.get_mut(bucket) {
                        *count = other.max(*count);
                    }
                }
                overlay.within(self.sampled, counts, &latencies, window)
            }
            Some(overlay) if !overlay.is_of_another_life(stats) => {
                overlay.within(now, overlay.count(stats), stats.latency.counts(), window)
            }
            None if self.overlays.len() >= SAMPLED_OVERLAYS => {
                Sampled::new(now).within(now, [0; COUNTED.len()], &[0; BUCKETS], window)
            }
            _ => {
                let new = Sampled::new(self.sampled);
                new.within(now, new.count(stats), stats.latency.counts(), window)
            }
        }
    }
}

/// What is counted but for the traffic.
fn core(stats: &OverlayStats) -> [u64; COUNTED.len() - 4] {
    let (publish, receive) = (&stats.publish, &stats.receive);
    [
        publish.accepted,
        publish.accepted_bytes,
        receive.delivered,
        receive.delivered_bytes,
        publish.delivered,
        publish.failed,
        publish.redeliveries,
    ]
}

/// The traffic with those peers with whom there was any.
fn traffic(stats: &OverlayStats) -> impl Iterator<Item = (NodeId, Traffic)> {
    let each = stats.peers.iter().map(|peer| {
        let counters = &peer.counters;
        let traffic = [
            counters.datagrams_out,
            counters.bytes_out,
            counters.datagrams_in,
            counters.bytes_in,
        ];
        (peer.node, traffic)
    });
    each.filter(|(_, traffic)| *traffic != [0; 4])
}

impl Sampled {
    /// An overlay that started at `since`: nothing had happened by then.
    fn new(since: Duration) -> Self {
        let mut new = Self {
            rings: Default::default(),
            count: 0,
            since,
            peers: HashMap::new(),
            traffic: [0; 4],
            last: [0; COUNTED.len()],
            latencies: Packed::default(),
        };
        new.push(Sample::zero(since));
        new
    }

    /// Whether `stats`, which are newer than the last sample, are of a life of the overlay that began since: one count is less.
    fn is_of_another_life(&self, stats: &OverlayStats) -> bool {
        core(stats)
            .iter()
            .zip(&self.last)
            .any(|(now, last)| now < last)
    }

    /// The counts of `stats`, which are newer than the last sample.
    fn count(&self, stats: &OverlayStats) -> Counted {
        let mut sums = self.traffic;
        for (node, now) in traffic(stats) {
            let last = self.peers.get(&node).copied().unwrap_or_default();
            for ((sum, now), last) in sums.iter_mut().zip(now).zip(last) {
                // Less than before: a new link, which began at 0.
                *sum += now.checked_sub(last).unwrap_or(now);
            }
        }
        let mut counts = [0; COUNTED.len()];
        let all = core(stats).into_iter().chain(sums);
        for (count, value) in counts.iter_mut().zip(all) {
            *count = value;
        }
        counts
    }

    /// Makes a sample of `stats`, which are of `now`.
    fn take(&mut self, stats: &OverlayStats, now: Duration) {
        let counts = self.count(stats);
        let [.., datagrams_out, bytes_out, datagrams_in, bytes_in] = counts;
        self.traffic = [datagrams_out, bytes_out, datagrams_in, bytes_in];
        // The engine lists them in the order of their ids.
        let is_here = |node: &NodeId| stats.peers.binary_search_by_key(node, |peer| peer.node);
        self.peers.retain(|node, _| is_here(node).is_ok());
        self.peers.extend(traffic(stats));
        self.last = counts;
        self.latencies = self.latencies.or_pack(stats.latency.counts());
        self.push(Sample {
            at: now,
            counts,
            latencies: self.latencies.clone(),
        });
    }

    fn push(&mut self, sample: Sample) {
        for (ring, (every, length)) in self.rings.iter_mut().zip(RINGS) {
            if self.count.is_multiple_of(every) {
                if ring.len() == length {
                    ring.pop_front();
                }
                ring.push_back(sample.clone());
            }
        }
        self.count += 1;
    }

    fn within(
        &self,
        now: Duration,
        counts: Counted,
        latencies: &[u64; BUCKETS],
        window: Option<Duration>,
    ) -> Within {
        let beginning = window.map_or(Duration::ZERO, |window| now.saturating_sub(window));
        let all = self.rings.iter().flatten();
        let nearest = all.min_by_key(|sample| sample.at.abs_diff(beginning));
        let from = match (window, nearest) {
            (Some(_), Some(nearest)) => nearest,
            _ => &Sample::zero(self.since),
        };
        let covers = now.saturating_sub(from.at);
        let mut since = counts;
        for (count, before) in since.iter_mut().zip(from.counts) {
            *count = count.saturating_sub(before);
        }
        let mut ages = *latencies;
        for (bucket, before) in from.latencies.unpack() {
            if let Some(count) = ages.get_mut(bucket) {
                *count = count.saturating_sub(before);
            }
        }
        Within {
            covers,
            is_complete: window.is_none_or(|window| now.saturating_sub(self.since) >= window),
            counts: since,
            latencies: ages,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_engine::latency::Latency;
    use tidings_engine::{PeerCounters, PeerStats, SyncStage};

    use super::*;

    const STEP: Duration = Duration::from_secs(10);

    fn stats(accepted: u64, datagrams: u64) -> OverlayStats {
        let mut stats = OverlayStats {
            id: OverlayId::from_name("news"),
            name: "news".to_owned(),
            shard: 0,
            members: 2,
            found: 0,
            synced: true,
            sync: SyncStage::Synced,
            ports: 0,
            bytes: (0, 0),
            store_limit: 9,
            streams: (0, 0),
            subscriptions: (0, 0),
            membership: Default::default(),
            publish: Default::default(),
            latency: Default::default(),
            receive: Default::default(),
            refusals: Default::default(),
            peers: vec![PeerStats {
                node: NodeId([1; 16]),
                address: None,
                rtt: None,
                rtt_min: None,
                window: (0, 0),
                datagram: 0,
                queued: (0, 0),
                counters: PeerCounters::default(),
            }],
        };
        stats.publish.accepted = accepted;
        stats.peers[0].counters.datagrams_out = datagrams;
        stats
    }

    /// One message a second for so many samples.
    fn steady(samples: u32) -> (Windows, Duration) {
        let (mut windows, mut now) = (Windows::default(), Duration::ZERO);
        for _ in 0..samples {
            windows.sample(&[stats(now.as_secs(), now.as_secs())], now);
            now += STEP;
        }
        (windows, now)
    }

    #[test]
    fn each_window_tells_what_happened_within_it() {
        let (windows, now) = steady(9_000);
        let current = stats(now.as_secs(), now.as_secs());
        for (name, window) in WINDOWS {
            let within = windows.within(&current, now, window);
            let wanted = window.unwrap_or(now);
            let off = within.covers.abs_diff(wanted);
            // The samples that reach so far back are 10 min apart at most.
            assert!(
                off <= wanted / 6 && off <= Duration::from_secs(300),
                "{name}: {off:?}"
            );
            assert!(within.is_complete, "{name}");
            assert_eq!(within.counts[0], within.covers.as_secs(), "{name}");
            assert_eq!(within.counts[7], within.covers.as_secs(), "{name}");
        }
        let rings = windows.overlays.values().flat_map(|overlay| &overlay.rings);
        let kept: usize = rings.map(VecDeque::len).sum();
        assert_eq!(kept, RINGS.iter().map(|(_, length)| length).sum::<usize>());
    }

    #[test]
    fn latencies_are_those_of_the_window() {
        let (mut windows, mut now) = (Windows::default(), Duration::ZERO);
        let mut latency = Latency::default();
        // 5 min of quick deliveries, then 5 of slow ones, then none.
        for sample in 0..90 {
            let mut current = stats(now.as_secs(), 0);
            *current.latency = latency.clone();
            windows.sample(&[current], now);
            match sample {
                0..30 => latency.record(50_000, 100),
                30..60 => latency.record(8_000_000, 100),
                _ => {}
            }
            now += STEP;
        }
        let mut current = stats(now.as_secs(), 0);
        *current.latency = latency;
        let median = |window| {
            let within = windows.within(&current, now, window);
            let all: u64 = within.latencies.iter().sum();
            (all, Latency::quantile(&within.latencies, 0.5))
        };
        assert_eq!(median(Some(Duration::from_secs(60))), (0, None));
        let (all, last) = median(Some(Duration::from_secs(600)));
        assert_eq!(all, 3_000);
        assert!(last.is_some_and(|ns| (8_000_000..=9_000_000).contains(&ns)));
        let (all, first) = median(None);
        assert_eq!(all, 6_000);
        assert!(first.is_some_and(|ns| (50_000..=60_000).contains(&ns)));
    }

    #[test]
    fn a_window_longer_than_the_overlays_life_says_so() {
        let (windows, now) = steady(7);
        let current = stats(now.as_secs(), 0);
        let hour = windows.within(&current, now, Some(Duration::from_secs(3_600)));
        assert_eq!((hour.covers, hour.is_complete), (now, false));
        let minute = windows.within(&current, now, Some(Duration::from_secs(60)));
        assert_eq!(minute.covers.as_secs(), 60);
        assert!(minute.is_complete);
    }

    #[test]
    fn an_overlay_that_starts_again_begins_at_nothing_and_links_that_end_take_no_traffic_with_them()
    {
        let (mut windows, now) = steady(7);
        // A new link to the same peer.
        let linked = windows.within(&stats(now.as_secs(), 5), now, None);
        assert_eq!(linked.counts[7], 60 + 5);
        let again = windows.within(&stats(1, 1), now, None);
        assert_eq!((again.counts[0], again.covers), (1, STEP));
        windows.sample(&[], now);
        assert!(windows.overlays.is_empty());
    }

    /// What two requests ask for at the same time is answered in any order, before or after a sample.
    #[test]
    fn answers_in_the_wrong_order_reset_nothing_and_double_nothing() {
        let (mut windows, now) = steady(7);
        let (older, newer) = (stats(72, 72), stats(75, 75));
        let told = |within: Within| (within.counts[0], within.counts[7], within.covers);
        for current in [&newer, &older] {
            let at = Duration::from_secs(current.publish.accepted);
            let within = told(windows.within(current, at, None));
            assert_eq!(within, (at.as_secs(), at.as_secs(), at));
        }
        let sampled = Duration::from_secs(80);
        windows.sample(&[stats(80, 80)], sampled);
        // Asked for before the sample, told after it, of a link that ended meanwhile.
        let mut ended = older.clone();
        ended.peers[0].node = NodeId([0; 16]);
        for late in [&older, &ended, &newer] {
            let within = told(windows.within(late, now, None));
            assert_eq!(within, (80, 80, sampled));
            let minute = windows.within(late, now, Some(Duration::from_secs(60)));
            assert_eq!(told(minute), (60, 60, Duration::from_secs(60)));
        }
        // Asked for before the sample was told, answered after it was taken.
        let within = told(windows.within(&stats(81, 81), now, None));
        assert_eq!(within, (81, 80, sampled));
        let end = Duration::from_secs(90);
        windows.sample(&[stats(90, 90)], end);
        let within = windows.within(&stats(95, 95), Duration::from_secs(95), None);
        assert_eq!(told(within), (95, 95, Duration::from_secs(95)));
    }

    #[test]
    fn a_sample_of_another_life_begins_anew() {
        let (mut windows, now) = steady(7);
        windows.sample(&[stats(0, 0)], now);
        let later = now + STEP;
        let within = windows.within(&stats(3, 4), later, None);
        assert_eq!((within.counts[0], within.counts[7]), (3, 4));
        // It began after the last sample of the life before.
        assert_eq!(within.covers, 2 * STEP);
        let hour = windows.within(&stats(3, 4), later, Some(Duration::from_secs(3_600)));
        assert_eq!((hour.counts[0], hour.is_complete), (3, false));
    }
}
