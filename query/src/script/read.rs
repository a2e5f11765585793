//! The notation of scripts for files of another form that write series in it, such as unit tests of rules.

use std::fmt;

use model::{FullSample, Histogram, Labels};

use super::histogram::{Notation, Shown};
use super::load;
use super::parse::LoadedStarts;
use super::points::{Point, parse_points, parse_series};

/// Reads labels written as `name{a="b"}`.
///
/// # Errors
///
/// What is wrong with them.
pub fn read_labels(text: &str) -> Result<Labels, String> {
    match parse_series(text.trim())? {
        (labels, "") => Ok(labels),
        (_, rest) => Err(format!("{rest:?} follows the labels")),
    }
}

/// Reads a series whose points, such as `0+10x5 _ stale`, are one step apart from time 0 on.
///
/// # Errors
///
/// What is wrong with its labels or its points, of which there may be a million.
pub fn read_series(series: &str, values: &str, step_ms: i64) -> Result<(Labels, Vec<FullSample>), String> {
    let points = parse_points(values)?;
    Ok((read_labels(series)?, load::samples(step_ms, &points, &LoadedStarts::None)))
}

/// A histogram that is expected: numbers may differ a little, and the hint about resets counts only if it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedHistogram(Shown);

impl ExpectedHistogram {
    /// Reads one that is written as `{{schema:1 sum:3 count:22 buckets:[5 10 7]}}`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        match parse_points(text)?.as_slice() {
            [Point::Histogram(shown)] => Ok(Self(shown.clone())),
            _ => Err(format!("{text:?} is not one histogram")),
        }
    }

    /// Whether `got` is this histogram.
    pub fn fits(&self, got: &Histogram) -> bool {
        self.0.fits(got)
    }
}

impl fmt::Display for ExpectedHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ShowHistogram(&self.0.histogram).fmt(f)
    }
}

/// Shows any histogram as scripts write it.
#[derive(Debug, Clone, Copy)]
pub struct ShowHistogram<'a>(pub &'a Histogram);

impl fmt::Display for ShowHistogram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Notation(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_begin_at_zero() {
        let (labels, samples) = read_series(" up{job='a'} ", "1 _ 3x1 stale", 1000).expect("a series");
        assert_eq!(labels.to_string(), "up{job=\"a\"}");
        assert_eq!(samples.iter().map(|one| one.timestamp_ms).collect::<Vec<_>>(), [0, 2000, 3000, 4000]);
        assert!(read_series("up 1", "1", 1).is_err_and(|error| error.contains("follows")));
        assert!(read_series("up", "1 y", 1).is_err());
    }

    #[test]
    fn histograms_are_compared_as_in_scripts() {
        let text = "{{schema:0 count:3 sum:1 offset:0 buckets:[1 2]}}";
        let expected = ExpectedHistogram::read(text).expect("a histogram");
        assert_eq!(expected.to_string(), text);
        let (_, samples) = read_series("h", text, 1).expect("a series");
        let model::SampleValue::Histogram(got) = &samples[0].value else { panic!("a histogram") };
        assert!(expected.fits(got));
        assert!(!ExpectedHistogram::read("{{count:3}}").expect("a histogram").fits(got));
        for bad in ["1", "{{}} {{}}", "{{}}x1", ""] {
            assert!(ExpectedHistogram::read(bad).is_err(), "{bad}");
        }
    }
}
