//! Times and sizes with units, as people write them: `200ms`, `4MiB`.

use std::time::Duration;

/// What a time may look like; for remedies.
pub const DURATION_FORMS: &str = "a number and a unit: us, ms, s, m, h or d, as \"200ms\"";
/// What a size may look like; for remedies.
pub const SIZE_FORMS: &str = "a number and a unit: B, KiB, MiB or GiB, as \"4MiB\"";

/// Reads a time, such as `200ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let nanos: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    number.checked_mul(nanos).map(Duration::from_nanos)
}

/// Reads a size, such as `4MiB`, in bytes.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// Writes a size in the largest unit that keeps it whole.
pub fn show_size(bytes: u64) -> String {
    let (unit, name) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .unwrap_or((1, "B"));
    format!("{}{name}", bytes / unit)
}

/// Writes a time in the largest unit that keeps it whole.
pub fn show_duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    const UNITS: [(u128, &str); 6] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let (unit, name) = UNITS
        .into_iter()
        .find(|(unit, _)| nanos >= *unit && nanos.is_multiple_of(*unit))
        .unwrap_or((1_000, "us"));
    format!("{}{name}", nanos / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_and_show_alike() {
        for text in ["200ms", "5s", "10m", "24h", "3d", "50us"] {
            let shown = show_duration(duration(text).unwrap());
            assert_eq!(duration(&shown), duration(text));
        }
        assert_eq!(show_duration(duration("24h").unwrap()), "1d");
        for text in ["1B", "1500B", "64KiB", "4MiB", "1GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn numbers_without_unit_unknown_units_and_overflow_are_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 parsecs",
            "-5s",
            "5.5s",
            "99999999999999999999s",
            "300000000000d",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["", "4", "4MB", "4M", "MiB", "99999999999GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
