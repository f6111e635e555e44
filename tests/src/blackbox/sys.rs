//! The system calls of the harness that std lacks: a seccomp filter, a packet socket, a small disk.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The same on every architecture that has io_uring.
const IO_URING_CALLS: [u32; 3] = [425, 426, 427];
/// `struct seccomp_data` begins with the number of the call.
const NUMBER_OFFSET: u32 = 0;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Makes the kernel refuse io_uring to the command with EPERM, as container runtimes do.
pub fn refuse_io_uring(command: &mut Command) {
    refuse(command, IO_URING_CALLS, libc::EPERM);
}

/// Makes what the command writes never reach the disk for sure: EIO, as from a disk that is broken.
pub fn refuse_fsync(command: &mut Command) {
    let calls = [
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_sync_file_range,
    ];
    refuse(command, calls.map(|call| call as u32), libc::EIO);
}

fn refuse(command: &mut Command, calls: [u32; 3], errno: libc::c_int) {
    let [first, second, third] = calls;
    let program = [
        step(LOAD_WORD, NUMBER_OFFSET, 0, 0),
        step(JUMP_EQUAL, first, 3, 0),
        step(JUMP_EQUAL, second, 2, 0),
        step(JUMP_EQUAL, third, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
    ];
    let install = move || {
        let filter = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies the program, which lives for the call, and does not write to it; PR_SET_NO_NEW_PRIVS
        // takes numbers only.
        unsafe {
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            check(libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const filter,
            ))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(install) };
}

/// Lets the command see a disk of `bytes` at `folder`, in a mount namespace of its own.
pub fn on_a_small_disk(command: &mut Command, folder: &Path, bytes: usize) {
    let text = |bytes: &[u8]| CString::new(bytes).expect("a path without zeros");
    let folder = text(folder.as_os_str().as_bytes());
    let size = text(format!("size={bytes}").as_bytes());
    let mount = move || {
        // SAFETY: every pointer is null or a zero-terminated string that lives for the call.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            check(libc::mount(
                std::ptr::null(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ))?;
            check(libc::mount(
                c"tmpfs".as_ptr(),
                folder.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                size.as_ptr().cast(),
            ))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(mount) };
}

/// Lets the command enter the mount namespace of the process `pid`, where it may see another disk.
///
/// # Errors
/// If that process is gone.
pub fn beside_mounts_of(command: &mut Command, pid: u32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
    let enter = move || {
        // SAFETY: takes no pointer; the descriptor lives as long as the closure.
        unsafe { check(libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS)) }.map(drop)
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(enter) };
    Ok(())
}

/// Lets the command lock at most `bytes` of memory.
pub fn limit_locked_memory(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    let set = move || {
        // SAFETY: the kernel reads one rlimit, which lives for the call.
        unsafe { check(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit)) }.map(drop)
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(set) };
}

/// Whether this kernel gives processes monotonic clocks of their own.
pub fn clocks_can_be_shifted() -> bool {
    Path::new("/proc/self/timens_offsets").exists()
}

/// Lets the command live in a time namespace of its own, whose monotonic and boot-time clocks are `seconds` ahead of this
/// machine's, or behind if negative. Linux has no such thing for the wall clock.
pub fn shift_clocks(command: &mut Command, seconds: i64) {
    let offsets = format!("monotonic {seconds} 0\nboottime {seconds} 0\n");
    let shift = move || {
        // SAFETY: every pointer is to live memory of the length given with it; the descriptor is closed where it was opened.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWTIME))?;
            let file = check(libc::open(
                c"/proc/self/timens_offsets".as_ptr(),
                libc::O_WRONLY | libc::O_CLOEXEC,
            ))?;
            let written = libc::write(file, offsets.as_ptr().cast(), offsets.len());
            let result = if written < 0 {
                Err(io::Error::last_os_error())
            } else {
                Ok(())
            };
            libc::close(file);
            result
        }
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(shift) };
}

/// Sends a frame as it is on `eth0` of the calling thread's namespace.
pub(super) fn send_frame(socket: &UdpSocket, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the name is a zero-terminated string; an all-zero sockaddr_ll is valid.
    let (index, mut to) = unsafe {
        let index = libc::if_nametoindex(c"eth0".as_ptr());
        (index, std::mem::zeroed::<libc::sockaddr_ll>())
    };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = index as i32;
    to.sll_halen = 6;
    // SAFETY: both pointers are to live memory of the lengths given with them.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A socket that gets every frame of the calling thread's namespace. It is no UDP socket, but read like one.
pub(super) fn packet_socket() -> io::Result<UdpSocket> {
    let protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: takes no pointer; the descriptor is new and belongs to nobody else.
    unsafe {
        let socket = check(libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol,
        ))?;
        Ok(UdpSocket::from_raw_fd(socket))
    }
}

/// Receives without the sender's address, which std could not read.
pub(super) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to the live buffer.
    let length = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    usize::try_from(length).map_err(|_| io::Error::last_os_error())
}
