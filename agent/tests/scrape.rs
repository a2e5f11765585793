//! Scraping of real pages over HTTP: what arrives, what is marked stale, what is refused.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::config::{Config, TargetSpec};
use agent::go::SharedProcesses;
use agent::readings::Readings;
use agent::scrape::Scraper;
use agent::scrape::target::{Limits, OwnProcess, Target};
use agent::stats::Stats;
use model::{ManualClock, TimestampMs};

/// A server whose pages tests change: path to head lines and body.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<HashMap<String, Page>>>);

type Page = (String, Vec<u8>);

impl Pages {
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let pages = Self::default();
        let server = pages.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                let Some(Ok(first)) = lines.next() else { continue };
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let path = first.split(' ').nth(1).unwrap_or("").to_owned();
                let page = server.0.lock().expect("not poisoned").get(&path).cloned();
                let (head, body) = page.unwrap_or(("404 Not Found".to_owned(), Vec::new()));
                let length = body.len();
                let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
                let _ = stream.write_all(&body);
            }
        });
        (pages, url)
    }

    fn set(&self, path: &str, head: &str, body: &[u8]) {
        self.0.lock().expect("not poisoned").insert(path.to_owned(), (head.to_owned(), body.to_vec()));
    }
}

fn scraper(urls: &[String], change: impl Fn(&mut Config)) -> (Scraper, Arc<ManualClock>) {
    let (scraper, clock, _) = scraper_with_stats(urls, change);
    (scraper, clock)
}

fn scraper_with_stats(urls: &[String], change: impl Fn(&mut Config)) -> (Scraper, Arc<ManualClock>, Arc<Stats>) {
    let mut config = Config { host: "web1".to_owned(), ..Config::default() };
    let target = |url: &String| TargetSpec { url: url.clone(), job: "t".to_owned(), ..TargetSpec::default() };
    config.targets = urls.iter().map(target).collect();
    change(&mut config);
    let clock = Arc::new(ManualClock::new(TimestampMs(1000)));
    let stats = Arc::new(Stats::default());
    let scraper = Scraper::new(&config, SharedProcesses::default(), clock.clone(), Arc::clone(&stats));
    (scraper, clock, stats)
}

