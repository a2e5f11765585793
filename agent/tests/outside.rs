//! Go programs in a state of their own, read in their memory, beside what they say of themselves; of the usual state
//! `outside_matrix.rs` compares everything.

mod subject;

use subject::{Reading, Subject, build, number, value};

#[test]
fn a_sample_of_goroutines_is_scaled_up() {
    let Some(path) = build("plain") else { return };
    let mut subject = Subject::start(&path, &[]);
    subject.ask("park 9000");
    subject.ask("hold 1000");
    let mut reading = Reading::of(vec![subject.process.clone()], |config| config.goroutines_max = 1000);
    reading.round();
    let census = reading.censuses.lock().get(&subject.process.life).cloned().expect("a census");
    assert!((10_000..10_020).contains(&census.total), "{}", census.total);
    assert!(census.looked_at <= 1001, "{}", census.looked_at);
    let of = |function: &str| {
        let counts = census.sites.iter().filter(|(site, _)| site.function == function).map(|(_, count)| count.count);
        counts.sum::<u64>()
    };
    assert!((8_500..=9_500).contains(&of("main.parked")), "{census:?}");
    assert!((700..=1_300).contains(&of("main.locked")), "{census:?}");
}

#[test]
fn a_memory_limit_lowers_the_goal() {
    let Some(path) = build("plain") else { return };
    let mut subject = Subject::start(&path, &[("GOGC", "off")]);
    subject.ask("keep 100");
    subject.ask("limit 67108864");
    subject.ask("gc");
    let mut reading = Reading::of(vec![subject.process.clone()], |_| {});
    let before = subject.ask("metrics");
    let readings = reading.round();
    let after = subject.ask("metrics");
    let found = value(&readings, "go_gc_heap_goal_bytes", "").expect("read");
    let (low, high) = (number(&before, "/gc/heap/goal:bytes"), number(&after, "/gc/heap/goal:bytes"));
    let range = low.min(high) - 400_000.0..=low.max(high) + 400_000.0;
    assert!(range.contains(&found) && found < 67_108_864.0, "{found} is not {range:?}");
    assert_eq!(
        value(&readings, "go_gc_gogc_percent", "").map(f64::to_bits),
        Some(18_446_744_073_709_551_615.0f64.to_bits())
    );
}
