//! Aeron over UDP, with one media driver for each side.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidings_loadgen::{
    Class, Error, Place, Plan, Seen, Sent, Server, Services, Side, Sink, Source, System, Tally,
    Usage, While, free_port,
};

use crate::c::aeron::{Client, Publication};
use crate::catalogue::Known;
use crate::home;
use crate::reader::Reader;
use crate::writer::{Link, Writers};

/// How long a media driver may take to make its files, and a publication to find its subscriber.
const START: Duration = Duration::from_secs(10);
const STREAM: i32 = 1001;
/// Messages taken with one poll.
const POLL_LIMIT: usize = 256;
/// The head of a message in a datagram: what is longer would be cut into several.
const FRAME_HEAD: usize = 32;

/// What a side does when it has nothing to do.
#[derive(Clone, Copy)]
enum Idle {
    Yield,
    /// Yields at first, then sleeps from 1 us up to 1 ms.
    Backoff,
}

impl Idle {
    fn label(self) -> &'static str {
        match self {
            Self::Yield => "yield",
            Self::Backoff => "backoff",
        }
    }

    /// After so many looks in a row that found nothing.
    fn rest(self, looks: u32) {
        match self {
            Self::Backoff if looks >= 20 => {
                thread::sleep(Duration::from_micros(1 << (looks - 20).min(10)));
            }
            _ => thread::yield_now(),
        }
    }
}

pub(super) struct Aeron {
    pub(super) known: Known,
}

impl Aeron {
    fn mtu(&self) -> usize {
        match self.known.name {
            "aeron-64k" => 65_504,
            _ => 1_408,
        }
    }

    fn idle(&self) -> Idle {
        match self.known.name {
            "aeron-backoff" => Idle::Backoff,
            _ => Idle::Yield,
        }
    }

    fn channel(&self, place: &Place) -> Result<String, Error> {
        let (addr, mtu) = (home::addr(place)?, self.mtu());
        Ok(format!(
            "aeron:udp?endpoint={addr}|term-length=16m|mtu={mtu}"
        ))
    }

    /// One thread for sending, receiving and control: there are two cores for two drivers and two clients.
    fn settings(&self, dir: &Path) -> Vec<String> {
        // As many datagrams as the driver can do with one system call. Long ones are faster with the driver's own choice.
        let datagrams = if self.mtu() > 1_500 { "4" } else { "64" };
        let dir = dir.display().to_string();
        let settings = [
            ("dir", dir.as_str()),
            ("threading.mode", "SHARED"),
            ("shared.idle.strategy", self.idle().label()),
            ("socket.so_rcvbuf", "4m"),
            ("socket.so_sndbuf", "4m"),
            ("rcv.initial.window.length", "2m"),
            ("term.buffer.sparse.file", "0"),
            ("sender.io.vector.capacity", datagrams),
            ("receiver.io.vector.capacity", datagrams),
            ("network.publication.max.messages.per.send", datagrams),
            ("dir.delete.on.start", "1"),
            ("dir.delete.on.shutdown", "1"),
        ];
        let argument = |(name, value): (&str, &str)| format!("-Daeron.{name}={value}");
        settings.map(argument).to_vec()
    }

    fn check(&self, plan: &Plan) -> Result<(), Error> {
        super::check(plan)?;
        let most = self.mtu() - FRAME_HEAD;
        if plan.subscribers + plan.crowd != 1 {
            let what = "--subscribers: Aeron is run with one; more need multicast";
            return Err(Error::Usage(what.to_owned()));
        }
        if plan.sizes.most() > most {
            let name = self.known.name;
            return Err(Error::Usage(format!(
                "--size: with {name} a message has at most {most} B, one datagram"
            )));
        }
        Ok(())
    }
}

impl System for Aeron {
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

    fn services(&self, _: &Plan, _: &Place) -> Result<Box<dyn Services>, Error> {
        Ok(Box::new(Drivers::start(self)?))
    }

    fn source(
        &self,
        plan: &Plan,
        place: &Place,
        sent: Arc<Sent>,
    ) -> Result<Box<dyn Source>, Error> {
        self.check(plan)?;
        let (folder, channel) = (home::folder_of(place)?, self.channel(place)?);
        let links = (0..plan.publishers).map(|_| Offering::open(folder, &channel, self.idle()));
        let links = links.collect::<Result<_, _>>()?;
        Ok(Box::new(Writers::new(plan, sent, links)))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        self.check(plan)?;
        let (folder, channel) = (home::folder_of(place)?.to_owned(), self.channel(place)?);
        let (idle, tally) = (self.idle(), Tally::new(plan, place, seen));
        let reader = Reader::start(tally, move |tally, stop, ready| {
            let mut subscription = Client::connect(&folder)?.subscribe(&channel, STREAM)?;
            ready();
            let mut looks = 0;
            while !stop.load(Relaxed) {
                let count = subscription.poll(POLL_LIMIT, |message| tally.take(message, false))?;
                if count > 0 {
                    looks = 0;
                } else {
                    looks += 1;
                    idle.rest(looks);
                }
            }
            Ok(())
        })?;
        Ok(Box::new(reader))
    }
}

/// One exclusive publication.
struct Offering {
    publication: Publication,
    idle: Idle,
    looks: u32,
}

impl Offering {
    fn open(folder: &Path, channel: &str, idle: Idle) -> Result<Self, Error> {
        let client = Client::connect(folder).during("use a media driver")?;
        let publication = client.publish(channel, STREAM).during("publish")?;
        let deadline = Instant::now() + START;
        while !publication.is_connected() {
            if Instant::now() >= deadline {
                return Err(Error::Late("Aeron learns of the subscriber"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(Self {
            publication,
            idle,
            looks: 0,
        })
    }
}

impl Link for Offering {
    fn send(&mut self, payload: &[u8]) -> Result<bool, String> {
        let is_taken = self.publication.offer(payload)?;
        if is_taken {
            self.looks = 0;
        }
        Ok(is_taken)
    }

    fn wait(&mut self) {
        self.looks += 1;
        self.idle.rest(self.looks);
    }
}

/// The media drivers of a run, with their files in memory.
struct Drivers {
    publishing: Server,
    subscribing: Server,
    endpoint: SocketAddr,
    folder: TempDir,
}

impl Drivers {
    fn start(aeron: &Aeron) -> Result<Self, Error> {
        let program = home::program("aeronmd")?;
        let folder = home::folder()?;
        let start = |name: &str, side| {
            let dir = files(folder.path(), side);
            let log = dir.with_extension("log");
            let mut server = Server::start(name, &program, aeron.settings(&dir), None, &log)?;
            server.wait_until(START, || dir.join("cnc.dat").is_file())?;
            Ok(server)
        };
        Ok(Self {
            publishing: start("driver (pub)", Side::Publishing)?,
            subscribing: start("driver (sub)", Side::Subscribing)?,
            endpoint: free_port()?,
            folder,
        })
    }
}

fn files(folder: &Path, side: Side) -> PathBuf {
    folder.join(match side {
        Side::Publishing => "publishing",
        Side::Subscribing => "subscribing",
    })
}

impl Services for Drivers {
    fn place(&self, side: Side, index: usize) -> Place {
        Place {
            join: Some(self.endpoint),
            socket: Some(files(self.folder.path(), side)),
            index,
            ..Place::loopback()
        }
    }

    fn usages(&self) -> Vec<(String, Usage)> {
        vec![self.publishing.usage(), self.subscribing.usage()]
    }
}
