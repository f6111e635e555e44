//! Criterion's estimates of the hot steps, from the files that it leaves.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Times;
use crate::steps;

/// Reads the times of the steps below criterion's folder `steps`, as many as it has. What the model misses, it names.
pub fn times(folder: &Path) -> Result<Times, String> {
    let mut times = Times::new();
    for step in steps::all() {
        let file = folder.join(step.name).join("new/estimates.json");
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let run_ns = median(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        times.insert(step.name.to_owned(), run_ns / (step.make)().units() as f64);
    }
    if times.is_empty() {
        return Err(format!("{} has no times of steps", folder.display()));
    }
    Ok(times)
}

/// The median in ns of one run.
fn median(text: &str) -> Result<f64, String> {
    let estimates: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let median = estimates.pointer("/median/point_estimate");
    let median = median.and_then(Value::as_f64).filter(|ns| *ns > 0.0);
    median.ok_or_else(|| "no median above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_read_and_nonsense_refused() {
        let good = r#"{"mean":{"point_estimate":9.0},"median":{"point_estimate":7.5}}"#;
        assert_eq!(median(good), Ok(7.5));
        for bad in ["", "{}", r#"{"median":{"point_estimate":0.0}}"#] {
            assert!(median(bad).is_err(), "{bad}");
        }
    }
}
