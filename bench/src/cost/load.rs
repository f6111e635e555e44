//! What a run of the load generator took, from its report.

use serde_json::Value;

/// The figures that the model needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Bytes of a message.
    pub size: usize,
    /// CPU of both processes in ns, for each message.
    pub cpu_ns: f64,
    /// Messages per second.
    pub rate: f64,
    /// Messages in a datagram, on average.
    pub messages_per_datagram: f64,
    /// Datagrams in a call of the kernel, on average.
    pub datagrams_per_send: f64,
    /// Datagrams that the subscriber sent for each of the publisher's.
    pub acks_per_datagram: f64,
    /// Times that one of the two shards slept, for each datagram.
    pub sleeps_per_datagram: f64,
    /// The same CPU by process.
    pub cpu_by_side: Vec<(String, f64)>,
}

impl Load {
    /// Reads a report made with `--format json`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let report: Value = serde_json::from_str(text.trim()).map_err(|error| error.to_string())?;
        let number = |path: &str| {
            let found = report.pointer(path).and_then(Value::as_f64);
            let found = found.filter(|number| *number > 0.0);
            found.ok_or_else(|| format!("the report has no {path} above 0"))
        };
        let faults = report["faults"].as_array().map_or(0, Vec::len);
        if faults > 0 {
            return Err(format!("the run was not good: {}", report["faults"]));
        }
        let messages = number("/window/messages")?;
        let accepted = number("/published/accepted")?;
        let datagrams = number("/counters/publisher/send_datagrams")?;
        let processes = report["processes"].as_array().into_iter().flatten();
        let side = |process: &Value| {
            let name = process["name"].as_str().unwrap_or_default().to_owned();
            (name, process["cpu_ns"].as_f64().unwrap_or(0.0) / messages)
        };
        Ok(Self {
            size: number("/size")? as usize,
            cpu_ns: number("/window/cpu_ns")?,
            rate: number("/window/rate")?,
            messages_per_datagram: accepted / datagrams,
            datagrams_per_send: datagrams / number("/counters/publisher/send_calls")?,
            acks_per_datagram: number("/counters/subscriber/send_datagrams")? / datagrams,
            sleeps_per_datagram: (number("/counters/publisher/parks")?
                + number("/counters/subscriber/parks")?)
                / datagrams,
            cpu_by_side: processes.map(side).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_gives_what_a_message_and_a_datagram_took() {
        let mut report = json!({
            "size": 64, "faults": [],
            "window": {"cpu_ns": 80.0, "rate": 2e7, "messages": 1000},
            "published": {"accepted": 1900},
            "processes": [{"name": "publisher", "cpu_ns": 45_000}, {"name": "subscriber", "cpu_ns": 35_000}],
            "counters": {
                "publisher": {"send_datagrams": 100, "send_calls": 2, "parks": 1},
                "subscriber": {"send_datagrams": 3, "parks": 4},
            },
        });
        let load = Load::parse(&report.to_string()).expect("a good report");
        assert_eq!((load.size, load.messages_per_datagram), (64, 19.0));
        assert_eq!(
            (load.datagrams_per_send, load.acks_per_datagram),
            (50.0, 0.03)
        );
        assert_eq!(load.sleeps_per_datagram, 0.05);
        assert_eq!(load.cpu_by_side[1], ("subscriber".to_owned(), 35.0));
        report["faults"] = json!(["1 messages lost"]);
        assert!(Load::parse(&report.to_string()).is_err());
        report["faults"] = json!([]);
        report["window"]["cpu_ns"] = Value::Null;
        let error = Load::parse(&report.to_string()).expect_err("no CPU");
        assert!(error.contains("/window/cpu_ns"), "{error}");
    }
}
