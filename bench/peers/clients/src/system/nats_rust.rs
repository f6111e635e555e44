//! NATS with its client in Rust.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use tidings_loadgen::{
    Class, Error, Generator, Next, Place, Plan, Schedule, Seen, Sent, Services, Sink, Source,
    System, Tallied, Tally, Times, While, clock,
};
use tokio::runtime::Runtime;

use crate::catalogue::Known;
use crate::certificates;
use crate::home;
use crate::writer;

/// Messages on their way to the connection's task, and from it to the subscriber.
const TO_CONNECTION: usize = 1 << 16;
const TO_SUBSCRIBER: usize = 1 << 20;
/// How often a publisher that is through looks whether it is over.
const LOOK: Duration = Duration::from_millis(2);

pub(super) struct Nats {
    pub(super) known: Known,
}

/// How a process reaches the server.
struct Way {
    addr: SocketAddr,
    authority: Option<PathBuf>,
}

impl Way {
    /// A runtime with one thread for the connection beside the one that calls, and the connection.
    fn connect(&self) -> Result<(Runtime, Client), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .during("start a runtime")?;
        let mut options = ConnectOptions::new()
            .client_capacity(TO_CONNECTION)
            .subscription_capacity(TO_SUBSCRIBER)
            .read_buffer_capacity(u16::MAX);
        if let Some(authority) = &self.authority {
            options = options
                .require_tls(true)
                .add_root_certificates(authority.clone());
        }
        let host = certificates::HOST;
        let url = format!("nats://{host}:{}", self.addr.port());
        let client = runtime
            .block_on(options.connect(url))
            .during("connect to nats-server")?;
        Ok((runtime, client))
    }
}

impl Nats {
    fn way(&self, place: &Place) -> Result<Way, Error> {
        let authority = if super::is_encrypted(&self.known) {
            Some(certificates::authority(home::folder_of(place)?))
        } else {
            None
        };
        Ok(Way {
            addr: home::addr(place)?,
            authority,
        })
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
        let way = self.way(place)?;
        let connections = (0..plan.publishers).map(|_| way.connect());
        Ok(Box::new(Publishers {
            plan: plan.clone(),
            sent,
            connections: connections.collect::<Result<_, _>>()?,
            stop: Arc::default(),
            threads: Vec::new(),
        }))
    }

    fn sink(&self, plan: &Plan, place: &Place, seen: Arc<Seen>) -> Result<Box<dyn Sink>, Error> {
        super::check(plan)?;
        let (runtime, client) = self.way(place)?.connect()?;
        let mut messages = runtime.block_on(async {
            let messages = client.subscribe(plan.pattern()).await.during("subscribe")?;
            client.flush().await.during("subscribe")?;
            Ok(messages)
        })?;
        let mut tally = Tally::new(plan, place, seen);
        let runtime = Arc::new(runtime);
        let own = Arc::clone(&runtime);
        let thread = thread::Builder::new()
            .name("subscriber".to_owned())
            .spawn(move || {
                own.block_on(async {
                    while let Some(message) = messages.next().await {
                        tally.take(&message.payload, false);
                    }
                });
                tally.finish()
            })
            .during("start a subscriber")?;
        Ok(Box::new(Subscriber {
            runtime,
            client,
            thread,
        }))
    }
}

struct Publishers {
    plan: Plan,
    sent: Arc<Sent>,
    connections: Vec<(Runtime, Client)>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Times, String>>>,
}

impl Source for Publishers {
    fn go(&mut self, schedule: Schedule) -> Result<(), Error> {
        let subject = Subject::from(self.plan.topic(0));
        for (index, (runtime, client)) in self.connections.drain(..).enumerate() {
            let generator = Generator::new(&self.plan, schedule, index);
            let (sent, stop) = (Arc::clone(&self.sent), Arc::clone(&self.stop));
            let subject = subject.clone();
            let thread = thread::Builder::new()
                .name("publisher".to_owned())
                .spawn(move || {
                    clock::sleep_exactly();
                    let publishing = publish(&client, subject, generator, &sent, &stop);
                    let done = runtime.block_on(publishing);
                    done.inspect_err(|why| sent.fail(why.clone()))
                });
            self.threads.push(thread.during("start a publisher")?);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Times, Error> {
        self.stop.store(true, Relaxed);
        writer::join(self.threads)
    }
}

/// One loop without a `block_on` for each message, which would cost a fifth of the throughput. Its sleeps block only this
/// thread: the connection's task runs on another.
async fn publish(
    client: &Client,
    subject: Subject,
    mut generator: Generator,
    sent: &Sent,
    stop: &AtomicBool,
) -> Result<Times, String> {
    let mut is_told = false;
    while !stop.load(Relaxed) {
        let mut until = None;
        let now = clock::now();
        for _ in 0..generator.batch() {
            match generator.next(now) {
                Next::Message { .. } => {}
                Next::At(at) => {
                    until = Some(at);
                    break;
                }
                Next::Over => break,
            }
            let payload = Bytes::copy_from_slice(generator.payload());
            let published = client.publish(subject.clone(), payload).await;
            published.map_err(|error| error.to_string())?;
            generator.taken(now);
        }
        sent.accept(generator.news(), 0);
        if let Some(at) = until {
            clock::sleep_until(at);
        } else if generator.is_over() {
            if !is_told {
                client.flush().await.map_err(|error| error.to_string())?;
                sent.end();
                is_told = true;
            }
            thread::sleep(LOOK);
        }
    }
    Ok(generator.into_lag())
}

struct Subscriber {
    runtime: Arc<Runtime>,
    client: Client,
    thread: JoinHandle<Tallied>,
}

impl Sink for Subscriber {
    fn finish(self: Box<Self>) -> Result<Tallied, Error> {
        // The stream of messages ends with that.
        let drained = self.runtime.block_on(self.client.drain());
        drained.during("end the subscription")?;
        let tallied = self.thread.join();
        tallied.map_err(|_| Error::Failed("the subscriber panicked".to_owned()))
    }
}
