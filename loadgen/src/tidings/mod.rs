//! Tidings as a system under load, by each way to attach to it.

mod caller;
mod daemons;
mod echo;
mod node;
mod sink;
mod source;

use std::sync::Arc;

use crate::error::Error;
use crate::plan::{Place, Plan};
use crate::sent::Sent;
use crate::system::{Caller, Class, NoServices, Services, Sink, Source, System};
use crate::tally::Seen;

/// The overlay of a run.
const OVERLAY: &str = "loadgen";

const CLASS: Class = Class {
    guarantee: "at least once, acknowledged by the application",
    encryption: "aes-256-gcm",
};

/// The ways to attach to Tidings: `on-shard`, `any-thread`, `daemon`.
pub fn tidings() -> [&'static dyn System; 3] {
    [&ON_SHARD, &ANY_THREAD, &DAEMON]
}

/// A way to attach: what it is called, and what makes each side of a run.
struct Attachment {
    name: &'static str,
    about: &'static str,
    /// For clients of servers.
    services: Option<StartServices>,
    source: fn(&Plan, &Place, Arc<Sent>) -> Made<dyn Source>,
    sink: fn(&Plan, &Place, Arc<Seen>) -> Made<dyn Sink>,
    caller: StartCaller,
    echo: fn(&Plan, &Place, Arc<Seen>) -> Made<dyn Sink>,
}

type Made<T> = Result<Box<T>, Error>;
type StartServices = fn(&Plan, &Place) -> Made<dyn Services>;
type StartCaller = fn(&Plan, &Place, Arc<Sent>, Arc<Seen>) -> Made<dyn Caller>;

static ON_SHARD: Attachment = Attachment {
    name: "on-shard",
    about: "embedded: handlers that run on the shard",
    services: None,
    source: |plan, place, sent| {
        Ok(Box::new(source::on_shard::OnShard::start(
            plan, place, sent,
        )?))
    },
    sink: |plan, place, seen| Ok(Box::new(sink::on_shard::OnShard::start(plan, place, seen)?)),
    caller: |plan, place, sent, seen| {
        let caller = caller::on_shard::OnShard::start(plan, place, sent, seen)?;
        Ok(Box::new(caller))
    },
    echo: |plan, place, seen| Ok(Box::new(echo::on_shard::OnShard::start(plan, place, seen)?)),
};

static ANY_THREAD: Attachment = Attachment {
    name: "any-thread",
    about: "embedded: publishers and subscribers in threads of their own",
    services: None,
    source: |plan, place, sent| {
        let source = source::any_thread::AnyThread::start(plan, place, sent)?;
        Ok(Box::new(source))
    },
    sink: |plan, place, seen| {
        Ok(Box::new(sink::any_thread::AnyThread::start(
            plan, place, seen,
        )?))
    },
    caller: |plan, place, sent, seen| {
        let caller = caller::any_thread::AnyThread::start(plan, place, sent, seen)?;
        Ok(Box::new(caller))
    },
    echo: |plan, place, seen| {
        Ok(Box::new(echo::any_thread::AnyThread::start(
            plan, place, seen,
        )?))
    },
};

static DAEMON: Attachment = Attachment {
    name: "daemon",
    about: "clients of the daemon, over its local socket",
    services: Some(|plan, place| Ok(Box::new(daemons::Daemons::start(plan, place)?))),
    source: |plan, place, sent| Ok(Box::new(source::daemon::Daemon::start(plan, place, sent)?)),
    sink: |plan, place, seen| Ok(Box::new(sink::daemon::Daemon::start(plan, place, seen)?)),
    caller: |plan, place, sent, seen| {
        let caller = caller::daemon::Daemon::start(plan, place, sent, seen)?;
        Ok(Box::new(caller))
    },
    echo: |plan, place, seen| Ok(Box::new(echo::daemon::Daemon::start(plan, place, seen)?)),
};

impl System for Attachment {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn has_servers(&self) -> bool {
        self.services.is_some()
    }

    fn class(&self) -> Class {
        CLASS
    }

    fn services(&self, plan: &Plan, place: &Place) -> Made<dyn Services> {
        match self.services {
            Some(start) => start(plan, place),
            None => Ok(Box::new(NoServices)),
        }
    }

    fn source(&self, plan: &Plan, place: &Place, sent: Arc<Sent>) -> Made<dyn Source> {
        (self.source)(plan, place, sent)
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Made<dyn Sink> {
        (self.sink)(plan, place, seen)
    }

    fn caller(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Made<dyn Caller> {
        (self.caller)(plan, place, sent, seen)
    }

    fn echo(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Made<dyn Sink> {
        (self.echo)(plan, place, seen)
    }
}
