//! Silences: alerts that are not told for a time, because somebody said so.
//!
//! Their life is Alertmanager's (`silence.Silences`): what an active one mutes does not change; one that is to mute other alerts takes its place.

use jiff::Timestamp;
use model::{LabelsRef, Matcher};

use crate::interval::Interval;
use crate::route::all_match;

/// Most matchers of all sets of a silence.
pub const MATCHERS_MAX: usize = 64;
/// Longest comment, name of an author, and recurrence.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Longest text of all matchers.
const MATCHERS_BYTES_MAX: usize = 64 << 10;
/// Most intervals of a recurrence, and most spans of one kind in one of them.
const SPANS_MAX: usize = 16;
/// How many days and edges of its times are looked at for the next change of a silence.
const STEPS_MAX: usize = 20_000;
/// When to look again, at the earliest, where that did not find it.
const LOOK_AGAIN_MS: i64 = 3_600_000;

/// Times that come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// As it was written: JSON or YAML, the form of a file's `time_intervals`.
    pub text: String,
    /// What that says; any of them holds.
    pub intervals: Vec<Interval>,
}

impl Recurrence {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a recurrence of {} bytes; {TEXT_BYTES_MAX} are allowed", text.len()));
        }
        let intervals = crate::config::parse_intervals(text)?;
        if intervals.len() > SPANS_MAX {
            return Err(format!("a recurrence of {} intervals; {SPANS_MAX} are allowed", intervals.len()));
        }
        for Interval { times, weekdays, days_of_month, months, years, .. } in &intervals {
            let spans = [times.len(), weekdays.len(), days_of_month.len(), months.len(), years.len()];
            if let Some(spans) = spans.into_iter().find(|spans| *spans > SPANS_MAX) {
                return Err(format!("an interval with {spans} spans of one kind; {SPANS_MAX} are allowed"));
            }
        }
        Ok(Self { text: text.to_owned(), intervals })
    }
}

/// Alerts that are not told for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Given by the server.
    pub id: String,
    /// An alert is muted when it fulfils all matchers of one of these.
    pub sets: Vec<Vec<Matcher>>,
    /// Begin, milliseconds since the Unix epoch.
    pub starts_ms: i64,
    /// End.
    pub ends_ms: i64,
    /// When it was last changed.
    pub updated_ms: i64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// Between begin and end it mutes at these times; `None`: all the time.
    pub recurrence: Option<Recurrence>,
}

/// Where a silence is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It will mute.
    Pending,
    /// It mutes.
    Active,
    /// It has muted.
    Expired,
}

impl State {
    /// As the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// What becomes of a silence that somebody wants to be different.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is different from now on.
    Same,
    /// It ends now, and another begins.
    Another,
}

/// What is ahead of a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    /// It is in another state from then on.
    Changes(i64),
    /// It stays as it is, or changes far off.
    Never,
    /// It does not change up to then; what is behind was not looked at.
    Unknown(i64),
}

impl Silence {
    /// Where it is at `now_ms`.
    pub fn state(&self, now_ms: i64) -> State {
        if now_ms >= self.ends_ms {
            State::Expired
        } else if now_ms < self.starts_ms || !self.recurs_at(now_ms) {
            State::Pending
        } else {
            State::Active
        }
    }

    fn recurs_at(&self, now_ms: i64) -> bool {
        let Some(recurrence) = &self.recurrence else { return true };
        let Ok(time) = Timestamp::from_millisecond(now_ms) else { return false };
        recurrence.intervals.iter().any(|interval| interval.contains(time))
    }

    /// When it is next in another state; `None` when that is far off or never.
    pub fn next_change_ms(&self, now_ms: i64) -> Option<i64> {
        match self.ahead(now_ms, &mut { STEPS_MAX }) {
            Ahead::Changes(at_ms) => Some(at_ms),
            Ahead::Never | Ahead::Unknown(_) => None,
        }
    }

