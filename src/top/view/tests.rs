//! Screens against stored ones. `METRICKIT_SCREENS=write` writes them anew, to be looked at before they are kept.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::super::data::{Detail, Key, Past, Site, Snapshot};
use super::super::state::News;
use super::*;

const NOW_MS: i64 = 1_800_000_000_000;
const PLAIN: Theme = Theme { color: false };

fn process(job: &str, instance: &str, version: &str, numbers: &[(Number, f64)]) -> Process {
    let mut process = Process::new(Key { job: job.to_owned(), instance: instance.to_owned() });
    process.version = version.to_owned();
    process.go_version = "go1.26.1".to_owned();
    process.pid = "4711".to_owned();
    for &(which, value) in numbers {
        process.set(which, value);
    }
    process
}

/// A fleet of a few, with ten minutes behind it.
fn state() -> State {
    use Number::{Allocated, Cpu, GcCpu, Goroutines, HeapLimit, HeapLive, Latency, Leak, Resident, Threads};
    const MIB: f64 = 1_048_576.0;
    let api = [
        (Goroutines, 1_503.0),
        (HeapLive, 480.0 * MIB),
        (HeapLimit, 512.0 * MIB),
        (GcCpu, 0.27),
        (Allocated, 38.0 * MIB),
        (Latency, 0.0021),
        (Cpu, 1.52),
        (Resident, 530.0 * MIB),
        (Threads, 14.0),
        (Leak, 3.0),
    ];
    let worker =
        [(Goroutines, 12.0), (HeapLive, 4.0 * MIB), (Cpu, 0.004), (Resident, 20.5 * MIB), (Threads, 7.0), (Leak, -1.0)];
    let processes = vec![
        process("worker", "web2.example.com/0", "8c5f012345", &worker),
        process("api", "web1.example.com/0", "v1.4.2", &api),
        process("hidden\u{1b}[31m", "web1.example.com/1", "", &[]),
    ];
    let mut state = State::new("http://127.0.0.1:9595".to_owned(), 2_000);
    let climb = |which, from: f64| Past {
        key: processes[1].key.clone(),
        which,
        points: (0..40)
            .map(|at| (NOW_MS - 600_000 + at * 15_000, from + f64::from(i32::try_from(at).expect("small")) * 25.0))
            .collect(),
    };
    state.take(News::Past(vec![climb(Goroutines, 500.0), climb(Cpu, 1.0)]));
    state.take(News::Snapshot(Snapshot { at_ms: NOW_MS - 1_000, processes, hidden: 0 }));
    state
}

fn detail(state: &State) -> Detail {
    let site = |site: &str, wait: &str, count: f64, growth: Option<f64>| Site {
        function: site.into(),
        created_by: "main.(*server).accept".into(),
        wait: wait.into(),
        count,
        growth,
        oldest_seconds: growth.map(|_| 7_200.0),
        place: if count > 100.0 { "/src/shop/cmd/api/main.go:41".into() } else { String::new() },
        grade: (count > 100.0).then_some(3.0),
    };
    let signals = [
        "gc_cpu_ratio",
        "gc_cycles_per_minute",
        "heap_live_growth_bytes_per_hour",
        "sched_latency_seconds p50",
        "sched_latency_seconds p99",
    ];
    Detail {
        key: state.watched().cloned().unwrap_or_default(),
        sites: vec![
            site("main.handle.func1", "chan send", 1_400.0, Some(120.0)),
            site("net/http.(*conn).serve", "IO wait", 90.0, Some(-3.0)),
            site("main.(*queue).run", "select", 12.0, None),
        ],
        growth_seconds: Some(600.0),
        signals: signals.into_iter().map(|name| (name.to_owned(), 0.27)).collect(),
        parts: vec![("runtime".into(), "memory".into()), ("heap_profile".into(), "not read, not_kept".into())],
    }
}

