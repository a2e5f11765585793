//! Numbers for people: few digits, a unit that fits.
//!
//! Tables show the digits the server sent; this is for axes, legends and summaries.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Anything.
    Plain,
    /// Bytes, shown in binary multiples.
    Bytes,
}

impl Unit {
    /// The unit that a metric's name tells.
    pub(crate) fn of_metric(name: &str) -> Self {
        let stem = name.strip_suffix("_total").unwrap_or(name);
        if stem.ends_with("_bytes") { Self::Bytes } else { Self::Plain }
    }
}

/// Shows `value` with at most four digits or so: `1.5k`, `64MiB`, `0.002`, `1.2e-9`.
pub(crate) fn short(value: f64, unit: Unit) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let (base, suffixes): (f64, [&str; 6]) = match unit {
        Unit::Plain => (1000.0, ["", "k", "M", "G", "T", "P"]),
        Unit::Bytes => (1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]),
    };
    if value != 0.0 && value.abs() < 1e-3 || value.abs() >= base.powi(5) * 1000.0 {
        return format!("{value:.1e}");
    }
    let mut scaled = value;
    let mut suffix = suffixes[0];
    for next in &suffixes[1..] {
        // What would round up to the next suffix gets it: 999.96k is 1M.
        if scaled.abs() < base - 0.05 {
            break;
        }
        scaled /= base;
        suffix = next;
    }
    let decimals = match scaled.abs() {
        small if small < 0.1 => 4,
        small if small < 1.0 => 3,
        middle if middle < 10.0 => 2,
        _ => 1,
    };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{}{suffix}", if text == "-0" { "0" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, unit: Unit, want: &str) {
        assert_eq!(short(value, unit), want, "for {value}");
    }

    #[test]
    fn numbers_are_short() {
        check(0.0, Unit::Plain, "0");
        check(-0.0, Unit::Plain, "0");
        check(1.0, Unit::Plain, "1");
        check(12.34, Unit::Plain, "12.3");
        check(0.25, Unit::Plain, "0.25");
        check(0.0123, Unit::Plain, "0.0123");
        check(1500.0, Unit::Plain, "1.5k");
        check(999_960.0, Unit::Plain, "1M");
        check(-2.5e9, Unit::Plain, "-2.5G");
        check(1e-9, Unit::Plain, "1.0e-9");
        check(1e30, Unit::Plain, "1.0e30");
        check(f64::NAN, Unit::Plain, "NaN");
        check(f64::NEG_INFINITY, Unit::Plain, "-Inf");
        check(512.0, Unit::Bytes, "512B");
        check(67_108_864.0, Unit::Bytes, "64MiB");
        check(1536.0, Unit::Bytes, "1.5KiB");
    }

    #[test]
    fn names_tell_units() {
        assert_eq!(Unit::of_metric("go_memstats_alloc_bytes_total"), Unit::Bytes);
        assert_eq!(Unit::of_metric("process_resident_memory_bytes"), Unit::Bytes);
        assert_eq!(Unit::of_metric("go_goroutines"), Unit::Plain);
    }
}
