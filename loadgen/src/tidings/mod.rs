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
use crate::system::{Caller, Class, Services, Sink, Source, System};
use crate::tally::Seen;

/// The overlay of a run.
const OVERLAY: &str = "loadgen";

const CLASS: Class = Class {
    guarantee: "at least once, acknowledged by the application",
    encryption: "aes-256-gcm",
};

/// The ways to attach to Tidings: `on-shard`, `any-thread`, `daemon`.
pub fn tidings() -> [&'static dyn System; 3] {
    [&OnShard, &AnyThread, &Daemon]
}

struct OnShard;

impl System for OnShard {
    fn name(&self) -> &'static str {
        "on-shard"
    }

    fn about(&self) -> &'static str {
        "embedded: handlers that run on the shard"
    }

    fn has_servers(&self) -> bool {
        false
    }

    fn class(&self) -> Class {
        CLASS
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        Ok(Box::new(source::on_shard::OnShard::start(
            plan, place, sent,
        )?))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(sink::on_shard::OnShard::start(plan, place, seen)?))
    }

    fn caller(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Result<Box<dyn Caller>, Error> {
        let caller = caller::on_shard::OnShard::start(plan, place, sent, seen)?;
        Ok(Box::new(caller))
    }

    fn echo(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(echo::on_shard::OnShard::start(plan, place, seen)?))
    }
}

struct AnyThread;

impl System for AnyThread {
    fn name(&self) -> &'static str {
        "any-thread"
    }

    fn about(&self) -> &'static str {
        "embedded: publishers and subscribers in threads of their own"
    }

    fn has_servers(&self) -> bool {
        false
    }

    fn class(&self) -> Class {
        CLASS
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        let source = source::any_thread::AnyThread::start(plan, place, sent)?;
        Ok(Box::new(source))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        let sink = sink::any_thread::AnyThread::start(plan, place, seen)?;
        Ok(Box::new(sink))
    }

    fn caller(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Result<Box<dyn Caller>, Error> {
        let caller = caller::any_thread::AnyThread::start(plan, place, sent, seen)?;
        Ok(Box::new(caller))
    }

    fn echo(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(echo::any_thread::AnyThread::start(
            plan, place, seen,
        )?))
    }
}

struct Daemon;

impl System for Daemon {
    fn name(&self) -> &'static str {
        "daemon"
    }

    fn about(&self) -> &'static str {
        "clients of the daemon, over its local socket"
    }

    fn class(&self) -> Class {
        CLASS
    }

    fn services(&self, plan: &Plan, place: &Place) -> Result<Box<dyn Services>, Error> {
        Ok(Box::new(daemons::Daemons::start(plan, place)?))
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        Ok(Box::new(source::daemon::Daemon::start(plan, place, sent)?))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(sink::daemon::Daemon::start(plan, place, seen)?))
    }

    fn caller(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
        seen: Arc<Seen>,
    ) -> Result<Box<dyn Caller>, Error> {
        let caller = caller::daemon::Daemon::start(plan, place, sent, seen)?;
        Ok(Box::new(caller))
    }

    fn echo(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(echo::daemon::Daemon::start(plan, place, seen)?))
    }
}
