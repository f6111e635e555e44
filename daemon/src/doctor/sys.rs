//! The one system call of `tidings doctor` that no crate here wraps: what the kernel knows of its clock's discipline.

use std::io;

/// Whether somebody keeps the system's clock in step with the world's, as `adjtimex` tells it; nothing is changed.
pub fn is_synchronised() -> io::Result<bool> {
    // SAFETY: all zeros is a valid `timex`: a plain structure of numbers, whose `modes` of 0 asks for nothing but an answer.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole `timex` that lives through the call.
    let answer = unsafe { libc::adjtimex(&mut state) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}
