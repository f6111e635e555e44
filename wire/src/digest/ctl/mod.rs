//! Digests of the control channel: reliable and ordered, inside CTL chunks.

mod bucket_ask;
mod deferred;
mod delivered;
mod fetch;
mod fetched;
mod gap;
mod resumed;
mod stream_close;
mod stream_open;
mod stream_ready;
mod table_ack;
mod table_ask;

pub use bucket_ask::BucketAsk;
pub use deferred::Deferred;
pub use delivered::Delivered;
pub use fetch::Fetch;
pub use fetched::Fetched;
pub use gap::Gap;
pub use resumed::Resumed;
pub use stream_close::StreamClose;
pub use stream_open::StreamOpen;
pub use stream_ready::StreamReady;
pub use table_ack::TableAck;
pub use table_ask::TableAsk;
