//! Answers from a client of a daemon, which is subscriber and publisher in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_client::{Client, Event, Options, Publisher};

use crate::error::{Error, While};
use crate::plan::{ANSWERS, Place, Plan};
use crate::system::Sink;
use crate::tally::{Seen, Tallied, Tally};
use crate::tidings::OVERLAY;
use crate::tidings::sink::daemon::subscribe_options;

/// How often the thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Daemon {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tallied, Error>>,
}

impl Daemon {
    pub(crate) fn start(plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Self, Error> {
        let socket = place.socket()?;
        let mut client = Client::connect(Options::new(socket)).during("attach to the daemon")?;
        let publisher = client.open(OVERLAY, ANSWERS).during("open a publisher")?;
        client
            .subscribe(OVERLAY, &plan.pattern(), subscribe_options(plan))
            .during("subscribe")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (over, tally) = (Arc::clone(&stop), Tally::new(plan, place, seen));
        let thread = thread::Builder::new()
            .name("echo".to_owned())
            .spawn(move || answer(client, publisher, tally, &over))
            .during("start the echo")?;
        Ok(Self { stop, thread })
    }
}

fn answer(
    mut client: Client,
    publisher: Publisher,
    mut tally: Tally,
    stop: &AtomicBool,
) -> Result<Tallied, Error> {
    let mut requests: Vec<Vec<u8>> = Vec::new();
    while !stop.load(Relaxed) {
        let done = match client.next(Some(LOOK)).during("read")? {
            Some(Event::Messages(messages)) => {
                for payload in messages.payloads {
                    tally.take(payload, messages.again);
                    requests.push(payload.to_vec());
                }
                messages.all()
            }
            Some(Event::Lost { why }) => {
                return Err(Error::Failed(format!("the daemon is lost: {why}")));
            }
            Some(_) | None => continue,
        };
        for request in requests.drain(..) {
            client.publish(publisher, &request).during("answer")?;
        }
        client.acknowledge(&done);
    }
    Ok(tally.finish())
}

impl Sink for Daemon {
    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        self.stop.store(true, Relaxed);
        let tallied = self.thread.join();
        tallied.map_err(|_| Error::Failed("the echo panicked".to_owned()))?
    }
}
