//! Redis' protocol, RESP2, as far as PUBLISH and SUBSCRIBE need it.

/// A command of byte strings.
pub(crate) fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        append(&mut bytes, part);
    }
    bytes
}

/// Appends a PUBLISH.
pub(crate) fn publish(out: &mut Vec<u8>, channel: &str, payload: &[u8]) {
    out.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n");
    append(out, channel.as_bytes());
    append(out, payload);
}

fn append(out: &mut Vec<u8>, part: &[u8]) {
    out.push(b'$');
    decimal(out, part.len());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
}

/// Without the formatting machinery, which costs more than the rest of a small command.
fn decimal(out: &mut Vec<u8>, mut number: usize) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// What a subscriber is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Push<'a> {
    Subscribed,
    Message(&'a [u8]),
}

/// Takes one push off the front: it and its length; `None` if it is not all there.
pub(crate) fn push(bytes: &[u8]) -> Result<Option<(Push<'_>, usize)>, String> {
    let Some((count, mut at)) = number(bytes, 0, b'*')? else {
        return Ok(None);
    };
    if count != 3 {
        return Err(format!("a push of {count} parts"));
    }
    let Some(kind) = bulk(bytes, &mut at)? else {
        return Ok(None);
    };
    if bulk(bytes, &mut at)?.is_none() {
        return Ok(None);
    }
    match kind {
        b"message" => Ok(bulk(bytes, &mut at)?.map(|payload| (Push::Message(payload), at))),
        b"subscribe" => Ok(number(bytes, at, b':')?.map(|(_, end)| (Push::Subscribed, end))),
        other => Err(format!("a push of {:?}", String::from_utf8_lossy(other))),
    }
}

fn bulk<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, String> {
    let Some((len, start)) = number(bytes, *at, b'$')? else {
        return Ok(None);
    };
    let end = start + len;
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    *at = end + 2;
    Ok(Some(&bytes[start..end]))
}

/// The number of a line that begins with `mark`, and where the next line begins.
fn number(bytes: &[u8], at: usize, mark: u8) -> Result<Option<(usize, usize)>, String> {
    let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else {
        return Ok(None);
    };
    if rest[0] != mark {
        let line = String::from_utf8_lossy(&rest[..rest.len().min(80)]);
        return Err(format!("{line:?} where {:?} should be", char::from(mark)));
    }
    let mut value = 0usize;
    for (length, byte) in rest.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' => value = value.saturating_mul(10) + usize::from(byte - b'0'),
            b'\r' if rest.len() > length + 1 => return Ok(Some((value, at + length + 2))),
            b'\r' => return Ok(None),
            other => return Err(format!("byte {other} in a number")),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_a_command_of_three_parts() {
        let mut bytes = Vec::new();
        publish(&mut bytes, "ab", &[b'x'; 12]);
        assert_eq!(bytes, command(&[b"PUBLISH", b"ab", &[b'x'; 12]]));
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            "*3\r\n$7\r\nPUBLISH\r\n$2\r\nab\r\n$12\r\nxxxxxxxxxxxx\r\n"
        );
    }

    #[test]
    fn a_push_is_taken_only_whole() {
        let mut bytes = command(&[b"message", b"ab", b"payload"]);
        let whole = bytes.len();
        bytes.extend_from_slice(b"*3");
        for cut in 0..whole {
            assert_eq!(push(&bytes[..cut]), Ok(None), "{cut}");
        }
        let expected = (Push::Message(b"payload".as_slice()), whole);
        assert_eq!(push(&bytes), Ok(Some(expected)));
    }

    #[test]
    fn a_subscription_is_confirmed() {
        let bytes = b"*3\r\n$9\r\nsubscribe\r\n$2\r\nab\r\n:1\r\n";
        assert_eq!(push(bytes), Ok(Some((Push::Subscribed, bytes.len()))));
        assert_eq!(push(&bytes[..bytes.len() - 1]), Ok(None));
    }

    #[test]
    fn an_error_of_the_server_is_told() {
        assert!(push(b"-ERR no\r\n").unwrap_err().contains("ERR no"));
    }
}
