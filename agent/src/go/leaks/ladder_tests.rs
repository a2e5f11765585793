//! The ladder, census by census.

use super::*;
use crate::go::census::Way;
use crate::go::leaks::allow::{AllowList, Pattern};

const MINUTE: i64 = 60_000;

fn site(function: &str, wait: &str) -> Site {
    Site { function: function.to_owned(), created_by: "main.main".to_owned(), wait: wait.to_owned() }
}

fn census(at_ms: i64, counts: &[(&str, &str, u64)]) -> Census {
    let count = |count| SiteCount { count, ..SiteCount::default() };
    let sites = counts.iter().map(|&(function, wait, number)| (site(function, wait), count(number))).collect();
    let total = counts.iter().map(|(.., number)| number).sum();
    Census { way: Way::Memory, at_ms, total, states: None, sites, looked_at: total }
}

/// Feeds a census a minute; `counts` are of minute 0, 1 and so on.
fn run<'a>(
    minutes: i64,
    counts: impl Fn(u64) -> Vec<(&'a str, &'a str, u64)>,
    created: Option<fn(u64) -> u64>,
) -> Ladder {
    let options = LeakOptions::default();
    let (mut ladder, mut baseline) = (Ladder::default(), Baseline::default());
    for minute in 0..minutes {
        let number = minute.unsigned_abs();
        let vitals = Vitals { began_ms: -60 * MINUTE, created: created.map(|created| created(number)), load: None };
        ladder.observe(&census(minute * MINUTE, &counts(number)), &vitals, &mut baseline, &options);
    }
    ladder
}

fn verdict(ladder: &Ladder) -> Verdict {
    ladder.verdict(&LeakOptions::default())
}

#[test]
fn a_leak_is_told_with_its_evidence_and_falls_when_released() {
    let leak = |minute: u64| vec![("main.leak", "chan send", 5 + 2 * minute), ("main.daemon", "select", 9)];
    let mut ladder = run(41, leak, None);
    let told = verdict(&ladder);
    assert_eq!((told.grade, told.sites.len()), (Grade::Probable, 1), "{told:?}");
    let of = &told.sites[0];
    assert_eq!((of.site.function.as_str(), of.count, of.since_ms), ("main.leak", 85, 4 * MINUTE));
    assert!((of.growth_per_hour - 120.0).abs() < 1.0 && of.floors.starts_with(&[5, 15, 25]), "{of:?}");
    let mut baseline = Baseline::default();
    for minute in 41..47 {
        let few = census(minute * MINUTE, &[("main.leak", "chan send", 4), ("main.daemon", "select", 9)]);
        ladder.observe(&few, &Vitals::default(), &mut baseline, &LeakOptions::default());
    }
    assert_eq!(verdict(&ladder), Verdict::default(), "the goroutines are gone");
}

#[test]
fn a_verdict_falls_some_time_after_the_last_evidence() {
    let stopped = |minute: u64| vec![("main.leak", "chan send", 5 + 2 * minute.min(40))];
    let grade = |minutes| verdict(&run(minutes, stopped, None)).grade;
    assert_eq!([grade(41), grade(41 + 35), grade(41 + 50)], [Grade::Probable, Grade::Probable, Grade::Nothing]);
}

#[test]
fn goroutines_that_change_what_they_wait_for_are_judged_together() {
    // They flit between two waits, so that the number at each of them jumps about; together they rise.
    let flit = |minute: u64| {
        let all = 20 + minute;
        let some = (minute * 7919) % all;
        vec![("main.poll", "select", some), ("main.poll", "sleep", all - some)]
    };
    let told = verdict(&run(80, flit, None));
    let named: Vec<_> = told.sites.iter().map(|of| (of.site.function.as_str(), of.site.wait.as_str())).collect();
    assert_eq!(named, [("main.poll", ANY_WAIT)]);
    let one_leaks = |minute: u64| vec![("main.f", "chan send", 10 + minute), ("main.f", "select", 7)];
    let told = verdict(&run(80, one_leaks, None));
    assert_eq!(told.sites.len(), 1, "a part that tells it is not told twice: {told:?}");
    assert_eq!(told.sites[0].site.wait, "chan send");
}

