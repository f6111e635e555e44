//! Writes a decoded digest again: what was viewed must be all that there is.

use tidings_wire::digest::{Digest, Writer};
use zerocopy::IntoBytes;

pub fn put_again(writer: &mut Writer<'_>, digest: &Digest<'_>) -> bool {
    let words = |words: &[zerocopy::little_endian::U64]| -> Vec<u64> {
        words.iter().map(|word| word.get()).collect()
    };
    match digest {
        Digest::H1(view) => writer.put_h1(view.fixed, view.addrs),
        Digest::H2(fixed) => writer.put(*fixed),
        Digest::H3(view) => writer.put_h3(view.fixed, view.addrs, view.inner),
        Digest::Cookie(fixed) => writer.put(*fixed),
        Digest::Beacon(fixed) => writer.put(*fixed),
        Digest::Opened(fixed) => writer.put(*fixed),
        Digest::Ping(fixed) => writer.put(*fixed),
        Digest::Ack(fixed) => writer.put(*fixed),
        Digest::PingReq(fixed) => writer.put(*fixed),
        Digest::Nack(fixed) => writer.put(*fixed),
        Digest::Member(view) => {
            writer.put_member(view.fixed, view.name, view.rack, view.addrs, view.meta)
        }
        Digest::Rumour(fixed) => writer.put(*fixed),
        Digest::Ctl(view) => writer.put_tail(view.fixed, &[view.content]),
        Digest::CtlAck(fixed) => writer.put(*fixed),
        Digest::BulkAck(view) => writer.put_bulk_ack(view.fixed, &words(view.bitmap)),
        Digest::FanAck(view) => writer.put_fan_ack(view.fixed, &words(view.bitmap)),
        Digest::FanBeat(fixed) => writer.put(*fixed),
        Digest::YouAreDead(fixed) => writer.put(*fixed),
        Digest::PathProbe(fixed) => writer.put(*fixed),
        Digest::PathAck(fixed) => writer.put(*fixed),
        Digest::StreamOpen(fixed) => writer.put(*fixed),
        Digest::StreamReady(fixed) => writer.put(*fixed),
        Digest::StreamClose(fixed) => writer.put(*fixed),
        Digest::Delivered(fixed) => writer.put(*fixed),
        Digest::Deferred(fixed) => writer.put(*fixed),
        Digest::Resumed(fixed) => writer.put(*fixed),
        Digest::Fetch(fixed) => writer.put(*fixed),
        Digest::Fetched(fixed) => writer.put(*fixed),
        Digest::Gap(fixed) => writer.put(*fixed),
        Digest::TableAck(fixed) => writer.put(*fixed),
        Digest::TableAsk(fixed) => writer.put(*fixed),
        Digest::BucketAsk(fixed) => writer.put(*fixed),
        Digest::Bulk(view) => writer.put_tail(view.fixed, &[view.content]),
        Digest::Table(fixed) => writer.put(*fixed),
        Digest::SubAdd(view) => writer.put_sub_add(view.fixed, view.pattern),
        Digest::SubDel(fixed) => writer.put(*fixed),
        Digest::TableEnd(fixed) => writer.put(*fixed),
        Digest::Buckets(view) => writer.put_tail(view.fixed, &[view.hashes.as_bytes()]),
        Digest::Retired(fixed) => writer.put(*fixed),
        Digest::Backlog(view) => writer.put_backlog(view.fixed, view.topic),
        Digest::Catchup(view) => writer.put_catchup(view.fixed, view.payload),
        Digest::Define(view) => writer.put_tail(view.fixed, &[view.topic.as_bytes()]),
        Digest::Message(view) => match view.seq {
            Some(seq) => writer.put_tail(view.fixed, &[&seq.to_le_bytes(), view.payload]),
            None => writer.put_tail(view.fixed, &[view.payload]),
        },
        Digest::Fragment(view) => writer.put_fragment(view.fixed, view.payload),
        Digest::Unknown(_) => false,
    }
}
