//! Moments and durations as Go writes them.
//!
//! A layout shows how the reference time, `Mon Jan 2 15:04:05 2006` in zone `MST` (`-0700`), would be written: <https://pkg.go.dev/time#pkg-constants>.

use std::fmt::Write as _;

use jiff::Zoned;

/// What a layout's piece stands for, longest spellings first where one begins with another.
const PIECES: [(&str, Piece); 32] = [
    ("January", Piece::Month),
    ("Jan", Piece::MonthShort),
    ("Monday", Piece::Weekday),
    ("Mon", Piece::WeekdayShort),
    ("MST", Piece::ZoneName),
    ("2006", Piece::Year),
    ("-07:00:00", Piece::Offset),
    ("-07:00", Piece::Offset),
    ("-070000", Piece::Offset),
    ("-0700", Piece::Offset),
    ("-07", Piece::Offset),
    ("Z07:00:00", Piece::Offset),
    ("Z07:00", Piece::Offset),
    ("Z070000", Piece::Offset),
    ("Z0700", Piece::Offset),
    ("Z07", Piece::Offset),
    ("002", Piece::DayOfYear),
    ("__2", Piece::DayOfYearSpaced),
    ("01", Piece::MonthNumber { width: 2 }),
    ("02", Piece::Day { fill: Some('0') }),
    ("_2", Piece::Day { fill: Some(' ') }),
    ("03", Piece::HourOfTwelve { width: 2 }),
    ("04", Piece::Minute { width: 2 }),
    ("05", Piece::Second { width: 2 }),
    ("06", Piece::YearShort),
    ("15", Piece::Hour),
    ("PM", Piece::Half { upper: true }),
    ("pm", Piece::Half { upper: false }),
    ("1", Piece::MonthNumber { width: 1 }),
    ("2", Piece::Day { fill: None }),
    ("3", Piece::HourOfTwelve { width: 1 }),
    ("4", Piece::Minute { width: 1 }),
];

#[derive(Debug, Clone, Copy)]
enum Piece {
    Month,
    MonthShort,
    MonthNumber {
        width: usize,
    },
    Weekday,
    WeekdayShort,
    Day {
        fill: Option<char>,
    },
    DayOfYear,
    DayOfYearSpaced,
    Year,
    YearShort,
    Hour,
    HourOfTwelve {
        width: usize,
    },
    Minute {
        width: usize,
    },
    Second {
        width: usize,
    },
    Half {
        upper: bool,
    },
    ZoneName,
    /// With hours, minutes and seconds as far as it is spelled; `Z` for none.
    Offset,
}

