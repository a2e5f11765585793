//! The script runner tells a wrong answer from a right one, and a broken script from both.

use proptest::prelude::*;
use query::script::{Plain, Report, ScriptError, Store, run};
use storage::memory::MemoryStore;

const DATA: &str = "load 1m\n  a{x=\"1\"} 1 2 3\n  a{x=\"2\"} 10 20 30\n";

fn run_text(text: &str) -> Result<Report, ScriptError> {
    run(text, &mut || Ok(Box::new(Plain::new(MemoryStore::new())) as Box<dyn Store>))
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

#[test]
fn native_histograms_are_skipped_with_the_reason() {
    let report = run_text(
        "load 1m\n  h {{schema:0 sum:1}} 5\n  plain 1\neval instant at 0 plain\n  plain 1\neval instant at 0 {__name__=~\"h|plain\"}\n  plain 1\n\
         eval instant at 0 plain\n  plain {{sum:1}}\nclear\nload_with_nhcb 1m\n  x_bucket{le=\"1\"} 1\neval instant at 0 x\n",
    )
    .expect("a well-formed script");
    let reasons: Vec<&str> = report.skipped.iter().map(|case| case.reason.as_str()).collect();
    assert_eq!(reasons, ["selects native histograms: h", "expects native histograms", "selects native histograms: x"]);
    assert_eq!((report.passed, report.failed.len()), (1, 0));
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
