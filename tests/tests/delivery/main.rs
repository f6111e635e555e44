//! The delivery contract, design section 7, sentence by sentence, on the in-process network.
//!
//! What must hold of every message (see `net/check.rs`) is checked in every test besides what the test is about.

mod catchup;
mod common;
mod contract;
mod economy;
mod hostile;
mod joining;
mod large;
mod leaving;
mod redelivery;
mod restart;
mod sealing;
mod sizes;
mod slow;
mod transport;
