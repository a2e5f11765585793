//! What an agent says of itself, and what it is answered.

use serde::{Deserialize, Serialize};

use super::{NAME_BYTES_MAX, OUTCOMES_MAX, REASON_BYTES_MAX, Task, TaskOutcome, UNDER_WAY_MAX};

/// Most parts that an agent names as left out.
const PARTS_MAX: usize = 16;
/// Most hosts that an agent names besides its own.
pub const HOSTS_MAX: usize = 256;

/// What an agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckIn {
    /// Its name: the host in label `instance`.
    pub agent: String,
    /// Chosen anew each time it starts, so that a restart is told from a lost answer; below 2^53.
    pub run: u64,
    /// Its release.
    pub version: String,
    /// Value of label `env`; empty: none.
    pub environment: String,
    /// When it started, in milliseconds since the Unix epoch by its own clock.
    pub started_ms: i64,
    /// Its clock when it said this.
    pub now_ms: i64,
    /// Whether it ends now; nothing more comes from this run.
    pub ending: bool,
    /// `ETag` of the collection profile of the server that it works by; empty: none.
    pub profile_etag: String,
    /// Whether it works by no profile, whatever the server holds.
    pub profile_off: bool,
    /// `ETag` of a profile that it found wrong and does not fetch again; empty: none.
    pub profile_refused: String,
    /// What is wrong with the newest profile, while it works by an earlier one; empty: nothing.
    pub profile_error: String,
    /// What is wrong with its configuration file, while it works by what it read before; empty: nothing.
    pub config_error: String,
    /// What waits to be sent.
    pub queue: AgentQueue,
    /// Work that it did not do.
    pub shed: AgentShed,
    /// Processor time of its threads since it started, in seconds.
    pub cpu_seconds: f64,
    /// Processor time of late, in percent of one core.
    pub cpu_percent: f64,
    /// Memory of its process.
    pub resident_bytes: u64,
    /// Go processes that it reads.
    pub go_processes: u64,
    /// Hosts other than its name in the `instance` of processes that it reads, such as those of containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Tasks that it has and that are not over.
    pub under_way: Vec<u64>,
    /// Tasks that are over, until a server has answered.
    pub outcomes: Vec<TaskOutcome>,
}

/// What waits to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentQueue {
    /// Samples.
    pub samples: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Age of the oldest sample: how far the agent lags behind; 0 when nothing waits.
    pub lag_ms: u64,
}

/// Work that an agent did not do, since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentShed {
    /// Parts of its work that it leaves out now, each with the reason: `profiles: cpu`.
    pub parts: Vec<String>,
    /// Factor on its intervals now, which keeps it in its processor budget; 1: nothing is shed.
    pub stretch: u64,
    /// Rounds left out because the one before took too long.
    pub rounds_late: u64,
    /// Samples dropped by the queue's caps, lost to damage, or refused by the receiver for good.
    pub samples_dropped: u64,
}

impl CheckIn {
    /// Checks what came from outside.
    ///
    /// # Errors
    ///
    /// Which field passes which limit.
    pub fn check(&self) -> Result<(), String> {
        let texts = [
            ("agent", self.agent.len(), NAME_BYTES_MAX),
            ("version", self.version.len(), NAME_BYTES_MAX),
            ("environment", self.environment.len(), NAME_BYTES_MAX),
            ("profileEtag", self.profile_etag.len(), NAME_BYTES_MAX),
            ("profileRefused", self.profile_refused.len(), NAME_BYTES_MAX),
            ("profileError", self.profile_error.len(), REASON_BYTES_MAX),
            ("configError", self.config_error.len(), REASON_BYTES_MAX),
        ];
        if self.agent.is_empty() {
            return Err("agent is missing: the host in label instance".to_owned());
        }
        if self.agent.contains(char::is_control) {
            return Err(format!("agent is {:?}; a host is written without control characters", self.agent));
        }
        if let Some((name, bytes, most)) = texts.iter().find(|(_, bytes, most)| bytes > most) {
            return Err(format!("{name} has {bytes} bytes, the limit is {most}"));
        }
        if self.outcomes.len() > OUTCOMES_MAX {
            return Err(format!("outcomes has {} entries, the limit is {OUTCOMES_MAX}", self.outcomes.len()));
        }
        let long = |part: &String| part.len() > NAME_BYTES_MAX;
        if self.shed.parts.len() > PARTS_MAX || self.shed.parts.iter().any(long) {
            return Err(format!(
                "shed has {} parts, the limits are {PARTS_MAX} of {NAME_BYTES_MAX} bytes",
                self.shed.parts.len()
            ));
        }
        if self.hosts.len() > HOSTS_MAX || self.hosts.iter().any(long) {
            let hosts = self.hosts.len();
            return Err(format!("hosts has {hosts} entries, the limits are {HOSTS_MAX} of {NAME_BYTES_MAX} bytes"));
        }
        if self.under_way.len() > UNDER_WAY_MAX {
            return Err(format!("underWay has {} entries, the limit is {UNDER_WAY_MAX}", self.under_way.len()));
        }
        let long = |outcome: &&TaskOutcome| outcome.error.as_ref().is_some_and(|error| error.len() > REASON_BYTES_MAX);
        if let Some(outcome) = self.outcomes.iter().find(long) {
            return Err(format!("error of outcome {} is longer than {REASON_BYTES_MAX} bytes", outcome.id));
        }
        if !self.cpu_seconds.is_finite() || !self.cpu_percent.is_finite() {
            return Err("cpuSeconds and cpuPercent must be numbers".to_owned());
        }
        Ok(())
    }
}

