//! Evidence at one site, window by window.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers above zero")]

use super::*;

const W: i64 = 300_000;

/// Windows with these floors; the process began long before.
fn site(floors: &[u32]) -> Vec<SiteWindow> {
    let mut before = floors.first().copied().unwrap_or(0);
    let window = |floor: &u32| {
        let (rose, fell) = (floor.saturating_sub(before), before.saturating_sub(*floor));
        before = *floor;
        SiteWindow { floor: *floor, ceiling: *floor, blocked_floor: 0, longest_ms: 0, rose, fell, error: 0 }
    };
    floors.iter().map(window).collect()
}

fn process(count: usize) -> Vec<ProcessWindow> {
    let window = |at: i64| ProcessWindow {
        begin_ms: at * W,
        end_ms: at * W + W - 1000,
        total_floor: 0,
        net: 0,
        connections: (0, 0),
        ended_rate: None,
        load_rate: None,
    };
    (0..i64::try_from(count).expect("few")).map(window).collect()
}

fn view<'a>(site: &'a [SiteWindow], process: &'a [ProcessWindow], waiting: Waiting) -> View<'a> {
    View { site, process, base_ms: W, began_ms: -100 * W, peak_before: 0, waiting, company: 0.0 }
}

#[track_caller]
fn check(floors: &[u32], waiting: Waiting, want: Option<Grade>) {
    let (site, process) = (site(floors), process(floors.len()));
    let found = view(&site, &process, waiting).finding(&LeakOptions::default());
    assert_eq!(found.map(|finding| finding.grade), want, "{floors:?} {waiting:?}");
}

/// The oldest is blocked since the first window, of which it has been `first_ms`.
fn aged(mut windows: Vec<SiteWindow>, first_ms: u32, share: f64) -> Vec<SiteWindow> {
    for (at, window) in (0u32..).zip(&mut windows) {
        window.longest_ms = first_ms + (f64::from(at) * 300_000.0 * share) as u32;
    }
    windows
}

#[test]
fn how_often_a_floor_must_rise_follows_from_what_is_waited_for() {
    let rising = |rises: u32| (0..=rises).map(|at| 100 + at * 5).collect::<Vec<u32>>();
    for (waiting, least) in [(Waiting::Hard, 5), (Waiting::Soft, 8), (Waiting::Network, 12)] {
        check(&rising(least - 1), waiting, None);
        check(&rising(least), waiting, Some(Grade::Probable));
    }
}

#[test]
fn what_is_stuck_needs_four_rises_or_five() {
    let process = process(6);
    let (floors, options) = ([5, 10, 15, 20, 25, 30], LeakOptions::default());
    for (share, want) in [(1.0, Some(Grade::Probable)), (0.7, Some(Grade::Probable)), (0.5, None), (0.0, None)] {
        for first_ms in [1, 3_000_000] {
            let site = aged(site(&floors), first_ms, share);
            let found = view(&site, &process, Waiting::Soft).finding(&options);
            assert_eq!(found.map(|finding| finding.grade), want, "{share} from {first_ms} on");
            let later = view(&site[1..], &process[1..], Waiting::Soft).finding(&options);
            assert_eq!(later, None, "four rises of what waits for news");
            let later = view(&site[1..], &process[1..], Waiting::Hard).finding(&options);
            assert_eq!(later.map(|finding| finding.grade), want, "{share} from {first_ms} on");
        }
    }
    let site = aged(site(&floors), 1, 1.0);
    assert_eq!(view(&site, &process, Waiting::Network).finding(&options), None, "connections idle");
    let found = view(&site, &process, Waiting::Soft).finding(&options).expect("stuck");
    assert_eq!((found.base, found.top, found.since_ms), (5, 30, W - 1000));
}

#[test]
fn small_growth_dips_and_slowing_are_none() {
    let hard = Waiting::Hard;
    check(&[100, 101, 102, 103, 104, 105], hard, None);
    check(&[100, 104, 108, 108, 112, 116, 120], hard, None);
    check(&[1000, 1010, 1020, 1030, 1040, 1045], hard, None);
    check(&[1000, 1010, 1020, 1030, 1040, 1060], hard, Some(Grade::Probable));
    check(&[0, 40, 60, 70, 75, 77], hard, None);
    // A leak of 5 a window after a start with a thousand.
    check(&[0, 1000, 1010, 1020, 1030, 1040, 1050, 1060], hard, Some(Grade::Probable));
}

#[test]
fn a_young_process_warms_up() {
    let (site, process) = (site(&[0, 10, 20, 30, 40, 50]), process(6));
    for (began_ms, want) in [(-W, false), (-2 * W, true)] {
        let view = View { began_ms, ..view(&site, &process, Waiting::Hard) };
        assert_eq!(view.finding(&LeakOptions::default()).is_some(), want, "began at {began_ms}");
    }
}