/// `time` as Go's `time.Format` writes it with `layout`.
pub fn format_time(time: &Zoned, layout: &str) -> String {
    let mut out = String::with_capacity(layout.len() + 16);
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some((digits, zeros)) = fraction(rest) {
            write_fraction(&mut out, time, first, digits, zeros);
            rest = rest.get(digits + 1..).unwrap_or_default();
            continue;
        }
        let found = PIECES.iter().find(|(spelling, piece)| is_piece(rest, spelling, *piece));
        if let Some((spelling, piece)) = found {
            write_piece(&mut out, time, spelling, *piece);
            rest = rest.get(spelling.len()..).unwrap_or_default();
        } else if let Some(behind) = rest.strip_prefix('5') {
            write_piece(&mut out, time, "5", Piece::Second { width: 1 });
            rest = behind;
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    out
}

fn is_piece(rest: &str, spelling: &str, piece: Piece) -> bool {
    let Some(behind) = rest.strip_prefix(spelling) else { return false };
    match piece {
        // `Janet` is no month, `_2006` no day.
        Piece::MonthShort | Piece::WeekdayShort => !behind.starts_with(|c: char| c.is_ascii_lowercase()),
        Piece::Day { fill: Some(' ') } => !behind.starts_with("006"),
        _ => true,
    }
}

/// The length and whether zeros stay of a fraction of seconds: `.000`, `,999`.
fn fraction(rest: &str) -> Option<(usize, bool)> {
    let digits = rest.strip_prefix(['.', ','])?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let length = digits.chars().take_while(|c| *c == first).count();
    // `.0001` is no fraction.
    let behind = digits.get(length..).unwrap_or_default();
    (!behind.starts_with(|c: char| c.is_ascii_digit()) && length <= 9).then_some((length, first == '0'))
}

fn write_fraction(out: &mut String, time: &Zoned, point: char, digits: usize, zeros: bool) {
    let ns = format!("{:09}", time.subsec_nanosecond());
    let shown = ns.get(..digits).unwrap_or(&ns);
    let shown = if zeros { shown } else { shown.trim_end_matches('0') };
    if !shown.is_empty() {
        out.push(point);
        out.push_str(shown);
    }
}

fn write_piece(out: &mut String, time: &Zoned, spelling: &str, piece: Piece) {
    let of_twelve = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let written = match piece {
        Piece::Month => write!(out, "{}", time.strftime("%B")),
        Piece::MonthShort => write!(out, "{}", time.strftime("%b")),
        Piece::MonthNumber { width } => write!(out, "{:0width$}", time.month()),
        Piece::Weekday => write!(out, "{}", time.strftime("%A")),
        Piece::WeekdayShort => write!(out, "{}", time.strftime("%a")),
        Piece::Day { fill: Some('0') } => write!(out, "{:02}", time.day()),
        Piece::Day { fill: Some(_) } => write!(out, "{:2}", time.day()),
        Piece::Day { fill: None } => write!(out, "{}", time.day()),
        Piece::DayOfYear => write!(out, "{:03}", time.day_of_year()),
        Piece::DayOfYearSpaced => write!(out, "{:3}", time.day_of_year()),
        Piece::Year => write!(out, "{:04}", time.year()),
        Piece::YearShort => write!(out, "{:02}", time.year().rem_euclid(100)),
        Piece::Hour => write!(out, "{:02}", time.hour()),
        Piece::HourOfTwelve { width } => write!(out, "{of_twelve:0width$}"),
        Piece::Minute { width } => write!(out, "{:0width$}", time.minute()),
        Piece::Second { width } => write!(out, "{:0width$}", time.second()),
        Piece::Half { upper } => {
            let half = if time.hour() < 12 { "AM" } else { "PM" };
            out.push_str(&if upper { half.to_owned() } else { half.to_lowercase() });
            Ok(())
        }
        Piece::ZoneName => write!(out, "{}", time.strftime("%Z")),
        Piece::Offset => {
            write_offset(out, time.offset().seconds(), spelling);
            Ok(())
        }
    };
    debug_assert!(written.is_ok(), "strings take everything");
}

fn write_offset(out: &mut String, offset_s: i32, spelling: &str) {
    if offset_s == 0 && spelling.starts_with('Z') {
        out.push('Z');
        return;
    }
    let total = offset_s.unsigned_abs();
    let between = if spelling.contains(':') { ":" } else { "" };
    out.push(if offset_s < 0 { '-' } else { '+' });
    let pairs = spelling.bytes().filter(u8::is_ascii_digit).count() / 2;
    let parts = [total / 3600, total / 60 % 60, total % 60].map(|part| format!("{part:02}"));
    out.push_str(&parts.get(..pairs).unwrap_or_default().join(between));
}

/// A moment as Go prints one.
pub(super) fn print_time(time: &Zoned) -> String {
    format_time(time, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// A duration of `ns` nanoseconds as Go prints one: `1h0m0.5s`, `1.5ms`.
pub(super) fn format_duration(ns: i64) -> String {
    let total = ns.unsigned_abs();
    let sign = if ns < 0 { "-" } else { "" };
    if total == 0 {
        return "0s".to_owned();
    }
    for (unit, of) in [("ns", 1), ("µs", 1_000), ("ms", 1_000_000)] {
        if total < of * 1_000 {
            return format!("{sign}{}{unit}", with_fraction(total, of));
        }
    }
    let (hours, rest) = (total / 3_600_000_000_000, total % 3_600_000_000_000);
    let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
    let seconds = with_fraction(rest, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value` by `of`, a power of ten, with as many digits as there are.
fn with_fraction(value: u64, of: u64) -> String {
    let width = of.ilog10() as usize;
    let fraction = format!("{:0width$}", value % of);
    let fraction = if width == 0 { "" } else { fraction.trim_end_matches('0') };
    if fraction.is_empty() { (value / of).to_string() } else { format!("{}.{fraction}", value / of) }
}
