//! The calendar functions: parts of a Unix time in UTC, in the proleptic Gregorian calendar, for any year.

use crate::functions::FunctionId;

const SECONDS_PER_DAY: i64 = 86_400;
/// Seconds beyond which no calendar is meant: about 292 million years.
const SECONDS_MAX: f64 = 9.2e15;

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
}

/// A Unix time in seconds as RFC 3339 writes it.
pub(crate) struct Moment(pub(crate) i64);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Date { year, month, day } = date(day_number(self.0));
        let second = self.0.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// The part of the Unix time `seconds` that a calendar function asks for, fractions cut off; nothing for other
/// functions. NaN for what is no time.
pub(crate) fn part_of_time(id: FunctionId) -> Option<fn(f64) -> f64> {
    use FunctionId as F;
    Some(match id {
        F::Minute => |time| part(time, |seconds| seconds.rem_euclid(3600) / 60),
        F::Hour => |time| part(time, |seconds| seconds.rem_euclid(SECONDS_PER_DAY) / 3600),
        // The epoch was a Thursday.
        F::DayOfWeek => |time| part(time, |seconds| (day_number(seconds) + 4).rem_euclid(7)),
        F::DayOfMonth => |time| part(time, |seconds| date(day_number(seconds)).day),
        F::DayOfYear => |time| {
            part(time, |seconds| {
                let days = day_number(seconds);
                days - first_day(date(days).year) + 1
            })
        },
        F::DaysInMonth => |time| part(time, |seconds| days_in_month(date(day_number(seconds)))),
        F::Month => |time| part(time, |seconds| date(day_number(seconds)).month),
        F::Year => |time| part(time, |seconds| date(day_number(seconds)).year),
        _ => return None,
    })
}

fn part(time: f64, of: impl Fn(i64) -> i64) -> f64 {
    if time.is_nan() || time.abs() > SECONDS_MAX {
        return f64::NAN;
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked; the fraction is cut off")]
    let seconds = time as i64;
    #[expect(clippy::cast_precision_loss, reason = "parts of times are small numbers")]
    let part = of(seconds) as f64;
    part
}

fn day_number(seconds: i64) -> i64 {
    seconds.div_euclid(SECONDS_PER_DAY)
}

/// The date `days` after 1970-01-01. Counts in 400-year eras of years that begin in March, so that the leap day is
/// a year's last day (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(days: i64) -> Date {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    Date { year: year_of_era + era * 400 + i64::from(month <= 2), month, day }
}

/// The number of January 1st of `year`, counted from 1970-01-01.
fn first_day(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 477
}

fn days_in_month(date: Date) -> i64 {
    let leap = date.year.rem_euclid(4) == 0 && (date.year.rem_euclid(100) != 0 || date.year.rem_euclid(400) == 0);
    match date.month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: f64, want: [i64; 8]) {
        use FunctionId as F;
        let ids = [F::Year, F::Month, F::DayOfMonth, F::Hour, F::Minute, F::DayOfWeek, F::DayOfYear, F::DaysInMonth];
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let got = ids.map(|id| part_of_time(id).expect("calendar function")(seconds) as i64);
        assert_eq!(got, want, "{seconds}");
    }

    #[test]
    fn known_days() {
        check(0.0, [1970, 1, 1, 0, 0, 4, 1, 31]);
        check(-0.9, [1970, 1, 1, 0, 0, 4, 1, 31]);
        check(-1.0, [1969, 12, 31, 23, 59, 3, 365, 31]);
        check(1_136_239_445.0, [2006, 1, 2, 22, 4, 1, 2, 31]);
        check(1_456_790_399.0, [2016, 2, 29, 23, 59, 1, 60, 29]);
        check(1_483_191_420.0, [2016, 12, 31, 13, 37, 6, 366, 31]);
        check(951_782_400.0, [2000, 2, 29, 0, 0, 2, 60, 29]);
        check(-2_203_891_200.0, [1900, 3, 1, 0, 0, 4, 60, 31]);
    }

    #[test]
    fn days_run_on_without_gap() {
        let mut last = date(-800_000);
        for days in -799_999..800_000 {
            let next = date(days);
            let same_month = next == Date { day: last.day + 1, ..last };
            let new_month = last.day == days_in_month(last)
                && next.day == 1
                && (next.year * 12 + next.month) == (last.year * 12 + last.month + 1);
            assert!(same_month ^ new_month, "{last:?} {next:?}");
            if (next.month, next.day) == (1, 1) {
                assert_eq!(first_day(next.year), days);
            }
            last = next;
        }
    }

    #[test]
    fn no_time_no_part() {
        assert!(part_of_time(FunctionId::Year).expect("calendar function")(f64::NAN).is_nan());
        assert!(part_of_time(FunctionId::Hour).expect("calendar function")(f64::INFINITY).is_nan());
    }
}
