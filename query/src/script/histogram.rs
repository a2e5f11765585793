//! Native histograms as scripts write them: `{{schema:1 sum:3 count:22 buckets:[5 10 7]}}`.
//!
//! Owns the notation, both ways, and when two histograms count as equal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::Histogram;
use model::histogram::{BUCKETS_MAX, Bucket, ResetHint};

use super::check::is_close;
use super::points::parse_number;

/// A histogram that a script shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// The histogram, in canonical form.
    pub(crate) histogram: Arc<Histogram>,
    /// Whether the script names the hint: only then it is compared.
    has_hint: bool,
}

impl Shown {
    /// Reads what stands between `{{` and `}}`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut histogram = Histogram::default();
        let (mut positive, mut negative) = (Side::default(), Side::default());
        let mut seen: Vec<&str> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':').ok_or_else(|| format!("expected key:value at {rest:?}"))?;
            let (value, after) = split_value(after)?;
            rest = after;
            if seen.contains(&key) {
                return Err(format!("{key:?} is there twice in a histogram"));
            }
            seen.push(key);
            match key {
                "schema" => histogram.schema = parse_integer(value)?,
                "sum" => histogram.sum = parse_float(value)?,
                "count" => histogram.count = parse_float(value)?,
                "z_bucket" => histogram.zero_count = parse_float(value)?,
                "z_bucket_w" => histogram.zero_threshold = parse_float(value)?,
                "custom_values" => histogram.custom_bounds = parse_list(value)?,
                "buckets" => positive.counts = parse_list(value)?,
                "offset" => positive.offset = parse_integer(value)?,
                "n_buckets" => negative.counts = parse_list(value)?,
                "n_offset" => negative.offset = parse_integer(value)?,
                "counter_reset_hint" => histogram.reset_hint = parse_hint(value)?,
                other => return Err(format!("a histogram has no {other:?}")),
            }
        }
        histogram.positive = positive.buckets();
        histogram.negative = negative.buckets();
        histogram.compact();
        histogram.check_structure().map_err(|error| error.to_string())?;
        Ok(Self { histogram: Arc::new(histogram), has_hint: seen.contains(&"counter_reset_hint") })
    }

    /// This histogram, then `times` more, each with `step` added to (or, if `is_minus`, taken off) the one before.
    pub(crate) fn series(&self, step: &Self, is_minus: bool, times: usize) -> Result<Vec<Self>, String> {
        let mut series = vec![Self { has_hint: step.has_hint, ..self.clone() }];
        let mut current = (*self.histogram).clone();
        for _ in 0..times {
            current = add(&current, &step.histogram, if is_minus { -1.0 } else { 1.0 })?;
            series.push(Self { histogram: Arc::new(current.clone()), has_hint: step.has_hint });
        }
        Ok(series)
    }

    /// Whether `got` is this histogram, numbers within the tolerance.
    pub(crate) fn fits(&self, got: &Histogram) -> bool {
        let want = &*self.histogram;
        let same_buckets = |want: &[Bucket], got: &[Bucket]| {
            let mut got = got.iter().filter(|bucket| bucket.count != 0.0);
            want.iter()
                .all(|want| got.next().is_some_and(|got| got.index == want.index && is_close(got.count, want.count)))
                && got.next().is_none()
        };
        want.schema == got.schema
            && want.custom_bounds == got.custom_bounds
            && want.zero_threshold.to_bits() == got.zero_threshold.to_bits()
            && [(want.count, got.count), (want.sum, got.sum), (want.zero_count, got.zero_count)]
                .iter()
                .all(|&(want, got)| is_close(got, want))
            && same_buckets(&want.positive, &got.positive)
            && same_buckets(&want.negative, &got.negative)
            && (!self.has_hint || want.reset_hint == got.reset_hint)
    }
}

/// The buckets of one sign as scripts list them: one after the other from an index on.
#[derive(Debug, Default)]
struct Side {
    offset: i32,
    counts: Vec<f64>,
}

