//! Nodes of one kind, whatever kind that is: what can be done to them, and what they tell.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::host::Usage;

/// What a node tells of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is alive, for the first time or again.
    Alive,
    /// It is suspect.
    Suspect,
    /// It is held dead.
    Dead,
    /// A message of it came.
    Message,
}

/// Something that a node told.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// When.
    pub at: Instant,
    /// Number of the node that told.
    pub by: usize,
    /// Number of the node that it told of.
    pub of: usize,
    /// What.
    pub what: What,
}

/// A number of nodes, each on a host of its own.
pub trait Herd {
    /// What they are.
    fn name(&self) -> String;
    /// Starts node `number`; returns when the process was made, once the node takes clients.
    fn start(&self, number: usize) -> Instant;
    /// kill -9.
    fn kill(&self, number: usize);
    /// SIGSTOP.
    fn freeze(&self, number: usize);
    /// SIGCONT.
    fn thaw(&self, number: usize);
    /// Pulls the cable of its host, or puts it in again.
    fn plug(&self, number: usize, plugged: bool);
    /// Lets node `number` send a message of 64 bytes to all; returns when it was sent.
    fn speak(&self, number: usize) -> Instant;
    /// What a node uses.
    fn usage(&self, number: usize) -> Usage;
    /// What they tell.
    fn sights(&self) -> &Receiver<Sight>;
}

/// Takes what is told until `enough` of it, or for `within`.
pub(super) fn gather(
    sights: &Receiver<Sight>,
    within: Duration,
    mut enough: impl FnMut(&[Sight]) -> bool,
) -> Vec<Sight> {
    let until = Instant::now() + within;
    let mut all = Vec::new();
    while !enough(&all) {
        let left = until.saturating_duration_since(Instant::now());
        match sights.recv_timeout(left) {
            Ok(sight) => all.push(sight),
            Err(_) => break,
        }
    }
    all
}
