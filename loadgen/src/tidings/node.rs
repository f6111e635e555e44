//! The embedded node of one side.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidings_engine::{Engine, KeyRecord, Keyring, OverlayConfig, OverlayId, Poll, Seed, Suite};

use super::OVERLAY;
use crate::error::{Error, While};
use crate::plan::{Place, Plan, PollChoice, Side};

/// No secret: whoever runs the other side needs the same.
const KEY: [u8; 32] = *b"tidings-loadgen: not a secret...";

/// The key of a run's overlay: AES-256-GCM.
pub(crate) fn keyring() -> Result<Keyring, Error> {
    let record = KeyRecord::new(0, Suite::Aes256Gcm, KEY);
    Keyring::new(OverlayId::from_name(OVERLAY), vec![record], 0).during("make the key")
}

/// How long subscribers may take to be known.
const MEET: Duration = Duration::from_secs(15);

fn polling(choice: PollChoice) -> Poll {
    match choice {
        PollChoice::Off => Poll::Off,
        PollChoice::Adaptive => Poll::Adaptive,
        PollChoice::Micros(micros) => Poll::For(Duration::from_micros(micros)),
    }
}

/// A node and its one overlay.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) overlay: OverlayId,
}

impl Node {
    /// Starts it.
    pub(crate) fn start(plan: &Plan, place: &Place, side: Side) -> Result<Self, Error> {
        let mut builder = Engine::builder()
            .name(match side {
                Side::Publishing => "publisher",
                Side::Subscribing => "subscriber",
            })
            .bind(place.bind)
            .shards(1);
        if let Some(cpu) = plan.cpu(side) {
            builder = builder.cpus([cpu]);
        }
        if let Some(poll) = plan.poll {
            builder = builder.poll(polling(poll));
        }
        let engine = builder.start().during("start a node")?;
        let mut config =
            OverlayConfig::new(OVERLAY, keyring()?).join(place.join.map(Seed::Address));
        if let Some(bytes) = plan.max_datagram {
            config.policy.max_datagram = bytes;
        }
        let overlay = engine.add_overlay(config).during("start the overlay")?;
        Ok(Self { engine, overlay })
    }

    /// Waits until it knows the run's subscribers.
    pub(crate) fn wait_for_subscribers(&self, plan: &Plan) -> Result<(), Error> {
        let deadline = Instant::now() + MEET;
        let (topic, expected) = (plan.topic(0), plan.expected() as u32);
        while self.engine.owed(self.overlay, &topic).during("meet")? < expected {
            if Instant::now() >= deadline {
                return Err(Error::Late(
                    "the publisher's node learns of the subscribers",
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Where it can be joined.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.engine.local_addr()
    }

    /// Counters of its shard and overlay, those that are not zero.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let Ok(stats) = self.engine.stats() else {
            return Vec::new();
        };
        let shards = stats.shards.iter().flat_map(|shard| {
            let counters = shard.counters.each();
            counters.map(|(name, _, value)| (name.to_owned(), value))
        });
        let overlays = stats.overlays.iter().flat_map(|overlay| {
            let publish = &overlay.publish;
            let named = [
                ("would_block", publish.would_block),
                ("repairs", publish.repairs),
                ("lost", publish.lost),
                ("spurious", publish.spurious),
                ("catchup", publish.catchup),
                ("behind", publish.behind),
                ("missed", overlay.receive.missed),
                ("held", overlay.receive.held),
            ];
            let refusals = overlay.refusals.iter();
            let refused = refusals.map(|(name, value)| (format!("refused_{name}"), value));
            let named = named.into_iter();
            named
                .map(|(name, value)| (name.to_owned(), value))
                .chain(refused.collect::<Vec<_>>())
        });
        let all = shards.chain(overlays);
        all.filter(|(_, value)| *value > 0).collect()
    }
}