/// One round: each series without target labels, `stale` or its value; timings are left out.
fn round(scraper: &mut Scraper) -> Vec<String> {
    let mut all = Readings::new(0);
    scraper.round(&mut |readings| all.append(&readings));
    let mut shown: Vec<String> = all
        .iter()
        .filter(|(labels, _)| {
            !["scrape_duration_seconds", "metrickit_scrape_bad_lines"].contains(&labels.get("__name__").unwrap_or(""))
        })
        .map(|(labels, samples)| {
            let own: Vec<String> = labels
                .iter()
                .filter(|(name, _)| !["__name__", "job", "instance"].contains(name))
                .map(|(name, value)| format!(" {name}={value}"))
                .collect();
            let value = samples.value().expect("a float");
            let value = if samples.is_stale_marker() { "stale".to_owned() } else { value.to_string() };
            format!("{}{} {value}", labels.get("__name__").unwrap_or(""), own.concat())
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn what_vanishes_is_marked_stale() {
    let (pages, url) = Pages::start();
    let (mut scraper, clock) = scraper(&[url], |_| ());
    let mut step = |head: &str, body: &str| {
        pages.set("/metrics", head, body.as_bytes());
        clock.advance_ms(1000);
        round(&mut scraper)
    };
    assert_eq!(step("200 OK", "a 1\nb{x=\"1\"} 2\n"), ["a 1", "b x=1 2", "scrape_samples_scraped 2", "up 1"]);
    assert_eq!(
        step("200 OK", "a 1\nb{x=\"2\"} 3\n"),
        ["a 1", "b x=1 stale", "b x=2 3", "scrape_samples_scraped 2", "up 1"]
    );
    assert_eq!(step("500 Broken", "a 1\n"), ["a stale", "b x=2 stale", "scrape_samples_scraped 0", "up 0"]);
    assert_eq!(step("500 Broken", "a 1\n"), ["scrape_samples_scraped 0", "up 0"]);
    assert_eq!(step("200 OK", "a 1\n"), ["a 1", "scrape_samples_scraped 1", "up 1"]);
    let mut end = Readings::new(9000);
    scraper.end(&mut end);
    assert!(end.len() == 5 && end.iter().all(|(_, samples)| samples.is_stale_marker()));
}

#[test]
fn kinds_of_pages() {
    let (pages, url) = Pages::start();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"a 1\n").expect("compressed");
    pages.set("/gzip", "200 OK\r\nContent-Encoding: gzip", &gzip.finish().expect("compressed"));
    pages.set(
        "/om",
        "200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0",
        b"# TYPE c counter\nc_total 2\n# EOF\n",
    );
    pages.set("/vars", "200 OK\r\nContent-Type: application/json", br#"{"memstats":{"Alloc":3},"n":4}"#);
    pages.set("/empty", "200 OK", b"");
    for (path, want) in [
        ("/gzip", &["a 1", "scrape_samples_scraped 1", "up 1"][..]),
        ("/om", &["c_total 2", "scrape_samples_scraped 1", "up 1"]),
        ("/vars", &["expvar_n 4", "go_memstats_alloc_bytes 3", "scrape_samples_scraped 2", "up 1"]),
        ("/empty", &["scrape_samples_scraped 0", "up 1"]),
    ] {
        let (mut scraper, _) = scraper(&[format!("{url}{path}")], |_| ());
        assert_eq!(round(&mut scraper), want, "{path}");
    }
}

#[test]
fn what_is_no_page_is_down() {
    let (pages, url) = Pages::start();
    pages.set("/metrics", "200 OK", b"a 1\n");
    pages.set("/moved", "302 Found\r\nLocation: /metrics", b"");
    pages.set("/html", "200 OK\r\nContent-Type: text/html", b"<html><body>no samples here</body></html>");
    pages.set("/long", "200 OK", "a 1\n".repeat(1000).as_bytes());
    pages.set("/many", "200 OK", "m 1\n".repeat(11).as_bytes());
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    bomb.write_all(&vec![b'\n'; 1 << 20]).expect("compressed");
    pages.set("/bomb", "200 OK\r\nContent-Encoding: gzip", &bomb.finish().expect("compressed"));
    pages.set("/brotli", "200 OK\r\nContent-Encoding: br", b"a 1\n");
    for path in ["/moved", "/html", "/long", "/many", "/bomb", "/brotli", "/nowhere"] {
        let (mut scraper, _) = scraper(&[format!("{url}{path}")], |config| {
            config.scrape.body_bytes_max = 2048;
            config.scrape.samples_max = 10;
        });
        assert_eq!(round(&mut scraper), ["scrape_samples_scraped 0", "up 0"], "{path}");
    }
}

/// A page of another agent without a runtime, such as one written in another language, is no failure.
#[test]
fn a_page_of_which_nothing_is_wanted_is_up() {
    let (pages, url) = Pages::start();
    pages.set("/metrics", "200 OK", b"cpu_usage_idle 1\n");
    pages.set("/debug/vars", "200 OK\r\nContent-Type: application/json", b"{\"requests\":1}");
    let client = agent::http::Client::direct();
    let limits = Limits { timeout: Duration::from_mins(1), body_bytes_max: 1000, samples_max: 10 };
    for path in ["/metrics", "/debug/vars"] {
        for (runtime_only, samples) in [(true, 0.0), (false, 1.0)] {
            let process = Some(OwnProcess { runtime_only, ..OwnProcess::default() });
            let target = Target { url: format!("{url}{path}"), labels: Vec::new(), process };
            let (readings, error) = target.scrape(&client, &limits, 1);
            assert!(error.is_none(), "{path}: {error:?}");
            assert_eq!(readings.value_of("up"), Some(1.0), "{path}");
            assert_eq!(readings.value_of("scrape_samples_scraped"), Some(samples), "{path}");
        }
    }
}

#[test]
fn many_targets_at_once_keep_apart() {
    let (pages, url) = Pages::start();
    let urls: Vec<String> = (0..9).map(|n| format!("{url}/{n}")).collect();
    for n in (0..9).filter(|n| *n != 4) {
        pages.set(&format!("/{n}"), "200 OK", format!("m{n} 1\n").as_bytes());
    }
    let (mut scraper, _, stats) = scraper_with_stats(&urls, |_| ());
    let shown = round(&mut scraper);
    assert!(stats.cpu_us.get() > 0, "what the helping threads cost is counted");
    assert_eq!(shown.iter().filter(|line| *line == "up 1").count(), 8);
    assert_eq!(shown.iter().filter(|line| *line == "up 0").count(), 1);
    assert!((0..9).filter(|n| *n != 4).all(|n| shown.contains(&format!("m{n} 1"))));
}

/// A server that keeps its connections and counts them.
fn keeping() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/metrics", listener.local_addr().expect("bound"));
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
                while lines.by_ref().map_while(Result::ok).any(|line| line.is_empty()) {
                    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nm 1\n\r\n0\r\n\r\n";
                    stream.write_all(answer.as_bytes()).expect("the scraper listens");
                }
            });
        }
    });
    (url, connections)
}

#[test]
fn rounds_share_the_connections_that_targets_keep() {
    let (targets, counts): (Vec<String>, Vec<Arc<AtomicUsize>>) = (0..6).map(|_| keeping()).unzip();
    let (mut scraper, clock) = scraper(&targets, |_| ());
    for second in 1..=4 {
        clock.set(TimestampMs(second * 10_000));
        let shown = round(&mut scraper);
        assert_eq!(shown.iter().filter(|line| *line == "up 1").count(), 6, "{shown:?}");
    }
    let connections: Vec<usize> = counts.iter().map(|count| count.load(Ordering::SeqCst)).collect();
    assert_eq!(connections, [1; 6]);
}
