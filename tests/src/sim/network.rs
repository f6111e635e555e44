//! What is between the nodes: paths with their faults, datagrams on their way, and everything that is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use tidings_wire::Class;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::S;
use super::check::Nonces;
use super::node::keyring;
use super::plan::{Plan, Weather};
use super::random::Random;
use super::recorder::Recorder;

/// Who is at an address that is no node's.
pub(crate) const INSIDER: usize = 200;

/// Where a node listens.
pub(crate) fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7400))
}

pub(crate) fn whose(addr: SocketAddr) -> Option<usize> {
    match addr.ip() {
        IpAddr::V4(ip) => usize::from(ip.octets()[3]).checked_sub(1),
        IpAddr::V6(_) => None,
    }
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Datagram(u32),
    Turn(usize),
    Act(usize),
    Start(usize),
    Step(usize),
    End(usize),
    Attack,
    Insider,
    Audit,
}

/// A datagram on its way, or waiting for its receiver's turn.
#[derive(Default)]
pub(crate) struct Flight {
    pub(crate) to: usize,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) bytes: Vec<u8>,
    /// It is not what was sent: nobody may take it.
    pub(crate) marred: bool,
}

#[derive(Clone, Copy, Default)]
struct Path {
    delay: u64,
    // How many cuts of each class.
    cuts: [u16; 4],
    rate: u64,
    free_at: u64,
}

/// What happened to datagrams, for the coverage of faults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    pub(crate) sent: u64,
    /// With a nonce of their own: a FAN datagram goes to many, and is kept for repair.
    pub(crate) sealed: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    pub(crate) corrupted: u64,
    pub(crate) cut: u64,
    pub(crate) clogged: u64,
    pub(crate) overflowed: u64,
}

/// The network and the queue of what is due.
pub(crate) struct Network {
    pub(crate) now: u64,
    pub(crate) weather: Weather,
    pub(crate) trace: u64,
    pub(crate) passed: Passed,
    /// Which life each node is in.
    pub(crate) lives: Vec<u64>,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) to_insider: Vec<(usize, Vec<u8>)>,
    random: Random,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Due)>>,
    flights: Vec<Flight>,
    free: Vec<u32>,
    paths: Vec<Path>,
    nonces: Nonces,
}

impl Network {
    pub(crate) fn new(plan: &Plan, recorder: Option<Recorder>) -> Network {
        let nodes = plan.options.nodes;
        let mut random = Random::of(plan.options.seed, "network");
        let (low, high) = plan.weather.delay;
        let mut paths = vec![Path::default(); nodes * nodes];
        for at in 0..nodes * nodes {
            let (from, to) = (at / nodes, at % nodes);
            // There and back are equally far.
            paths[at].delay = if from < to {
                random.between(low, high)
            } else {
                paths[to * nodes + from].delay
            };
        }
        Network {
            now: S,
            weather: plan.weather.clone(),
            trace: plan.options.seed,
            passed: Passed::default(),
            lives: vec![0; nodes],
            recorder,
            to_insider: Vec::new(),
            random,
            order: 0,
            queue: BinaryHeap::new(),
            flights: Vec::new(),
            free: Vec::new(),
            paths,
            nonces: Nonces::new(keyring(plan)),
        }
    }

