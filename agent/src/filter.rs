//! What is left out: processes and metrics by pattern, series of a target beyond a limit.

use std::collections::HashMap;

use model::{LabelsRef, METRIC_NAME};

/// Before a pattern for a command line.
const CMDLINE: &str = "cmdline:";

/// A text with `*` for any characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern `text`.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether all of `text` is so. Takes time in proportion to the product of both lengths at most.
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.as_str(), text);
        // What was left of both behind the last star, to which a mismatch goes back with one character less.
        let mut star: Option<(&str, &str)> = None;
        loop {
            let mut after_pattern = pattern.chars();
            let mut after_rest = rest.chars();
            match (after_pattern.next(), after_rest.next()) {
                (Some('*'), _) => {
                    pattern = after_pattern.as_str();
                    star = Some((pattern, rest));
                }
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    (pattern, rest) = (after_pattern.as_str(), after_rest.as_str());
                }
                (None, None) => return true,
                _ => {
                    let Some((behind, from)) = star else { return false };
                    let mut shorter = from.chars();
                    if shorter.next().is_none() {
                        return false;
                    }
                    star = Some((behind, shorter.as_str()));
                    (pattern, rest) = (behind, shorter.as_str());
                }
            }
        }
    }
}

/// Processes by the name of their executable, or by their command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessFilter {
    names: Vec<Glob>,
    command_lines: Vec<Glob>,
}

impl ProcessFilter {
    /// Those that any of `patterns` matches.
    pub fn new(patterns: &[String]) -> Self {
        let (of_lines, of_names): (Vec<_>, Vec<_>) = patterns.iter().partition(|text| text.starts_with(CMDLINE));
        Self {
            names: of_names.into_iter().map(|text| Glob::new(text)).collect(),
            command_lines: of_lines
                .into_iter()
                .map(|text| Glob::new(text.trim_start_matches(CMDLINE).trim()))
                .collect(),
        }
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.command_lines.is_empty()
    }

    /// Whether the process is among them; its command line is asked for where that decides.
    pub fn has(&self, name: &str, command_line: impl FnOnce() -> String) -> bool {
        if self.names.iter().any(|glob| glob.matches(name)) {
            return true;
        }
        if self.command_lines.is_empty() {
            return false;
        }
        let line = command_line();
        self.command_lines.iter().any(|glob| glob.matches(&line))
    }
}

/// Which series go out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricFilter {
    drop: Vec<Glob>,
    keep: Vec<Glob>,
    /// 0: no limit.
    series_per_target_max: usize,
}

impl MetricFilter {
    /// Leaves out metrics that `drop` names and `keep` does not, and series of a target beyond `series_per_target_max`.
    pub fn new(drop: &[String], keep: &[String], series_per_target_max: usize) -> Self {
        let globs = |texts: &[String]| texts.iter().map(|text| Glob::new(text)).collect();
        Self { drop: globs(drop), keep: globs(keep), series_per_target_max }
    }

    /// Whether the metric `name` goes out.
    pub fn keeps(&self, name: &str) -> bool {
        let among = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        !among(&self.drop) || among(&self.keep)
    }

    /// Decides over the series of one round or push.
    pub fn sieve(&self) -> Sieve<'_> {
        Sieve { filter: self, known: HashMap::new(), targets: HashMap::new(), last: None, beyond: 0 }
    }
}

/// A filter at work on one round.
#[derive(Debug)]
pub struct Sieve<'f> {
    filter: &'f MetricFilter,
    known: HashMap<String, bool>,
    /// Series of each target so far, by `job` and `instance`.
    targets: HashMap<(String, String), usize>,
    last: Option<((String, String), usize)>,
    beyond: u64,
}

impl Sieve<'_> {
    /// Whether a series goes out. Stale markers do, whatever the limit, so that no series lingers.
    pub fn passes(&mut self, labels: LabelsRef<'_>, is_stale_marker: bool) -> bool {
        if !self.filter.drop.is_empty() {
            let name = labels.get(METRIC_NAME).unwrap_or_default();
            let known = self.known.get(name).copied();
            let kept = known.unwrap_or_else(|| self.filter.keeps(name));
            if known.is_none() {
                self.known.insert(name.to_owned(), kept);
            }
            if !kept {
                return false;
            }
        }
        let most = self.filter.series_per_target_max;
        if most == 0 || is_stale_marker {
            return true;
        }
        let target = (labels.get("job").unwrap_or_default(), labels.get("instance").unwrap_or_default());
        let same = self.last.as_ref().is_some_and(|((job, instance), _)| (job.as_str(), instance.as_str()) == target);
        if !same {
            // Targets come one after the other; what was counted of the last is put by.
            let target = (target.0.to_owned(), target.1.to_owned());
            if let Some((last, count)) = self.last.take() {
                self.targets.insert(last, count);
            }
            let count = self.targets.get(&target).copied().unwrap_or(0);
            self.last = Some((target, count));
        }
        let Some((_, count)) = &mut self.last else { return true };
        *count += 1;
        let passes = *count <= most;
        self.beyond += u64::from(!passes);
        passes
    }

    /// Series that were left out for the limit.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;
    use proptest::prelude::*;

    use super::*;

    /// The same by trying everything.
    fn model(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) if model(rest, text) => true,
            (Some(('*', _)), Some((_, text))) => model(pattern, text),
            (Some((wanted, pattern)), Some((found, text))) => {
                (*wanted == '?' || wanted == found) && model(pattern, text)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_are_as_the_model(pattern in "[ab?*]{0,8}", text in "[abé]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&pattern).matches(&text), model(&chars(&pattern), &chars(&text)));
        }
    }

    #[test]
    fn stars_do_not_multiply() {
        let pattern = "*a".repeat(200);
        assert!(!Glob::new(&format!("{pattern}b")).matches(&"a".repeat(20_000)));
    }

    #[test]
    fn processes_by_name_and_command_line() {
        let filter = ProcessFilter::new(&["api-*".to_owned(), "cmdline:* --role worker*".to_owned()]);
        let has = |name: &str, line: &str| filter.has(name, || line.to_owned());
        assert!(has("api-users", "") && !has("api", "") && has("app", "/bin/app --role worker -v"));
        assert!(!has("app", "/bin/app --role web") && !filter.is_empty());
        let plain = ProcessFilter::new(&["api".to_owned()]);
        assert!(plain.has("api", || unreachable!("the name decides")));
        assert!(!plain.has("apis", || unreachable!("no pattern asks for it")));
        assert!(ProcessFilter::default().is_empty());
    }

    #[test]
    fn series_by_metric_and_target() {
        let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = MetricFilter::new(&text(&["go_*", "x?"]), &text(&["go_goroutines"]), 2);
        let mut sieve = filter.sieve();
        let mut passes = |name: &str, job: &str, stale| {
            let labels = Labels::from_pairs([(METRIC_NAME, name), ("job", job)]).expect("labels");
            sieve.passes(labels.as_ref(), stale)
        };
        assert!(!passes("go_threads", "a", false) && !passes("x1", "a", false));
        assert!(passes("go_goroutines", "a", false) && passes("x", "a", false));
        assert!(
            !passes("y", "a", false) && passes("y", "b", false) && !passes("z", "a", false),
            "the limit is by target"
        );
        assert!(passes("z", "a", true), "markers always");
        assert_eq!(sieve.beyond(), 2);
        assert!(MetricFilter::default().keeps("go_threads"));
    }
}
