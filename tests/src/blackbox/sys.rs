//! The system calls of the harness that std lacks: a seccomp filter, a packet socket, a small disk.

use std::ffi::CString;
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
    let [setup, enter, register] = IO_URING_CALLS;
    let program = [
        step(LOAD_WORD, NUMBER_OFFSET, 0, 0),
        step(JUMP_EQUAL, setup, 3, 0),
        step(JUMP_EQUAL, enter, 2, 0),
        step(JUMP_EQUAL, register, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
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
