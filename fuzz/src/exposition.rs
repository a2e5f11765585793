//! Any text as an exposition page: every line is an entry or an error, and what was understood is written and read
//! back the same.

use model::exposition::{Entry, Family, FamilySample, TextFormat, TextParser, write_families};
use model::{LabelLimits, MetricMetadata};

/// First the format, then the page.
pub fn run(data: &[u8]) {
    let Some((&first, page)) = data.split_first() else { return };
    let Ok(page) = std::str::from_utf8(page) else { return };
    let format = if first % 2 == 0 { TextFormat::Prometheus } else { TextFormat::OpenMetrics };
    let families = read(page, format);
    let mut written = String::new();
    write_families(&families, format, &mut written);
    let again = read(&written, format);
    assert_eq!(families, again, "written as {written:?}");
}

/// The samples of a page, each as a family of its own.
fn read(page: &str, format: TextFormat) -> Vec<Family> {
    let limits = LabelLimits { labels_max: usize::MAX, ..LabelLimits::default() };
    let mut families = Vec::new();
    let mut parser = TextParser::new(page, format);
    let (mut entries, lines) = (0, page.lines().count() + 1);
    while let Some(entry) = parser.next_entry() {
        entries += 1;
        assert!(entries <= lines, "no more entries than lines");
        if let Ok(Entry::Sample { labels, value, timestamp_ms }) = entry
            && let Ok(labels) = labels.pack(&limits)
        {
            let labels = labels.to_owned();
            let name = labels.metric_name().to_owned();
            let samples = vec![FamilySample { labels, value, timestamp_ms }];
            families.push(Family { name, metadata: MetricMetadata::default(), samples });
        }
    }
    families
}
