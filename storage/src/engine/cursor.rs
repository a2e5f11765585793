//! Recognising the series of a request while it is decoded.

use std::sync::atomic::Ordering;

use model::{KnownSeries, LabelsRef, SeriesCursor};

use super::Core;
use crate::index::Predictor;

/// The place of one request among the series.
#[derive(Debug)]
pub(super) struct Cursor<'c> {
    predictor: Predictor<'c>,
    /// How often series had been removed when the request began.
    as_of: u64,
}

impl Core {
    pub(super) fn cursor(&self) -> Cursor<'_> {
        // First: what is removed after this is noticed when the batch is prepared.
        let as_of = self.removals.load(Ordering::Acquire);
        Cursor { predictor: self.series.predictor(), as_of }
    }
}

impl SeriesCursor for Cursor<'_> {
    fn guess(&mut self, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<KnownSeries> {
        let id = self.predictor.guess(is_next)?;
        Some(KnownSeries { number: id.0, as_of: self.as_of })
    }

    fn guess_run(&mut self, take: &mut dyn FnMut(KnownSeries, LabelsRef<'_>) -> bool) {
        let as_of = self.as_of;
        self.predictor.guess_run(&mut |id, labels| take(KnownSeries { number: id.0, as_of }, labels));
    }

    fn find(&mut self, labels: LabelsRef<'_>) -> Option<KnownSeries> {
        let id = self.predictor.find(labels)?;
        Some(KnownSeries { number: id.0, as_of: self.as_of })
    }
}
