//! What PromQL does with native histograms: adding, comparing, estimating, cutting.
//!
//! Owns pure functions over [`model::Histogram`] in canonical form. They fail on no numbers, only on kinds that do not
//! combine. Which series and steps they are applied to, limits of memory and time, and the texts of annotations are the
//! evaluator's. Semantics are those of Prometheus 3.14, except that no observation counts both in the zero bucket and
//! in a bucket beside it when resolution and zero threshold change at once.

mod buckets;
mod combine;
mod counter;
mod extended;
mod findings;
mod interpolate;
mod layout;
mod mean;
mod moments;
mod neighbours;
#[cfg(test)]
mod properties;
mod quantile;
mod reset;
mod scale;
#[cfg(test)]
mod testing;
mod text;
mod trim;

pub use self::buckets::{Edges, Stretch, buckets};
#[cfg(test)]
use self::{buckets::bound, interpolate::interpolate};
pub(crate) use self::{
    combine::{HistogramSum, Joined, MixedKinds, add, subtract},
    counter::{change, change_over, last_change},
    extended::extended_change,
    findings::{Finding, Findings},
    interpolate::interpolate_instant,
    mean::HistogramMean,
    moments::{average, standard_deviation, variance},
    neighbours::{is_change, is_reset_between, starts_anew, starts_over, starts_overlap, tell_resets},
    quantile::{NanObservations, fraction, quantile},
    reset::is_reset,
    scale::{divide, equals, multiply, negate},
    text::Text,
    trim::{Keep, trim},
};
