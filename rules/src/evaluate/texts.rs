//! Labels and annotations of alerts: templates filled with what an evaluation found.

use std::collections::BTreeMap;

use model::{Labels, LabelsBuilder, METRIC_NAME, SampleValue};

use super::{Settings, World};
use crate::file::{Alerting, Case, Params, Rule};
use crate::functions::{Ask, RuleFunctions, VectorSample};
use crate::posted::ALERT_LABELS_BYTES_MAX;
use crate::template::{Limits, Value};

/// The label that names an alert.
pub(super) const ALERT_NAME: &str = "alertname";
/// Most bytes of the lengths of a packed name and value.
const LENGTHS_BYTES_MAX: usize = 8;
/// What filling one text may take.
const LIMITS: Limits = Limits { bytes_max: 64 << 10, steps_max: 200_000, depth_max: 32 };

/// Fills the texts of one rule at one moment.
pub(super) struct Texts<'a> {
    rule: &'a Rule,
    alerting: &'a Alerting,
    settings: &'a Settings,
    asker: Asker<'a>,
    /// Whether anything is to be filled in at all.
    has_templates: bool,
    external_labels: Value,
    /// What they add to the labels of an alert at most.
    external_bytes: usize,
    /// The first template that could not be filled.
    pub(super) fault: Option<String>,
}

/// Answers the queries of templates.
struct Asker<'a> {
    world: &'a dyn World,
    at_ms: i64,
}

impl Ask for Asker<'_> {
    fn ask(&self, text: &str) -> Result<Vec<VectorSample>, String> {
        let expr = query::parse(text).map_err(|error| error.to_string())?;
        let elements = self.world.vector(text, &expr, self.at_ms)?;
        let sample = |element: query::VectorElement| VectorSample {
            labels: element.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            value: number(&element.value),
        };
        Ok(elements.into_iter().map(sample).collect())
    }
}

/// A sample as a number; a histogram has none.
pub(super) fn number(value: &SampleValue) -> f64 {
    match value {
        SampleValue::Float(value) => *value,
        SampleValue::Histogram(_) => 0.0,
    }
}

/// Whether there is anything to fill in.
fn is_template(text: &str) -> bool {
    text.contains("{{")
}

impl<'a> Texts<'a> {
    pub(super) fn new(
        rule: &'a Rule,
        alerting: &'a Alerting,
        settings: &'a Settings,
        world: &'a dyn World,
        at_ms: i64,
    ) -> Self {
        let has_templates = rule.labels.values().chain(alerting.annotations.values()).any(|text| is_template(text));
        let external = settings.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Self {
            rule,
            alerting,
            settings,
            asker: Asker { world, at_ms },
            has_templates,
            external_bytes: settings
                .external_labels
                .iter()
                .map(|(name, value)| name.len() + value.len() + LENGTHS_BYTES_MAX)
                .sum(),
            external_labels: if has_templates { Value::texts(external) } else { Value::default() },
            fault: None,
        }
    }

    /// Labels and annotations of the alert about `source`.
    pub(super) fn of(
        &mut self,
        source: &Labels,
        value: f64,
        case: Option<&Case>,
    ) -> Result<(Labels, BTreeMap<String, String>), String> {
        let filled = self.filled(source, value, case);
        let labels = self.labels(source, case, filled.as_ref())?;
        let alerting = self.alerting;
        let annotation =
            |(name, text): (&String, &String)| (name.clone(), self.fill("annotation", name, text, filled.as_ref()));
        Ok((labels, alerting.annotations.iter().map(annotation).collect()))
    }

    /// The labels alone of the alert about `source`.
    pub(super) fn labels_of(&mut self, source: &Labels, value: f64, case: Option<&Case>) -> Result<Labels, String> {
        let filled = self.filled(source, value, case);
        self.labels(source, case, filled.as_ref())
    }

