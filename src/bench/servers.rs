//! The servers that are measured side by side: how each is started, told apart, and brought to its final form on disk.
//!
//! Each runs as it comes: durability, caches and concurrency are its defaults. Only what would keep it from the task
//! is set, the same for all: data of any age is kept, and remote write is taken.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    #[value(name = "metrickit")]
    MetricKit,
    #[value(name = "victoriametrics")]
    VictoriaMetrics,
    #[value(name = "prometheus")]
    Prometheus,
}

/// What a part of a server's files holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Samples in their final form.
    Samples,
    /// Series, labels, where samples lie.
    Index,
    /// Logs and samples that are not in their final form.
    Log,
    /// What can be made again.
    Cache,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MetricKit => "MetricKit",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::Prometheus => "Prometheus",
        })
    }
}

impl Kind {
    /// The variable that names another program, and what is looked for without it: the names that Debian's packages
    /// and the projects themselves give it.
    fn names(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Self::MetricKit => None,
            Self::VictoriaMetrics => {
                Some(("METRICKIT_BENCH_VICTORIAMETRICS", &["victoria-metrics", "victoria-metrics-prod"]))
            }
            Self::Prometheus => Some(("METRICKIT_BENCH_PROMETHEUS", &["prometheus"])),
        }
    }

    /// Its program; for people, why there is none.
    pub(super) fn program(self) -> Result<PathBuf, String> {
        let Some((variable, names)) = self.names() else {
            return std::env::current_exe().map_err(|error| format!("the path of this program is unknown: {error}"));
        };
        if let Some(named) = std::env::var_os(variable) {
            let path = PathBuf::from(named);
            return if path.is_file() {
                Ok(path)
            } else {
                Err(format!("{variable} names {}, which is no file", path.display()))
            };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
            .find(|file| file.is_file());
        found.ok_or_else(|| format!("{} is not installed; {variable} may name its program", names[0]))
    }

    /// Its version, as it tells or as its package does.
    pub(super) fn version(self) -> String {
        if self == Self::MetricKit {
            return env!("CARGO_PKG_VERSION").to_owned();
        }
        let Ok(program) = self.program() else { return "unknown".to_owned() };
        let told = first_line(Command::new(&program).arg("--version")).and_then(|line| version_in(&line));
        let package = || {
            let name = program.file_name()?;
            first_line(Command::new("dpkg-query").args(["--show", "--showformat", "${Version}"]).arg(name))
        };
        told.or_else(package).unwrap_or_else(|| "unknown".to_owned())
    }

    /// The command that runs it on `folder`. MetricKit chooses its port and tells it; the others listen on `address`.
    pub(super) fn command(self, folder: &Path, address: &str, options: &Options) -> anyhow::Result<Command> {
        let program = self.program().map_err(anyhow::Error::msg)?;
        let mut command = Command::new(program);
        match self {
            Self::MetricKit => {
                command.args(["server", "--listen", "127.0.0.1:0", "--retention", "off", "--log-level", "warn"]);
                // Only what the benchmark writes is measured.
                command.args(["--self-metrics-interval", "off"]);
                command.arg("--data").arg(folder);
                if let Some(durability) = &options.durability {
                    command.args(["--durability", durability]);
                }
                for (flag, value) in &options.settings {
                    command.args([flag, value.as_str()]);
                }
                if options.large_queries {
                    command.args(["--query-series-max", "5000000", "--query-samples-max", "5000000000"]);
                    command.args(["--query-bytes-max", "8GiB", "--query-all-bytes-max", "8GiB"]);
                }
                // Settings of the user's environment would change what is measured.
                for (name, _) in
                    std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("METRICKIT_"))
                {
                    command.env_remove(name);
                }
            }
            Self::VictoriaMetrics => {
                command.arg(format!("-httpListenAddr={address}")).arg("-retentionPeriod=100y");
                command.arg(format!("-storageDataPath={}", folder.join("data").display()));
                if options.large_queries {
                    command.args(["-search.maxUniqueTimeseries=5000000", "-search.maxSamplesPerQuery=5000000000"]);
                    command.arg("-search.maxQueryDuration=2m");
                }
            }
            Self::Prometheus => {
                let config = folder.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n").context("cannot write Prometheus's configuration")?;
                command.arg("--config.file").arg(config);
                command.arg("--storage.tsdb.path").arg(folder.join("data"));
                command.args(["--web.listen-address", address, "--storage.tsdb.retention.time", "100y"]);
                command.arg("--web.enable-remote-write-receiver");
                if options.large_queries {
                    command.args(["--query.max-samples", "5000000000"]);
                }
            }
        }
        command.current_dir(folder).stdin(Stdio::null());
        Ok(command)
    }

    /// Requests that write what is in memory to disk and bring files to their final form, in this order.
    pub(super) fn settling(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::MetricKit => &[("POST", "/api/v1/admin/flush"), ("POST", "/api/v1/admin/merge")],
            Self::VictoriaMetrics => &[("GET", "/internal/force_flush"), ("GET", "/internal/force_merge")],
            // Blocks are cut by time alone: the head and its log stay as they are.
            Self::Prometheus => &[],
        }
    }

    /// What the file at `path` below the folder holds.
    pub(super) fn part(self, path: &Path) -> Part {
        let has = |name: &str| path.components().any(|part| part.as_os_str() == name);
        let is = |name: &str| path.file_name().is_some_and(|file| file == name);
        match self {
            Self::MetricKit if path.starts_with("blocks") => Part::Samples,
            Self::MetricKit if path.starts_with("log") => Part::Log,
            Self::VictoriaMetrics if path.starts_with("data/cache") => Part::Cache,
            Self::VictoriaMetrics if is("values.bin") || is("timestamps.bin") => Part::Samples,
            Self::Prometheus if has("wal") || has("chunks_head") => Part::Log,
            Self::Prometheus if has("chunks") => Part::Samples,
            _ => Part::Index,
        }
    }
}