    /// Until when nothing is to be asked of it: until it is in another state, or, where that takes too long to find out, at least for a while.
    pub(super) fn look_again_ms(&self, now_ms: i64) -> Option<i64> {
        match self.ahead(now_ms, &mut { STEPS_MAX }) {
            Ahead::Changes(at_ms) => Some(at_ms),
            Ahead::Unknown(at_ms) => Some(at_ms.max(now_ms.saturating_add(LOOK_AGAIN_MS))),
            Ahead::Never => None,
        }
    }

    fn ahead(&self, now_ms: i64, steps_left: &mut usize) -> Ahead {
        let state = self.state(now_ms);
        if state == State::Expired {
            return Ahead::Never;
        }
        let intervals = self.recurrence.as_ref().map_or(&[][..], |recurrence| &recurrence.intervals);
        let mut at_ms = now_ms;
        // Of each interval the next edge: those of the past are looked for anew.
        let mut edges = vec![Some(now_ms); intervals.len()];
        loop {
            for (edge, interval) in
                edges.iter_mut().zip(intervals).filter(|(edge, _)| edge.is_some_and(|edge| edge <= at_ms))
            {
                let mut own_left = crate::interval::STEPS_MAX.min(*steps_left);
                *steps_left -= own_left;
                let time = Timestamp::from_millisecond(at_ms).ok();
                let next = time.and_then(|time| interval.next_change_within(time, &mut own_left));
                *edge = next.map(Timestamp::as_millisecond);
                *steps_left += own_left;
            }
            // Telling the state looks at every interval.
            *steps_left = steps_left.saturating_sub(1 + intervals.len());
            if *steps_left == 0 {
                return Ahead::Unknown(at_ms);
            }
            let ends = [self.starts_ms, self.ends_ms].into_iter().filter(|end| *end > at_ms);
            match ends.chain(edges.iter().flatten().copied()).min() {
                None => return Ahead::Never,
                Some(next_ms) => at_ms = next_ms,
            }
            if self.state(at_ms) != state {
                return Ahead::Changes(at_ms);
            }
        }
    }

    /// The next spans in which it mutes, begin and end, of those that begin before `until_ms`, and no more than `max`.
    pub fn occurrences(&self, now_ms: i64, until_ms: i64, max: usize) -> Vec<(i64, i64)> {
        let mut spans = Vec::new();
        let mut at_ms = now_ms;
        while spans.len() < max {
            if self.state(at_ms) != State::Active {
                match self.next_change_ms(at_ms) {
                    Some(next_ms) if next_ms < until_ms && self.state(next_ms) == State::Active => at_ms = next_ms,
                    _ => break,
                }
            }
            let ends_ms = self.next_change_ms(at_ms).unwrap_or(self.ends_ms);
            spans.push((at_ms, ends_ms));
            at_ms = ends_ms;
        }
        spans
    }

    /// Whether it is about alerts with `labels`, at whatever time.
    pub fn matches(&self, labels: LabelsRef<'_>) -> bool {
        self.sets.iter().any(|set| all_match(set, labels))
    }

