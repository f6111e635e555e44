//! zenoh, peer to peer: the subscriber listens, the publisher connects, nobody scouts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidings_loadgen::{
    Class, Error, Place, Plan, Seen, Sent, Services, Side, Sink, Source, System, Tallied, Tally,
    Usage, While, free_port,
};
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session, Wait};

use crate::catalogue::Known;
use crate::certificates;
use crate::home;
use crate::writer::{Link, Writers};

/// How long the publisher may take to learn of the subscriber.
const MEET: Duration = Duration::from_secs(15);
/// How long the last messages may take after the subscription ended.
const CLOSE: Duration = Duration::from_secs(5);

pub(super) struct Zenoh {
    pub(super) known: Known,
}

impl Zenoh {
    fn protocol(&self) -> &'static str {
        match self.known.name {
            "zenoh-tls" => "tls",
            "zenoh-quic" => "quic",
            _ => "tcp",
        }
    }

    fn open(&self, place: &Place, side: Side) -> Result<Session, Error> {
        let (protocol, host) = (self.protocol(), certificates::HOST);
        let port = home::addr(place)?.port();
        let endpoint = format!("[\"{protocol}/{host}:{port}\"]");
        let (listen, connect) = match side {
            Side::Subscribing => (endpoint.as_str(), "[]"),
            Side::Publishing => ("[]", endpoint.as_str()),
        };
        let folder = home::folder_of(place)?;
        let path = |path: PathBuf| format!("{:?}", path.display().to_string());
        let mut settings = vec![
            ("mode", "\"peer\"".to_owned()),
            ("scouting/multicast/enabled", "false".to_owned()),
            ("scouting/gossip/enabled", "false".to_owned()),
            ("listen/endpoints", listen.to_owned()),
            ("connect/endpoints", connect.to_owned()),
        ];
        if super::is_encrypted(&self.known) {
            let tls = [
                (
                    "transport/link/tls/root_ca_certificate",
                    certificates::authority(folder),
                ),
                (
                    "transport/link/tls/listen_certificate",
                    certificates::certificate(folder),
                ),
                (
                    "transport/link/tls/listen_private_key",
                    certificates::key(folder),
                ),
            ];
            settings.extend(tls.map(|(name, file)| (name, path(file))));
        }
        let mut config = Config::default();
        for (name, value) in settings {
            config.insert_json5(name, &value).during(name)?;
        }
        zenoh::open(config).wait().during("open a zenoh session")
    }
}

impl System for Zenoh {
    fn name(&self) -> &'static str {
        self.known.name
    }

    fn about(&self) -> &'static str {
        self.known.about
    }

    fn class(&self) -> Class {
        self.known.class
    }

    fn has_servers(&self) -> bool {
        false
    }

    fn services(&self, plan: &Plan, _: &Place) -> Result<Box<dyn Services>, Error> {
        if plan.subscribers + plan.crowd != 1 {
            return Err(Error::Usage(
                "--subscribers: zenoh is run with one".to_owned(),
            ));
        }
        let folder = home::folder()?;
        certificates::make(folder.path())?;
        let addr = match self.protocol() {
            "quic" => free_port()?,
            _ => home::free_tcp_port()?,
        };
        Ok(Box::new(Meeting { addr, folder }))
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        super::check(plan)?;
        let links = (0..plan.publishers).map(|_| {
            let session = self.open(place, Side::Publishing)?;
            // Batches by itself when it is behind. Express, which never does, moves a thirty-fifth of it and is no earlier.
            let publisher = session
                .declare_publisher(key(&plan.topic(0)))
                .congestion_control(CongestionControl::Block)
                .wait()
                .during("open a publisher")?;
            meet(&publisher)?;
            Ok(Putting {
                publisher,
                _session: session,
            })
        });
        let links = links.collect::<Result<_, Error>>()?;
        Ok(Box::new(Writers::new(plan, sent, links)))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        super::check(plan)?;
        let session = self.open(place, Side::Subscribing)?;
        let (close, closed) = channel();
        let mut books = Books {
            tally: Some(Tally::new(plan, place, seen)),
            close,
        };
        let subscriber = session
            .declare_subscriber(key(&plan.pattern()))
            .callback_mut(move |sample| books.take(&sample.payload().to_bytes()))
            .wait()
            .during("subscribe")?;
        Ok(Box::new(Getting {
            session,
            subscriber,
            closed,
        }))
    }
}

/// Parts of a key are divided by slashes.
fn key(topic: &str) -> String {
    topic.replace('.', "/")
}

fn meet(publisher: &Publisher<'_>) -> Result<(), Error> {
    let deadline = Instant::now() + MEET;
    loop {
        let status = publisher.matching_status().wait().during("meet")?;
        if status.matching() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Late("zenoh learns of the subscriber"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Where both sides meet. There is no server.
struct Meeting {
    addr: SocketAddr,
    folder: TempDir,
}

impl Services for Meeting {
    fn place(&self, _: Side, index: usize) -> Place {
        Place {
            join: Some(self.addr),
            socket: Some(self.folder.path().to_owned()),
            index,
            ..Place::loopback()
        }
    }

    fn usages(&self) -> Vec<(String, Usage)> {
        Vec::new()
    }
}

struct Putting {
    publisher: Publisher<'static>,
    _session: Session,
}

impl Link for Putting {
    fn send(&mut self, payload: &[u8]) -> Result<bool, String> {
        let put = self.publisher.put(payload).wait();
        put.map(|()| true).map_err(|error| error.to_string())
    }
}

/// The books, closed when zenoh lets go of the callback.
struct Books {
    tally: Option<Tally>,
    close: Sender<Tallied>,
}

impl Books {
    fn take(&mut self, payload: &[u8]) {
        if let Some(tally) = &mut self.tally {
            tally.take(payload, false);
        }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            // Nobody waits any more: nobody is told.
            let _ = self.close.send(tally.finish());
        }
    }
}

struct Getting {
    session: Session,
    subscriber: Subscriber<()>,
    closed: Receiver<Tallied>,
}

impl Sink for Getting {
    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        let ended = self.subscriber.undeclare().wait();
        ended.during("end the subscription")?;
        let tallied = self.closed.recv_timeout(CLOSE);
        self.session.close().wait().during("close the session")?;
        tallied.map_err(|_| Error::Late("zenoh lets go of the subscriber"))
    }
}
