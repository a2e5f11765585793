//! What a scenario is, what is told in it, and when two programs told the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A script.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// A rule file.
    pub(crate) rules: &'static str,
    /// A file of Alertmanager, as [`filled`] takes it.
    pub(crate) routes: &'static str,
    /// What happens when, in seconds.
    pub(crate) steps: Vec<(u32, Step)>,
    /// How long it takes.
    pub(crate) seconds: u32,
    /// Where MetricKit tells the same at other times, by decision.
    pub(crate) decided: &'static [Decided],
}

/// Why a group is told at other times, and at which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) why: &'static str,
    /// The path and the group.
    pub(crate) group: (&'static str, &'static str),
    /// Its times, in seconds, in order.
    pub(crate) at_s: &'static [f64],
}

/// The second of a minute in which a scenario begins whose routes name minutes.
pub(crate) const BEGIN_S: i64 = 20;
/// How many minutes after the one it begins in routes may name.
const MINUTES_MAX: i64 = 2;

/// A file of routes in which `SINK` stands for the address of the receivers (`SINK/NAME`), and `MINUTE1` and `MINUTE2` for the first minutes
/// that begin after `start_ms`: 40 and 100 seconds later.
pub(crate) fn filled(routes: &str, sink: &str, start_ms: i64) -> String {
    let minute = |ahead: i64| {
        let of_day = (start_ms.div_euclid(60_000) + ahead).rem_euclid(24 * 60);
        format!("{:02}:{:02}", of_day / 60, of_day % 60)
    };
    let text = routes.replace("SINK", sink);
    (1..=MINUTES_MAX).fold(text, |text, ahead| text.replace(&format!("MINUTE{ahead}"), &minute(ahead)))
}

impl Scenario {
    /// Whether it begins in a certain second of a minute.
    pub(crate) fn names_minutes(&self) -> bool {
        self.routes.contains("MINUTE")
    }

    /// When a run may begin, at `from_ms` or after it: where routes name minutes, in a certain second of one, and not around midnight.
    pub(crate) fn begins_ms(&self, from_ms: i64) -> i64 {
        if !self.names_minutes() {
            return from_ms;
        }
        let mut begins_ms = from_ms.div_euclid(60_000) * 60_000 + BEGIN_S * 1000;
        while begins_ms < from_ms || begins_ms.div_euclid(60_000).rem_euclid(24 * 60) >= 24 * 60 - MINUTES_MAX {
            begins_ms += 60_000;
        }
        begins_ms
    }

