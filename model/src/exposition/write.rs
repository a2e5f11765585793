//! Prints families of metrics in either text format.
//!
//! A series keeps its name in both formats. Where a format can't say something it is left out or said in the
//! nearest way: the older format has no units and five kinds; OpenMetrics names a counter or info family
//! without the suffix of its series, so that one without the suffix is printed as `unknown`.

use std::fmt::{self, Write as _};

use super::TextFormat;
use crate::labels::{Labels, LabelsRef, METRIC_NAME, Quoted, is_label_name, is_metric_name};
use crate::metadata::{MetricKind, MetricMetadata};

/// One metric with its samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The name: that of its series, save the suffixes of histograms and summaries.
    pub name: String,
    /// Kind, unit and help.
    pub metadata: MetricMetadata,
    /// The samples, in the order to print.
    pub samples: Vec<FamilySample>,
}

/// One sample of a family.
#[derive(Debug, Clone)]
pub struct FamilySample {
    /// Every label, `__name__` included.
    pub labels: Labels,
    /// The value.
    pub value: f64,
    /// Milliseconds since the Unix epoch; usually none, so that the reader takes its own time.
    pub timestamp_ms: Option<i64>,
}

/// Values are compared as printed: bitwise, save that all NaNs are one.
impl PartialEq for FamilySample {
    fn eq(&self, other: &Self) -> bool {
        let same_value = self.value.to_bits() == other.value.to_bits() || (self.value.is_nan() && other.value.is_nan());
        same_value && self.labels == other.labels && self.timestamp_ms == other.timestamp_ms
    }
}

impl Eq for FamilySample {}

impl Family {
    /// A family without samples.
    pub fn new(name: &str, kind: MetricKind, help: &str) -> Self {
        let metadata = MetricMetadata { kind, unit: String::new(), help: help.to_owned() };
        Self { name: name.to_owned(), metadata, samples: Vec::new() }
    }

    /// Adds a sample without a time, named as the family, with `labels` beside the name.
    ///
    /// # Panics
    ///
    /// When a label name is empty or occurs twice, which is a mistake in the caller's code.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        let name = (crate::METRIC_NAME, self.name.as_str());
        let labels = Labels::from_pairs(labels.iter().copied().chain([name])).expect("label names are unique");
        self.samples.push(FamilySample { labels, value, timestamp_ms: None });
        self
    }
}

/// Appends `families` to `out` as a whole page in `format`.
pub fn write_families(families: &[Family], format: TextFormat, out: &mut String) {
    for family in families {
        let written = write_family(family, format, out);
        debug_assert!(written.is_ok(), "a string takes any text");
    }
    if format == TextFormat::OpenMetrics {
        out.push_str("# EOF\n");
    }
}

/// What OpenMetrics adds to the name of a family of `kind` to name its series, when it is one thing.
pub(super) fn family_suffix(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "_total",
        MetricKind::Info => "_info",
        _ => "",
    }
}

fn write_family(family: &Family, format: TextFormat, out: &mut String) -> fmt::Result {
    let (name, kind) = described_as(family, format);
    let shown_name = ShownName(name);
    let MetricMetadata { unit, help, .. } = &family.metadata;
    if !help.is_empty() {
        writeln!(out, "# HELP {shown_name} {}", ShownHelp(help, format))?;
    }
    writeln!(out, "# TYPE {shown_name} {kind}")?;
    if format == TextFormat::OpenMetrics && unit_is_in_name(name, unit) {
        writeln!(out, "# UNIT {shown_name} {unit}")?;
    }
    for sample in &family.samples {
        write!(out, "{} {}", ShownSeries(sample.labels.as_ref()), ShownValue(sample.value))?;
        match (sample.timestamp_ms, format) {
            (None, _) => {}
            (Some(ms), TextFormat::Prometheus) => write!(out, " {ms}")?,
            (Some(ms), TextFormat::OpenMetrics) => write!(out, " {}", ShownSeconds(ms))?,
        }
        out.push('\n');
    }
    Ok(())
}

/// The name and the kind that the lines about `family` give.
fn described_as(family: &Family, format: TextFormat) -> (&str, &'static str) {
    let kind = family.metadata.kind;
    match format {
        TextFormat::OpenMetrics => match family.name.strip_suffix(family_suffix(kind)) {
            Some(name) if !name.is_empty() => (name, kind.as_str()),
            _ => (&family.name, MetricKind::Unknown.as_str()),
        },
        TextFormat::Prometheus => {
            let kind = match kind {
                MetricKind::Counter | MetricKind::Gauge | MetricKind::Histogram | MetricKind::Summary => kind.as_str(),
                MetricKind::Info | MetricKind::StateSet => MetricKind::Gauge.as_str(),
                MetricKind::GaugeHistogram | MetricKind::Unknown => "untyped",
            };
            (&family.name, kind)
        }
    }
}

/// OpenMetrics wants the unit as the end of the family's name; one that is not there can't be told.
fn unit_is_in_name(name: &str, unit: &str) -> bool {
    !unit.is_empty() && name.strip_suffix(unit).is_some_and(|start| start.len() > 1 && start.ends_with('_'))
}

/// A series as both formats name it: `name{a="b",c="d"}`, names outside the classic grammar quoted. Unlike in the notation for
/// people no blank follows a comma: OpenMetrics has none there.
#[derive(Debug, Clone, Copy)]
pub struct ShownSeries<'a>(pub LabelsRef<'a>);

