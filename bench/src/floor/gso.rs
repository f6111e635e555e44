//! `gso`: runs of equal datagrams over UDP_SEGMENT and UDP_GRO, nothing sealed. The kernel's part of Tidings' data path.

use std::io;
use std::net::UdpSocket;

use clap::Args;
use serde_json::json;

use super::meter::{self, Lap, Meter};
use super::mmsg::{Incoming, Outgoing};
use super::options::Measure;
use super::report::{Figure, Unit};
use super::socket::{RING, SENDS_MAX};
use super::{Fault, socket};

/// Runs of one sendmmsg: a shard sends two or three at full load.
const SENDS: usize = 3;
/// Runs that one recvmmsg takes at most.
const RECEIVES: usize = 16;

/// Its command line.
#[derive(Args, Clone, Debug)]
pub struct Gso {
    /// Bytes of each datagram
    #[arg(long, default_value_t = 1_448)]
    datagram: usize,
    /// Datagrams of one run [default: what one send holds]
    #[arg(long)]
    segments: Option<usize>,
    /// Runs of one sendmmsg
    #[arg(long, default_value_t = SENDS)]
    sends: usize,
    /// Bytes that are sent before the first are sent again, as a stream's are which keeps them until they are acknowledged.
    /// 0 sends the same over and over, which stay in the processor's cache
    #[arg(long, default_value_t = RING)]
    ring: usize,
    #[command(flatten)]
    measure: Measure,
}

/// What one round showed: datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The sender's lap.
    pub sent: Lap,
    /// The receiver's.
    pub received: Lap,
}

impl Gso {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        self.measure.check()?;
        let segments = self.checked()?;
        let settings = vec![
            ("datagram", json!(self.datagram)),
            ("segments", json!(segments)),
            ("sends", json!(self.sends)),
            ("ring", json!(self.ring)),
        ];
        super::rounds("gso", &self.measure, settings, || {
            Ok(self.figures(self.round()?))
        })
    }

    fn checked(&self) -> Result<usize, Fault> {
        if !(1..=SENDS_MAX).contains(&self.sends) {
            return Err(format!("--sends {}: give 1 to {SENDS_MAX}", self.sends).into());
        }
        socket::segments(self.datagram, self.segments)
    }

    fn figures(&self, round: Round) -> Vec<Figure> {
        let Round { sent, received } = round;
        vec![
            ("rate", Unit::Millions, received.rate()),
            ("sent_rate", Unit::Millions, sent.rate()),
            (
                "bytes_rate",
                Unit::Gigabytes,
                received.rate() * self.datagram as f64,
            ),
            ("send_cpu_ns", Unit::Ns, sent.cpu_ns(sent.count)),
            ("recv_cpu_ns", Unit::Ns, received.cpu_ns(received.count)),
            (
                "cpu_ns",
                Unit::Ns,
                sent.cpu_ns(received.count) + received.cpu_ns(received.count),
            ),
        ]
    }

    fn round(&self) -> Result<Round, Fault> {
        let segments = self.checked()?;
        let (tx, rx) = socket::connected()?;
        socket::segment(&tx, self.datagram)?;
        socket::coalesce(&rx)?;
        let ((sent, ()), (received, ())) = meter::pair(
            &self.measure,
            |meter| self.send(&tx, segments, meter),
            |meter| self.receive(&rx, meter),
        )?;
        Ok(Round { sent, received })
    }

    fn send(&self, socket: &UdpSocket, segments: usize, meter: &mut Meter<'_>) -> io::Result<()> {
        let run = segments * self.datagram;
        let call = run * self.sends;
        let ring = vec![1; self.ring.next_multiple_of(call).max(call)];
        let calls = ring.chunks_exact(call);
        let mut calls: Vec<_> = calls.map(|bytes| Outgoing::runs(bytes, run)).collect();
        let (mut sent, mut at) = (0, 0);
        while meter.go_on(sent) {
            sent += (calls[at].send(socket)? * segments) as u64;
            at = (at + 1) % calls.len();
        }
        Ok(())
    }

    fn receive(&self, socket: &UdpSocket, meter: &mut Meter<'_>) -> io::Result<()> {
        let mut batch = Incoming::new(RECEIVES, socket::SLOT_BYTES);
        let mut received = 0;
        while meter.go_on(received) {
            let runs = batch.recv(socket)?;
            received += runs
                .map(|bytes| bytes.div_ceil(self.datagram) as u64)
                .sum::<u64>();
        }
        Ok(())
    }
}
