//! The sockets of a shard with their receive pools and the send side: where batches of datagrams enter and leave.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use tidings_protocol::Core;
use tidings_wire::{Class, MIN_DATAGRAM_SIZE};

use super::dispatch::Yard;
use super::oversize::Oversize;
use crate::limits::{
    BATCHES_PER_TURN_MAX, SLOT_BYTES_GRO, SLOT_BYTES_HELLO, SLOTS_CONTROL_MAX, SLOTS_DATA_MAX,
    SLOTS_HELLO, SLOTS_MIN,
};
use crate::metrics::ShardCounters;
use crate::sys::errqueue::{self, Complaint};
use crate::sys::group::ShardSockets;
use crate::sys::recv::{Received, Receiver};
use crate::sys::send::{Datagrams, Sender, Sent};
use crate::wait::{Input, WaitSet};

/// The sockets and their buffers.
pub(crate) struct Net {
    sockets: ShardSockets,
    control: Receiver,
    data: Receiver,
    hello: Receiver,
    sender: Box<Sender>,
    oversize: Oversize,
    too_big: Vec<(SocketAddr, usize)>,
    /// The control socket's error queue has something.
    errors: bool,
    /// The data socket is in the set of what the shard waits for.
    data_in_set: bool,
}

impl Net {
    pub(crate) fn new(sockets: ShardSockets) -> Self {
        let hello_slots = if sockets.hello.is_some() {
            SLOTS_HELLO
        } else {
            0
        };
        Self {
            sockets,
            control: Receiver::new(SLOT_BYTES_GRO, SLOTS_MIN, SLOTS_CONTROL_MAX),
            data: Receiver::new(SLOT_BYTES_GRO, SLOTS_MIN, SLOTS_DATA_MAX),
            hello: Receiver::new(SLOT_BYTES_HELLO, hello_slots, hello_slots),
            sender: Sender::new(),
            oversize: Oversize::default(),
            too_big: Vec::new(),
            errors: false,
            data_in_set: true,
        }
    }

    /// Lets receive pools shrink that were mostly empty since the last call. Returns whether any may shrink further.
    pub(crate) fn relax(&mut self) -> bool {
        let control = self.control.relax();
        self.data.relax() || control
    }

    /// Slots of the pools that grow and shrink.
    pub(crate) fn slots(&self) -> usize {
        self.control.slots() + self.data.slots()
    }

    /// Whether a receive pool is larger than at start.
    pub(crate) fn is_grown(&self) -> bool {
        self.control.is_grown() || self.data.is_grown()
    }

    /// Puts the sockets into the set of what the shard waits for.
    pub(crate) fn watch(&self, set: &WaitSet) -> io::Result<()> {
        set.add_socket(Input::Control, self.sockets.control.as_fd())?;
        set.add_socket(Input::Data, self.sockets.data.as_fd())?;
        match &self.sockets.hello {
            Some(hello) => set.add_socket(Input::Hello, hello.as_fd()),
            None => Ok(()),
        }
    }

    /// Takes the data socket out of the set, or back in.
    pub(crate) fn put_data(&mut self, set: &WaitSet, in_set: bool) -> io::Result<()> {
        let fd = self.sockets.data.as_fd();
        match in_set {
            true => set.add_socket(Input::Data, fd)?,
            false => set.remove_socket(fd)?,
        }
        self.data_in_set = in_set;
        Ok(())
    }

    /// Whether the data socket is read without asking the set.
    pub(crate) fn is_data_apart(&self) -> bool {
        !self.data_in_set
    }

    /// Whether the shard's sleep is to end when data comes.
    pub(crate) fn watch_data(&self, set: &WaitSet, watch: bool) {
        // Only of one that is not in the set there is an error.
        let _ = set.change_socket(Input::Data, self.sockets.data.as_fd(), watch);
    }

    pub(crate) fn rcvbuf(&self) -> usize {
        self.sockets.data.rcvbuf()
    }

