//! `metrickit agents`: every agent that checks in at a server, and how it is.

use model::time::ShowDuration;
use serde::Deserialize;

use super::admin::{counted, figure};
use crate::UsageError;
use crate::cli::AgentsArgs;
use crate::client::{Client, URL_DEFAULT};
use crate::output::Output;
use crate::render::number::short;
use crate::render::text::{shortened, visible};
use crate::render::unit::{BYTES, PLAIN};
use crate::render::{append, table};

/// Columns for a name.
const NAME_COLUMNS: usize = 32;
/// Characters of an error.
const ERROR_COLUMNS: usize = 200;
/// Lag at which an agent counts as behind.
const LAG_MS: u64 = 60_000;

/// What `/api/v1/agents` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    now_ms: i64,
    agents: Vec<Agent>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    #[serde(rename = "agent")]
    host: String,
    state: String,
    last_seen_ms: i64,
    version: String,
    environment: String,
    queue: Queue,
    shed: Shed,
    cpu_percent: f64,
    resident_bytes: u64,
    go_processes: u64,
    profile_error: String,
    config_error: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    samples: u64,
    lag_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shed {
    stretch: u64,
    rounds_late: u64,
    samples_dropped: u64,
}

/// Asks and tells; whether there are any.
pub(crate) fn run(args: &AgentsArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = Client::new(args.server.url.as_deref().unwrap_or(URL_DEFAULT));
    let client = client.map_err(|error| UsageError(error.to_string()))?;
    let pairs: Vec<_> = args.environment.iter().map(|name| ("environment", name.as_str())).collect();
    let answer = client.get("/api/v1/agents", &pairs)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let mut report: Report = serde_json::from_value(answer)?;
    let columns = output.is_terminal.then(|| output.width());
    output.text(&told(&mut report, columns))?;
    Ok(!report.agents.is_empty())
}

/// Those in trouble first, then by name.
fn told(report: &mut Report, columns: Option<usize>) -> String {
    if report.agents.is_empty() {
        return "no agent has checked in; start one with `metrickit agent --push-url http://THIS-SERVER:9595/api/v1/write`\n"
            .to_owned();
    }
    report.agents.sort_by(|a, b| b.trouble().cmp(&a.trouble()).then_with(|| a.host.cmp(&b.host)));
    let header = ["host", "state", "version", "env", "last seen", "lag", "queue", "shed", "CPU %", "RSS", "Go"];
    let rows: Vec<Vec<String>> = report.agents.iter().map(|agent| agent.row(report.now_ms)).collect();
    let mut text = table::fitted(&header, &rows, 7, columns, &["Go", "RSS", "CPU %", "version"]);
    for agent in &report.agents {
        for (what, error) in [("profile", &agent.profile_error), ("configuration", &agent.config_error)] {
            if !error.is_empty() {
                let (host, error) = (visible(&agent.host), shortened(&visible(error), ERROR_COLUMNS));
                append(&mut text, format_args!("{host}: the newest {what} is not used: {error}\n"));
            }
        }
    }
    let away = report.agents.iter().filter(|agent| agent.state == "away").count() as u64;
    if away > 0 {
        let of = counted(report.agents.len() as u64, "agent");
        append(&mut text, format_args!("{away} of {of} away: no word for over a minute\n"));
    }
    for agent in report.agents.iter().filter(|agent| agent.state == "twins") {
        let host = visible(&agent.host);
        append(&mut text, format_args!("{host}: two agents have this name; give each its own with --host\n"));
    }
    text
}

impl Agent {
    /// How urgent it is to look at it.
    fn trouble(&self) -> u8 {
        match self.state.as_str() {
            "away" | "twins" => 3,
            "ended" => 0,
            _ if !self.profile_error.is_empty() || !self.config_error.is_empty() => 2,
            _ if self.queue.lag_ms > LAG_MS || self.shed.stretch > 1 => 1,
            _ => 0,
        }
    }

    fn row(&self, now_ms: i64) -> Vec<String> {
        let name = |text: &str| shortened(&visible(text), NAME_COLUMNS);
        let ago_ms = now_ms.saturating_sub(self.last_seen_ms).max(0);
        let whole_seconds = |ms: i64| ShowDuration(ms / 1_000 * 1_000).to_string();
        let lag_ms = i64::try_from(self.queue.lag_ms).unwrap_or(i64::MAX);
        let mark = if self.state == "here" { "" } else { "! " };
        vec![
            name(&self.host),
            format!("{mark}{}", name(&self.state)),
            name(&self.version),
            name(&self.environment),
            format!("{} ago", whole_seconds(ago_ms)),
            whole_seconds(lag_ms),
            figure(self.queue.samples, PLAIN),
            self.shed.told(),
            format!("{:.1}", self.cpu_percent),
            figure(self.resident_bytes, BYTES),
            self.go_processes.to_string(),
        ]
    }
}

impl Shed {
    fn told(&self) -> String {
        let mut parts = Vec::new();
        if self.stretch > 1 {
            parts.push(format!("×{}", self.stretch));
        }
        for (count, what) in [(self.samples_dropped, "dropped"), (self.rounds_late, "late")] {
            if count > 0 {
                parts.push(format!("{} {what}", short(crate::render::number::count(count), PLAIN)));
            }
        }
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(name: &str, state: &str, last_seen_ms: i64) -> Agent {
        Agent {
            host: name.to_owned(),
            state: state.to_owned(),
            last_seen_ms,
            version: "0.1.0".to_owned(),
            environment: "prod".to_owned(),
            queue: Queue { samples: 1500, lag_ms: 5_250 },
            shed: Shed { stretch: 1, rounds_late: 0, samples_dropped: 0 },
            cpu_percent: 0.44,
            resident_bytes: 18 << 20,
            go_processes: 3,
            profile_error: String::new(),
            config_error: String::new(),
        }
    }

    #[test]
    fn agents_are_a_table_with_the_troubled_first() {
        let wrong = Agent { profile_error: "line 3: there is no option".to_owned(), ..agent("web2", "here", 99_000) };
        let shed = Shed { stretch: 4, rounds_late: 2, samples_dropped: 12_000 };
        let dear = Agent { shed, ..agent("web4", "here", 100_000) };
        let agents = vec![agent("web1", "here", 100_000), wrong, dear, agent("web3", "away", 10_000)];
        let text = told(&mut Report { now_ms: 100_500, agents }, Some(160));
        let order: Vec<_> =
            ["web3", "web2", "web4", "web1"].iter().map(|name| text.find(name).expect("told")).collect();
        assert!(order.is_sorted(), "{text}");
        for wanted in [
            "! away",
            "1m30s ago",
            "5s ┆  1.5k ┆",
            "none ┆   0.4 ┆ 18MiB ┆  3",
            "×4, 12k dropped, 2 late",
            "web2: the newest profile is not used: line 3",
            "1 of 4 agents away",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
        let name = "n".repeat(NAME_COLUMNS);
        let wide = Agent { version: name.clone(), environment: name.clone(), ..agent(&name, &name, 100_000) };
        let text = told(&mut Report { now_ms: 100_500, agents: vec![wide] }, None);
        assert!(text.contains("┆ Go │") && !text.contains("a wider terminal"), "whole where there is no width\n{text}");
        assert!(told(&mut Report { now_ms: 0, agents: Vec::new() }, Some(80)).contains("metrickit agent"));
    }
}