    /// What MetricKit is to tell where the pair told `recorded`.
    pub(crate) fn as_decided(&self, mut recorded: Vec<Told>) -> Vec<Told> {
        for Decided { group, at_s, .. } in self.decided {
            let of_group = recorded.iter_mut().filter(|one| (one.path.as_str(), one.group.as_str()) == *group);
            of_group.zip(*at_s).for_each(|(one, at_s)| one.at_s = *at_s);
        }
        recorded
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A series, such as `trouble{host="a"}`, has this value from now on.
    Set(&'static str, f64),
    /// A series ends.
    End(&'static str),
    /// Somebody silences alerts with these labels; the first word is what it is called here.
    Silence(&'static str, &'static [(&'static str, &'static str)]),
    /// Somebody ends a silence.
    Unsilence(&'static str),
    /// The rule file is another one, and is read anew.
    Rules(&'static str),
    /// The file of routes is another one, and is read anew.
    Routes(&'static str),
}

/// What a receiver was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// When, in seconds.
    pub(crate) at_s: f64,
    /// The path of the address it was sent to.
    pub(crate) path: String,
    /// Who.
    pub(crate) receiver: String,
    /// The group, as webhooks call it.
    pub(crate) group: String,
    /// `firing` or `resolved`.
    pub(crate) status: String,
    pub(crate) group_labels: BTreeMap<String, String>,
    pub(crate) common_labels: BTreeMap<String, String>,
    pub(crate) common_annotations: BTreeMap<String, String>,
    /// How many alerts more there are than are told.
    pub(crate) truncated: u64,
    /// By labels.
    pub(crate) alerts: Vec<ToldAlert>,
}

/// An alert as a receiver was told it.
#[derive(Debug, Clone, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) struct ToldAlert {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) status: String,
    /// When it began, in seconds.
    pub(crate) starts_s: f64,
    /// When it ended, in seconds.
    pub(crate) ends_s: Option<f64>,
}

/// How far apart the same thing may be, in seconds: the programs of the pair look at the world once a second each, one after the other.
const TOLERANCE_S: f64 = 3.5;

/// The body of a webhook.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    version: String,
    group_key: String,
    status: String,
    receiver: String,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    truncated_alerts: u64,
    alerts: Vec<BodyAlert>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert {
    status: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    fingerprint: String,
}

impl Told {
    /// What the body of a webhook to `path` says, of a run that began at `start_ms` and gets it at `now_ms`.
    pub(crate) fn of_webhook(path: &str, body: &[u8], start_ms: i64, now_ms: i64) -> Self {
        let body: Body =
            serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(body)));
        let Body { version, group_key, status, receiver, .. } = body;
        let Body { group_labels, common_labels, common_annotations, truncated_alerts, alerts, .. } = body;
        assert_eq!(version, "4");
        let seconds = |ms: i64| f64::from(i32::try_from((ms - start_ms) / 100).unwrap_or(i32::MAX)) / 10.0;
        let mut alerts: Vec<ToldAlert> = alerts
            .into_iter()
            .map(|alert| {
                assert_eq!(alert.fingerprint.len(), 16, "{}", alert.fingerprint);
                // The year 1 stands for an end that is not known.
                let time_ms = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
                let is_over = alert.status == "resolved" && !alert.ends_at.starts_with("0001-");
                ToldAlert {
                    labels: alert.labels,
                    annotations: alert.annotations,
                    ends_s: is_over.then(|| seconds(time_ms(&alert.ends_at))),
                    status: alert.status,
                    starts_s: seconds(time_ms(&alert.starts_at)),
                }
            })
            .collect();
        alerts.sort_by(|one, other| one.labels.cmp(&other.labels));
        Self {
            at_s: seconds(now_ms),
            path: path.to_owned(),
            receiver,
            group: group_key,
            status,
            group_labels,
            common_labels,
            common_annotations,
            truncated: truncated_alerts,
            alerts,
        }
    }

    fn line(&self) -> String {
        let labels = |labels: &BTreeMap<String, String>| {
            labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
        };
        let alert = |alert: &ToldAlert| {
            let end = alert.ends_s.map_or(String::new(), |end| format!("..{end}"));
            format!(
                "{}[{}|{}]@{}{end}",
                alert.status,
                labels(&alert.labels),
                labels(&alert.annotations),
                alert.starts_s
            )
        };
        let alerts: Vec<String> = self.alerts.iter().map(alert).collect();
        format!("{}s {} {} {}", self.at_s, self.group, self.status, alerts.join(" "))
    }

    /// Whether both say the same at about the same time.
    fn is_like(&self, other: &Self) -> bool {
        let same_alert = |(one, other): (&ToldAlert, &ToldAlert)| {
            one.labels == other.labels
                && one.annotations == other.annotations
                && one.status == other.status
                && near(one.starts_s, other.starts_s)
                && match (one.ends_s, other.ends_s) {
                    (Some(one), Some(other)) => near(one, other),
                    (one, other) => one == other,
                }
        };
        (&self.path, &self.receiver) == (&other.path, &other.receiver)
            && (&self.group, &self.status, self.truncated) == (&other.group, &other.status, other.truncated)
            && (&self.group_labels, &self.common_labels) == (&other.group_labels, &other.common_labels)
            && self.common_annotations == other.common_annotations
            && near(self.at_s, other.at_s)
            && self.alerts.len() == other.alerts.len()
            && self.alerts.iter().zip(&other.alerts).all(same_alert)
    }
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= TOLERANCE_S
}

/// How what was told differs from what was to be told: of each address and group the order counts.
pub(crate) fn differences(expected: &[Told], told: &[Told]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str), [Vec<&Told>; 2]> = BTreeMap::new();
    for (side, all) in [expected, told].into_iter().enumerate() {
        for one in all {
            groups.entry((&one.path, &one.group)).or_default()[side].push(one);
        }
    }
    let mut wrong = Vec::new();
    for ((path, group), [expected, told]) in groups {
        let is_same = expected.len() == told.len() && expected.iter().zip(&told).all(|(one, other)| one.is_like(other));
        if !is_same {
            let lines = |all: &[&Told]| {
                let lines: Vec<String> = all.iter().map(|one| format!("\n    {}", one.line())).collect();
                lines.concat()
            };
            wrong.push(format!("{path} {group}:\n  expected{}\n  told{}", lines(&expected), lines(&told)));
        }
    }
    wrong
}
