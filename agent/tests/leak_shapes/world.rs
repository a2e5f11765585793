//! A world of goroutines in virtual time: populations that come, wait, wake and go, and the censuses that are taken of them.

use std::collections::BTreeMap;

use agent::go::census::{Census, Site, SiteCount, Way};
use agent::go::leaks::Vitals;
use fastrand::Rng;

/// A number that follows time, which is in hours since the process began.
pub type Curve = fn(f64) -> f64;

/// How long goroutines of a population live.
#[derive(Debug, Clone, Copy)]
pub enum Life {
    /// For ever: these leak, or are daemons.
    Forever,
    /// This many seconds in the mean, exponentially distributed.
    Mean(f64),
    /// Until these hours, when all end.
    Until(f64),
}

/// A population of one site.
#[derive(Debug, Clone, Copy)]
pub enum Population {
    /// As many as the curve says, again and again others, each for seconds: requests, fan-outs.
    Churn { site: &'static str, wait: &'static str, mean: Curve, seconds: f64 },
    /// As many as the curve says, to the one; they wake and wait anew after some seconds in the mean: pools, tickers.
    Pool { site: &'static str, wait: &'static str, count: Curve, wakes: f64 },
    /// Some come by second, stay for their life, and do not wake.
    Stay { site: &'static str, wait: &'static str, by_second: Curve, life: Life },
    /// As `Stay`, each with another goroutine at `reader` that waits for the network.
    Connected { site: &'static str, wait: &'static str, reader: &'static str, by_second: Curve, life: Life },
    /// A queue: work comes by second, is taken out by second, first in first out.
    Queue { site: &'static str, wait: &'static str, come: Curve, go: Curve },
}
use Population::{Churn, Connected, Pool, Queue, Stay};

#[derive(Debug)]
struct Goroutine {
    since_s: f64,
    ends_s: f64,
}

/// The state of one population.
#[derive(Debug)]
struct State {
    population: Population,
    alive: Vec<Goroutine>,
    created: f64,
    /// Those that came in the last step.
    came: u64,
}

/// A process.
#[derive(Debug)]
pub struct World {
    states: Vec<State>,
    random: Rng,
    /// Whether it is known how long goroutines have been blocked.
    ages: bool,
    /// Requests by second, where the program counts them.
    load: Option<Curve>,
    served: f64,
    now_s: f64,
    blocked_s: f64,
}

/// When the processes of all worlds begin, in milliseconds since the Unix epoch.
pub const BEGAN_MS: i64 = 1_767_225_600_000;

impl World {
    pub fn new(populations: &[Population], load: Option<Curve>, ages: bool, blocked_s: f64, seed: u64) -> Self {
        let state =
            |population: &Population| State { population: *population, alive: Vec::new(), created: 0.0, came: 0 };
        let states = populations.iter().map(state).collect();
        Self { states, random: Rng::with_seed(seed), ages, load, served: 0.0, now_s: 0.0, blocked_s }
    }

    /// Goes on by `step_s` seconds and takes a census.
    pub fn step(&mut self, step_s: f64) -> (Census, Vitals) {
        self.now_s += step_s;
        let hours = self.now_s / 3600.0;
        if let Some(load) = self.load {
            self.served += poisson(&mut self.random, load(hours) * step_s);
        }
        let mut sites: BTreeMap<Site, SiteCount> = BTreeMap::new();
        for state in &mut self.states {
            let (count, longest_s, blocked) = state.step(self.now_s, step_s, self.blocked_s, &mut self.random);
            let came = state.came.min(count);
            for (site, wait) in state.sites() {
                let site =
                    Site { function: site.to_owned(), created_by: "main.main".to_owned(), wait: wait.to_owned() };
                let found = sites.entry(site).or_default();
                found.count += count;
                if self.ages && count > 0 {
                    let blocked_ms = (longest_s * 1000.0).max(1.0) as u64;
                    found.longest_blocked_ms = Some(found.longest_blocked_ms.unwrap_or(0).max(blocked_ms));
                    found.blocked_long += blocked;
                    *found.newcomers.get_or_insert(0) += came;
                }
            }
        }
        sites.retain(|_, count| count.count > 0);
        let total = sites.values().map(|count| count.count).sum();
        let created = self.states.iter().map(|state| state.created).sum::<f64>();
        let at_ms = BEGAN_MS + (self.now_s * 1000.0) as i64;
        let way = if self.ages { Way::Memory } else { Way::Pprof };
        let vitals = Vitals {
            began_ms: BEGAN_MS,
            created: self.ages.then_some(created as u64),
            load: self.load.map(|_| self.served),
        };
        (Census { way, at_ms, total, states: None, sites, looked_at: total }, vitals)
    }

