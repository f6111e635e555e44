//! Sending in batches: `sendmmsg` straight from the caller's slices, equal datagrams to one destination as one GSO send, gathered
//! from wherever they lie; a datagram alone goes by `sendto`.
//!
//! A route whose device refuses segmentation gets single datagrams for ten minutes. A datagram that the kernel does not
//! take is counted with its reason and gone: repair is the protocol's business, waiting is nobody's.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tidings_wire::Class;

use super::addr::{Family, RawAddr};
use super::option::UDP_SEGMENT;
use super::socket::UdpSocket;
use crate::limits::{
    GSO_BYTES_MAX, GSO_OFF_NS, GSO_OFF_ROUTES_MAX, GSO_SEGMENTS_MAX, SEND_BATCH_MAX,
    SEND_RETRIES_MAX,
};

/// A run of datagrams for one destination: `segment` bytes each, the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagrams<'a> {
    pub(crate) to: SocketAddr,
    /// The receiving kernel steers a batch by its first datagram: one send holds one class.
    pub(crate) class: Class,
    pub(crate) segment: usize,
    pub(crate) bytes: &'a [u8],
}

/// Totals of one [`Sender::send`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) calls: usize,
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
    /// Refused because a buffer of ours or of the device was full.
    pub(crate) no_room: usize,
    /// Refused for their size.
    pub(crate) too_big: usize,
    /// Refused for any other reason: no route, no such family, a packet filter.
    pub(crate) refused: usize,
    /// Routes on which segmentation offload was switched off.
    pub(crate) gso_off: usize,
    /// The error queue of this socket has something.
    pub(crate) errors: bool,
}

/// One control message with the segment size.
#[derive(Clone, Copy)]
#[repr(C)]
struct SegmentControl {
    head: libc::cmsghdr,
    segment: u16,
    pad: [u16; 3],
}

/// The send side of one shard; used for all its sockets.
pub(crate) struct Sender {
    headers: [libc::mmsghdr; SEND_BATCH_MAX],
    vectors: [libc::iovec; SEND_BATCH_MAX],
    names: [RawAddr; SEND_BATCH_MAX],
    controls: [SegmentControl; SEND_BATCH_MAX],
    /// Runs that each header gathers.
    gathered: [usize; SEND_BATCH_MAX],
    gso_off: Vec<(IpAddr, u64)>,
    /// Destinations that refused a size, for the protocol to hear of: (destination, bytes).
    too_big: Vec<(SocketAddr, usize)>,
}

