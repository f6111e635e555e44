//! Why the embedding API refused.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use tidings_protocol::CommandError;

use crate::storage::StorageError;

/// Why a node did not start.
#[derive(Debug)]
pub enum StartError {
    /// A setting cannot be.
    Setting(&'static str),
    /// The data directory cannot be used.
    Storage(StorageError),
    /// The address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// A thread or its descriptors cannot be had: a limit of this user is reached, usually that of open files.
    Shard(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(what) => f.write_str(what),
            Self::Storage(error) => error.fmt(f),
            Self::Bind(addr, error) => write!(f, "cannot bind {addr}: {error}"),
            Self::Shard(error) => write!(f, "cannot start a shard: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Why a call on a running node was refused.
#[derive(Debug)]
pub enum EngineError {
    /// The overlay runs already, or the first half of its tag is that of another overlay here.
    Exists,
    /// No such overlay runs here.
    Unknown,
    /// The core refused.
    Refused(CommandError),
    /// A bound of `limits.rs` is reached.
    TooMany,
    /// Generation or peers could not be kept on disk.
    Storage(StorageError),
    /// The kernel refused a new steering program.
    Steering(io::Error),
    /// The thread of discovery or its descriptor cannot be had: a limit of this user is reached.
    Discovery(io::Error),
    /// A shard has no room for another command now, and nothing has changed.
    Busy,
    /// There is no shard of this number; how many there are.
    NoShard(usize),
    /// Handlers were put on the shard of the overlay, or sessions of the embedder that cannot leave it: it cannot move.
    HasHandlers,
    /// The shard stopped, or did not answer within 10 s: what it was asked to do was not done and never will be, unless it stands still in
    /// the midst of it, for which it is waited for as long again.
    Stopped,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("the overlay runs already"),
            Self::Unknown => f.write_str("no such overlay runs here"),
            Self::Refused(CommandError::BadTopic) => f.write_str("not a valid topic or pattern"),
            Self::Refused(CommandError::TooMany) | Self::TooMany => {
                f.write_str("a limit is reached")
            }
            Self::Refused(CommandError::Unknown) => {
                f.write_str("no such subscription or publisher")
            }
            Self::Refused(CommandError::TooLong) => {
                f.write_str("metadata is longer than 512 bytes")
            }
            Self::Refused(CommandError::Leaving) => f.write_str("the node is leaving the overlay"),
            Self::Storage(error) => error.fmt(f),
            Self::Steering(error) => write!(f, "the kernel refused the steering program: {error}"),
            Self::Discovery(error) => write!(
                f,
                "discovery cannot start: {error}; raise the limits of threads and open files"
            ),
            Self::Busy => f.write_str("a shard has too much to do to take this now"),
            Self::NoShard(shards) => write!(f, "there is no such shard: this node runs {shards}"),
            Self::HasHandlers => f.write_str("handlers of this overlay are bound to its shard"),
            Self::Stopped => f.write_str("the node has stopped"),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<crate::shard::door::Gone> for EngineError {
    fn from(_: crate::shard::door::Gone) -> Self {
        Self::Stopped
    }
}

impl From<CommandError> for EngineError {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}
