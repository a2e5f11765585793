//! The memory of a server: `memory_max`, or what is found, shared out, and the limits that follow from each share.
//!
//! A limit that is `auto` follows from its part's share, and is never larger than the rooms' own default: more memory makes
//! room for more series, not for longer replays. A limit that is set wins, and takes its bytes from what the others share.

use model::{BUDGET_BYTES_MIN, Budget, BudgetError, Part};
use storage::EXEMPLAR_BYTES;

use super::memory_limit::{Bound, MemoryLimit};
use super::{Resolved, SettingsError};

/// Hundredths of a control group's limit that `auto` takes: the kernel counts its page cache and buffers there, too.
const OF_GROUP_PERCENT: u64 = 85;
/// Hundredths of the machine's memory that `auto` takes: others run there, too.
const OF_MACHINE_PERCENT: u64 = 75;
/// The head is flushed at a third of its share: a third fills while that lasts, and the last is for what two generations of each
/// series take beside that, some 40 bytes a series.
const HEAD_FLUSH_PART: u64 = 3;
/// Segments of the log are read whole when they are replayed, beside a head that fills up.
const SEGMENT_PART: u64 = 8;
/// Shortest segment: each costs two syncs.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Caches that share alike: timestamps, and labels of series that nobody writes any more.
const CACHES: u64 = 2;
/// One query may hold half of what all may.
const QUERY_PART: u64 = 2;

/// The budget and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) budget: Budget,
    /// For the log: what the total is a part of.
    pub(crate) origin: String,
    /// What whoever runs the server should know.
    pub(crate) warning: Option<String>,
    limits: Limits,
}

/// Limits as they are set; those that are `auto` are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Limits {
    head_bytes_max: Option<u64>,
    log_segment_bytes: Option<u64>,
    exemplars_max: Option<u64>,
    column_cache_bytes: Option<u64>,
    maintenance_bytes_max: Option<u64>,
    request_bytes_max: Option<u64>,
    request_decompressed_bytes_max: Option<u64>,
    request_all_bytes_max: Option<u64>,
    query_bytes_max: Option<u64>,
    query_all_bytes_max: Option<u64>,
}

impl Limits {
    fn of(resolved: &Resolved) -> Self {
        let set = |key: &str| resolved.bytes_or_auto(key);
        Self {
            head_bytes_max: set("head_bytes_max"),
            log_segment_bytes: set("log_segment_bytes"),
            exemplars_max: resolved.count_or_auto("exemplars_max").map(|count| count as u64),
            column_cache_bytes: set("column_cache_bytes"),
            maintenance_bytes_max: set("maintenance_bytes_max"),
            request_bytes_max: set("request_bytes_max"),
            request_decompressed_bytes_max: set("request_decompressed_bytes_max"),
            request_all_bytes_max: set("request_all_bytes_max"),
            query_bytes_max: set("query_bytes_max"),
            query_all_bytes_max: set("query_all_bytes_max"),
        }
    }

    /// The bytes of the largest request that the settings ask for.
    fn request_bytes(&self) -> u64 {
        let (sent, plain) = (self.request_bytes_max, self.request_decompressed_bytes_max);
        sent.unwrap_or(0).saturating_add(plain.unwrap_or(0))
    }

    /// The parts whose share follows from a setting.
    fn fixed(&self) -> Vec<(Part, u64)> {
        let parts = [
            (Part::Head, self.head_bytes_max.map(|bytes| bytes.saturating_mul(HEAD_FLUSH_PART))),
            (Part::Exemplars, self.exemplars_max.map(|count| count.saturating_mul(EXEMPLAR_BYTES))),
            (Part::Caches, self.column_cache_bytes.map(|bytes| bytes.saturating_mul(CACHES))),
            (Part::Maintenance, self.maintenance_bytes_max),
            (Part::Ingest, self.request_all_bytes_max.map(|bytes| bytes.max(self.request_bytes()))),
            (Part::Queries, self.query_all_bytes_max),
        ];
        parts.into_iter().filter_map(|(part, bytes)| Some((part, bytes?))).collect()
    }