    fn filled(&self, source: &Labels, value: f64, case: Option<&Case>) -> Option<Filled> {
        let none = Params::new();
        self.has_templates.then(|| Filled::new(self, source, value, case.map_or(&none, |case| &case.params)))
    }

    fn labels(&mut self, source: &Labels, case: Option<&Case>, filled: Option<&Filled>) -> Result<Labels, String> {
        let none = BTreeMap::new();
        let other = case.map_or(&none, |case| &case.labels);
        let mut builder = LabelsBuilder::new();
        for (name, value) in source {
            let is_set = name == ALERT_NAME || self.rule.labels.contains_key(name) || other.contains_key(name);
            if name != METRIC_NAME && !is_set {
                builder.push(name, value);
            }
        }
        let rule = self.rule;
        let is_own = |name: &String| name != ALERT_NAME && !other.contains_key(name);
        for (name, text) in rule.labels.iter().filter(|(name, _)| is_own(name)) {
            let value = self.fill("label", name, text, filled);
            builder.push(name, &value);
        }
        for (name, text) in other.iter().filter(|(name, _)| *name != ALERT_NAME) {
            builder.push(name, text);
        }
        builder.push(ALERT_NAME, &self.rule.name);
        let labels = builder.build().map_err(|error| error.to_string())?;
        let (found, outside) = (labels.packed().len(), self.external_bytes);
        if found + outside > ALERT_LABELS_BYTES_MAX {
            let limit = format!("{ALERT_LABELS_BYTES_MAX} are allowed, of which external labels take {outside}");
            return Err(format!("an alert has labels of {found} bytes; {limit}"));
        }
        Ok(labels)
    }

    /// The labels of an alert `name` that speaks of the rule as a whole: those of the rule that are no templates, and which rule it is.
    pub(super) fn of_rule(&self, name: &str) -> Result<Labels, String> {
        let mut builder = LabelsBuilder::new();
        for (label, text) in self.rule.labels.iter().filter(|(_, text)| !is_template(text)) {
            builder.push(label, text);
        }
        if name != self.rule.name {
            builder.set("rule", &self.rule.name);
        }
        builder.set(ALERT_NAME, name);
        builder.build().map_err(|error| error.to_string())
    }

    fn fill(&mut self, what: &str, name: &str, text: &str, filled: Option<&Filled>) -> String {
        let Some(filled) = filled.filter(|_| is_template(text)) else { return text.to_owned() };
        #[expect(clippy::cast_precision_loss, reason = "templates compute with floating-point numbers")]
        let now_seconds = self.asker.at_ms as f64 / 1000.0;
        let functions =
            RuleFunctions { ask: Some(&self.asker), now_seconds, external_url: &self.settings.external_url };
        let key = format!("{what}:{name}");
        let done = self.alerting.templates.fill(&key, &filled.dot, &filled.variables, &functions, LIMITS);
        done.unwrap_or_else(|fault| {
            let told = format!("<error expanding template: {fault}>");
            self.fault.get_or_insert_with(|| fault.to_string());
            told
        })
    }
}

/// What templates are filled with.
struct Filled {
    dot: Value,
    variables: [(&'static str, Value); 5],
}

impl Filled {
    fn new(texts: &Texts<'_>, source: &Labels, value: f64, params: &Params) -> Self {
        let labels = Value::texts(source.iter());
        let url = Value::from(texts.settings.external_url.as_str());
        let external = texts.external_labels.clone();
        let params = Value::map(params.iter().map(|(name, text)| {
            let value = text.parse::<f64>().map_or_else(|_| Value::from(text.as_str()), Value::Float);
            (name.as_str(), value)
        }));
        let dot = Value::map([
            ("Labels", labels.clone()),
            ("ExternalLabels", external.clone()),
            ("ExternalURL", url.clone()),
            ("Value", Value::Float(value)),
        ]);
        let variables = [
            ("labels", labels),
            ("externalLabels", external),
            ("externalURL", url),
            ("value", Value::Float(value)),
            ("params", params),
        ];
        Self { dot, variables }
    }
}
