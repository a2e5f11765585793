//! The label sets of a Kubernetes fleet, for examples that measure what series cost.

use model::Labels;

/// Series `at` of the fleet: one of 40 of a process, eleven of which are the buckets of a histogram.
pub(crate) fn labels(at: u32) -> Labels {
    let (process, metric) = (at / 40, at % 40);
    let service = ["checkout", "catalogue", "payments", "sessions"][process as usize % 4];
    let (name, bucket) = match metric {
        29.. => ("http_request_duration_seconds_bucket".to_owned(), f64::from(metric).to_string()),
        _ => (format!("go_memstats_some_metric_{metric}_total"), String::new()),
    };
    Labels::from_pairs([
        ("__name__", name),
        ("cluster", "production-eu-central-1a".to_owned()),
        ("env", "production".to_owned()),
        ("instance", format!("10.{}.{}.{}:8080", process / 65_536, process / 256 % 256, process % 256)),
        ("job", service.to_owned()),
        // Empty values are left out.
        ("le", bucket),
        ("namespace", "storefront".to_owned()),
        ("pod", format!("{service}-7d9f8b6c54-{process:06x}")),
        ("team", "platform-services".to_owned()),
        ("version", "v1.42.7-3-g8f2c1d9".to_owned()),
    ])
    .expect("valid labels")
}
