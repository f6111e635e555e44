//! The switch: one thread that reads the TAPs of all hosts, lets every packet meet its fate on the directed link that it
//! takes, and writes what is left to the TAP of its receiver when its time has come. It sleeps when nothing is due.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::capture::{Capture, End};
use super::class::Class;
use super::control::Control;
use super::fate::{Chance, Fate};
use super::frame::{self, Kind, Target};
use super::impairment::Impairment;
use super::pool::{Pool, Slot};
use super::schedule::{Parcel, Schedule};
use super::search::Needle;
use super::sys;

/// Frames read from one host before the others get their turn.
const BATCH: usize = 64;
/// Frames read from one host before a change of settings: more than its queue holds.
const BEFORE_CHANGE: usize = 2 * QUEUE as usize;
/// Frames that wait in a host for the switch. A burst beyond this is lost there and counted as the interface's `tx_dropped`.
pub(super) const QUEUE: u32 = 8192;
/// How long a capture may lie in memory.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// One directed link.
#[derive(Debug)]
struct Link {
    settings: Impairment,
    chance: Chance,
    /// When the bottleneck will have sent all that waits, ns.
    busy_until: u64,
    /// Latest arrival so far, ns; for `in_order`.
    last_due: u64,
}

#[derive(Debug)]
pub(super) struct Switch {
    control: Arc<Control>,
    taps: Vec<File>,
    polled: Vec<libc::pollfd>,
    woken: PipeReader,
    links: Vec<Link>,
    unplugged: Vec<bool>,
    needles: Vec<Arc<Needle>>,
    pool: Pool,
    /// Where frames go that nobody can hold.
    scrap: Vec<u8>,
    schedule: Schedule,
    capture: Option<Capture>,
    started: Instant,
    applied: u64,
}

/// A packet just read.
struct Arrival {
    now: u64,
    from: usize,
    slot: Slot,
    class: Class,
    payload: std::ops::Range<usize>,
    udp: Option<usize>,
}

impl Switch {
    pub(super) fn new(
        control: Arc<Control>,
        taps: Vec<File>,
        woken: PipeReader,
        mtu: u32,
        seed: u64,
        capture: Option<Capture>,
    ) -> Switch {
        let hosts = taps.len();
        let fds = taps
            .iter()
            .map(AsRawFd::as_raw_fd)
            .chain([woken.as_raw_fd()]);
        let polled = fds
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let link = |i| Link {
            settings: Impairment::default(),
            chance: Chance::new(seed, i / hosts, i % hosts),
            busy_until: 0,
            last_due: 0,
        };
        let size = mtu as usize + frame::ETHERNET;
        Switch {
            control,
            polled,
            woken,
            links: (0..hosts * hosts).map(link).collect(),
            unplugged: vec![false; hosts],
            needles: Vec::new(),
            pool: Pool::new(size),
            scrap: vec![0; size],
            schedule: Schedule::default(),
            capture,
            started: Instant::now(),
            applied: 0,
            taps,
        }
    }

