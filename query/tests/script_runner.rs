//! The script runner tells a wrong answer from a right one, and a broken script from both.

use proptest::prelude::*;
use query::script::{Plain, Report, ScriptError, Store, Unsaid, run};
use storage::memory::MemoryStore;

const DATA: &str = "load 1m\n  a{x=\"1\"} 1 2 3\n  a{x=\"2\"} 10 20 30\n";

fn run_text(text: &str) -> Result<Report, ScriptError> {
    run(text, Unsaid::Refused, &mut || Ok(Box::new(Plain::new(MemoryStore::new())) as Box<dyn Store>))
}

/// Runs one case over [`DATA`]; `reason` is a part of why it must fail, empty if it must pass.
#[track_caller]
fn check(case: &str, reason: &str) {
    let report = run_text(&format!("{DATA}\n{case}\n")).expect("a well-formed script");
    match (report.failed.as_slice(), reason) {
        ([], "") => assert_eq!(report.passed, 1, "{case}"),
        ([failure], reason) if !reason.is_empty() => {
            assert!(failure.reason.contains(reason), "{case}\n{}", failure.reason);
            assert_eq!(failure.line, 5);
        }
        (failed, _) => panic!("{case}\n{failed:?}"),
    }
}

#[test]
fn values_and_series() {
    check("eval instant at 1m a\n  a{x=\"1\"} 2\n  a{x=\"2\"} 20", "");
    check("eval instant at 1m a\na{x=\"1\"} 2\na{x=\"2\"} 20", "");
    check("eval instant at 1m a\n  a{x=\"1\"} 2\n  a{x=\"2\"} 21", "expected 21");
    check("eval instant at 1m a\n  a{x=\"1\"} 2", "unexpected");
    check("eval instant at 1m a\n  a{x=\"1\"} 2\n  a{x=\"2\"} 20\n  b 1", "missing");
    check("eval instant at 1m a\n", "unexpected");
    check("eval instant at 1m 1 + 1\n  2", "");
    check("eval instant at 1m 1 + 1\n  3", "expected Some(3");
    check("eval instant at 1m \"x\"\n  expect string \"x\"", "");
    check("eval instant at 1m \"x\"\n  expect string \"y\"", "expected Some(\"y\")");
    check("eval range from 0 to 2m step 1m a{x=\"1\"} > 1\n  a{x=\"1\"} _ 2 3", "");
    check("eval range from 0 to 2m step 1m a{x=\"1\"} > 1\n  a{x=\"1\"} 1 2 3", "expected");
    check("eval range from 0 to 2m step 1m a{x=\"1\"}\n  a{x=\"1\"} 1 2", "expected");
    check("eval instant at 2m a{x=\"1\"}[2m]\n  expect range vector from 1m to 2m step 1m\n  a{x=\"1\"} 2 3", "");
    check(
        "eval instant at 2m a{x=\"1\"}[2m]\n  expect range vector from 0 to 1m step 1m\n  a{x=\"1\"} 2 3",
        "expected",
    );
    check("eval instant at 2m a{x=\"1\"}[2m]\n  a{x=\"1\"} 2 3", "yielded a range vector");
}

#[test]
fn order_failure_and_annotations() {
    check("eval_ordered instant at 0 sort_desc(a)\n  a{x=\"2\"} 10\n  a{x=\"1\"} 1", "");
    check("eval_ordered instant at 0 sort_desc(a)\n  a{x=\"1\"} 1\n  a{x=\"2\"} 10", "missing");
    check("eval_fail instant at 0 a + on() a", "");
    check("eval_fail instant at 0 a + a", "did not fail");
    check("eval_fail instant at 0 a + on() a\n  expected_fail_message x", "expected Exactly");
    check("eval_fail instant at 0 a + on() a\n  expected_fail_regexp duplicate", "");
    check("eval instant at 0 a + on() a\n  expect fail msg: x", "expected Exactly");
    check("eval instant at 0 a + on() a", "failed: ");
    check("eval instant at 1m rate(a{x=\"1\"}[2m])\n  {x=\"1\"} 0.016666666666666666", "unexpected info");
    check("eval_info instant at 1m rate(a{x=\"1\"}[2m])\n  {x=\"1\"} 0.016666666666666666", "");
    check("eval_warn instant at 1m a{x=\"1\"}\n  a{x=\"1\"} 2", "no warning");
    check("eval instant at 1m a{x=\"1\"}\n  expect info msg: y\n  a{x=\"1\"} 2", "no info");
    check("eval instant at 1m quantile(2, a{x=\"1\"})\n  expect warn msg: y\n  {} Inf", "no warning like");
    check("eval instant at 1m quantile(2, a{x=\"1\"})\n  expect no_warn\n  {} Inf", "unexpected warning");
}

