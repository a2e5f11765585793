//! `metrickit export` and `metrickit import` over the real binary: what goes out comes in the same, into ours and into
//! what others wrote; what is cut off, refused or not understood is told.

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "times are far below 2^52 ms")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::exposition::{Family, TextFormat, write_families};
use model::histogram::CUSTOM_SCHEMA;
use model::remote_write::{TimeSeries, WireSample, to_wire, v2};
use model::{Histogram, MetricKind};
use prost::Message;
use support::{
    PATIENCE, Running, Server, binary, escape, foreign, free_address, http, installed, read, request, run, series,
    snappy,
};

/// A time that is a while ago, in milliseconds.
const THEN_MS: i64 = 1_700_000_000_000;
/// Keeps everything.
const KEEP: [&str; 2] = ["--retention", "off"];

/// Every kind of value and label.
fn everything(server: &Server) {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let odd = f64::from_bits(0xfff8_dead_beef_0001);
    let values = [-0.0, 0.1, 1e300, -5e-324, f64::INFINITY, f64::NEG_INFINITY, stale, odd, f64::NAN];
    let samples: Vec<(i64, f64)> = (0..).map(|at| THEN_MS + at * 1_001).zip(values).collect();
    let custom = Histogram {
        schema: CUSTOM_SCHEMA,
        count: 3.0,
        sum: -0.0,
        custom_bounds: vec![-0.5, 0.1, 7.0],
        positive: vec![model::Bucket { index: 0, count: 1.0 }, model::Bucket { index: 3, count: 2.0 }],
        ..Histogram::default()
    };
    let histograms = vec![to_wire(&custom, THEN_MS, 0), to_wire(&Histogram::stale_marker(), THEN_MS + 5, 0)];
    let answer = server.write(&request(vec![
        series(&[("__name__", "plain"), ("quoted", "a\"b\\c\nd\te"), ("é", "🦀")], &samples),
        series(&[("__name__", "my.metric"), ("a.b", "{}")], &[(i64::MIN + 1, 1.0), (0, 2.0), (THEN_MS, 3.0)]),
        TimeSeries { histograms, ..series(&[("__name__", "native")], &[(THEN_MS + 9, 1.0)]) },
    ]));
    assert_eq!(answer.status, 204, "{}", answer.body);
    // Zeros of remote write have no sign as generated code writes them.
    let lines = concat!(
        r#"{"metric":{"__name__":"plain","quoted":"a\"b\\c\nd\te","é":"🦀"},"values":[-0.0],"timestamps":[1700000000000]}"#,
        "\n",
        r#"{"metric":{"__name__":"native"},"histograms":[{"timestamp":1700000000000,"schema":-53,"count":3,"sum":-0,"#,
        r#""positive":[[0,1],[3,2]],"bounds":[-0.5,0.1,7]}]}"#
    );
    assert_eq!(server.post("/api/v1/import", &[], lines.as_bytes()).status, 204);
    let page =
        "# TYPE served counter\n# HELP served Served.\nserved_total{job=\"a\",le=\"x\"} 5 1700000000.125\n# EOF\n";
    let headers = [("Content-Type", "application/openmetrics-text")];
    assert_eq!(server.post("/api/v1/import/prometheus", &headers, page.as_bytes()).status, 204);
    let sample = WireSample { value: 1.0, timestamp: THEN_MS, start_timestamp: THEN_MS - 7 };
    let started = v2::TimeSeries { labels_refs: vec![1, 2], samples: vec![sample], ..v2::TimeSeries::default() };
    let symbols = ["", "__name__", "started_total"].map(str::to_owned).to_vec();
    let message = v2::Request { symbols, timeseries: vec![started] };
    let content_type = format!("application/x-protobuf;proto={}", v2::PROTO);
    let headers = [("Content-Type", content_type.as_str()), ("Content-Encoding", "snappy")];
    assert_eq!(server.post("/api/v1/write", &headers, &snappy(&message.encode_to_vec())).status, 204);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Runs the binary, which must succeed: standard output and error.
#[track_caller]
fn done(args: &[&str]) -> (String, String) {
    let (code, out, err) = run(args);
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    (out, err)
}

#[test]
fn everything_goes_out_and_comes_in_to_the_bit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (first, second) =
        (Server::start(&folder.path().join("a"), &KEEP), Server::start(&folder.path().join("b"), &KEEP));
    everything(&first);
    let (_, told) = done(&["export", "--url", &first.url, "--output", &file("a.jsonl.gz")]);
    assert!(told.starts_with("exported 17 samples of 5 series, "), "{told}");
    assert!(!told.contains("warning"), "{told}");
    assert!(!Path::new(&file("a.jsonl.gz.part")).exists());
    let (told, _) = done(&["import", "--url", &second.url, &file("a.jsonl.gz")]);
    assert!(told.starts_with("imported 17 samples from "), "{told}");
    let lines = done(&["export", "--url", &first.url]).0;
    assert_eq!(done(&["export", "--url", &second.url]).0, lines);
    for kept in [
        "\"stale\"",
        "nan:fff8deadbeef0001",
        "\"bounds\":[-0.5,0.1,7]",
        "\"starts\":[1699999999993]",
        "\"sum\":-0,",
        "\"values\":[-0,",
    ] {
        assert!(lines.contains(kept), "{kept} in {lines}");
    }

    // A server that was killed, its folder read without it, and from there by a pipe into one with a label more.
    second.kill();
    let data = folder.path().join("b");
    assert_eq!(done(&["export", "--data", text(&data)]).0, lines);
    let third = Server::start(&folder.path().join("c"), &KEEP);
    let mut export = binary();
    export.args(["export", "--data", text(&data), "-m", "plain"]).stdout(Stdio::piped());
    let mut export = Running(export.stderr(Stdio::null()).spawn().expect("the binary starts"));
    let pipe = export.0.stdout.take().expect("stdout is piped");
    let mut import = binary();
    import.args(["import", "--url", &third.url, "--label", "from=b", "-l", "quoted=", "-"]).stdin(pipe);
    let imported = import.output().expect("the binary runs");
    assert!(imported.status.success(), "{imported:?}");
    assert_eq!(
        third.query("count_over_time(plain[1h])", "1700000060")[0]["metric"].to_string(),
        r#"{"from":"b","é":"🦀"}"#
    );
}

