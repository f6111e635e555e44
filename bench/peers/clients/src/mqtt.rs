//! MQTT 3.1.1, as far as publishing and subscribing with QoS 1 need it.

/// A CONNECT with a clean session and no keep-alive.
pub(crate) fn connect(client: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[4, 2, 0, 0]);
    text(&mut body, client);
    packet(0x10, &body)
}

/// A SUBSCRIBE to one topic with QoS 1.
pub(crate) fn subscribe(id: u16, topic: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    text(&mut body, topic);
    body.push(1);
    packet(0x82, &body)
}

/// Appends a PUBLISH with QoS 1.
pub(crate) fn publish(out: &mut Vec<u8>, topic: &str, id: u16, payload: &[u8]) {
    out.push(0x32);
    length(out, 2 + topic.len() + 2 + payload.len());
    text(out, topic);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends a PUBACK.
pub(crate) fn puback(out: &mut Vec<u8>, id: u16) {
    out.extend_from_slice(&[0x40, 2]);
    out.extend_from_slice(&id.to_be_bytes());
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    length(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// What a broker sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// The connection was taken.
    Connected,
    /// The subscription was taken.
    Subscribed,
    /// A published message was taken.
    Acked,
    /// A message, to be acknowledged with `id`; `again`: it may have come before.
    Message {
        id: u16,
        again: bool,
        payload: &'a [u8],
    },
}

/// Takes one packet off the front: it and its length; `None` if it is not all there.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, String> {
    let Some((&head, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (mut length, mut digits) = (0, 0);
    loop {
        let Some(&digit) = rest.get(digits) else {
            return Ok(None);
        };
        length |= usize::from(digit & 0x7f) << (7 * digits);
        digits += 1;
        if digit & 0x80 == 0 {
            break;
        }
        if digits == 4 {
            return Err("a length of more than four bytes".to_owned());
        }
    }
    let Some(body) = rest.get(digits..digits + length) else {
        return Ok(None);
    };
    Ok(Some((whole(head, body)?, 1 + digits + length)))
}

fn whole(head: u8, body: &[u8]) -> Result<Packet<'_>, String> {
    match (head >> 4, body) {
        (2, [_, 0]) => Ok(Packet::Connected),
        (2, [_, code]) => Err(format!("the broker refuses the connection: code {code}")),
        (9, [_, _, 0..=2]) => Ok(Packet::Subscribed),
        (9, _) => Err("the broker refuses the subscription".to_owned()),
        (4, [_, _]) => Ok(Packet::Acked),
        (3, _) => message(head, body).ok_or_else(|| "a message without head".to_owned()),
        (kind, _) => Err(format!("a packet of kind {kind}, {} bytes", body.len())),
    }
}

fn message(head: u8, body: &[u8]) -> Option<Packet<'_>> {
    let (topic_len, rest) = body.split_first_chunk()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    let (id, payload) = rest.split_first_chunk()?;
    Some(Packet::Message {
        id: u16::from_be_bytes(*id),
        again: head & 8 != 0,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for len in [0, 1, 100, 130, 20_000] {
            let (payload, mut out) = (vec![7; len], Vec::new());
            publish(&mut out, "a/b", 259, &payload);
            let expected = Packet::Message {
                id: 259,
                again: false,
                payload: &payload,
            };
            assert_eq!(read(&out), Ok(Some((expected, out.len()))));
            assert_eq!(read(&out[..out.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn what_the_broker_answers_is_told_apart() {
        assert_eq!(read(&[0x20, 2, 0, 0]), Ok(Some((Packet::Connected, 4))));
        assert!(read(&[0x20, 2, 0, 5]).is_err());
        assert_eq!(read(&[0x90, 3, 0, 1, 1]), Ok(Some((Packet::Subscribed, 5))));
        assert!(read(&[0x90, 3, 0, 1, 0x80]).is_err());
        let mut ack = Vec::new();
        puback(&mut ack, 3);
        assert_eq!(read(&ack), Ok(Some((Packet::Acked, 4))));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn the_head_is_that_of_the_specification() {
        let expected = [
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'p',
        ];
        assert_eq!(connect("p"), expected);
        assert_eq!(subscribe(1, "t"), [0x82, 6, 0, 1, 0, 1, b't', 1]);
    }
}
