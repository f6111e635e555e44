//! What a system under load implements. Everything else of the generator knows systems by this only.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::plan::{Place, Plan, Side};
use crate::schedule::Schedule;
use crate::sent::Sent;
use crate::tally::{Seen, Tallied};
use crate::times::Times;
use crate::usage::Usage;

/// What is compared with what: a figure says little without it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Class {
    /// What is guaranteed, as "at least once, acknowledged by the application".
    pub guarantee: &'static str,
    /// What protects messages on their way, as "aes-256-gcm", or "none".
    pub encryption: &'static str,
}

/// A system, or a way to attach to one.
pub trait System: Sync {
    /// What `--attach` calls it.
    fn name(&self) -> &'static str;

    /// One line for `--help`.
    fn about(&self) -> &'static str;

    /// What it promises.
    fn class(&self) -> Class;

    /// Whether publishers and subscribers are clients of servers, of which many cost little; else each is a node.
    fn has_servers(&self) -> bool {
        true
    }

    /// Starts the servers that a run needs (daemons, brokers). They are counted in its CPU and memory, and end when they
    /// are dropped.
    fn services(&self, _plan: &Plan, _place: &Place) -> Result<Box<dyn Services>, Error> {
        Ok(Box::new(NoServices))
    }

    /// Gets ready to publish: comes back when [`Plan::expected`] subscribers are known, or, where that cannot be known, at
    /// once (sinks of the same run are ready before).
    fn source(&self, plan: &Plan, place: &Place, sent: Arc<Sent>)
    -> Result<Box<dyn Source>, Error>;

    /// Subscribes to [`Plan::pattern`]; comes back when nothing that is published from now on is missed.
    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error>;

    /// The calling side of ping-pong: publishes requests on the topic, takes answers from another, which it tallies.
    fn caller(
        &self,
        _plan: &Plan,
        _place: &Place,
        _sent: Arc<Sent>,
        _seen: Arc<Seen>,
    ) -> Result<Box<dyn Caller>, Error> {
        Err(self.no_ping_pong())
    }

    /// The answering side of ping-pong: tallies requests and publishes each again, on the other topic.
    fn echo(&self, _plan: &Plan, _place: &Place, _seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        Err(self.no_ping_pong())
    }

    /// What is said where ping-pong is not implemented.
    fn no_ping_pong(&self) -> Error {
        Error::Usage(format!(
            "--attach {} does not know ping-pong; take another attachment or scenario",
            self.name()
        ))
    }
}

/// The servers of a run.
pub trait Services {
    /// Where a process of the run finds them; `index` counts the subscribing processes from 0.
    fn place(&self, side: Side, index: usize) -> Place;

    /// Each with its name and what it used until now.
    fn usages(&self) -> Vec<(String, Usage)>;
}

/// For systems that need no server.
pub struct NoServices;

impl Services for NoServices {
    fn place(&self, _: Side, index: usize) -> Place {
        Place {
            index,
            ..Place::loopback()
        }
    }

    fn usages(&self) -> Vec<(String, Usage)> {
        Vec::new()
    }
}

/// All publishers of the publishing process, ready.
pub trait Source {
    /// Begins to publish by the schedule, with [`Plan::publishers`] publishers; comes back at once.
    fn go(&mut self, schedule: Schedule) -> Result<(), Error>;

    /// Counters of its node, if it has one of its own.
    fn counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// Ends it. Answers how late messages were published: [`crate::Generator::into_lag`] of all.
    fn finish(self: Box<Self>) -> Result<Times, Error>;
}

/// The calling side of ping-pong, ready. One request at a time if [`Plan::is_closed_loop`].
pub trait Caller: Source {
    /// As [`Source::finish`], with the books of the answers.
    fn finish_call(self: Box<Self>) -> Result<(Times, Tallied), Error>;
}

/// A subscriber that keeps a tally of what comes.
pub trait Sink {
    /// Address that the others join, if it has a node of its own.
    fn addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Counters of its node, if it has one of its own.
    fn counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// Ends it and closes the books: [`crate::Tally::finish`].
    fn finish(self: Box<Self>) -> Result<Tallied, Error>;
}

/// The system of a name; the first without one.
pub(crate) fn find<'a>(
    systems: &[&'a dyn System],
    name: Option<&str>,
) -> Result<&'a dyn System, Error> {
    let mut all = systems.iter().copied();
    let found = match name {
        Some(name) => all.find(|system| system.name() == name),
        None => all.next(),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = systems.iter().map(|system| system.name()).collect();
        Error::Usage(format!(
            "--attach {} is unknown; it is one of {}",
            name.unwrap_or("without a system"),
            names.join(", ")
        ))
    })
}
