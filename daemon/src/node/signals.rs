//! SIGINT and SIGTERM, and the command to leave: the first asks to leave gracefully, a second signal ends at once.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Why the node is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal.
    Signal(i32),
    /// `tidings leave`.
    Command,
    /// Another live node has this node's id.
    Twin,
}

/// The exit code of a process that ends by a signal, as shells give it.
const SIGNALLED: i32 = 128;

/// Listens from now on. The sender is for whoever else may ask.
pub fn listen() -> io::Result<(SyncSender<Stop>, Receiver<Stop>)> {
    let (sender, receiver) = sync_channel(4);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let stop = sender.clone();
    thread::Builder::new()
        .name("tidings-signals".to_owned())
        .spawn(move || {
            for (nth, signal) in signals.forever().enumerate() {
                if nth > 0 {
                    // Whether anybody reads it or not.
                    let _ = writeln!(io::stderr(), "stopped at once");
                    std::process::exit(SIGNALLED + signal);
                }
                // The receiver is gone when the node is: nothing is left to stop.
                let _ = stop.try_send(Stop::Signal(signal));
            }
        })?;
    Ok((sender, receiver))
}
