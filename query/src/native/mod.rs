//! What PromQL does with native histograms: adding, comparing, estimating, cutting.
//!
//! Owns pure functions over [`model::Histogram`] in canonical form; they never fail on what numbers they are given, only
//! on kinds that do not combine. Which series and steps they are applied to, limits of memory and time, and the texts of
//! annotations are the evaluator's. Semantics are those of Prometheus 3.14; where it counts an observation twice or
//! forgets one, these count it once, and say so.
#![cfg_attr(not(test), expect(dead_code, reason = "the evaluator takes these up one function after the other"))]

mod buckets;
mod combine;
mod compensated;
mod counter;
mod findings;
mod interpolate;
mod layout;
mod mean;
#[cfg(test)]
mod properties;
mod quantile;
mod reset;
mod scale;
#[cfg(test)]
mod testing;
mod text;
mod trim;

#[expect(unused_imports, reason = "as above")]
pub(crate) use self::{
    buckets::{Edges, Stretch, bound, buckets},
    combine::{HistogramSum, Joined, MixedKinds, add, subtract},
    counter::{change, extended_change, is_change, is_reset_between, last_change, starts_anew, starts_overlap},
    findings::{Finding, Findings},
    interpolate::{interpolate, interpolate_instant},
    mean::HistogramMean,
    quantile::{Fraction, NanObservations, Quantile, average, fraction, quantile, standard_deviation, variance},
    reset::is_reset,
    scale::{divide, equals, multiply, negate},
    text::{GoFloat, Text},
    trim::{Keep, trim},
};