#[test]
fn open_metrics_comes_back_and_promtool_takes_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let first = Server::start(&folder.path().join("a"), &KEEP);
    everything(&first);
    let mut page = String::from("# TYPE lat_seconds histogram\n# UNIT lat_seconds seconds\n");
    for at in 0..300 {
        for (le, count) in [("0.1", at), ("+Inf", 2 * at)] {
            let time = 1_700_000_000 + at * 15;
            page.extend([format!("lat_seconds_bucket{{job=\"a\",le=\"{le}\"}} {count} {time}.250\n")]);
        }
        let (count, time) = (2 * at, 1_700_000_000 + at * 15);
        page.extend([format!("lat_seconds_count{{job=\"a\"}} {count} {time}.250\n")]);
        page.extend([format!("lat_seconds_sum{{job=\"a\"}} {at}.5 {time}.250\n")]);
    }
    page += "# EOF\n";
    std::fs::write(file("page"), &page).expect("a file can be written");
    done(&["import", "--url", &first.url, &file("page")]);

    let (_, told) = done(&["export", "--url", &first.url, "-o", &file("all.txt")]);
    let left_out = "left out, because OpenMetrics text cannot say them: 2 native histograms, 1 stale marker, 1 start";
    assert!(told.contains(left_out), "{told}");
    let exported = std::fs::read_to_string(file("all.txt")).expect("the file is there");
    let body = page.trim_end_matches("# EOF\n");
    assert!(exported.contains(body), "{exported}");
    let second = Server::start(&folder.path().join("b"), &KEEP);
    done(&["import", "--url", &second.url, &file("all.txt")]);
    assert_eq!(done(&["export", "--url", &second.url, "-f", "openmetrics"]).0, exported);

    let Some(promtool) = foreign("promtool") else { return };
    // It knows the classic grammar of names alone.
    let classic = "{__name__=~\"lat_seconds.*|served_total|started_total\"}";
    done(&["export", "--url", &first.url, "-m", classic, "-o", &file("classic.txt")]);
    let tsdb = file("tsdb");
    let promtool = |args: &[&str]| {
        let output = Command::new(&promtool).args(args).stdin(Stdio::null()).output().expect("promtool runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        out.into_owned()
    };
    promtool(&["tsdb", "create-blocks-from", "openmetrics", &file("classic.txt"), &tsdb]);
    // It reads a database that was written to only with a log.
    std::fs::create_dir(folder.path().join("tsdb/wal")).expect("a folder can be made");
    let dump = promtool(&["tsdb", "dump", &tsdb]);
    assert_eq!(dump.lines().filter(|line| line.starts_with('{')).count(), 1_202);
    assert!(dump.contains("{__name__=\"served_total\", job=\"a\", le=\"x\"} 5 1700000000125"), "{dump}");
}

