//! The exposition text formats: Prometheus text 0.0.4 and OpenMetrics 1.0, read and written.
//!
//! [`parse`] reads a page line by line and tells each bad line by itself; [`mod@write`] prints families;
//! [`metadata`] gathers `HELP`, `TYPE` and `UNIT` lines by metric. Scraping, HTTP and limits on label sets
//! belong to the callers.
//!
//! Both formats are read forgivingly where nothing is lost by it: blanks where the grammar has one space,
//! a trailing comma among labels, `\r\n`, and comments in OpenMetrics.

pub mod metadata;
pub mod parse;
pub mod write;

pub use metadata::MetadataTable;
pub use parse::{Entry, LineError, LineExemplar, LineProblem, TextParser};
pub use write::{Family, FamilySample, ShownSeries, write_families};

/// Which of the two text formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextFormat {
    /// Prometheus text, version 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics text, version 1.0.
    OpenMetrics,
}

impl TextFormat {
    /// The format a `Content-Type` names. Anything but OpenMetrics is read as Prometheus text, as targets in
    /// the field send all kinds of types with it.
    pub fn from_content_type(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The `Content-Type` to answer with.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
            assert_eq!(TextFormat::from_content_type(format.content_type()), format);
        }
        assert_eq!(TextFormat::from_content_type("Application/OpenMetrics-Text"), TextFormat::OpenMetrics);
        assert_eq!(TextFormat::from_content_type(""), TextFormat::Prometheus);
        assert_eq!(TextFormat::from_content_type("text/plain;x=application/openmetrics-text"), TextFormat::Prometheus);
    }
}
