//! What an agent is asked to do once, and how it went.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NAME_BYTES_MAX;
use crate::CaptureKind;

/// Shortest time between two readings of a burst: 10 a second.
pub const BURST_INTERVAL_MS_MIN: u64 = 100;
/// Longest burst.
pub const BURST_SECONDS_MAX: u64 = 300;
/// Longest time between two readings of a burst.
const BURST_INTERVAL_MS_MAX: u64 = 60_000;

/// Something an agent is to do once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Ascends, also over restarts of the server; below 2^53.
    pub id: u64,
    /// Instant by the server's clock after which no agent is given it any more, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// What is to be done.
    pub kind: TaskKind,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TaskKind {
    /// Take a profile of a Go process, or its stacks, and send it up.
    Capture {
        /// Which process.
        process: ProcessName,
        /// The word of a [`CaptureKind`]; text, so that agents know that they do not know one.
        what: String,
        /// How long it is measured.
        seconds: u64,
    },
    /// Read a Go process more often than usual for a while.
    Burst {
        /// Which process.
        process: ProcessName,
        /// Time between two readings.
        interval_ms: u64,
        /// For how long.
        seconds: u64,
    },
    /// What a later release knows; it is declined.
    #[serde(other)]
    Unknown,
}

impl TaskKind {
    /// The process that it is about.
    pub fn process(&self) -> Option<&ProcessName> {
        match self {
            Self::Capture { process, .. } | Self::Burst { process, .. } => Some(process),
            Self::Unknown => None,
        }
    }

    /// Its name, as on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Capture { .. } => "capture",
            Self::Burst { .. } => "burst",
            Self::Unknown => "unknown",
        }
    }

    /// Longest time that it takes, waiting aside, in seconds.
    pub fn seconds(&self) -> u64 {
        match self {
            Self::Capture { seconds, .. } | Self::Burst { seconds, .. } => *seconds,
            Self::Unknown => 0,
        }
    }

    /// Checks its bounds.
    ///
    /// # Errors
    ///
    /// Which number passes which limit.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, number: u64, least: u64, most: u64| {
            if (least..=most).contains(&number) {
                return Ok(());
            }
            Err(format!("{name} is {number}; allowed are {least} to {most}"))
        };
        match self {
            Self::Capture { process, what, seconds } => {
                process.check()?;
                let Some(kind) = CaptureKind::named(what) else {
                    let known = CaptureKind::ALL.map(CaptureKind::text).join(", ");
                    return Err(format!("{what:?} is nothing to capture; known are {known}"));
                };
                let problem = kind.problem_with(u32::try_from(*seconds).unwrap_or(u32::MAX));
                problem.map_or(Ok(()), |problem| Err(format!("{kind} {problem}")))
            }
            Self::Burst { process, interval_ms, seconds } => {
                process.check()?;
                within("the interval in ms", *interval_ms, BURST_INTERVAL_MS_MIN, BURST_INTERVAL_MS_MAX)?;
                within("seconds", *seconds, 1, BURST_SECONDS_MAX)
            }
            Self::Unknown => Err("there is no such task".to_owned()),
        }
    }
}

/// A Go process, as its series are called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessName {
    /// Label `job`; empty: the only process with this instance.
    pub job: String,
    /// Label `instance`: `HOST/SLOT`.
    pub instance: String,
    /// Its process id; 0: whichever process has these labels now.
    pub pid: i32,
}

impl ProcessName {
    /// The process with these labels.
    pub fn new(job: &str, instance: &str) -> Self {
        Self { job: job.to_owned(), instance: instance.to_owned(), pid: 0 }
    }

    /// The agent that reads it: what stands before the last `/` of `instance`.
    pub fn agent(&self) -> &str {
        self.instance.rsplit_once('/').map_or(self.instance.as_str(), |(host, _)| host)
    }

    fn check(&self) -> Result<(), String> {
        if self.instance.is_empty() {
            return Err("instance is missing; write HOST/SLOT".to_owned());
        }
        let bytes = self.instance.len().max(self.job.len());
        if bytes > 2 * NAME_BYTES_MAX {
            return Err(format!("job or instance has {bytes} bytes, the limit is {}", 2 * NAME_BYTES_MAX));
        }
        Ok(())
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.job.as_str() {
            "" => f.write_str(&self.instance),
            job => write!(f, "{job} {}", self.instance),
        }
    }
}

/// How a task went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskOutcome {
    /// The task.
    pub id: u64,
    /// Why it was not done, or not to its end; none: it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl TaskOutcome {
    /// It was done.
    pub fn ok(id: u64) -> Self {
        Self { id, error: None }
    }

    /// What became of it.
    pub fn new(id: u64, result: Result<(), String>) -> Self {
        Self { id, error: result.err().map(|error| super::shortened(&error).to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_on_the_wire() {
        let process = ProcessName { pid: 4711, ..ProcessName::new("api", "web1/0") };
        let kinds = [
            TaskKind::Capture { process: process.clone(), what: "goroutineleak".to_owned(), seconds: 0 },
            TaskKind::Burst { process, interval_ms: 100, seconds: 30 },
        ];
        for kind in kinds {
            let task = Task { id: 1, expires_ms: 2, kind };
            let text = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task, "{text}");
        }
        let later = r#"{"id":1,"expiresMs":2,"kind":{"do":"dance","tempo":3}}"#;
        assert_eq!(serde_json::from_str::<Task>(later).unwrap().kind, TaskKind::Unknown);
        let later = r#"{"do":"capture","process":{"instance":"a/0"},"what":"trace","seconds":1}"#;
        let kind: TaskKind = serde_json::from_str(later).unwrap();
        assert!(kind.check().unwrap_err().contains("known are goroutine, heap"));
        assert_eq!(serde_json::to_string(&TaskOutcome::ok(3)).unwrap(), r#"{"id":3}"#);
    }

    #[test]
    fn bounds_of_tasks() {
        let process = || ProcessName::new("", "web1/0");
        let burst = |interval_ms, seconds| TaskKind::Burst { process: process(), interval_ms, seconds }.check();
        assert_eq!((burst(100, 1), burst(60_000, 300)), (Ok(()), Ok(())));
        assert!(burst(99, 1).unwrap_err().contains("99; allowed are 100 to 60000"));
        assert!(burst(100, 0).is_err() && burst(100, 301).is_err() && burst(60_001, 1).is_err());
        let capture = |what: CaptureKind, seconds| {
            TaskKind::Capture { process: process(), what: what.to_string(), seconds }.check()
        };
        assert_eq!((capture(CaptureKind::Heap, 0), capture(CaptureKind::Cpu, 120)), (Ok(()), Ok(())));
        assert!(capture(CaptureKind::Cpu, 0).is_err() && capture(CaptureKind::Heap, u64::MAX).is_err());
        assert!(TaskKind::Burst { process: ProcessName::default(), interval_ms: 100, seconds: 1 }.check().is_err());
    }

    #[test]
    fn agents_of_processes() {
        for (instance, want) in [("web1/0", "web1"), ("web1", "web1"), ("a/b/12", "a/b"), ("", "")] {
            assert_eq!(ProcessName::new("", instance).agent(), want);
        }
    }

    #[test]
    fn reasons_are_cut_at_characters() {
        let outcome = TaskOutcome::new(1, Err("é".repeat(600)));
        assert_eq!(outcome.error.unwrap().chars().count(), 500);
    }
}
