//! When a server is killed: whenever, while it evaluates, while it is heard, when it was heard, or when it has nothing to say.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::sink::Sink;
use crate::support::{Server, now_ms};

/// Longest wait for something to be told, or for nothing to be on its way.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Time between two evaluations of every group.
const INTERVAL_MS: i64 = 1_000;

/// A moment to kill a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Any, after so long.
    Any(Duration),
    /// While a group is evaluated, what it found is written, and the notifier takes it: so long after it was due.
    Evaluation(Duration),
    /// So long after a receiver took something: before or after it answers.
    Told(Duration),
    /// When nothing is on its way.
    Quiet,
}

impl Moment {
    pub(crate) fn draw(random: &mut fastrand::Rng) -> Self {
        let mut ms = |from: u64, to: u64| Duration::from_millis(random.u64(from..to));
        let moments = [
            Self::Any(ms(100, 3_000)),
            Self::Evaluation(ms(0, 25)),
            Self::Told(ms(0, 20)),
            Self::Told(ms(0, 600)),
            Self::Quiet,
        ];
        moments[random.usize(0..moments.len())]
    }

    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any(_) => "at any moment",
            Self::Evaluation(_) => "at an evaluation",
            Self::Told(_) => "at a delivery",
            Self::Quiet => "in quiet",
        }
    }

    /// Waits for it. Where nothing was on its way and the outcome of all that was is written down, returns when that was asked.
    pub(crate) fn wait(self, server: &Server, sink: &Sink) -> Option<Instant> {
        match self {
            Self::Any(after) => std::thread::sleep(after),
            Self::Told(after) => {
                sink.wait(WAIT_MAX);
                std::thread::sleep(after);
            }
            Self::Evaluation(after) => {
                let since = Instant::now();
                while since.elapsed() < WAIT_MAX {
                    if let Some(due_ms) = next_evaluation_ms(server) {
                        let left_ms = due_ms.saturating_sub(now_ms()).max(0).unsigned_abs();
                        std::thread::sleep(Duration::from_millis(left_ms) + after);
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Self::Quiet => {
                let since = Instant::now();
                while since.elapsed() < WAIT_MAX {
                    let asked = Instant::now();
                    // What is about to happen is of interest, too.
                    if since.elapsed() > WAIT_MAX / 4 && is_quiet(server) {
                        return Some(asked);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        None
    }
}

/// Whether nothing is on its way, and what became of all that was is on disk.
pub(crate) fn is_quiet(server: &Server) -> bool {
    server.get("/metrics").body.contains("\nmetrickit_notify_in_flight 0\n")
}

/// When the group that was evaluated first is evaluated again.
fn next_evaluation_ms(server: &Server) -> Option<i64> {
    let answer = server.get("/api/v1/rules?exclude_alerts=true").json();
    let groups = answer["data"]["groups"].as_array()?;
    let last = |group: &serde_json::Value| group["lastEvaluation"].as_str()?.parse::<Timestamp>().ok();
    let times = groups.iter().filter_map(last).map(Timestamp::as_millisecond).filter(|at_ms| *at_ms > 0);
    let passed = |at_ms: i64| now_ms().saturating_sub(at_ms).div_euclid(INTERVAL_MS) + 1;
    times.min().map(|at_ms| at_ms + passed(at_ms) * INTERVAL_MS)
}
