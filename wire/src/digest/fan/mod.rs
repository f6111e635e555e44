//! Records of FAN: live payload.

mod define;
mod fragment;
mod message;

pub use define::{Define, DefineView};
pub use fragment::{Fragment, FragmentView};
pub use message::{Message, MessageView, Payload};
