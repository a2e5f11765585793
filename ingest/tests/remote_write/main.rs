//! The walks over remote write requests of both versions, compared with prost's decoder and checked in detail.

mod histograms;
mod properties;
mod recognised;
mod series;
mod version_2;
mod walk;
