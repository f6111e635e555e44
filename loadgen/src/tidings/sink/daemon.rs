//! A subscriber that is a client of a daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_client::{Client, Event, Options, Order, SubscribeOptions};

use crate::error::{Error, While};
use crate::plan::{Place, Plan};
use crate::system::Sink;
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::OVERLAY;

/// How often the reader looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Daemon {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Result<Tallied, Error>>,
}

/// Ordered if the plan says so, the defaults otherwise.
pub(crate) fn subscribe_options(plan: &Plan) -> SubscribeOptions {
    SubscribeOptions {
        order: if plan.ordered {
            Order::Ordered
        } else {
            Order::Unordered
        },
        ..SubscribeOptions::default()
    }
}

impl Daemon {
    pub(crate) fn start(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Self, Error> {
        let socket = place.socket()?;
        let mut client = Client::connect(Options::new(socket)).during("attach to the daemon")?;
        client
            .subscribe(OVERLAY, &plan.pattern(), subscribe_options(plan))
            .during("subscribe")?;
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let tally = Tally::new(plan, place, Arc::clone(&seen));
        let reader = thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(move || read(client, tally, &seen, &over))
            .during("start the reader")?;
        Ok(Self { stop, reader })
    }
}

fn read(
    mut client: Client,
    mut tally: Tally,
    seen: &Seen,
    stop: &AtomicBool,
) -> Result<Tallied, Error> {
    while !stop.load(Relaxed) {
        let done = match client.next(Some(LOOK)).during("read")? {
            Some(Event::Messages(messages)) => {
                for payload in messages.payloads {
                    tally.take(payload, messages.again);
                }
                messages.all()
            }
            Some(Event::Gap { count, .. }) => {
                seen.gap(count);
                continue;
            }
            Some(Event::Lost { why }) => {
                return Err(Error::Failed(format!("the daemon is lost: {why}")));
            }
            Some(_) | None => continue,
        };
        client.acknowledge(&done);
    }
    Ok(tally.finish())
}

impl Sink for Daemon {
    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        self.stop.store(true, Relaxed);
        let tallied = self.reader.join();
        tallied.map_err(|_| Error::Failed("the reader panicked".to_owned()))?
    }
}
