//! Agents and their server over the real binary: check-ins, collection profiles, changes of the file while collecting, bursts, and what is told of
//! all that when either of the two goes away and comes back.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{PATIENCE, Running, Server, binary, escape, foreign, free_address, now_ms, run, terminate, wait};

/// Time between rounds of the agents of these tests.
const POLL: Duration = Duration::from_millis(200);

/// Folders and files of one test.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir(place.at("profiles")).expect("a folder");
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file as editors do: beside, then over.
    fn write(&self, name: &str, text: &str) {
        let part = self.at(&format!("{name}.part"));
        let mut file = std::fs::File::create(&part).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        std::fs::rename(part, self.at(name)).expect("renamed");
    }

    fn server(&self, address: &str) -> Server {
        let profiles = self.at("profiles");
        let profiles = profiles.to_str().expect("a path");
        Server::start_at("server", address, &self.at("data"), &["--profiles-dir", profiles])
    }

    /// An agent of environment `prod` that is called `web1` and writes its log to a file.
    fn agent(&self, url: &str, more: &[&str]) -> Running {
        self.write("agent.toml", &format!("poll.interval = \"{}ms\"\n{}", POLL.as_millis(), AGENT_FILE));
        let log = std::fs::File::create(self.at("agent.log")).expect("a file");
        let child = binary()
            .args(["agent", "--host", "web1", "--environment", "prod", "--receive-socket", ""])
            // Nothing is shed on a busy machine, where rounds are counted.
            .args(["--budget-cpu-percent", "0", "--config"])
            .arg(self.at("agent.toml"))
            .args(["--push-url", &format!("{url}/api/v1/write"), "--push-interval", "100ms", "--queue-folder"])
            .arg(self.at("queue"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        Running(child)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.at("agent.log")).unwrap_or_default()
    }
}

/// What the file of every agent says, its interval aside.
const AGENT_FILE: &str = "[collect]\ndisk = false\n[labels]\nteam = \"local\"\n";

/// Waits until `found` finds something.
#[track_caller]
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The agent `web1` as the server lists it.
fn listed(server: &Server) -> Option<Value> {
    let mut answer = server.get("/api/v1/agents").json();
    let agents = answer["data"]["agents"].as_array_mut()?;
    agents.iter_mut().find(|agent| agent["agent"] == "web1").map(Value::take)
}

