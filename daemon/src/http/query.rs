//! What stands behind the question mark of a request: names and values, the same name several times if need be. Called by
//! handlers that take any; a name that a path does not know is refused, as a mistyped one would be ignored otherwise.

use super::error::{ApiError, ApiResult};

/// The pairs of `query`, whose names must be among `known`.
pub fn pairs(query: Option<&str>, known: &[&str]) -> ApiResult<Vec<(String, String)>> {
    let words = query.unwrap_or_default().split('&');
    words
        .filter(|word| !word.is_empty())
        .map(|word| pair(word, known))
        .collect()
}

fn pair(word: &str, known: &[&str]) -> ApiResult<(String, String)> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let (Some(name), Some(value)) = (decode(name), decode(value)) else {
        return Err(bad(
            format!("{word:?} is not encoded well"),
            "encode values in UTF-8, then as %XX".to_owned(),
        ));
    };
    match known.contains(&name.as_str()) {
        true => Ok((name, value)),
        false => Err(bad(
            format!("{name:?} is nothing that can be said here"),
            format!("there is {}", known.join(", ")),
        )),
    }
}

/// A refusal of what stands in a query.
pub fn bad(detail: String, hint: String) -> ApiError {
    ApiError::bad("bad_query", detail, hint)
}

/// `true` or `false`, or a name alone for `true`.
pub fn truth(name: &str, value: &str) -> ApiResult<bool> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad(
            format!("{name} cannot be {value:?}"),
            "say true or false".to_owned(),
        )),
    }
}

/// Undoes `%XX` and `+`. None: that is no UTF-8, or no such encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_come_again_and_what_is_encoded_is_decoded() {
        let read = pairs(Some("p=a.%2a&&p=b+c&q"), &["p", "q"]).unwrap();
        let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(read, [("p", "a.*"), ("p", "b c"), ("q", "")]);
        assert!(pairs(None, &[]).unwrap().is_empty());
    }

    #[test]
    fn what_is_unknown_or_encoded_badly_is_refused() {
        for query in ["r=1", "p=%", "p=%4", "p=%zz", "p=%ff", "%C3=1", "p=%+1"] {
            assert!(pairs(Some(query), &["p"]).is_err(), "{query}");
        }
    }
}
