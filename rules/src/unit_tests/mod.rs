//! Unit tests of rules: series that are made up, and which alerts and samples must come of them.
//!
//! The form of the files is that of Prometheus's `promtool test rules`
//! (<https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/>), with the fields of its newest release. Rules are
//! evaluated by what the server evaluates them by, over series in memory. Where the two differ: a test may expect NaN, and histograms are
//! compared within the tolerance of test scripts.

mod check;
mod compare;
mod raw;
mod run;
mod world;

use std::collections::BTreeMap;

use model::{FullSample, Labels};
use query::script::ExpectedHistogram;

pub use compare::{Pair, Row};
pub use run::run;
pub use world::SeriesWorld;

use crate::yaml::FileFault;

/// Most points of all series of a file.
pub const POINTS_MAX: usize = 10_000_000;
/// Most moments of evaluation in a test.
pub const EVALUATIONS_MAX: i64 = 1_000_000;

/// A file of unit tests.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// Its name.
    pub name: String,
    /// The files of the rules that are tested, as they are written: patterns, relative to the folder of this file.
    pub rule_files: Vec<String>,
    /// Time between two evaluations.
    pub evaluation_interval_ms: i64,
    /// Names of groups in the order in which they are evaluated.
    pub group_order: Vec<String>,
    /// Whether numbers that are neighbours count as equal.
    pub is_fuzzy: bool,
    /// Each begins anew.
    pub tests: Vec<Test>,
}

/// Series, and what must come of them.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it is called; may be empty.
    pub name: String,
    /// Its line, from 1.
    pub line: u64,
    /// When it begins, milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The interval of groups that have none.
    pub interval_ms: i64,
    /// Each with its samples, ascending in time.
    pub series: Vec<(Labels, Vec<FullSample>)>,
    /// Alerts that must fire.
    pub alerts: Vec<AlertCase>,
    /// Expressions and what they must yield.
    pub exprs: Vec<ExprCase>,
    /// What `$externalLabels` is.
    pub external_labels: BTreeMap<String, String>,
    /// What `$externalURL` is.
    pub external_url: String,
}

/// All alerts of one name that fire at one time.
#[derive(Debug, Clone)]
pub struct AlertCase {
    /// Its line, from 1.
    pub line: u64,
    /// The time, since the start of the test.
    pub at_ms: i64,
    /// The name.
    pub alertname: String,
    /// The alerts.
    pub expected: Vec<AlertText>,
}

/// What is told of an alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertText {
    /// Its labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An expression and what it must yield.
#[derive(Debug, Clone)]
pub struct ExprCase {
    /// Its line, from 1.
    pub line: u64,
    /// The time, since the start of the test.
    pub at_ms: i64,
    /// The expression.
    pub expr: String,
    /// Its samples.
    pub expected: Vec<(Labels, Expected)>,
}

/// What a sample must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// A number.
    Float(f64),
    /// A distribution.
    Histogram(Box<ExpectedHistogram>),
}

/// What became of a test.
#[derive(Debug, Clone, Default)]
pub struct TestReport {
    /// What it is called; may be empty.
    pub name: String,
    /// Its line, from 1.
    pub line: u64,
    /// How many of its cases are as expected.
    pub passed: usize,
    /// What is not.
    pub failures: Vec<Failure>,
}

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line of the case, from 1.
    pub line: u64,
    /// What was looked at.
    pub subject: Subject,
    /// What is wrong.
    pub reason: Reason,
}

/// What a failure is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it; times are since the start of the test")]
pub enum Subject {
    /// The test as a whole.
    Test,
    /// A rule, while it was evaluated.
    Rule { name: String, at_ms: i64 },
    /// The alerts of a name.
    Alert { name: String, at_ms: i64 },
    /// An expression.
    Expr { text: String, at_ms: i64 },
}

/// Why something is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It could not be evaluated.
    Fault(String),
    /// Something else was found. So many were as expected, and these were not.
    Differs {
        /// How many were as expected.
        same: usize,
        /// What was expected beside what was found.
        pairs: Vec<Pair>,
    },
}

/// Reads a file of unit tests.
///
/// # Errors
///
/// All that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<TestFile, Vec<FileFault>> {
    let raw = crate::yaml::read(name, text).map_err(|fault| vec![fault])?;
    check::file(name, raw)
}
