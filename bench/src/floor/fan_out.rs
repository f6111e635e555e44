//! `fan-out`: the same sealed bytes to several receivers, sendmmsg with a run of datagrams (UDP_SEGMENT) for each. What
//! a publisher with so many subscriber nodes pays at least, because sealing is done once for all of them.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};

use clap::Args;
use serde_json::json;

use super::meter::{self, Meter};
use super::mmsg::{Incoming, Outgoing};
use super::options::Measure;
use super::report::{Figure, Unit};
use super::socket::RING;
use super::{Fault, socket};

/// Runs that one recvmmsg takes at most.
const RECEIVES: usize = 8;
/// Receivers at most: one sendmmsg holds a run for each.
const RECEIVERS_MAX: usize = 64;

/// Its command line.
#[derive(Args, Clone, Debug)]
pub struct FanOut {
    /// Addresses that get the same bytes
    #[arg(long, default_value_t = 8)]
    receivers: usize,
    /// Bytes of each datagram
    #[arg(long, default_value_t = 1_448)]
    datagram: usize,
    /// Messages that one datagram stands for: 19 of 64 B fit into 1448 B
    #[arg(long, default_value_t = 19)]
    messages: u32,
    /// Datagrams of one run [default: what one send holds]
    #[arg(long)]
    segments: Option<usize>,
    /// Bytes that are sent before the first are sent again, as a stream's are which keeps them until they are acknowledged.
    /// 0 sends the same over and over, which stay in the processor's cache
    #[arg(long, default_value_t = RING)]
    ring: usize,
    #[command(flatten)]
    measure: Measure,
}

impl FanOut {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        self.measure.check()?;
        if !(1..=RECEIVERS_MAX).contains(&self.receivers) {
            return Err(
                format!("--receivers {}: give 1 to {RECEIVERS_MAX}", self.receivers).into(),
            );
        }
        if self.messages == 0 {
            return Err("--messages 0: a datagram stands for one at least".into());
        }
        let segments = socket::segments(self.datagram, self.segments)?;
        let settings = vec![
            ("receivers", json!(self.receivers)),
            ("datagram", json!(self.datagram)),
            ("messages", json!(self.messages)),
            ("segments", json!(segments)),
            ("ring", json!(self.ring)),
        ];
        super::rounds("fan-out", &self.measure, settings, || self.round(segments))
    }

    fn round(&self, segments: usize) -> Result<Vec<Figure>, Fault> {
        let tx = socket::socket()?;
        socket::segment(&tx, self.datagram)?;
        let mut to = Vec::new();
        let mut receivers = Vec::new();
        for _ in 0..self.receivers {
            let receiver = socket::socket()?;
            receiver.set_nonblocking(true)?;
            socket::coalesce(&receiver)?;
            to.push(socket::addr(&receiver)?);
            receivers.push(receiver);
        }
        let ((sent, ()), (received, ())) = meter::pair(
            &self.measure,
            |meter| self.send(&tx, &to, segments, meter),
            |meter| self.receive(&receivers, meter),
        )?;
        let messages = f64::from(self.messages);
        let per_datagram = sent.cpu_ns(sent.count);
        Ok(vec![
            ("rate", Unit::Millions, received.rate() * messages),
            ("sent_rate", Unit::Millions, sent.rate() * messages),
            ("datagram_rate", Unit::Millions, received.rate()),
            ("datagram_cpu_ns", Unit::Ns, per_datagram),
            ("message_cpu_ns", Unit::Ns, per_datagram / messages),
            (
                "delivered_message_cpu_ns",
                Unit::Ns,
                sent.cpu_ns(received.count) / messages,
            ),
        ])
    }

    fn send(
        &self,
        socket: &UdpSocket,
        to: &[SocketAddrV4],
        segments: usize,
        meter: &mut Meter<'_>,
    ) -> io::Result<()> {
        let run = segments * self.datagram;
        let ring = vec![1; self.ring.next_multiple_of(run).max(run)];
        let mut batches: Vec<_> = ring
            .chunks_exact(run)
            .map(|run| Outgoing::to_each(run, to))
            .collect();
        let (mut sent, mut at) = (0, 0);
        while meter.go_on(sent) {
            sent += (batches[at].send(socket)? * segments) as u64;
            at = (at + 1) % batches.len();
        }
        Ok(())
    }

    /// Goes round the sockets and never sleeps: waking it would be the sender's cost.
    fn receive(&self, sockets: &[UdpSocket], meter: &mut Meter<'_>) -> io::Result<()> {
        let mut batch = Incoming::new(RECEIVES, socket::SLOT_BYTES);
        let mut received = 0;
        while meter.go_on(received) {
            for socket in sockets {
                let runs = batch.recv(socket)?;
                received += runs
                    .map(|bytes| bytes.div_ceil(self.datagram) as u64)
                    .sum::<u64>();
            }
        }
        Ok(())
    }
}
