//! What was expected beside what was found: equal ones put aside, the others paired with what they are most alike.

use std::collections::{BTreeMap, BTreeSet};

use model::Labels;
use model::sample::SampleValue;
use query::script::ShowHistogram;

use super::{AlertText, Expected};

/// Something that was expected and what was found in its place; one side may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Whether something was expected.
    pub is_expected: bool,
    /// Whether something was found.
    pub is_found: bool,
    /// Its parts, side by side.
    pub rows: Vec<Row>,
}

/// A label, an annotation or a value: what was expected and what was found of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `severity`, `annotation summary`, `value`.
    pub name: String,
    /// What was expected; `None`: nothing.
    pub expected: Option<String>,
    /// What was found; `None`: nothing.
    pub found: Option<String>,
}

impl Row {
    /// Whether both are the same.
    pub fn is_same(&self) -> bool {
        self.expected == self.found
    }
}

/// Parts by rank and name: labels come before annotations and values.
type Parts = BTreeMap<(u8, String), String>;

/// How many are as expected, and the others in pairs.
fn differences(expected: Vec<(bool, Parts)>, found: Vec<(bool, Parts)>) -> Vec<Pair> {
    let left =
        |side: Vec<(bool, Parts)>| side.into_iter().filter_map(|(is_matched, parts)| (!is_matched).then_some(parts));
    let expected: Vec<Parts> = left(expected).collect();
    let mut found: Vec<Parts> = left(found).collect();
    let mut pairs = Vec::new();
    for wanted in expected {
        let alike = |other: &Parts| wanted.iter().filter(|(name, value)| other.get(*name) == Some(*value)).count();
        // Of those that are as much alike the first.
        let best = (0..found.len()).max_by_key(|&at| (alike(&found[at]), std::cmp::Reverse(at)));
        let other = best.map(|at| found.remove(at));
        pairs.push(pair(Some(&wanted), other.as_ref()));
    }
    pairs.extend(found.iter().map(|other| pair(None, Some(other))));
    pairs
}

fn pair(expected: Option<&Parts>, found: Option<&Parts>) -> Pair {
    let sides = [expected, found];
    let names: BTreeSet<&(u8, String)> = sides.iter().flatten().flat_map(|parts| parts.keys()).collect();
    let of = |parts: Option<&Parts>, name: &(u8, String)| parts.and_then(|parts| parts.get(name).cloned());
    let rows = names.into_iter().map(|name| Row {
        name: name.1.clone(),
        expected: of(expected, name),
        found: of(found, name),
    });
    Pair { is_expected: expected.is_some(), is_found: found.is_some(), rows: rows.collect() }
}

/// Which of two lists have their like in the other, each at most one.
fn matched<A, B>(expected: &[A], found: &[B], is_same: impl Fn(&A, &B) -> bool) -> (Vec<bool>, Vec<bool>) {
    let (mut of_expected, mut of_found) = (vec![false; expected.len()], vec![false; found.len()]);
    for (wanted, is_matched) in expected.iter().zip(&mut of_expected) {
        let like = found.iter().zip(&mut of_found).find(|(other, taken)| !**taken && is_same(wanted, other));
        if let Some((_, taken)) = like {
            (*taken, *is_matched) = (true, true);
        }
    }
    (of_expected, of_found)
}

fn told<T>(items: &[T], is_matched: Vec<bool>, parts: impl Fn(&T) -> Parts) -> Vec<(bool, Parts)> {
    is_matched.into_iter().zip(items).map(|(is_matched, item)| (is_matched, parts(item))).collect()
}

/// How many alerts are as expected, and the others in pairs.
pub(super) fn alerts(expected: &[AlertText], found: &[AlertText]) -> (usize, Vec<Pair>) {
    let parts = |alert: &AlertText| -> Parts {
        let labels = alert.labels.iter().map(|(name, value)| ((0, name.clone()), value.clone()));
        let notes = alert.annotations.iter().map(|(name, value)| ((1, format!("annotation {name}")), value.clone()));
        labels.chain(notes).collect()
    };
    let (of_expected, of_found) = matched(expected, found, PartialEq::eq);
    let same = of_expected.iter().filter(|is_matched| **is_matched).count();
    (same, differences(told(expected, of_expected, parts), told(found, of_found, parts)))
}

