//! The highest rate that holds: steps up until a run fails its bounds, then halves what lies between.

use crate::error::Error;
use crate::units::short;

/// No rate above is tried.
const RATE_MAX: f64 = 1e9;
/// ... nor below.
const RATE_MIN: f64 = 1.0;
/// How often a rate that failed its second run is lowered before none is said to hold.
const VERIFY_MAX: usize = 8;

/// How to search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) start: f64,
    /// By how much the rate grows with each step.
    pub(crate) factor: f64,
    /// How near the highest that held and the lowest that failed must be in the end, as a share.
    pub(crate) precision: f64,
}

/// Makes runs: answers whether one at this rate holds. The second argument says what the run is for.
pub(crate) type Trial<'a> = dyn FnMut(f64, &str) -> Result<bool, Error> + 'a;

impl Search {
    /// The highest rate that held twice, if any did.
    pub(crate) fn run(&self, trial: &mut Trial<'_>) -> Result<Option<f64>, Error> {
        let Some((mut low, mut high)) = self.bracket(trial)? else {
            return Ok(None);
        };
        while let Some(failed) = high
            && failed / low > 1.0 + self.precision
        {
            let middle = (low * failed).sqrt();
            match trial(middle, "between")? {
                true => low = middle,
                false => high = Some(middle),
            }
        }
        for _ in 0..VERIFY_MAX {
            if trial(low, "again")? {
                return Ok(Some(low));
            }
            low /= 1.0 + self.precision;
            if low < RATE_MIN {
                break;
            }
        }
        Ok(None)
    }

    /// The highest that held and the lowest that failed; without the latter everything held.
    fn bracket(&self, trial: &mut Trial<'_>) -> Result<Option<(f64, Option<f64>)>, Error> {
        let mut rate = self.start;
        if trial(rate, "start")? {
            loop {
                let next = (rate * self.factor).min(RATE_MAX);
                if next <= rate {
                    return Ok(Some((rate, None)));
                }
                if !trial(next, "up")? {
                    return Ok(Some((rate, Some(next))));
                }
                rate = next;
            }
        }
        loop {
            let next = rate / self.factor;
            if next < RATE_MIN {
                return Ok(None);
            }
            if trial(next, "down")? {
                return Ok(Some((next, Some(rate))));
            }
            rate = next;
        }
    }
}

/// What is said when it is over.
pub(crate) fn conclusion(found: Option<f64>) -> String {
    match found {
        Some(rate) => format!("highest rate that held twice: {} messages/s", short(rate)),
        None => "no rate held: loosen --p99 or --loss, or look at a run with `latency`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search {
        start: 1_000.0,
        factor: 2.0,
        precision: 0.05,
    };

    #[test]
    fn it_finds_the_edge_from_below_and_from_above() {
        for edge in [1_000.0, 33_333.0, 7.0, 900.0] {
            let mut runs = 0;
            let mut trial = |rate: f64, _: &str| {
                runs += 1;
                Ok(rate <= edge)
            };
            let found = SEARCH.run(&mut trial).unwrap().unwrap();
            assert!(found <= edge && found * 1.05 >= edge, "{edge}: {found}");
            assert!(runs < 20, "{runs}");
        }
    }

    #[test]
    fn where_nothing_holds_nothing_is_found() {
        assert_eq!(SEARCH.run(&mut |_, _| Ok(false)).unwrap(), None);
    }

    #[test]
    fn where_everything_holds_it_ends_at_the_bound() {
        let found = SEARCH.run(&mut |_, _| Ok(true)).unwrap();
        assert_eq!(found, Some(RATE_MAX));
    }

    #[test]
    fn what_held_by_luck_is_lowered_until_it_holds_again() {
        let mut trial = |rate: f64, what: &str| match what {
            "again" => Ok(rate <= 14_500.0),
            _ => Ok(rate <= 16_000.0),
        };
        let found = SEARCH.run(&mut trial).unwrap().unwrap();
        assert!((13_000.0..=14_500.0).contains(&found), "{found}");
    }

    #[test]
    fn a_run_that_cannot_be_made_ends_the_search() {
        let mut trial = |_: f64, _: &str| Err(Error::Failed("no".to_owned()));
        assert!(SEARCH.run(&mut trial).is_err());
    }
}