/// What is set when a server is started.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// When MetricKit acknowledges; its default without.
    pub(super) durability: Option<String>,
    /// Limits of queries beyond the defaults, for millions of series.
    pub(super) large_queries: bool,
    /// Other settings of MetricKit: flags and values.
    pub(super) settings: Vec<(&'static str, String)>,
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text);
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

/// The word after `version` in `prometheus, version 2.42.0+ds (branch: …`; the last word of other lines.
fn version_in(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let named = words.by_ref().find(|word| *word == "version").and_then(|_| words.next());
    named.or_else(|| line.split_whitespace().last()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_servers_print() {
        let version = |line: &str| version_in(line).expect("a word");
        assert_eq!(version("prometheus, version 2.42.0+ds (branch: debian/sid, revision: x)"), "2.42.0+ds");
        assert_eq!(
            version("victoria-metrics-20240101-tags-v1.97.0-0-gabc"),
            "victoria-metrics-20240101-tags-v1.97.0-0-gabc"
        );
        assert!(version_in("").is_none());
    }

    #[test]
    fn files_belong_to_parts() {
        let check = |kind: Kind, path: &str, want: Part| assert_eq!(kind.part(Path::new(path)), want, "{kind} {path}");
        check(Kind::MetricKit, "blocks/20454/7.block", Part::Samples);
        check(Kind::MetricKit, "catalog/db", Part::Index);
        check(Kind::MetricKit, "log/00000001.log", Part::Log);
        check(Kind::VictoriaMetrics, "data/data/small/2026_11/1_2_x/values.bin", Part::Samples);
        check(Kind::VictoriaMetrics, "data/data/small/2026_11/1_2_x/index.bin", Part::Index);
        check(Kind::VictoriaMetrics, "data/indexdb/17/items.bin", Part::Index);
        check(Kind::VictoriaMetrics, "data/cache/metricName_tsid/data.0.bin", Part::Cache);
        check(Kind::Prometheus, "data/01K/chunks/000001", Part::Samples);
        check(Kind::Prometheus, "data/01K/index", Part::Index);
        check(Kind::Prometheus, "data/wal/00000000", Part::Log);
        check(Kind::Prometheus, "data/chunks_head/000001", Part::Log);
    }

    #[test]
    fn a_server_that_is_not_there_is_told() {
        // Ours is this program.
        assert!(Kind::MetricKit.program().is_ok());
        assert_eq!(Kind::MetricKit.version(), env!("CARGO_PKG_VERSION"));
    }
}
