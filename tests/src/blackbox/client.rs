//! Publishing through the client library, with the time of each outcome.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidings_client::{Client, Event, Outcome, Publisher};

/// What became of messages that one publisher published.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Subscriptions owed, summed over the messages.
    pub owed: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages that the node accepted before it knew all subscriptions.
    pub unsynced: u64,
    /// Outcomes by seq: what, and when after the first publish.
    pub outcomes: BTreeMap<u64, Vec<(Outcome, Duration)>>,
}

impl Published {
    /// How many outcomes there are.
    pub fn settled(&self) -> u64 {
        self.outcomes.values().map(|all| all.len() as u64).sum()
    }

    /// How many outcomes are `wanted`.
    pub fn count(&self, wanted: Outcome) -> u64 {
        let all = self.outcomes.values().flatten();
        all.filter(|(outcome, _)| *outcome == wanted).count() as u64
    }

    /// Takes events in until `until`, or until `enough`.
    ///
    /// # Panics
    /// If the daemon refuses something or is lost.
    #[track_caller]
    pub fn watch(
        &mut self,
        client: &mut Client,
        began: Instant,
        until: Instant,
        enough: impl Fn(&Published) -> bool,
    ) {
        while !enough(self) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match client.next(Some(left)).expect("a daemon") {
                Some(Event::Accepted {
                    count,
                    owed,
                    unsynced,
                    ..
                }) => {
                    self.accepted += u64::from(count);
                    self.owed += u64::from(count) * u64::from(owed);
                    self.unsynced += if unsynced { u64::from(count) } else { 0 };
                }
                Some(Event::Outcome {
                    from,
                    count,
                    outcome,
                    ..
                }) => {
                    for seq in from..from + u64::from(count) {
                        let at = began.elapsed();
                        self.outcomes.entry(seq).or_default().push((outcome, at));
                    }
                }
                Some(Event::Refused { code, text }) => panic!("refused: {code} {text}"),
                Some(Event::Lost { why }) => panic!("the daemon is lost: {why}"),
                _ => {}
            }
        }
    }
}

/// Publishes and waits until every message is accepted and every outcome that is owed has come, or for `within`.
///
/// # Panics
/// If the daemon refuses something or is lost.
#[track_caller]
pub fn publish_all<'a>(
    client: &mut Client,
    publisher: Publisher,
    payloads: impl Iterator<Item = &'a [u8]>,
    within: Duration,
) -> Published {
    let began = Instant::now();
    let mut published = Published::default();
    let mut count = 0;
    for payload in payloads {
        client.publish(publisher, payload).expect("it is published");
        count += 1;
    }
    client.flush().expect("it is sent");
    published.watch(client, began, began + within, |all| {
        all.accepted == count && all.settled() >= all.owed
    });
    published
}

/// Waits until the node of `client` knows `count` subscriptions of the topic: what is published then is owed to all of them.
///
/// # Panics
/// If it does not in a minute.
#[track_caller]
pub fn wait_owed(client: &mut Client, publisher: Publisher, count: u32) {
    let what = format!("{count} subscriptions");
    super::eventually(&what, Duration::from_secs(60), || {
        client.owed(publisher).expect("a daemon") == count
    });
}