    fn share_out(&self, total_bytes: u64) -> Result<Budget, BudgetError> {
        let mut fixed = self.fixed();
        let budget = Budget::share_out(total_bytes, &fixed)?;
        let needed = self.request_bytes();
        if needed <= budget.of(Part::Ingest) {
            return Ok(budget);
        }
        // One request must always fit.
        fixed.push((Part::Ingest, needed));
        Budget::share_out(total_bytes, &fixed)
    }
}

impl Memory {
    /// The budget that the settings and `limit` make.
    ///
    /// # Errors
    ///
    /// When `memory_max` is set to less than a server needs, or than the other settings leave.
    pub(crate) fn new(resolved: &Resolved, limit: &MemoryLimit) -> Result<Self, SettingsError> {
        let limits = Limits::of(resolved);
        let Some(total_bytes) = resolved.bytes_or_auto("memory_max") else {
            return Ok(Self::auto(limits, limit));
        };
        let budget = limits.share_out(total_bytes).map_err(|error| SettingsError::Value {
            key: "memory_max",
            origin: resolved.origin("memory_max").clone(),
            reason: error.to_string(),
        })?;
        let warning = (total_bytes > limit.bytes)
            .then(|| format!("memory_max is {total_bytes} bytes, which is more than there is: {limit}"));
        Ok(Self { budget, origin: "memory_max".to_owned(), warning, limits })
    }

    /// The budget that `limit` makes where nothing is set.
    pub(crate) fn found(limit: &MemoryLimit) -> Self {
        Self::auto(Limits::default(), limit)
    }

    /// A server starts whatever is found; that it may be too little is a warning.
    fn auto(limits: Limits, limit: &MemoryLimit) -> Self {
        let percent = if matches!(limit.bound, Bound::Group(_)) { OF_GROUP_PERCENT } else { OF_MACHINE_PERCENT };
        let origin = format!("{percent} % of {limit}");
        let found_bytes = u64::try_from(u128::from(limit.bytes) * u128::from(percent) / 100).unwrap_or(limit.bytes);
        let raised = |bytes: u64| {
            let text = format!("{origin} is less than the settings and the least of all parts need, {bytes} bytes");
            (limits.share_out(bytes), Some(text))
        };
        let (budget, warning) = match limits.share_out(found_bytes) {
            Err(BudgetError::TooSmall { .. }) => {
                let (budget, warning) = raised(BUDGET_BYTES_MIN);
                if budget.is_ok() { (budget, warning) } else { raised(limits.needed_bytes()) }
            }
            Err(_) => raised(limits.needed_bytes()),
            fits => (fits, None),
        };
        let budget = budget.unwrap_or_default();
        Self { budget, origin, warning, limits }
    }

    /// The engine's options, with the limits that follow.
    pub(crate) fn engine(&self, mut options: storage::EngineOptions) -> storage::EngineOptions {
        let (set, of) = (&self.limits, |part| self.budget.of(part));
        let cut = |set: Option<u64>, default: u64, share: u64| set.unwrap_or_else(|| share.min(default));
        let cut_size = |set: Option<u64>, default: usize, share: u64| size(cut(set, default as u64, share));
        options.head_bytes_max = cut(set.head_bytes_max, options.head_bytes_max, of(Part::Head) / HEAD_FLUSH_PART);
        let segment_bytes = (of(Part::Head) / SEGMENT_PART).max(SEGMENT_BYTES_MIN);
        options.log_segment_bytes = cut(set.log_segment_bytes, options.log_segment_bytes, segment_bytes);
        options.column_cache_bytes =
            cut_size(set.column_cache_bytes, options.column_cache_bytes, of(Part::Caches) / CACHES);
        options.label_cache_bytes = cut_size(None, options.label_cache_bytes, of(Part::Caches) / CACHES);
        options.maintenance_bytes_max =
            cut(set.maintenance_bytes_max, options.maintenance_bytes_max, of(Part::Maintenance));
        let exemplars = of(Part::Exemplars) / EXEMPLAR_BYTES;
        options.exemplars_max = cut_size(set.exemplars_max, options.exemplars_max, exemplars);
        options
    }

