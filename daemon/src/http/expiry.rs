//! Until when a certificate is valid: the one field that is read of it here, out of its DER (RFC 5280, 4.1.2.5). Called by
//! `tidings doctor`; whether it is a good one otherwise, TLS itself finds out.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::limits::PEM_BYTES;
use super::wall;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which those of version 1 lack.
const VERSION: u8 = 0xa0;

/// What is known of the end of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Seconds since 1970.
    At(i64),
    /// What cannot be read is no certificate, or none that says so as it has to.
    Unreadable,
}

impl Expiry {
    /// Seconds from now until then, negative if it was before.
    pub fn left(self) -> Option<i64> {
        let now = i64::try_from(wall::seconds()).ok()?;
        match self {
            Self::At(at) => at.checked_sub(now),
            Self::Unreadable => None,
        }
    }
}

/// Until when the first certificate of a PEM file is valid.
pub fn not_after(path: &Path) -> io::Result<Expiry> {
    let mut text = Vec::new();
    File::open(path)?.take(PEM_BYTES).read_to_end(&mut text)?;
    let first = CertificateDer::pem_slice_iter(&text).next();
    let at = first.and_then(|first| of_der(&first.ok()?));
    Ok(at.map_or(Expiry::Unreadable, Expiry::At))
}

/// The day of a time, for people.
pub fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "no date".to_owned(), |time| time.date().to_string())
}

/// Seconds since 1970 at the end of a certificate.
fn of_der(der: &[u8]) -> Option<i64> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let rest = match element(signed)? {
        (VERSION, _, rest) => rest,
        _ => signed,
    };
    let (_, rest) = expect(rest, INTEGER)?;
    // How it is signed, and by whom.
    let (_, rest) = expect(rest, SEQUENCE)?;
    let (_, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (kind, end, _) = element(rest)?;
    seconds(kind, end)
}

/// `YYMMDDHHMMSSZ`, where years from 50 on are of the last century, or `YYYYMMDDHHMMSSZ`.
fn seconds(kind: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let mut parts = rest.chunks(2).map(|part| u8::try_from(number(part)?).ok());
    let mut next = || parts.next().flatten();
    let (month, day) = (Month::try_from(next()?).ok()?, next()?);
    let date = Date::from_calendar_date(i32::from(year), month, day).ok()?;
    let time = Time::from_hms(next()?, next()?, next()?).ok()?;
    Some(
        PrimitiveDateTime::new(date, time)
            .assume_utc()
            .unix_timestamp(),
    )
}

/// At most four digits.
fn number(digits: &[u8]) -> Option<u16> {
    let is_number = digits.len() <= 4 && digits.iter().all(u8::is_ascii_digit);
    is_number.then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What is in the first element, which has to have this tag, and what comes after it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, inside, rest) = element(der)?;
    (found == tag).then_some((inside, rest))
}

/// Tag and contents of the first element, and what comes after it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // More than three bytes of length are more than a PEM file holds here.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = bytes
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            (len, rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(len)?;
    Some((tag, inside, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(ends: OffsetDateTime) -> rcgen::Certificate {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = ends;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn the_end_is_read_in_either_of_its_forms() {
        // From 2050 on certificates have four digits of the year.
        for seconds in [
            0,
            951_827_696,
            2_524_607_999,
            2_524_608_000,
            253_402_300_799,
        ] {
            let ends = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let made = certificate(ends);
            assert_eq!(of_der(made.der()), Some(seconds), "{ends:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cert.pem");
        let made = certificate(OffsetDateTime::from_unix_timestamp(86_400).unwrap());
        std::fs::write(&path, format!("a note\n{}", made.pem())).unwrap();
        assert_eq!(not_after(&path).unwrap(), Expiry::At(86_400));
        assert_eq!(date(86_400), "1970-01-02");
        assert!(Expiry::At(86_400).left().unwrap() < 0);
        std::fs::write(&path, "none").unwrap();
        assert_eq!(not_after(&path).unwrap(), Expiry::Unreadable);
        assert!(not_after(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_no_certificate_and_no_panic() {
        let ends = OffsetDateTime::from_unix_timestamp(2_000_000_000).unwrap();
        let der = certificate(ends).der().to_vec();
        for len in 0..der.len() {
            assert_eq!(of_der(&der[..len]), None, "{len}");
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[at] ^= 1 << bit;
                let _ = of_der(&changed);
            }
        }
        for text in ["", "Z", "991301000000Z", "99010100000Z", "9901010000+0Z"] {
            assert_eq!(seconds(UTC_TIME, text.as_bytes()), None, "{text}");
        }
    }
}
