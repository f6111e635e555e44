//! The local client protocol: frames are cut at their lengths, and whatever decodes is encoded as what decodes to it.

use tidings_wire::client::frame::{frame_size, split};
use tidings_wire::client::publish::PublishRun;
use tidings_wire::client::subscribe::{DeliverKey, DeliverRun};
use tidings_wire::client::{HEAD_SIZE, MAX_FRAME, Reply, Request};

/// A stream of frames, as it comes from either side.
pub fn frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((raw, size))) = split(rest) {
        assert_eq!(frame_size(rest), Ok(Some(size)));
        assert_eq!(size, HEAD_SIZE + raw.body.len());
        assert!(size <= rest.len() && size <= MAX_FRAME + 4);
        if let Ok(request) = Request::decode(raw) {
            request_comes_back(&request);
        }
        if let Ok(reply) = Reply::decode(raw) {
            reply_comes_back(&reply);
        }
        rest = &rest[size..];
    }
}

fn request_comes_back(request: &Request<'_>) {
    let mut out = Vec::new();
    encode_request(request, &mut out);
    let (raw, size) = whole(&out);
    assert_eq!(size, out.len());
    assert_eq!(Request::decode(raw).as_ref(), Ok(request));
}

fn reply_comes_back(reply: &Reply<'_>) {
    let mut out = Vec::new();
    if !encode_reply(reply, &mut out) {
        return;
    }
    let (raw, size) = whole(&out);
    assert_eq!(size, out.len());
    assert_eq!(Reply::decode(raw).as_ref(), Ok(reply));
}

fn whole(out: &[u8]) -> (tidings_wire::client::Raw<'_>, usize) {
    split(out)
        .expect("it was encoded")
        .expect("it was encoded whole")
}

fn encode_request(request: &Request<'_>, out: &mut Vec<u8>) {
    match request {
        Request::Hello(frame) => frame.encode(out),
        Request::Proof(frame) => frame.encode(out),
        Request::Subscribe(frame) => frame.encode(out),
        Request::Unsubscribe(frame) => frame.encode(out),
        Request::Ack(frame) => frame.encode(out),
        Request::Open(frame) => frame.encode(out),
        Request::Close(frame) => frame.encode(out),
        Request::Publish(frame) => {
            let mut run = PublishRun::begin(out, frame.publisher);
            let mut bytes = 0;
            for payload in frame.records {
                assert!(run.fits(out, payload.len()));
                run.push(out, payload);
                bytes += 4 + payload.len();
            }
            assert_eq!(bytes, frame.bytes, "every byte counts against the credit");
        }
        Request::AskOwed(frame) => frame.encode(out),
        Request::Watch(frame) => frame.encode(out),
        Request::Unwatch(frame) => frame.encode(out),
        Request::Query(frame) => frame.encode(out),
        Request::Leave(frame) => frame.encode(out),
    }
}

// False for what no encoder makes: an unknown kind, texts beyond what an encoder cuts, numbers beyond the last.
fn encode_reply(reply: &Reply<'_>, out: &mut Vec<u8>) -> bool {
    match reply {
        Reply::Challenge(frame) => frame.encode(out),
        Reply::Welcome(frame) => frame.encode(out),
        Reply::Error(frame) if frame.text.len() <= 1024 => frame.encode(out),
        Reply::Subscribed(frame) => frame.encode(out),
        Reply::Unsubscribed(frame) => frame.encode(out),
        Reply::Deliver(frame) if frame.seq < 1 << 62 => {
            let key = DeliverKey {
                sub: frame.sub,
                handle: frame.handle,
                node: frame.node,
                boot: frame.boot,
                again: frame.again,
            };
            let mut run = DeliverRun::begin(out, key, frame.topic, frame.seq);
            for (payload, seq) in frame.records.zip(frame.seq..) {
                assert!(run.continues(out, &key, seq, payload.len()));
                run.push(out, payload);
            }
        }
        Reply::Gap(frame) => frame.encode(out),
        Reply::Opened(frame) => frame.encode(out),
        Reply::Closed(frame) => frame.encode(out),
        Reply::Accepted(frame) => frame.encode(out),
        Reply::Outcome(frame) => frame.encode(out),
        Reply::Credit(frame) => frame.encode(out),
        Reply::Owed(frame) => frame.encode(out),
        Reply::Presence(frame) if frame.metadata.len() <= 512 => frame.encode(out),
        Reply::Answer(frame) => frame.encode(out),
        Reply::Error(_) | Reply::Deliver(_) | Reply::Presence(_) | Reply::Unknown(_) => {
            return false;
        }
    }
    true
}