const NATIVE: &str = "load 1m\n  h {{schema:0 count:3 sum:4 buckets:[1 2]}}+{{count:1 buckets:[0 1]}}x2 stale\n  c{x=\"1\"} {{schema:-53 count:2 sum:1 custom_values:[1 2] buckets:[0 2] counter_reset_hint:gauge}}x9\n";

/// Runs one case over histograms; `reason` is a part of why it must fail, empty if it must pass.
#[track_caller]
fn check_native(case: &str, reason: &str) {
    let report = run_text(&format!("{NATIVE}\n{case}\n")).expect("a well-formed script");
    match (report.failed.as_slice(), reason) {
        ([], "") => assert_eq!(report.passed, 1, "{case}"),
        ([failure], reason) if !reason.is_empty() => {
            assert!(failure.reason.contains(reason), "{case}\n{}", failure.reason);
        }
        (failed, _) => panic!("{case}\n{failed:?}"),
    }
}

#[test]
fn native_histograms() {
    check_native("eval instant at 0 h\n  h {{count:3 sum:4 buckets:[1 2]}}", "");
    check_native("eval instant at 90s h\n  h {{count:4 sum:4 buckets:[1 3]}}", "");
    check_native(
        "eval instant at 90s h\n  h {{count:4 sum:4 buckets:[1 2]}}",
        "expected {{schema:0 count:4 sum:4 offset:0 buckets:[1 2]}}",
    );
    check_native("eval instant at 0 h\n  h 3", "expected 3");
    check_native("eval instant at 0 h", "is unexpected");
    check_native("eval instant at 3m h", "");
    check_native(
        "eval range from 0 to 3m step 1m h\n  h {{count:3 sum:4 buckets:[1 2]}}+{{count:1 buckets:[0 1]}}x2 _",
        "",
    );
    check_native(
        "eval range from 0 to 3m step 1m h\n  h {{count:3 sum:4 buckets:[1 2]}}+{{count:1 buckets:[0 1]}}x3",
        "expected",
    );
    check_native(
        "eval instant at 0 c\n  c{x=\"1\"} {{schema:-53 count:2 sum:1 custom_values:[1 2] offset:1 buckets:[2]}}",
        "",
    );
    check_native(
        "eval instant at 0 c\n  c{x=\"1\"} {{schema:-53 count:2 sum:1 custom_values:[1 2] offset:1 buckets:[2] counter_reset_hint:reset}}",
        "counter_reset_hint:gauge",
    );
    check_native(
        "eval instant at 2m h[2m]\n  expect range vector from 1m to 2m step 1m\n  h {{count:4 sum:4 buckets:[1 3]}} {{count:5 sum:4 buckets:[1 4]}}",
        "",
    );
}

