//! Sizes of messages: one, or several in stated shares, in an order that is the same in every run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The shares together, after they were reduced: so long is the table that the generator walks.
const SHARES_MAX: u64 = 100_000;
/// No system takes more.
const SIZE_MAX: usize = 1 << 30;

/// Sizes in bytes with their shares, as `64` or `64:70,1024:25,16384:5`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sizes(Vec<(usize, u32)>);

impl Sizes {
    /// All messages of one size.
    pub fn of(size: usize) -> Self {
        Self(vec![(size, 1)])
    }

    /// The smallest.
    pub fn least(&self) -> usize {
        self.0.iter().map(|part| part.0).min().unwrap_or(0)
    }

    /// The largest.
    pub fn most(&self) -> usize {
        self.0.iter().map(|part| part.0).max().unwrap_or(0)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        let shares: f64 = self.0.iter().map(|part| f64::from(part.1)).sum();
        let bytes = |part: &(usize, u32)| part.0 as f64 * f64::from(part.1);
        self.0.iter().map(bytes).sum::<f64>() / shares.max(1.0)
    }

    /// One round of sizes: each as often as its share says, shuffled, always in the same way.
    pub fn round(&self) -> Vec<usize> {
        let mut round: Vec<usize> = self
            .0
            .iter()
            .flat_map(|&(size, share)| std::iter::repeat_n(size, share as usize))
            .collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for at in (1..round.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            round.swap(at, (state % (at as u64 + 1)) as usize);
        }
        round
    }
}

fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let (size, share) = part.split_once(':').unwrap_or((part, "1"));
            match (size.trim().parse::<usize>(), share.trim().parse::<u32>()) {
                (Ok(size), Ok(share)) if share > 0 && size <= SIZE_MAX => Ok((size, share)),
                _ => Err(format!(
                    "`{part}` is no size with a share; say it as 64:70,1024:30"
                )),
            }
        };
        let parts = text.split(',').map(part).collect::<Result<Vec<_>, _>>()?;
        let divisor = parts.iter().map(|part| part.1).fold(0, common).max(1);
        let parts: Vec<_> = parts.iter().map(|&(s, n)| (s, n / divisor)).collect();
        if parts.iter().map(|part| u64::from(part.1)).sum::<u64>() > SHARES_MAX {
            return Err(format!(
                "the shares of `{text}` add up to more than {SHARES_MAX}; say smaller ones"
            ));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(size, _)] = self.0[..] {
            return write!(f, "{size}");
        }
        for (at, (size, share)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{size}:{share}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Sizes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sizes> for String {
    fn from(sizes: Sizes) -> Self {
        sizes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_every_size_as_often_as_its_share_says() {
        let sizes: Sizes = "64:70,1024:25,16384:5".parse().unwrap();
        assert_eq!(sizes.to_string(), "64:14,1024:5,16384:1");
        let round = sizes.round();
        let count = |size| round.iter().filter(|each| **each == size).count();
        assert_eq!((count(64), count(1024), count(16_384)), (14, 5, 1));
        assert_eq!(round, sizes.round(), "the same each time");
        assert_ne!(round[..14], [64; 14], "mixed");
        assert_eq!((sizes.least(), sizes.most()), (64, 16_384));
        assert!((sizes.mean() - (64.0 * 14.0 + 1024.0 * 5.0 + 16_384.0) / 20.0).abs() < 1e-9);
    }

    #[test]
    fn one_size_needs_no_share() {
        assert_eq!("100".parse::<Sizes>().unwrap(), Sizes::of(100));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for wrong in ["", "x", "64:0", "64:", "64:1,", "1:1,2:4000000000"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }
}