    pub(crate) fn at(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, due)));
    }

    /// What is due next, not after `until`. Time goes on to it.
    pub(crate) fn next(&mut self, until: u64) -> Option<Due> {
        let Reverse((at, _, _)) = self.queue.peek()?;
        if *at > until {
            return None;
        }
        let Reverse((at, _, due)) = self.queue.pop()?;
        self.now = self.now.max(at);
        Some(due)
    }

    pub(crate) fn flight(&mut self, flight: u32) -> &mut Flight {
        &mut self.flights[flight as usize]
    }

    pub(crate) fn waiting(&self, flight: u32) -> usize {
        self.flights[flight as usize].bytes.len()
    }

    pub(crate) fn landed(&mut self, flight: u32) {
        self.free.push(flight);
    }

    /// Notes something that nodes or clients did, for the trace.
    pub(crate) fn note(&mut self, what: u64) {
        self.trace = xxh3_64_with_seed(&what.to_le_bytes(), self.trace);
    }

    /// A node sends a datagram.
    pub(crate) fn send(&mut self, from: usize, to: SocketAddr, class: Class, datagram: &[u8]) {
        self.note(self.now << 8 | from as u64);
        self.trace = xxh3_64_with_seed(datagram, self.trace);
        self.passed.sent += 1;
        let Some(target) = whose(to) else {
            return;
        };
        let sender = (from as u64, self.lives[from]);
        let sealed = self.nonces.check(sender, target as u64, class, datagram);
        self.passed.sealed += u64::from(sealed);
        if target == INSIDER {
            self.to_insider.push((from, datagram.to_vec()));
            return;
        }
        if target >= self.lives.len() {
            return;
        }
        if let Some(recorder) = &mut self.recorder {
            let lives = (self.lives[from], self.lives[target]);
            recorder.record(self.now, (from, target), lives, class, datagram);
        }
        let Some(wait) = self.passes(from, target, class, datagram.len()) else {
            return;
        };
        let copies = if self.random.chance(self.weather.duplicate) {
            self.passed.doubled += 1;
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut delay = wait + self.random.below(self.weather.jitter);
            if self.random.chance(self.weather.late) {
                self.passed.late += 1;
                delay += self.random.exponential(self.weather.late_by);
            }
            let corrupt = self.random.chance(self.weather.corrupt);
            self.fly((from, target), delay, datagram, corrupt);
        }
    }

    // How long a datagram takes on its path; `None` if it does not get there.
    fn passes(&mut self, from: usize, to: usize, class: Class, len: usize) -> Option<u64> {
        let path = &mut self.paths[from * self.lives.len() + to];
        if path.cuts[class as usize - 1] > 0 {
            self.passed.cut += 1;
            return None;
        }
        let mut delay = path.delay;
        if let Some(takes) = (len as u64 * S).checked_div(path.rate) {
            let waits = path.free_at.saturating_sub(self.now);
            // A quarter of a second's worth may wait.
            if waits > S / 4 {
                self.passed.clogged += 1;
                return None;
            }
            path.free_at = self.now + waits + takes;
            delay += path.free_at - self.now;
        }
        if self.random.chance(self.weather.loss) {
            self.passed.lost += 1;
            return None;
        }
        Some(delay)
    }

    pub(crate) fn fly(
        &mut self,
        (from, to): (usize, usize),
        delay: u64,
        datagram: &[u8],
        corrupt: bool,
    ) {
        let flight = self.free.pop().unwrap_or_else(|| {
            self.flights.push(Flight::default());
            self.flights.len() as u32 - 1
        });
        let place = &mut self.flights[flight as usize];
        (place.to, place.from) = (to, Some(address(from)));
        place.bytes.clear();
        place.bytes.extend_from_slice(datagram);
        place.marred = false;
        if corrupt {
            mar(&mut self.random, &mut place.bytes);
            place.marred = place.bytes != datagram;
            self.passed.corrupted += u64::from(place.marred);
        }
        self.at(self.now + delay, Due::Datagram(flight));
    }

    /// Begins or ends a cut from one set of nodes to another for classes of datagrams.
    pub(crate) fn cut(&mut self, (from, to): (u64, u64), classes: u8, begins: bool) {
        let nodes = self.lives.len();
        for (at, path) in self.paths.iter_mut().enumerate() {
            if from >> (at / nodes) & 1 == 0 || to >> (at % nodes) & 1 == 0 {
                continue;
            }
            for (class, cuts) in path.cuts.iter_mut().enumerate() {
                if classes >> class & 1 == 1 {
                    *cuts = if begins {
                        *cuts + 1
                    } else {
                        cuts.saturating_sub(1)
                    };
                }
            }
        }
    }

    /// Whether nothing passes from one node to another.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.paths[from * self.lives.len() + to].cuts[Class::Pair as usize - 1] > 0
    }

    /// So many bytes a second pass from one node to another; 0 for all.
    pub(crate) fn clog(&mut self, from: usize, to: usize, rate: u64) {
        self.paths[from * self.lives.len() + to].rate = rate;
    }

    /// All paths are good from now on.
    pub(crate) fn heal(&mut self) {
        self.weather = Weather {
            delay: self.weather.delay,
            jitter: 10_000,
            ..Weather::default()
        };
        for path in &mut self.paths {
            (path.cuts, path.rate) = ([0; 4], 0);
        }
    }
}

/// Changes a datagram as bad hardware, or a bad person, does.
pub(crate) fn mar(random: &mut Random, bytes: &mut Vec<u8>) {
    let len = bytes.len() as u64;
    match random.below(8) {
        0 => bytes.truncate(random.below(len) as usize),
        1 => {
            let more = random.between(1, 32) as usize;
            bytes.resize(bytes.len() + more, 0);
        }
        2 => {
            let tail = random.below(len) as usize;
            random.fill(&mut bytes[tail..]);
        }
        // Mostly in the header, which is what is looked at first.
        3..5 => bytes[random.below(len.min(32)) as usize] ^= 1 << random.below(8),
        _ => bytes[random.below(len) as usize] ^= 1 << random.below(8),
    }
}