/// What `/metrics` and the agent print as OpenMetrics is read by a strict reader, which wants no blank between labels.
#[test]
fn promtool_takes_what_is_printed_as_open_metrics() {
    let Some(promtool) = foreign("promtool") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut busy = Family::new("busy_seconds_total", MetricKind::Counter, "Busy, by \"mode\".")
        .with(&[("cpu", "0"), ("mode", "idle"), ("host", "a\"b\\c\nd")], 1.5)
        .with(&[("cpu", "1"), ("mode", "user")], 1e300);
    busy.metadata.unit = "seconds".to_owned();
    busy.samples.iter_mut().for_each(|sample| sample.timestamp_ms = Some(THEN_MS + 1));
    let mut page = String::new();
    write_families(&[busy], TextFormat::OpenMetrics, &mut page);
    let (file, tsdb) = (folder.path().join("page"), folder.path().join("tsdb"));
    std::fs::write(&file, &page).expect("a file can be written");
    let args = ["tsdb", "create-blocks-from", "openmetrics", text(&file), text(&tsdb)];
    let output = Command::new(promtool).args(args).stdin(Stdio::null()).output().expect("promtool runs");
    assert!(output.status.success(), "{output:?} of {page}");
}

/// Waits until VictoriaMetrics answers.
fn wait_for(url: &str) {
    let until = Instant::now() + PATIENCE;
    while !http().get(format!("{url}/health")).call().is_ok_and(|answer| answer.status() == 200) {
        assert!(Instant::now() < until, "{url} does not get ready");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn victoria_metrics_and_we_read_each_other() {
    let Some(victoria) = installed("victoria-metrics") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = free_address();
    let mut command = Command::new(victoria);
    command
        .arg(format!("-storageDataPath={}", text(&folder.path().join("v"))))
        .arg(format!("-httpListenAddr={address}"));
    command.args(["-retentionPeriod=100y", "-search.latencyOffset=0s"]).stdin(Stdio::null());
    let _victoria = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let theirs = format!("http://{address}");
    wait_for(&theirs);
    let ours = Server::start(&folder.path().join("a"), &KEEP);
    everything(&ours);
    let samples: Vec<(i64, f64)> = (0..5_000).map(|at| (THEN_MS + at * 1_000, at as f64 / 8.0)).collect();
    ours.write(&request(vec![series(&[("__name__", "long"), ("job", "a")], &samples)]));

    // Ours into theirs, by their own route and by remote write.
    let lines = done(&["export", "--url", &ours.url]).0;
    assert_eq!(read(http().post(format!("{theirs}/api/v1/import")).send(lines.as_bytes())).status, 204);
    let written = folder.path().join("long.jsonl");
    done(&["export", "--url", &ours.url, "-m", "long", "-o", text(&written)]);
    done(&["import", "--url", &theirs, "--label", "by=write", text(&written)]);
    let export = || {
        let selector = escape("{__name__=~\".+\"}");
        http().get(format!("{theirs}/internal/force_flush")).call().expect("it flushes");
        read(http().get(format!("{theirs}/api/v1/export?match[]={selector}")).call()).body
    };
    let until = Instant::now() + PATIENCE;
    let mut dump = export();
    while dump.matches("\"long\"").count() < 2 || !dump.contains("plain") {
        assert!(Instant::now() < until, "{dump}");
        dump = export();
    }
    // Their dump into one of ours: all that they keep, which are numbers.
    let file = folder.path().join("theirs.jsonl");
    std::fs::write(&file, &dump).expect("a file can be written");
    let back = Server::start(&folder.path().join("b"), &KEEP);
    let (told, _) = done(&["import", "--url", &back.url, text(&file)]);
    assert!(told.starts_with("imported "), "{told}");
    for by in ["", "write"] {
        let got = back.query(&format!("long{{by=\"{by}\"}}[2h]"), "1700005000");
        let got: Vec<(i64, f64)> = got[0]["values"]
            .as_array()
            .expect("samples")
            .iter()
            .map(|pair| {
                let value = pair[1].as_str().expect("a value").parse().expect("a number");
                ((pair[0].as_f64().expect("a time") * 1000.0) as i64, value)
            })
            .collect();
        assert_eq!(got, samples, "by {by:?}");
    }
    assert_eq!(back.query("count_over_time(plain[1h])", "1700000060")[0]["value"][1], "4", "finite values");
}

#[test]
fn bad_lines_are_told_by_file_and_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("a"), &KEEP);
    let file = |name: &str, body: &[u8]| {
        std::fs::write(folder.path().join(name), body).expect("a file can be written");
        folder.path().join(name).to_str().expect("UTF-8").to_owned()
    };
    let lines =
        file("x.jsonl", b"{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[5]}\n\n{\"metric\":1}\n");
    let page = file("x.txt", b"a 1 1700000000000\nb{ 2\n\xff\nc 3\n");
    let (code, _, err) = run(&["import", "--url", &server.url, &lines]);
    assert_eq!(code, 1);
    assert!(err.contains("x.jsonl:3: column 11: expected an object, found \"1}\"; --skip-bad-lines"), "{err}");
    assert!(err.contains("imported 1 sample from"), "{err}");
    let (code, out, _) = run(&["import", "--url", &server.url, "--skip-bad-lines", &lines, &page]);
    assert_eq!(code, 1);
    assert!(out.contains("imported 3 samples from"), "{out}");
    assert!(out.contains("left out: 3 lines not understood\n  "), "{out}");
    assert!(out.contains("x.txt:2: column 4: expected") && out.contains("x.txt:3: the line is not UTF-8"), "{out}");

    let cut = file(
        "cut.jsonl",
        done(&["export", "--url", &server.url]).0.split_inclusive('\n').take(2).collect::<String>().as_bytes(),
    );
    let (code, out, _) = run(&["import", "--url", &server.url, &cut]);
    assert_eq!(code, 1);
    assert!(out.contains("cut.jsonl does not end as it should"), "{out}");
    let cut = file("cut.om", b"# TYPE a gauge\na 1 1700000000\n");
    assert!(run(&["import", "--url", &server.url, &cut]).1.contains("cut.om does not end as it should"));
    for usage in [["--label", "x"], ["--label", "=x"], ["--format", "csv"]] {
        assert_eq!(run(&["import", usage[0], usage[1], "x"]).0, 2, "{usage:?}");
    }
    let (code, _, err) = run(&["import", "--url", &server.url, "/nonexistent"]);
    assert_eq!(code, 1);
    assert!(err.contains("cannot read /nonexistent"), "{err}");
}

