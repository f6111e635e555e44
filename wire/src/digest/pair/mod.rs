//! Digests of PAIR: small and fresh, sent again as state rather than made reliable.

mod ack;
mod bulk_ack;
mod ctl;
mod ctl_ack;
mod fan_ack;
mod fan_beat;
mod member;
mod nack;
mod opened;
mod path_ack;
mod path_probe;
mod ping;
mod ping_req;
mod rumour;
mod you_are_dead;

pub use ack::Ack;
pub use bulk_ack::{BulkAck, BulkAckView};
pub use ctl::{Ctl, CtlView};
pub use ctl_ack::CtlAck;
pub use fan_ack::{FanAck, FanAckView};
pub use fan_beat::FanBeat;
pub use member::{Member, MemberView};
pub use nack::Nack;
pub use opened::LinkOpened;
pub use path_ack::PathAck;
pub use path_probe::PathProbe;
pub use ping::Ping;
pub use ping_req::PingReq;
pub use rumour::Rumour;
pub use you_are_dead::YouAreDead;
