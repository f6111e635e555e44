//! The frames of a socket: JSON as text; and binary frames, which have a message's bytes behind their JSON. docs/management.md
//! has them for those who write a client. Bytes in, values out and back; nothing is sent or decided here.

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;
use utoipa::ToSchema;

use crate::http::error::{ApiError, ApiResult};
use crate::http::publish::{FailureView, PublishedView, PublisherView};
use crate::http::reply;
use crate::node::view::MemberView;

/// Bytes of the length in front of a binary frame's JSON.
const LENGTH_BYTES: usize = 4;

/// In which form messages come: the subprotocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// As text, their bytes in base64.
    #[default]
    Json,
    /// As binary frames, their bytes as they are.
    Binary,
}

impl Protocol {
    /// By its name.
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Json, Self::Binary];
        all.into_iter().find(|protocol| protocol.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "tidings.json",
            Self::Binary => "tidings.binary",
        }
    }
}

/// What the node says: a frame each.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = SocketTold)]
pub enum Told {
    /// The socket stands, and its subscription does. The first frame.
    Open {
        /// Ids of members that had not heard of the subscription within 2 s.
        pending: Vec<String>,
        /// Messages that may be unacknowledged at a time.
        credit: usize,
    },
    /// A message.
    Message {
        /// Its number on this socket, from 1: what it is acknowledged by.
        n: u64,
        /// Its topic.
        topic: String,
        /// With `seq` its id.
        publisher: PublisherView,
        /// Its number among the messages of its publisher.
        seq: u64,
        /// It may have been sent before.
        again: bool,
        /// What was published, in base64; absent in a binary frame, which has the bytes behind this.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
    },
    /// Messages that never come, of an ordered subscription.
    Gap {
        /// Their topic.
        topic: String,
        /// Whose they are.
        publisher: PublisherView,
        /// The number of the first.
        from: u64,
        /// One past the last.
        to: u64,
        /// Why they never come.
        #[schema(value_type = String, example = "overflow")]
        reason: &'static str,
    },
    /// Everybody, once at the beginning of what is told of presence.
    Snapshot {
        /// Members, this node included.
        members: Vec<MemberView>,
    },
    /// A change of a member.
    Presence {
        /// What happened.
        #[schema(value_type = String, example = "member_in")]
        event: &'static str,
        /// The member's id.
        id: String,
        /// The member as it is now; null: it was forgotten.
        member: Option<MemberView>,
    },
    /// A published message is in this node's store.
    Accepted {
        /// The number that the client gave it.
        r#ref: u64,
        /// Its id, and to how many it is owed.
        #[serde(flatten)]
        #[schema(inline)]
        view: PublishedView,
    },
    /// Every subscription that it was owed to acknowledged it.
    Delivered {
        /// The number that the client gave it.
        r#ref: u64,
        /// Subscriptions.
        delivered: u64,
    },
    /// It was not accepted, or not every subscription acknowledged it, or not in time.
    Failed {
        /// The number that the client gave it.
        r#ref: u64,
        /// As of a request.
        #[serde(flatten)]
        #[schema(inline)]
        error: ApiError,
        /// Subscriptions that acknowledged it, once every outcome is there.
        #[serde(skip_serializing_if = "Option::is_none")]
        delivered: Option<u64>,
        /// The others, by reason.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<Vec<FailureView>>,
    },
    /// Why the socket is closed now.
    Error {
        /// As of a request.
        #[serde(flatten)]
        #[schema(inline)]
        error: ApiError,
    },
}

impl Told {
    /// As a text frame.
    pub fn text(&self) -> Message {
        // No keys that are no texts: it cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        Message::text(text)
    }

    /// A message with its bytes, in the form that `protocol` wants.
    pub fn message(mut self, payload: &[u8], protocol: Protocol) -> Message {
        if protocol == Protocol::Binary {
            let head = serde_json::to_vec(&self).unwrap_or_default();
            return Message::binary(join(&head, payload));
        }
        if let Self::Message { data, .. } = &mut self {
            *data = Some(STANDARD.encode(payload));
        }
        self.text()
    }
}

fn join(head: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + head.len() + payload.len());
    // A head has some hundred bytes.
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(payload);
    bytes
}

/// What a client says: a frame each.
#[derive(Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = SocketSaid)]
pub enum Said {
    /// Acknowledges one message, or all up to one: either, not both.
    Ack {
        /// Its number.
        n: Option<u64>,
        /// The number of the last.
        upto: Option<u64>,
    },
    /// So many messages may be unacknowledged from now on.
    Credit {
        /// 0 stops them.
        messages: usize,
    },
    /// Publishes a message.
    Publish {
        /// A number of the client's own, which the answers have.
        r#ref: u64,
        /// Its topic.
        topic: String,
        /// Its bytes, in base64; absent in a binary frame, which has them behind this.
        data: Option<String>,
        /// What is told: `accepted` (default), or every outcome with `delivered`.
        confirm: Option<String>,
        /// How long outcomes are waited for.
        timeout: Option<String>,
    },
    /// Ends the subscription, a named one, too, and the socket.
    Unsubscribe {},
}

