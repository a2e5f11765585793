//! The command line as a user runs it: help, queries, errors, the REPL without a terminal, `up`.

#![expect(clippy::cast_precision_loss, reason = "times are far below 2^52 ms")]

mod support;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{
    PATIENCE, Running, Server, binary, foreign, free_address, now_ms, request, run, series, terminate, wait,
};

fn filled(folder: &tempfile::TempDir) -> Server {
    let server = Server::start(folder.path(), &["--retention", "off"]);
    let samples: Vec<(i64, f64)> = (0..61).map(|at| (at * 10_000, at as f64)).collect();
    let all = vec![
        series(&[("__name__", "load"), ("host", "a")], &samples),
        series(&[("__name__", "load"), ("host", "b")], &samples[..50]),
    ];
    assert_eq!(server.write(&request(all)).status, 204);
    server
}

#[test]
fn help_teaches() {
    for args in [&["--help"][..], &["server", "--help"], &["up", "--help"], &["query", "--help"], &["agent", "--help"]]
    {
        let (code, out, _) = run(args);
        assert_eq!(code, 0, "{args:?}");
        assert!(out.contains("Usage:") && out.len() > 300, "{args:?}: {out}");
    }
    let (code, _, err) = run(&["serve"]);
    assert_eq!(code, 2);
    assert!(err.contains("server"), "a near miss is named: {err}");
}

#[test]
fn queries_in_every_format() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = filled(&folder);
    let query = |format: &str| run(&["query", "load > 40", "--url", &server.url, "--time", "490", "--format", format]);
    let (code, table, _) = query("table");
    assert_eq!(code, 0);
    assert!(table.contains("load") && table.contains("host") && table.contains("49"), "{table}");
    let (_, out, _) = query("json");
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value["data"]["resultType"], json!("vector"));
    let (_, csv, _) = query("csv");
    assert_eq!(csv.lines().count(), 3, "a head and two rows: {csv}");

    let (code, out, err) = run(&["query", "load >", "--url", &server.url]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("load >") && err.contains('^'), "the error is drawn under the query: {err}");
    let (code, _, err) = run(&["query", "load", "--url", &server.url, "--time", "490", "--stats"]);
    assert_eq!(code, 0);
    assert!(err.contains("2 series, ") && err.contains("to evaluate"), "{err}");
    let range = ["--start", "0", "--end", "600", "--step", "30s", "--format", "chart"];
    let (code, chart, _) = run(&[&["query", "load", "--url", &server.url][..], &range].concat());
    assert_eq!(code, 0);
    for wanted in ["60 ┤", "└", "00:04", "A last 60", "B last 49", "{host=\"a\"}", "all are load"] {
        assert!(chart.contains(wanted), "{wanted} in\n{chart}");
    }
    assert!(!chart.contains('\u{1b}'), "no colour in a pipe");
    let (code, _, err) = run(&["query", "rate(load[5m])", "--url", &server.url, "--time", "490"]);
    assert_eq!(code, 0);
    assert!(err.contains("  rate(load[5m])\n       ^\ninfo: metric might not be a counter"), "{err}");

    // Straight on a folder, once the server has let go of it; while it runs that is refused in words.
    let data = folder.path().to_str().expect("a UTF-8 path").to_owned();
    let (code, _, err) = run(&["query", "load", "--data", &data, "--time", "490"]);
    assert_eq!(code, 1);
    assert!(err.contains(&data), "the error names the folder: {err}");
    assert!(server.stop().0.success());
    let (code, table, err) = run(&["query", "load", "--data", &data, "--time", "490"]);
    assert_eq!(code, 0, "{err}");
    assert!(table.contains("49"), "{table}");
    let (code, _, err) = run(&["query", "up", "--url", "http://127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(err.contains("127.0.0.1:1"), "the error names the address: {err}");
}

#[test]
fn the_repl_reads_a_pipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = filled(&folder);
    let mut child = binary()
        .args(["repl", "--url", &server.url])
        .env("HOME", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let lines = ".help\n.help rate\n.metrics lo\n.labels load\n.queries\n.stats on\n.time 490\nsum(\n  load\n)\n\
                 sum(load) +\n.kill 999\n.quit\n";
    stdin.write_all(lines.as_bytes()).expect("the REPL reads");
    drop(stdin);
    let output = child.wait_with_output().expect("the REPL ends");
    let out = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "a line failed: {out}");
    for wanted in [
        ".range 1h [STEP]",
        "rate(range-vector) → instant-vector",
        "  load\n",
        "2 series",
        "no query runs",
        "│    98 │",
        "2 series, ",
        "  sum(load) +\n             ^\nerror: parse error: ",
        "error: no query 999",
    ] {
        assert!(out.contains(wanted), "{wanted:?} in {out}");
    }
}

