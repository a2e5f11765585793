//! A page in an exposition text format, read into readings. The grammar is `model::exposition`'s.

use model::METRIC_NAME;
use model::exposition::{Entry, LineError, MetadataTable, TextFormat, TextParser};

use super::target::OwnProcess;
use crate::readings::{METADATA_MAX, Readings};

/// What became of a page.
#[derive(Debug, Default)]
pub struct Told {
    /// Lines that were not understood and left out.
    pub bad_lines: u64,
    /// Samples that are not wanted.
    pub left_out: u64,
    /// The first of them.
    pub first_error: Option<LineError>,
}

/// Reads the samples of `page` into `out`, stopping one above `samples_max`. Of the page of a process the agent knows,
/// `own`, only what [`OwnProcess::keeps`] is read.
pub fn read(page: &str, content_type: &str, own: Option<&OwnProcess>, samples_max: usize, out: &mut Readings) -> Told {
    let kept = |name: &str| own.is_none_or(|process| process.keeps(name));
    let format = TextFormat::from_content_type(content_type);
    let mut parser = TextParser::new(page, format);
    let mut metadata = MetadataTable::new(format, METADATA_MAX);
    let mut told = Told::default();
    while let Some(entry) = parser.next_entry() {
        match entry {
            Ok(Entry::Sample { labels, value, timestamp_ms }) => {
                if !kept(labels.get(METRIC_NAME).unwrap_or("")) {
                    told.left_out += 1;
                    continue;
                }
                out.push_scraped(labels, value, timestamp_ms);
                if out.len() > samples_max {
                    break;
                }
            }
            Ok(other) => metadata.take(&other),
            Err(error) => {
                told.bad_lines += 1;
                told.first_error.get_or_insert(error);
            }
        }
    }
    for (metric, known) in metadata.into_metrics().filter(|(metric, _)| kept(metric)) {
        out.describe(&metric, || known);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_with_everything() {
        let page = "# HELP m Help.\n# TYPE m counter\nm{job=\"own\",a=\"b\"} 1\nbroken{ 1\nm{a=\"c\"} 2 1234\n\
                    process_open_fds 5\n";
        let mut out = Readings::new(10);
        out.set_target([("job", "t")]);
        let own = OwnProcess::default();
        let told = read(page, "text/plain", Some(&own), 10, &mut out);
        assert_eq!(told.bad_lines, 1);
        assert_eq!(out.len(), 2, "what is read from outside is left out");
        assert_eq!(out.value_of(r#"m{a="b", exported_job="own", job="t"}"#), Some(1.0));
        assert_eq!(out.iter().nth(1).expect("two series").1.timestamp_ms(), Some(1234));
        assert_eq!(out.metadata()["m"].help, "Help.");
        let mut few = Readings::new(10);
        read(page, "text/plain", None, 1, &mut few);
        assert_eq!(few.len(), 2, "one above the limit tells that it was passed");
    }

    #[test]
    fn of_another_agent_only_its_runtime_is_kept() {
        let page = "# TYPE node_load1 gauge\nnode_load1 1\n# TYPE go_goroutines gauge\ngo_goroutines 2\ngopher 1\n\
                    process_open_fds 3\nprocess_network_receive_bytes_total 4\n\
                    promhttp_metric_handler_requests_in_flight 1\n";
        let own = OwnProcess { runtime_only: true, ..OwnProcess::default() };
        let mut out = Readings::new(1);
        read(page, "text/plain", Some(&own), 10, &mut out);
        let names: Vec<String> = out.iter().map(|(labels, _)| labels.to_string()).collect();
        assert_eq!(
            names,
            ["go_goroutines", "process_network_receive_bytes_total", "promhttp_metric_handler_requests_in_flight"]
        );
        assert!(out.metadata().contains_key("go_goroutines") && !out.metadata().contains_key("node_load1"));
    }
}