    /// Runs until the control says stop.
    pub(super) fn run(mut self) {
        sys::sharp_timers();
        let mut flushed = Instant::now();
        while !self.control.stopping() {
            self.take_change();
            self.release();
            self.wait();
            for port in 0..self.taps.len() {
                if self.polled[port].revents != 0 {
                    self.read(port, BATCH);
                    self.release();
                }
            }
            if flushed.elapsed() >= FLUSH_EVERY {
                self.flush();
                flushed = Instant::now();
            }
        }
        self.flush();
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Sleeps until a host sends, a frame is due or somebody rings.
    fn wait(&mut self) {
        let due = self
            .schedule
            .next()
            .map(|at| Duration::from_nanos(at.saturating_sub(self.now())));
        let flush = self
            .capture
            .as_ref()
            .filter(|c| c.dirty())
            .map(|_| FLUSH_EVERY);
        let timeout = [due, flush].into_iter().flatten().min();
        let ready = sys::poll(&mut self.polled, timeout).expect("polling valid descriptors");
        if ready > 0 && self.polled.last().is_some_and(|bell| bell.revents != 0) {
            // Only wakes; what to do stands in the control. An end of file means that the control is gone.
            let _ = self.woken.read(&mut [0; 64]);
        }
    }

    /// Takes over new settings, after everything that was sent under the old ones.
    fn take_change(&mut self) {
        let version = self.control.version();
        if version == self.applied {
            return;
        }
        for port in 0..self.taps.len() {
            self.read(port, BEFORE_CHANGE);
        }
        let wanted = self.control.wanted().clone();
        for (link, settings) in self.links.iter_mut().zip(wanted.links) {
            link.settings = settings;
        }
        self.unplugged = wanted.unplugged;
        self.needles = wanted.needles;
        self.applied = version;
        self.control.took(version);
    }

    fn flush(&mut self) {
        if let Some(capture) = self.capture.as_mut().filter(|c| c.dirty()) {
            capture.flush().expect("writing a capture");
        }
    }

    fn read(&mut self, port: usize, limit: usize) {
        for _ in 0..limit {
            let slot = self.pool.take();
            let room = match slot {
                Some(slot) => self.pool.room(slot),
                None => &mut self.scrap,
            };
            let got = (&self.taps[port]).read(room);
            match (got, slot) {
                (Ok(length), Some(slot)) => {
                    self.pool.set_length(slot, length);
                    self.route(port, slot);
                    continue;
                }
                (Ok(length), None) => {
                    self.refuse(port, length);
                    continue;
                }
                (Err(error), slot) => {
                    if let Some(slot) = slot {
                        self.pool.give(slot);
                    }
                    if error.kind() != ErrorKind::WouldBlock {
                        self.polled[port].fd = -1; // the host removed its interface: it is silent from here on
                    }
                    return;
                }
            }
        }
    }

    /// Counts a frame for which there was no buffer.
    fn refuse(&mut self, from: usize, length: usize) {
        let frame = &self.scrap[..length];
        let (Kind::Packet { class, payload, .. }, Some(to)) =
            (frame::kind(frame), self.port(frame::target(frame)))
        else {
            return;
        };
        self.count_sent(from, to, class, length, payload.len());
        self.control
            .counters
            .cells(self.link(from, to), class)
            .refused
            .add(1);
    }

    fn port(&self, target: Target) -> Option<usize> {
        match target {
            Target::Host(number) => number.checked_sub(1).filter(|&port| port < self.taps.len()),
            Target::Everybody | Target::Nobody => None,
        }
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * self.taps.len() + to
    }

    fn route(&mut self, from: usize, slot: Slot) {
        let bytes = self.pool.frame(slot);
        for needle in &self.needles {
            needle.look(bytes);
        }
        let target = frame::target(bytes);
        match frame::kind(bytes) {
            Kind::Noise => {}
            Kind::Neighbour => self.pass(from, target, slot),
            Kind::Packet {
                class,
                payload,
                udp,
            } => {
                let arrival = Arrival {
                    now: self.now(),
                    from,
                    slot,
                    class,
                    payload,
                    udp,
                };
                return self.send_on(target, arrival);
            }
        }
        self.pool.give(slot);
    }

    /// Neighbour discovery: at once and unharmed, so that a lossy link does not look like a missing host.
    fn pass(&mut self, from: usize, target: Target, slot: Slot) {
        self.control.counters.neighbour.add(1);
        let one = self.port(target);
        for to in 0..self.taps.len() {
            let meant = one.map_or(target == Target::Everybody, |port| port == to);
            if meant && to != from && !self.unplugged[from] && !self.unplugged[to] {
                // A refusal means that the receiver's interface is down, and then it needs no answer.
                let _ = (&self.taps[to]).write(self.pool.frame(slot));
            }
        }
    }

    fn send_on(&mut self, target: Target, arrival: Arrival) {
        if let Some(to) = self.port(target) {
            return self.carry(to, arrival);
        }
        if target != Target::Everybody {
            self.control.counters.unknown.add(1);
            return self.pool.give(arrival.slot);
        }
        for to in (0..self.taps.len()).filter(|&to| to != arrival.from) {
            if let Some(slot) = self.pool.copy(arrival.slot) {
                self.carry(
                    to,
                    Arrival {
                        slot,
                        payload: arrival.payload.clone(),
                        ..arrival
                    },
                );
            }
        }
        self.pool.give(arrival.slot);
    }

    fn count_sent(&self, from: usize, to: usize, class: Class, bytes: usize, payload: usize) {
        let cells = self.control.counters.cells(self.link(from, to), class);
        cells.sent.add(1);
        cells.sent_bytes.add(bytes as u64);
        cells.sent_payload.add(payload as u64);
    }

    /// One packet enters one directed link.
    fn carry(&mut self, to: usize, arrival: Arrival) {
        let Arrival {
            now,
            from,
            slot,
            class,
            ..
        } = arrival;
        let at = self.link(from, to);
        self.count_sent(
            from,
            to,
            class,
            self.pool.frame(slot).len(),
            arrival.payload.len(),
        );
        if let Some(capture) = &mut self.capture {
            capture
                .record(now, from, to, End::Sent, self.pool.frame(slot))
                .expect("writing a capture");
        }
        let link = &mut self.links[at];
        let fate = link
            .chance
            .draw(&link.settings, link.settings.only.has(class));
        let cells = self.control.counters.cells(at, class);
        let dropped = if link.settings.cut.has(class) || self.unplugged[from] || self.unplugged[to]
        {
            Some(&cells.cut)
        } else {
            fate.lost.then_some(&cells.lost)
        };
        if let Some(reason) = dropped {
            reason.add(1);
            return self.pool.give(slot);
        }
        self.meet(to, arrival, fate);
    }

    /// A packet that was not lost is doubled, damaged and put on its way.
    fn meet(&mut self, to: usize, arrival: Arrival, fate: Fate) {
        let Arrival {
            now,
            from,
            slot,
            class,
            payload,
            udp,
        } = arrival;
        let at = self.link(from, to);
        let parcel = Parcel {
            from,
            to,
            class,
            payload: payload.len(),
            slot,
        };
        let copy = if fate.duplicate {
            self.pool.copy(slot)
        } else {
            None
        };
        let cells = self.control.counters.cells(at, class);
        cells.ahead.add(u64::from(fate.ahead));
        if fate.corrupt {
            let through = self.links[at].settings.corruption == super::Corruption::Application;
            let flipped = frame::flip(
                self.pool.frame_mut(slot),
                payload,
                udp.filter(|_| through),
                fate.bit,
            );
            cells.corrupted.add(u64::from(flipped));
        }
        self.transmit(now, fate.delay, fate.ahead, parcel);
        if let Some(slot) = copy {
            self.control.counters.cells(at, class).duplicated.add(1);
            self.transmit(now, fate.copy_delay, false, Parcel { slot, ..parcel });
        }
    }

    /// Queue, rate and delay: says when the packet arrives.
    fn transmit(&mut self, now: u64, delay: u64, ahead: bool, parcel: Parcel) {
        let at = self.link(parcel.from, parcel.to);
        let length = self.pool.frame(parcel.slot).len() as u64;
        let link = &mut self.links[at];
        let mut due = now + delay;
        if let Some(rate) = link.settings.rate {
            let per_second = rate.bits_per_second;
            let waiting = u128::from(link.busy_until.saturating_sub(now)) * u128::from(per_second)
                / 8_000_000_000;
            if waiting > 0 && waiting + u128::from(length) > rate.queue as u128 {
                self.control
                    .counters
                    .cells(at, parcel.class)
                    .overflowed
                    .add(1);
                return self.pool.give(parcel.slot);
            }
            let takes = u128::from(length) * 8_000_000_000 / u128::from(per_second);
            link.busy_until = link.busy_until.max(now) + takes as u64;
            due = link.busy_until + delay;
        }
        if link.settings.in_order && !ahead {
            due = due.max(link.last_due);
            link.last_due = due;
        }
        if due <= now {
            self.deliver(parcel);
        } else {
            self.schedule.push(due, parcel);
            self.control
                .counters
                .waiting
                .store(self.schedule.len() as u64, Relaxed);
        }
    }

    fn release(&mut self) {
        if self.schedule.len() == 0 {
            return;
        }
        let now = self.now();
        while let Some(parcel) = self.schedule.pop_due(now) {
            self.deliver(parcel);
        }
        self.control
            .counters
            .waiting
            .store(self.schedule.len() as u64, Relaxed);
    }

    fn deliver(&mut self, parcel: Parcel) {
        let Parcel {
            from,
            to,
            class,
            payload,
            slot,
        } = parcel;
        let at = self.link(from, to);
        let cells = self.control.counters.cells(at, class);
        let frame = self.pool.frame(slot);
        let bytes = frame.len() as u64;
        if self.links[at].settings.cut.has(class) || self.unplugged[from] || self.unplugged[to] {
            cells.cut.add(1);
            return self.pool.give(slot);
        }
        // Counted first, so that whoever has received a packet finds it counted.
        cells.delivered.add(1);
        cells.delivered_bytes.add(bytes);
        cells.delivered_payload.add(payload as u64);
        if (&self.taps[to]).write(frame).is_err() {
            cells.delivered.take_back(1);
            cells.delivered_bytes.take_back(bytes);
            cells.delivered_payload.take_back(payload as u64);
            cells.refused.add(1);
        } else if let Some(capture) = &mut self.capture {
            let now = self.started.elapsed().as_nanos() as u64;
            capture
                .record(now, from, to, End::Delivered, frame)
                .expect("writing a capture");
        }
        self.pool.give(slot);
    }
}

impl Drop for Switch {
    /// Whether it stopped or panicked: nobody waits for it any more.
    fn drop(&mut self) {
        self.control.took(u64::MAX);
    }
}
