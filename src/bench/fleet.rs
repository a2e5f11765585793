//! A made-up fleet of Go services: label sets of some 200 bytes, values that move as real ones do, remote-write bodies.
//!
//! The mix of values follows real Go servers: more than half of the series are constant, most others are whole numbers,
//! a few have short decimals, fewer still are true floats. The same seed gives the same values.

use model::remote_write::Label;

/// How a series moves from one sample to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Motion {
    /// Does not.
    Still,
    /// A counter of whole numbers.
    Counter,
    /// A whole number that goes up and down.
    Walk,
    /// A counter of seconds with two decimals.
    Seconds,
    /// Any float.
    Float,
}

/// The metrics of one process, with how they move. Buckets follow separately.
const METRICS: [(&str, Motion); 29] = [
    ("go_goroutines", Motion::Walk),
    ("go_threads", Motion::Still),
    ("go_info", Motion::Still),
    ("go_gc_duration_seconds_count", Motion::Counter),
    ("go_gc_duration_seconds_sum", Motion::Float),
    ("go_gc_gogc_percent", Motion::Still),
    ("go_gc_gomemlimit_bytes", Motion::Still),
    ("go_memstats_alloc_bytes", Motion::Walk),
    ("go_memstats_alloc_bytes_total", Motion::Counter),
    ("go_memstats_buck_hash_sys_bytes", Motion::Still),
    ("go_memstats_frees_total", Motion::Counter),
    ("go_memstats_gc_sys_bytes", Motion::Still),
    ("go_memstats_heap_alloc_bytes", Motion::Walk),
    ("go_memstats_heap_idle_bytes", Motion::Still),
    ("go_memstats_heap_inuse_bytes", Motion::Walk),
    ("go_memstats_heap_objects", Motion::Walk),
    ("go_memstats_last_gc_time_seconds", Motion::Still),
    ("go_memstats_mallocs_total", Motion::Counter),
    ("go_memstats_mcache_inuse_bytes", Motion::Still),
    ("go_memstats_mspan_inuse_bytes", Motion::Still),
    ("go_memstats_next_gc_bytes", Motion::Still),
    ("go_memstats_sys_bytes", Motion::Still),
    ("go_sched_gomaxprocs_threads", Motion::Still),
    ("process_cpu_seconds_total", Motion::Seconds),
    ("process_max_fds", Motion::Still),
    ("process_open_fds", Motion::Walk),
    ("process_resident_memory_bytes", Motion::Still),
    ("process_start_time_seconds", Motion::Still),
    ("up", Motion::Still),
];
/// The metric of the histogram that every process has.
const BUCKET_METRIC: &str = "http_request_duration_seconds_bucket";
/// A selector of the first series, and of no other.
pub(super) const FIRST_SERIES: &str = "go_goroutines{instance=\"10.0.0.0:8080\"}";
/// The upper bounds of the histogram that every process has.
const BUCKETS: [&str; 11] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "+Inf"];
/// Series of one process.
const SERIES_PER_PROCESS: usize = METRICS.len() + BUCKETS.len();
/// Processes of one cluster: as many as have the series of one request of the usual size.
const PROCESSES_PER_CLUSTER: usize = 125;
/// Series of one cluster.
pub(super) const SERIES_PER_CLUSTER: usize = SERIES_PER_PROCESS * PROCESSES_PER_CLUSTER;
/// Services; each has many processes.
const SERVICES: [&str; 8] =
    ["checkout", "catalogue", "payments", "sessions", "search", "shipping", "notifications", "recommendations"];

/// One series: the label fields of its message, encoded once, and where its value stands.
#[derive(Debug)]
struct SeriesState {
    labels: Vec<u8>,
    motion: Motion,
    /// Larger moves faster.
    pace: u32,
    value: f64,
}

/// All series, with their values as of the last round.
#[derive(Debug)]
pub(super) struct Fleet {
    series: Vec<SeriesState>,
    random: fastrand::Rng,
    encoder: snap::raw::Encoder,
    message: Vec<u8>,
}

