//! Histograms as text, the label values of `count_values`.

use std::fmt;

use model::Histogram;

use super::buckets::{Edges, Stretch, negative, positive, zero};

/// Shows a histogram: `{count:6, sum:10, [-2,-1):1, [-0.001,0.001]:1, (1,2]:3}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a>(pub(crate) &'a Histogram);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let histogram = self.0;
        write!(f, "{{count:{}, sum:{}", GoFloat(histogram.count), GoFloat(histogram.sum))?;
        for &bucket in histogram.negative.iter().rev() {
            show(f, negative(histogram, bucket))?;
        }
        if histogram.zero_count != 0.0 {
            show(f, zero(histogram))?;
        }
        for &bucket in &histogram.positive {
            show(f, positive(histogram, bucket))?;
        }
        f.write_str("}")
    }
}

fn show(f: &mut fmt::Formatter<'_>, stretch: Stretch) -> fmt::Result {
    let (open, close) = match stretch.edges {
        Edges::OpenClosed => ('(', ']'),
        Edges::ClosedOpen => ('[', ')'),
        Edges::ClosedClosed => ('[', ']'),
    };
    let (lower, upper, count) = (GoFloat(stretch.lower), GoFloat(stretch.upper), GoFloat(stretch.count));
    write!(f, ", {open}{lower},{upper}{close}:{count}")
}

/// Numbers from here on have an exponent.
const EXPONENT_FROM: f64 = 1e6;
/// Numbers below this have one, too.
const EXPONENT_BELOW: f64 = 1e-4;

/// Shows a number as Go's `%g` does: the shortest decimal, very small and large ones with an exponent of at least two
/// digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoFloat(pub(crate) f64);

impl fmt::Display for GoFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        if value == 0.0 || (EXPONENT_BELOW..EXPONENT_FROM).contains(&value.abs()) {
            return write!(f, "{value}");
        }
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        match exponent.strip_prefix('-') {
            Some(exponent) => write!(f, "{digits}e-{exponent:0>2}"),
            None => write!(f, "{digits}e+{exponent:0>2}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::histogram;
    use super::*;

    #[test]
    fn numbers() {
        for (value, want) in [
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (999_999.0, "999999"),
            (0.0001, "0.0001"),
            (-0.00001, "-1e-05"),
            (1.5e-300, "1.5e-300"),
            (-0.0, "-0"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(GoFloat(value).to_string(), want);
        }
    }

    #[test]
    fn histograms() {
        for (text, want) in [
            (
                "count:6 sum:10 z_bucket:1 z_bucket_w:0.001 buckets:[0 3] n_buckets:[0 1]",
                "{count:6, sum:10, [-2,-1):1, [-0.001,0.001]:1, (1,2]:3}",
            ),
            ("count:0", "{count:0, sum:0}"),
            (
                "schema:-53 count:3 sum:NaN custom_values:[0.5] buckets:[1 2]",
                "{count:3, sum:NaN, [-Inf,0.5]:1, (0.5,+Inf]:2}",
            ),
            ("schema:1 count:1 sum:-0.5 z_bucket_w:1 buckets:[0 1]", "{count:1, sum:-0.5, (1,1.414213562373095]:1}"),
        ] {
            assert_eq!(Text(&histogram(text)).to_string(), want);
        }
    }
}
