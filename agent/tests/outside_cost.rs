//! What reading a process with many goroutines costs the agent, measured on demand:
//! `cargo test --release -p agent --test outside_cost -- --ignored --nocapture`.

mod subject;

use agent::budget::CpuMeter;
use subject::{Reading, Subject, build};

#[test]
#[ignore = "measures, and tests nothing that others do not"]
fn a_hundred_thousand_goroutines() {
    for parked in [0u32, 1_000, 10_000, 100_000] {
        let Some(path) = build("stripped") else { return };
        let mut subject = Subject::start(&path, &[]);
        subject.ask(&format!("park {parked}"));
        subject.ask("gc");
        let mut everything = Reading::of(vec![subject.process.clone()], |config| config.goroutines_max = 1_000_000);
        let mut numbers = Reading::of(vec![subject.process.clone()], |config| {
            (config.goroutines_interval_ms, config.profiles_interval_ms) = (u64::MAX / 2, u64::MAX / 2);
        });
        let mut least = [u64::MAX; 2];
        for round in 0..12 {
            for (reading, least) in [&mut numbers, &mut everything].into_iter().zip(&mut least) {
                let meter = CpuMeter::start();
                reading.round();
                if round > 1 {
                    *least = (*least).min(meter.elapsed_us());
                }
            }
        }
        let total = everything.censuses.lock().values().next().map(|census| census.total);
        println!("{parked} parked, {total:?} counted: {} us for numbers, {} us for everything", least[0], least[1]);
    }
}
