//! The delivery contract, design section 7, sentence by sentence, on the in-process network.
//!
//! What must hold of every message (see `net/check.rs`) is checked in every test besides what the test is about.

mod catchup;
mod common;
mod contract;
mod economy;
mod hostile;
mod joining;
mod keys;
mod large;
mod latency;
mod leaving;
mod policy;
mod redelivery;
mod restart;
mod sealing;
mod sizes;
mod slow;
mod transport;
