//! How the daemon's allocator is set, beside what it does by itself.

use std::ffi::{c_int, c_long};

/// `mi_option_abandoned_page_purge` of mimalloc v2.
const ABANDONED_PAGE_PURGE: c_int = 12;

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// Has a thread that ends give the free pages of its heap back. Else they wait for somebody to allocate, and in a node at rest nobody does:
/// 2 MiB of what only its start needs.
pub fn give_back_with_threads() {
    // SAFETY: mimalloc's own function, with an option that it has: it stores a number, and allocates nothing.
    unsafe { mi_option_set(ABANDONED_PAGE_PURGE, 1) };
}
