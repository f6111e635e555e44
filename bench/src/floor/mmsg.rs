//! Many datagrams in one system call: `sendmmsg` and `recvmmsg` over buffers that are laid out once.

use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

fn empty() -> libc::mmsghdr {
    // SAFETY: an all-zero header is valid: null pointers with zero lengths.
    unsafe { std::mem::zeroed() }
}

fn raw(to: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*to.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// What one call sends: the same messages each time.
pub struct Outgoing<'a> {
    headers: Vec<libc::mmsghdr>,
    // The headers point into these two, whose memory stays where it is while nothing is added.
    _vectors: Vec<libc::iovec>,
    _names: Vec<libc::sockaddr_in>,
    _bytes: PhantomData<&'a [u8]>,
}

impl<'a> Outgoing<'a> {
    /// `bytes` as many times as there are `to`; each may be a run of datagrams if the socket segments.
    pub fn to_each(bytes: &'a [u8], to: &[SocketAddrV4]) -> Self {
        let names = to.iter().copied().map(raw).collect();
        Self::new(to.iter().map(|_| bytes), names)
    }

    /// One part of `bytes`, of `run` bytes each, after the other to the peer that the socket is connected to.
    pub fn runs(bytes: &'a [u8], run: usize) -> Self {
        Self::new(bytes.chunks_exact(run), Vec::new())
    }

    fn new(parts: impl Iterator<Item = &'a [u8]>, mut names: Vec<libc::sockaddr_in>) -> Self {
        let mut vectors: Vec<_> = parts
            .map(|bytes| libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            })
            .collect();
        let mut headers: Vec<_> = vectors
            .iter_mut()
            .map(|vector| {
                let mut header = empty();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        for (header, name) in headers.iter_mut().zip(&mut names) {
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        Self {
            headers,
            _vectors: vectors,
            _names: names,
            _bytes: PhantomData,
        }
    }

    /// Sends them; answers how many messages went.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: headers, vectors and names live in `self`, the bytes for `'a`; the kernel only reads the bytes.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                0,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Where one call receives to.
pub struct Incoming {
    headers: Vec<libc::mmsghdr>,
    _vectors: Vec<libc::iovec>,
    _slots: Vec<u8>,
}

impl Incoming {
    /// Room for `slots` messages of at most `slot_bytes`.
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        let mut memory = vec![0; slots * slot_bytes];
        let mut vectors: Vec<_> = memory
            .chunks_exact_mut(slot_bytes)
            .map(|slot| libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            })
            .collect();
        let headers = vectors
            .iter_mut()
            .map(|vector| {
                let mut header = empty();
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            headers,
            _vectors: vectors,
            _slots: memory,
        }
    }

    /// Receives what is there, waiting for the first as the socket does; lengths of the messages. Empty: nothing came in time.
    pub fn recv(&mut self, socket: &UdpSocket) -> io::Result<impl Iterator<Item = usize> + '_> {
        // SAFETY: headers, vectors and slots live in `self`, and nothing else refers to the slots.
        let came = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        let came = match usize::try_from(came) {
            Ok(came) => came,
            Err(_) => match io::Error::last_os_error() {
                error if is_nothing(&error) => 0,
                error => return Err(error),
            },
        };
        Ok(self.headers[..came]
            .iter()
            .map(|header| header.msg_len as usize))
    }
}

/// Whether a receiving call ended without a message and without a fault.
pub fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