#[test]
fn goroutines_that_all_wake_at_once_are_told_on() {
    // Those that sleep leak. At a single look most are awake, as on a busy machine.
    let wake = |minute: u64, awake: u64| {
        let all = 20 + minute;
        let awake = if minute == 97 { all * awake / 100 } else { 0 };
        vec![("main.retry", "sleep", all - awake), ("main.retry", "runnable", awake)]
    };
    for awake in [60, 90, 100] {
        let alone = |minute| wake(minute, awake).into_iter().filter(|(.., count)| *count > 0).collect();
        for minutes in [96, 101, 106, 111, 136] {
            let told = verdict(&run(minutes, alone, None));
            let named: Vec<_> =
                told.sites.iter().map(|of| (of.site.function.as_str(), of.count, of.since_ms)).collect();
            let want = ("main.retry", 19 + minutes.unsigned_abs(), 4 * MINUTE);
            assert_eq!(named, [want], "{awake} % awake, {minutes} minutes");
        }
        let wait = |minutes| verdict(&run(minutes, alone, None)).sites[0].site.wait.clone();
        let later: Vec<_> = (106..200).step_by(5).map(wait).collect();
        assert!(later.iter().all(|wait| wait == ANY_WAIT), "it is told in one way from then on: {later:?}");
    }
}

#[test]
fn a_verdict_on_what_is_not_judged_ends() {
    let pattern = Pattern::parse("main.pump@IO wait").expect("a pattern");
    let options = LeakOptions { allow: AllowList::new(vec![pattern]), ..LeakOptions::default() };
    let (mut ladder, mut baseline) = (Ladder::default(), Baseline::default());
    let mut grades = Vec::new();
    for minute in 0..90u64 {
        let counts = match minute {
            0..62 => vec![("main.pump", "select", 5 + 2 * minute)],
            62 => vec![("main.pump", "select", 9), ("main.pump", "runnable", 120)],
            _ => vec![("main.rest", "select", 5)],
        };
        let census = census(i64::try_from(minute).expect("small") * MINUTE, &counts);
        ladder.observe(&census, &Vitals { began_ms: -60 * MINUTE, ..Vitals::default() }, &mut baseline, &options);
        grades.push(ladder.verdict(&options).grade);
    }
    assert_eq!((grades[61], grades[89]), (Grade::Probable, Grade::Nothing));
}

#[test]
fn each_leak_of_a_function_is_told() {
    let both = |minute: u64| {
        let awake = if minute == 47 { 60 } else { 0 };
        vec![
            ("main.f", "chan send", 70 + 3 * minute - awake),
            ("main.f", "runnable", awake),
            ("main.f", "select", 3 * minute.saturating_sub(50)),
        ]
    };
    let told = verdict(&run(160, both, None));
    let mut waits: Vec<_> = told.sites.iter().map(|of| of.site.wait.as_str()).collect();
    waits.sort_unstable();
    assert_eq!(waits, ["chan send", "select"]);
}

#[test]
fn a_level_population_that_wakes_at_once_is_none() {
    for awake in [10, 60, 99, 100] {
        let wake = |minute: u64| {
            let awake = if minute % 48 == 1 { awake } else { 0 };
            let some = vec![("main.poll", "sleep", 100 - awake), ("main.poll", "runnable", awake)];
            some.into_iter().filter(|(.., count)| *count > 0).collect()
        };
        for minutes in (30..260).step_by(5) {
            assert_eq!(verdict(&run(minutes, wake, None)), Verdict::default(), "{awake} % awake, {minutes} minutes");
        }
    }
}

#[test]
fn connections_whose_readers_wake_at_once_are_none() {
    // One more connection in two and a half minutes, with one that reads and one that writes. At a look most readers are awake.
    let connections = |minute: u64| {
        let all = 20 + minute * 2 / 5;
        let awake = if minute == 52 || minute == 97 { all * 3 / 5 } else { 0 };
        vec![("main.read", "IO wait", all - awake), ("main.read", "runnable", awake), ("main.write", "select", all)]
    };
    for minutes in (50..200).step_by(5) {
        let told = verdict(&run(minutes, connections, None)).sites;
        assert!(told.is_empty(), "{minutes} minutes: {told:?}");
    }
}

#[test]
fn sites_that_wake_at_once_do_not_take_the_place_of_others() {
    let names: Vec<String> = (0..100).map(|number| format!("main.f{number:02}")).collect();
    let options = LeakOptions { sites_max: 128, ..LeakOptions::default() };
    let (mut ladder, mut baseline) = (Ladder::default(), Baseline::default());
    for minute in 0..110u64 {
        let wait = if minute == 32 { "runnable" } else { "chan send" };
        let mut counts: Vec<_> = names.iter().map(|name| (name.as_str(), wait, 200)).collect();
        counts[7].2 = 5 + minute;
        let census = census(i64::try_from(minute).expect("small") * MINUTE, &counts);
        ladder.observe(&census, &Vitals { began_ms: -60 * MINUTE, ..Vitals::default() }, &mut baseline, &options);
        let followed: BTreeSet<_> = ladder.sites.keys().map(|site| site.function.clone()).collect();
        assert!(followed.len() == 100 && ladder.followed() <= 128, "{} at {minute}", followed.len());
    }
    let told: Vec<_> = ladder.verdict(&options).sites.iter().map(|of| of.site.function.clone()).collect();
    assert_eq!(told, ["main.f07"]);
}