#[test]
fn what_retention_refuses_is_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("a"), &["--retention", "1d"]);
    let now_s = support::now_ms() / 1000;
    let line = |at: i64| format!("a{{at=\"{at}\"}} 1 {}", now_s - (at % 3) * 86_400);
    let page = (0..12_000).map(line).collect::<Vec<_>>().join("\n");
    let file = folder.path().join("x");
    std::fs::write(&file, format!("{page}\n# EOF\n")).expect("a file can be written");
    let (code, out, _) = run(&["import", "--url", &server.url, text(&file)]);
    assert_eq!(code, 1);
    assert!(out.starts_with("imported 4k samples from "), "{out}");
    assert!(out.contains("refused: 8k samples will not be taken when sent again"), "{out}");
    assert!(out.contains("the start of retention"), "{out}");
}

/// A server that answers one request after the other as told, and then what it was asked.
fn answering(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let thread = std::thread::spawn(move || {
        answers.into_iter().map(|answer| answer_one(&listener.accept().expect("a client").0, &answer)).collect()
    });
    (url, thread)
}

/// An answer without a body.
fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
}

/// A file in `folder` with two samples of a counter, one of which tells when it began.
fn with_a_start(folder: &Path) -> PathBuf {
    let file = folder.join("x.jsonl");
    let line = r#"{"metric":{"__name__":"a"},"values":[1,2],"timestamps":[1,2],"starts":[1,0]}"#;
    std::fs::write(&file, line).expect("a file can be written");
    file
}

/// Reads a request and writes `answer`; the request's head.
fn answer_one(stream: &TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    reader.take(length).read_to_end(&mut Vec::new()).expect("a body");
    let mut stream = stream;
    stream.write_all(answer.as_bytes()).expect("the client listens");
    head
}

