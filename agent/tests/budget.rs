//! An agent with next to no budget beside a real Go program: it sheds what is missed least, says so everywhere, and never what counts.

mod subject;

use std::sync::Arc;
use std::time::Duration;

use agent::budget::{Budget, BudgetConfig, Part, Why, memory};
use agent::collect::Collector;
use agent::config::Config;
use agent::go::SharedProcesses;
use agent::go::discover::Scan;
use agent::go::outside::Outside;
use agent::go::profile::poll::Profiler;
use agent::go::ways::{self, Reason, Told, Ways};
use agent::readings::Readings;
use agent::stats::{Own, Stats};
use model::{Clock, ManualClock, TimestampMs};
use subject::{Subject, build, value};

const WINDOW: Duration = Duration::from_secs(30);

fn small() -> memory::Memory {
    memory::Memory { resident_bytes: 1 << 20, cgroup_bytes: None }
}

#[test]
fn a_tiny_budget_sheds_by_the_documented_order_and_says_so() {
    let Some(path) = build("stripped") else { return };
    let mut subject = Subject::start(&path, &[]);
    subject.ask("park 500");
    let processes = SharedProcesses::default();
    *processes.lock() = Arc::new(Scan { processes: vec![subject.process.clone()], ..Scan::default() });
    let (ways, stats) = (Ways::new(), Arc::new(Stats::default()));
    let mut config = Config::default().go.memory;
    (config.goroutines_interval_ms, config.profiles_interval_ms) = (1, 1);
    let mut outside = Outside::new(config, Arc::clone(&processes), ways.clone()).within(Arc::clone(&stats));
    let mut own = Own::new(Arc::clone(&stats), None);
    let mut budget = Budget::new(BudgetConfig { cpu_percent: 1, memory_bytes: 0, window: WINDOW });
    let mut now_ms = 1_000_000;
    let mut round = |stats: &Stats, budget: &mut Budget| {
        // Far apart, so that everything is due whatever it costs.
        now_ms += 5_000_000;
        let mut out = Readings::new(now_ms);
        outside.collect(&mut out).expect("no process makes it fail");
        own.collect(&mut out).expect("the agent can read itself");
        // Work that cannot be done less often takes more than there is.
        stats.cpu_us.add(400_000 + stats.part(Part::Goroutines).cpu_us.get());
        budget.step(stats, WINDOW, small);
        out
    };
    let first = round(&stats, &mut budget);
    assert!(value(&first, "go_goroutines", "").is_some_and(|count| count > 500.0));
    let key = (&subject.process.life).into();
    let told = |part, now_ms| ways.told(key, part, now_ms);
    assert!(
        matches!(told(ways::Part::Goroutines, 6_000_000), Some(Told::Read(_))),
        "{:?}",
        told(ways::Part::Goroutines, 6_000_000)
    );
    let mut order = Vec::new();
    for _ in 0..40 {
        round(&stats, &mut budget);
        let shed: Vec<Part> = stats.shed_parts().map(|(part, _)| part).collect();
        if order.last() != Some(&shed) {
            order.push(shed);
        }
    }
    assert_eq!(order.last().map(Vec::as_slice), Some(Part::ALL.as_slice()), "{order:?}");
    assert!(order.iter().all(|shed| Part::ALL.starts_with(shed)), "the least missed go first: {order:?}");
    let last = round(&stats, &mut budget);
    // Runtime numbers are there still; sites are not, with the reason.
    assert!(value(&last, "go_goroutines", "").is_some_and(|count| count > 500.0));
    assert!(value(&last, "go_gc_heap_live_bytes", "").is_some());
    let sites = last.iter().filter(|(labels, values)| {
        labels.get(model::METRIC_NAME) == Some("go_goroutines_by_site") && !values.is_stale_marker()
    });
    assert_eq!(sites.count(), 0);
    for part in [ways::Part::Goroutines, ways::Part::HeapProfile] {
        assert_eq!(told(part, 400_000_000), Some(Told::Not(Reason::Budget)));
    }
    for part in Part::ALL {
        let series = format!(r#"metrickit_agent_shed{{collector="{}", reason="cpu"}}"#, part.text());
        assert_eq!(last.value_of(&series), Some(1.0), "{series}");
    }
}

#[test]
fn profiles_that_are_left_out_end_and_say_why() {
    let Some(path) = build("stripped") else { return };
    let subject = Subject::start(&path, &[]);
    let processes = SharedProcesses::default();
    *processes.lock() = Arc::new(Scan { processes: vec![subject.process.clone()], ..Scan::default() });
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(1_000)));
    let ways = Ways::new();
    let mut profiler = Profiler::new(&Config::default(), processes, clock, ways.clone());
    profiler.leave_out(&mut |_| panic!("nothing was told before"));
    // Nothing is said of a program that offers no profiles.
    assert_eq!(ways.told((&subject.process.life).into(), ways::Part::HeapProfile, 1_000), None);
}

#[test]
fn memory_beyond_the_limit_sheds_for_memory() {
    let stats = Stats::default();
    let mut budget = Budget::new(BudgetConfig { cpu_percent: 0, memory_bytes: 8 << 20, window: WINDOW });
    let group = memory::Group::default();
    let own = memory::Memory::look(&group);
    assert!(own.resident_bytes > 0);
    let over = memory::Memory { resident_bytes: own.resident_bytes.max(9 << 20), ..own };
    for _ in 0..12 {
        budget.step(&stats, WINDOW, || over);
    }
    assert!(stats.shed_parts().all(|(_, why)| why == Why::Memory));
    assert_eq!(stats.shed_parts().count(), Part::ALL.len());
}