/// What an agent is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orders {
    /// What it is to collect by.
    pub profile: ProfileOrder,
    /// What it is to do once. A task comes again until the agent names it as under way or tells its outcome, so that a lost
    /// answer loses none; an agent that has seen its id does nothing. One that an earlier run was given does not come again.
    pub tasks: Vec<Task>,
    /// Shortest pause before the next check-in, in milliseconds.
    pub pause_ms: u64,
}

/// Which collection profile an agent is to work by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProfileOrder {
    /// The one it has, or none.
    #[default]
    Keep,
    /// None: the server holds no profile for its environment.
    None,
    /// The one with this `ETag`; it is fetched unless the agent has it.
    Etag(String),
}

impl ProfileOrder {
    /// Whether an agent that said `check_in` does not know this yet.
    pub fn is_news_to(&self, check_in: &CheckIn) -> bool {
        match self {
            _ if check_in.profile_off => false,
            Self::Keep => false,
            // What it refused before is told until it hears that it is no longer asked for.
            Self::None => !check_in.profile_etag.is_empty() || !check_in.profile_refused.is_empty(),
            Self::Etag(etag) if *etag == check_in.profile_refused => false,
            Self::Etag(etag) => *etag != check_in.profile_etag || !check_in.profile_refused.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut CheckIn), want: &str) {
        let mut check_in = CheckIn { agent: "web1".to_owned(), ..CheckIn::default() };
        assert_eq!(check_in.check(), Ok(()));
        change(&mut check_in);
        let problem = check_in.check().expect_err(want);
        assert!(problem.contains(want), "{want:?} in {problem:?}");
    }

    #[test]
    fn limits_are_named() {
        refused(|c| c.agent.clear(), "agent is missing");
        refused(|c| c.agent = "web\n1".to_owned(), "control characters");
        refused(|c| c.version = "v".repeat(257), "version has 257 bytes, the limit is 256");
        refused(|c| c.profile_error = "e".repeat(1001), "profileError has 1001 bytes");
        refused(|c| c.outcomes = vec![TaskOutcome::ok(1); 65], "outcomes has 65 entries");
        refused(|c| c.shed.parts = vec![String::new(); 17], "shed has 17 parts");
        refused(|c| c.hosts = vec!["box".to_owned(); 257], "hosts has 257 entries");
        refused(|c| c.hosts = vec!["b".repeat(257)], "the limits are 256 of 256 bytes");
        refused(|c| c.under_way = vec![1; 65], "underWay has 65 entries");
        refused(|c| c.outcomes = vec![TaskOutcome { id: 7, error: Some("x".repeat(1001)) }], "outcome 7");
        refused(|c| c.cpu_percent = f64::NAN, "must be numbers");
    }

    #[test]
    fn what_an_agent_has_or_refused_is_no_news() {
        let has = |etag: &str, refused: &str| CheckIn {
            profile_etag: etag.to_owned(),
            profile_refused: refused.to_owned(),
            ..CheckIn::default()
        };
        let etag = ProfileOrder::Etag("b".to_owned());
        let news = |order: &ProfileOrder, etag, refused| order.is_news_to(&has(etag, refused));
        assert!(news(&etag, "", "") && news(&etag, "a", "") && news(&etag, "a", "c"));
        assert!(!news(&etag, "b", "") && !news(&etag, "a", "b"));
        assert!(news(&ProfileOrder::None, "a", "") && !news(&ProfileOrder::None, "", ""));
        // What it refused is asked for no longer.
        assert!(news(&ProfileOrder::None, "", "a") && news(&etag, "b", "a") && !news(&etag, "b", "b"));
        assert!(!news(&ProfileOrder::Keep, "a", ""));
    }

    #[test]
    fn what_the_other_side_does_not_know_is_left_out() {
        let check_in: CheckIn = serde_json::from_str(r#"{"agent":"a","later":{"x":1},"queue":{"samples":3}}"#).unwrap();
        assert_eq!((check_in.agent.as_str(), check_in.queue.samples, check_in.run), ("a", 3, 0));
        let orders: Orders = serde_json::from_str(r#"{"more":true}"#).unwrap();
        assert_eq!(orders, Orders::default());
        for order in [ProfileOrder::Keep, ProfileOrder::None, ProfileOrder::Etag("\"e\"".to_owned())] {
            let orders = Orders { profile: order, ..Orders::default() };
            let text = serde_json::to_string(&orders).unwrap();
            assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders, "{text}");
        }
    }
}
