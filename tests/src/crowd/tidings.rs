//! A crowd of Tidings nodes with default settings, each with one client that watches the members and subscribes.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tidings_client::{Change, Client, Event, Options, Publisher, SubscribeOptions};

use super::herd::{Herd, Sight, What};
use crate::blackbox::{Cluster, OVERLAY};
use crate::host::Usage;

const TOPIC: &str = "to.all";

/// The nodes.
pub struct TidingsHerd {
    cluster: Cluster,
    tell: Sender<Sight>,
    sights: Receiver<Sight>,
    watched: Mutex<Vec<bool>>,
    speaker: Mutex<Option<(Client, Publisher)>>,
}

impl TidingsHerd {
    /// So many nodes; none runs yet.
    pub fn new(nodes: usize) -> TidingsHerd {
        let (tell, sights) = channel();
        TidingsHerd {
            cluster: Cluster::builder().nodes(nodes).build(),
            tell,
            sights,
            watched: Mutex::new(vec![false; nodes]),
            speaker: Mutex::new(None),
        }
    }

    /// The client of a node: it outlives the node's daemon and attaches to the next.
    fn watch(&self, number: usize) {
        let mut watched = self.watched.lock().expect("no thread panics with it");
        if std::mem::replace(&mut watched[number - 1], true) {
            return;
        }
        let socket = self.cluster.node(number).socket();
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            // The herd may be gone, or the daemon for good: then there is nobody to tell anything to.
            let _ = look(number, &socket, &tell);
        });
    }
}

fn look(by: usize, socket: &std::path::Path, tell: &Sender<Sight>) -> Option<()> {
    let mut client = Client::connect(Options::new(socket)).ok()?;
    client.watch(OVERLAY).ok()?;
    client
        .begin_subscribe(OVERLAY, TOPIC, SubscribeOptions::default())
        .ok()?;
    loop {
        let sight = |of: usize, what| Sight {
            at: Instant::now(),
            by,
            of,
            what,
        };
        match client.next(None).ok()?? {
            Event::Presence(presence) => {
                let what = match presence.change {
                    Change::In | Change::Rejoin => What::Alive,
                    Change::Quarantine => What::Suspect,
                    Change::Unreachable => What::Dead,
                    Change::Drop | Change::Out => continue,
                };
                let of = presence.name.strip_prefix('n')?.parse().ok()?;
                tell.send(sight(of, what)).ok()?;
            }
            Event::Messages(messages) => {
                tell.send(sight(0, What::Message)).ok()?;
                let all = messages.all();
                client.acknowledge(&all);
            }
            _ => {}
        }
    }
}

impl Herd for TidingsHerd {
    fn name(&self) -> String {
        "Tidings".into()
    }

    fn start(&self, number: usize) -> Instant {
        let at = Instant::now();
        self.cluster.node(number).start();
        self.watch(number);
        at
    }

    fn kill(&self, number: usize) {
        self.cluster.node(number).kill9();
    }

    fn freeze(&self, number: usize) {
        self.cluster.node(number).daemon().stop().expect("it runs");
    }

    fn thaw(&self, number: usize) {
        self.cluster.node(number).daemon().cont().expect("it runs");
    }

    fn plug(&self, number: usize, plugged: bool) {
        if plugged {
            self.cluster.lab().plug(number);
        } else {
            self.cluster.lab().unplug(number);
        }
    }

    fn speak(&self, number: usize) -> Instant {
        let mut speaker = self.speaker.lock().expect("no thread panics with it");
        let (client, publisher) = speaker.get_or_insert_with(|| {
            let mut client = self.cluster.node(number).client();
            let publisher = client.open(OVERLAY, TOPIC).expect("a publisher");
            (client, publisher)
        });
        // Events of messages before.
        while let Ok(Some(_)) = client.next(Some(Duration::ZERO)) {}
        let at = Instant::now();
        client
            .publish(*publisher, &[7; 64])
            .expect("it is published");
        client.flush().expect("it is sent");
        at
    }

    fn usage(&self, number: usize) -> Usage {
        self.cluster.node(number).daemon().usage().expect("it runs")
    }

    fn sights(&self) -> &Receiver<Sight> {
        &self.sights
    }
}