#[test]
fn blocks_are_written_and_merged_on_request() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = filled(&folder);
    let (code, out, err) = run(&["admin", "flush", "--url", &server.url]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("flushed 111 samples in ") && out.contains("blocks     0 → 1\n"), "{out}");
    let (code, out, _) = run(&["admin", "merge", "--url", &server.url, "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["merges"], &answer["after"]["blocks"]), (0, &json!(1), &json!(1)), "{out}");
    let proxied = server.post("/api/v1/admin/flush", &[("X-Forwarded-For", "10.0.0.7")], b"");
    assert_eq!(proxied.status, 403, "{}", proxied.body);
    drop(server);
    let server = Server::start(folder.path(), &["--retention", "off", "--admin-api", "off"]);
    let (code, _, err) = run(&["admin", "merge", "--url", &server.url]);
    assert!(code == 1 && err.contains("--admin-api local"), "{err}");
}

#[test]
fn retention_is_explained_by_rule() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("metrickit.toml");
    let rules = "retention_rules = ['{job=\"none\"} keep 7d', '{__name__=~\".+\"} raw 100000d, 1h for forever']\n";
    std::fs::write(&file, rules).expect("a file can be written");
    let file = file.to_str().expect("a UTF-8 path");
    let server = Server::start(folder.path(), &["--config", file]);
    let (code, out, err) = run(&["retention", "explain", "--url", &server.url]);
    assert!(code == 1 && out.starts_with("there are no series"), "{out} {err}");
    drop(server);
    drop(filled(&folder));
    let server = Server::start(folder.path(), &["--config", file]);
    let (code, out, err) = run(&["retention", "explain", "{__name__=~\".+\"}", "--url", &server.url]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("rule 2: {__name__=~\".+\"} raw 100000d, 1h for forever"), "{out}");
    assert!(out.contains("100000d") && out.contains("1h summaries"), "{out}");
    let (code, out, _) = run(&["retention", "explain", "--url", &server.url, "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["rules"], &answer["kept"][0]["rule"]), (0, &json!(2), &json!(2)), "{out}");
    let (code, _, err) = run(&["server", "--retention-rules", "up raw 5d, 5m for 4d", "--print-config"]);
    assert!(code == 2 && err.contains("rule 1, character 12: times grow"), "{err}");
}

#[test]
fn samples_are_deleted_after_a_look_and_come_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = filled(&folder);
    let on = |args: &[&str]| run(&[args, &["--url", &server.url]].concat());
    let a = "load{host=\"a\"}";
    let (code, out, err) = on(&["delete", a, "--end", "100", "--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("│ load   ┆      1 │") && out.contains("11 samples of 1 series, "), "{out}");
    let (code, _, err) = on(&["delete", a]);
    assert!(code == 2 && err.contains("--yes"), "without a terminal nobody is asked: {err}");
    let (code, out, err) = on(&["delete", a, "--yes"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("deleted 61 samples of 1 series\nuntil ") && out.contains("metrickit undelete 1"), "{out}");
    let hosts = || server.get("/api/v1/label/host/values").json()["data"].clone();
    assert_eq!(hosts(), json!(["b"]));
    let (_, out, _) = on(&["deletes"]);
    assert!(out.contains("load{host=\"a\"}") && out.contains("pending, undo until "), "{out}");
    let (code, out, _) = on(&["undelete", "1"]);
    assert_eq!((code, out.as_str()), (0, "61 samples of 1 series are back\n"));
    assert_eq!(hosts(), json!(["a", "b"]));
    let (code, _, err) = on(&["undelete", "1"]);
    assert!(code == 1 && err.contains("undone already"), "{err}");
    // What a killed server had acknowledged holds.
    assert_eq!(on(&["delete", "load", "--start", "450", "--yes"]).0, 0);
    let url = server.url.clone();
    server.kill();
    let server = Server::start(folder.path(), &["--retention", "off"]);
    assert_ne!(server.url, url);
    assert_eq!(server.query("count_over_time(load[1h])", "600")[0]["value"][1], json!("45"));
    assert_eq!(server.post("/api/v1/admin/tsdb/clean_tombstones", &[], b"").status, 204);
    assert_eq!(server.query("count_over_time(load[1h])", "600")[0]["value"][1], json!("45"));
}

#[test]
fn cardinality_names_the_label_to_blame() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = filled(&folder);
    let users = (0..1200).map(|at| {
        let labels =
            [("__name__", "logins_total"), ("user", &*format!("u{at}")), ("instance", "web1/0"), ("job", "api")];
        series(&labels, &[(now_ms(), 1.0)])
    });
    assert_eq!(server.write(&request(users.collect())).status, 204);
    let (code, out, err) = run(&["cardinality", "--url", &server.url]);
    assert_eq!(code, 0, "{err}");
    for wanted in [
        "1.2k series, 1.2k active, 1.2k new within 24h\n",
        "│ logins_total ┆   1.2k ┆ 99.8% ┆   1.2k ┆ 1.2k │\n",
        "│ user     ┆   1.2k ┆",
        "│ agent    ┆ web1 ",
        "→ label user has 1.2k values: without it there would be about 3 series",
        "`metrickit cardinality logins_total`",
    ] {
        assert!(out.contains(wanted), "{wanted} in\n{out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    let (code, out, _) = run(&["cardinality", "logins_total", "--top", "1", "--window", "1h", "--url", &server.url]);
    assert!(code == 0 && out.contains("`metrickit delete 'logins_total{user!=\"\"}'`"), "{out}");
    let (code, out, _) = run(&["cardinality", "{job=\"api\"}", "--json", "--url", &server.url]);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &answer["series"]["selected"], &answer["agents"][0]["name"]), (0, &json!(1200), &json!("web1")));
    let (code, out, _) = run(&["cardinality", "nothing", "--url", &server.url]);
    assert_eq!((code, out.as_str()), (1, "there are no series of nothing\n"));
    assert_eq!(run(&["cardinality", "--window", "soon", "--url", &server.url]).0, 2);
    // A folder tells the same without its server, also what was new.
    assert!(server.stop().0.success());
    let data = folder.path().to_str().expect("a UTF-8 path").to_owned();
    let (code, out, err) = run(&["cardinality", "--data", &data]);
    assert!(code == 0 && out.starts_with("1.2k series, ") && out.contains("1.2k new within 24h"), "{out} {err}");
}

#[test]
fn settings_say_where_they_came_from() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("metrickit.toml");
    std::fs::write(&file, "retention = \"7d\"\n").expect("a file can be written");
    let file = file.to_str().expect("a UTF-8 path");
    let (code, out, err) = run(&["server", "--config", file, "--listen", "127.0.0.1:1234", "--print-config"]);
    assert_eq!(code, 0, "{err}");
    let line = |word: &str| out.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word} in {out}"));
    assert!(line("retention").contains("7d") && line("retention").contains("metrickit.toml"), "{out}");
    assert!(line("listen").contains("127.0.0.1:1234") && line("listen").contains("flag"), "{out}");
    assert!(line("durability").contains("default"), "{out}");
    std::fs::write(file, "retension = \"7d\"\n").expect("a file can be written");
    let (code, _, err) = run(&["server", "--config", file, "--print-config"]);
    assert_ne!(code, 0);
    assert!(err.contains("retension") && err.contains("retention"), "{err}");
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (code, _, err) =
        run(&["server", "--listen", &address, "--data", folder.path().to_str().expect("a UTF-8 path")]);
    assert_ne!(code, 0);
    assert!(err.contains(&address), "{err}");
}

/// A real Go program that nobody of this project wrote shows up by itself, with its runtime.
#[test]
fn up_shows_the_host_and_a_real_go_program() {
    let Some(program) = foreign("prometheus-node-exporter") else { return };
    let exporter = std::process::Command::new(program)
        .args(["--web.listen-address", &free_address()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the exporter starts");
    let pid = exporter.id();
    let exporter = Running(exporter);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_command("up", folder.path(), &[]);
    let until = Instant::now() + PATIENCE;
    let expect = |expr: &str| {
        loop {
            let now = now_ms() as f64 / 1000.0;
            let result = server.query(expr, &now.to_string());
            if result.as_array().is_some_and(|elements| !elements.is_empty()) {
                return result;
            }
            assert!(Instant::now() < until, "{expr} stays empty");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    expect("node_load1");
    expect("sum(node_cpu_seconds_total{mode=\"idle\"}) > 0");
    expect("node_memory_MemTotal_bytes > 0");
    let info = expect(&format!("metrickit_go_process_info{{pid=\"{pid}\"}}"));
    assert!(info[0]["metric"]["go_version"].as_str().is_some_and(|version| version.starts_with("go1.")), "{info}");
    // The pid stands on the info series alone, so that a restart makes no new series of the rest.
    for metric in [
        "process_resident_memory_bytes",
        "go_goroutines",
        "go_memstats_heap_alloc_bytes",
        "go_gc_duration_seconds_count",
    ] {
        expect(&format!("{metric} * on (job, instance) group_left (pid) metrickit_go_process_info{{pid=\"{pid}\"}}"));
    }
    // A second agent, as on another host, with a queue of its own.
    let queue = folder.path().join("other-queue");
    let agent = binary()
        .args([
            "agent",
            "--receive-socket",
            "",
            "--host",
            "other",
            "--push-url",
            &format!("{}/api/v1/write", server.url),
        ])
        .args(["--push-interval", "1s", "--queue-folder", queue.to_str().expect("a UTF-8 path")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut agent = Running(agent);
    expect("node_load1{instance=\"other\"}");
    terminate(agent.0.id());
    assert!(wait(&mut agent.0).success(), "an agent stops cleanly");
    drop(exporter);
    let (status, _) = server.stop();
    assert!(status.success(), "up stops cleanly, not with {status}");
}
