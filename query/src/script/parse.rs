//! Script text to commands.

use model::Labels;
use model::time::parse_duration_ms;

use super::points::{POINTS_MAX, Point, parse_number, parse_points, parse_series};
use super::starts::{Starts, parse_starts, split_line};
use super::{ScriptError, Unsaid};

/// One command of a script.
#[derive(Debug)]
pub(crate) enum Command {
    /// Adds samples, one point a step from time 0.
    Load { line: usize, step_ms: i64, with_native: bool, series: Vec<LoadedSeries> },
    /// Empties everything.
    Clear,
    /// Runs a query.
    Eval(Box<Case>),
}

/// One series of a `load`.
#[derive(Debug)]
pub(crate) struct LoadedSeries {
    pub(crate) labels: Labels,
    pub(crate) points: Vec<Point>,
    pub(crate) starts: LoadedStarts,
}

/// When the counters of a series began.
#[derive(Debug, Clone)]
pub(crate) enum LoadedStarts {
    /// Not known.
    None,
    /// One for each point.
    Own(Starts),
    /// Those of the whole `load`, again and again.
    OfLoad(Starts),
}

/// When a case is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CaseTime {
    Instant { time_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// What annotations of one kind are expected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Annotations {
    /// Anything goes.
    #[default]
    Any,
    /// There must be none.
    None,
    /// There must be some, each of these among them.
    Some(Vec<Text>),
}

/// What a text must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    Exactly(String),
    Matching(String),
}

/// One query and what it must yield.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) line: usize,
    pub(crate) time: CaseTime,
    pub(crate) query: String,
    /// Series with their points, or (at an instant) one each.
    pub(crate) series: Vec<(Labels, Vec<Point>)>,
    pub(crate) scalar: Option<f64>,
    pub(crate) string: Option<String>,
    /// It must fail, with a message like each of these.
    pub(crate) fail: Option<Vec<Text>>,
    pub(crate) is_ordered: bool,
    pub(crate) warnings: Annotations,
    pub(crate) infos: Annotations,
    /// An instant query for a range vector: first timestamp and step.
    pub(crate) range_vector: Option<(i64, i64)>,
    /// Whether there is an `expect` line.
    has_expect: bool,
}

/// Reads all commands.
pub(crate) fn parse(text: &str, unsaid: Unsaid) -> Result<Vec<Command>, ScriptError> {
    let mut commands = Vec::new();
    let mut points = 0;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let line_number = at + 1;
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let mut body = Vec::new();
        while let Some((at, next)) = lines.next_if(|(_, next)| belongs_to_body(next)) {
            if !next.trim_start().starts_with('#') {
                body.push((at + 1, next.trim()));
            }
        }
        let wrap = |line: usize| move |message: String| ScriptError { line, message };
        let (word, rest) = split_word(line);
        commands.push(match word {
            "load" | "load_with_nhcb" => {
                let step_ms = parse_time(rest).map_err(wrap(line_number))?;
                let series = parse_load(&body)?;
                points += series.iter().map(|one| one.points.len()).sum::<usize>();
                if points > POINTS_MAX {
                    return Err(wrap(line_number)(format!("more than {POINTS_MAX} points in the script")));
                }
                Command::Load { line: line_number, step_ms, with_native: word != "load", series }
            }
            "clear" => Command::Clear,
            eval if eval == "eval" || eval.starts_with("eval_") => {
                let mut case = parse_eval(eval, rest, line_number, unsaid).map_err(wrap(line_number))?;
                for (at, line) in body {
                    parse_expectation(line, &mut case).map_err(wrap(at))?;
                }
                Command::Eval(Box::new(case))
            }
            other => return Err(wrap(line_number)(format!("unknown command {other:?}"))),
        });
    }
    Ok(commands)
}

/// Whether a line goes on with the command before it. Indenting it is custom, not law.
fn belongs_to_body(line: &str) -> bool {
    let is_command = |word: &str| matches!(word, "load" | "load_with_nhcb" | "clear") || word.starts_with("eval");
    !line.trim().is_empty() && (line.starts_with([' ', '\t']) || !is_command(split_word(line).0))
}

/// The series of a `load`, with the start times that lines before them give.
fn parse_load(body: &[(usize, &str)]) -> Result<Vec<LoadedSeries>, ScriptError> {
    let mut series = Vec::new();
    let mut of_load = LoadedStarts::None;
    let mut pending: Option<(usize, Labels, Starts)> = None;
    for &(line, text) in body {
        let wrap = |message: String| ScriptError { line, message };
        if let Some((name, starts)) = split_line(text) {
            let starts = parse_starts(starts).map_err(wrap)?;
            match (name, pending.is_some()) {
                (_, true) => return Err(wrap("no series follows the start times before".to_owned())),
                ("", false) => of_load = LoadedStarts::OfLoad(starts),
                (name, false) => pending = Some((line, parse_series(name).map_err(wrap)?.0, starts)),
            }
            continue;
        }
        let (labels, points) = parse_series_line(text).map_err(wrap)?;
        let starts = match pending.take() {
            None => of_load.clone(),
            Some((line, of, starts)) if of != labels || starts.len() != points.len() => {
                let message =
                    format!("{} start times of {of} stand before {} points of {labels}", starts.len(), points.len());
                return Err(ScriptError { line, message });
            }
            Some((_, _, starts)) => LoadedStarts::Own(starts),
        };
        series.push(LoadedSeries { labels, points, starts });
    }
    match pending {
        Some((line, ..)) => Err(ScriptError { line, message: "no series follows the start times".to_owned() }),
        None => Ok(series),
    }
}