/// Classic histograms become native ones beside themselves.
#[test]
fn native_histograms_are_made_of_classic_ones() {
    let lines = "load_with_nhcb 1m\n  x_bucket{le=\"1\"} 1 2 stale\n  x_bucket{le=\"0.5\"} 1 1 stale\n  x_bucket{le=\"bad\"} 7\n  x_count 4 5 stale\n  x_sum 3 4 stale\n  y_bucket{le=\"+Inf\"} 2\n  z_sum 1\n  x 1";
    let cases = "eval range from 0 to 2m step 1m x\n  x {{schema:-53 count:4 sum:3 custom_values:[0.5 1] buckets:[1 0 3]}} {{schema:-53 count:5 sum:4 custom_values:[0.5 1] buckets:[1 1 3]}} _\neval instant at 0 y\n  y {{schema:-53 count:2 buckets:[2]}}\neval instant at 0 z\neval instant at 0 z_sum\n  z_sum 1\n";
    let report = run_text(&format!("{}\n{cases}", lines.replace("\n  x 1", ""))).expect("a well-formed script");
    assert_eq!((report.passed, report.failed), (4, Vec::new()));
    for broken in ["x_bucket{le=\"1\"} 2\n  x_bucket{le=\"2\"} 1", "x_bucket{le=\"+Inf\"} 2\n  x_count 3"] {
        assert!(run_text(&format!("load_with_nhcb 1m\n  {broken}\n")).is_err(), "{broken}");
    }
}

/// Lines of start times speak of the series below them.
#[test]
fn start_times() {
    let report = run_text(
        "load 1m\n  @st -30s _\n  a{x=\"1\"} 1 2 3\n  a{x=\"2\"}@st _ -1m+10sx1\n  a{x=\"2\"} 1 2 3\n  a{x=\"3\"}@st _x3\n  a{x=\"3\"} 1 2 3\n\n\
         eval range from 0 to 2m step 1m start_timestamp(a)\n  {x=\"1\"} -30 0 90\n  {x=\"2\"} 0 0 70\n  {x=\"3\"} 0 0 0\n",
    )
    .expect("a well-formed script");
    assert_eq!((report.passed, report.failed), (1, Vec::new()));
}

#[test]
fn annotations_that_nobody_speaks_of() {
    let text = format!("{DATA}\neval instant at 1m rate(a{{x=\"1\"}}[2m])\n  {{x=\"1\"}} 0.016666666666666666\n");
    let mut open = || Ok(Box::new(Plain::new(MemoryStore::new())) as Box<dyn Store>);
    let mut failed = |text: &str, unsaid| run(text, unsaid, &mut open).expect("a well-formed script").failed.len();
    assert_eq!(failed(&text, Unsaid::Refused), 1);
    assert_eq!(failed(&text, Unsaid::Allowed), 0);
    assert_eq!(failed(&format!("{text}  expect no_info\n"), Unsaid::Allowed), 1);
    assert_eq!(failed(&format!("{text}  expect info regex:might\n"), Unsaid::Allowed), 0);
    assert_eq!(failed(&format!("{text}  expect info msg:nothing\n"), Unsaid::Allowed), 1);
}

#[test]
fn broken_scripts_name_the_line() {
    for (text, line) in [
        ("loaf 1m", 1),
        ("\nload x\n  a 1", 2),
        ("load 1m\n  a 1 two", 2),
        ("load 1m\n  a{x=1} 1", 2),
        ("eval instant 5 a", 1),
        ("# fine\neval range from 0 to 5 a", 2),
        ("eval instant at 0 a\n  expect nothing", 2),
        ("eval instant at 0 a\n  expect fail like: x", 2),
        ("load 1m\n  a 0x999999\n  b 0x999999", 1),
        ("load 1m\n  a {{sum:x}}", 2),
        ("load 1m\n  a@st 1m\n  b 1", 2),
        ("load 1m\n  a@st 1m\n  a 1 2", 2),
        ("load 1m\n  a 1\n  a@st 1m", 3),
    ] {
        assert_eq!(run_text(text).expect_err(text).line, line, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_runner(text in "(load 1m|eval instant at 0 |eval range from 0 to 9 step 3 |clear|\n|  |a|\\{x=\"1\"\\}|\\{\\{|\\}\\}| |1|\\+|x|9|_|expect |fail|msg:|-|é|\"|@|\\[1m\\]|sum\\(|\\)){0,40}") {
        let _ = run_text(&text);
    }
}
