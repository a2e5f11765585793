//! The bounds on what senders may ask of the server. Each is named in the error of the request that passes it.

use model::LabelLimits;

/// Bounds on requests and on what is under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestLimits {
    /// Longest body as it is sent, in bytes.
    pub body_bytes_max: usize,
    /// Longest body after decompression, in bytes.
    pub decompressed_bytes_max: usize,
    /// Longest time a sender may take to send its body, in milliseconds.
    pub body_read_ms_max: u64,
    /// Most series in one request, those that are not taken included.
    pub series_per_request_max: usize,
    /// Most samples in one request, histograms included.
    pub samples_per_request_max: usize,
    /// Most memory of the histograms of one request, in bytes.
    pub histogram_bytes_per_request_max: usize,
    /// Most exemplars in one request; the rest are left out.
    pub exemplars_per_request_max: usize,
    /// Most bytes of all label sets of one request, those of exemplars included. References to symbols and labels
    /// that are added to every line make more of them than the body has. Raised to what a body may have.
    pub label_bytes_per_request_max: usize,
    /// Most symbols in one request of remote write 2.0.
    pub symbols_per_request_max: usize,
    /// Most metrics that one request may describe; the rest keep what is known of them.
    pub metadata_per_request_max: usize,
    /// Longest name, unit and help of one metric together, in bytes.
    pub metadata_bytes_max: usize,
    /// Bounds on label sets.
    pub labels: LabelLimits,
    /// Most requests that are decoded and written at once. Each holds a thread.
    pub requests_in_flight_max: usize,
    /// Most requests beside those that are received or wait for their turn.
    pub requests_waiting_max: usize,
    /// Most bytes of all bodies under way, as sent and decompressed. Raised to what one request may need.
    pub bytes_in_flight_max: usize,
    /// The pause that a sender is asked for when the server has too much under way, in seconds.
    pub retry_after_s: u64,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 << 20,
            decompressed_bytes_max: 32 << 20,
            body_read_ms_max: 30_000,
            series_per_request_max: 100_000,
            samples_per_request_max: 1_000_000,
            histogram_bytes_per_request_max: 64 << 20,
            exemplars_per_request_max: 100_000,
            label_bytes_per_request_max: 64 << 20,
            symbols_per_request_max: 1_000_000,
            metadata_per_request_max: 20_000,
            metadata_bytes_max: 4096,
            labels: LabelLimits::default(),
            requests_in_flight_max: 16,
            requests_waiting_max: 128,
            bytes_in_flight_max: 128 << 20,
            retry_after_s: 5,
        }
    }
}

impl IngestLimits {
    /// These limits with what contradicts itself put right: at least one request, and bytes for it, at once.
    #[must_use]
    pub fn consistent(mut self) -> Self {
        self.requests_in_flight_max = self.requests_in_flight_max.max(1);
        let one_request_bytes = self.body_bytes_max.saturating_add(self.decompressed_bytes_max);
        self.bytes_in_flight_max = self.bytes_in_flight_max.max(one_request_bytes);
        self.label_bytes_per_request_max = self.label_bytes_per_request_max.max(self.decompressed_bytes_max);
        self.retry_after_s = self.retry_after_s.max(1);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_always_fits() {
        let limits = IngestLimits {
            body_bytes_max: 10,
            decompressed_bytes_max: 20,
            bytes_in_flight_max: 5,
            label_bytes_per_request_max: 0,
            requests_in_flight_max: 0,
            retry_after_s: 0,
            ..IngestLimits::default()
        };
        let limits = limits.consistent();
        assert_eq!((limits.bytes_in_flight_max, limits.requests_in_flight_max, limits.retry_after_s), (30, 1, 1));
        assert_eq!((limits.label_bytes_per_request_max, limits.consistent()), (20, limits));
        assert_eq!(IngestLimits::default().consistent(), IngestLimits::default());
    }
}
