//! Moments out of text, by a layout of Go's: what [`format_time`](super::format_time) would have written.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// What the layouts stand for, longest spellings first where one begins with another.
const PIECES: [(&str, Piece); 30] = [
    ("January", Piece::Month),
    ("Jan", Piece::MonthShort),
    ("Monday", Piece::Weekday),
    ("Mon", Piece::WeekdayShort),
    ("MST", Piece::ZoneName),
    ("2006", Piece::Year),
    ("Z07:00", Piece::Offset { colon: true, z: true }),
    ("Z0700", Piece::Offset { colon: false, z: true }),
    ("-07:00", Piece::Offset { colon: true, z: false }),
    ("-0700", Piece::Offset { colon: false, z: false }),
    ("-07", Piece::OffsetHours),
    ("002", Piece::DayOfYear),
    ("01", Piece::MonthNumber),
    ("02", Piece::Day),
    ("_2", Piece::Day),
    ("03", Piece::HourOfTwelve),
    ("04", Piece::Minute),
    ("05", Piece::Second),
    ("06", Piece::YearShort),
    ("15", Piece::Hour),
    ("PM", Piece::Half),
    ("pm", Piece::Half),
    (".000000000", Piece::Fraction),
    (".000000", Piece::Fraction),
    (".000", Piece::Fraction),
    ("1", Piece::MonthNumber),
    ("2", Piece::Day),
    ("3", Piece::HourOfTwelve),
    ("4", Piece::Minute),
    ("5", Piece::Second),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[derive(Debug, Clone, Copy)]
enum Piece {
    Month,
    MonthShort,
    MonthNumber,
    Weekday,
    WeekdayShort,
    Day,
    DayOfYear,
    Year,
    YearShort,
    Hour,
    HourOfTwelve,
    Minute,
    Second,
    Fraction,
    Half,
    ZoneName,
    Offset { colon: bool, z: bool },
    OffsetHours,
}

/// What a text has said so far.
#[derive(Debug, Default)]
struct Said {
    year: i16,
    month: i8,
    day: i8,
    day_of_year: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
    afternoon: Option<bool>,
    offset_s: Option<i32>,
}

/// The moment that `text` says in `layout`, where no zone is said in `zone`.
///
/// # Errors
///
/// When the text is not of that layout, or there is no such moment. Zones by abbreviations other than UTC, GMT and Z are not known.
pub fn parse_time(layout: &str, text: &str, zone: TimeZone) -> Result<Zoned, String> {
    let mut said = Said { month: 1, day: 1, ..Said::default() };
    let (mut layout_rest, mut rest) = (layout, text);
    while let Some(first) = layout_rest.chars().next() {
        let here = rest;
        let wrong = || format!("{text:?} is not of the layout {layout:?}, at {here:?}");
        if let Some((spelling, piece)) = PIECES.iter().find(|(spelling, _)| layout_rest.starts_with(spelling)) {
            rest = said.take(*piece, rest).ok_or_else(wrong)?;
            layout_rest = layout_rest.get(spelling.len()..).unwrap_or_default();
            // As Go does: seconds may have a fraction that the layout does not tell.
            if matches!(piece, Piece::Second) && !layout_rest.starts_with(".0") && rest.starts_with('.') {
                rest = said.take(Piece::Fraction, rest).ok_or_else(wrong)?;
            }
        } else {
            rest = rest.strip_prefix(first).ok_or_else(wrong)?;
            layout_rest = layout_rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    if !rest.is_empty() {
        return Err(format!("{text:?} goes on behind the layout {layout:?}"));
    }
    said.moment(zone).map_err(|error| format!("{text:?}: {error}"))
}

/// A number of `width` digits at most, and at least `least`.
fn digits(text: &str, least: usize, width: usize) -> Option<(i32, &str)> {
    let length = text.bytes().take(width).take_while(u8::is_ascii_digit).count();
    if length < least {
        return None;
    }
    Some((text.get(..length)?.parse().ok()?, text.get(length..)?))
}

/// The place in `names` of the one that `text` begins with, by `letters` of them.
fn named<'t>(text: &'t str, names: &[&str], letters: Option<usize>) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = name.get(..letters.unwrap_or(name.len()))?;
        let said = text.get(..name.len())?;
        said.eq_ignore_ascii_case(name).then(|| (at, text.get(name.len()..).unwrap_or_default()))
    })
}

