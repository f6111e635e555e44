//! `pipe`: sealed datagrams of coalesced records. One thread fills datagrams with records, seals each and sends runs of
//! them (UDP_SEGMENT); another receives runs (UDP_GRO), opens each datagram and copies each record out. What the receiver
//! is too slow for is lost and not counted.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use clap::Args;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::json;

use super::meter::{self, Lap, Meter};
use super::mmsg::{Outgoing, is_nothing};
use super::options::Measure;
use super::report::{Figure, Unit};
use super::socket::SENDS_MAX;
use super::{Fault, socket};
use crate::sys;

/// As a FAN datagram of Tidings: header, tag and the head of each record.
const HEADER: usize = 32;
const TAG: usize = 16;
const RECORD_HEAD: usize = 8;
/// Where the counter lies in the header.
const COUNTER: std::ops::Range<usize> = 8..16;
/// Where records are copied to, as into an application's ring.
const SINK_BYTES: usize = 1 << 20;

/// Its command line.
#[derive(Args, Clone, Debug)]
pub struct Pipe {
    /// Bytes of each message
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Bytes of each datagram, at most; to 65507 on loopback
    #[arg(long, default_value_t = 1_472)]
    pub datagram: usize,
    /// Runs of datagrams that are filled and sealed before one sendmmsg sends them
    #[arg(long, default_value_t = 1)]
    pub sends: usize,
    /// Bytes that datagrams are laid into one after the other, as a stream's are which are kept until they are acknowledged.
    /// 0 uses those of one call over and over, which stay in the processor's cache
    #[arg(long, default_value_t = 0)]
    pub ring: usize,
    /// Tell the CPU time within calls of the kernel, too: asking for it takes some itself
    #[arg(long)]
    pub calls: bool,
    /// How long and where
    #[command(flatten)]
    pub measure: Measure,
}

/// What one round showed, in messages.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The sender's lap.
    pub sent: Lap,
    /// The receiver's.
    pub received: Lap,
    /// CPU of the sender's calls in ns a datagram.
    pub send_ns: f64,
    /// CPU of the receiver's.
    pub recv_ns: f64,
}

/// Sizes that follow from the options.
#[derive(Clone, Copy)]
struct Shape {
    payload: usize,
    record: usize,
    records: usize,
    datagram: usize,
    segments: usize,
}

impl Shape {
    fn new(pipe: &Pipe) -> Result<Self, Fault> {
        // Records begin at multiples of 8, as those of Tidings do.
        let record = RECORD_HEAD + pipe.size.next_multiple_of(8);
        let records = pipe.datagram.saturating_sub(HEADER + TAG) / record;
        if records == 0 {
            let why = format!(
                "--datagram {}: no message of {} B fits, give {} or more",
                pipe.datagram,
                pipe.size,
                HEADER + record + TAG
            );
            return Err(why.into());
        }
        let datagram = HEADER + records * record + TAG;
        Ok(Self {
            payload: pipe.size,
            record,
            records,
            datagram,
            segments: socket::segments(datagram, None)?,
        })
    }
}

