//! What the node is told from outside: SIGINT, SIGTERM and the command to leave gracefully (SIGTERM to stop without leaving, if
//! the configuration says so), where a second of those signals ends it at once; SIGHUP to read its configuration again; SIGUSR1
//! and SIGQUIT to tell its state, SIGUSR2 to go out of service. SIGPIPE is ignored, as in every Rust program: what nobody reads
//! any more fails where it is written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// What the node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To read its configuration again.
    Reload,
    /// To tell its state in the log.
    Dump,
    /// The same, and what each of its threads does.
    DumpThreads,
    /// To go out of service.
    Drain,
    /// To leave and stop, or only to stop.
    Stop(Stop),
}

/// Why the node is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal.
    Signal(i32),
    /// `tidings leave`.
    Command,
    /// A drain came to its end.
    Drained,
    /// Another live node has this node's id.
    Twin,
}

/// The exit code of a process that ends by a signal, as shells give it.
const SIGNALLED: i32 = 128;

/// Orders that wait: four stops, and one of each other kind.
const WAITING: usize = 8;

/// The orders of which one waits at most, whether it does, and the signal that gives it.
const SIGNALS: [(i32, Order); 4] = [
    (SIGHUP, Order::Reload),
    (SIGUSR1, Order::Dump),
    (SIGQUIT, Order::DumpThreads),
    (SIGUSR2, Order::Drain),
];

type Waiting = Arc<[AtomicBool; SIGNALS.len()]>;

/// Where orders come from: stops, of which the first counts, and at most one of each other kind that was not begun.
#[derive(Clone)]
pub struct Giver {
    orders: SyncSender<Order>,
    waiting: Waiting,
}

impl Giver {
    /// To stop.
    pub fn stop(&self, why: Stop) {
        // A full queue holds other stops; nobody takes from it when the node has stopped.
        let _ = self.orders.try_send(Order::Stop(why));
    }

    fn give(&self, kind: usize) {
        if !self.waiting[kind].swap(true, Ordering::AcqRel) {
            // The same.
            let _ = self.orders.try_send(SIGNALS[kind].1);
        }
    }
}

/// Where orders come to.
pub struct Taker {
    orders: Receiver<Order>,
    waiting: Waiting,
}

impl Taker {
    /// The next order, waited for until `until`, or without end.
    pub fn next(&self, until: Option<Instant>) -> Result<Order, RecvTimeoutError> {
        let order = match until {
            Some(at) => self
                .orders
                .recv_timeout(at.saturating_duration_since(Instant::now())),
            None => self.orders.recv().map_err(RecvTimeoutError::from),
        };
        let kind = SIGNALS.iter().position(|(_, kind)| order == Ok(*kind));
        if let Some(kind) = kind {
            // One that comes from now on may be about what this one does not see.
            self.waiting[kind].store(false, Ordering::Release);
        }
        order
    }
}

/// The two ends of the queue of orders.
pub fn orders() -> (Giver, Taker) {
    let (sender, orders) = sync_channel(WAITING);
    let waiting = Waiting::default();
    let giver = Giver {
        orders: sender,
        waiting: Arc::clone(&waiting),
    };
    (giver, Taker { orders, waiting })
}

/// Listens from now on. The giver is for whoever else may order.
pub fn listen() -> io::Result<(Giver, Taker)> {
    let (giver, taker) = orders();
    let mut signals = Signals::new(SIGNALS.map(|(signal, _)| signal))?;
    for signal in [SIGINT, SIGTERM] {
        signals.add_signal(signal)?;
    }
    let to = giver.clone();
    thread::Builder::new()
        .name("tidings-signals".to_owned())
        .spawn(move || {
            let mut stops = false;
            for signal in signals.forever() {
                if let Some(kind) = SIGNALS.iter().position(|(other, _)| *other == signal) {
                    to.give(kind);
                    continue;
                }
                if std::mem::replace(&mut stops, true) {
                    // Whether anybody reads it or not.
                    let _ = writeln!(io::stderr(), "stopped at once");
                    std::process::exit(SIGNALLED + signal);
                }
                to.stop(Stop::Signal(signal));
            }
        })?;
    Ok((giver, taker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_kind_one_waits_and_none_takes_the_place_of_a_stop() {
        let (giver, taker) = orders();
        for kind in (0..SIGNALS.len()).chain(0..SIGNALS.len()) {
            giver.give(kind);
        }
        giver.stop(Stop::Command);
        for (_, order) in SIGNALS {
            assert_eq!(taker.next(None), Ok(order));
        }
        giver.give(0);
        assert_eq!(taker.next(None), Ok(Order::Stop(Stop::Command)));
        assert_eq!(taker.next(None), Ok(SIGNALS[0].1), "one that comes later");
    }
}