    /// Receives from one socket within its budget of the turn, at most so many messages with each call, handing every datagram to the
    /// yard. Returns whether anything came and whether more may be there.
    pub(crate) fn receive(
        &mut self,
        input: Input,
        most: usize,
        now: u64,
        yard: &mut Yard,
    ) -> (bool, bool) {
        let (socket, receiver, batches) = match (input, &self.sockets.hello) {
            (Input::Control, _) => (
                &self.sockets.control,
                &mut self.control,
                BATCHES_PER_TURN_MAX,
            ),
            (Input::Data, _) => (&self.sockets.data, &mut self.data, BATCHES_PER_TURN_MAX),
            (Input::Hello, Some(hello)) => (hello, &mut self.hello, 1),
            (Input::Hello, None) => return (false, false),
        };
        let mut any = false;
        for _ in 0..batches {
            match receiver.recv(socket, most) {
                Received::Nothing => {
                    yard.counters.recv_empty += 1;
                    return (any, false);
                }
                Received::Error => {
                    // Only the control socket keeps errors; any other one told its error by this call.
                    self.errors |= input == Input::Control;
                    return (any, true);
                }
                Received::Batch { full } => {
                    any = true;
                    let taken = receiver.take(|from, datagram| yard.dispatch(now, from, datagram));
                    let counters = &mut yard.counters;
                    counters.recv_calls += 1;
                    counters.recv_messages += taken.messages as u64;
                    counters.recv_datagrams += taken.datagrams as u64;
                    counters.recv_bytes += taken.bytes as u64;
                    counters.recv_cut += taken.refused as u64;
                    if !full {
                        return (true, false);
                    }
                    // The next batch might find no room.
                    if input == Input::Data && yard.is_filling() {
                        return (true, true);
                    }
                }
            }
        }
        (any, true)
    }

    /// Drains a bounded part of the error queue, handing port-unreachable errors to `each`.
    pub(crate) fn errors(
        &mut self,
        counters: &mut ShardCounters,
        mut each: impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        if !std::mem::take(&mut self.errors) {
            return false;
        }
        let read = errqueue::drain(
            &self.sockets.control,
            |to, complaint, quoted| match complaint {
                Complaint::Refused => {
                    counters.icmp_refused += 1;
                    each(to, quoted);
                }
                Complaint::Other => counters.icmp_other += 1,
            },
        );
        self.errors = read == crate::limits::ERRORS_PER_TURN_MAX;
        true
    }

    /// Sends everything that a core planned: control first, each class by its socket.
    pub(crate) fn send(&mut self, now: u64, core: &Core, counters: &mut ShardCounters) {
        let is_control = |class: Class| matches!(class, Class::Pair | Class::Hello);
        let runs = |control: bool| {
            core.transmits()
                .filter(move |run| is_control(run.class) == control)
                .map(|run| Datagrams {
                    to: run.to,
                    class: run.class,
                    segment: run.segment,
                    bytes: run.bytes,
                })
        };
        let sent = self.sender.send(&self.sockets.control, now, runs(true));
        self.errors |= sent.errors;
        count(counters, sent);
        self.take_refused(now);
        let sent = self.sender.send(&self.sockets.data, now, runs(false));
        count(counters, sent);
        self.take_refused(now);
    }

    // What larger datagrams would have brought goes in smaller ones, and a probe of the path's size is meant to be refused where it is
    // too big. The smallest must fit: nothing replaces them.
    fn take_refused(&mut self, now: u64) {
        for (to, bytes) in self.sender.take_too_big() {
            if bytes <= MIN_DATAGRAM_SIZE {
                self.oversize.report(to, bytes, now);
            } else {
                self.too_big.push((to, bytes));
            }
        }
    }

    /// Datagrams that the last `send` could not send for their size though smaller ones would do.
    pub(crate) fn take_too_big(&mut self) -> impl Iterator<Item = (SocketAddr, usize)> + '_ {
        self.too_big.drain(..)
    }
}

fn count(counters: &mut ShardCounters, sent: Sent) {
    counters.send_calls += sent.calls as u64;
    counters.send_datagrams += sent.datagrams as u64;
    counters.send_bytes += sent.bytes as u64;
    counters.send_no_room += sent.no_room as u64;
    counters.send_too_big += sent.too_big as u64;
    counters.send_refused += sent.refused as u64;
    counters.gso_off += sent.gso_off as u64;
}
