//! What a client sends, decoded by kind. The gateway calls it on every frame of every client.

use super::auth::{Hello, Proof};
use super::frame::{FrameError, Kind, Raw};
use super::presence::{Unwatch, Watch};
use super::publish::{AskOwed, Close, Open, Publish};
use super::query::{Leave, Query};
use super::subscribe::{Ack, Subscribe, Unsubscribe};

/// A frame from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Who the client is.
    Hello(Hello<'a>),
    /// That it holds its secret.
    Proof(Proof),
    /// Asks for a subscription.
    Subscribe(Subscribe<'a>),
    /// Ends one.
    Unsubscribe(Unsubscribe),
    /// Acknowledges.
    Ack(Ack),
    /// Opens a publisher.
    Open(Open<'a>),
    /// Closes one.
    Close(Close),
    /// Publishes.
    Publish(Publish<'a>),
    /// Asks to how many subscriptions a message would be owed.
    AskOwed(AskOwed),
    /// Watches the members of an overlay.
    Watch(Watch<'a>),
    /// Ends a watch.
    Unwatch(Unwatch),
    /// Asks.
    Query(Query<'a>),
    /// Tells the daemon to leave.
    Leave(Leave<'a>),
}

impl<'a> Request<'a> {
    /// Decodes a frame from a client. An unknown kind is an error: clients adapt to the version that WELCOME names.
    pub fn decode(raw: Raw<'a>) -> Result<Self, FrameError> {
        let (flags, body) = (raw.flags, raw.body);
        Ok(
            match Kind::of(raw.kind).ok_or(FrameError::UnknownKind(raw.kind))? {
                Kind::Publish => Self::Publish(Publish::decode(body)?),
                Kind::Ack => Self::Ack(Ack::decode(body)?),
                Kind::Hello => Self::Hello(Hello::decode(flags, body)?),
                Kind::Proof => Self::Proof(Proof::decode(body)?),
                Kind::Subscribe => Self::Subscribe(Subscribe::decode(body)?),
                Kind::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(body)?),
                Kind::Open => Self::Open(Open::decode(body)?),
                Kind::Close => Self::Close(Close::decode(body)?),
                Kind::AskOwed => Self::AskOwed(AskOwed::decode(body)?),
                Kind::Watch => Self::Watch(Watch::decode(body)?),
                Kind::Unwatch => Self::Unwatch(Unwatch::decode(body)?),
                Kind::Query => Self::Query(Query::decode(body)?),
                Kind::Leave => Self::Leave(Leave::decode(body)?),
                Kind::Challenge
                | Kind::Welcome
                | Kind::Error
                | Kind::Subscribed
                | Kind::Unsubscribed
                | Kind::Deliver
                | Kind::Gap
                | Kind::Opened
                | Kind::Closed
                | Kind::Accepted
                | Kind::Outcome
                | Kind::Credit
                | Kind::Owed
                | Kind::Presence
                | Kind::Answer => return Err(FrameError::UnknownKind(raw.kind)),
            },
        )
    }
}
