//! Numbers with units, as people write them and as they read them.

/// What a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Times, in ns.
    Time,
    /// Messages per second.
    Rate,
    /// A share of one.
    Share,
    /// How many.
    Count,
    /// Nanoseconds without another unit, as CPU for each message.
    Ns,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// What may stand behind a number, and what that makes of it.
    fn factors(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Time => &[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)],
            Self::Rate => &[
                ("", 1.0),
                ("/s", 1.0),
                ("k", 1e3),
                ("k/s", 1e3),
                ("M", 1e6),
                ("M/s", 1e6),
            ],
            Self::Share => &[("", 1.0), ("%", 0.01)],
            Self::Count => &[("", 1.0)],
            Self::Ns => &[("", 1.0), ("ns", 1.0), ("us", 1e3)],
            Self::Bytes => &[
                ("B", 1.0),
                ("KiB", 1024.0),
                ("MiB", 1_048_576.0),
                ("GiB", 1_073_741_824.0),
            ],
        }
    }

    /// Reads a number with its unit.
    pub(crate) fn parse(self, text: &str) -> Result<f64, String> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
        let factor = self.factors().iter().find(|each| each.0 == suffix.trim());
        match (number.parse::<f64>(), factor) {
            (Ok(number), Some((_, factor))) => Ok(number * factor),
            _ => {
                let all = self.factors().iter().map(|each| match each.0 {
                    "" => "no unit",
                    unit => unit,
                });
                let all = all.collect::<Vec<_>>().join(", ");
                Err(format!("`{text}` is no number with one of: {all}"))
            }
        }
    }

    /// Writes it as it is read best.
    pub(crate) fn say(self, value: f64) -> String {
        match self {
            Self::Time => time(value),
            Self::Rate => format!("{}/s", short(value)),
            Self::Share => format!("{} %", trimmed(value * 100.0)),
            Self::Count => grouped(value as u64),
            Self::Ns => format!("{} ns", trimmed(value)),
            Self::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
        }
    }
}

/// A time given in ns, with the unit that suits it.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{} ns", trimmed(ns)),
        ns if ns < 1e6 => format!("{} us", trimmed(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", trimmed(ns / 1e6)),
        ns => format!("{} s", trimmed(ns / 1e9)),
    }
}

/// With k, M or G.
pub(crate) fn short(number: f64) -> String {
    match number {
        number if number < 1e3 => trimmed(number),
        number if number < 1e6 => format!("{}k", trimmed(number / 1e3)),
        number if number < 1e9 => format!("{}M", trimmed(number / 1e6)),
        number => format!("{}G", trimmed(number / 1e9)),
    }
}

/// Three or four digits, no zeros behind the point.
pub(crate) fn trimmed(number: f64) -> String {
    let digits = match number.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 || n == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{number:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// With a comma after every three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn units_are_read() {
        assert_eq!(Unit::Time.parse("1.5ms"), Ok(1.5e6));
        assert_eq!(Unit::Rate.parse("2M"), Ok(2e6));
        assert_eq!(Unit::Share.parse("0.5%"), Ok(0.005));
        assert_eq!(Unit::Bytes.parse("64 MiB"), Ok(67_108_864.0));
        assert_eq!(Unit::Ns.parse("80"), Ok(80.0));
        for (unit, wrong) in [(Unit::Time, "5"), (Unit::Count, "5us"), (Unit::Rate, "-1")] {
            let refused = unit.parse(wrong).unwrap_err();
            assert!(refused.contains(wrong), "{refused}");
        }
    }

    #[test]
    fn values_are_written_with_the_unit_that_suits() {
        assert_eq!(time(999.0), "999 ns");
        assert_eq!(time(12_340.0), "12.3 us");
        assert_eq!(time(2e9), "2 s");
        assert_eq!(short(25_600_000.0), "25.6M");
        assert_eq!(Unit::Share.say(0.0), "0 %");
    }
}
