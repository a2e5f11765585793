//! The shapes: what programs do with goroutines over hours and days, and what the ladder is to say of it.

use crate::world::Population::{self, Churn, Connected, Pool, Queue, Stay};
use crate::world::{Curve, Life};

/// What is to be said of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Never a site of grade 2.
    Quiet,
    /// Never where ages are known; without them it cannot be told from a leak while it goes on.
    QuietByAge,
    /// This site, and no other, by the end of the time; without ages too.
    Leak(&'static str),
    /// This site where ages are known; without them it may be told or not.
    LeakByAge(&'static str),
    /// As `Leak`, and at the end nothing any more.
    Mended(&'static str),
}

/// A program over some hours.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub hours: f64,
    pub populations: &'static [Population],
    pub load: Option<Curve>,
    pub want: Want,
}

const fn shape(
    name: &'static str,
    hours: f64,
    populations: &'static [Population],
    load: Option<Curve>,
    want: Want,
) -> Shape {
    Shape { name, hours, populations, load, want }
}

/// Requests, a few daemons and connections, as every server has them.
const SERVED: Population = Churn { site: "main.handle", wait: "select", mean: |_| 20.0, seconds: 0.2 };
const DAEMONS: Population = Pool { site: "main.daemon", wait: "select (no cases)", count: |_| 12.0, wakes: 1e9 };
const LISTENERS: Population = Pool { site: "net/http.(*conn).serve", wait: "IO wait", count: |_| 30.0, wakes: 5.0 };

/// Reads ahead while a handler is at work, to see its client leave.
const READER: &str = "net/http.(*connReader).backgroundRead";

/// A day's load between 0.2 and 1, highest at noon and lowest at midnight; begun at six in the morning.
fn day(hours: f64) -> f64 {
    0.6 + 0.4 * ((hours - 6.0) / 24.0 * std::f64::consts::TAU).cos()
}

/// From 0 to 1 over `over` hours, then level.
fn ramp(hours: f64, over: f64) -> f64 {
    (hours / over).clamp(0.0, 1.0)
}

/// Fills up: 63 % of the way after `over` hours.
fn fill(hours: f64, over: f64) -> f64 {
    1.0 - (-hours / over).exp()
}

/// Whether a burst of `minutes` that comes every `every` minutes is on.
fn burst(hours: f64, every: f64, minutes: f64) -> bool {
    (hours * 60.0).rem_euclid(every) < minutes
}

fn on(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

pub const LEAKS: &[Shape] = &[
    shape(
        "send without receiver, one in 5 s",
        3.0,
        &[
            SERVED,
            DAEMONS,
            LISTENERS,
            Stay { site: "main.fetch", wait: "chan send", by_second: |_| 0.2, life: Life::Forever },
        ],
        None,
        Want::Leak("main.fetch"),
    ),
    shape(
        "receive that nobody serves, one in 10 s",
        3.0,
        &[SERVED, DAEMONS, Stay { site: "main.wait", wait: "chan receive", by_second: |_| 0.1, life: Life::Forever }],
        None,
        Want::Leak("main.wait"),
    ),
    shape(
        "context never cancelled, one a minute",
        6.0,
        &[
            SERVED,
            DAEMONS,
            LISTENERS,
            Stay { site: "main.watch", wait: "select", by_second: |_| 1.0 / 60.0, life: Life::Forever },
        ],
        None,
        Want::Leak("main.watch"),
    ),
    shape(
        "one in ten minutes",
        30.0,
        &[
            SERVED,
            DAEMONS,
            Stay { site: "main.slow", wait: "chan receive", by_second: |_| 1.0 / 600.0, life: Life::Forever },
        ],
        None,
        Want::Leak("main.slow"),
    ),
    shape(
        "tickers never stopped",
        6.0,
        &[SERVED, DAEMONS, Pool { site: "main.tick", wait: "select", count: |hours| 60.0 * hours, wakes: 1.0 }],
        None,
        Want::Leak("main.tick"),
    ),
    shape(
        "sleepers in a loop",
        6.0,
        &[SERVED, Pool { site: "main.retry", wait: "sleep", count: |hours| 100.0 * hours, wakes: 30.0 }],
        None,
        Want::Leak("main.retry"),
    ),
    shape(
        "waits for a lock that is never given back",
        3.0,
        &[
            SERVED,
            LISTENERS,
            Stay { site: "net/http.(*conn).serve", wait: "sync.Mutex.Lock", by_second: |_| 1.0, life: Life::Forever },
        ],
        None,
        Want::Leak("net/http.(*conn).serve"),
    ),
    shape(
        "wait group never done",
        4.0,
        &[
            SERVED,
            DAEMONS,
            Stay { site: "main.gather", wait: "sync.WaitGroup.Wait", by_second: |_| 0.05, life: Life::Forever },
        ],
        None,
        Want::Leak("main.gather"),
    ),
    shape(
        "bodies never closed",
        4.0,
        &[
            SERVED,
            Stay { site: "net/http.(*persistConn).readLoop", wait: "select", by_second: |_| 0.1, life: Life::Forever },
        ],
        None,
        Want::Leak("net/http.(*persistConn).readLoop"),
    ),
    shape(
        "readers of connections that are gone",
        5.0,
        &[SERVED, Stay { site: "main.read", wait: "IO wait", by_second: |_| 0.1, life: Life::Forever }],
        None,
        Want::Leak("main.read"),
    ),
    shape(
        "in bursts of fifty, every half hour",
        12.0,
        &[
            SERVED,
            DAEMONS,
            Stay {
                site: "main.batch",
                wait: "chan send",
                by_second: |hours| on(burst(hours, 30.0, 5.0)) / 6.0,
                life: Life::Forever,
            },
        ],
        None,
        Want::Leak("main.batch"),
    ),
    shape(
        "a hundred in one of ten requests of a busy site, blocked",
        12.0,
        &[
            Churn { site: "main.work", wait: "chan receive", mean: |_| 1000.0, seconds: 2.0 },
            Stay { site: "main.work", wait: "chan receive", by_second: |_| 1.0 / 40.0, life: Life::Forever },
        ],
        None,
        Want::LeakByAge("main.work"),
    ),
    shape(
        "in a pool of a thousand that is level",
        10.0,
        &[
            Pool { site: "main.worker", wait: "chan receive", count: |_| 1000.0, wakes: 20.0 },
            Stay { site: "main.worker", wait: "chan receive", by_second: |_| 1.0 / 30.0, life: Life::Forever },
        ],
        None,
        Want::Leak("main.worker"),
    ),
    shape(
        "with the load of the day",
        20.0,
        &[
            Churn { site: "main.handle", wait: "select", mean: |hours| 100.0 * day(hours), seconds: 0.5 },
            Stay { site: "main.notify", wait: "chan send", by_second: |hours| 0.1 * day(hours), life: Life::Forever },
        ],
        Some(|hours| 200.0 * day(hours)),
        Want::Leak("main.notify"),
    ),
    shape(
        "mended after four hours",
        9.0,
        &[
            SERVED,
            DAEMONS,
            Stay {
                site: "main.leak",
                wait: "chan receive",
                by_second: |hours| 0.1 * on(hours < 4.0),
                life: Life::Until(4.5),
            },
        ],
        None,
        Want::Mended("main.leak"),
    ),
    shape(
        "stops to leak after four hours",
        9.0,
        &[
            SERVED,
            DAEMONS,
            Stay {
                site: "main.leak",
                wait: "chan receive",
                by_second: |hours| 0.1 * on(hours < 4.0),
                life: Life::Forever,
            },
        ],
        None,
        Want::Mended("main.leak"),
    ),
    shape(
        "daemons without end",
        5.0,
        &[
            SERVED,
            Stay { site: "main.park", wait: "select (no cases)", by_second: |_| 1.0 / 30.0, life: Life::Forever },
        ],
        None,
        Want::Leak("main.park"),
    ),
    shape(
        "slowly, while load falls",
        10.0,
        &[
            Churn { site: "main.handle", wait: "select", mean: |hours| 300.0 - 20.0 * hours, seconds: 0.5 },
            Stay { site: "main.subscribe", wait: "select", by_second: |_| 1.0 / 60.0, life: Life::Forever },
        ],
        Some(|hours| 600.0 - 40.0 * hours),
        Want::Leak("main.subscribe"),
    ),
];

pub const INNOCENTS: &[Shape] = &[
    shape("idle", 12.0, &[DAEMONS, LISTENERS], None, Want::Quiet),
    shape("a steady server", 24.0, &[SERVED, DAEMONS, LISTENERS], None, Want::Quiet),
    shape(
        "a steady fan-out of thousands",
        24.0,
        &[Churn { site: "main.fan", wait: "chan receive", mean: |_| 3000.0, seconds: 1.0 }, DAEMONS],
        None,
        Want::Quiet,
    ),
    shape(
        "few, now more, now fewer",
        48.0,
        &[Churn { site: "main.job", wait: "select", mean: |_| 12.0, seconds: 400.0 }],
        None,
        Want::Quiet,
    ),
    shape(
        "a pool that warms up within ten minutes",
        6.0,
        &[
            SERVED,
            Pool { site: "main.worker", wait: "chan receive", count: |hours| 256.0 * ramp(hours, 0.16), wakes: 10.0 },
        ],
        None,
        Want::Quiet,
    ),
    shape(
        "a pool that warms up within half an hour",
        6.0,
        &[
            SERVED,
            Pool { site: "main.worker", wait: "chan receive", count: |hours| 256.0 * ramp(hours, 0.5), wakes: 10.0 },
        ],
        None,
        Want::Quiet,
    ),
    shape(
        "fills up for an hour after the start",
        8.0,
        &[SERVED, Pool { site: "main.cache", wait: "select", count: |hours| 400.0 * fill(hours, 0.3), wakes: 60.0 }],
        None,
        Want::Quiet,
    ),
    shape(
        "load of the day, requests counted",
        48.0,
        &[
            Churn { site: "main.handle", wait: "select", mean: |hours| 1000.0 * day(hours), seconds: 0.5 },
            Churn { site: "main.query", wait: "IO wait", mean: |hours| 500.0 * day(hours), seconds: 0.2 },
        ],
        Some(|hours| 2000.0 * day(hours)),
        Want::Quiet,
    ),
    shape(
        "load of the day, requests not counted",
        48.0,
        &[Churn { site: "main.handle", wait: "select", mean: |hours| 1000.0 * day(hours), seconds: 0.5 }],
        None,
        Want::Quiet,
    ),
    shape(
        "a pool that follows the load of the day",
        48.0,
        &[
            Churn { site: "main.handle", wait: "select", mean: |hours| 300.0 * day(hours), seconds: 0.1 },
            Pool { site: "main.worker", wait: "chan receive", count: |hours| 200.0 * day(hours), wakes: 5.0 },
        ],
        Some(|hours| 3000.0 * day(hours)),
        Want::Quiet,
    ),
    shape(
        "a pool that goes up and down by steps, no load known",
        24.0,
        &[Pool {
            site: "main.worker",
            wait: "chan receive",
            count: |hours| 20.0 + 20.0 * ((hours * 1.5).sin() * 3.0).round(),
            wakes: 5.0,
        }],
        None,
        Want::Quiet,
    ),
    shape(
        "load that doubles and stays",
        10.0,
        &[Churn {
            site: "main.handle",
            wait: "chan receive",
            mean: |hours| 200.0 + 200.0 * ramp(hours - 2.0, 2.0),
            seconds: 1.0,
        }],
        Some(|hours| 200.0 + 200.0 * ramp(hours - 2.0, 2.0)),
        Want::Quiet,
    ),
    shape(
        "long polls of ten minutes",
        12.0,
        &[Connected { site: "main.poll", wait: "select", reader: READER, by_second: |_| 1.0, life: Life::Mean(600.0) }],
        None,
        Want::Quiet,
    ),
    shape(
        "long polls whose clients become more",
        12.0,
        &[Connected {
            site: "main.poll",
            wait: "select",
            reader: READER,
            by_second: |hours| 0.2 + 0.3 * ramp(hours - 1.0, 6.0),
            life: Life::Mean(900.0),
        }],
        None,
        Want::Quiet,
    ),
    shape(
        "subscribers that stay for hours, more in the morning",
        24.0,
        &[Connected {
            site: "main.push",
            wait: "select",
            reader: "main.receive",
            by_second: |hours| 0.05 * on(hours < 5.0),
            life: Life::Mean(20_000.0),
        }],
        None,
        Want::Quiet,
    ),
    shape(
        "a storm of connections",
        8.0,
        &[
            SERVED,
            Connected {
                site: "main.write",
                wait: "select",
                reader: "main.serve",
                by_second: |hours| 4.0 * on((3.0..3.3).contains(&hours)),
                life: Life::Mean(900.0),
            },
        ],
        None,
        Want::Quiet,
    ),
    shape(
        "bursts of cron, every quarter of an hour",
        24.0,
        &[
            DAEMONS,
            Churn {
                site: "main.cron",
                wait: "chan receive",
                mean: |hours| 200.0 * on(burst(hours, 15.0, 3.0)),
                seconds: 30.0,
            },
        ],
        None,
        Want::Quiet,
    ),
    shape(
        "bursts of cron, every hour for twenty minutes",
        24.0,
        &[
            DAEMONS,
            Stay {
                site: "main.cron",
                wait: "chan receive",
                by_second: |hours| on(burst(hours, 60.0, 20.0)),
                life: Life::Mean(200.0),
            },
        ],
        None,
        Want::Quiet,
    ),
    shape(
        "a sawtooth of half an hour",
        24.0,
        &[Pool { site: "main.batch", wait: "chan receive", count: |hours| 100.0 * (hours * 2.0).fract(), wakes: 30.0 }],
        None,
        Want::Quiet,
    ),
    shape(
        "a queue that fills for a quarter of an hour and drains",
        12.0,
        &[Queue {
            site: "main.send",
            wait: "chan send",
            come: |hours| 2.0 + 2.0 * on(burst(hours, 120.0, 15.0)),
            go: |_| 2.5,
        }],
        None,
        Want::Quiet,
    ),
    shape(
        "a queue that fills for an hour and drains",
        12.0,
        &[Queue {
            site: "main.take",
            wait: "semacquire",
            come: |hours| 2.0 + 2.0 * on(burst(hours, 240.0, 60.0)),
            go: |_| 2.5,
        }],
        None,
        Want::QuietByAge,
    ),
    shape(
        "five hundred daemons from the beginning",
        8.0,
        &[SERVED, Pool { site: "main.park", wait: "select (no cases)", count: |_| 500.0, wakes: 1e9 }],
        None,
        Want::Quiet,
    ),
    shape(
        "daemons that all come within the first ten minutes",
        8.0,
        &[
            SERVED,
            Pool { site: "main.shard", wait: "chan receive", count: |hours| 300.0 * ramp(hours, 0.16), wakes: 1e9 },
        ],
        None,
        Want::Quiet,
    ),
    shape(
        "one actor a customer, found within the first hour",
        10.0,
        &[SERVED, Pool { site: "main.actor", wait: "select", count: |hours| 300.0 * fill(hours, 0.12), wakes: 1e9 }],
        None,
        Want::Quiet,
    ),
    shape(
        "timers of an hour",
        20.0,
        &[Stay { site: "main.expire", wait: "select", by_second: |_| 0.05, life: Life::Mean(600.0) }, DAEMONS],
        None,
        Want::Quiet,
    ),
    shape(
        "jobs that take three hours, a few at a time",
        36.0,
        &[Stay { site: "main.job", wait: "chan receive", by_second: |_| 1.0 / 1800.0, life: Life::Mean(10_800.0) }],
        None,
        Want::Quiet,
    ),
];