impl Sender {
    pub(crate) fn new() -> Box<Self> {
        let head = libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
            cmsg_level: libc::IPPROTO_UDP,
            cmsg_type: UDP_SEGMENT,
        };
        Box::new(Self {
            // SAFETY: all-zero headers and vectors are valid: null pointers with zero lengths.
            headers: unsafe { std::mem::zeroed() },
            // SAFETY: as above.
            vectors: unsafe { std::mem::zeroed() },
            names: [RawAddr::EMPTY; SEND_BATCH_MAX],
            controls: [SegmentControl {
                head,
                segment: 0,
                pad: [0; 3],
            }; SEND_BATCH_MAX],
            gathered: [0; SEND_BATCH_MAX],
            gso_off: Vec::with_capacity(GSO_OFF_ROUTES_MAX),
            too_big: Vec::with_capacity(SEND_BATCH_MAX),
        })
    }

    /// Sends all runs; `now` (ns) dates the routes without offload.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        now: u64,
        runs: impl IntoIterator<Item = Datagrams<'a>>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut runs = runs.into_iter();
        let Some(first) = runs.next() else {
            return sent;
        };
        let second = runs.next();
        // At low rates there is one, for which laying out a batch would take longer than anything else here.
        if second.is_none()
            && first.bytes.len() <= self.bytes_at_once(first.to.ip(), first.segment, now)
        {
            self.send_batch(socket, now, &[first], &mut sent);
            return sent;
        }
        let mut batch = [first; SEND_BATCH_MAX];
        let mut filled = 0;
        for run in [first].into_iter().chain(second).chain(runs) {
            let at_once = self.bytes_at_once(run.to.ip(), run.segment, now);
            for piece in run.bytes.chunks(at_once) {
                batch[filled] = Datagrams {
                    bytes: piece,
                    ..run
                };
                filled += 1;
                if filled == SEND_BATCH_MAX {
                    self.send_batch(socket, now, &batch, &mut sent);
                    filled = 0;
                }
            }
        }
        self.send_batch(socket, now, &batch[..filled], &mut sent);
        sent
    }

    /// Destinations that refused a datagram for its size since the last call.
    pub(crate) fn take_too_big(&mut self) -> impl Iterator<Item = (SocketAddr, usize)> + '_ {
        self.too_big.drain(..)
    }

    /// How many bytes of equal datagrams fit one send: whole segments, one where offload is off.
    fn bytes_at_once(&mut self, route: IpAddr, segment: usize, now: u64) -> usize {
        let segment = segment.max(1);
        if self.is_gso_off(route, now) {
            return segment;
        }
        segment * GSO_SEGMENTS_MAX.min(GSO_BYTES_MAX / segment).max(1)
    }

    fn is_gso_off(&mut self, route: IpAddr, now: u64) -> bool {
        if self.gso_off.is_empty() {
            return false;
        }
        self.gso_off.retain(|&(_, until)| until > now);
        self.gso_off.iter().any(|&(off, _)| off == route)
    }

    fn send_batch(
        &mut self,
        socket: &UdpSocket,
        now: u64,
        batch: &[Datagrams<'_>],
        sent: &mut Sent,
    ) {
        let mut from = 0;
        let mut retries = 0;
        while from < batch.len() {
            let count = self.prepare(socket.family(), &batch[from..], now);
            let n = if count == 0 {
                0
            } else {
                self.call(socket, count, sent)
            };
            let done: usize = self.gathered[..usize::try_from(n).unwrap_or(0)]
                .iter()
                .sum();
            for run in &batch[from..from + done] {
                sent.datagrams += run.bytes.len().div_ceil(run.segment.max(1)).max(1);
                sent.bytes += run.bytes.len();
            }
            from += done;
            if done > 0 {
                continue;
            }
            let error = if count == 0 {
                libc::EAFNOSUPPORT
            } else {
                last_errno()
            };
            match error {
                libc::EINTR => {}
                libc::ECONNREFUSED if retries < SEND_RETRIES_MAX => {
                    // Another datagram's ICMP error, told on this call; ours was not sent.
                    sent.errors = true;
                    retries += 1;
                }
                libc::EAGAIN | libc::ENOBUFS => {
                    sent.no_room += batch[from..].len();
                    return;
                }
                error => {
                    let refused = if count == 0 { 1 } else { self.gathered[0] };
                    self.send_refused(socket, now, &batch[from..from + refused], error, sent);
                    from += refused;
                }
            }
        }
    }

    /// Runs, one or gathered, that the kernel refused: with offload once more in single datagrams, else counted.
    fn send_refused(
        &mut self,
        socket: &UdpSocket,
        now: u64,
        runs: &[Datagrams<'_>],
        error: libc::c_int,
        sent: &mut Sent,
    ) {
        let offloaded = runs.len() > 1 || runs.iter().any(|run| run.bytes.len() > run.segment);
        match error {
            libc::EIO | libc::EINVAL | libc::EMSGSIZE if offloaded => {
                let (before, too_big) = (sent.datagrams, sent.too_big);
                for run in runs {
                    for bytes in run.bytes.chunks(run.segment.max(1)) {
                        self.send_batch(socket, now, &[Datagrams { bytes, ..*run }], sent);
                    }
                }
                // Too large for the path is no fault of the offload.
                if sent.datagrams > before && sent.too_big == too_big {
                    self.switch_gso_off(runs[0].to.ip(), now);
                    sent.gso_off += 1;
                }
            }
            libc::EMSGSIZE => {
                sent.too_big += 1;
                if self.too_big.len() < self.too_big.capacity() {
                    self.too_big.push((runs[0].to, runs[0].bytes.len()));
                }
            }
            _ => sent.refused += runs.len(),
        }
    }

    fn switch_gso_off(&mut self, route: IpAddr, now: u64) {
        if self.gso_off.len() == GSO_OFF_ROUTES_MAX {
            self.gso_off.remove(0);
        }
        self.gso_off.push((route, now + GSO_OFF_NS));
    }

    /// Fills the kernel's headers from the front of `batch` and returns how many; stops before an address that this socket cannot
    /// reach.
    fn prepare(&mut self, family: Family, batch: &[Datagrams<'_>], now: u64) -> usize {
        let (mut count, mut from) = (0, 0);
        while let Some(run) = batch.get(from) {
            let Some(name_len) = self.names[count].write(run.to, family) else {
                return count;
            };
            let (runs, bytes) = self.gather(&batch[from..], now);
            for (vector, run) in self.vectors[from..]
                .iter_mut()
                .zip(&batch[from..from + runs])
            {
                // The kernel only reads through this pointer.
                *vector = libc::iovec {
                    iov_base: run.bytes.as_ptr().cast_mut().cast(),
                    iov_len: run.bytes.len(),
                };
            }
            let header = &mut self.headers[count].msg_hdr;
            header.msg_name = std::ptr::from_mut(&mut self.names[count]).cast();
            header.msg_namelen = name_len;
            header.msg_iov = &mut self.vectors[from];
            header.msg_iovlen = runs as _;
            if bytes > run.segment {
                self.controls[count].segment = run.segment as u16;
                header.msg_control = std::ptr::from_mut(&mut self.controls[count]).cast();
                header.msg_controllen = size_of::<SegmentControl>();
            } else {
                header.msg_control = std::ptr::null_mut();
                header.msg_controllen = 0;
            }
            self.gathered[count] = runs;
            (count, from) = (count + 1, from + runs);
        }
        count
    }

    /// How many runs from the front on go out in one send, and their bytes: to one destination, of equal datagrams but for the last.
    fn gather(&mut self, batch: &[Datagrams<'_>], now: u64) -> (usize, usize) {
        let first = batch[0];
        let (mut runs, mut bytes) = (1, first.bytes.len());
        if batch.len() == 1 || first.segment == 0 {
            return (runs, bytes);
        }
        let most = self.bytes_at_once(first.to.ip(), first.segment, now);
        for run in &batch[1..] {
            let ends_short = !bytes.is_multiple_of(first.segment);
            let alike = (run.to, run.class) == (first.to, first.class)
                && (run.segment == first.segment || run.bytes.len() <= first.segment);
            if ends_short || !alike || bytes + run.bytes.len() > most {
                break;
            }
            (runs, bytes) = (runs + 1, bytes + run.bytes.len());
        }
        (runs, bytes)
    }

    fn call(&mut self, socket: &UdpSocket, count: usize, sent: &mut Sent) -> libc::c_int {
        sent.calls += 1;
        let header = &self.headers[0].msg_hdr;
        if count == 1 && header.msg_iovlen == 1 && header.msg_controllen == 0 {
            return self.call_one(socket);
        }
        // SAFETY: `prepare` has just pointed the first `count` headers at names, controls and vectors of this struct and
        // at the batch's slices; all of them outlive the call, and the kernel only reads them.
        unsafe {
            libc::sendmmsg(
                socket.raw(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
            )
        }
    }

    /// A datagram alone: the kernel has less to read of it than of a header.
    fn call_one(&mut self, socket: &UdpSocket) -> libc::c_int {
        let header = &self.headers[0].msg_hdr;
        // SAFETY: `prepare` has just pointed the first header at its name and the first vector at a slice of the batch; both
        // outlive the call, and the kernel only reads them.
        let n = unsafe {
            libc::sendto(
                socket.raw(),
                self.vectors[0].iov_base,
                self.vectors[0].iov_len,
                libc::MSG_DONTWAIT,
                header.msg_name.cast(),
                header.msg_namelen,
            )
        };
        if n < 0 { -1 } else { 1 }
    }
}

fn last_errno() -> libc::c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

const _: () = assert!(
    size_of::<SegmentControl>() == 24,
    "one CMSG_SPACE(u16) of 64-bit Linux"
);
const _: () = assert!(
    GSO_BYTES_MAX <= u16::MAX as usize,
    "a segment size is a u16"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(family: Family, addr: &str) -> UdpSocket {
        let socket = UdpSocket::open(family).unwrap();
        socket.bind(addr.parse().unwrap()).unwrap();
        socket
    }

    #[test]
    fn a_refused_size_is_reported_with_its_destination_and_the_rest_still_goes_out() {
        let (tx, rx) = (
            socket(Family::V4, "127.0.0.1:0"),
            socket(Family::V4, "127.0.0.1:0"),
        );
        let to = rx.local_addr().unwrap();
        let huge = vec![0u8; 65_520];
        let mut sender = Sender::new();
        let runs = [
            Datagrams {
                to,
                class: Class::Fan,
                segment: 10,
                bytes: &huge[..10],
            },
            Datagrams {
                to,
                class: Class::Fan,
                segment: huge.len(),
                bytes: &huge,
            },
            Datagrams {
                to,
                class: Class::Fan,
                segment: 10,
                bytes: &huge[..20],
            },
        ];
        let sent = sender.send(&tx, 0, runs);
        assert_eq!((sent.datagrams, sent.too_big, sent.gso_off), (3, 1, 0));
        assert_eq!(
            sender.take_too_big().collect::<Vec<_>>(),
            [(to, huge.len())]
        );
    }

    #[test]
    fn an_address_of_the_wrong_family_is_refused_alone() {
        let (tx, rx) = (
            socket(Family::V4, "127.0.0.1:0"),
            socket(Family::V4, "127.0.0.1:0"),
        );
        let to = rx.local_addr().unwrap();
        let runs = [
            Datagrams {
                to,
                class: Class::Fan,
                segment: 3,
                bytes: b"one",
            },
            Datagrams {
                to: "[2001:db8::1]:9".parse().unwrap(),
                class: Class::Fan,
                segment: 3,
                bytes: b"two",
            },
            Datagrams {
                to,
                class: Class::Fan,
                segment: 5,
                bytes: b"three",
            },
        ];
        let sent = Sender::new().send(&tx, 0, runs);
        assert_eq!((sent.datagrams, sent.refused), (2, 1));
    }

    #[test]
    fn what_has_no_route_or_no_permission_is_counted_and_the_rest_still_goes_out() {
        let (tx, rx) = (
            socket(Family::V4, "0.0.0.0:0"),
            socket(Family::V4, "127.0.0.1:0"),
        );
        let run = |to| Datagrams {
            to,
            class: Class::Fan,
            segment: 5,
            bytes: b"bytes",
        };
        let here = run(rx.local_addr().unwrap());
        // A broadcast that nobody allowed: EACCES.
        let everybody = run("255.255.255.255:9".parse().unwrap());
        let sent = Sender::new().send(&tx, 0, [here, everybody, here]);
        assert_eq!((sent.datagrams, sent.refused, sent.no_room), (2, 1, 0));
        let alone = std::thread::spawn(move || {
            // SAFETY: plain call with an integer. Only this thread gets a network of its own, in which nothing is up.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                tidings_skip::skipped("lab", "no network namespace for this user");
                return;
            }
            let tx = socket(Family::V4, "0.0.0.0:0");
            let far = run("192.0.2.1:9".parse().unwrap());
            let sent = Sender::new().send(&tx, 0, [far, far, far]);
            assert_eq!((sent.datagrams, sent.refused, sent.errors), (0, 3, false));
        });
        alone.join().unwrap();
    }

    /// What a thread finds to which the kernel refuses every `sendmmsg` and `sendto` with `errno`: a filter cannot be taken off again.
    fn refused_with(errno: libc::c_int, runs: usize) -> Sent {
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        let thread = std::thread::spawn(move || {
            let tx = socket(Family::V4, "127.0.0.1:0");
            let rx = socket(Family::V4, "127.0.0.1:0");
            let run = Datagrams {
                to: rx.local_addr().unwrap(),
                class: Class::Fan,
                segment: 5,
                bytes: b"bytes",
            };
            let program = [
                // The number of the call comes first.
                step(LOAD, 0, 0, 0),
                step(EQUAL, libc::SYS_sendmmsg as u32, 1, 0),
                step(EQUAL, libc::SYS_sendto as u32, 0, 1),
                step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
                step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
            ];
            let filter = libc::sock_fprog {
                len: program.len() as u16,
                filter: program.as_ptr().cast_mut(),
            };
            // SAFETY: the kernel copies the program, which lives for the call, and does not write to it; only this thread is bound.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                let mode = libc::SECCOMP_MODE_FILTER;
                let installed = libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter);
                assert_eq!(installed, 0, "{}", io::Error::last_os_error());
            }
            // Of two ports in turn, or they would be gathered to one send.
            let other = Datagrams {
                to: tx.local_addr().unwrap(),
                ..run
            };
            let all = (0..runs).map(|at| if at % 2 == 0 { run } else { other });
            Sender::new().send(&tx, 0, all)
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_socket_that_takes_nothing_and_a_packet_filter_cost_what_was_to_be_sent_and_no_time() {
        for errno in [libc::EAGAIN, libc::ENOBUFS] {
            // A full socket is not asked again for the rest of a batch.
            let sent = refused_with(errno, 10);
            let expected = Sent {
                calls: 1,
                no_room: 10,
                ..Sent::default()
            };
            assert_eq!(sent, expected);
        }
        for errno in [libc::EPERM, libc::EACCES, libc::ENETUNREACH, libc::EIO] {
            let sent = refused_with(errno, 10);
            let expected = Sent {
                calls: 10,
                refused: 10,
                ..Sent::default()
            };
            assert_eq!(sent, expected);
        }
        // Errors that others' datagrams left behind are not waited for without end.
        let sent = refused_with(libc::ECONNREFUSED, 2);
        assert_eq!((sent.refused, sent.errors), (2, true));
        assert!(sent.calls <= 2 * (SEND_RETRIES_MAX + 1));
    }

    #[test]
    fn a_route_without_offload_gets_single_datagrams_until_the_time_is_over() {
        let (tx, rx) = (
            socket(Family::V4, "127.0.0.1:0"),
            socket(Family::V4, "127.0.0.1:0"),
        );
        let to = rx.local_addr().unwrap();
        let mut sender = Sender::new();
        sender.switch_gso_off(to.ip(), 0);
        let bytes = [1u8; 40];
        let run = Datagrams {
            to,
            class: Class::Fan,
            segment: 10,
            bytes: &bytes,
        };
        assert_eq!(sender.bytes_at_once(to.ip(), 10, 1), 10);
        assert_eq!(sender.send(&tx, 1, [run]).datagrams, 4);
        let at_once = sender.bytes_at_once(to.ip(), 10, GSO_OFF_NS);
        assert_eq!(at_once, 10 * GSO_SEGMENTS_MAX);
    }

    #[test]
    fn runs_that_lie_apart_are_gathered_while_they_are_alike() {
        let (tx, rx) = (
            socket(Family::V4, "127.0.0.1:0"),
            socket(Family::V4, "127.0.0.1:0"),
        );
        let to = rx.local_addr().unwrap();
        let bytes: Vec<u8> = (0..100).collect();
        let run = |class, segment, from: usize, len: usize| Datagrams {
            to,
            class,
            segment,
            bytes: &bytes[from..from + len],
        };
        let runs = [
            run(Class::Fan, 10, 50, 20),
            run(Class::Fan, 10, 0, 10),
            run(Class::Fan, 4, 80, 4), // shorter: the last of its send
            run(Class::Fan, 10, 20, 10),
            run(Class::Bulk, 10, 30, 10), // another class
            run(Class::Bulk, 12, 40, 12), // longer
        ];
        let mut sender = Sender::new();
        let gathered: Vec<_> = [0, 3, 4, 5]
            .iter()
            .map(|from| sender.gather(&runs[*from..], 1))
            .collect();
        assert_eq!(gathered, [(3, 34), (1, 10), (1, 10), (1, 12)]);
        let sent = sender.send(&tx, 1, runs);
        assert_eq!((sent.datagrams, sent.bytes, sent.calls), (7, 66, 1));
        let socket: std::net::UdpSocket = std::os::fd::AsFd::as_fd(&rx)
            .try_clone_to_owned()
            .unwrap()
            .into();
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        let mut buffer = [0; 64];
        for (first, len) in [
            (50, 10),
            (60, 10),
            (0, 10),
            (80, 4),
            (20, 10),
            (30, 10),
            (40, 12),
        ] {
            let got = socket.recv(&mut buffer).unwrap();
            assert_eq!((buffer[0], got), (first, len));
        }
    }

    #[test]
    fn offload_that_the_socket_refuses_falls_back_to_single_datagrams() {
        let (tx, rx) = (
            socket(Family::V4, "127.0.0.1:0"),
            socket(Family::V4, "127.0.0.1:0"),
        );
        let to = rx.local_addr().unwrap();
        // Without checksums the kernel cannot segment and answers EINVAL.
        crate::sys::option::set_int(
            std::os::fd::AsFd::as_fd(&tx),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            1,
        )
        .unwrap();
        let bytes = [1u8; 40];
        let mut sender = Sender::new();
        let sent = sender.send(
            &tx,
            0,
            [Datagrams {
                to,
                class: Class::Fan,
                segment: 10,
                bytes: &bytes,
            }],
        );
        assert_eq!((sent.datagrams, sent.gso_off), (4, 1));
        assert!(sender.is_gso_off(to.ip(), 1));
    }
}
