//! Receiving in batches: `recvmmsg` into a pool of slots, runs of coalesced datagrams split into single ones.
//!
//! The pool starts small, doubles while batches come full and halves each time it is asked to relax and was mostly empty
//! since, so an idle node keeps 128 KiB and a busy one whole batches.

use std::io;
use std::net::SocketAddr;

use super::addr::{RAW_ADDR_LEN, RawAddr};
use super::option::UDP_GRO;
use super::socket::UdpSocket;

/// Room for one control message with an int: header 16, int 4, padded; with space for one more that nobody asked for.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 64]);

/// What one call to the kernel brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Nothing,
    /// Messages wait in the pool for [`Receiver::take`]; `full`: the socket may hold more.
    Batch {
        full: bool,
    },
    /// The socket has an error to tell; its error queue wants to be drained.
    Error,
}

/// Totals of one [`Receiver::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Messages of the kernel, each a datagram or a coalesced run.
    pub(crate) messages: usize,
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
    /// Cut off because a slot was too small, or without a usable source address.
    pub(crate) refused: usize,
}

/// The receive pool of one socket.
pub(crate) struct Receiver {
    slot_bytes: usize,
    slots_min: usize,
    slots_max: usize,
    slots: usize,
    buffer: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<RawAddr>,
    controls: Vec<Control>,
    /// Messages in the pool that nobody took yet.
    filled: usize,
    /// Whether the last batch asks for more slots.
    wants_more: bool,
    /// The fullest batch since the pool last relaxed.
    fullest: usize,
}

impl Receiver {
    pub(crate) fn new(slot_bytes: usize, slots_min: usize, slots_max: usize) -> Self {
        let mut receiver = Self {
            slot_bytes,
            slots_min,
            slots_max,
            slots: 0,
            buffer: Vec::new(),
            headers: Vec::with_capacity(slots_max),
            vectors: Vec::with_capacity(slots_max),
            names: vec![RawAddr::EMPTY; slots_max],
            controls: vec![Control([0; 64]); slots_max],
            filled: 0,
            wants_more: false,
            fullest: 0,
        };
        receiver.resize(slots_min);
        receiver
    }

