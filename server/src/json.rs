//! JSON pieces of the query API, written straight into a byte buffer.
//!
//! Owns how timestamps, quoted values and label sets look, byte for byte as Prometheus writes them; numbers and strings
//! are `model::json`'s. Whole documents are put together in `answer` and `reply`; small, rare ones use `serde_json`.

use model::LabelsRef;
pub(crate) use model::json::{write_number, write_string, write_whole};

/// Writes `{"name":"value",…}` in name order.
pub(crate) fn write_labels(out: &mut Vec<u8>, labels: LabelsRef<'_>) {
    out.push(b'{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_string(out, value);
    }
    out.push(b'}');
}

/// Writes milliseconds as a number of seconds, with three decimals or none: `10`, `1435781451.500`, `-0.001`.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    let ms = timestamp_ms.unsigned_abs();
    write_whole(out, ms / 1000);
    let digits = [ms / 100 % 10, ms / 10 % 10, ms % 10];
    if digits != [0, 0, 0] {
        out.push(b'.');
        out.extend(digits.map(|digit| b"0123456789"[usize::try_from(digit).unwrap_or(0)]));
    }
}

/// Writes a sample value in quotes: `"0.1"`, `"1e-07"`, `"+Inf"`.
pub(crate) fn write_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    write_number(out, value);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[track_caller]
    fn check_value(value: f64, want: &str) {
        assert_eq!(text(|out| write_number(out, value)), want, "for {value:e}");
        assert_eq!(text(|out| write_value(out, value)), format!("\"{want}\""));
    }

    #[test]
    fn values() {
        check_value(0.0, "0");
        check_value(-0.0, "-0");
        check_value(1.0, "1");
        check_value(-17.0, "-17");
        check_value(0.1, "0.1");
        check_value(-0.25, "-0.25");
        check_value(1.0 / 3.0, "0.3333333333333333");
        check_value(9_007_199_254_740_991.0, "9007199254740991");
        check_value(9_007_199_254_740_993.0, "9007199254740992");
        check_value(1e20, "100000000000000000000");
        check_value(123_456_789_012_345_680_000.0, "123456789012345680000");
        check_value(1e21, "1e+21");
        check_value(-1.5e21, "-1.5e+21");
        check_value(1e100, "1e+100");
        check_value(f64::MAX, "1.7976931348623157e+308");
        check_value(0.000_001, "0.000001");
        check_value(0.000_000_999, "9.99e-07");
        check_value(1e-7, "1e-07");
        check_value(-2.5e-10, "-2.5e-10");
        check_value(f64::MIN_POSITIVE, "2.2250738585072014e-308");
        check_value(5e-324, "5e-324");
        check_value(f64::NAN, "NaN");
        check_value(f64::INFINITY, "+Inf");
        check_value(f64::NEG_INFINITY, "-Inf");
    }

    /// Whatever is written reads back as the same bits.
    #[test]
    fn values_read_back() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let written = text(|out| write_number(out, value));
                assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits, "{written}");
            }
        }
    }

    #[track_caller]
    fn check_timestamp(timestamp_ms: i64, want: &str) {
        assert_eq!(text(|out| write_timestamp(out, timestamp_ms)), want);
    }

    #[test]
    fn timestamps() {
        check_timestamp(0, "0");
        check_timestamp(10_000, "10");
        check_timestamp(1_435_781_451_781, "1435781451.781");
        check_timestamp(1_500, "1.500");
        check_timestamp(1_050, "1.050");
        check_timestamp(1_001, "1.001");
        check_timestamp(-1, "-0.001");
        check_timestamp(-61_000, "-61");
        check_timestamp(i64::MAX, "9223372036854775.807");
        check_timestamp(i64::MIN, "-9223372036854775.808");
    }

    #[track_caller]
    fn check_string(given: &str) {
        let written = text(|out| write_string(out, given));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), given, "{written}");
    }

    #[test]
    fn strings() {
        assert_eq!(text(|out| write_string(out, "a\"b\\c\nd\te\r\u{1}\u{1f}é")), r#""a\"b\\c\nd\te\r\u0001\u001fé""#);
        check_string("");
        check_string("plain");
        check_string("\u{0}\u{7f}\u{2028}🦀\"");
        check_string(&(0..=0x24u8).map(char::from).collect::<String>());
    }

    #[test]
    fn label_sets() {
        let labels = Labels::from_pairs([("zone", "a\"b"), ("__name__", "up")]).unwrap();
        assert_eq!(text(|out| write_labels(out, labels.as_ref())), r#"{"__name__":"up","zone":"a\"b"}"#);
        assert_eq!(text(|out| write_labels(out, Labels::empty().as_ref())), "{}");
    }
}