/// How many samples are as expected, and the others in pairs.
pub(super) fn samples(
    expected: &[(Labels, Expected)],
    found: &[(Labels, SampleValue)],
    is_fuzzy: bool,
) -> (usize, Vec<Pair>) {
    let is_same = |wanted: &(Labels, Expected), other: &(Labels, SampleValue)| {
        wanted.0 == other.0
            && match (&wanted.1, &other.1) {
                (Expected::Float(wanted), SampleValue::Float(found)) => is_equal(*wanted, *found, is_fuzzy),
                (Expected::Histogram(wanted), SampleValue::Histogram(found)) => wanted.fits(found),
                _ => false,
            }
    };
    let parts = |labels: &Labels, value: String| -> Parts {
        let labels = labels.iter().map(|(name, value)| ((0, name.to_owned()), value.to_owned()));
        labels.chain([((1, "value".to_owned()), value)]).collect()
    };
    let of_wanted = |(labels, value): &(Labels, Expected)| {
        let value = match value {
            Expected::Float(value) => value.to_string(),
            Expected::Histogram(histogram) => histogram.to_string(),
        };
        parts(labels, value)
    };
    let of_other = |(labels, value): &(Labels, SampleValue)| {
        let value = match value {
            SampleValue::Float(value) => value.to_string(),
            SampleValue::Histogram(histogram) => ShowHistogram(histogram).to_string(),
        };
        parts(labels, value)
    };
    let (of_expected, of_found) = matched(expected, found, is_same);
    let same = of_expected.iter().filter(|is_matched| **is_matched).count();
    (same, differences(told(expected, of_expected, of_wanted), told(found, of_found, of_other)))
}

/// Whether two numbers count as equal: also neighbours if `is_fuzzy`, and NaN is NaN.
fn is_equal(one: f64, other: f64, is_fuzzy: bool) -> bool {
    let is_same = one.total_cmp(&other).is_eq() || one - other == 0.0 || (one.is_nan() && other.is_nan());
    let is_neighbour = || {
        let (below, above) = (other.next_down(), other.next_up());
        one.total_cmp(&below).is_eq() || one.total_cmp(&above).is_eq()
    };
    is_same || (is_fuzzy && !one.is_nan() && !other.is_nan() && is_neighbour())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> AlertText {
        let texts = |pairs: &[(&str, &str)]| pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
        AlertText { labels: texts(labels), annotations: texts(annotations) }
    }

    fn told(pairs: &[Pair]) -> Vec<String> {
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let row = |row: &Row| format!("{}:{}|{}", row.name, side(&row.expected), side(&row.found));
        pairs.iter().map(|pair| pair.rows.iter().map(row).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn what_is_most_alike_stands_side_by_side() {
        let expected = [
            alert(&[("job", "a"), ("severity", "page")], &[("summary", "a is down")]),
            alert(&[("job", "b"), ("severity", "page")], &[]),
            alert(&[("job", "c")], &[]),
        ];
        let found = [
            alert(&[("job", "c")], &[]),
            alert(&[("job", "b"), ("severity", "ticket")], &[]),
            alert(&[("job", "a"), ("severity", "page")], &[("summary", "b is down")]),
            alert(&[("job", "d")], &[]),
        ];
        let (same, pairs) = alerts(&expected, &found);
        assert_eq!(same, 1);
        assert_eq!(
            told(&pairs),
            [
                "job:a|a severity:page|page annotation summary:a is down|b is down",
                "job:b|b severity:page|ticket",
                "job:-|d"
            ]
        );
        assert_eq!((pairs[2].is_expected, pairs[2].is_found), (false, true));
        let (same, pairs) = alerts(&expected[2..], &[]);
        assert_eq!((same, told(&pairs)), (0, vec!["job:c|-".to_owned()]));
    }

    #[test]
    fn one_that_is_found_counts_for_one_that_is_expected() {
        let one = alert(&[("job", "a")], &[]);
        let (same, pairs) = alerts(&[one.clone(), one.clone()], std::slice::from_ref(&one));
        assert_eq!((same, told(&pairs)), (1, vec!["job:a|-".to_owned()]));
    }

    #[test]
    fn numbers_are_equal_bit_by_bit_or_neighbours() {
        let third = 1.0_f64 / 3.0;
        assert!(is_equal(third, third, false) && is_equal(0.0, -0.0, false) && is_equal(f64::NAN, -f64::NAN, false));
        assert!(!is_equal(third, third.next_up(), false) && is_equal(third, third.next_up(), true));
        assert!(!is_equal(third, third.next_up().next_up(), true) && !is_equal(1.0, f64::NAN, true));
        assert!(is_equal(f64::INFINITY, f64::INFINITY, false) && !is_equal(f64::INFINITY, f64::NEG_INFINITY, true));
    }
}
