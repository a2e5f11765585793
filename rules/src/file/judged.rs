//! Which override of a rule is for a series, and why the others are not.

use model::LabelsRef;
use serde::Serialize;

use super::Rule;
use super::params::{Case, Level, specificity};

/// What an override is for a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its numbers hold.
    Chosen,
    /// It matches, another one is more specific.
    LessSpecific,
    /// It does not match.
    NoMatch,
}

impl Rule {
    /// What each of its cases is for a series with `labels`, in their order, and why.
    pub fn judged(&self, labels: LabelsRef<'_>) -> Vec<(Verdict, String)> {
        let chosen = self.case_of(labels);
        let judge = |(number, case): (usize, &Case)| match self.cases.get(chosen) {
            _ if number == chosen => (Verdict::Chosen, String::new()),
            Some(other) if case.matches(labels) => (Verdict::LessSpecific, less_specific(case, other)),
            _ => (Verdict::NoMatch, mismatch(case, labels)),
        };
        self.cases.iter().enumerate().map(judge).collect()
    }
}

/// Why `chosen` goes before `case`.
fn less_specific(case: &Case, chosen: &Case) -> String {
    let ((equal, all), (chosen_equal, chosen_all)) = (specificity(&case.matchers), specificity(&chosen.matchers));
    let said = |level: Level| match level {
        Level::File => "for the file",
        Level::Group => "for the group",
        Level::Rule => "in the rule",
    };
    if case.matchers.is_empty() {
        "an override matches".to_owned()
    } else if equal < chosen_equal {
        format!("fewer matchers with =: {equal}, the chosen one has {chosen_equal}")
    } else if all < chosen_all {
        format!("fewer matchers: {all}, the chosen one has {chosen_all}")
    } else if case.level < chosen.level {
        format!("as specific, but it is said {}, the chosen one {}", said(case.level), said(chosen.level))
    } else {
        "as specific, but the chosen one stands behind it".to_owned()
    }
}

/// The first label that `case` does not match.
fn mismatch(case: &Case, labels: LabelsRef<'_>) -> String {
    let value = |name: &str| labels.get(name).unwrap_or_default();
    let wrong = case.matchers.iter().find(|matcher| !matcher.matches(value(matcher.name())));
    wrong.map_or_else(String::new, |matcher| match labels.get(matcher.name()) {
        Some(value) => format!("{} is {value:?}", matcher.name()),
        None => format!("there is no label {}", matcher.name()),
    })
}

#[cfg(test)]
mod tests {
    use model::Labels;

    #[test]
    fn overrides_say_why() {
        let text = r#"
overrides:
- {match: '{env="prod"}', params: {limit: 2}}
groups:
- name: g
  overrides:
  - {match: '{env="prod"}', params: {limit: 3}}
  rules:
  - alert: A
    expr: x > $limit
    params: {limit: 1}
    overrides:
    - {match: '{env="prod"}', params: {limit: 4}}
    - {match: '{env="prod"}', params: {limit: 5}}
    - {match: '{env="prod", job=~"a.*"}', params: {limit: 6}}
    - {match: '{env="prod", job="api"}', params: {limit: 7}}
"#;
        let file = crate::file::read("r.yml", text).expect("rules");
        let rule = &file.groups[0].rules[0];
        let told = |labels: &[(&str, &str)]| -> Vec<String> {
            let labels = Labels::from_pairs(labels.iter().copied()).expect("labels");
            let judged = rule.judged(labels.as_ref());
            let told = rule.cases.iter().zip(judged);
            told.map(|(case, (verdict, why))| format!("{}:{} {verdict:?} {why}", case.line, case.params["limit"]))
                .collect()
        };
        assert_eq!(
            told(&[("env", "prod"), ("job", "api")]),
            [
                "16:7 Chosen ",
                "15:6 LessSpecific fewer matchers with =: 1, the chosen one has 2",
                "14:5 LessSpecific fewer matchers with =: 1, the chosen one has 2",
                "13:4 LessSpecific fewer matchers with =: 1, the chosen one has 2",
                "7:3 LessSpecific fewer matchers with =: 1, the chosen one has 2",
                "3:2 LessSpecific fewer matchers with =: 1, the chosen one has 2",
                "9:1 LessSpecific an override matches",
            ]
        );
        assert_eq!(
            told(&[("env", "prod"), ("job", "db")])[..5],
            [
                "16:7 NoMatch job is \"db\"",
                "15:6 NoMatch job is \"db\"",
                "14:5 Chosen ",
                "13:4 LessSpecific as specific, but the chosen one stands behind it",
                "7:3 LessSpecific as specific, but it is said for the group, the chosen one in the rule",
            ]
        );
        assert_eq!(told(&[]).last().map(String::as_str), Some("9:1 Chosen "));
        assert_eq!(told(&[])[0], "16:7 NoMatch there is no label env");
    }
}
