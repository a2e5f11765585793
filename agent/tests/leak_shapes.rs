//! The leak ladder against shapes of programs in virtual time, over hours and days, with the windows of production: each shape with
//! several seeds, with known ages and without. Precision and recall are printed, and both are to be whole.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    unreachable_pub,
    reason = "a simulation counts in floats"
)]

#[path = "leak_shapes/shapes.rs"]
mod shapes;
#[path = "leak_shapes/world.rs"]
mod world;

use std::io::Write as _;

use agent::go::leaks::{Baseline, Grade, Ladder, LeakOptions};
use shapes::{INNOCENTS, LEAKS, Shape, Want};
use world::World;

const SEEDS: [u64; 3] = [1, 2, 3];
/// Between two censuses.
const STEP_S: f64 = 60.0;

/// What one run came to.
#[derive(Debug, Default)]
struct Outcome {
    /// Sites that had grade 2 or above at some time: with their highest grade and the hours at which they first had it.
    told: Vec<(String, Grade, f64)>,
    /// Whether any still had at the end.
    at_the_end: bool,
    /// Highest grade of the process.
    process: Grade,
}

fn run(shape: &Shape, ages: bool, seed: u64) -> Outcome {
    let options = LeakOptions::default();
    let mut world = World::new(shape.populations, shape.load, ages, options.blocked_ms as f64 / 1000.0, seed);
    let (mut ladder, mut baseline, mut outcome) = (Ladder::default(), Baseline::default(), Outcome::default());
    while world.hours() < shape.hours {
        let (census, vitals) = world.step(STEP_S);
        ladder.observe(&census, &vitals, &mut baseline, &options);
        let verdict = ladder.verdict(&options);
        outcome.process = outcome.process.max(verdict.grade);
        outcome.at_the_end = !verdict.sites.is_empty();
        for site in verdict.sites {
            match outcome.told.iter_mut().find(|(name, ..)| *name == site.site.function) {
                Some((_, grade, _)) => *grade = site.grade.max(*grade),
                None => outcome.told.push((site.site.function, site.grade, world.hours())),
            }
        }
    }
    outcome
}

/// Right and wrong verdicts on sites.
#[derive(Debug, Default)]
struct Score {
    found: u32,
    missed: u32,
    alarms: u32,
}

impl Score {
    /// Notes one run; what is wrong with it, if anything is.
    fn note(&mut self, shape: &Shape, ages: bool, outcome: &Outcome) -> Option<String> {
        let (wanted, must) = match shape.want {
            Want::Quiet | Want::QuietByAge => (None, false),
            Want::Leak(site) | Want::Mended(site) => (Some(site), true),
            Want::LeakByAge(site) => (Some(site), ages),
        };
        if !ages && shape.want == Want::QuietByAge {
            return None;
        }
        let alarms = outcome.told.iter().filter(|(site, ..)| Some(site.as_str()) != wanted).count() as u32;
        let found = wanted.is_some_and(|wanted| outcome.told.iter().any(|(site, ..)| site == wanted));
        self.alarms += alarms;
        self.found += u32::from(found);
        self.missed += u32::from(must && !found);
        let stays = matches!(shape.want, Want::Mended(_)) && outcome.at_the_end;
        (alarms > 0 || (must && !found) || stays).then(|| format!("{outcome:?}"))
    }

    fn show(&self) -> String {
        let share = |part: u32, rest: u32| f64::from(part) / f64::from((part + rest).max(1));
        let (precision, recall) = (share(self.found, self.alarms), share(self.found, self.missed));
        let Self { found, missed, alarms } = self;
        format!("precision {precision:.3}, recall {recall:.3}: {found} found, {missed} missed, {alarms} false")
    }
}

/// Precision and recall by grade: a program is found at a grade when its verdict had that or a higher one at some time.
fn by_grade(outcomes: &[(bool, Grade)]) -> String {
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    let lines = (0..=4i8).map(|grade| {
        let at = |(_, told): &&(bool, Grade)| told.number() >= grade;
        let (told, right) = (outcomes.iter().filter(at).count(), outcomes.iter().filter(at).filter(|(leak, _)| *leak).count());
        let leaks = outcomes.iter().filter(|(leak, _)| *leak).count();
        if told == 0 {
            return format!("  grade {grade} and above: nothing told");
        }
        let (precision, recall) = (share(right, told), share(right, leaks));
        format!("  grade {grade} and above: precision {precision:.3}, recall {recall:.3}: {right} of {leaks} leaks, {} false", told - right)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Says it whether or not the output of tests is captured: how well leaks are told is to be seen in every run.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[test]
fn leaks_are_told_and_innocents_are_not() {
    let mut wrong = Vec::new();
    for ages in [true, false] {
        let mut outcomes = Vec::new();
        let mut score = Score::default();
        let mut delays: Vec<String> = Vec::new();
        for shape in LEAKS.iter().chain(INNOCENTS) {
            for seed in SEEDS {
                let outcome = run(shape, ages, seed);
                if ages || !matches!(shape.want, Want::QuietByAge | Want::LeakByAge(_)) {
                    outcomes.push((!matches!(shape.want, Want::Quiet | Want::QuietByAge), outcome.process));
                }
                if let Some(fault) = score.note(shape, ages, &outcome) {
                    wrong.push(format!("{} (ages {ages}, seed {seed}): {fault}", shape.name));
                }
                if seed == 1 && LEAKS.iter().any(|leak| leak.name == shape.name) {
                    let told = outcome.told.first().map_or("never".to_owned(), |(_, grade, hours)| {
                        format!("{hours:.1} h, up to {}", grade.number())
                    });
                    delays.push(format!("  {}: {told}", shape.name));
                }
            }
        }
        tell(&format!("grade 2 and above, ages {}: {}", if ages { "known" } else { "unknown" }, score.show()));
        tell(&by_grade(&outcomes));
        println!("{}", delays.join("\n"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