#[test]
fn an_export_that_breaks_off_is_no_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("x.jsonl");
    let line = "{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1]}\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n";
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    for body in [
        format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"),
        format!("{head}content-length: {}\r\n\r\n{line}", line.len()),
    ] {
        let (url, thread) = answering(vec![body]);
        let (code, _, err) = run(&["export", "--url", &url, "-o", text(&file)]);
        thread.join().expect("the server ends");
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("the export broke off"), "{err}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
    let (code, _, err) = run(&["export", "--url", &format!("http://{}", free_address()), "-o", text(&file)]);
    assert_eq!(code, 1);
    assert!(err.contains("no answer from"), "{err}");
}

#[test]
fn a_busy_server_is_waited_for_and_an_old_one_spoken_to_as_it_understands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = with_a_start(folder.path());
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy".to_owned();
    let (url, thread) = answering(vec![busy, answer("204 No Content", ""), answer("200 OK", "")]);
    let (code, out, err) = run(&["import", "--url", &url, text(&file)]);
    assert_eq!(code, 0, "{out}{err}");
    let heads = thread.join().expect("the server ends").join("\n");
    assert_eq!(heads.matches("io.prometheus.write.v2.Request").count(), 2, "{heads}");
    assert_eq!(heads.to_ascii_lowercase().matches("write-version: 0.1.0").count(), 1, "{heads}");
    assert!(out.contains("imported 2 samples") && out.contains("waited for 1 times"), "{out}");
    assert!(out.contains("left out: 1 start of counters"), "{out}");

    let (url, thread) = answering(vec![answer("404 Not Found", ""), answer("404 Not Found", "")]);
    let (code, _, err) = run(&["import", "--url", &url, text(&file)]);
    thread.join().expect("the server ends");
    assert_eq!(code, 1);
    assert!(err.contains("answered with status 404"), "{err}");
}

/// A server that takes small requests only gets as many as it needs; what is too large by itself is told with its size and the
/// limit, and so is what came before it.
#[test]
fn what_a_server_finds_too_large_comes_in_parts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("a"), &[&KEEP[..], &["--request-bytes-max", "2KiB"]].concat());
    let file = folder.path().join("x.jsonl");
    let mut random = fastrand::Rng::with_seed(3);
    let mut lines = String::new();
    for host in 0..40 {
        // What does not compress: some of these lines alone are too much.
        let values: Vec<String> =
            (0..if host % 7 == 0 { 1_000 } else { 20 }).map(|_| random.f64().to_string()).collect();
        let times: Vec<String> = (0..).take(values.len()).map(|at: i64| (THEN_MS + at * 1_000).to_string()).collect();
        let described = r#"[{"metric":"a","type":"gauge","help":"A."}]"#;
        lines.extend([format!(
            "{{\"metric\":{{\"__name__\":\"a\",\"host\":\"{host}\"}},\"values\":[{}],\"timestamps\":[{}],\"metadata\":{described}}}\n",
            values.join(","),
            times.join(",")
        )]);
    }
    std::fs::write(&file, &lines).expect("a file can be written");
    let (told, _) = done(&["import", "--url", &server.url, text(&file)]);
    assert!(told.starts_with("imported 6.68k samples from "), "{told}");
    let end = (THEN_MS / 1000 + 1_000).to_string();
    assert_eq!(server.query("sum(count_over_time(a[1h]))", &end)[0]["value"][1], "6680");
    assert_eq!(server.get("/api/v1/metadata?metric=a").json()["data"]["a"][0]["help"], "A.");

    let label: String = (0..3_000).map(|_| random.alphanumeric()).collect();
    lines.extend([format!(
        "{{\"metric\":{{\"__name__\":\"b\",\"x\":\"{label}\"}},\"values\":[1],\"timestamps\":[{THEN_MS}]}}\n"
    )]);
    std::fs::write(&file, &lines).expect("a file can be written");
    let (code, _, err) = run(&["import", "--url", &server.url, text(&file)]);
    assert_eq!(code, 1, "{err}");
    assert!(err.starts_with("imported 6.68k samples from "), "{err}");
    let told = err.lines().last().expect("an error");
    assert!(told.contains("finds a request with a single sample too large: 3"), "{told}");
    assert!(told.contains(&format!("bytes for b{{x=\"{label}\"}}")), "{told}");
    assert!(told.contains("body_bytes_max") && told.contains("2048"), "{told}");
}