    /// Takes a new buffer of `slots` slots and points the kernel's headers into it.
    fn resize(&mut self, slots: usize) {
        debug_assert_eq!(self.filled, 0, "a resize would lose messages");
        self.slots = slots;
        self.buffer = vec![0; slots * self.slot_bytes];
        self.vectors.clear();
        self.headers.clear();
        for slot in self.buffer.chunks_exact_mut(self.slot_bytes) {
            self.vectors.push(libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            });
        }
        for i in 0..slots {
            // SAFETY: an all-zero msghdr is valid: null pointers with zero lengths.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = &mut self.vectors[i];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = std::ptr::from_mut(&mut self.names[i]).cast();
            header.msg_hdr.msg_control = std::ptr::from_mut(&mut self.controls[i]).cast();
            self.headers.push(header);
        }
    }

    /// Slots at present.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Whether the pool is larger than at start.
    pub(crate) fn is_grown(&self) -> bool {
        self.slots > self.slots_min
    }

    /// Called about once a second: halves a pool that was at most a quarter full since. Returns whether it may shrink on.
    pub(crate) fn relax(&mut self) -> bool {
        let fullest = std::mem::take(&mut self.fullest);
        if self.filled == 0 && self.slots > self.slots_min && fullest * 4 <= self.slots {
            self.resize((self.slots / 2).max(self.slots_min));
        }
        self.slots > self.slots_min
    }

    /// One `recvmmsg` for at most so many messages. What an earlier call brought must have been taken.
    pub(crate) fn recv(&mut self, socket: &UdpSocket, most: usize) -> Received {
        assert_eq!(self.filled, 0, "take comes between two receives");
        if self.wants_more && self.slots < self.slots_max {
            self.resize((self.slots * 2).min(self.slots_max));
        }
        let slots = self.slots.min(most);
        for header in &mut self.headers[..slots] {
            header.msg_hdr.msg_namelen = RAW_ADDR_LEN;
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
        // SAFETY: every header points to a vector, a name and a control area of the stated lengths in vectors of this
        // struct, which are neither moved nor resized before the next call to `resize` rewrites all pointers.
        let n = unsafe {
            libc::recvmmsg(
                socket.raw(),
                self.headers.as_mut_ptr(),
                slots as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.wants_more = false;
        let Ok(n) = usize::try_from(n) else {
            return match io::Error::last_os_error().kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Received::Nothing,
                _ => Received::Error,
            };
        };
        self.filled = n;
        self.wants_more = n == self.slots;
        self.fullest = self.fullest.max(n);
        if n == 0 {
            Received::Nothing
        } else {
            Received::Batch {
                full: n == self.slots,
            }
        }
    }

    /// Hands out every datagram of the last batch with its source, in order of arrival, to be opened in place.
    pub(crate) fn take(&mut self, mut each: impl FnMut(SocketAddr, &mut [u8])) -> Taken {
        let mut taken = Taken::default();
        let filled = std::mem::take(&mut self.filled);
        for i in 0..filled {
            let header = &self.headers[i];
            let len = header.msg_len as usize;
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let segment = segment_bytes(header, &self.controls[i])
                .filter(|&size| size > 0)
                .unwrap_or(len);
            let start = i * self.slot_bytes;
            taken.messages += 1;
            let (false, Some(from)) = (cut, self.names[i].read()) else {
                taken.refused += 1;
                continue;
            };
            let message = &mut self.buffer[start..start + len];
            taken.bytes += len;
            for datagram in message.chunks_mut(segment.max(1)) {
                taken.datagrams += 1;
                each(from, datagram);
            }
        }
        taken
    }
}

/// The length of the datagrams that the kernel coalesced into one message; `None`: it is a single one.
fn segment_bytes(header: &libc::mmsghdr, control: &Control) -> Option<usize> {
    let filled = header.msg_hdr.msg_controllen.min(control.0.len());
    let mut rest = &control.0[..filled];
    const HEAD: usize = size_of::<libc::cmsghdr>();
    while rest.len() >= HEAD {
        let len = usize::from_ne_bytes(rest[..8].try_into().ok()?);
        let level = libc::c_int::from_ne_bytes(rest[8..12].try_into().ok()?);
        let kind = libc::c_int::from_ne_bytes(rest[12..16].try_into().ok()?);
        if level == libc::IPPROTO_UDP && kind == UDP_GRO {
            let value = rest.get(HEAD..HEAD + 4)?;
            return usize::try_from(libc::c_int::from_ne_bytes(value.try_into().ok()?)).ok();
        }
        rest = rest.get(len.max(HEAD).next_multiple_of(8)..)?;
    }
    None
}

const _: () = assert!(
    size_of::<libc::cmsghdr>() == 16,
    "the control message parser assumes 64-bit Linux"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SLOT_BYTES_GRO, SLOT_BYTES_HELLO};
    use crate::sys::addr::Family;
    use crate::sys::send::{Datagrams, Sender};
    use tidings_wire::Class;

    fn socket() -> UdpSocket {
        let mut socket = UdpSocket::open(Family::V4).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.size_buffers(4 << 20, 4 << 20).unwrap();
        socket
    }

    #[test]
    fn a_coalesced_run_is_split_into_the_datagrams_that_were_sent() {
        let (tx, rx) = (socket(), socket());
        assert!(rx.coalesce());
        let bytes: Vec<u8> = (0..5_250u32).map(|i| (i / 1_000) as u8).collect();
        let mut sender = Sender::new();
        let sent = sender.send(
            &tx,
            0,
            [Datagrams {
                to: rx.local_addr().unwrap(),
                class: Class::Fan,
                segment: 1_000,
                bytes: &bytes,
            }],
        );
        assert_eq!((sent.calls, sent.datagrams, sent.bytes), (1, 6, 5_250));

        let mut receiver = Receiver::new(SLOT_BYTES_GRO, 2, 4);
        UdpSocket::wait_any([&rx]);
        assert_eq!(
            receiver.recv(&rx, usize::MAX),
            Received::Batch { full: false }
        );
        let mut lens = Vec::new();
        let taken = receiver.take(|from, datagram| {
            assert_eq!(from, tx.local_addr().unwrap());
            assert!(datagram.iter().all(|&b| usize::from(b) == lens.len()));
            lens.push(datagram.len());
        });
        assert_eq!(lens, [1_000, 1_000, 1_000, 1_000, 1_000, 250]);
        assert_eq!(
            taken,
            Taken {
                messages: 1,
                datagrams: 6,
                bytes: 5_250,
                refused: 0
            }
        );
        assert_eq!(receiver.recv(&rx, usize::MAX), Received::Nothing);
    }

    #[test]
    fn the_pool_doubles_while_batches_come_full_and_shrinks_when_they_do_not() {
        let (tx, rx) = (socket(), socket());
        let to = rx.local_addr().unwrap();
        let mut receiver = Receiver::new(SLOT_BYTES_HELLO, 2, 8);
        let mut sender = Sender::new();
        let payload = [7u8; 100];
        sender.send(
            &tx,
            0,
            (0..14).map(|_| Datagrams {
                to,
                class: Class::Fan,
                segment: 100,
                bytes: &payload,
            }),
        );
        let mut batches = Vec::new();
        UdpSocket::wait_any([&rx]);
        while let Received::Batch { .. } = receiver.recv(&rx, usize::MAX) {
            batches.push(receiver.take(|_, _| ()).datagrams);
        }
        assert_eq!(batches, [2, 4, 8]);
        assert!(receiver.relax(), "full a moment ago: it stays");
        assert_eq!(receiver.slots(), 8);
        assert!(receiver.relax());
        assert_eq!(receiver.slots(), 4);
        assert!(!receiver.relax(), "at its smallest");
    }

    #[test]
    fn a_datagram_longer_than_its_slot_is_refused_not_cut() {
        let (tx, rx) = (socket(), socket());
        let mut receiver = Receiver::new(SLOT_BYTES_HELLO, 2, 2);
        let long = vec![1u8; SLOT_BYTES_HELLO + 1];
        Sender::new().send(
            &tx,
            0,
            [Datagrams {
                to: rx.local_addr().unwrap(),
                class: Class::Fan,
                segment: long.len(),
                bytes: &long,
            }],
        );
        UdpSocket::wait_any([&rx]);
        assert_eq!(
            receiver.recv(&rx, usize::MAX),
            Received::Batch { full: false }
        );
        let taken = receiver.take(|_, _| panic!("a cut datagram was handed out"));
        assert_eq!((taken.datagrams, taken.refused), (0, 1));
    }
}
