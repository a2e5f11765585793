//! Named time intervals.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::tz::TimeZone;
use serde_saphyr::Spanned;

use super::INTERVALS_MAX;
use super::check::Checker;
use super::raw::{RawInterval, RawTime, RawTimes, Texts};
use crate::interval::{self, Interval};
use crate::yaml::at;

/// Checks a name and its times, and adds them to `all`.
pub(super) fn named(checker: &mut Checker<'_>, raw: Spanned<RawTimes>, all: &mut BTreeMap<String, Vec<Interval>>) {
    let place = at(&raw);
    let RawTimes { name, time_intervals } = raw.value;
    let Some(name) = name.filter(|name| !name.value.is_empty()) else {
        checker.wrong(place, "a time interval without a name");
        return;
    };
    let raw = time_intervals.unwrap_or_default();
    if all.len() >= INTERVALS_MAX || raw.len() > INTERVALS_MAX {
        checker.wrong(place, format!("more than {INTERVALS_MAX} time intervals"));
        return;
    }
    let intervals = raw.into_iter().map(|raw| one(checker, raw.value)).collect();
    if all.insert(name.value.clone(), intervals).is_some() {
        checker.wrong(at(&name), format!("time interval {:?} is in this file twice", name.value));
    }
}

fn one(checker: &mut Checker<'_>, raw: RawInterval) -> Interval {
    let times = raw.times.unwrap_or_default();
    Interval {
        times: times.into_iter().filter_map(|time| span(checker, time)).collect(),
        weekdays: ranges(checker, raw.weekdays, interval::parse_weekdays),
        days_of_month: ranges(checker, raw.days_of_month, interval::parse_days_of_month),
        months: ranges(checker, raw.months, interval::parse_months),
        years: ranges(checker, raw.years, interval::parse_years),
        zone: raw.location.and_then(|name| zone(checker, &name)).unwrap_or(TimeZone::UTC),
    }
}

fn span(checker: &mut Checker<'_>, raw: Spanned<RawTime>) -> Option<(u16, u16)> {
    let place = at(&raw);
    let RawTime { start_time, end_time } = raw.value;
    let (Some(start), Some(end)) = (start_time, end_time) else {
        checker.wrong(place, "times: both start_time and end_time are wanted");
        return None;
    };
    let mut minute = |text: &Spanned<String>| match interval::parse_time(&text.value) {
        Ok(minute) => Some(minute),
        Err(message) => {
            checker.wrong(at(text), message);
            None
        }
    };
    let (from, to) = (minute(&start)?, minute(&end)?);
    if from >= to {
        let message =
            "times: end_time is not after start_time; what passes midnight is two spans, up to 24:00 and from 00:00";
        checker.wrong(at(&end), message);
        return None;
    }
    Some((from, to))
}

fn ranges<T>(
    checker: &mut Checker<'_>,
    texts: Texts,
    parse: fn(&str) -> Result<RangeInclusive<T>, String>,
) -> Vec<RangeInclusive<T>> {
    let mut all = Vec::new();
    for text in texts.unwrap_or_default() {
        match parse(&text.value) {
            Ok(range) => all.push(range),
            Err(message) => checker.wrong(at(&text), message),
        }
    }
    all
}

fn zone(checker: &mut Checker<'_>, name: &Spanned<String>) -> Option<TimeZone> {
    if name.value == "Local" {
        return Some(TimeZone::system());
    }
    match TimeZone::get(&name.value) {
        Ok(zone) => Some(zone),
        Err(error) => {
            checker.wrong(at(name), format!("location: {error}"));
            None
        }
    }
}

/// Reads a list of time intervals by itself, YAML or JSON: `[{"times":[{"start_time":"22:00","end_time":"24:00"}],"weekdays":["saturday"]}]`.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn parse_intervals(text: &str) -> Result<Vec<Interval>, String> {
    let raw: Vec<Spanned<RawInterval>> = crate::yaml::read("recurrence", text).map_err(|fault| fault.message)?;
    if raw.is_empty() || raw.len() > INTERVALS_MAX {
        return Err(format!("{} time intervals; 1 to {INTERVALS_MAX} are allowed", raw.len()));
    }
    let mut checker = Checker::new("recurrence");
    let intervals = raw.into_iter().map(|raw| one(&mut checker, raw.value)).collect();
    match checker.first_fault() {
        Some(message) => Err(message),
        None => Ok(intervals),
    }
}
