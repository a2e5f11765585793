//! A real Go program with the client of `sdk/go` in it pushes to the real server: its runtime, its own metrics and its
//! HTTP traffic are there under the names that PromQL is asked for, and end when the program does. With the agent between
//! them nothing that the agent acknowledged is lost, whoever is killed.

#![expect(clippy::float_cmp, reason = "counts are whole numbers and meant to be equal")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{PATIENCE, Running, Server, binary, escape, foreign, free_address, http, now_ms, read, terminate, wait};

/// Orders that the test places.
const ORDERS: u32 = 40;

/// Go on the PATH, or where its own installer puts it; in CI it must be there.
fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    if usual.is_file() { Some(usual) } else { foreign("go") }
}

/// Builds the example into `folder`; nothing is fetched, as the client has no dependencies.
fn build_example(go: &Path, folder: &Path) -> PathBuf {
    let program = folder.join("web");
    let built = Command::new(go)
        .args(["build", "-o"])
        .arg(&program)
        .arg("./examples/web")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/go"))
        .env("GOCACHE", go_cache(folder))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .stdin(Stdio::null())
        .output()
        .expect("go runs");
    assert!(built.status.success(), "go build: {}", String::from_utf8_lossy(&built.stderr));
    program
}

/// Go's own cache where it can have one, else a folder of the test.
fn go_cache(folder: &Path) -> PathBuf {
    match (std::env::var_os("GOCACHE"), std::env::var_os("HOME")) {
        (Some(cache), _) => cache.into(),
        (None, Some(home)) => Path::new(&home).join(".cache/go-build"),
        (None, None) => folder.join("go-build"),
    }
}