#[test]
fn heights_seen_before_and_populations_that_come_and_go_are_none() {
    let floors: Vec<u32> = (0..10).map(|at| 100 + at * 10).collect();
    let (mut site, process) = (site(&floors), process(10));
    let options = LeakOptions::default();
    assert!(view(&site, &process, Waiting::Soft).finding(&options).is_some());
    let seen = View { peak_before: 500, ..view(&site, &process, Waiting::Soft) };
    assert!(seen.finding(&options).is_none());
    for window in &mut site {
        (window.rose, window.fell) = (100, 90);
    }
    assert!(view(&site, &process, Waiting::Soft).finding(&options).is_none());
    let days: Vec<ProcessWindow> = process
        .iter()
        .map(|window| ProcessWindow { begin_ms: window.begin_ms * 20, end_ms: window.end_ms * 20, ..*window })
        .collect();
    assert!(view(&site, &days, Waiting::Soft).finding(&options).is_some(), "it goes on for half a day");
}

#[test]
fn load_and_connections_explain_what_is_not_stuck() {
    let floors: Vec<u32> = (0..9).map(|at| 100 + at * 10).collect();
    let (site, plain) = (site(&floors), process(9));
    let options = LeakOptions::default();
    let grown = |by: f64, of: fn(&mut ProcessWindow, f64)| {
        let mut windows = plain.clone();
        for (at, window) in (0u32..).zip(&mut windows) {
            of(window, 50.0 * (1.0 + by * f64::from(at) / 8.0));
        }
        windows
    };
    let finds = |process: &[ProcessWindow]| view(&site, process, Waiting::Soft).finding(&options).is_some();
    for by in [0.0, 0.1] {
        assert!(finds(&grown(by, |window, load| window.load_rate = Some(load))), "load grew by {by} only");
    }
    assert!(!finds(&grown(0.8, |window, load| window.load_rate = Some(load))));
    assert!(!finds(&grown(0.5, |window, load| window.load_rate = Some(load))), "requests take longer under load");
    assert!(!finds(&grown(0.8, |window, load| window.ended_rate = Some(load))));
    assert!(finds(&grown(0.8, |window, load| window.ended_rate = Some(load / 1e4))), "too few ended to tell");
    assert!(
        !finds(&grown(1.6, |window, load| window.connections = (load as u32, load as u32))),
        "80 connections for 80 goroutines"
    );
    assert!(finds(&grown(0.8, |window, load| window.connections = (load as u32, load as u32))), "40 connections");
    let hard = view(&site, &plain, Waiting::Hard);
    let came = grown(1.6, |window, load| window.connections = (load as u32, load as u32));
    assert!(View { process: &came, ..hard }.finding(&options).is_some(), "no connection needs a lock");
}

#[test]
fn more_and_more_blocked_for_long_is_strong() {
    let process = process(6);
    let options = LeakOptions::default();
    let with_blocked = |floors: &[u32], blocked: &[u32], share: f64| {
        let mut site = aged(site(floors), 4_000_000, share);
        for (window, blocked) in site.iter_mut().zip(blocked) {
            window.blocked_floor = *blocked;
        }
        site
    };
    let grade = |site: &[SiteWindow], waiting| view(site, &process, waiting).finding(&options).map(|found| found.grade);
    let blocked = [0, 5, 10, 15, 20, 25];
    let rising = [100, 105, 110, 115, 120, 125];
    assert_eq!(grade(&with_blocked(&rising, &blocked, 1.0), Waiting::Soft), Some(Grade::Strong));
    assert_eq!(grade(&with_blocked(&rising, &blocked, 1.0), Waiting::Network), None);
    assert_eq!(grade(&with_blocked(&rising, &blocked, 0.5), Waiting::Soft), None, "the head of the queue moves on");
    assert_eq!(grade(&with_blocked(&[100; 6], &blocked, 1.0), Waiting::Soft), None, "daemons grow old");
    let restless = [100, 96, 112, 103, 108, 115];
    assert_eq!(grade(&with_blocked(&restless, &blocked, 1.0), Waiting::Soft), Some(Grade::Strong), "hidden in a pool");
}

#[test]
fn connections_that_are_served_are_given_time() {
    let floors: Vec<u32> = (0..13).map(|at| 100 + at * 10).collect();
    let (site, plain) = (site(&floors), process(13));
    let with_total = |by: u32| -> Vec<ProcessWindow> {
        let window = |(floor, window): (&u32, &ProcessWindow)| ProcessWindow { total_floor: floor * by, ..*window };
        floors.iter().zip(&plain).map(window).collect()
    };
    for (by, want) in [(1, true), (2, false)] {
        let found = view(&site, &with_total(by), Waiting::Network).finding(&LeakOptions::default());
        assert_eq!(found.is_some(), want, "{by} goroutines a connection");
    }
}

#[test]
fn what_sampling_may_be_off_by_must_be_exceeded() {
    let floors = [1000, 1020, 1040, 1060, 1080, 1100];
    for (error, want) in [(0, true), (24, true), (30, false)] {
        let mut site = site(&floors);
        for window in &mut site {
            window.error = error;
        }
        assert_eq!(view(&site, &process(6), Waiting::Hard).finding(&LeakOptions::default()).is_some(), want, "{error}");
    }
}

