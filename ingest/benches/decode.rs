//! How fast remote write requests are decompressed and decoded: samples per second of processor time.
//!
//! Requests are as Prometheus sends them: sorted labels of about 200 bytes, one sample a series, one snappy block.
//! Run with `cargo bench -p ingest --bench decode`.

#![expect(clippy::print_stdout, reason = "a benchmark tells on standard output")]

use std::hint::black_box;
use std::time::Duration;

use ingest::{IngestLimits, Rejected, RemoteWriteDecoder, Version};
use model::remote_write::{Label, TimeSeries, WireSample, WriteRequest};
use model::{KnownSeries, Labels, LabelsRef, NoCursor, SeriesCursor, WriteBatch};
use prost::Message;

/// Series of one request, one sample each.
const SERIES: u32 = 5_000;
/// Requests of one run.
const REQUESTS: u32 = 400;
/// Runs of each measurement; the fastest is printed, as the others were disturbed.
const RUNS: usize = 5;

/// A request of [`SERIES`] series, of one sample each.
fn request() -> WriteRequest {
    let timeseries = (0..SERIES)
        .map(|at| {
            let path = format!("/api/v1/resource/{}", at % 40);
            let instance = format!("10.0.{}.{}:9100", at / 250, at % 250);
            let pod = format!("checkout-7d9f{:06x}-{:05}", at / 40 * 7919, at / 40);
            let labels = [
                ("__name__", "http_request_duration_seconds_count"),
                ("cluster", "production-eu-west"),
                ("handler", path.as_str()),
                ("instance", instance.as_str()),
                ("job", "checkout"),
                ("method", ["GET", "POST"][at as usize % 2]),
                ("namespace", "shop"),
                ("pod", pod.as_str()),
                ("status", "200"),
            ];
            let labels = labels.map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).to_vec();
            let timestamp = 1_700_000_000_000 + i64::from(at % 15_000);
            let sample = WireSample { value: f64::from(at) * 17.0, timestamp, ..WireSample::default() };
            TimeSeries { labels, samples: vec![sample], ..TimeSeries::default() }
        })
        .collect();
    WriteRequest { timeseries, metadata: Vec::new() }
}

/// Guesses the series of the last request in their order.
#[derive(Debug, Default)]
struct Repeated {
    known: Vec<Labels>,
    next: u32,
    /// Whether it guesses series after series without being asked for each.
    in_runs: bool,
}

impl SeriesCursor for Repeated {
    fn guess(&mut self, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries> {
        let number = self.next;
        let is_right = is_next(self.known.get(number as usize)?.as_ref());
        self.next += u32::from(is_right);
        is_right.then_some(KnownSeries { number, as_of: 0 })
    }

    fn guess_run(&mut self, take: &mut dyn FnMut(KnownSeries, LabelsRef<'_>) -> bool) {
        let rest = self.known.get(self.next as usize..).filter(|_| self.in_runs).unwrap_or_default();
        let right = (self.next..)
            .zip(rest)
            .take_while(|(number, labels)| take(KnownSeries { number: *number, as_of: 0 }, labels.as_ref()));
        self.next += u32::try_from(right.count()).expect("few");
    }

    fn find(&mut self, _: LabelsRef<'_>) -> Option<KnownSeries> {
        None
    }
}

/// Processor time of this process so far, from the system's ticks of ten milliseconds.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells of processes");
    let after_name = stat.rsplit_once(')').expect("the name is in parentheses").1;
    let field = |at: usize| after_name.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
    Duration::from_millis(10 * (field(11).expect("user time") + field(12).expect("system time")))
}

/// Prints the rate of `work`, which handles one request.
fn measure(name: &str, mut work: impl FnMut()) {
    work();
    let fastest = (0..RUNS).map(|_| {
        let began = processor_time();
        (0..REQUESTS).for_each(|_| work());
        processor_time().saturating_sub(began)
    });
    let fastest = fastest.min().unwrap_or_default().max(Duration::from_millis(10));
    let samples_per_s = f64::from(REQUESTS * SERIES) / fastest.as_secs_f64();
    println!("{name:<28} {:>8.2} million samples/s of processor time", samples_per_s / 1e6);
}

fn main() {
    let request = request();
    let label_bytes: usize =
        request.timeseries.iter().flat_map(|series| &series.labels).map(|l| l.name.len() + l.value.len()).sum();
    let plain = request.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&plain).expect("the request is small");
    println!(
        "{SERIES} series of {} label bytes: {} bytes of protobuf, {} as a snappy block",
        label_bytes / SERIES as usize,
        plain.len(),
        body.len()
    );
    let mut unsnapped = vec![0; plain.len()];
    measure("snappy", || {
        snap::raw::Decoder::new().decompress(black_box(&body), &mut unsnapped).expect("whole");
    });
    let limits = IngestLimits::default();
    let (mut decoder, mut batch, mut rejected) =
        (RemoteWriteDecoder::default(), WriteBatch::new(), Rejected::default());
    measure("decode", || {
        batch.clear();
        decoder
            .decode(Version::V1, black_box(&plain), &limits, &mut NoCursor, &mut batch, &mut rejected)
            .expect("whole");
        assert_eq!(black_box(&batch).samples_len(), SERIES as usize);
    });
    let known: Vec<Labels> = batch.iter().filter_map(|(series, _)| Some(series.labels()?.to_owned())).collect();
    for (name, in_runs) in [("recognise one by one", false), ("recognise", true)] {
        let mut cursor = Repeated { known: known.clone(), next: 0, in_runs };
        measure(name, || {
            batch.clear();
            cursor.next = 0;
            let walked =
                decoder.decode(Version::V1, black_box(&plain), &limits, &mut cursor, &mut batch, &mut rejected);
            walked.expect("whole");
            assert_eq!((black_box(&batch).samples_len(), cursor.next), (SERIES as usize, SERIES));
        });
    }
    measure("prost, for comparison", || {
        black_box(WriteRequest::decode(black_box(plain.as_slice())).expect("whole"));
    });
}
