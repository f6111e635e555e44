//! What the daemon sends, decoded by kind. Client libraries call it on every frame.

use super::auth::{Challenge, Refusal, Welcome};
use super::frame::{FrameError, Kind, Raw};
use super::presence::Presence;
use super::publish::{Accepted, Closed, Credit, Opened, OutcomeRange, Owed};
use super::query::Answer;
use super::subscribe::{Deliver, Gap, Subscribed, Unsubscribed};

/// A frame from the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The daemon proves itself.
    Challenge(Challenge),
    /// The session stands.
    Welcome(Welcome<'a>),
    /// Something was refused.
    Error(Refusal<'a>),
    /// A subscription stands.
    Subscribed(Subscribed<'a>),
    /// A subscription ended.
    Unsubscribed(Unsubscribed),
    /// Messages.
    Deliver(Deliver<'a>),
    /// Messages that will never come.
    Gap(Gap<'a>),
    /// A publisher stands.
    Opened(Opened),
    /// A publisher is closed.
    Closed(Closed),
    /// Messages are in the store.
    Accepted(Accepted),
    /// What became of messages.
    Outcome(OutcomeRange),
    /// How much more may be published.
    Credit(Credit),
    /// To how many subscriptions a message would be owed.
    Owed(Owed),
    /// A member.
    Presence(Presence<'a>),
    /// JSON.
    Answer(Answer<'a>),
    /// A kind that this version does not know; skipped.
    Unknown(u8),
}

impl<'a> Reply<'a> {
    /// Decodes a frame from the daemon.
    pub fn decode(raw: Raw<'a>) -> Result<Self, FrameError> {
        let (flags, body) = (raw.flags, raw.body);
        let Some(kind) = Kind::of(raw.kind) else {
            return Ok(Self::Unknown(raw.kind));
        };
        Ok(match kind {
            Kind::Deliver => Self::Deliver(Deliver::decode(flags, body)?),
            Kind::Outcome => Self::Outcome(OutcomeRange::decode(body)?),
            Kind::Accepted => Self::Accepted(Accepted::decode(flags, body)?),
            Kind::Credit => Self::Credit(Credit::decode(body)?),
            Kind::Challenge => Self::Challenge(Challenge::decode(body)?),
            Kind::Welcome => Self::Welcome(Welcome::decode(body)?),
            Kind::Error => Self::Error(Refusal::decode(flags, body)?),
            Kind::Subscribed => Self::Subscribed(Subscribed::decode(flags, body)?),
            Kind::Unsubscribed => Self::Unsubscribed(Unsubscribed::decode(body)?),
            Kind::Gap => Self::Gap(Gap::decode(body)?),
            Kind::Opened => Self::Opened(Opened::decode(body)?),
            Kind::Closed => Self::Closed(Closed::decode(body)?),
            Kind::Owed => Self::Owed(Owed::decode(body)?),
            Kind::Presence => Self::Presence(Presence::decode(flags, body)?),
            Kind::Answer => Self::Answer(Answer::decode(body)?),
            Kind::Hello
            | Kind::Proof
            | Kind::Subscribe
            | Kind::Unsubscribe
            | Kind::Ack
            | Kind::Open
            | Kind::Close
            | Kind::Publish
            | Kind::AskOwed
            | Kind::Watch
            | Kind::Unwatch
            | Kind::Query
            | Kind::Leave => return Err(FrameError::UnknownKind(raw.kind)),
        })
    }
}