impl Pipe {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        self.measure.check()?;
        let shape = self.checked()?;
        let settings = vec![
            ("size", json!(shape.payload)),
            ("records", json!(shape.records)),
            ("datagram", json!(shape.datagram)),
            ("segments", json!(shape.segments)),
            ("sends", json!(self.sends)),
            ("ring", json!(self.ring)),
        ];
        super::rounds("pipe", &self.measure, settings, || {
            Ok(self.figures(shape, self.round()?))
        })
    }

    fn checked(&self) -> Result<Shape, Fault> {
        if !(1..=SENDS_MAX).contains(&self.sends) {
            return Err(format!("--sends {}: give 1 to {SENDS_MAX}", self.sends).into());
        }
        Shape::new(self)
    }

    /// How many runs hold so many datagrams.
    pub fn sends_of(&self, datagrams: f64) -> usize {
        let segments = socket::segments(self.datagram, None).unwrap_or(1);
        ((datagrams / segments as f64).round() as usize).clamp(1, SENDS_MAX)
    }

    /// One round. The cost model takes what its calls took as the kernel's step.
    pub fn round(&self) -> Result<Round, Fault> {
        let shape = self.checked()?;
        let (tx, rx) = socket::connected()?;
        socket::segment(&tx, shape.datagram)?;
        socket::coalesce(&rx)?;
        let ((sent, sending), (received, receiving)) = meter::pair(
            &self.measure,
            |meter| self.send(&tx, shape, meter),
            |meter| self.receive(&rx, shape, meter),
        )?;
        let datagrams = |lap: Lap| lap.count as f64 / shape.records as f64;
        Ok(Round {
            sent,
            received,
            send_ns: sending.as_nanos() as f64 / datagrams(sent).max(1.0),
            recv_ns: receiving.as_nanos() as f64 / datagrams(received).max(1.0),
        })
    }

    fn figures(&self, shape: Shape, round: Round) -> Vec<Figure> {
        let Round { sent, received, .. } = round;
        let mut figures = vec![
            ("rate", Unit::Millions, received.rate()),
            ("sent_rate", Unit::Millions, sent.rate()),
            (
                "bytes_rate",
                Unit::Gigabytes,
                received.rate() * shape.payload as f64,
            ),
            ("send_cpu_ns", Unit::Ns, sent.cpu_ns(sent.count)),
            ("recv_cpu_ns", Unit::Ns, received.cpu_ns(received.count)),
            (
                "cpu_ns",
                Unit::Ns,
                sent.cpu_ns(received.count) + received.cpu_ns(received.count),
            ),
        ];
        if self.calls {
            figures.push(("datagram_send_call_ns", Unit::Ns, round.send_ns));
            figures.push(("datagram_recv_call_ns", Unit::Ns, round.recv_ns));
        }
        figures
    }

    /// Calls the kernel, and adds the CPU time to `spent` if it shall be told and counts.
    fn call<T>(&self, meter: &Meter<'_>, spent: &mut Duration, call: impl FnOnce() -> T) -> T {
        if !self.calls || !meter.is_measuring() {
            return call();
        }
        let before = sys::thread_cpu_time();
        let result = call();
        *spent += sys::thread_cpu_time().saturating_sub(before);
        result
    }

    /// Answers the CPU time of its calls while it was measured.
    fn send(
        &self,
        socket: &UdpSocket,
        shape: Shape,
        meter: &mut Meter<'_>,
    ) -> io::Result<Duration> {
        let (key, payload) = (key(), vec![3; shape.payload]);
        let run = shape.segments * shape.datagram;
        let call = run * self.sends;
        let mut ring = vec![0; self.ring.next_multiple_of(call).max(call)];
        let (mut counter, mut sent, mut at) = (0, 0, 0);
        let mut calls = Duration::ZERO;
        while meter.go_on(sent) {
            let runs = &mut ring[at..at + call];
            for datagram in runs.chunks_exact_mut(shape.datagram) {
                fill(datagram, shape, &key, &payload, counter);
                counter += 1;
            }
            let mut outgoing = Outgoing::runs(runs, run);
            let went = self.call(meter, &mut calls, || outgoing.send(socket))?;
            sent += (went * shape.segments * shape.records) as u64;
            at = (at + call) % ring.len();
        }
        Ok(calls)
    }

    /// Answers the CPU time of its calls while it was measured.
    fn receive(
        &self,
        socket: &UdpSocket,
        shape: Shape,
        meter: &mut Meter<'_>,
    ) -> io::Result<Duration> {
        let key = key();
        let mut run = vec![0; socket::SLOT_BYTES];
        let (mut sink, mut at) = (vec![0; SINK_BYTES], 0);
        let mut received = 0;
        let mut calls = Duration::ZERO;
        while meter.go_on(received) {
            let len = match self.call(meter, &mut calls, || socket.recv(&mut run)) {
                Ok(len) => len,
                Err(error) if is_nothing(&error) => continue,
                Err(error) => return Err(error),
            };
            let datagrams = run[..len].chunks_exact_mut(shape.datagram);
            received += datagrams
                .map(|datagram| take(datagram, shape, &key, &mut sink, &mut at))
                .sum::<u64>();
        }
        std::hint::black_box(&sink);
        Ok(calls)
    }
}

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes make a key"))
}

fn nonce(header: &[u8]) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&header[COUNTER]);
    Nonce::assume_unique_for_key(bytes)
}

/// Fills and seals one datagram.
fn fill(datagram: &mut [u8], shape: Shape, key: &LessSafeKey, payload: &[u8], counter: u64) {
    let (header, rest) = datagram.split_at_mut(HEADER);
    header[COUNTER].copy_from_slice(&counter.to_le_bytes());
    let (body, tag) = rest.split_at_mut(shape.records * shape.record);
    for record in body.chunks_exact_mut(shape.record) {
        record[..4].copy_from_slice(&(shape.payload as u32).to_le_bytes());
        record[RECORD_HEAD..RECORD_HEAD + shape.payload].copy_from_slice(payload);
    }
    let sealed = key
        .seal_in_place_separate_tag(nonce(header), Aad::from(&*header), body)
        .expect("a datagram is not too long to seal");
    tag.copy_from_slice(sealed.as_ref());
}

/// Opens one datagram and copies its records out; answers how many.
fn take(
    datagram: &mut [u8],
    shape: Shape,
    key: &LessSafeKey,
    sink: &mut [u8],
    at: &mut usize,
) -> u64 {
    let (header, body) = datagram.split_at_mut(HEADER);
    let body = key
        .open_in_place(nonce(header), Aad::from(&*header), body)
        .expect("what was sealed opens");
    let mut count = 0;
    for record in body.chunks_exact(shape.record) {
        let len = u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize;
        if *at + len > sink.len() {
            *at = 0;
        }
        sink[*at..*at + len].copy_from_slice(&record[RECORD_HEAD..RECORD_HEAD + len]);
        *at += len;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        pipe: Pipe,
    }

    fn shape(arguments: &[&str]) -> Result<Shape, Fault> {
        let line = Line::try_parse_from([&["pipe"], arguments].concat())?;
        Shape::new(&line.pipe)
    }

    #[test]
    fn what_was_filled_is_taken_out_whole() {
        let shape = shape(&["--size", "61", "--datagram", "1448"]).expect("a good shape");
        let (key, payload) = (key(), vec![5; 61]);
        let mut datagram = vec![0; shape.datagram];
        fill(&mut datagram, shape, &key, &payload, 9);
        let (mut sink, mut at) = (vec![0; 2_000], 0);
        let count = take(&mut datagram, shape, &key, &mut sink, &mut at);
        assert_eq!((count, at), (19, 19 * 61));
        assert!(sink[..at].iter().all(|&byte| byte == 5));
    }

    #[test]
    fn datagrams_may_be_as_large_as_udp_carries() {
        let large = shape(&["--datagram", "65507"]).expect("a good shape");
        assert!(large.datagram > 65_400 && large.segments == 1);
        assert!(shape(&["--datagram", "100"]).is_err());
        assert!(shape(&["--datagram", "70000"]).is_err());
    }
}
