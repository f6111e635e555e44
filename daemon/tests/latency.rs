//! How long deliveries took, as a running node tells it: in `/metrics`, in the windows of statistics and in `tidings stats`.
#![allow(clippy::unwrap_used)] // A test.

mod common;

use common::managed::{deliver, managed, samples};
use common::stdout;

const FAMILY: &str = "tidings_delivery_latency_seconds";

#[test]
fn a_histogram_has_as_many_deliveries_as_there_were_and_bounds_that_do_not_change() {
    let (node, service) = managed("");
    let before = service.ask("GET", "/metrics", &[]).body;
    assert_eq!(
        samples(&before, &format!("{FAMILY}_count")),
        [("{overlay=\"demo\"}", 0.0)]
    );
    deliver(&node, 500);
    let text = service.ask("GET", "/metrics", &[]).body;
    assert!(text.contains(&format!("# TYPE {FAMILY} histogram")));
    let buckets = samples(&text, &format!("{FAMILY}_bucket"));
    assert_eq!(buckets.len(), 30);
    assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    assert_eq!(buckets[0].0, "{overlay=\"demo\",le=\"0.000016384\"}");
    assert_eq!(buckets[29], ("{overlay=\"demo\",le=\"+Inf\"}", 500.0));
    assert_eq!(samples(&text, &format!("{FAMILY}_count"))[0].1, 500.0);
    assert_eq!(
        samples(&text, "tidings_publish_delivered_total")[0].1,
        500.0
    );
    let sum = samples(&text, &format!("{FAMILY}_sum"))[0].1;
    // A process of its own acknowledged them, which takes longer than nothing; the test itself has not run for hours.
    assert!(sum > 0.0 && sum < 500.0 * 3_600.0, "{sum}");
    let labels = |text| -> Vec<String> {
        let buckets = samples(text, &format!("{FAMILY}_bucket"));
        buckets
            .into_iter()
            .map(|(labels, _)| labels.to_owned())
            .collect()
    };
    assert_eq!(labels(&before), labels(&text));
    let open = "Accept: application/openmetrics-text; version=1.0.0";
    let open = service.ask("GET", "/metrics", &[open]).body;
    assert!(open.contains(&format!("# TYPE {FAMILY} histogram")));
}

#[test]
fn statistics_and_stats_tell_quantiles_in_order() {
    let (node, service) = managed("");
    let path = "/v1/overlays/demo/statistics/1m";
    let none = service.get(path).json();
    assert_eq!(none["latency"]["count"], 0);
    assert!(none["latency"]["p50_us"].is_null(), "{none}");
    deliver(&node, 100);
    for path in [path, "/v1/overlays/demo/statistics/total"] {
        let told = service.get(path).json();
        let latency = &told["latency"];
        assert_eq!(latency["count"], 100, "{told}");
        let ages: Vec<u64> = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"]
            .iter()
            .map(|key| latency[key].as_u64().unwrap())
            .collect();
        assert!(ages[0] > 0 && ages.is_sorted(), "{told}");
    }
    let all = service.get("/v1/overlays/demo/stats").json();
    assert_eq!(all["latency"]["count"], 100, "{all}");
    let text = stdout(&node.run(&["stats"]));
    let (_, section) = text.split_once("overlays / demo / latency\n").unwrap();
    let section = section.split("\n\n").next().unwrap();
    for key in ["count", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"] {
        assert!(section.contains(key), "{key} in {section}");
    }
}
