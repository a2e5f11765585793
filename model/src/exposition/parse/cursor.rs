//! A place in one line, and the parts a line is made of: names, quoted strings, numbers, times.
//!
//! Which parts make up which line is told in [`super`].

use super::{FOUND_CHARS_MAX, LineError, LineProblem};

/// A place in one line. Always at the boundary of a character.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str, line: usize) -> Self {
        Self { text, at: 0, line }
    }

    pub(super) fn peek(self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn at_end(self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn is_at(self, other: Self) -> bool {
        self.at == other.at
    }

    /// Steps over `byte`, which is ASCII, if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    pub(super) fn take_rest(&mut self) -> &'t str {
        let rest = self.rest();
        self.at = self.text.len();
        rest
    }

    /// Everything up to the next blank or the end.
    pub(super) fn token(&mut self) -> &'t str {
        self.take_while(|byte| byte != b' ' && byte != b'\t')
    }

    /// A metric name of the classic grammar; empty when there is none.
    pub(super) fn metric_name(&mut self) -> &'t str {
        self.name(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    }

    /// A label name of the classic grammar; empty when there is none.
    pub(super) fn label_name(&mut self) -> &'t str {
        self.name(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// The metric a comment line is about, quoted or not.
    pub(super) fn described_metric<'b>(&mut self, buffer: &'b mut String) -> Result<&'b str, LineError>
    where
        't: 'b,
    {
        self.skip_blanks();
        let at_name = *self;
        let name = if self.eat(b'"') { self.quoted(buffer)? } else { self.metric_name() };
        if name.is_empty() || !matches!(self.peek(), None | Some(b' ' | b'\t')) {
            return Err(at_name.unexpected("a metric name"));
        }
        Ok(name)
    }

    /// The text up to the closing quote, which is stepped over; the opening one was. Text with escapes is put
    /// together in `buffer`. A backslash before any but `\`, `"` and `n` stays as it is.
    pub(super) fn quoted<'b>(&mut self, buffer: &'b mut String) -> Result<&'b str, LineError>
    where
        't: 'b,
    {
        let plain = self.take_while(|byte| byte != b'"' && byte != b'\\');
        if self.eat(b'"') {
            return Ok(plain);
        }
        buffer.clear();
        buffer.push_str(plain);
        while self.eat(b'\\') {
            let escaped = match self.peek() {
                Some(b'n') => Some('\n'),
                Some(b'"') => Some('"'),
                Some(b'\\') => Some('\\'),
                _ => None,
            };
            self.at += usize::from(escaped.is_some());
            buffer.push(escaped.unwrap_or('\\'));
            buffer.push_str(self.take_while(|byte| byte != b'"' && byte != b'\\'));
        }
        if self.eat(b'"') { Ok(buffer) } else { Err(self.unexpected("a closing quote")) }
    }

    /// A value: decimal, with or without exponent, or an infinity or NaN in words.
    pub(super) fn number(&mut self) -> Result<f64, LineError> {
        let at_number = *self;
        let token = self.token();
        match token.parse::<f64>() {
            Ok(value) if value.is_infinite() && token.bytes().any(|byte| byte.is_ascii_digit()) => {
                Err(at_number.unexpected("a value a 64-bit float can hold"))
            }
            Ok(value) => Ok(value),
            Err(_) => Err(at_number.unexpected("a number")),
        }
    }

    /// A time of the Prometheus format: whole milliseconds.
    pub(super) fn timestamp_ms(&mut self) -> Result<i64, LineError> {
        let at_time = *self;
        self.token().parse().map_err(|_| at_time.unexpected("a timestamp in whole milliseconds"))
    }

    /// A time of OpenMetrics, seconds, as the nearest millisecond.
    pub(super) fn timestamp_seconds(&mut self) -> Result<i64, LineError> {
        let at_time = *self;
        let token = self.token();
        decimal_seconds_to_ms(token)
            .or_else(|| float_seconds_to_ms(token))
            .ok_or_else(|| at_time.unexpected("a timestamp in seconds"))
    }

    /// Reads over an exemplar: `# {labels} value [timestamp]`, of which only the start is checked. Gives the place of
    /// the labels.
    pub(super) fn exemplar(&mut self) -> Result<Self, LineError> {
        self.eat(b'#');
        self.skip_blanks();
        if self.peek() != Some(b'{') {
            return Err(self.unexpected("{ and the labels of an exemplar"));
        }
        let at_labels = *self;
        self.take_rest();
        Ok(at_labels)
    }

    pub(super) fn expect_end(&mut self) -> Result<(), LineError> {
        self.skip_blanks();
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end of the line")) }
    }

    pub(super) fn problem(self, problem: LineProblem) -> LineError {
        LineError { line: self.line, column: self.at + 1, problem }
    }

    /// The error that something other than what follows was expected here.
    pub(super) fn unexpected(self, expected: &'static str) -> LineError {
        let found = match self.rest() {
            "" => "the end of the line".to_owned(),
            rest => format!("{:?}", rest.chars().take(FOUND_CHARS_MAX).collect::<String>()),
        };
        self.problem(LineProblem::Unexpected { expected, found })
    }

    fn rest(self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// A run of bytes that `belongs` takes and that does not start with a digit.
    fn name(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return "";
        }
        self.take_while(belongs)
    }

    /// The run of bytes that `belongs` takes. It must not end inside a character: either it takes every byte
    /// above ASCII, or none.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }
}

/// `12.345` as 12345, exactly, rounding half away from zero; nothing when not written that way or too large.
fn decimal_seconds_to_ms(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut fraction = fraction.bytes().map(|byte| i128::from(byte - b'0'));
    let mut ms = i128::from(whole.parse::<u64>().ok()?);
    for _ in 0..3 {
        ms = ms * 10 + fraction.next().unwrap_or(0);
    }
    ms += i128::from(fraction.next().is_some_and(|digit| digit >= 5));
    i64::try_from(if negative { -ms } else { ms }).ok()
}

/// Any other spelling of a number of seconds, such as `1.5e9`.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn float_seconds_to_ms(text: &str) -> Option<i64> {
    /// 2^63, which a float holds exactly and an i64 just not.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let ms = (text.parse::<f64>().ok()? * 1000.0).round();
    (-LIMIT..LIMIT).contains(&ms).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_seconds(text: &str, want: Option<i64>) {
        assert_eq!(Cursor::new(text, 1).timestamp_seconds().ok(), want, "{text}");
    }

    #[test]
    fn seconds_to_milliseconds() {
        check_seconds("0", Some(0));
        check_seconds("1520879607.789", Some(1_520_879_607_789));
        check_seconds("1520879607.7894", Some(1_520_879_607_789));
        check_seconds("1520879607.7895", Some(1_520_879_607_790));
        check_seconds("-1.5", Some(-1_500));
        check_seconds("12.", Some(12_000));
        check_seconds(".5", Some(500));
        check_seconds("1.5e9", Some(1_500_000_000_000));
        check_seconds("9223372036854775.807", Some(i64::MAX));
        check_seconds("-9223372036854775.808", Some(i64::MIN));
        check_seconds("9223372036854775.808", None);
        check_seconds("1e300", None);
        check_seconds("NaN", None);
        check_seconds("+Inf", None);
        check_seconds("1_000", None);
        check_seconds("99999999999999999999999999", None);
    }
}