impl fmt::Display for ShownSeries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        match self.0.get(METRIC_NAME) {
            Some(name) if is_metric_name(name) => f.write_str(name)?,
            Some(name) => {
                write!(f, "{{{}", Quoted(name))?;
                separator = ',';
            }
            None if self.0.iter().next().is_none() => return f.write_str("{}"),
            None => {}
        }
        for (label, value) in self.0.iter().filter(|(label, _)| *label != METRIC_NAME) {
            f.write_char(separator)?;
            separator = ',';
            if is_label_name(label) {
                f.write_str(label)?;
            } else {
                Quoted(label).fmt(f)?;
            }
            write!(f, "={}", Quoted(value))?;
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

/// A metric name, quoted when the classic grammar does not have it.
struct ShownName<'a>(&'a str);

impl fmt::Display for ShownName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_metric_name(self.0) { f.write_str(self.0) } else { Quoted(self.0).fmt(f) }
    }
}

/// Help with its escapes.
struct ShownHelp<'a>(&'a str, TextFormat);

impl fmt::Display for ShownHelp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 == TextFormat::OpenMetrics => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A value in the fewest digits that read back the same.
struct ShownValue(f64);

impl fmt::Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            f.write_str("NaN")
        } else if value.is_infinite() {
            f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
        } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
            // Go prints an exponent from here on, and so do its readers expect it.
            write!(f, "{value:e}")
        } else {
            write!(f, "{value}")
        }
    }
}

/// Milliseconds as seconds with as many decimals as needed.
struct ShownSeconds(i64);

impl fmt::Display for ShownSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ms = self.0.unsigned_abs();
        let (seconds, ms) = (ms / 1000, ms % 1000);
        if ms == 0 { write!(f, "{sign}{seconds}") } else { write!(f, "{sign}{seconds}.{ms:03}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(family: &Family, format: TextFormat, want: &str) {
        let mut text = String::new();
        write_families(std::slice::from_ref(family), format, &mut text);
        assert_eq!(text, want);
    }

    #[test]
    fn prints_both_formats() {
        let mut family = Family::new("busy_seconds_total", MetricKind::Counter, "Say \"hi\" \\ now\nor never.")
            .with(&[("a", "x\"\n")], 1.5)
            .with(&[], f64::INFINITY);
        family.metadata.unit = "seconds".into();
        family.samples[1].timestamp_ms = Some(-1_520);
        check(
            &family,
            TextFormat::Prometheus,
            "# HELP busy_seconds_total Say \"hi\" \\\\ now\\nor never.\n# TYPE busy_seconds_total counter\n\
             busy_seconds_total{a=\"x\\\"\\n\"} 1.5\nbusy_seconds_total +Inf -1520\n",
        );
        check(
            &family,
            TextFormat::OpenMetrics,
            "# HELP busy_seconds Say \\\"hi\\\" \\\\ now\\nor never.\n# TYPE busy_seconds counter\n\
             # UNIT busy_seconds seconds\nbusy_seconds_total{a=\"x\\\"\\n\"} 1.5\nbusy_seconds_total +Inf -1.520\n# EOF\n",
        );
    }

    #[track_caller]
    fn check_series(pairs: &[(&str, &str)], want: &str) {
        let labels = Labels::from_pairs(pairs.iter().copied()).expect("valid");
        assert_eq!(ShownSeries(labels.as_ref()).to_string(), want);
    }

    #[test]
    fn series_have_no_blank_between_labels() {
        check_series(&[("__name__", "up")], "up");
        check_series(&[("__name__", "up"), ("job", "a\"\n\\"), ("A", "1")], "up{A=\"1\",job=\"a\\\"\\n\\\\\"}");
        check_series(&[("__name__", "a.b")], "{\"a.b\"}");
        check_series(&[("__name__", "a.b"), ("c.d", "e"), ("f", "g")], "{\"a.b\",\"c.d\"=\"e\",f=\"g\"}");
        let two = Family::new("up", MetricKind::Gauge, "").with(&[("a", "b"), ("c", "d")], 1.0);
        check(&two, TextFormat::Prometheus, "# TYPE up gauge\nup{a=\"b\",c=\"d\"} 1\n");
        check(&two, TextFormat::OpenMetrics, "# TYPE up gauge\nup{a=\"b\",c=\"d\"} 1\n# EOF\n");
    }

    #[test]
    fn what_a_format_cannot_say_is_said_in_the_nearest_way() {
        let counter = Family::new("hits", MetricKind::Counter, "");
        check(&counter, TextFormat::OpenMetrics, "# TYPE hits unknown\n# EOF\n");
        let mut states = Family::new("my.states", MetricKind::StateSet, "");
        states.metadata.unit = "bytes".into();
        check(&states, TextFormat::Prometheus, "# TYPE \"my.states\" gauge\n");
        check(&states, TextFormat::OpenMetrics, "# TYPE \"my.states\" stateset\n# EOF\n");
        let unknown = Family::new("u", MetricKind::Unknown, "").with(&[], -0.0).with(&[("b", "")], 1e300);
        check(&unknown, TextFormat::Prometheus, "# TYPE u untyped\nu -0\nu 1e300\n");
    }
}
