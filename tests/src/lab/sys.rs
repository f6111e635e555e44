//! The system calls that std lacks: the only unsafe code of the lab. Called by the modules beside it and by `host`;
//! every function is safe to call and hands back owned descriptors.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// `IFF_TAP | IFF_NO_PI`: whole Ethernet frames, nothing in front of them.
const TAP_FLAGS: libc::c_short = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Moves the calling thread, and no other, into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointer; CLONE_NEWNET changes the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves the calling thread into the network namespace that `namespace` refers to.
pub(crate) fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointer; the descriptor is open for the call because it is borrowed.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Opens a TAP called `name` in the namespace of the calling thread. It vanishes when the file is closed.
pub(crate) fn open_tap(name: &str) -> io::Result<File> {
    assert!(
        name.len() < libc::IFNAMSIZ,
        "interface name too long: {name}"
    );
    let tap = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = TAP_FLAGS;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives on this stack for the call.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
    set_nonblocking(tap.as_fd())?;
    Ok(tap)
}

/// Makes reads and writes of `file` answer `WouldBlock`.
fn set_nonblocking(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL and F_SETFL take no pointer; the descriptor is borrowed, so open.
    unsafe {
        let flags = check(libc::fcntl(file.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(
            file.as_raw_fd(),
            libc::F_SETFL,
            flags | libc::O_NONBLOCK,
        ))
        .map(drop)
    }
}

/// A netlink socket of the calling thread's namespace, to be written and read as a file.
pub(crate) fn netlink_socket() -> io::Result<File> {
    // SAFETY: takes no pointer.
    let socket = check(unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    })?;
    // SAFETY: the descriptor is new and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(socket) })
}

/// Waits until a descriptor of `set` is ready, or for `timeout` (`None`: for ever). Returns how many are ready.
pub(crate) fn poll(set: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let timeout = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: t.subsec_nanos() as _,
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `set` is a live slice of its own length; `timeout` is null or points to a timespec above.
    let ready = unsafe {
        libc::ppoll(
            set.as_mut_ptr(),
            set.len() as libc::nfds_t,
            timeout,
            std::ptr::null(),
        )
    };
    match check(ready) {
        Ok(ready) => Ok(ready as usize),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}

/// Lets the calling thread's timers fire on time instead of up to 50 us late.
pub(crate) fn sharp_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes a number; a refusal only leaves the default.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize, 0, 0, 0) };
}

/// Where `needle` begins in `haystack`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // SAFETY: both pointers are valid for the lengths given with them; memmem only reads.
    let at = unsafe {
        libc::memmem(
            haystack.as_ptr().cast(),
            haystack.len(),
            needle.as_ptr().cast(),
            needle.len(),
        )
    };
    if at.is_null() {
        None
    } else {
        Some(at.addr() - haystack.as_ptr().addr())
    }
}

/// Sends `signal` to the process `pid`, or to the process group `-pid` if negative.
pub(crate) fn kill(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Waits until the child `pid` has stopped, all of its threads, or has ended; it can still be waited for.
pub(crate) fn wait_stopped(pid: u32) -> io::Result<()> {
    let mut told = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
    let what = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    // SAFETY: `told` lives through the call and has room for what is written.
    check(unsafe { libc::waitid(libc::P_PID, pid, told.as_mut_ptr(), what) }).map(drop)
}

/// Makes the command run inside `namespace`, in a process group of its own, and die when the thread that started it dies.
pub(crate) fn confine(command: &mut Command, namespace: Arc<OwnedFd>) {
    let parent = std::process::id();
    let enter = move || {
        die_with(parent)?;
        enter_network(namespace.as_fd())
    };
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(enter) };
}

/// Makes a command outside the hosts die when the thread that started it dies.
pub fn die_with_thread(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(move || die_with(parent)) };
}

/// Makes the command keep `kept` open across its exec, under the same numbers, in a process group of its own.
pub(crate) fn keep_open(command: &mut Command, kept: Vec<RawFd>) {
    command.process_group(0);
    let keep = move || {
        for &fd in &kept {
            // SAFETY: F_SETFD takes no pointer, and a descriptor that is not open is only an error.
            check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(keep) };
}

/// In a child: be killed when the parent thread ends; fail if that has happened already.
fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: neither call takes a pointer.
    unsafe {
        check(libc::prctl(
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL as usize,
            0,
            0,
            0,
        ))?;
        if libc::getppid() as u32 != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    Ok(())
}

/// Ticks a second in `/proc/PID/stat`.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64
}

/// Bytes in a page of memory.
pub(crate) fn page_size() -> u64 {
    // SAFETY: takes no pointer.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64
}

/// UDP_SEGMENT: every send of `socket` is cut into datagrams of `size` bytes by the kernel.
pub fn set_udp_segment(socket: &UdpSocket, size: u16) -> io::Result<()> {
    set_udp_option(socket, libc::UDP_SEGMENT, c_int::from(size))
}

/// UDP_GRO: a receive of `socket` may return several datagrams of equal length, one after the other.
pub fn set_udp_gro(socket: &UdpSocket) -> io::Result<()> {
    set_udp_option(socket, libc::UDP_GRO, 1)
}

/// Asks for a receive buffer of `bytes`, over the system's limit if the process may.
pub fn set_receive_buffer(socket: &UdpSocket, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).map_err(io::Error::other)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

fn set_udp_option(socket: &UdpSocket, name: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, name, value)
}

fn set_option(socket: &UdpSocket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes from a c_int on this stack.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size,
        )
    })
    .map(drop)
}
