//! Why a client could not do what was asked.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tidings_wire::client::{ErrorCode, FrameError};

use crate::trust::Distrust;

/// Why a client could not do what was asked.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens at the socket.
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another user may listen at the socket, and there is no secret to prove who it is. Nothing was sent.
    Untrusted {
        /// The socket.
        socket: PathBuf,
        /// Why.
        distrust: Distrust,
    },
    /// The daemon cannot prove that it knows this client's secret: a stranger, or another secret.
    Impostor,
    /// The daemon refused.
    Refused {
        /// Why.
        code: ErrorCode,
        /// In words.
        text: String,
    },
    /// The connection is lost; [`Client::next`](crate::Client::next) attaches again.
    Lost(String),
    /// The daemon did not answer in time.
    TimedOut,
    /// The payload exceeds the overlay's limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// No credit now; wait for it with [`Client::next`](crate::Client::next) or publish blocking.
    WouldBlock,
    /// So many events wait that no more can be read: take them with [`Client::next`](crate::Client::next).
    EventsWaiting,
    /// The publisher or subscription is closed.
    Closed,
    /// What the daemon sent is no frame of this protocol.
    Protocol(FrameError),
    /// The system's random generator failed.
    Random,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon { socket, error } => write!(f, "no daemon at {}: {error}", socket.display()),
            Self::Untrusted { socket, distrust } => {
                write!(f, "{} is not trusted: {distrust}", socket.display())
            }
            Self::Impostor => f.write_str(
                "the daemon does not know this client's secret, or is not the daemon: nothing was told to it",
            ),
            Self::Refused { text, code } if text.is_empty() => write!(f, "refused: {code}"),
            Self::Refused { text, .. } => f.write_str(text),
            Self::Lost(why) => write!(f, "the daemon is lost: {why}"),
            Self::TimedOut => f.write_str("the daemon does not answer"),
            Self::TooLarge { limit } => {
                write!(f, "the message is too large: this overlay takes at most {limit} bytes")
            }
            Self::WouldBlock => f.write_str("the daemon takes no more at the moment"),
            Self::EventsWaiting => f.write_str("too many events wait to be taken"),
            Self::Closed => f.write_str("closed"),
            Self::Protocol(error) => write!(f, "the daemon does not speak this protocol: {error}"),
            Self::Random => f.write_str("the system's random generator failed"),
        }
    }
}

impl std::error::Error for Error {}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error)
    }
}
