//! Skeleton.
#![forbid(unsafe_code)]

#[allow(dead_code, unused_imports)]
mod links;
#[allow(dead_code, unused_imports)]
mod peer;
#[allow(dead_code, unused_imports)]
mod rng;
#[allow(dead_code, unused_imports)]
mod timers;
#[allow(dead_code, unused_imports)]
mod tx;
