//! `raw`: one datagram for each message, sendmmsg to recvmmsg. What a program without coalescing and offload gets.

use std::io;
use std::net::UdpSocket;

use clap::Args;
use serde_json::json;

use super::gso::Round;
use super::meter::{self, Meter};
use super::mmsg::{Incoming, Outgoing};
use super::options::Measure;
use super::report::{Figure, Unit};
use super::{Fault, socket};

/// Messages of one call.
const BATCH: usize = 64;
/// No batch of this size is worth more.
const BATCH_MAX: usize = 1_024;

/// Its command line.
#[derive(Args, Clone, Debug)]
pub struct Raw {
    /// Bytes of each message, which is a datagram
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Messages of one sendmmsg and one recvmmsg
    #[arg(long, default_value_t = BATCH)]
    pub batch: usize,
    /// How long and where
    #[command(flatten)]
    pub measure: Measure,
}

impl Raw {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        self.measure.check()?;
        socket::segments(self.size, Some(1))?;
        if !(1..=BATCH_MAX).contains(&self.batch) {
            return Err(format!("--batch {}: give 1 to {BATCH_MAX}", self.batch).into());
        }
        let settings = vec![("size", json!(self.size)), ("batch", json!(self.batch))];
        super::rounds("raw", &self.measure, settings, || {
            Ok(Self::figures(self.round()?))
        })
    }

    /// One round. The cost model takes it as the kernel's part of an acknowledgement.
    pub fn round(&self) -> Result<Round, Fault> {
        let (tx, rx) = socket::connected()?;
        let ((sent, ()), (received, ())) = meter::pair(
            &self.measure,
            |meter| self.send(&tx, meter),
            |meter| self.receive(&rx, meter),
        )?;
        Ok(Round { sent, received })
    }

    fn figures(Round { sent, received }: Round) -> Vec<Figure> {
        vec![
            ("rate", Unit::Millions, received.rate()),
            ("sent_rate", Unit::Millions, sent.rate()),
            ("send_cpu_ns", Unit::Ns, sent.cpu_ns(sent.count)),
            ("recv_cpu_ns", Unit::Ns, received.cpu_ns(received.count)),
            (
                "cpu_ns",
                Unit::Ns,
                sent.cpu_ns(received.count) + received.cpu_ns(received.count),
            ),
        ]
    }

    fn send(&self, socket: &UdpSocket, meter: &mut Meter<'_>) -> io::Result<()> {
        let bytes = vec![1; self.size * self.batch];
        let mut batch = Outgoing::runs(&bytes, self.size);
        let mut sent = 0;
        while meter.go_on(sent) {
            sent += batch.send(socket)? as u64;
        }
        Ok(())
    }

    fn receive(&self, socket: &UdpSocket, meter: &mut Meter<'_>) -> io::Result<()> {
        let mut batch = Incoming::new(self.batch, self.size.max(1));
        let mut received = 0;
        while meter.go_on(received) {
            received += batch.recv(socket)?.count() as u64;
        }
        Ok(())
    }
}
