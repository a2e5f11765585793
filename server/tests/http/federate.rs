//! `/federate`, byte for byte.

use model::Histogram;
use model::sample::stale_marker;
use server::ServerOptions;

use crate::fixed::Fixed;
use crate::support::{NOW_MS, Server, block_on};

fn filled() -> Server {
    let server = Server::new();
    let minutes = |count: i64| NOW_MS - count * 60_000;
    server.write(&[("__name__", "up"), ("job", "b"), ("instance", "h:1")], &[(minutes(2), 0.0), (minutes(1), 1.0)]);
    server.write(&[("__name__", "up"), ("job", "a\"\n\\")], &[(minutes(4), 0.5)]);
    server.write(&[("__name__", "up"), ("job", "old")], &[(minutes(5), 1.0)]);
    server.write(&[("__name__", "up"), ("job", "stale")], &[(minutes(2), 1.0), (minutes(1), stale_marker())]);
    server.write(&[("__name__", "a:b")], &[(NOW_MS, 1e21), (NOW_MS + 1, 7.0)]);
    server.write(&[("__name__", "a.b"), ("c.d", "e")], &[(NOW_MS, f64::NEG_INFINITY)]);
    server
}

fn page(server: &Server, path: &str) -> String {
    let answer = block_on(server.get(path));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.body
}

#[test]
fn the_newest_samples_by_name() {
    let server = filled();
    let up = concat!(
        "# TYPE up untyped\n",
        "up{instance=\"h:1\",job=\"b\"} 1 1435781391781\n",
        "up{job=\"a\\\"\\n\\\\\",instance=\"\"} 0.5 1435781211781\n",
    );
    let names = concat!(
        "# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"e\",instance=\"\"} -Inf 1435781451781\n",
        "# TYPE a:b untyped\na:b{instance=\"\"} 1e+21 1435781451781\n",
    );
    let got = page(&server, "/federate?match[]=up");
    let mut lines: Vec<&str> = got.lines().collect();
    let mut want: Vec<&str> = up.lines().collect();
    lines.sort_unstable();
    want.sort_unstable();
    assert_eq!(lines, want, "in any order of labels");
    assert!(got.starts_with("# TYPE up untyped\n"), "{got}");
    assert_eq!(page(&server, "/federate?match[]=a:b&match[]=%7B__name__=~%22a..%22%7D"), names);
    assert_eq!(page(&server, "/federate?match[]=nothing"), "");
}

/// What is federated can be taken in again.
#[test]
fn the_page_is_the_text_format() {
    let got = page(&filled(), "/federate?match[]=%7B__name__=~%22.%2B%22%7D");
    assert_eq!(got.lines().filter(|line| !line.starts_with('#')).count(), 4, "{got}");
    let server = Server::new();
    let request = axum::http::Request::post("/api/v1/import/prometheus").header("content-type", "text/plain");
    let answer = block_on(server.call(request.body(axum::body::Body::from(got)).unwrap()));
    assert_eq!(answer.status, 204, "{}", answer.body);
    server.check(
        "/api/v1/query?query=up%7Bjob=%22b%22%7D",
        &format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{{\"metric\":{},\"value\":{}}}]}}}}",
            r#"{"__name__":"up","instance":"h:1","job":"b"}"#, r#"[1435781451.781,"1"]"#
        ),
    );
}

#[test]
fn series_whose_newest_sample_is_a_histogram_are_left_out() {
    let histogram = || (NOW_MS - 1_000, Histogram { count: 1.0, ..Histogram::default() });
    let source = Fixed::default()
        .with(&[("__name__", "x"), ("of", "both")], &[(NOW_MS - 2_000, 1.0)], &[histogram()])
        .with(&[("__name__", "x"), ("of", "floats again")], &[(NOW_MS, 2.0)], &[histogram()])
        .with(&[("__name__", "x"), ("of", "histograms")], &[], &[histogram()]);
    let server = Server::with(ServerOptions::default(), Some(source.source()));
    let want = format!("# TYPE x untyped\nx{{of=\"floats again\",instance=\"\"}} 2 {NOW_MS}\n");
    assert_eq!(page(&server, "/federate?match[]=x"), want);
}

#[test]
fn wrong_parameters_and_limits() {
    let server = filled();
    server.check_error("/federate", 400, "bad_data", "no match[] parameter provided");
    assert_eq!(block_on(server.get("/federate?match[]=%7B%7D")).status, 400);
    let mut options = ServerOptions::default();
    options.query.samples_max = 2;
    let server =
        Server::with(options, Some(Fixed::default().with(&[("__name__", "x")], &[(NOW_MS, 1.0); 3], &[]).source()));
    let message = "the answer takes more than 2 samples, the limit of one query";
    server.check_error("/federate?match[]=x", 422, "execution", message);
    let mut options = ServerOptions::default();
    options.query.series_max = 1;
    let two = Fixed::default().with(&[("__name__", "x")], &[(NOW_MS, 1.0)], &[]).with(&[("__name__", "y")], &[], &[]);
    let server = Server::with(options, Some(two.source()));
    assert_eq!(block_on(server.get("/federate?match[]=x")).status, 200);
    let message = "the answer takes more than 1 series, the limit of one query";
    server.check_error("/federate?match[]=x&match[]=y", 422, "execution", message);
}