    pub fn hours(&self) -> f64 {
        self.now_s / 3600.0
    }
}

impl State {
    fn sites(&self) -> Vec<(&'static str, &'static str)> {
        match self.population {
            Churn { site, wait, .. } | Pool { site, wait, .. } | Stay { site, wait, .. } | Queue { site, wait, .. } => {
                vec![(site, wait)]
            }
            Connected { site, wait, reader, .. } => vec![(site, wait), (reader, "IO wait")],
        }
    }

    /// How many there are, for how long the oldest has been blocked, and how many for long.
    fn step(&mut self, now_s: f64, step_s: f64, blocked_s: f64, random: &mut Rng) -> (u64, f64, u64) {
        let hours = now_s / 3600.0;
        self.came = 0;
        match self.population {
            Churn { mean, seconds, .. } => {
                let count = poisson(random, mean(hours));
                let came = mean(hours) / seconds * step_s;
                (self.created, self.came) = (self.created + came, came as u64);
                return (count as u64, seconds * random.f64() * 3.0, 0);
            }
            Pool { count, wakes, .. } => {
                let want = count(hours).max(0.0) as usize;
                self.arrive(want.saturating_sub(self.alive.len()), now_s, f64::INFINITY);
                self.alive.truncate(want);
                for goroutine in &mut self.alive {
                    if random.f64() < 1.0 - (-step_s / wakes).exp() {
                        goroutine.since_s = now_s - random.f64() * wakes.min(step_s);
                    }
                }
            }
            Stay { by_second, life, .. } | Connected { by_second, life, .. } => {
                let arrivals = poisson(random, by_second(hours) * step_s) as usize;
                for _ in 0..arrivals {
                    let ends_s = match life {
                        Life::Forever => f64::INFINITY,
                        Life::Mean(mean_s) => now_s - mean_s * (1.0 - random.f64()).ln(),
                        Life::Until(end) => end * 3600.0,
                    };
                    self.arrive(1, now_s, ends_s);
                }
                self.alive.retain(|goroutine| goroutine.ends_s > now_s);
            }
            Queue { come, go, .. } => {
                let arrivals = poisson(random, come(hours) * step_s) as usize;
                self.arrive(arrivals, now_s, f64::INFINITY);
                let done = (poisson(random, go(hours) * step_s) as usize).min(self.alive.len());
                self.alive.drain(..done);
            }
        }
        let ages = || self.alive.iter().map(|goroutine| now_s - goroutine.since_s);
        let blocked = ages().filter(|age| *age >= blocked_s).count() as u64;
        (self.alive.len() as u64, ages().fold(0.0, f64::max), blocked)
    }

    fn arrive(&mut self, count: usize, now_s: f64, ends_s: f64) {
        self.created += count as f64;
        self.came += count as u64;
        self.alive.extend((0..count).map(|_| Goroutine { since_s: now_s, ends_s }));
    }
}

/// A number with the distribution of Poisson: Knuth's product for small means, a normal for large ones.
pub fn poisson(random: &mut Rng, mean: f64) -> f64 {
    if mean <= 0.0 {
        return 0.0;
    }
    if mean > 40.0 {
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        return (mean + mean.sqrt() * normal).round().max(0.0);
    }
    let (limit, mut product, mut count) = ((-mean).exp(), random.f64(), 0.0);
    while product > limit {
        product *= random.f64();
        count += 1.0;
    }
    count
}
