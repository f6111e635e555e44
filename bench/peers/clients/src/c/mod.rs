//! C libraries: the few calls of each that a run needs, safe to call. All of this crate's unsafe code is here.

#[cfg(has_aeron)]
pub(crate) mod aeron;
#[cfg(has_libnats)]
pub(crate) mod nats;
