//! Why a datagram of the link layer was refused: each reason is a counter.

use tidings_wire::{HeaderError, OpenError};

/// Why a datagram was refused. No state changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// Header.
    Header(HeaderError),
    /// Not opened.
    Open(OpenError),
    /// Another boot's index.
    BootTag,
    /// No session here.
    Slot,
    /// Of a session whose OPENED has not come.
    Unopened,
    /// Seen before.
    Duplicate,
    /// More HELLOs than the budget allows.
    Budget,
    /// A HELLO whose body is not what its kind says.
    Malformed,
    /// A beacon, at the port where no beacons are heard.
    Beacon,
    /// A HELLO for another node or another boot.
    NotForUs,
    /// No common protocol version.
    Version,
    /// H2 or COOKIE that nobody asked for.
    Unasked,
    /// H3 with a nonce that we did not give lately.
    Nonce,
    /// H3 with a counter not above the installed one, or too many boots to remember.
    Replayed,
    /// A handshake that crossed the preferred one.
    Crossed,
    /// H3 of an earlier life.
    Generation,
    /// H3 of our own node id.
    Twin,
    /// No receive slot is free.
    NoSlot,
}

impl Refusal {
    /// The counter that counts this.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Header(error) => error.label(),
            Self::Open(error) => error.label(),
            Self::BootTag => "link_boot_tag",
            Self::Slot => "link_slot",
            Self::Unopened => "link_unopened",
            Self::Duplicate => "link_duplicate",
            Self::Budget => "hello_budget",
            Self::Malformed => "hello_malformed",
            Self::Beacon => "hello_beacon",
            Self::NotForUs => "hello_not_for_us",
            Self::Version => "hello_version",
            Self::Unasked => "hello_unasked",
            Self::Nonce => "hello_nonce",
            Self::Replayed => "hello_replayed",
            Self::Crossed => "hello_crossed",
            Self::Generation => "hello_generation",
            Self::Twin => "hello_twin",
            Self::NoSlot => "hello_no_slot",
        }
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}