/// Reads a frame of a client: what it says, and the bytes that a message has.
pub fn read(message: &Message) -> ApiResult<(Said, Bytes)> {
    let (head, payload) = match message {
        Message::Text(text) => (text.as_bytes(), None),
        Message::Binary(bytes) => {
            let (head, payload) = split(bytes)?;
            (head, Some(payload))
        }
        // The others are WebSocket's own.
        _ => (&b""[..], None),
    };
    let said: Said = reply::parse(head)?;
    let payload = match (&said, payload) {
        (Said::Publish { data: None, .. }, Some(payload)) => payload,
        (Said::Publish { data, .. }, None) => decode(data.as_deref().unwrap_or_default())?,
        (_, None) => Bytes::new(),
        _ => {
            return Err(bad(
                "a binary frame is for publishing, and has the message behind its JSON",
                "send anything else as text, and no `data` in a binary frame",
            ));
        }
    };
    Ok((said, payload))
}

fn split(bytes: &Bytes) -> ApiResult<(&[u8], Bytes)> {
    let cut = || {
        bad(
            "a binary frame is shorter than it says",
            "send the length of the JSON in 4 bytes, the highest first, then the JSON, then the message",
        )
    };
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or_else(cut)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (head, _) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((head, bytes.slice(LENGTH_BYTES + length..)))
}

fn decode(data: &str) -> ApiResult<Bytes> {
    let decoded = STANDARD.decode(data);
    decoded.map(Bytes::from).map_err(|_| {
        bad(
            "`data` is no base64",
            "use the alphabet with + and /, padded with =",
        )
    })
}

/// A frame that is not what it should be.
pub fn bad(detail: impl Into<std::borrow::Cow<'static, str>>, hint: &'static str) -> ApiError {
    ApiError::bad("bad_frame", detail, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &str) -> Result<(Said, Bytes), &'static str> {
        read(&Message::text(frame)).map_err(|error| error.code())
    }

    fn publish(data: Option<&str>) -> Said {
        Said::Publish {
            r#ref: 7,
            topic: "a.b".to_owned(),
            data: data.map(str::to_owned),
            confirm: None,
            timeout: None,
        }
    }

    #[test]
    fn what_clients_say_is_read() {
        let ack = |n, upto| (Said::Ack { n, upto }, Bytes::new());
        assert_eq!(text(r#"{"type":"ack","n":3}"#), Ok(ack(Some(3), None)));
        let upto = text(r#"{"upto":9,"type":"ack"}"#);
        assert_eq!(upto, Ok(ack(None, Some(9))));
        let credit = text(r#"{"type":"credit","messages":0}"#);
        assert_eq!(credit.unwrap().0, Said::Credit { messages: 0 });
        let over = text(r#"{"type":"unsubscribe"}"#);
        assert_eq!(over.unwrap().0, Said::Unsubscribe {});
        let (said, payload) =
            text(r#"{"type":"publish","ref":7,"topic":"a.b","data":"AP8="}"#).unwrap();
        assert_eq!(said, publish(Some("AP8=")));
        assert_eq!(&payload[..], [0, 255]);
        let empty = text(r#"{"type":"publish","ref":7,"topic":"a.b"}"#);
        assert_eq!(empty, Ok((publish(None), Bytes::new())));
    }

    #[test]
    fn binary_frames_have_the_message_behind_their_json() {
        let head = br#"{"type":"publish","ref":7,"topic":"a.b"}"#;
        let frame = |bytes: Vec<u8>| read(&Message::binary(bytes)).map_err(|error| error.code());
        let all = [0, 1, 2, 255];
        let (said, payload) = frame(join(head, &all)).unwrap();
        assert_eq!((said, &payload[..]), (publish(None), &all[..]));
        assert_eq!(frame(join(head, b"")).unwrap().1, Bytes::new());
        for wrong in [
            vec![],
            vec![0, 0, 0],
            vec![0, 0, 0, 9, b'{'],
            vec![255; 16],
            join(br#"{"type":"ack","n":1}"#, b""),
            join(br#"{"type":"publish","ref":7,"topic":"a","data":""}"#, b"x"),
        ] {
            assert_eq!(frame(wrong), Err("bad_frame"));
        }
        assert_eq!(frame(join(b"\xff\xfe", b"")), Err("bad_json"));
    }

    #[test]
    fn what_is_no_frame_is_refused_in_words() {
        for wrong in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"type":"nak"}"#,
            r#"{"type":"ack","n":-1}"#,
            r#"{"type":"ack","n":1,"m":2}"#,
            r#"{"type":"ack","n":1} {}"#,
            r#"{"type":"credit"}"#,
            r#"{"type":"publish","topic":"a"}"#,
        ] {
            assert_eq!(text(wrong), Err("bad_json"), "{wrong}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(text(&deep), Err("bad_json"));
        let base64 = r#"{"type":"publish","ref":7,"topic":"a.b","data":"?"}"#;
        assert_eq!(text(base64), Err("bad_frame"));
    }
}