impl Fleet {
    /// `count` series; the first [`SERIES_PER_PROCESS`] are those of one process, and so on.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let series = (0..count).map(|at| series(at, &mut random)).collect();
        Self { series, random, encoder: snap::raw::Encoder::new(), message: Vec::new() }
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// The value of the [first series](FIRST_SERIES) as of the last round.
    pub(super) fn first_value(&self) -> f64 {
        self.series.first().map_or(f64::NAN, |state| state.value)
    }

    /// Bytes of names and values in an average label set.
    pub(super) fn label_bytes_average(&self) -> usize {
        // Each label is framed by tags and lengths: three pairs of bytes below 128.
        let count = |state: &SeriesState| {
            let mut rest = state.labels.as_slice();
            let mut bytes = 0;
            while let [_, length, ..] = *rest {
                bytes += usize::from(length) - 4;
                rest = &rest[2 + usize::from(length)..];
            }
            bytes
        };
        self.series.iter().map(count).sum::<usize>() / self.series.len().max(1)
    }

    /// The bodies of one round: a sample of every series at `timestamp_ms`, at most `samples_per_request` in a body.
    pub(super) fn round(&mut self, timestamp_ms: i64, samples_per_request: usize) -> Vec<Body> {
        let mut bodies = Vec::with_capacity(self.series.len().div_ceil(samples_per_request));
        for chunk in self.series.chunks_mut(samples_per_request) {
            self.message.clear();
            for state in chunk.iter_mut() {
                state.step(&mut self.random);
                encode_series(&state.labels, state.value, timestamp_ms, &mut self.message);
            }
            let bytes = self.encoder.compress_vec(&self.message).expect("a body is far below the 4 GiB of snappy");
            bodies.push(Body { bytes, samples: chunk.len() });
        }
        bodies
    }
}

/// A request's body and how many samples it holds.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) samples: usize,
}

impl SeriesState {
    fn step(&mut self, random: &mut fastrand::Rng) {
        match self.motion {
            Motion::Still => {}
            Motion::Counter => self.value += f64::from(random.u32(0..=self.pace)),
            Motion::Walk => {
                let change = f64::from(random.u32(0..=2 * self.pace)) - f64::from(self.pace);
                self.value = (self.value + change).max(0.0);
            }
            Motion::Seconds => self.value = (self.value * 100.0 + f64::from(random.u32(0..=self.pace))).round() / 100.0,
            Motion::Float => self.value += random.f64() * 1e-3,
        }
    }
}

/// The cluster of series `at`.
pub(super) fn cluster(at: usize) -> String {
    format!("production-eu-central-{:02}", at / SERIES_PER_CLUSTER)
}

/// The names of all metrics.
pub(super) fn metric_names() -> impl Iterator<Item = &'static str> {
    METRICS.iter().map(|&(name, _)| name).chain([BUCKET_METRIC])
}

fn series(at: usize, random: &mut fastrand::Rng) -> SeriesState {
    let (process, metric) = (at / SERIES_PER_PROCESS, at % SERIES_PER_PROCESS);
    let service = SERVICES[process % SERVICES.len()];
    let (name, motion, bound) = if let Some(&(name, motion)) = METRICS.get(metric) {
        (name, motion, None)
    } else {
        (BUCKET_METRIC, Motion::Counter, Some(BUCKETS[metric - METRICS.len()]))
    };
    let host = format!("10.{}.{}.{}:8080", process / 65_536 % 256, process / 256 % 256, process % 256);
    let pod = format!("{service}-7d9f8b6c54-{process:06x}");
    let cluster = cluster(at);
    let mut pairs = vec![
        ("__name__", name),
        ("cluster", cluster.as_str()),
        ("env", "production"),
        ("instance", host.as_str()),
        ("job", service),
        ("namespace", "storefront"),
        ("pod", pod.as_str()),
        ("team", "platform-services"),
        ("version", "v1.42.7-3-g8f2c1d9"),
    ];
    if let Some(bound) = bound {
        pairs.push(("le", bound));
        pairs.sort_unstable();
    }
    let mut labels = Vec::new();
    for (name, value) in pairs {
        let label = Label { name: name.to_owned(), value: value.to_owned() };
        prost::encoding::message::encode(1, &label, &mut labels);
    }
    let start = f64::from(random.u32(0..1_000_000));
    SeriesState { labels, motion, pace: random.u32(1..200), value: start }
}

