//! What must hold whatever the input is: one function of bytes for each fuzz target, called by `cargo fuzz` (`fuzz/`) and by
//! the ordinary tests (`tests/tests/props.rs`). A function that returns found nothing; one that panics did.

mod cores;
mod corpus;
mod datagrams;
mod digests;
mod frames;
mod handshake;
mod insider;
mod keyrings;
mod windows;
mod wire;

pub use cores::cores;
pub use corpus::corpus;
pub use datagrams::datagrams;
pub use digests::digests;
pub use frames::frames;
pub use handshake::handshake;
pub use insider::insider;
pub use keyrings::keyrings;
pub use tidings_protocol::props::{acks, outstanding, ranges, reassembly, topics};
pub use windows::windows;

/// A property under the name of its fuzz target and its corpus.
#[derive(Clone, Copy)]
pub struct Property {
    /// The name.
    pub name: &'static str,
    /// Fails if it does not hold of the input.
    pub check: fn(&[u8]),
    /// Inputs that the ordinary tests make.
    pub cases: u32,
}

macro_rules! properties {
    ($($name:ident $cases:literal,)*) => {
        /// Every property.
        pub const PROPERTIES: &[Property] =
            &[$(Property { name: stringify!($name), check: $name, cases: $cases },)*];
    };
}

properties! {
    datagrams 2_000,
    digests 2_000,
    frames 2_000,
    keyrings 500,
    windows 500,
    topics 2_000,
    ranges 1_000,
    outstanding 1_000,
    acks 1_000,
    reassembly 500,
    handshake 200,
    insider 500,
    cores 100,
}