    /// The limits of the write routes: at least one request of the largest size fits.
    pub(crate) fn ingest(&self, mut limits: ingest::IngestLimits) -> ingest::IngestLimits {
        let set = &self.limits;
        let all = size(self.budget.of(Part::Ingest));
        // Set, a limit counts as it is.
        let cut = |default: usize, share: usize| default.min(share);
        let chosen = |set: Option<u64>, auto: usize| set.map_or(auto, size);
        limits.bytes_in_flight_max = chosen(set.request_all_bytes_max, cut(limits.bytes_in_flight_max, all));
        let all = limits.bytes_in_flight_max;
        limits.body_bytes_max = chosen(set.request_bytes_max, cut(limits.body_bytes_max, all / 8));
        let plain = cut(limits.decompressed_bytes_max, all / 8 * 3);
        limits.decompressed_bytes_max = chosen(set.request_decompressed_bytes_max, plain);
        limits.label_bytes_per_request_max = cut(limits.label_bytes_per_request_max, all / 2);
        limits.histogram_bytes_per_request_max = cut(limits.histogram_bytes_per_request_max, all / 2);
        limits.samples_per_request_max = cut(limits.samples_per_request_max, all / 64);
        limits.series_per_request_max = cut(limits.series_per_request_max, all / 256);
        limits.exemplars_per_request_max = cut(limits.exemplars_per_request_max, all / 512);
        limits.symbols_per_request_max = cut(limits.symbols_per_request_max, all / 64);
        limits.requests_in_flight_max = cut(limits.requests_in_flight_max, all >> 20).max(2);
        limits
    }

    /// Most bytes that one query, and all together, may hold.
    pub(crate) fn queries(&self, defaults: (usize, usize)) -> (usize, usize) {
        let all = self.limits.query_all_bytes_max.map(size);
        let all = all.unwrap_or_else(|| defaults.1.min(size(self.budget.of(Part::Queries))));
        let one = self.limits.query_bytes_max.map(size);
        (one.unwrap_or_else(|| defaults.0.min(all / size(QUERY_PART))), all)
    }
}

