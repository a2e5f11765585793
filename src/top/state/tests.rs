//! Keys and news one after the other, and what the screen shows then.

use super::*;

fn process(job: &str, slot: u32, numbers: &[(Number, f64)]) -> Process {
    let mut process = Process::new(Key { job: job.to_owned(), instance: format!("web1/{slot}") });
    for &(which, value) in numbers {
        process.set(which, value);
    }
    process
}

fn state() -> State {
    let mut state = State::new("http://x".to_owned(), 2_000);
    let processes = vec![
        process("api", 0, &[(Number::Cpu, 0.5), (Number::Goroutines, 10.0)]),
        process("api", 1, &[(Number::Cpu, 1.5), (Number::Goroutines, 10.0)]),
        process("worker", 0, &[(Number::Goroutines, 900.0), (Number::Leak, 3.0)]),
    ];
    state.take(News::Snapshot(Snapshot { at_ms: 1_000, processes, hidden: 0 }));
    state
}

fn press(state: &mut State, code: KeyCode) -> Effect {
    state.press(KeyEvent::from(code))
}

fn type_text(state: &mut State, text: &str) {
    for c in text.chars() {
        assert_eq!(press(state, KeyCode::Char(c)), Effect::None);
    }
}

fn shown(state: &State) -> Vec<String> {
    let rows = state.rows();
    let selected = state.selected_row(&rows);
    let line = |(at, process): (usize, &&Process)| {
        format!("{}{} {}", if at == selected { ">" } else { "" }, process.key.job, process.key.instance)
    };
    rows.iter().enumerate().map(line).collect()
}

#[test]
fn the_list_is_sorted_by_keys() {
    let mut state = state();
    assert_eq!(shown(&state), [">api web1/1", "api web1/0", "worker web1/0"], "by CPU");
    press(&mut state, KeyCode::Char('g'));
    assert_eq!(shown(&state), [">worker web1/0", "api web1/0", "api web1/1"]);
    press(&mut state, KeyCode::Char('r'));
    assert_eq!(shown(&state), [">api web1/0", "api web1/1", "worker web1/0"]);
    press(&mut state, KeyCode::Char('l'));
    assert_eq!(shown(&state)[0], ">worker web1/0", "the grade, the largest first again");
    press(&mut state, KeyCode::Char('n'));
    assert_eq!(shown(&state), [">api web1/0", "api web1/1", "worker web1/0"]);
    press(&mut state, KeyCode::Left);
    assert_eq!(state.sort, Column::Name, "there is none before");
    for _ in 0..30 {
        press(&mut state, KeyCode::Right);
    }
    assert_eq!(state.sort, Column::Number(Number::Leak));
}

#[test]
fn the_selection_stays_with_its_process() {
    let mut state = state();
    press(&mut state, KeyCode::Char('n'));
    press(&mut state, KeyCode::Down);
    assert_eq!(shown(&state), ["api web1/0", ">api web1/1", "worker web1/0"]);
    press(&mut state, KeyCode::Char('c'));
    assert_eq!(shown(&state)[0], ">api web1/1");
    press(&mut state, KeyCode::End);
    assert_eq!(shown(&state)[2], ">worker web1/0");
    press(&mut state, KeyCode::PageDown);
    press(&mut state, KeyCode::Char('k'));
    assert_eq!(shown(&state)[1], ">api web1/0");
    press(&mut state, KeyCode::Home);
    state.take(News::Snapshot(Snapshot { at_ms: 2_000, processes: vec![process("api", 0, &[])], hidden: 0 }));
    assert_eq!(shown(&state), [">api web1/0"], "what was selected is gone");
    state.take(News::Snapshot(Snapshot::default()));
    assert_eq!((press(&mut state, KeyCode::Down), press(&mut state, KeyCode::Enter)), (Effect::None, Effect::None));
}

#[test]
fn a_filter_is_typed() {
    let mut state = state();
    press(&mut state, KeyCode::Char('/'));
    type_text(&mut state, "Worq");
    assert!(state.rows().is_empty());
    press(&mut state, KeyCode::Backspace);
    assert_eq!(shown(&state), [">worker web1/0"], "q is a letter here");
    press(&mut state, KeyCode::Enter);
    assert!(state.mode == Mode::Keys && state.filter == "Wor");
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.rows().len(), 3);
    press(&mut state, KeyCode::Char('/'));
    type_text(&mut state, &"x".repeat(200));
    assert_eq!(state.filter.len(), FILTER_CHARS_MAX);
    press(&mut state, KeyCode::Esc);
    assert!(state.mode == Mode::Keys && state.filter.is_empty());
    press(&mut state, KeyCode::Char('/'));
    press(&mut state, KeyCode::Backspace);
    assert_eq!(state.mode, Mode::Keys, "one more takes it away");
}

