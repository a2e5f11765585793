//! Pages of discovered processes over their lives: found between rounds, and followed from port to port. The process is
//! this test's own, which listens at two ports; so there is one test.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;

use agent::StopFlag;
use agent::config::Config;
use agent::go::census::Way;
use agent::go::discover::Scan;
use agent::go::identity::Life;
use agent::go::ways::{Part, Reason, Told, Ways};
use agent::go::{GoProcess, SharedProcesses};
use agent::readings::Readings;
use agent::scrape::Scraper;
use agent::stats::Stats;
use model::{Clock, ManualClock, TimestampMs};

/// What `open` says when all ports are to be closed.
const CLOSED: u16 = 1;

/// Serves `go_goroutines`, and what is the program's own, at the port that `open` says and nothing at others.
fn serve(open: &Arc<AtomicU16>) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let open = Arc::clone(open);
    let serving = std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if open.load(Ordering::SeqCst) == CLOSED {
                return;
            }
            let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let (status, body) = if open.load(Ordering::SeqCst) == port {
                ("200 OK", "go_goroutines 7\ngo_jobs 3\n")
            } else {
                ("404 None", "")
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (port, serving)
}

fn process(start_ticks: u64) -> GoProcess {
    let pid = i32::try_from(std::process::id()).expect("an id");
    GoProcess {
        life: Life { start_ticks, pid, name: "api".to_owned() },
        job: "api".to_owned(),
        instance: "web1/0".to_owned(),
        build: Arc::default(),
        same_network: true,
    }
}

/// Names, and `url` where there is one, of series with a value and of those marked stale; of `up` whether the page was read.
fn told(all: &Readings) -> (Vec<String>, Vec<String>) {
    let shown = |stale: bool| {
        let chosen = all.iter().filter(|(_, samples)| samples.is_stale_marker() == stale);
        let names = chosen.map(|(labels, _)| {
            assert_eq!((labels.get("job"), labels.get("instance")), (Some("api"), Some("web1/0")));
            format!("{} {}", labels.get("__name__").unwrap_or(""), labels.get("url").unwrap_or(""))
        });
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with("go_") || name.starts_with("metrickit_go")).collect();
        names.sort();
        let up = all.iter().filter(|(labels, _)| labels.get("__name__") == Some("up"));
        let read = up.filter(|(_, samples)| !stale && !samples.is_stale_marker());
        names.extend(read.filter_map(|(_, samples)| Some(format!("up {}", samples.value()?))));
        names
    };
    (shown(false), shown(true))
}

#[test]
fn a_process_is_read_when_found_and_followed_to_another_port() {
    let open = Arc::new(AtomicU16::new(0));
    let ((first, _), (second, second_serving)) = (serve(&open), serve(&open));
    let (processes, stop) = (SharedProcesses::default(), StopFlag::new());
    let publish = |start_ticks| {
        *processes.lock() = Arc::new(Scan { processes: vec![process(start_ticks)], ..Scan::default() });
    };
    let (stats, ways) = (Arc::new(Stats::default()), Ways::new());
    let clock = Arc::new(ManualClock::new(TimestampMs(1_000_000)));
    let mut scraper =
        Scraper::new(&Config::default(), Arc::clone(&processes), Arc::clone(&clock) as Arc<dyn Clock>, stats)
            .stopped_by(stop.clone())
            .telling(ways.clone());
    let mut told_by = |news: bool| {
        let mut all = Readings::new(0);
        if news {
            scraper.news(&mut |readings| all.append(&readings));
        } else {
            scraper.round(&mut |readings| all.append(&readings));
        }
        told(&all)
    };
    let page = |port: u16| format!("metrickit_go_page_info http://127.0.0.1:{port}/metrics");
    let live = |port: u16| vec!["go_goroutines ".to_owned(), "go_jobs ".to_owned(), page(port), "up 1".to_owned()];

    assert_eq!(told_by(false), (vec![], vec![]), "nobody is there");
    open.store(first, Ordering::SeqCst);
    publish(1);
    assert_eq!(told_by(true), (live(first), vec![]), "a process is read before the next round");
    assert_eq!(told_by(true), (vec![], vec![]), "and then with the others");
    assert_eq!(told_by(false), (live(first), vec![]));

    open.store(second, Ordering::SeqCst);
    publish(2);
    assert_eq!(told_by(true), (live(second), vec![page(first)]), "its successor continues its series");
    assert_eq!(told_by(false), (live(second), vec![]), "which nothing marks stale");

    let (key, now_ms) = ((&process(2).life).into(), clock.now().0);
    assert_eq!(ways.told(key, Part::Runtime, now_ms), Some(Told::Read(Way::Page)));
    ways.works(key, Part::Runtime, Way::Memory, &["go_goroutines"].into_iter().collect(), now_ms, 600_000);
    assert!(!ways.taken(key, Way::Pprof, now_ms).contains("go_jobs"), "which is not the runtime's");
    let info = vec!["go_jobs ".to_owned(), page(second), "up 1".to_owned()];
    assert_eq!(told_by(false), (info, vec!["go_goroutines ".to_owned()]), "memory gives it now");
    ways.cannot(key, Part::Runtime, Way::Memory, Reason::Implausible);
    assert_eq!(told_by(false), (live(second), vec![]), "and no longer");

    open.store(CLOSED, Ordering::SeqCst);
    drop(TcpStream::connect(("127.0.0.1", second)));
    second_serving.join().expect("it closes its port");
    let values = vec!["go_goroutines ".to_owned(), "go_jobs ".to_owned()];
    let down = vec![page(second), "up 0".to_owned()];
    assert_eq!(told_by(false), (down.clone(), values), "its port is closed");
    for _ in 0..30 {
        clock.advance_ms(15_000);
        assert_eq!(told_by(true), (vec![], vec![]), "which nothing hides");
        assert_eq!(told_by(false), (down.clone(), vec![]), "so that it is told for as long as it is so");
    }
    let (third, _) = serve(&open);
    open.store(third, Ordering::SeqCst);
    clock.advance_ms(15_000);
    // The same port may be given again.
    let moved = [page(second)].into_iter().filter(|_| third != second).collect();
    assert_eq!(told_by(false), (live(third), moved), "it listens at another");

    stop.stop();
    assert_eq!(told_by(false), (vec![], vec![]), "a round ends at a stop");
    let mut end = Readings::new(1);
    scraper.end(&mut end);
    assert_eq!(told(&end), (vec![], live(third)[..3].to_vec()), "which marks everything once");
}