/// The one number that `expr` gives now, once it gives one for which `holds`.
fn eventually(server: &Server, expr: &str, holds: impl Fn(f64) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let result = server.query(expr, &(now_ms() / 1000 + 1).to_string());
        let number = result[0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        if number.is_some_and(&holds) {
            return;
        }
        assert!(Instant::now() < until, "{expr} is {result}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts the example; returns it and its address.
fn start_web(program: &Path, environment: &[(&str, &str)]) -> (Running, String) {
    let mut web = Command::new(program)
        .args(["-listen", "127.0.0.1:0"])
        .env("METRICKIT_INTERVAL", "200ms")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map(Running)
        .expect("the example starts");
    let mut line = String::new();
    BufReader::new(web.0.stdout.take().expect("stdout is piped")).read_line(&mut line).expect("a line");
    let shop = line.trim().strip_prefix("listening on ").expect("it tells its address").to_owned();
    (web, shop)
}

/// Places `count` orders.
fn order(shop: &str, count: u32) {
    let client = http();
    for _ in 0..count {
        let answer = read(client.post(format!("{shop}/order?kind=express")).send_empty());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

/// Starts an agent that listens at `socket`, with its queue in `folder`, and waits until it listens.
fn start_agent(folder: &Path, socket: &str, url: &str) -> Running {
    let agent = binary()
        .args(["agent", "--host", "web1", "--environment", "prod", "--receive-socket", socket])
        .args(["--push-url", &format!("{url}/api/v1/write"), "--push-interval", "50ms", "--poll-interval", "300ms"])
        .args(["--push-backoff-min", "50ms", "--push-backoff-max", "200ms", "--go-metrics=false", "--go-expvar=false"])
        .arg("--queue-folder")
        .arg(folder.join("queue"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(if std::env::var_os("METRICKIT_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() })
        .spawn()
        .map(Running)
        .expect("the agent starts");
    let until = Instant::now() + PATIENCE;
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < until, "the agent does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    agent
}

#[test]
fn with_the_agent_between_nothing_acknowledged_is_lost() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = build_example(&go, folder.path());
    let (address, data) = (free_address(), folder.path().join("data"));
    let socket = folder.path().join("agent.sock");
    let socket = socket.to_str().expect("a UTF-8 path");
    let server = Server::start_at("server", &address, &data, &[]);
    let mut agent = start_agent(folder.path(), socket, &server.url);
    let (mut web, shop) = start_web(&program, &[("METRICKIT_URL", "off"), ("METRICKIT_SOCKET", socket)]);
    let orders = |count: u32| format!("sum(shop_orders_total{{env=\"prod\",kind=\"express\"}}) == {count}");
    order(&shop, 10);
    for expr in [
        orders(10),
        r#"metrickit_agent_push_protocol_info{version="2.0"} == 1"#.to_owned(),
        // The agent finds the program too, and leaves to it what it pushes.
        r#"count(process_threads{job="web"}) == 1"#.to_owned(),
        r#"count(metrickit_go_process_info{job="web"}) == 1"#.to_owned(),
        r#"histogram_count(go_sched_latencies_seconds{env="prod"}) > 0"#.to_owned(),
        r#"increase_pure(shop_orders_total{kind="express"}[1h]) > 9"#.to_owned(),
    ] {
        eventually(&server, &expr, |_| true);
    }

    // The server goes away, then the agent: the program keeps what nobody acknowledged.
    let url = server.url.clone();
    server.kill();
    order(&shop, 10);
    std::thread::sleep(Duration::from_millis(600));
    agent.0.kill().expect("the agent can be killed");
    agent.0.wait().expect("the agent is gone");
    order(&shop, 10);
    std::thread::sleep(Duration::from_millis(600));
    let _agent = start_agent(folder.path(), socket, &url);
    order(&shop, 10);
    std::thread::sleep(Duration::from_millis(600));
    let server = Server::start_at("server", &address, &data, &[]);
    eventually(&server, &orders(40), |_| true);
    terminate(web.0.id());
    assert!(wait(&mut web.0).success(), "the agent took everything when it ended");
    eventually(&server, r#"absent(shop_orders_total{kind="express"})"#, |_| true);

    // What the program counted as taken is there, sample by sample.
    let at = (now_ms() / 1000 + 1).to_string();
    let number = |expr: &str| -> f64 {
        let result = server.query(expr, &at);
        result[0]["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{expr}: {result}"))
    };
    let acknowledged = number(r#"max_over_time(metrickit_sdk_samples_total{outcome="sent"}[1h])"#);
    let kept = number(r#"sum(count_over_time({job="web",env="prod"}[1h]))"#);
    assert!(acknowledged > 300.0 && kept >= acknowledged, "{acknowledged} acknowledged, {kept} kept");
    for outcome in ["rejected", "dropped"] {
        let lost =
            server.query(&format!("max_over_time(metrickit_sdk_samples_total{{outcome=\"{outcome}\"}}[1h]) > 0"), &at);
        assert_eq!(lost, serde_json::json!([]), "{outcome}");
    }
}

#[test]
fn a_go_program_with_the_client_is_seen() {
    let Some(go) = go() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = build_example(&go, folder.path());
    let server = Server::start(&folder.path().join("data"), &[]);
    let (mut web, shop) = start_web(
        &program,
        &[("METRICKIT_URL", &server.url), ("METRICKIT_SOCKET", "off"), ("METRICKIT_ENVIRONMENT", "test")],
    );
    let client = http();
    order(&shop, ORDERS);
    assert_eq!(read(client.get(format!("{shop}/order")).call()).status, 405);

    let of_web = r#"{job="web",env="test"}"#;
    let orders = f64::from(ORDERS);
    eventually(&server, &format!("shop_orders_total{of_web}"), |_| true);
    for (expr, holds) in [
        (format!("go_goroutines{of_web}"), &(|n| n >= 3.0) as &dyn Fn(f64) -> bool),
        (format!("go_info{of_web}"), &|n| n >= 1.0),
        (format!("metrickit_go_process_info{{pid=\"{}\"}}", web.0.id()), &|n| n >= 1.0),
        (format!("process_resident_memory_bytes{of_web}"), &|n| n > 1e6),
        (format!("histogram_count(go_sched_latencies_seconds{of_web})"), &|n| n > 0.0),
        (format!("histogram_quantile(0.99, go_sched_latencies_seconds{of_web})"), &|n| n > 0.0 && n < 60.0),
        (format!("histogram_quantile(0.5, go_gc_heap_allocs_by_size_bytes{of_web})"), &|n| n > 1.0 && n < 32769.0),
        (r#"shop_orders_total{kind="express"}"#.to_owned(), &|n| n == orders),
        (r#"sum(http_requests_total{route="/order",status="2xx"})"#.to_owned(), &|n| n == orders),
        (r#"sum(http_requests_total{route="/order",status="4xx"})"#.to_owned(), &|n| n == 1.0),
        (r#"histogram_count(http_request_duration_seconds{route="/order",status="2xx"})"#.to_owned(), &|n| n == orders),
        (r#"histogram_quantile(0.9, http_request_duration_seconds{route="/order",status="2xx"})"#.to_owned(), &|n| {
            n > 0.0 && n < 60.0
        }),
        // The counter is known to have begun at zero: its first value counts.
        (r#"round(increase_pure(shop_orders_total{kind="express"}[1h]))"#.to_owned(), &|n| n == orders),
        (r#"histogram_avg(shop_order_value_euros{kind="express"})"#.to_owned(), &|n| n > 20.0 && n < 100.0),
        ("sum(metrickit_sdk_samples_total{outcome=\"rejected\"})".to_owned(), &|n| n <= 0.0),
    ] {
        eventually(&server, &expr, holds);
    }
    let metadata = server.get(&format!("/api/v1/metadata?metric={}", escape("go_sched_latencies_seconds"))).json();
    assert_eq!(metadata["data"]["go_sched_latencies_seconds"][0]["type"], "histogram", "{metadata}");

    terminate(web.0.id());
    assert!(wait(&mut web.0).success(), "everything was sent when it ended");
    let at = (now_ms() / 1000 + 1).to_string();
    for gone in [format!("go_goroutines{of_web}"), format!("go_sched_latencies_seconds{of_web}")] {
        assert_eq!(server.query(&gone, &at), serde_json::json!([]), "{gone} is marked as ended");
    }
    let after = server.query(r#"max_over_time(shop_orders_total{kind="express"}[5m])"#, &at);
    assert_eq!(after[0]["value"][1], ORDERS.to_string(), "{after}");
}
