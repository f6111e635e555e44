//! Takes out of a text what looks like a secret, whatever it is doing there: a second line of defence behind what collects only
//! what is none.

/// What stands in its place.
const MARK: &str = "[redacted]";
/// Hexadecimal digits of the shortest key, 128 bits, are those of an id, too; the next longer has 48.
const HEX_DIGITS: usize = 48;
/// Characters of a token behind its prefix from which on it is taken for one.
const TOKEN_CHARS: usize = 20;

/// The text without keys in hexadecimal digits, tokens and hashes of passwords.
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_outside).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        clean.push_str(if is_secret(word) { MARK } else { word });
        let next = after.chars().next().map_or(0, char::len_utf8);
        clean.push_str(&after[..next]);
        rest = &after[next..];
    }
    clean
}

/// Whether a character is in no word that may be a secret.
fn is_outside(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || "_-+/$=,".contains(c))
}

fn is_secret(word: &str) -> bool {
    let hex = word.split(|c: char| !c.is_ascii_hexdigit());
    let token = word.find("tt_").map(|at| word.len() - at - 3);
    hex.map(str::len).any(|digits| digits >= HEX_DIGITS)
        || token.is_some_and(|chars| chars >= TOKEN_CHARS)
        || word.contains("$argon2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tokens_and_hashes_are_taken_out_and_nothing_else() {
        let key = "ab".repeat(32);
        let token = "tt_twW_KngpM9ZEnBY3e6tz2bQ3cwaL61mvfsRxoL-H_1c";
        let text = format!("key {key} \"{token}\": $argon2id$v=19$m=1,t=2$YWJj end ä");
        assert_eq!(
            redact(&text),
            "key [redacted] \"[redacted]\": [redacted] end ä"
        );
        let plain = "id 0123456789abcdef0123456789abcdef, 10.0.0.1:7400, att_1, tt_short\n";
        assert_eq!(redact(plain), plain);
    }
}
