//! Times of day, week and year in which routes are mute or active.
//!
//! The form is Alertmanager's `time_intervals`: <https://prometheus.io/docs/alerting/latest/configuration/#time_interval>.
//! All fields that are given must hold, and of a field one of its ranges.

use std::ops::RangeInclusive;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;
/// How many days, and times of them, [`Interval::next_change`] looks at; days in other years and months than wanted are none.
pub(crate) const STEPS_MAX: usize = 800;
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Times that hold or do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Minutes of the day, from the first to before the second; none means the whole day.
    pub times: Vec<(u16, u16)>,
    /// 0 is Sunday.
    pub weekdays: Vec<RangeInclusive<u8>>,
    /// From 1, or below 0 from the month's end, where -1 is its last day.
    pub days_of_month: Vec<RangeInclusive<i8>>,
    /// From 1.
    pub months: Vec<RangeInclusive<u8>>,
    /// Of the calendar.
    pub years: Vec<RangeInclusive<i16>>,
    /// Whose clock it is.
    pub zone: TimeZone,
}

impl Default for Interval {
    fn default() -> Self {
        let zone = TimeZone::UTC;
        Self {
            times: Vec::new(),
            weekdays: Vec::new(),
            days_of_month: Vec::new(),
            months: Vec::new(),
            years: Vec::new(),
            zone,
        }
    }
}

fn any<T: PartialOrd>(ranges: &[RangeInclusive<T>], value: &T) -> bool {
    ranges.is_empty() || ranges.iter().any(|range| range.contains(value))
}

impl Interval {
    /// Whether it holds at `time`.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.contains_local(&time.to_zoned(self.zone.clone()))
    }

    fn contains_local(&self, time: &Zoned) -> bool {
        let minute = minute_of(time);
        (self.times.is_empty() || self.times.iter().any(|(from, to)| (*from..*to).contains(&minute)))
            && self.contains_day(time)
    }

    fn contains_day(&self, time: &Zoned) -> bool {
        let weekday = time.weekday().to_sunday_zero_offset().unsigned_abs();
        any(&self.weekdays, &weekday)
            && any(&self.months, &time.month().unsigned_abs())
            && any(&self.years, &time.year())
            && (self.days_of_month.is_empty()
                || self.days_of_month.iter().any(|range| holds_day(range, time.day(), time.days_in_month())))
    }

    /// The next time after `time` at which it begins or ends; `None` if that is far off.
    pub fn next_change(&self, time: Timestamp) -> Option<Timestamp> {
        self.next_change_within(time, &mut { STEPS_MAX })
    }

    /// The same, taking its steps from `steps_left`.
    pub(crate) fn next_change_within(&self, time: Timestamp, steps_left: &mut usize) -> Option<Timestamp> {
        let mut at = time.to_zoned(self.zone.clone());
        let now = self.contains_local(&at);
        let mut edges: Vec<u16> =
            self.times.iter().flat_map(|(from, to)| [*from, *to]).filter(|edge| *edge < DAY_MINUTES).collect();
        edges.sort_unstable();
        edges.dedup();
        loop {
            *steps_left = steps_left.checked_sub(1)?;
            let day = at.date();
            let next = if self.contains_day(&at) {
                let passed = edges.partition_point(|edge| *edge < minute_of(&at));
                for edge in edges.iter().skip(passed) {
                    let (hour, minute) = (i8::try_from(edge / 60).ok()?, i8::try_from(edge % 60).ok()?);
                    let edge = day.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok()?;
                    *steps_left = steps_left.checked_sub(1)?;
                    if edge > at && self.contains_local(&edge) != now {
                        return Some(edge.timestamp());
                    }
                }
                day.tomorrow().ok()?
            } else {
                self.day_after(day)?
            };
            at = next.to_zoned(self.zone.clone()).ok()?;
            if self.contains_local(&at) != now {
                return Some(at.timestamp());
            }
        }
    }

    /// The first day behind `day` in a year and a month that it can hold in; `None`: there is none.
    fn day_after(&self, day: Date) -> Option<Date> {
        let (mut year, mut month) = (day.year(), day.month());
        if any(&self.years, &year) {
            if any(&self.months, &month.unsigned_abs()) {
                return day.tomorrow().ok();
            }
            let next = (month + 1..=12).find(|month| any(&self.months, &month.unsigned_abs()));
            (year, month) = next.map_or_else(|| Some((year.checked_add(1)?, 1)), |next| Some((year, next)))?;
        } else {
            year = self.years.iter().map(|range| *range.start()).filter(|start| *start > year).min()?;
            month = 1;
        }
        Date::new(year, month, 1).ok()
    }
}

