//! Series that nothing holds any more are removed, and with the last series of a metric its metadata.
//!
//! Appends wait while series are removed, so what there is to find out is found out before: which series are empty, and which
//! metrics have no others. Under the writer's lock only what came since is looked at: series that were written to again, and series
//! that are new, which are those from an id on.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use model::{METRIC_NAME, Matcher, TimeRange};
use roaring::RoaringBitmap;

use super::{Core, Counters, Maintenance, StorageError};
use crate::damage::Damage;
use crate::ids::SeriesId;

/// Most series removed in one round; appends wait for it.
const SERIES_ROUND_MAX: u32 = 10_000;
/// What the names of a metric's series may have behind the name that its metadata has.
const SERIES_SUFFIXES: [&str; 8] = ["_bucket", "_count", "_sum", "_total", "_created", "_info", "_gcount", "_gsum"];

/// Series that looked empty.
#[derive(Debug)]
struct Leaving {
    ids: RoaringBitmap,
    /// The metrics with metadata that have no others.
    metrics: BTreeSet<String>,
    /// Series from this id on are newer than what is said here.
    next_series: u32,
}

impl Core {
    /// Removes series without samples, at most so many a round. Says whether there may be more.
    pub(super) fn remove_series(&self, maintenance: &mut Maintenance) -> Result<bool, StorageError> {
        // A block that cannot be read now may be repaired, and needs its series then.
        if !maintenance.check_series || !self.view().quarantined.is_empty() {
            return Ok(false);
        }
        let Some(leaving) = self.leaving() else { return Ok(false) };
        if leaving.ids.is_empty() {
            maintenance.check_series = false;
            return Ok(false);
        }
        let more = leaving.ids.len() == u64::from(SERIES_ROUND_MAX);
        self.check_catalog_space()?;
        // With the writer's lock no series is created and no sample added meanwhile.
        let mut writer = self.writer.lock();
        let ids = &leaving.ids - self.head.overlapping(&leaving.ids, TimeRange::ALL);
        let gone: Vec<SeriesId> = ids.iter().map(SeriesId).collect();
        let metrics = self.still_ending(&leaving, &ids, writer.next_series);
        // Lasting with the series.
        let catalog = maintenance.catalog()?;
        let removed = catalog.remove_metadata(&metrics).and_then(|()| catalog.remove_series(&gone));
        removed.inspect_err(|error| drop(self.poison(error)))?;
        maintenance.check_series = more;
        self.series.remove(&gone, |labels| self.series_limits.release(labels.as_ref()));
        self.lifetimes.forget(&gone);
        self.metadata.write().retain(|metric, _| metrics.binary_search(metric).is_err());
        self.churn.lock().removed(self.clock.now().0, gone.len() as u64);
        // Only now, so that whoever sees this number finds none of the removed series; ids that appenders looked up
        // before are looked up again.
        self.removals.fetch_add(1, Ordering::AcqRel);
        writer.uncatalogued.retain(|id| !ids.contains(id.0));
        drop(writer);
        Counters::add(&self.counters.series_removed, gone.len() as u64);
        Ok(more)
    }

    /// The series that neither blocks nor the head hold. `None` where a block cannot tell. Blocks stay as they are while
    /// maintenance is held; appends go on.
    fn leaving(&self) -> Option<Leaving> {
        let blocks = self.view();
        let mut whole = true;
        for damage in blocks.blocks.iter().filter_map(|block| block.damage()) {
            self.damage.add(damage.clone());
            whole = false;
        }
        if !whole {
            return None;
        }
        let next_series = self.writer.lock().next_series;
        let mut ids = self.series.all();
        for block in &blocks.blocks {
            ids -= block.ids();
        }
        ids -= self.head.overlapping(&ids, TimeRange::ALL);
        if let Some(end) = ids.select(SERIES_ROUND_MAX) {
            ids.remove_range(end..);
        }
        // Where the index cannot tell, the metadata stays.
        let names = self.names_of(&ids);
        let metrics = names.and_then(|names| self.metrics_that_end(&names, &ids)).unwrap_or_default();
        Some(Leaving { ids, metrics, next_series })
    }

    /// The metrics with metadata that only have series among `gone`, whose names are `names`.
    fn metrics_that_end(&self, names: &BTreeSet<String>, gone: &RoaringBitmap) -> Result<BTreeSet<String>, Damage> {
        let known = self.metadata.read();
        let families = names.iter().flat_map(|name| families_of(name)).filter(|family| known.contains_key(*family));
        let families: BTreeSet<String> = families.map(ToOwned::to_owned).collect();
        drop(known);
        let mut ends = BTreeSet::new();
        for family in families {
            if self.has_only(family.clone(), gone)? {
                let mut others = SERIES_SUFFIXES.iter().map(|suffix| self.has_only(format!("{family}{suffix}"), gone));
                if others.try_fold(true, |all, of| Ok::<_, Damage>(all && of?))? {
                    ends.insert(family);
                }
            }
        }
        Ok(ends)
    }

    /// Whether all series of this name are among `ids`.
    fn has_only(&self, name: String, ids: &RoaringBitmap) -> Result<bool, Damage> {
        Ok(self.series.select(&[Matcher::equal(METRIC_NAME, name)])?.is_subset(ids))
    }

    /// The metrics that still end, ascending, when of what was leaving only `gone` is, and there are series up to `next_series`.
    fn still_ending(&self, leaving: &Leaving, gone: &RoaringBitmap, next_series: u32) -> Vec<String> {
        let mut since = &leaving.ids - gone;
        since.insert_range(leaving.next_series..next_series);
        let Ok(names) = self.names_of(&since) else { return Vec::new() };
        let stay: BTreeSet<&str> = names.iter().flat_map(|name| families_of(name)).collect();
        leaving.metrics.iter().filter(|metric| !stay.contains(metric.as_str())).cloned().collect()
    }

    /// The names that `ids` have.
    fn names_of(&self, ids: &RoaringBitmap) -> Result<BTreeSet<String>, Damage> {
        let mut names = BTreeSet::new();
        self.series.each(ids, |_, labels| {
            if !names.contains(labels.metric_name()) {
                names.insert(labels.metric_name().to_owned());
            }
        })?;
        Ok(names)
    }
}

/// The names that the metadata of a series called `name` may have.
fn families_of(name: &str) -> impl Iterator<Item = &str> {
    SERIES_SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix)).chain([name])
}