impl Side {
    fn buckets(self) -> Vec<Bucket> {
        (self.offset..).zip(self.counts).map(|(index, count)| Bucket { index, count }).collect()
    }
}

/// A value up to the next space, or up to the end of its brackets, and what follows.
fn split_value(text: &str) -> Result<(&str, &str), String> {
    let end = if text.starts_with('[') {
        text.find(']').map(|at| at + 1).ok_or_else(|| format!("unclosed [ at {text:?}"))?
    } else {
        text.find(char::is_whitespace).unwrap_or(text.len())
    };
    Ok((&text[..end], text[end..].trim_start()))
}

fn parse_float(text: &str) -> Result<f64, String> {
    parse_number(text).ok_or_else(|| format!("{text:?} is no number"))
}

fn parse_integer<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no whole number of that size"))
}

fn parse_list(text: &str) -> Result<Vec<f64>, String> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let inner = inner.ok_or_else(|| format!("expected a list in brackets, found {text:?}"))?;
    let list: Vec<f64> = inner.split_whitespace().map(parse_float).collect::<Result<_, _>>()?;
    if list.len() > BUCKETS_MAX { Err(format!("more than {BUCKETS_MAX} buckets")) } else { Ok(list) }
}

fn parse_hint(text: &str) -> Result<ResetHint, String> {
    [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]
        .into_iter()
        .find(|hint| hint.to_string() == text)
        .ok_or_else(|| format!("{text:?} is no counter reset hint"))
}

/// `a + factor * b`, where `b` may have finer exponential buckets. Scripts that need more write the histograms out; this
/// way what they expect does not rest on the arithmetic they test.
fn add(a: &Histogram, b: &Histogram, factor: f64) -> Result<Histogram, String> {
    let finer = i32::from(b.schema) - i32::from(a.schema);
    let is_one_kind = a.is_custom() == b.is_custom() && a.custom_bounds == b.custom_bounds;
    let is_zero_alike = b.zero_count == 0.0 || a.zero_threshold.to_bits() == b.zero_threshold.to_bits();
    if finer < 0 || !is_one_kind || !is_zero_alike {
        return Err("histograms of such different layouts cannot be added".to_owned());
    }
    let side = |a: &[Bucket], b: &[Bucket]| {
        let mut sums: BTreeMap<i32, f64> = a.iter().map(|one| (one.index, one.count)).collect();
        for one in b {
            // Bucket i of a finer schema lies in bucket ceil(i / 2^finer).
            *sums.entry(-(-one.index >> finer)).or_default() += factor * one.count;
        }
        sums.into_iter().map(|(index, count)| Bucket { index, count }).collect()
    };
    let mut sum = Histogram {
        count: a.count + factor * b.count,
        sum: a.sum + factor * b.sum,
        zero_count: a.zero_count + factor * b.zero_count,
        positive: side(&a.positive, &b.positive),
        negative: side(&a.negative, &b.negative),
        ..a.clone()
    };
    sum.compact();
    Ok(sum)
}

/// Shows any histogram the way scripts write it.
pub(crate) struct Notation<'a>(pub(crate) &'a Histogram);

impl fmt::Debug for Notation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Notation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(one) = self;
        write!(f, "{{{{schema:{} count:{} sum:{}", one.schema, one.count, one.sum)?;
        if one.zero_count != 0.0 || one.zero_threshold != 0.0 {
            write!(f, " z_bucket:{} z_bucket_w:{}", one.zero_count, one.zero_threshold)?;
        }
        for (name, buckets) in [("", &one.positive), ("n_", &one.negative)] {
            if let Some(first) = buckets.first() {
                write!(f, " {name}offset:{} {name}buckets:[{}]", first.index, list(buckets))?;
            }
        }
        if !one.custom_bounds.is_empty() {
            let bounds: Vec<String> = one.custom_bounds.iter().map(f64::to_string).collect();
            write!(f, " custom_values:[{}]", bounds.join(" "))?;
        }
        if one.reset_hint != ResetHint::Unknown {
            write!(f, " counter_reset_hint:{}", one.reset_hint)?;
        }
        f.write_str("}}")
    }
}

