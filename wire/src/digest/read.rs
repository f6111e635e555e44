//! Reading a body: an iterator over its digests, which stops at the first fault.

use super::*;

/// One digest, viewed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest<'a> {
    /// 0x01 H1
    H1(H1View<'a>),
    /// 0x02 H2
    H2(&'a H2),
    /// 0x03 H3
    H3(H3View<'a>),
    /// 0x04 COOKIE
    Cookie(&'a Cookie),
    /// 0x05 BEACON
    Beacon(&'a Beacon),
    /// 0x10 OPENED
    Opened(&'a LinkOpened),
    /// 0x11 PING
    Ping(&'a Ping),
    /// 0x12 ACK
    Ack(&'a Ack),
    /// 0x13 PING_REQ
    PingReq(&'a PingReq),
    /// 0x14 NACK
    Nack(&'a Nack),
    /// 0x15 MEMBER
    Member(MemberView<'a>),
    /// 0x16 RUMOUR
    Rumour(&'a Rumour),
    /// 0x17 CTL
    Ctl(CtlView<'a>),
    /// 0x18 CTL_ACK
    CtlAck(&'a CtlAck),
    /// 0x19 BULK_ACK
    BulkAck(BulkAckView<'a>),
    /// 0x1A FAN_ACK
    FanAck(FanAckView<'a>),
    /// 0x1B FAN_BEAT
    FanBeat(&'a FanBeat),
    /// 0x1C YOU_ARE_DEAD
    YouAreDead(&'a YouAreDead),
    /// 0x1D PATH_PROBE
    PathProbe(&'a PathProbe),
    /// 0x1E PATH_ACK
    PathAck(&'a PathAck),
    /// 0x20 STREAM_OPEN
    StreamOpen(&'a StreamOpen),
    /// 0x21 STREAM_READY
    StreamReady(&'a StreamReady),
    /// 0x22 STREAM_CLOSE
    StreamClose(&'a StreamClose),
    /// 0x23 DELIVERED
    Delivered(&'a Delivered),
    /// 0x24 DEFERRED
    Deferred(&'a Deferred),
    /// 0x25 RESUMED
    Resumed(&'a Resumed),
    /// 0x26 FETCH
    Fetch(&'a Fetch),
    /// 0x27 FETCHED
    Fetched(&'a Fetched),
    /// 0x28 GAP
    Gap(&'a Gap),
    /// 0x29 TABLE_ACK
    TableAck(&'a TableAck),
    /// 0x2A TABLE_ASK
    TableAsk(&'a TableAsk),
    /// 0x2B BUCKET_ASK
    BucketAsk(&'a BucketAsk),
    /// 0x2F BULK
    Bulk(BulkView<'a>),
    /// 0x30 TABLE
    Table(&'a Table),
    /// 0x31 SUB_ADD
    SubAdd(SubAddView<'a>),
    /// 0x32 SUB_DEL
    SubDel(&'a SubDel),
    /// 0x33 TABLE_END
    TableEnd(&'a TableEnd),
    /// 0x34 BUCKETS
    Buckets(BucketsView<'a>),
    /// 0x35 RETIRED
    Retired(&'a Retired),
    /// 0x36 BACKLOG
    Backlog(BacklogView<'a>),
    /// 0x37 CATCHUP
    Catchup(CatchupView<'a>),
    /// 0x40 DEFINE
    Define(DefineView<'a>),
    /// 0x41 MESSAGE
    Message(MessageView<'a>),
    /// 0x42 FRAGMENT
    Fragment(FragmentView<'a>),
    /// A kind that this version does not know: count it and go on.
    Unknown(&'a Head),
}

impl<'a> Digest<'a> {
    /// Views one whole digest; its length is that of `digest`.
    #[inline]
    fn decode(head: &'a Head, digest: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match head.kind {
            H1::KIND => Self::H1(H1View::decode(digest)?),
            H2::KIND => Self::H2(fixed(digest)?),
            H3::KIND => Self::H3(H3View::decode(digest)?),
            Cookie::KIND => Self::Cookie(fixed(digest)?),
            Beacon::KIND => Self::Beacon(checked(digest, Beacon::check)?),
            LinkOpened::KIND => Self::Opened(fixed(digest)?),
            Ping::KIND => Self::Ping(fixed(digest)?),
            Ack::KIND => Self::Ack(fixed(digest)?),
            PingReq::KIND => Self::PingReq(fixed(digest)?),
            Nack::KIND => Self::Nack(fixed(digest)?),
            Member::KIND => Self::Member(MemberView::decode(digest)?),
            Rumour::KIND => Self::Rumour(checked(digest, Rumour::check)?),
            Ctl::KIND => Self::Ctl(CtlView::decode(digest)?),
            CtlAck::KIND => Self::CtlAck(fixed(digest)?),
            BulkAck::KIND => Self::BulkAck(BulkAckView::decode(digest)?),
            FanAck::KIND => Self::FanAck(FanAckView::decode(digest)?),
            FanBeat::KIND => Self::FanBeat(fixed(digest)?),
            YouAreDead::KIND => Self::YouAreDead(fixed(digest)?),
            PathProbe::KIND => Self::PathProbe(fixed(digest)?),
            PathAck::KIND => Self::PathAck(fixed(digest)?),
            StreamOpen::KIND => Self::StreamOpen(fixed(digest)?),
            StreamReady::KIND => Self::StreamReady(fixed(digest)?),
            StreamClose::KIND => Self::StreamClose(fixed(digest)?),
            Delivered::KIND => Self::Delivered(checked(digest, Delivered::check)?),
            Deferred::KIND => Self::Deferred(fixed(digest)?),
            Resumed::KIND => Self::Resumed(fixed(digest)?),
            Fetch::KIND => Self::Fetch(checked(digest, Fetch::check)?),
            Fetched::KIND => Self::Fetched(checked(digest, Fetched::check)?),
            Gap::KIND => Self::Gap(checked(digest, Gap::check)?),
            TableAck::KIND => Self::TableAck(fixed(digest)?),
            TableAsk::KIND => Self::TableAsk(fixed(digest)?),
            BucketAsk::KIND => Self::BucketAsk(fixed(digest)?),
            Bulk::KIND => Self::Bulk(BulkView::decode(digest)?),
            Table::KIND => Self::Table(fixed(digest)?),
            SubAdd::KIND => Self::SubAdd(SubAddView::decode(digest)?),
            SubDel::KIND => Self::SubDel(fixed(digest)?),
            TableEnd::KIND => Self::TableEnd(fixed(digest)?),
            Buckets::KIND => Self::Buckets(BucketsView::decode(digest)?),
            Retired::KIND => Self::Retired(checked(digest, Retired::check)?),
            Backlog::KIND => Self::Backlog(BacklogView::decode(digest)?),
            Catchup::KIND => Self::Catchup(CatchupView::decode(digest)?),
            Define::KIND => Self::Define(DefineView::decode(digest)?),
            Message::KIND => Self::Message(MessageView::decode(digest)?),
            Fragment::KIND => Self::Fragment(FragmentView::decode(digest)?),
            _ => Self::Unknown(head),
        })
    }
}

/// The fixed part, refused if its values cannot be.
fn checked<T: Layout>(
    digest: &[u8],
    check: impl FnOnce(&T) -> Result<(), DecodeError>,
) -> Result<&T, DecodeError> {
    let fixed = fixed::<T>(digest)?;
    check(fixed)?;
    Ok(fixed)
}

/// The digests of a body, in order. After an `Err` it ends: the rest is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests<'a> {
    rest: &'a [u8],
}

impl<'a> Digests<'a> {
    /// Reads `body`: an opened datagram's, or the content of a chunk.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// The payload of the next digest, if that is a MESSAGE of this publisher without a number of its own. Anything else is
    /// left to [`Iterator::next`], faults included.
    #[inline]
    pub fn next_message_of(&mut self, publisher: u32) -> Option<&'a [u8]> {
        let (fixed, _) = Message::ref_from_prefix(self.rest).ok()?;
        let is_such = fixed.head.kind == Message::KIND
            && fixed.head.flags == 0
            && fixed.handle.get() == publisher;
        let len = usize::from(fixed.head.len.get());
        let payload = self.rest.get(size_of::<Message>()..len)?;
        let end = len.next_multiple_of(8).min(self.rest.len());
        if !is_such || all_zero(&self.rest[len..end]).is_err() {
            return None;
        }
        self.rest = &self.rest[end..];
        Some(payload)
    }

    /// Cuts the next digest off, padding checked; `None` at the end or where only padding is left.
    fn cut_next(&mut self) -> Result<Option<(&'a Head, &'a [u8])>, DecodeError> {
        let Ok((head, _)) = Head::ref_from_prefix(self.rest) else {
            return all_zero(self.rest).map(|()| None);
        };
        if head.kind == 0 {
            return all_zero(self.rest).map(|()| None);
        }
        let len = usize::from(head.len.get());
        if len < size_of::<Head>() {
            return Err(DecodeError::Short);
        }
        let (digest, after) = self.rest.split_at_checked(len).ok_or(DecodeError::Length)?;
        let padding = after.len().min(len.next_multiple_of(8) - len);
        let (padding, next) = after.split_at(padding);
        all_zero(padding)?;
        self.rest = next;
        Ok(Some((head, digest)))
    }
}

impl<'a> Iterator for Digests<'a> {
    type Item = Result<Digest<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = match self.cut_next() {
            Ok(Some((head, digest))) => Some(Digest::decode(head, digest)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        if !matches!(item, Some(Ok(_))) {
            self.rest = &[];
        }
        item
    }
}

fn all_zero(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(DecodeError::Padding)
    }
}