fn press(state: &mut State, codes: &[KeyCode]) {
    for code in codes {
        state.press(KeyEvent::from(*code));
    }
}

fn screen(state: &State, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a terminal in memory");
    terminal.draw(|frame| draw(frame, state, NOW_MS, PLAIN)).expect("it is drawn");
    let buffer = terminal.backend().buffer();
    let line = |y: u16| -> String { (0..columns).map(|x| buffer[(x, y)].symbol()).collect() };
    (0..rows).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

#[track_caller]
fn check(state: &State, columns: u16, rows: u16, name: &str) {
    let got = screen(state, columns, rows);
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/top/view/{name}_{columns}x{rows}.txt"));
    if std::env::var_os("METRICKIT_SCREENS").is_some_and(|what| what == "write") {
        std::fs::write(&file, &got).expect("the screen is kept");
    }
    let want = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(got == want, "{name}, {columns} by {rows}, is\n{got}\nand not\n{want}");
}

#[test]
fn the_list() {
    let state = state();
    check(&state, 80, 24, "list");
    check(&state, 120, 40, "list");
    check(&state, 20, 5, "list");
}

#[test]
fn a_process() {
    let mut state = state();
    press(&mut state, &[KeyCode::Enter]);
    assert!(screen(&state, 80, 24).contains("looking at its goroutines"));
    let detail = detail(&state);
    state.take(News::Detail(detail));
    check(&state, 80, 24, "process");
    check(&state, 120, 40, "process");
    check(&state, 20, 5, "process");
}

#[test]
fn help_filter_pause_and_trouble() {
    let mut state = state();
    press(&mut state, &[KeyCode::Char('?')]);
    check(&state, 80, 24, "help");
    press(&mut state, &[KeyCode::Esc, KeyCode::Char('/'), KeyCode::Char('W'), KeyCode::Char('o')]);
    assert!(screen(&state, 80, 24).contains("filter: Wo█"));
    press(&mut state, &[KeyCode::Enter, KeyCode::Char(' ')]);
    state.take(News::Failed("no answer from http://127.0.0.1:9595: refused\nstart one".into()));
    check(&state, 80, 24, "away");
    let empty = State::new("this host".to_owned(), 2_000);
    assert!(screen(&empty, 80, 24).contains("looking"));
    let mut away = State::new("http://x".to_owned(), 2_000);
    away.take(News::Failed("no answer".into()));
    assert!(screen(&away, 120, 24).contains("`metrickit top --local`"));
    let mut hidden = State::new("this host".to_owned(), 2_000);
    hidden.take(News::Snapshot(Snapshot { hidden: 7, ..Snapshot::default() }));
    assert!(screen(&hidden, 80, 24).contains("7 processes are hidden, run it as root"));
}

#[test]
fn screens_of_any_size_are_drawn() {
    let mut state = state();
    for round in 0..4 {
        for columns in [1, 2, 5, 10, 19, 20, 33, 60, 81, 119, 200] {
            for rows in 1..12 {
                screen(&state, columns, rows);
            }
        }
        match round {
            0 => press(&mut state, &[KeyCode::Enter]),
            1 => {
                let detail = detail(&state);
                state.take(News::Detail(detail));
            }
            _ => press(&mut state, &[KeyCode::Char('?')]),
        }
    }
}

#[test]
fn nothing_that_is_told_steers_the_terminal() {
    let state = state();
    assert!(!screen(&state, 120, 40).contains('\u{1b}'));
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let mut state = state();
    state.take(News::Failed("away".into()));
    let colors = |color: bool| {
        let mut terminal = Terminal::new(TestBackend::new(120, 10)).expect("a terminal in memory");
        terminal.draw(|frame| draw(frame, &state, NOW_MS, Theme { color })).expect("it is drawn");
        terminal.backend().buffer().content().iter().filter(|cell| cell.fg != Color::Reset).count()
    };
    assert_eq!(colors(false), 0);
    assert!(colors(true) > 0);
}
