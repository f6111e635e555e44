//! Digests of BULK: one chunk a datagram, and what travels in chunks.

mod backlog;
mod buckets;
mod catchup;
mod chunk;
mod retired;
mod sub_add;
mod sub_del;
mod table;
mod table_end;

pub use backlog::{Backlog, BacklogView};
pub use buckets::{Buckets, BucketsView, bucket_of, member_hash};
pub(crate) use catchup::check_part;
pub use catchup::{Catchup, CatchupView};
pub use chunk::{Bulk, BulkView};
pub use retired::Retired;
pub use sub_add::{SubAdd, SubAddView, client_hash};
pub use sub_del::SubDel;
pub use table::Table;
pub use table_end::TableEnd;