    /// Whether it is one at all.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, now_ms: i64) -> Result<(), String> {
        if self.sets.is_empty() {
            return Err("a silence without matchers would mute every alert".to_owned());
        }
        let matchers: usize = self.sets.iter().map(Vec::len).sum();
        if matchers > MATCHERS_MAX {
            return Err(format!("{matchers} matchers; {MATCHERS_MAX} are allowed"));
        }
        let bytes: usize = self.sets.iter().flatten().map(|one| one.name().len() + one.value().len()).sum();
        if bytes > MATCHERS_BYTES_MAX {
            return Err(format!("matchers of {bytes} bytes; {MATCHERS_BYTES_MAX} are allowed"));
        }
        for set in &self.sets {
            if set.iter().all(Matcher::matches_empty) {
                return Err("at least one matcher must not match the empty string, or every alert is muted".to_owned());
            }
        }
        let time =
            |ms: i64| Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string());
        let (starts, ends) = (time(self.starts_ms), time(self.ends_ms));
        if self.ends_ms <= now_ms {
            return Err(format!("its end {ends} is past: it is {} now", time(now_ms)));
        }
        if self.ends_ms <= self.starts_ms {
            return Err(format!("its end {ends} is not after its begin {starts}"));
        }
        let longest = self.comment.len().max(self.created_by.len());
        if longest > TEXT_BYTES_MAX {
            return Err(format!("a text of {longest} bytes; {TEXT_BYTES_MAX} are allowed"));
        }
        Ok(())
    }

    /// What becomes of it when it shall be as `wanted`.
    pub fn change(&self, wanted: &Self, now_ms: i64) -> Change {
        let same_alerts = same_sets(&self.sets, &wanted.sets) && self.recurrence == wanted.recurrence;
        let can = match self.state(now_ms) {
            State::Active => same_alerts && wanted.starts_ms == self.starts_ms && wanted.ends_ms >= now_ms,
            State::Pending => same_alerts && (wanted.starts_ms >= now_ms || wanted.starts_ms == self.starts_ms),
            State::Expired => false,
        };
        if can { Change::Same } else { Change::Another }
    }

    /// Ends it; whether it was not over yet. One that has not begun never will.
    pub fn expire(&mut self, now_ms: i64) -> bool {
        let state = self.state(now_ms);
        if state == State::Expired {
            return false;
        }
        self.ends_ms = now_ms;
        self.starts_ms = self.starts_ms.min(now_ms);
        self.updated_ms = now_ms;
        true
    }
}