fn value(server: &Server, query: &str) -> Option<f64> {
    let answer = server.get(&format!("/api/v1/query?query={}", escape(query))).json();
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// Milliseconds at which the series of a selector has samples, as they are stored.
fn times(server: &Server, selector: &str) -> Vec<i64> {
    let answer = server.get(&format!("/api/v1/export?match[]={}", escape(selector)));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let lines = answer.body.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut times: Vec<i64> = lines
        .flat_map(|line| line["timestamps"].as_array().cloned().unwrap_or_default())
        .filter_map(|time| time.as_i64())
        .collect();
    times.sort_unstable();
    times
}

#[test]
fn an_agent_is_listed_with_how_it_is_also_after_either_went_away() {
    let place = Place::new();
    let address = free_address();
    let server = place.server(&address);
    let agent = place.agent(&server.url, &[]);
    let here = until("the agent is listed", || listed(&server));
    assert_eq!((here["state"].as_str(), here["environment"].as_str()), (Some("here"), Some("prod")), "{here}");
    assert_eq!(here["version"], env!("CARGO_PKG_VERSION"));
    assert!(here["residentBytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{here}");
    assert_eq!((here["shed"]["stretch"].as_u64(), here["configError"].as_str()), (Some(1), Some("")));
    let (code, table, _) = run(&["agents", "--url", &server.url]);
    assert!(code == 0 && table.contains("web1") && table.contains("prod"), "{table}");
    let (code, table, _) = run(&["agents", "--url", &server.url, "--environment", "dev"]);
    assert!(code == 1 && table.contains("no agent"), "{table}");

    server.kill();
    let server = place.server(&address);
    until("it comes back by itself", || listed(&server).filter(|agent| agent["state"] == "here"));
    let Running(child) = &agent;
    terminate(child.id());
    until("it says that it ends", || listed(&server).filter(|agent| agent["state"] == "ended"));
    let (_, table, _) = run(&["agents", "--url", &server.url]);
    assert!(table.contains("! ended"), "{table}");
}

#[test]
fn a_profile_reaches_the_agent_and_its_own_file_wins() {
    let place = Place::new();
    place.write("profiles/prod.toml", "[collect]\nload = false\ndisk = true\n[labels]\nteam = \"fleet\"\n");
    let address = free_address();
    let server = place.server(&address);
    let agent = place.agent(&server.url, &[]);
    let etag = |server: &Server| listed(server).and_then(|agent| agent["profileEtag"].as_str().map(str::to_owned));
    let first = until("it works by the profile", || etag(&server).filter(|etag| !etag.is_empty()));
    until("load is not collected", || {
        let runs =
            |name: &str| value(&server, &format!("metrickit_agent_collector_runs_total{{collector=\"{name}\"}}"));
        (runs("cpu").is_some() && runs("load").is_none()).then_some(())
    });
    assert_eq!(value(&server, "metrickit_agent_collector_runs_total{collector=\"disk\"}"), None, "its own file wins");
    assert!(value(&server, "node_memory_MemTotal_bytes{team=\"local\",env=\"prod\"}").is_some());

    place.write(
        "profiles/prod.toml",
        "[collect]\nload = true\nmemory = false\n[metrics]\ndrop = [\"node_filesystem_*\"]\n",
    );
    let second = until("the change arrives", || etag(&server).filter(|etag| *etag != first));
    until("load is collected again, and what is dropped ends", || {
        let gone = ["node_memory_MemTotal_bytes", "node_filesystem_size_bytes"];
        (value(&server, "node_load1").is_some() && gone.iter().all(|name| value(&server, name).is_none())).then_some(())
    });

    // One that is wrong does not leave the server; the one before goes on.
    place.write("profiles/prod.toml", "[collect]\nload = 3\n");
    until("the server says what is wrong", || {
        let answer = server.get("/api/v1/agents/profiles").json();
        answer["data"]["profiles"][0]["error"].as_str().filter(|error| error.starts_with("line 2")).map(drop)
    });
    assert_eq!(etag(&server), Some(second.clone()));
    let (code, told, _) = run(&["collection", "check", place.at("profiles/prod.toml").to_str().expect("a path")]);
    assert!(code == 1 && told.contains("line 2"), "{told}");
    let (code, told, _) = run(&["collection", "show", "prod", "--url", &server.url]);
    assert!(code == 0 && told.contains("memory = false"), "{told}");

    // Without its server an agent starts by the last good one, and says where values are from.
    server.kill();
    drop(agent);
    let output = binary()
        .args(["agent", "--print-config", "--environment", "prod", "--config"])
        .arg(place.at("agent.toml"))
        .arg("--queue-folder")
        .arg(place.at("queue"))
        .output()
        .expect("it runs");
    let table = String::from_utf8(output.stdout).expect("text");
    let line = |key: &str| table.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("collect.memory ").ends_with("# profile prod"), "{table}");
    assert!(line("collect.disk ").contains("# file") && line("collect.cpu ").ends_with("# default"), "{table}");
}

#[test]
fn a_change_of_the_file_is_taken_up_without_losing_a_round() {
    let place = Place::new();
    let server = place.server("127.0.0.1:0");
    let agent = place.agent(&server.url, &[]);
    until("it collects", || value(&server, "node_load1"));
    let Running(child) = &agent;

    // Wrong: nothing changes, and that is told.
    place.write("agent.toml", "poll.interval = \"200ms\"\ncolect.cpu = false\n");
    let hang_up = || Command::new("kill").args(["-HUP", &child.id().to_string()]).status().expect("kill runs");
    hang_up();
    until("it is told", || {
        listed(&server).filter(|agent| agent["configError"].as_str().is_some_and(|e| e.contains("line 2")))
    });
    until("it is counted", || value(&server, "metrickit_agent_reloads_failed_total > 0"));

    place.write(
        "agent.toml",
        "poll.interval = \"200ms\"\npush.samples_max = 17\n[collect]\ndisk = false\ncpu = false\n",
    );
    hang_up();
    until("it is taken up", || value(&server, "metrickit_agent_reloads_total > 0"));
    until("processors are collected no more", || value(&server, "node_cpu_seconds_total").is_none().then_some(()));
    until("what was wrong is forgotten", || listed(&server).filter(|agent| agent["configError"] == ""));
    assert!(place.log().contains("push.samples_max"), "what takes a restart is named: {}", place.log());
    let after = now_ms();
    until("it goes on", || times(&server, "node_load1").last().filter(|last| **last > after + 1_000).map(drop));
    let rounds = times(&server, "node_load1");
    let gaps: Vec<i64> = rounds.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A round that the machine was too busy for is counted by the agent; a reload adds none.
    let late = value(&server, "metrickit_agent_rounds_late_total").unwrap_or(0.0);
    let missed: i64 = gaps.iter().map(|gap| (gap + 100) / 200 - 1).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a small count")]
    let allowed = late as i64;
    assert!(missed <= allowed, "{missed} rounds are missing, {late} were late: {gaps:?}");
    assert_eq!(listed(&server).expect("listed")["queue"]["lagMs"].as_u64().map(|lag| lag < 60_000), Some(true));
}

/// Builds and starts a small program in Go.
fn go_program(folder: &Path) -> Option<Running> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let go = if usual.is_file() { usual } else { foreign("go")? };
    std::fs::write(
        folder.join("main.go"),
        "package main\nimport \"time\"\nfunc main() { for { time.Sleep(time.Millisecond) } }\n",
    )
    .expect("written");
    let mut command = Command::new(go);
    if std::env::var_os("HOME").is_none() && std::env::var_os("GOCACHE").is_none() {
        command.env("GOCACHE", folder.join("go-build"));
    }
    let program = folder.join("sleeper");
    let command =
        command.args(["build", "-o"]).arg(&program).arg("main.go").current_dir(folder).env("GOTOOLCHAIN", "local");
    let built = command.output().expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    Some(Running(Command::new(program).spawn().expect("the program starts")))
}