impl Said {
    /// Takes `piece` from the start of `text`; what is left.
    fn take<'t>(&mut self, piece: Piece, text: &'t str) -> Option<&'t str> {
        let small = |least, width| digits(text.trim_start_matches(' '), least, width);
        let as_i8 = |(value, rest): (i32, &'t str)| Some((i8::try_from(value).ok()?, rest));
        let rest;
        match piece {
            Piece::Month | Piece::MonthShort => {
                let letters = matches!(piece, Piece::MonthShort).then_some(3);
                let (at, behind) = named(text, &MONTHS, letters)?;
                (self.month, rest) = (i8::try_from(at + 1).ok()?, behind);
            }
            Piece::Weekday => rest = named(text, &WEEKDAYS, None)?.1,
            Piece::WeekdayShort => rest = named(text, &WEEKDAYS, Some(3))?.1,
            Piece::MonthNumber => (self.month, rest) = small(1, 2).and_then(as_i8)?,
            Piece::Day => (self.day, rest) = small(1, 2).and_then(as_i8)?,
            Piece::DayOfYear => {
                let (day, behind) = digits(text, 3, 3)?;
                (self.day_of_year, rest) = (Some(i16::try_from(day).ok()?), behind);
            }
            Piece::Year => {
                let (year, behind) = digits(text, 4, 4)?;
                (self.year, rest) = (i16::try_from(year).ok()?, behind);
            }
            Piece::YearShort => {
                let (year, behind) = digits(text, 2, 2)?;
                let year = i16::try_from(year).ok()?;
                (self.year, rest) = (if year >= 69 { 1900 + year } else { 2000 + year }, behind);
            }
            Piece::Hour | Piece::HourOfTwelve => (self.hour, rest) = small(1, 2).and_then(as_i8)?,
            Piece::Minute => (self.minute, rest) = small(1, 2).and_then(as_i8)?,
            Piece::Second => (self.second, rest) = small(1, 2).and_then(as_i8)?,
            Piece::Fraction => {
                let behind = text.strip_prefix('.')?;
                let (value, left) = digits(behind, 1, 9)?;
                let length = u32::try_from(behind.len() - left.len()).ok()?;
                (self.nanosecond, rest) = (value.checked_mul(10_i32.pow(9 - length))?, left);
            }
            Piece::Half => {
                let (at, behind) = named(text, &["AM", "PM"], None)?;
                (self.afternoon, rest) = (Some(at == 1), behind);
            }
            Piece::ZoneName => {
                let (_, behind) = named(text, &["UTC", "GMT", "Z"], None)?;
                (self.offset_s, rest) = (Some(0), behind);
            }
            Piece::Offset { z: true, .. } if text.starts_with('Z') => {
                (self.offset_s, rest) = (Some(0), text.get(1..)?);
            }
            Piece::Offset { colon, .. } => {
                let (offset_s, behind) = offset(text, colon, true)?;
                (self.offset_s, rest) = (Some(offset_s), behind);
            }
            Piece::OffsetHours => {
                let (offset_s, behind) = offset(text, false, false)?;
                (self.offset_s, rest) = (Some(offset_s), behind);
            }
        }
        Some(rest)
    }

    fn moment(&self, zone: TimeZone) -> Result<Zoned, jiff::Error> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let mut date = Date::new(self.year, self.month, self.day)?;
        if let Some(day) = self.day_of_year {
            date = date.with().day_of_year(day).build()?;
        }
        let time = Time::new(hour, self.minute, self.second, self.nanosecond)?;
        let civil = DateTime::from_parts(date, time);
        let zone = match self.offset_s {
            None => zone,
            Some(0) => TimeZone::UTC,
            Some(offset_s) => TimeZone::fixed(Offset::from_seconds(offset_s)?),
        };
        civil.to_zoned(zone)
    }
}

/// `+02:00`, `+0200`, `+02`.
fn offset(text: &str, colon: bool, minutes: bool) -> Option<(i32, &str)> {
    let (sign, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix('-')?),
    };
    let (hours, mut rest) = digits(rest, 2, 2)?;
    let mut offset_s = hours * 3600;
    if minutes {
        if colon {
            rest = rest.strip_prefix(':')?;
        }
        let (minutes, behind) = digits(rest, 2, 2)?;
        (offset_s, rest) = (offset_s + minutes * 60, behind);
    }
    Some((sign * offset_s, rest))
}

/// The first moment of the year 1, Go's moment of nothing.
pub(crate) fn zero_time() -> Zoned {
    Timestamp::new(-62_135_596_800, 0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_read_back() {
        for (layout, text, want) in [
            ("2006-01-02", "2024-02-29", "2024-02-29T00:00:00Z"),
            ("2006-01-02T15:04:05Z07:00", "2024-02-29T12:34:56.75+02:00", "2024-02-29T10:34:56.75Z"),
            ("2006-01-02T15:04:05Z07:00", "2024-02-29T12:34:56Z", "2024-02-29T12:34:56Z"),
            ("Mon, 02 Jan 2006 15:04:05 -0700", "Thu, 29 Feb 2024 12:00:00 -0130", "2024-02-29T13:30:00Z"),
            ("Jan _2 2006 3:04PM", "Feb  9 2024 12:05AM", "2024-02-09T00:05:00Z"),
            ("January 2, 06 3:04 pm", "March 1, 99 1:04 pm", "1999-03-01T13:04:00Z"),
            ("2006 002", "2024 060", "2024-02-29T00:00:00Z"),
            ("15:04:05.000 MST", "01:02:03.004 UTC", "0000-01-01T01:02:03.004Z"),
        ] {
            let parsed = parse_time(layout, text, TimeZone::UTC).map(|time| time.timestamp().to_string());
            assert_eq!(parsed.as_deref(), Ok(want), "{layout} {text}");
        }
        for (layout, text) in [
            ("2006-01-02", "2024-02-30"),
            ("2006-01-02", "2024-2-3x"),
            ("2006-01-02", "24-02-03"),
            ("15:04", "25:00"),
            ("Jan", "Foo"),
            ("MST", "CEST"),
        ] {
            assert!(parse_time(layout, text, TimeZone::UTC).is_err(), "{layout} {text}");
        }
        assert_eq!(zero_time().to_string(), "0001-01-01T00:00:00+00:00[UTC]");
    }
}
