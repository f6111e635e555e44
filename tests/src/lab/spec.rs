//! Impairments as text, for the command line: `delay=5ms,jitter=2ms,loss=2%,rate=100mbit,cut=pair+fan`. A key that is not
//! named stays as it was; `clear` puts everything back.

use std::time::Duration;

use super::impairment::{Burst, Corruption, Impairment, Rate};

impl Impairment {
    /// Applies a specification to these values.
    ///
    /// # Errors
    /// Names the part that could not be read.
    pub fn apply(&mut self, spec: &str) -> Result<(), String> {
        for part in spec
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            self.apply_one(key, value)
                .map_err(|why| format!("`{part}`: {why}"))?;
        }
        Ok(())
    }

    fn apply_one(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "clear" => *self = Impairment::default(),
            "delay" => self.delay = parse_duration(value)?,
            "jitter" => self.jitter = parse_duration(value)?,
            "in-order" => self.in_order = true,
            "loss" => self.loss = parse_share(value)?,
            "burst" => self.burst = Some(parse_burst(value)?),
            "duplicate" => self.duplicate = parse_share(value)?,
            "ahead" => self.ahead = parse_share(value)?,
            "corrupt" => (self.corrupt, self.corruption) = (parse_share(value)?, Corruption::Kernel),
            "corrupt-through" => (self.corrupt, self.corruption) = (parse_share(value)?, Corruption::Application),
            "only" => self.only = value.parse()?,
            "rate" => self.rate = Some(Rate { bits_per_second: parse_rate(value)?, ..self.rate.unwrap_or(Rate::bits(1)) }),
            "queue" => {
                let rate = self.rate.as_mut().ok_or("a queue needs a rate before it")?;
                rate.queue = parse_bytes(value)?;
            }
            "cut" => self.cut = if value.is_empty() { super::Classes::ALL } else { value.parse()? },
            _ => return Err("unknown; known are clear delay jitter in-order loss burst duplicate ahead corrupt corrupt-through only rate queue cut".into()),
        }
        Ok(())
    }
}

/// Splits `12.5ms` into 12.5 and `ms`.
fn number(text: &str) -> Result<(f64, &str), String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let value: f64 = digits
        .parse()
        .map_err(|_| format!("`{text}` does not begin with a number"))?;
    Ok((value, unit))
}

/// `5ms`, `250us`, `1.5s`, `100ns`, `0`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (value, unit) = number(text)?;
    let scale = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "" if value == 0.0 => 1.0,
        _ => return Err(format!("`{text}` needs a unit: ns us ms s")),
    };
    Duration::try_from_secs_f64(value * scale).map_err(|e| e.to_string())
}

/// `2%` or `0.02`.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let share = match number(text)? {
        (value, "%") => value / 100.0,
        (value, "") => value,
        _ => return Err(format!("`{text}` is neither `2%` nor `0.02`")),
    };
    if share <= 1.0 {
        Ok(share)
    } else {
        Err(format!("`{text}` is more than all; write `{text}%`?"))
    }
}

/// `100mbit`, `1gbit`, `500kbit`, `8000bit`.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let (value, unit) = number(text)?;
    let scale = match unit {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(format!("`{text}` needs a unit: bit kbit mbit gbit")),
    };
    let rate = (value * scale) as u64;
    if rate > 0 {
        Ok(rate)
    } else {
        Err("a rate of zero is a cut".into())
    }
}

/// `65536`, `64k`, `1m`.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (value, unit) = number(text)?;
    let scale = match unit {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        _ => return Err(format!("`{text}` has a unit other than k or m")),
    };
    Ok((value * scale) as usize)
}

/// `1%:4`: runs begin before 1 % of the packets and last 4 on average; `1%:4:50%`: half of a run is lost.
pub fn parse_burst(text: &str) -> Result<Burst, String> {
    let mut parts = text.split(':');
    let mut next = || parts.next().ok_or("a burst is ENTER:RUN or ENTER:RUN:LOSS");
    let enter = parse_share(next()?)?;
    let (run, _) = number(next()?)?;
    let loss = next().map_or(Ok(1.0), parse_share)?;
    if run < 1.0 {
        Err("a run is at least one packet".into())
    } else {
        Ok(Burst {
            enter,
            leave: 1.0 / run,
            loss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::Class;
    use super::*;

    fn parsed(spec: &str) -> Result<Impairment, String> {
        let mut impairment = Impairment::default();
        impairment.apply(spec).map(|()| impairment)
    }

    #[test]
    fn every_key_sets_its_field() {
        let got = parsed(
            "delay=5ms, jitter=250us,in-order,loss=2%,burst=1%:4,duplicate=0.01,ahead=25%,corrupt-through=1%,only=fan,rate=100mbit,queue=32k,cut=pair+bulk",
        );
        let want = Impairment::default()
            .delay(Duration::from_millis(5))
            .jitter(Duration::from_micros(250))
            .in_order()
            .loss(0.02)
            .burst(0.01, 4.0)
            .duplicate(0.01)
            .ahead(0.25)
            .corrupt(0.01, Corruption::Application)
            .only(Class::Fan)
            .rate(Rate {
                bits_per_second: 100_000_000,
                queue: 32 * 1024,
            })
            .cut(Class::Pair | Class::Bulk);
        assert_eq!(got, Ok(want));
    }

    #[test]
    fn clear_puts_everything_back() {
        assert_eq!(parsed("loss=2%,clear"), Ok(Impairment::default()));
    }

    #[test]
    fn nonsense_is_named() {
        for spec in [
            "los=2%",
            "delay=5",
            "loss=200%",
            "loss=2",
            "rate=0mbit",
            "queue=1k",
            "cut=nothing",
            "burst=1%",
            "delay=ms",
        ] {
            assert!(parsed(spec).is_err(), "{spec}");
        }
    }
}