#[test]
fn a_process_is_opened_and_closed() {
    let mut state = state();
    press(&mut state, KeyCode::Char('g'));
    assert_eq!(press(&mut state, KeyCode::Enter), Effect::LookNow);
    let key = state.watched().expect("opened").clone();
    assert_eq!(key.job, "worker");
    let site =
        |site: &str, count: f64, growth: Option<f64>| Site { function: site.into(), count, growth, ..Site::default() };
    let sites = vec![site("a", 1.0, Some(9.0)), site("b", 5.0, None), site("c", 3.0, Some(-2.0))];
    let detail = Detail { key: key.clone(), sites, ..Detail::default() };
    state.take(News::Detail(Detail { key: Key::default(), ..detail.clone() }));
    assert_eq!(state.opened.as_ref().and_then(|opened| opened.detail.clone()), None, "of another process");
    state.take(News::Detail(detail.clone()));
    let order = |state: &State| -> String {
        state.opened.iter().flat_map(Opened::sites).map(|site| site.function.as_str()).collect()
    };
    assert_eq!(order(&state), "bca");
    press(&mut state, KeyCode::Right);
    assert_eq!(order(&state), "acb", "by growth");
    press(&mut state, KeyCode::End);
    assert_eq!(state.opened.as_ref().map(|opened| opened.selected), Some(2));
    state.take(News::Detail(Detail { sites: vec![site("a", 1.0, None)], ..detail }));
    assert_eq!(state.opened.as_ref().map(|opened| opened.selected), Some(0), "there are fewer now");
    assert!(state.opened_process().is_some());
    state.take(News::Snapshot(Snapshot::default()));
    assert!(state.opened_process().is_none(), "it ended");
    assert_eq!(press(&mut state, KeyCode::Esc), Effect::Look);
    assert_eq!(state.watched(), None);
}

#[test]
fn failures_keep_what_was_last_seen() {
    let mut state = state();
    state.take(News::Failed("no answer".into()));
    assert_eq!((state.rows().len(), state.error.as_deref()), (3, Some("no answer")));
    state.take(News::Snapshot(Snapshot::default()));
    assert_eq!(state.error, None);
}

#[test]
fn pausing_pace_help_and_ends() {
    let mut state = state();
    assert_eq!((press(&mut state, KeyCode::Char(' ')), state.paused), (Effect::Look, true));
    assert_eq!((press(&mut state, KeyCode::Char('p')), state.paused), (Effect::Look, false));
    assert_eq!((press(&mut state, KeyCode::Char('+')), state.interval_ms), (Effect::Look, 5_000));
    for _ in 0..10 {
        press(&mut state, KeyCode::Char('-'));
    }
    assert_eq!((press(&mut state, KeyCode::Char('-')), state.interval_ms), (Effect::None, 500));
    press(&mut state, KeyCode::Char('?'));
    assert_eq!(state.mode, Mode::Help);
    assert_eq!((press(&mut state, KeyCode::Char('g')), state.mode), (Effect::None, Mode::Keys), "any key");
    assert_eq!(press(&mut state, KeyCode::Char('R')), Effect::LookNow);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Effect::Quit);
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    assert_eq!((state.press(control('c')), state.press(control('x'))), (Effect::Quit, Effect::None));
    let release = KeyEvent { kind: KeyEventKind::Release, ..KeyEvent::from(KeyCode::Char('q')) };
    assert_eq!(state.press(release), Effect::None);
}

#[test]
fn any_keys_in_any_order_do_no_harm() {
    let codes = [
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Backspace,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Char('/'),
        KeyCode::Char('?'),
        KeyCode::Char('x'),
        KeyCode::Char('r'),
        KeyCode::Char('G'),
        KeyCode::Tab,
    ];
    let mut random = fastrand::Rng::with_seed(11);
    let mut state = state();
    for _ in 0..20_000 {
        state.page = random.usize(0..30);
        press(&mut state, codes[random.usize(..codes.len())]);
        if random.u8(..) < 16 {
            let processes = (0..random.u32(0..5)).map(|slot| process("p", slot, &[(Number::Cpu, random.f64())]));
            state.take(News::Snapshot(Snapshot { at_ms: 1, processes: processes.collect(), hidden: 0 }));
        }
        let rows = state.rows();
        assert!(rows.is_empty() || state.selected_row(&rows) < rows.len());
    }
}