#[test]
fn a_burst_reads_often_for_a_while_and_ends() {
    let place = Place::new();
    let Some(program) = go_program(place.folder.path()) else { return };
    let server = place.server("127.0.0.1:0");
    // Rounds are rare, so that what is often is the burst.
    let agent = place.agent(&server.url, &["--poll-interval", "1h", "--go-only", "sleeper"]);
    let instance = until("the program is found", || {
        let answer = server.get("/api/v1/query?query=metrickit_go_process_info").json();
        answer["data"]["result"][0]["metric"]["instance"].as_str().map(str::to_owned)
    });
    let (code, _, error) = run(&["go", "burst", "web9/0", "--url", &server.url]);
    assert!(code == 1 && error.contains("no agent \"web9\""), "{error}");
    let (code, _, error) = run(&["go", "burst", &instance, "--every", "10ms", "--url", &server.url]);
    assert!(code == 1 && error.contains("allowed are 100 to 60000"), "{error}");
    let (code, _, error) = run(&["go", "burst", "web1/77", "--for", "1s", "--url", &server.url]);
    assert!(code == 1 && error.contains("no Go process web1/77"), "{error}");

    let begun = now_ms();
    let (code, told, error) = run(&["go", "burst", &instance, "--for", "3s", "--every", "100ms", "--url", &server.url]);
    assert_eq!((code, told.contains("done")), (0, true), "{told}{error}");
    for name in ["process_cpu_seconds_total", "go_goroutines"] {
        let selector = format!("{name}{{job=\"sleeper\"}}");
        let read = until("the samples arrive", || {
            let read: Vec<i64> = times(&server, &selector).into_iter().filter(|time| *time >= begun).collect();
            (read.len() >= 8).then_some(read)
        });
        assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "{name} has one sample a time: {read:?}");
        assert!(read.len() <= 32, "{name} is read ten times a second at most: {read:?}");
    }
    assert!(listed(&server).is_some_and(|agent| agent["tasksUnderWay"] == 0), "it ends by itself");
    drop(program);
    drop(agent);
}

#[test]
fn a_server_without_check_ins_hears_of_them_rarely() {
    // A receiver that knows nothing but remote write.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let place = Place::new();
    let mut agent = place.agent(&url, &[]);
    let mut asked = Vec::new();
    let end = Instant::now() + PATIENCE;
    while asked.iter().filter(|line: &&String| line.contains("/api/v1/write")).count() < 10 && Instant::now() < end {
        let (stream, _) = listener.accept().expect("a connection");
        asked.push(answer_as_a_foreign_one(stream));
    }
    let check_ins = asked.iter().filter(|line| line.contains("/api/v1/agents/checkin")).count();
    assert!(check_ins <= 1, "{asked:?}");
    terminate(agent.0.id());
    assert!(wait(&mut agent.0).success());
}

/// Reads one request, answers 404 to check-ins and 204 to the rest, and closes. The first line of the request.
fn answer_as_a_foreign_one(mut stream: std::net::TcpStream) -> String {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
    let (mut first, mut bytes) = (String::new(), 0);
    let _ = reader.read_line(&mut first);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            bytes = length.trim().parse().unwrap_or(0);
        }
    }
    let _ = reader.take(bytes).read_to_end(&mut Vec::new());
    let status = if first.contains("checkin") { "404 Not Found" } else { "204 Taken" };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes());
    first
}
