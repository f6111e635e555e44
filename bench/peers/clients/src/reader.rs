//! A subscriber as a thread that reads until it is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidings_loadgen::{Error, Sink, Tallied, Tally, While};

/// How long subscribing may take.
const READY: Duration = Duration::from_secs(15);

/// The thread.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
    tallied: std::sync::mpsc::Receiver<Tallied>,
}

impl Reader {
    /// `read` subscribes, calls its last argument, and then gives every message to the tally until it is told to stop.
    pub(crate) fn start<R>(mut tally: Tally, read: R) -> Result<Self, Error>
    where
        R: FnOnce(&mut Tally, &AtomicBool, &mut dyn FnMut()) -> Result<(), String> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        let (tx, ready) = channel();
        let (close, tallied) = channel();
        let thread = thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(move || {
                // The main thread waits for the first word, and may be gone at the second.
                let mut say = move || {
                    let _ = tx.send(());
                };
                let done = read(&mut tally, &over, &mut say);
                let _ = close.send(tally.finish());
                done
            })
            .during("start a subscriber")?;
        match ready.recv_timeout(READY) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Err(Error::Late("the peer subscribes")),
            Err(RecvTimeoutError::Disconnected) => {
                let done = thread.join();
                let done = done.map_err(|_| Error::Failed("the subscriber panicked".to_owned()))?;
                done.during("subscribe")?;
                return Err(Error::Failed("the subscriber ended at once".to_owned()));
            }
        }
        Ok(Self {
            stop,
            thread,
            tallied,
        })
    }
}

impl Sink for Reader {
    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        self.stop.store(true, Relaxed);
        let done = self.thread.join();
        let done = done.map_err(|_| Error::Failed("the subscriber panicked".to_owned()))?;
        done.during("receive")?;
        self.tallied.recv().during("close the books")
    }
}