impl Limits {
    /// What the settings take, and the least of every part that they say nothing of.
    fn needed_bytes(&self) -> u64 {
        let mut fixed = self.fixed();
        if !fixed.iter().any(|(part, _)| *part == Part::Ingest) {
            fixed.push((Part::Ingest, self.request_bytes().max(Part::Ingest.least_bytes())));
        }
        let least =
            |part: Part| fixed.iter().find(|(of, _)| *of == part).map_or(part.least_bytes(), |(_, bytes)| *bytes);
        Part::ALL.into_iter().map(least).fold(0, u64::saturating_add).max(BUDGET_BYTES_MIN)
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::resolve;

    const MIB: u64 = 1 << 20;

    fn memory(flags: &[(&'static str, &str)], limit_mib: u64, bound: Bound) -> Result<Memory, String> {
        let flags: BTreeMap<_, _> = flags.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        let resolved = resolve(None, |_| None, &flags).expect("valid settings");
        Memory::new(&resolved, &MemoryLimit { bytes: limit_mib * MIB, bound }).map_err(|error| error.to_string())
    }

    fn group() -> Bound {
        Bound::Group("/sys/fs/cgroup/memory.max".into())
    }

    #[test]
    fn a_large_machine_has_the_defaults_of_the_rooms() {
        let memory = memory(&[], 64 << 10, Bound::Machine).expect("enough");
        assert_eq!(memory.engine(storage::EngineOptions::default()), storage::EngineOptions::default());
        assert_eq!(memory.ingest(ingest::IngestLimits::default()), ingest::IngestLimits::default());
        assert_eq!(memory.queries((1 << 30, 2 << 30)), (1 << 30, 2 << 30));
        assert_eq!((memory.budget.total_bytes(), memory.warning), (48 << 30, None));
    }

    #[test]
    fn a_small_group_cuts_every_limit() {
        let memory = memory(&[], 128, group()).expect("enough");
        assert_eq!(memory.budget.total_bytes() / MIB, 108);
        assert!(memory.origin.contains("85 % of 128 MiB by /sys/fs/cgroup/memory.max"), "{}", memory.origin);
        let engine = memory.engine(storage::EngineOptions::default());
        assert_eq!((engine.head_bytes_max / MIB, engine.log_segment_bytes / MIB), (7, 2));
        assert!(engine.exemplars_max < 10_000 && engine.exemplars_max > 1000, "{}", engine.exemplars_max);
        let ingest = memory.ingest(ingest::IngestLimits::default());
        assert_eq!(ingest, ingest.consistent(), "one request fits");
        assert!(ingest.decompressed_bytes_max as u64 > 3 * MIB, "{ingest:?}");
        let (one, all) = memory.queries((1 << 30, 2 << 30));
        assert!(one == all / 2 && all as u64 <= 15 * MIB, "{one} {all}");
    }

    #[test]
    fn what_is_set_wins_and_is_checked_against_the_total() {
        let set = [("memory_max", "200MiB"), ("head_bytes_max", "30MiB"), ("query_all_bytes_max", "40MiB")];
        let memory_of = memory(&set, 1024, Bound::Machine).expect("enough");
        assert_eq!((memory_of.budget.of(Part::Head), memory_of.budget.of(Part::Queries)), (90 * MIB, 40 * MIB));
        assert_eq!(memory_of.budget.total_bytes(), 200 * MIB);
        assert_eq!(memory_of.engine(storage::EngineOptions::default()).head_bytes_max, 30 * MIB);
        let error = memory(&[("memory_max", "40MiB")], 1024, Bound::Machine).expect_err("too little");
        assert!(error.contains("setting \"memory_max\"") && error.contains(&BUDGET_BYTES_MIN.to_string()), "{error}");
        let error = memory(&[("memory_max", "100MiB"), ("query_all_bytes_max", "1GiB")], 4096, Bound::Machine);
        let error = error.expect_err("too little is left");
        assert!(error.contains(&(1_u64 << 30).to_string()), "{error}");
        let large = memory(&[("memory_max", "2GiB")], 1024, Bound::Machine).expect("as it is asked for");
        assert!(large.warning.is_some_and(|warning| warning.contains("more than there is")));
    }

    #[test]
    fn what_is_found_never_keeps_a_server_from_starting() {
        for (limit_mib, flags) in [
            (16, vec![]),
            (64, vec![("query_all_bytes_max", "1GiB")]),
            (16, vec![("request_decompressed_bytes_max", "100MiB"), ("head_bytes_max", "1MiB")]),
            (4096, vec![("query_all_bytes_max", "8GiB")]),
        ] {
            let memory = memory(&flags, limit_mib, group()).expect("starts");
            assert!(memory.warning.is_some(), "{limit_mib} {flags:?}");
            assert!(memory.budget.total_bytes() >= BUDGET_BYTES_MIN);
        }
    }

    #[test]
    fn a_large_request_that_is_asked_for_fits() {
        let set = [("memory_max", "300MiB"), ("request_decompressed_bytes_max", "60MiB")];
        let memory = memory(&set, 1024, Bound::Machine).expect("enough");
        assert_eq!(memory.budget.of(Part::Ingest), 60 * MIB);
        let limits = memory.ingest(ingest::IngestLimits::default());
        assert_eq!(limits.decompressed_bytes_max as u64, 60 * MIB);
    }
}