/// Appends a `TimeSeries` with one sample; field numbers are those of `model::remote_write`.
fn encode_series(labels: &[u8], value: f64, timestamp_ms: i64, message: &mut Vec<u8>) {
    use prost::encoding::encode_varint;
    let mut sample = [0u8; 24];
    let mut rest = &mut sample[..];
    prost::encoding::double::encode(1, &value, &mut rest);
    prost::encoding::int64::encode(2, &timestamp_ms, &mut rest);
    let sample_bytes = 24 - rest.len();
    // Tag 1, length; the labels; tag 2, length below 128, the sample.
    message.push(0x0a);
    encode_varint((labels.len() + 2 + sample_bytes) as u64, message);
    message.extend_from_slice(labels);
    message.push(0x12);
    encode_varint(sample_bytes as u64, message);
    message.extend_from_slice(&sample[..sample_bytes]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use model::remote_write::WriteRequest;
    use prost::Message;

    use super::*;

    fn decode(body: &Body) -> WriteRequest {
        let message = snap::raw::Decoder::new().decompress_vec(&body.bytes).expect("snappy");
        WriteRequest::decode(message.as_slice()).expect("a write request")
    }

    #[test]
    fn bodies_are_write_requests_with_one_sample_a_series() {
        let mut fleet = Fleet::new(90, 1);
        let bodies = fleet.round(1_767_225_600_000, 40);
        assert_eq!(bodies.iter().map(|body| body.samples).collect::<Vec<_>>(), [40, 40, 10]);
        let mut seen = HashSet::new();
        for series in bodies.iter().flat_map(|body| decode(body).timeseries) {
            assert_eq!(series.samples.len(), 1);
            assert_eq!(series.samples[0].timestamp, 1_767_225_600_000);
            let pairs: Vec<_> = series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
            assert!(pairs.is_sorted_by(|a, b| a.0 < b.0), "labels are sorted: {pairs:?}");
            assert!(seen.insert(pairs), "label sets are distinct");
        }
        assert_eq!(seen.len(), 90);
        let names: HashSet<&str> = metric_names().collect();
        assert!(seen.iter().all(|pairs| names.contains(&*pairs[0].1) && pairs[1].1 == cluster(0)));
        let average = fleet.label_bytes_average();
        assert!((180..=230).contains(&average), "label sets of {average} bytes");
    }

    #[test]
    fn the_same_seed_gives_the_same_bodies() {
        let bodies = |seed| {
            let mut fleet = Fleet::new(100, seed);
            let rounds = (0..3).flat_map(|round| fleet.round(round * 15_000, 30)).map(|body| body.bytes);
            rounds.collect::<Vec<_>>()
        };
        assert_eq!(bodies(7), bodies(7));
        assert_ne!(bodies(7), bodies(8));
    }

    #[test]
    fn values_move_as_their_kind_does() {
        let mut fleet = Fleet::new(SERIES_PER_PROCESS, 3);
        let before: Vec<f64> = fleet.series.iter().map(|state| state.value).collect();
        for round in 0..10 {
            fleet.round(round, 1000);
        }
        for (state, before) in fleet.series.iter().zip(before) {
            match state.motion {
                Motion::Still => assert_eq!(state.value.to_bits(), before.to_bits()),
                Motion::Counter | Motion::Float | Motion::Seconds => assert!(state.value > before),
                Motion::Walk => assert!(state.value >= 0.0 && state.value.fract() == 0.0),
            }
        }
    }
}