/// Which minute of its day a time is in.
fn minute_of(time: &Zoned) -> u16 {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

/// Whether `day` of a month of `days` is in `range`.
fn holds_day(range: &RangeInclusive<i8>, day: i8, days: i8) -> bool {
    let of = |end: i8| if end < 0 { days + end + 1 } else { end };
    let (from, to) = (of(*range.start()), of(*range.end()));
    // A range that begins behind the month's end is not in it; others are cut to it.
    from <= days && (from.max(1)..=to.min(days)).contains(&day)
}

/// Minutes of the day of `HH:MM`; `24:00` is its end.
///
/// # Errors
///
/// When it is none.
pub fn parse_time(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is no time of day such as 09:30; 24:00 is the day's end");
    let digits = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| Some(part).filter(digits).and_then(|part| part.parse::<u16>().ok()).ok_or_else(wrong);
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let total = number(hours)? * 60 + number(minutes)?;
    if total > DAY_MINUTES || number(minutes)? > 59 { Err(wrong()) } else { Ok(total) }
}

/// `monday`, `monday:friday`.
///
/// # Errors
///
/// When it is no range of weekdays.
pub fn parse_weekdays(text: &str) -> Result<RangeInclusive<u8>, String> {
    parse_range(text, |part| place(&WEEKDAYS, part).ok_or_else(|| format!("{part:?} is no weekday")))
}

/// `january`, `3`, `may:august`.
///
/// # Errors
///
/// When it is no range of months.
pub fn parse_months(text: &str) -> Result<RangeInclusive<u8>, String> {
    parse_range(text, |part| {
        let number = part.parse().ok().filter(|month| (1..=12).contains(month));
        place(&MONTHS, part).map(|month| month + 1).or(number).ok_or_else(|| format!("{part:?} is no month"))
    })
}

/// `1:5`, `-3:-1`.
///
/// # Errors
///
/// When it is no range of days of a month.
pub fn parse_days_of_month(text: &str) -> Result<RangeInclusive<i8>, String> {
    let day = |part: &str| {
        let day = part.parse::<i8>().ok().filter(|day| *day != 0 && (-31..=31).contains(day));
        day.ok_or_else(|| format!("{part:?} is no day of a month: 1 to 31, or -31 to -1 from its end"))
    };
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let (from, to) = (day(from.trim())?, day(to.trim())?);
    if from < 0 && to > 0 {
        return Err(format!("{text:?} begins at the month's end and does not end there"));
    }
    // Of the longest month: then it is empty in every one.
    let of = |day: i8| if day < 0 { 32 + day } else { day };
    if of(from) > of(to) {
        return Err(format!("{text:?} ends before it begins"));
    }
    Ok(from..=to)
}

/// `2026`, `2026:2030`.
///
/// # Errors
///
/// When it is no range of years.
pub fn parse_years(text: &str) -> Result<RangeInclusive<i16>, String> {
    parse_range(text, |part| {
        let year = part.parse::<i16>().ok().filter(|year| (0..=9998).contains(year));
        year.ok_or_else(|| format!("{part:?} is no year"))
    })
}

fn parse_range<T: PartialOrd>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<RangeInclusive<T>, String> {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    let (from, to) = (parse(from.trim())?, parse(to.trim())?);
    if from > to { Err(format!("{text:?} ends before it begins")) } else { Ok(from..=to) }
}

fn place(names: &[&str], name: &str) -> Option<u8> {
    let name = name.to_lowercase();
    names.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::{Weekday, date};
    use proptest::prelude::*;

    use super::*;

    fn at(year: i16, month: i8, day: i8, hour: i8, minute: i8, zone: &TimeZone) -> Timestamp {
        date(year, month, day).at(hour, minute, 0, 0).to_zoned(zone.clone()).expect("a moment").timestamp()
    }

    #[test]
    fn office_hours() {
        let zone = TimeZone::get("Europe/Berlin").expect("the zone");
        let hours = Interval {
            times: vec![(parse_time("09:00").expect("a time"), parse_time("17:30").expect("a time"))],
            weekdays: vec![parse_weekdays("monday:friday").expect("days")],
            zone: zone.clone(),
            ..Interval::default()
        };
        // 2026-11-23 is a Monday.
        for (day, hour, minute, want) in
            [(23, 9, 0, true), (23, 8, 59, false), (23, 17, 29, true), (23, 17, 30, false), (22, 12, 0, false)]
        {
            assert_eq!(hours.contains(at(2026, 11, day, hour, minute, &zone)), want, "{day} {hour}:{minute}");
        }
        let friday_evening = at(2026, 11, 27, 17, 30, &zone);
        assert_eq!(hours.next_change(friday_evening), Some(at(2026, 11, 30, 9, 0, &zone)));
        assert_eq!(hours.next_change(at(2026, 11, 23, 10, 0, &zone)), Some(at(2026, 11, 23, 17, 30, &zone)));
        // Clocks go forward in this night.
        let night = Interval { times: vec![(120, 180)], zone: zone.clone(), ..Interval::default() };
        let before = at(2026, 3, 29, 1, 59, &zone);
        assert!(!night.contains(before));
        assert_eq!(night.next_change(before), Some(at(2026, 3, 30, 2, 0, &zone)), "this night has no such hour");
    }

    #[test]
    fn days_count_from_either_end() {
        let last = |text: &str| Interval {
            days_of_month: vec![parse_days_of_month(text).expect("days")],
            ..Interval::default()
        };
        let utc = TimeZone::UTC;
        let holds = |interval: &Interval, year, month, day| interval.contains(at(year, month, day, 12, 0, &utc));
        assert!(holds(&last("-1"), 2028, 2, 29) && !holds(&last("-1"), 2028, 2, 28) && holds(&last("-1"), 2027, 2, 28));
        assert!(holds(&last("-3:-1"), 2026, 11, 28) && !holds(&last("-3:-1"), 2026, 11, 27));
        assert!(holds(&last("25:31"), 2026, 2, 28) && !holds(&last("30:31"), 2026, 2, 28));
        assert!(
            holds(&last("-31"), 2026, 1, 1) && !holds(&last("-31"), 2026, 2, 1) && !holds(&last("-31:-29"), 2026, 2, 1)
        );
        assert!(holds(&last("15:-1"), 2026, 2, 28) && !holds(&last("15:-1"), 2026, 2, 14));
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, wrong) in [
            ("9:00", true),
            ("24:00", false),
            ("24:01", true),
            ("12:60", true),
            ("ab:cd", true),
            ("00:00", false),
            ("+9:30", true),
            ("09:+3", true),
        ] {
            assert_eq!(parse_time(text).is_err(), wrong, "{text}");
        }
        assert_eq!(parse_months("may:8"), Ok(5..=8));
        assert_eq!(parse_months("August:3"), Err("\"August:3\" ends before it begins".to_owned()));
        assert_eq!(parse_weekdays("someday"), Err("\"someday\" is no weekday".to_owned()));
        for text in ["0", "32", "5:1", "-1:-5", "-3:2", "x", ""] {
            assert!(parse_days_of_month(text).is_err(), "{text}");
        }
        assert!(parse_years("2030:2026").is_err() && parse_years("20x").is_err());
    }

    /// Years and months that it cannot hold in cost nothing.
    #[test]
    fn what_is_far_off_takes_few_steps() {
        let steps = |interval: &Interval, want: Option<Timestamp>| {
            let mut left = STEPS_MAX;
            let from = at(2026, 11, 23, 12, 0, &TimeZone::UTC);
            assert_eq!(interval.next_change_within(from, &mut left), want);
            STEPS_MAX - left
        };
        let years = |years: &str, months: &[&str]| Interval {
            years: vec![parse_years(years).expect("years")],
            months: months.iter().map(|months| parse_months(months).expect("months")).collect(),
            ..Interval::default()
        };
        assert_eq!(steps(&years("1999", &[]), None), 1);
        assert_eq!(steps(&years("2077", &["may"]), Some(at(2077, 5, 1, 0, 0, &TimeZone::UTC))), 2);
        assert_eq!(steps(&years("2026", &["may"]), None), 2);
        let many: Vec<(u16, u16)> = (0..720).map(|at| (2 * at, 2 * at + 2)).collect();
        assert_eq!(steps(&Interval { times: many, ..Interval::default() }, None), STEPS_MAX);
        assert_eq!(steps(&Interval::default(), None), STEPS_MAX);
    }

    fn intervals() -> impl Strategy<Value = Interval> {
        let range = |from: u8, to: u8| {
            prop::collection::vec((from..=to, from..=to).prop_map(|(a, b)| a.min(b)..=a.max(b)), 0..2)
        };
        let times =
            prop::collection::vec((0..DAY_MINUTES, 1..=DAY_MINUTES).prop_map(|(a, b)| (a.min(b), a.max(b))), 0..3);
        let zone = prop::sample::select(vec![
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
        ]);
        (times, range(0, 6), range(1, 12), zone).prop_map(|(times, weekdays, months, zone)| Interval {
            times,
            weekdays,
            months,
            zone: TimeZone::get(zone).expect("the zone"),
            ..Interval::default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Until the next change nothing changes, and there it does: looked at minute by minute.
        #[test]
        fn the_next_change_is_the_next(interval in intervals(), minutes in 0_i64..4_000_000) {
            let start = Timestamp::from_second(1_700_000_000 / 60 * 60 + minutes * 60).expect("a moment");
            let now = interval.contains(start);
            let found = interval.next_change(start);
            for ahead in 1..4 * 1440_i64 {
                let time = start + (ahead * 60).seconds();
                match found {
                    Some(change) if time >= change => {
                        prop_assert_ne!(interval.contains(change), now);
                        break;
                    }
                    _ => prop_assert_eq!(interval.contains(time), now, "{} of {:?}", time, found),
                }
            }
        }
    }

    #[test]
    fn weekdays_begin_with_sunday() {
        assert_eq!(Weekday::Sunday.to_sunday_zero_offset(), 0);
        assert_eq!(parse_weekdays("Sunday:Tuesday"), Ok(0..=2));
    }
}