/// A proxy that says so for a server behind it says nothing of what that server speaks.
#[test]
fn who_finds_a_request_too_large_may_still_speak_the_newer_version() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = with_a_start(folder.path());
    let taken = answer("204 No Content", "x-prometheus-remote-write-samples-written: 1\r\n");
    let (url, thread) = answering(vec![answer("413 Too Large", ""), taken.clone(), taken]);
    let (told, _) = done(&["import", "--url", &url, text(&file)]);
    let heads = thread.join().expect("the server ends").join("\n");
    assert_eq!(heads.matches("io.prometheus.write.v2.Request").count(), 3, "{heads}");
    assert!(told.starts_with("imported 2 samples from ") && !told.contains("left out"), "{told}");
}

/// A file that is begun and will not be whole goes when its export is told to end, and until then it has one writer.
#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("x.jsonl");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut export = binary();
    export.args(["export", "--url", &url, "-o", text(&file)]).stderr(Stdio::null()).stdout(Stdio::null());
    let mut export = Running(export.spawn().expect("the binary starts"));
    let (mut stream, _) = listener.accept().expect("a client");
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n").expect("written");
    let part = folder.path().join("x.jsonl.part");
    let until = Instant::now() + PATIENCE;
    while !part.exists() {
        assert!(Instant::now() < until, "it does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Another one at the same time is not mixed into it.
    let (code, _, err) = run(&["export", "--url", &answering(vec![whole_export()]).0, "-o", text(&file)]);
    assert!(code == 1 && err.contains("is being written by another process"), "{err}");
    std::thread::sleep(Duration::from_millis(100));
    support::terminate(export.0.id());
    assert_eq!(support::wait(&mut export.0).code(), Some(143));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

/// An answer with an empty export.
fn whole_export() -> String {
    let end =
        r#"{"metric":{"__name__":"metrickit_export"},"values":[],"timestamps":[],"end":{"series":0,"chunks_lost":2}}"#;
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{end}\n", end.len() + 1)
}

/// What could not be read is told by the status too, and a device is written to and not replaced.
#[test]
fn an_export_with_holes_is_told_by_its_status() {
    let (code, out, err) = run(&["export", "--url", &answering(vec![whole_export()]).0]);
    assert!(
        code == 1 && out.contains("\"end\"") && err.contains("2 chunks of stored data cannot be read"),
        "{out}{err}"
    );
    let (code, _, err) = run(&["export", "--url", &answering(vec![whole_export()]).0, "-o", "/dev/null"]);
    assert!(code == 1 && err.contains("2 chunks of stored data cannot be read"), "{err}");
    assert!(!std::fs::metadata("/dev/null").expect("there").is_file() && !Path::new("/dev/null.part").exists());
}

/// Floats go out as rows and come in the same; what rows cannot say is told.
#[cfg(feature = "parquet")]
#[test]
fn parquet_goes_out_and_comes_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("x.parquet");
    let (first, second) =
        (Server::start(&folder.path().join("a"), &KEEP), Server::start(&folder.path().join("b"), &KEEP));
    everything(&first);
    let (_, told) = done(&["export", "--url", &first.url, "-o", text(&file)]);
    assert!(told.starts_with("exported 17 samples of 5 series, "), "{told}");
    assert!(told.contains("Parquet rows cannot say them: 2 native histograms, 1 start; "), "{told}");
    let (told, _) = done(&["import", "--url", &second.url, text(&file)]);
    assert!(told.starts_with("imported 15 samples from "), "{told}");
    let floats = |server: &Server| {
        let lines = done(&["export", "--url", &server.url, "-m", "{__name__=~\"plain|my.metric\"}"]).0;
        lines.lines().filter(|line| !line.contains("metrickit_export")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(floats(&second), floats(&first));
    let (code, _, err) = run(&["export", "--url", &first.url, "-o", text(&folder.path().join("x.parquet.gz"))]);
    assert!(code == 2 && err.contains("name it without .gz"), "{err}");
}

/// How to have it is told where it is not.
#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_is_a_matter_of_the_build() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("x.parquet");
    let (code, _, err) = run(&["export", "-o", text(&file)]);
    assert!(code == 2 && err.contains("--features parquet") && !file.exists(), "{err}");
    std::fs::write(&file, "PAR1").expect("a file can be written");
    let (code, _, err) = run(&["import", text(&file)]);
    assert!(code == 1 && err.contains("--features parquet"), "{err}");
}
