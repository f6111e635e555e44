//! NATS with its client in C.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;

use tidings_loadgen::{
    Class, Error, Place, Plan, Seen, Sent, Services, Sink, Source, System, Tallied, Tally, While,
};

use crate::c::nats::{Connection, Options, Subscription};
use crate::catalogue::Known;
use crate::certificates;
use crate::home;
use crate::writer::{Link, Writers};

/// Bytes of the library's buffers; its own choice is 32 KiB.
const BUFFER: u32 = 64 << 10;

pub(super) struct Nats {
    pub(super) known: Known,
}

impl Nats {
    fn connect(&self, plan: &Plan, place: &Place) -> Result<Connection, Error> {
        let port = home::addr(place)?.port();
        let authority: Option<PathBuf> = if super::is_encrypted(&self.known) {
            Some(certificates::authority(home::folder_of(place)?))
        } else {
            None
        };
        let host = certificates::HOST;
        let options = Options {
            url: &format!("nats://{host}:{port}"),
            authority: authority.as_deref(),
            // At a rate a message must not wait for those that follow; flat out it is fastest when it does.
            asap: plan.rate.is_some(),
            buffer: BUFFER,
        };
        Connection::open(&options).during("connect to nats-server")
    }
}

impl System for Nats {
    fn name(&self) -> &'static str {
        self.known.name
    }

    fn about(&self) -> &'static str {
        self.known.about
    }

    fn class(&self) -> Class {
        self.known.class
    }

    fn services(&self, _: &Plan, _: &Place) -> Result<Box<dyn Services>, Error> {
        super::nats_server(&self.known)
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        super::check(plan)?;
        let subject = CString::new(plan.topic(0)).during("name the subject")?;
        let links = (0..plan.publishers).map(|_| {
            Ok(Publisher {
                connection: self.connect(plan, place)?,
                subject: subject.clone(),
            })
        });
        let links = links.collect::<Result<_, Error>>()?;
        Ok(Box::new(Writers::new(plan, sent, links)))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        super::check(plan)?;
        let subject = CString::new(plan.pattern()).during("name the subject")?;
        let connection = self.connect(plan, place)?;
        let tally = Books(Tally::new(plan, place, seen));
        let subscription = connection.subscribe(&subject, tally).during("subscribe")?;
        Ok(Box::new(Subscriber { subscription }))
    }
}

struct Publisher {
    connection: Connection,
    subject: CString,
}

impl Link for Publisher {
    fn send(&mut self, payload: &[u8]) -> Result<bool, String> {
        self.connection.publish(&self.subject, payload)?;
        Ok(true)
    }
}

struct Books(Tally);

impl crate::c::nats::Take for Books {
    fn take(&mut self, payload: &[u8]) {
        self.0.take(payload, false);
    }
}

struct Subscriber {
    subscription: Subscription<Books>,
}

impl Sink for Subscriber {
    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        let Books(tally) = self.subscription.finish().during("end the subscription")?;
        Ok(tally.finish())
    }
}
