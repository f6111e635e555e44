//! The publishing side, by each way to attach.

pub(super) mod any_thread;
pub(super) mod daemon;
pub(super) mod on_shard;

use std::thread::JoinHandle;

use crate::error::Error;
use crate::times::Times;

/// Waits for the threads of publishers: how late their messages were.
fn join(writers: Vec<JoinHandle<Result<Times, Error>>>) -> Result<Times, Error> {
    let mut lag = Times::new();
    for writer in writers {
        let done = writer.join();
        lag.add(&done.map_err(|_| Error::Failed("the writer panicked".to_owned()))??);
    }
    Ok(lag)
}