/// Windows with these floors, of which as many have been blocked for long as are named behind.
fn with_blocked(floors: &[(u32, u32)]) -> Vec<SiteWindow> {
    let windows = site(&floors.iter().map(|(floor, _)| *floor).collect::<Vec<_>>());
    let windows = aged(windows, 3_600_000, 1.0).into_iter().zip(floors);
    windows.map(|(window, (_, blocked))| SiteWindow { blocked_floor: *blocked, ..window }).collect()
}

#[track_caller]
fn check_blocked(floors: &[(u32, u32)], waiting: Waiting, moved: (u32, u32), want: Option<Grade>) {
    let mut site = with_blocked(floors);
    for window in &mut site {
        (window.rose, window.fell) = moved;
    }
    let process = process(site.len());
    let found = view(&site, &process, waiting).finding(&LeakOptions::default());
    assert_eq!(found.map(|finding| finding.grade), want, "{floors:?} {waiting:?}");
}

#[test]
fn bursts_of_what_stays_blocked_are_told_among_many_that_come_and_go() {
    let bursts = |high: u32| (0..12).map(|at| (60 + at / 2 * high, at / 2 * high)).collect::<Vec<_>>();
    check_blocked(&bursts(30), Waiting::Soft, (50, 40), Some(Grade::Strong));
    check_blocked(&bursts(5), Waiting::Soft, (50, 40), None);
    // The oldest of a level population grow old enough one after the other.
    let old = [(200, 0), (200, 0), (204, 48), (196, 49), (202, 49), (205, 50), (198, 53), (201, 54)];
    check_blocked(&old, Waiting::Soft, (50, 40), None);
}

#[test]
fn a_floor_of_those_who_come_and_go_rises_by_more_than_chance() {
    let process = process(7);
    for (range, moved, want) in [(40, (50, 40), false), (20, (50, 40), true), (40, (5, 0), true)] {
        let floors: Vec<_> = (0..7).map(|at| (200 + at * 5, 50 + at * 6)).collect();
        let window = |w: SiteWindow| SiteWindow { ceiling: w.floor + range, rose: moved.0, fell: moved.1, ..w };
        let site: Vec<_> = with_blocked(&floors).into_iter().map(window).collect();
        let found = view(&site, &process, Waiting::Soft).finding(&LeakOptions::default());
        assert_eq!(found.is_some(), want, "{range} {moved:?}");
    }
}

#[test]
fn connections_idle_for_long_need_twelve_rises_and_are_probable() {
    let idle = |windows: u32| (0..windows).map(|at| (40 + at * 4, at * 4)).collect::<Vec<_>>();
    check_blocked(&idle(12), Waiting::Network, (20, 16), None);
    check_blocked(&idle(13), Waiting::Network, (20, 16), Some(Grade::Probable));
}

#[test]
fn those_who_leave_late_are_seen_in_the_later_half() {
    let floors: Vec<u32> = (0..9).map(|at| 10 + at * 10).collect();
    let (mut site, process) = (site(&floors), process(9));
    for (later, want) in [(1, true), (4, false)] {
        for window in site.iter_mut().skip(5) {
            (window.rose, window.fell) = (10 + later, later);
        }
        let found = view(&site, &process, Waiting::Soft).finding(&LeakOptions::default());
        assert_eq!(found.is_some(), want, "{later} leave in each of the last windows");
    }
}

#[test]
fn connections_of_a_client_that_nobody_uses_are_told() {
    let reader = |function: &str| Site { function: function.to_owned(), ..Site::default() };
    let floors: Vec<u32> = (0..13).map(|at| 10 + at * 5).collect();
    let (site, mut process) = (site(&floors), process(13));
    for (company_of, by_connection, want) in
        [(IDLE_CLIENT, 2, true), (IDLE_CLIENT, 3, false), ("main.read", 1, true), ("main.read", 2, false)]
    {
        for (window, floor) in process.iter_mut().zip(&floors) {
            window.total_floor = 30 + floor * by_connection;
        }
        let view = View { company: company(&reader(company_of)), ..view(&site, &process, Waiting::Network) };
        assert_eq!(view.finding(&LeakOptions::default()).is_some(), want, "{company_of} with {by_connection}");
    }
}

#[test]
fn a_level_window_does_not_hide_that_a_rise_slowed_down() {
    let ramp = [0, 50, 100, 150, 200, 203, 203, 207, 210, 213, 216, 219];
    let (site, process) = (aged(site(&ramp), 1, 1.0), process(ramp.len()));
    let options = LeakOptions::default();
    assert_eq!(view(&site, &process, Waiting::Soft).finding(&options), None);
    let alone = view(&site[6..], &process[6..], Waiting::Soft).finding(&options);
    assert!(alone.is_some(), "the same without what was before");
}