/// Counts in order of index, the empty buckets between them included unless those are many.
fn list(buckets: &[Bucket]) -> String {
    let mut counts: Vec<String> = Vec::new();
    let mut next = buckets.first().map_or(0, |bucket| bucket.index);
    for bucket in buckets {
        match bucket.index.saturating_sub(next) {
            gap @ 0..=64 => counts.extend((0..gap).map(|_| "0".to_owned())),
            gap => counts.push(format!("0x{gap}")),
        }
        counts.push(bucket.count.to_string());
        next = bucket.index.saturating_add(1);
    }
    counts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Shown {
        Shown::parse(text).expect(text)
    }

    #[test]
    fn the_notation_goes_both_ways() {
        for text in [
            "schema:0 count:0 sum:0",
            "schema:1 count:22 sum:3 offset:0 buckets:[5 10 7]",
            "schema:-4 count:5 sum:-2.5 z_bucket:1 z_bucket_w:0.001 offset:-3 buckets:[1 0 0 2] n_offset:2 n_buckets:[1]",
            "schema:-53 count:6 sum:NaN offset:1 buckets:[6] custom_values:[0.5 1e300] counter_reset_hint:gauge",
        ] {
            let text = text.replace("1e300", &format!("{}", 1e300));
            assert_eq!(Notation(&shown(&text).histogram).to_string(), format!("{{{{{text}}}}}"));
        }
    }

    #[test]
    fn what_is_no_histogram() {
        for text in [
            "schema:x",
            "schema:300",
            "schema:9",
            "sum",
            "sum:a",
            "buckets:1",
            "buckets:[1",
            "buckets:[a]",
            "colour:red",
            "sum:1 sum:1",
            "counter_reset_hint:maybe",
            "schema:-53 custom_values:[2 1]",
            "offset:99999999 buckets:[1]",
        ] {
            assert!(Shown::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn equality_is_within_the_tolerance_and_sees_every_field() {
        let base = "schema:0 count:8 sum:3 z_bucket:1 z_bucket_w:0.5 buckets:[2 1] n_buckets:[4]";
        let (want, same) = (shown(base), |text: &str| shown(base).fits(&shown(text).histogram));
        assert!(same(base));
        assert!(same(
            "schema:0 count:8.000001 sum:3.000001 z_bucket:1 z_bucket_w:0.5 buckets:[0 2 1.0000001 0] offset:-1 n_buckets:[4]"
        ));
        for (from, to) in [
            ("schema:0", "schema:1"),
            ("count:8", "count:9"),
            ("sum:3", "sum:4"),
            ("z_bucket:1", "z_bucket:2"),
            ("z_bucket_w:0.5", "z_bucket_w:0.25"),
            ("[2 1]", "[2 2]"),
            ("[2 1]", "[2 1 1]"),
            ("[2 1]", "[2]"),
            ("[4]", "[4] n_offset:1"),
        ] {
            assert!(!same(&base.replace(from, to)), "{to}");
        }
        let gauge = shown("counter_reset_hint:gauge");
        assert!(!gauge.fits(&shown("").histogram) && shown("").fits(&gauge.histogram));
        let custom = shown("schema:-53 custom_values:[1 2]");
        assert!(!custom.fits(&shown("schema:-53 custom_values:[1 3]").histogram));
        let series = want.series(&shown("count:1 sum:2 buckets:[1]"), true, 2).expect("one layout");
        assert!(
            series[2].fits(
                &shown("schema:0 count:6 sum:-1 z_bucket:1 z_bucket_w:0.5 buckets:[0 1] n_buckets:[4]").histogram
            )
        );
    }
}