fn parse_series_line(line: &str) -> Result<(Labels, Vec<Point>), String> {
    let (labels, points) = parse_series(line)?;
    Ok((labels, parse_points(points)?))
}

fn parse_eval(word: &str, rest: &str, line: usize, unsaid: Unsaid) -> Result<Case, String> {
    let (time, query) = match split_word(rest) {
        ("instant", rest) => {
            let (time, rest) = parse_times(rest, ["at"])?;
            (CaseTime::Instant { time_ms: time[0] }, rest)
        }
        ("range", rest) => {
            let ([start_ms, end_ms, step_ms], rest) = parse_times(rest, ["from", "to", "step"])?;
            (CaseTime::Range { start_ms, end_ms, step_ms }, rest)
        }
        (other, _) => return Err(format!("expected instant or range, found {other:?}")),
    };
    let flag = |name: &str| match unsaid {
        _ if word == name => Annotations::Some(Vec::new()),
        Unsaid::Allowed => Annotations::Any,
        // `expect` lines replace this rule.
        Unsaid::Refused => Annotations::None,
    };
    let is_fail = word == "eval_fail";
    Ok(Case {
        line,
        time,
        query: query.to_owned(),
        series: Vec::new(),
        scalar: None,
        string: None,
        fail: is_fail.then(Vec::new),
        is_ordered: word == "eval_ordered",
        warnings: flag("eval_warn"),
        infos: flag("eval_info"),
        range_vector: None,
        has_expect: false,
    })
}

/// Words, each followed by a time.
fn parse_times<'a, const N: usize>(mut text: &'a str, words: [&str; N]) -> Result<([i64; N], &'a str), String> {
    let mut times = [0; N];
    for (time, want) in times.iter_mut().zip(words) {
        let (word, rest) = split_word(text);
        if word != want {
            return Err(format!("expected {want:?}, found {word:?}"));
        }
        let (value, rest) = split_word(rest);
        *time = parse_time(value)?;
        text = rest;
    }
    Ok((times, text))
}

/// A duration or a number of seconds, in milliseconds.
fn parse_time(text: &str) -> Result<i64, String> {
    if let Some(positive) = text.strip_prefix('-') {
        return parse_time(positive).map(|ms| -ms);
    }
    if let Ok(ms) = parse_duration_ms(text) {
        return Ok(ms);
    }
    match parse_number(text) {
        #[expect(clippy::cast_possible_truncation, reason = "within the bounds just checked")]
        Some(seconds) if seconds.abs() < 1e12 => Ok((seconds * 1000.0).round() as i64),
        _ => Err(format!("{text:?} is no time")),
    }
}

fn parse_expectation(line: &str, case: &mut Case) -> Result<(), String> {
    match split_word(line) {
        ("expected_fail_message", text) => add_text(&mut case.fail, Text::Exactly(text.to_owned())),
        ("expected_fail_regexp", text) => add_text(&mut case.fail, Text::Matching(text.to_owned())),
        ("expect", rest) => return parse_expect(rest, case),
        _ => match parse_number(line) {
            Some(value) => case.scalar = Some(value),
            None => case.series.push(parse_series_line(line)?),
        },
    }
    Ok(())
}

fn parse_expect(rest: &str, case: &mut Case) -> Result<(), String> {
    if !std::mem::replace(&mut case.has_expect, true) {
        for kind in [&mut case.warnings, &mut case.infos].into_iter().filter(|kind| **kind == Annotations::None) {
            *kind = Annotations::Any;
        }
    }
    let (word, rest) = split_word(rest);
    match word {
        "fail" => {
            case.fail.get_or_insert_default();
            if let Some(text) = parse_text(rest)? {
                add_text(&mut case.fail, text);
            }
        }
        "warn" => add_annotation(&mut case.warnings, parse_text(rest)?),
        "info" => add_annotation(&mut case.infos, parse_text(rest)?),
        "no_warn" => case.warnings = Annotations::None,
        "no_info" => case.infos = Annotations::None,
        "ordered" => case.is_ordered = true,
        "string" => case.string = Some(rest.trim_matches('"').to_owned()),
        "range" => {
            let (_, rest) = split_word(rest);
            let ([start_ms, _, step_ms], _) = parse_times(rest, ["from", "to", "step"])?;
            case.range_vector = Some((start_ms, step_ms));
        }
        other => return Err(format!("cannot expect {other:?}")),
    }
    Ok(())
}

fn parse_text(rest: &str) -> Result<Option<Text>, String> {
    if rest.is_empty() {
        Ok(None)
    } else if let Some(text) = rest.strip_prefix("msg:") {
        Ok(Some(Text::Exactly(text.trim().to_owned())))
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        Ok(Some(Text::Matching(pattern.trim().to_owned())))
    } else {
        Err(format!("expected msg: or regex:, found {rest:?}"))
    }
}

fn add_text(texts: &mut Option<Vec<Text>>, text: Text) {
    texts.get_or_insert_default().push(text);
}

fn add_annotation(kind: &mut Annotations, text: Option<Text>) {
    if !matches!(kind, Annotations::Some(_)) {
        *kind = Annotations::Some(Vec::new());
    }
    if let Annotations::Some(texts) = kind {
        texts.push(text.unwrap_or_else(|| Text::Matching(String::new())));
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}