fn same_sets(a: &[Vec<Matcher>], b: &[Vec<Matcher>]) -> bool {
    let told = |sets: &[Vec<Matcher>]| {
        let set = |set: &Vec<Matcher>| {
            let mut told: Vec<String> =
                set.iter().map(|one| format!("{:?}\0{}\0{}", one.op(), one.name(), one.value())).collect();
            told.sort_unstable();
            told
        };
        let mut sets: Vec<Vec<String>> = sets.iter().map(set).collect();
        sets.sort_unstable();
        sets
    };
    told(a) == told(b)
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::matchers::parse_matchers;

    fn silence(matchers: &str, starts_ms: i64, ends_ms: i64) -> Silence {
        Silence {
            id: "1".to_owned(),
            sets: vec![parse_matchers(matchers).expect("matchers")],
            starts_ms,
            ends_ms,
            updated_ms: 0,
            created_by: "ops".to_owned(),
            comment: "work".to_owned(),
            recurrence: None,
        }
    }

    #[test]
    fn a_silence_lives() {
        let mut silence = silence("job=api", 100, 200);
        assert_eq!(
            [99, 100, 199, 200].map(|now| silence.state(now).as_str()),
            ["pending", "active", "active", "expired"]
        );
        let labels = |job: &str| Labels::from_pairs([("job", job)]).expect("labels");
        assert!(silence.matches(labels("api").as_ref()) && !silence.matches(labels("web").as_ref()));
        let mut early = silence.clone();
        assert!(early.expire(50) && early.state(50) == State::Expired && early.state(150) == State::Expired);
        assert!(silence.expire(150) && silence.state(150) == State::Expired && !silence.expire(160));
        assert_eq!(silence.ends_ms, 150);
    }

    #[test]
    fn a_silence_recurs() {
        const HOUR_MS: i64 = 3_600_000;
        let mut nightly = silence("job=api", 10 * HOUR_MS, 100 * HOUR_MS);
        let text = r#"[{"times": [{"start_time": "22:00", "end_time": "24:00"}]}, {"times": [{"start_time": "00:00", "end_time": "06:00"}]}]"#;
        nightly.recurrence = Some(Recurrence::parse(text).expect("times"));
        let states = [0, 12, 22, 29, 30, 46, 99, 100].map(|hour| nightly.state(hour * HOUR_MS).as_str());
        assert_eq!(states, ["pending", "pending", "active", "active", "pending", "active", "active", "expired"]);
        let spans: Vec<_> =
            nightly.occurrences(0, i64::MAX, 9).iter().map(|(a, b)| (a / HOUR_MS, b / HOUR_MS)).collect();
        assert_eq!(spans, [(22, 30), (46, 54), (70, 78), (94, 100)]);
        assert_eq!(nightly.occurrences(23 * HOUR_MS, 40 * HOUR_MS, 9).len(), 1);
        assert_eq!(nightly.occurrences(0, i64::MAX, 2).len(), 2);
        assert_eq!(nightly.next_change_ms(100 * HOUR_MS), None);
        assert_eq!(silence("a=b", 5, 9).next_change_ms(6), Some(9));
        assert!(Recurrence::parse("[]").is_err() && Recurrence::parse("[{\"times\": 3}]").is_err());
    }

    /// Its text is short; what it asks for is bounded all the same.
    #[test]
    fn a_recurrence_takes_few_steps() {
        let spans = |count: usize| {
            let spans =
                (0..count).map(|hour| format!(r#"{{"start_time": "{hour:02}:00", "end_time": "{hour:02}:30"}}"#));
            spans.collect::<Vec<_>>().join(", ")
        };
        let never = vec![r#"{"years": ["1999"]}"#; 15].join(", ");
        for (text, want) in [
            (format!("[{never}, {never}]"), Some("30 intervals; 16")),
            (format!(r#"[{{"times": [{}]}}]"#, spans(17)), Some("17 spans of one kind; 16")),
            (format!(r#"[{never}, {{"times": [{}]}}]"#, spans(16)), None),
        ] {
            let error = Recurrence::parse(&text).err();
            assert_eq!(error.is_some(), want.is_some(), "{error:?}");
            assert!(error.unwrap_or_default().contains(want.unwrap_or_default()));
        }
        // Those of a file may be many: here nothing ever changes, and one interval keeps changing.
        let mut silence = silence("job=api", 0, i64::MAX);
        let many = Interval { times: (0..700).map(|at| (2 * at, 2 * at + 1)).collect(), ..Interval::default() };
        let mut intervals = vec![Interval::default(), many];
        intervals.extend(vec![Interval { years: vec![1999..=1999], ..Interval::default() }; 180]);
        silence.recurrence = Some(Recurrence { text: String::new(), intervals });
        let mut left = STEPS_MAX;
        assert!(matches!(silence.ahead(0, &mut left), Ahead::Unknown(at_ms) if at_ms > 0));
        assert_eq!((left, silence.next_change_ms(0)), (0, None));
        assert!(silence.look_again_ms(0) >= Some(LOOK_AGAIN_MS));
        silence.ends_ms = 10;
        assert_eq!(silence.look_again_ms(0), Some(10));
    }

    #[test]
    fn what_mutes_does_not_change() {
        let now = silence("job=api,zone=a", 100, 200);
        let longer = silence("zone=a,job=api", 100, 500);
        assert_eq!(now.change(&longer, 150), Change::Same);
        assert_eq!(now.change(&silence("job=web", 100, 500), 150), Change::Another);
        assert_eq!(now.change(&silence("job=api,zone=a", 120, 500), 150), Change::Another);
        assert_eq!(now.change(&silence("job=api,zone=a", 120, 500), 50), Change::Same);
        assert_eq!(now.change(&longer, 300), Change::Another);
    }

    #[test]
    fn what_is_none_is_refused() {
        let refused = |silence: &Silence| silence.check(150).expect_err("no silence");
        assert!(refused(&silence("job=~\".*\"", 100, 200)).contains("every alert"));
        assert_eq!(
            refused(&silence("job=api", 200, 200)),
            "its end 1970-01-01T00:00:00.2Z is not after its begin 1970-01-01T00:00:00.2Z"
        );
        assert_eq!(
            refused(&silence("job=api", 100, 120)),
            "its end 1970-01-01T00:00:00.12Z is past: it is 1970-01-01T00:00:00.15Z now"
        );
        let mut none = silence("job=api", 100, 200);
        none.sets.clear();
        assert!(refused(&none).contains("every alert"));
        assert_eq!(silence("job=api,zone!=a", 100, 200).check(150), Ok(()));
    }
}
