//! How to attach and how to subscribe.

use std::path::PathBuf;

use tidings_wire::client::key::SECRET_SIZE;
use tidings_wire::client::{AckMode, Order, Policy};

/// A client's secret. It is not shown.
#[derive(Clone)]
pub struct Secret(pub(crate) [u8; SECRET_SIZE]);

impl Secret {
    /// From its bytes.
    pub fn new(bytes: [u8; SECRET_SIZE]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How to attach.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// Name of the client; its subscriptions outlive it for a while.
    pub name: Option<String>,
    /// Secret of that name. Without it the daemon admits only its own uid.
    pub secret: Option<Secret>,
}

impl Options {
    /// An unnamed client of the daemon at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            name: None,
            secret: None,
        }
    }

    /// Attaches under a name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Proves the name with its secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }
}

/// How to subscribe. The default: acknowledged by the client, unordered, moved to catch-up when slow, redelivered as
/// the overlay is configured.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeOptions {
    /// Who acknowledges.
    pub ack: AckMode,
    /// In which order messages of one publisher come.
    pub order: Order,
    /// What happens when this client is too slow.
    pub policy: Policy,
    /// Attempts of redelivery, 0 = without end. It counts only if `every_ms` is not 0.
    pub attempts: u32,
    /// Milliseconds between attempts; 0: attempts and period are the overlay's.
    pub every_ms: u32,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            ack: AckMode::Client,
            order: Order::Unordered,
            policy: Policy::Detach,
            attempts: 0,
            every_ms: 0,
        }
    }
}