#[test]
fn allowed_sites_are_judged_by_the_runtime_alone() {
    let kept = |minute: u64| {
        vec![("net/http.(*conn).serve", "IO wait", 5 + 4 * minute), ("runtime.bgsweep", "GC sweep wait", minute * 9)]
    };
    assert!(verdict(&run(200, kept, None)).sites.is_empty());
}

#[test]
fn the_runtime_proves() {
    let (options, mut baseline) = (LeakOptions::default(), Baseline::default());
    let mut ladder = Ladder::default();
    let mut grade = |minute: i64, leaked: u64| {
        let mut census = census(minute * MINUTE, &[("main.park", "select (no cases)", 20)]);
        census.sites.values_mut().for_each(|count| count.leaked = leaked);
        ladder.observe(&census, &Vitals::default(), &mut baseline, &options);
        ladder.verdict(&options).grade
    };
    let found = [(0, 0), (1, 4), (2, 4), (3, 5), (4, 6), (5, 7), (6, 4), (7, 14)].map(|(at, leaked)| grade(at, leaked));
    let (none, proved) = (Grade::Nothing, Grade::Proved);
    assert_eq!(found, [none, none, none, none, none, proved, none, proved]);
}

#[test]
fn all_together_give_a_hint_or_a_suspicion() {
    // At a hundred sites one more each ten minutes: none is told yet.
    let names: Vec<String> = (0..100).map(|number| format!("main.f{number}")).collect();
    let spread = |minute: u64| names.iter().map(|name| (name.as_str(), "select", 4 + minute / 10)).collect::<Vec<_>>();
    assert_eq!(verdict(&run(121, spread, None)).grade, Grade::Hint);
    let one = |minute: u64| vec![("main.a", "select", 50 + minute), ("main.b", "select", 50 - minute.min(40))];
    assert_eq!(verdict(&run(40, one, None)).grade, Grade::Nothing, "all together are level");
    let rising = |minute: u64| vec![("main.a", "running", 50 + minute)];
    assert_eq!(verdict(&run(36, rising, None)).grade, Grade::Hint);
    assert_eq!(verdict(&run(36, rising, Some(|minute| 1000 + 3 * minute))).grade, Grade::Suspect);
}

#[test]
fn clocks_set_back_begin_anew_and_late_censuses_are_left_out() {
    let leak = |minute: u64| vec![("main.leak", "chan send", 5 + 2 * minute)];
    let mut ladder = run(41, leak, None);
    let (options, mut baseline) = (LeakOptions::default(), Baseline::default());
    let empty = |at_ms| census(at_ms, &[]);
    ladder.observe(&empty(38 * MINUTE), &Vitals::default(), &mut baseline, &options);
    assert_eq!((verdict(&ladder).grade, verdict(&ladder).sites[0].count), (Grade::Probable, 85));
    ladder.observe(&empty(MINUTE), &Vitals::default(), &mut baseline, &options);
    assert_eq!((verdict(&ladder), ladder.followed()), (Verdict::default(), 0));
}

#[test]
fn what_is_kept_is_bounded_and_the_largest_stay() {
    let names: Vec<String> = (0..1000).map(|number| format!("main.f{number:03}")).collect();
    let options = LeakOptions { sites_max: 50, told_max: 3, ..LeakOptions::default() };
    let (mut ladder, mut baseline) = (Ladder::default(), Baseline::default());
    for minute in 0..60u64 {
        let counts = (0u64..).zip(&names).map(|(at, name)| (name.as_str(), "chan send", at + minute * (at / 100)));
        let census = census(i64::try_from(minute).expect("small") * MINUTE, &counts.collect::<Vec<_>>());
        ladder.observe(&census, &Vitals { began_ms: -60 * MINUTE, ..Vitals::default() }, &mut baseline, &options);
    }
    assert_eq!(ladder.followed(), 50);
    let told = ladder.verdict(&options);
    let shown: Vec<_> = told.sites.iter().map(|of| of.site.function.as_str()).collect();
    assert!(shown.len() == 3 && shown.iter().all(|name| *name >= "main.f900"), "{shown:?}");
}

#[test]
fn sites_that_emptied_are_forgotten() {
    let gone =
        |minute: u64| if minute < 5 { vec![("main.storm", "select", 500)] } else { vec![("main.rest", "select", 5)] };
    assert_eq!(run(20, gone, None).followed(), 2);
    assert_eq!(run(130, gone, None).followed(), 1);
}
