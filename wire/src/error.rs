//! Every way in which bytes are refused. Each variant is the label of a counter.

use std::fmt;

use crate::suite::Suite;

macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The counter that counts this.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }

        impl std::error::Error for $name {}
    };
}

labelled! {
    /// A header that is refused before any key is touched.
    HeaderError {
        /// Shorter than its header and tag.
        TooShort = "header_short", "datagram shorter than its header and tag";
        /// Another version of the protocol.
        Version = "header_version", "unknown protocol version";
        /// No such class.
        Class = "header_class", "unknown datagram class";
        /// No such suite.
        Suite = "header_suite", "unknown cipher suite";
        /// Slot above 7, or no such HELLO kind.
        Slot = "header_slot", "key slot or kind out of range";
        /// A reserved bit is set.
        Reserved = "header_reserved", "reserved header bits set";
        /// The length in a HELLO header is not that of the datagram.
        Length = "header_length", "length in the header is wrong";
    }
}

labelled! {
    /// A datagram that cannot be sealed.
    SealError {
        /// The keyring has no record in this slot.
        UnknownSlot = "seal_slot", "no key in this slot";
        /// No room for header and tag, or more than a datagram holds.
        Length = "seal_length", "buffer shorter than header and tag, or longer than a datagram";
        /// The counter reached 2^60.
        Exhausted = "seal_exhausted", "counter used up";
    }
}

/// A datagram that is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenError {
    /// Refused by its header.
    Header(HeaderError),
    /// Class, suite, slot, session or lane are not those of the session.
    Session,
    /// The keyring has no record in this slot.
    UnknownSlot,
    /// The suite is not that of the record.
    Suite,
    /// The overlay tag is another overlay's.
    Overlay,
    /// The handshake gate does not hold.
    Gate,
    /// Below the window or the floor.
    Stale,
    /// Beyond the window.
    Ahead,
    /// More than one key epoch away, or a counter of 2^60 or more.
    Epoch,
    /// The tag does not verify. The buffer is destroyed.
    Forged,
    /// Too many forgeries: the session must be replaced.
    Worn,
    /// The scratch buffer is smaller than the body and tag.
    Scratch,
}

impl OpenError {
    /// The counter that counts this.
    pub fn label(self) -> &'static str {
        match self {
            Self::Header(header) => header.label(),
            Self::Session => "open_session",
            Self::UnknownSlot => "open_slot",
            Self::Suite => "open_suite",
            Self::Overlay => "open_overlay",
            Self::Gate => "open_gate",
            Self::Stale => "open_stale",
            Self::Ahead => "open_ahead",
            Self::Epoch => "open_epoch",
            Self::Forged => "open_forged",
            Self::Worn => "open_worn",
            Self::Scratch => "open_scratch",
        }
    }
}

impl From<HeaderError> for OpenError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for OpenError {}

labelled! {
    /// A body that is not a run of digests. What stood before the fault was good.
    DecodeError {
        /// A digest is shorter than its kind, or than what its counts promise.
        Short = "decode_short", "digest shorter than its content";
        /// A digest reaches beyond the body.
        Length = "decode_length", "digest longer than the body";
        /// Padding is not zero.
        Padding = "decode_padding", "padding is not zero";
        /// A count or length is over its limit.
        Limit = "decode_limit", "count or length over its limit";
        /// A field holds a value that it cannot have.
        Value = "decode_value", "impossible value";
        /// A name, topic or pattern is not one.
        Text = "decode_text", "invalid name, topic or pattern";
    }
}

labelled! {
    /// A topic or pattern that is not one.
    TopicError {
        /// No bytes.
        Empty = "topic_empty", "empty";
        /// More than 255 bytes.
        TooLong = "topic_long", "longer than 255 bytes";
        /// A part between dots is empty.
        EmptyPart = "topic_part", "empty part between dots";
        /// `*` in a topic, or not last in a pattern.
        Star = "topic_star", "`*` may only end a pattern, alone or after a dot";
        /// A control character.
        Control = "topic_control", "control character";
    }
}

/// A keyring that is refused. `line` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyringError {
    /// The first line is not `tidings-keyring 1`.
    Title,
    /// A line is not `SLOT SUITE primary|installed HEX64`.
    Syntax {
        /// Line in the file.
        line: u32,
    },
    /// A slot is not 0 to 7.
    Slot {
        /// Line in the file, 0 if the record came from elsewhere.
        line: u32,
    },
    /// No such suite.
    Suite {
        /// Line in the file.
        line: u32,
    },
    /// `aes-192-gcm` (suite 4) in a build without the feature `aes-192`: reserved.
    Aes192 {
        /// Line in the file.
        line: u32,
    },
    /// The key is not 64 hex digits.
    Key {
        /// Line in the file.
        line: u32,
    },
    /// A slot is used twice.
    Duplicate {
        /// The slot.
        slot: u8,
    },
    /// Two records are marked primary.
    TwoPrimaries,
    /// No record is primary.
    NoPrimary,
    /// The primary record cannot be removed.
    Primary,
    /// No record in this slot.
    Missing,
}

impl KeyringError {
    /// The counter that counts this.
    pub fn label(self) -> &'static str {
        match self {
            Self::Title => "keyring_title",
            Self::Syntax { .. } => "keyring_syntax",
            Self::Slot { .. } => "keyring_slot",
            Self::Suite { .. } => "keyring_suite",
            Self::Aes192 { .. } => "keyring_aes192",
            Self::Key { .. } => "keyring_key",
            Self::Duplicate { .. } => "keyring_duplicate",
            Self::TwoPrimaries => "keyring_two_primaries",
            Self::NoPrimary => "keyring_no_primary",
            Self::Primary => "keyring_primary",
            Self::Missing => "keyring_missing",
        }
    }
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Title => write!(f, "the first line must be `tidings-keyring 1`"),
            Self::Syntax { line } => {
                write!(
                    f,
                    "line {line}: expected `SLOT SUITE primary|installed KEY`"
                )
            }
            Self::Slot { line } => write!(f, "line {line}: slots are 0 to 7"),
            Self::Suite { line } => {
                let known = Suite::ALL.map(Suite::name).join(", ");
                write!(f, "line {line}: unknown suite; known are {known}")
            }
            Self::Aes192 { line } => write!(
                f,
                "line {line}: aes-192-gcm (suite 4) is reserved and not part of this build"
            ),
            Self::Key { line } => write!(f, "line {line}: a key is 64 hex digits"),
            Self::Duplicate { slot } => write!(f, "slot {slot} is used twice"),
            Self::TwoPrimaries => write!(f, "two records are marked primary"),
            Self::NoPrimary => write!(f, "no record is marked primary"),
            Self::Primary => write!(f, "the primary record cannot be removed"),
            Self::Missing => write!(f, "no record in this slot"),
        }
    }
}

impl std::error::Error for KeyringError {}
