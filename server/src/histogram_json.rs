//! A native histogram as JSON: `{"count":"…","sum":"…","buckets":[[rule,"lower","upper","count"],…]}`.
//!
//! Owns the shape. Where buckets begin and end is `query`'s knowledge.

use model::Histogram;
use query::native::buckets;

use crate::json::{write_value, write_whole};

/// Writes `histogram` with its populated buckets, lowest first; without any, `buckets` is left out.
pub(crate) fn write_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(br#"{"count":"#);
    write_value(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    write_value(out, histogram.sum);
    let mut separator: &[u8] = br#","buckets":["#;
    for bucket in buckets(histogram) {
        out.extend_from_slice(separator);
        separator = b",";
        out.push(b'[');
        write_whole(out, bucket.edges.rule().into());
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            write_value(out, number);
        }
        out.push(b']');
    }
    out.extend_from_slice(if separator == b"," { b"]}" } else { b"}" });
}

#[cfg(test)]
mod tests {
    use model::Bucket;
    use model::histogram::CUSTOM_SCHEMA;

    use super::*;

    #[track_caller]
    fn check(histogram: &Histogram, want: &str) {
        let mut out = Vec::new();
        write_histogram(&mut out, histogram);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    fn buckets(of: &[(i32, f64)]) -> Vec<Bucket> {
        of.iter().map(|&(index, count)| Bucket { index, count }).collect()
    }

    #[test]
    fn every_kind_of_bucket() {
        let mut histogram = Histogram { count: 12.5, sum: f64::NAN, ..Histogram::default() };
        check(&histogram, r#"{"count":"12.5","sum":"NaN"}"#);
        histogram.zero_threshold = 0.001;
        check(&histogram, r#"{"count":"12.5","sum":"NaN"}"#);
        histogram.zero_count = 2.0;
        histogram.negative = buckets(&[(0, 1.0), (2, 0.5)]);
        histogram.positive = buckets(&[(-1, 3.0), (1, 6.0)]);
        let want = concat!(
            r#"{"count":"12.5","sum":"NaN","buckets":[[1,"-4","-2","0.5"],[1,"-1","-0.5","1"],"#,
            r#"[3,"-0.001","0.001","2"],[0,"0.25","0.5","3"],[0,"1","2","6"]]}"#
        );
        check(&histogram, want);
    }

    #[test]
    fn custom_buckets() {
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count: 6.0,
            sum: 1.0,
            positive: buckets(&[(0, 1.0), (1, 2.0), (2, 3.0)]),
            custom_bounds: vec![0.1, 2.5],
            ..Histogram::default()
        };
        let want =
            r#"{"count":"6","sum":"1","buckets":[[3,"-Inf","0.1","1"],[0,"0.1","2.5","2"],[0,"2.5","+Inf","3"]]}"#;
        check(&histogram, want);
    }
}
