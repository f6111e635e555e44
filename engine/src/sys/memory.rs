//! Memory of the whole process. For whoever owns the process, as the daemon does: the engine itself never calls this.

use std::ffi::c_void;

/// Lets the kernel put memory that is touched from now on into huge pages, or forbids it (`PR_SET_THP_DISABLE`). What lies in
/// one stays there. Where the kernel has none there is nothing to forbid.
pub fn huge_pages(allowed: bool) {
    let disable = libc::c_ulong::from(!allowed);
    let none: libc::c_ulong = 0;
    // SAFETY: plain system call without pointers; the kernel wants all five arguments.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disable, none, none, none) };
}

/// Gives back the pages of the program and its libraries that were used until now: what a process only needs to start need not
/// count as its memory for ever. What is needed again is mapped again from the page cache, at some microseconds for 64 KiB.
pub fn let_go_of_program() {
    // SAFETY: the callback fits the declaration, and uses nothing but its arguments.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of_object), std::ptr::null_mut()) };
}

extern "C" fn let_go_of_object(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut c_void,
) -> libc::c_int {
    // SAFETY: the loader hands out a valid description for the length of the call.
    let object = unsafe { &*object };
    if object.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: it has so many headers there.
    let headers =
        unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let page = rustix::param::page_size();
    for header in headers {
        // What is written at any time, if only by the loader, has no other copy than this.
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Whole pages of it: a neighbour's bytes on the last page lie in a mapping of their own.
        let from = (object.dlpi_addr + header.p_vaddr) as usize / page * page;
        let to =
            ((object.dlpi_addr + header.p_vaddr + header.p_memsz) as usize).next_multiple_of(page);
        // SAFETY: these pages map a file and were never written, since nothing may write to them: their content comes from the
        // file again when it is needed. A mapping that cannot be let go of is left as it is.
        unsafe { libc::madvise(from as *mut c_void, to - from, libc::MADV_DONTNEED) };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kib(what: &str) -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn a_program_goes_on_after_its_pages_were_let_go_of() {
        let falls = |_| {
            let before = kib("RssFile:");
            let_go_of_program();
            kib("RssFile:") < before
        };
        // Other threads of this process may use their pages again before we look.
        assert!((0..10).any(falls));
    }

    #[test]
    fn huge_pages_are_forbidden_and_allowed_again() {
        let forbidden = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            status.contains("THP_enabled:\t0")
        };
        huge_pages(false);
        assert!(forbidden());
        huge_pages(true);
        assert!(!forbidden());
    }
}
