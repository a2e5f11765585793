//! The parameters of a call: from the URL and, for a POST, from its form body.
//!
//! Owns how each kind of parameter is read and how a wrong one is told. What they mean is the handlers'.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use model::{Matcher, TimeRange};
use query::ast::ExprKind;

use crate::reply::{ApiError, ErrorKind};
use crate::time::{parse_duration_ms, parse_time_ms};

/// Most parameters in one call.
const PARAMETERS_MAX: usize = 1_000;

/// Name and value pairs, those of the body first, so that they win.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the parameters of `request`; a form body may have up to `body_bytes_max` bytes.
    pub(crate) async fn read(request: Request<Body>, body_bytes_max: usize) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let mut params = Self::default();
        if head.method == Method::POST || head.method == Method::PUT {
            let body = read_body(body, body_bytes_max).await?;
            let form = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let form = form.split(';').next().unwrap_or_default().trim();
            if !body.is_empty() && !form.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                let message = format!("a POST body must be application/x-www-form-urlencoded, not {form:?}");
                return Err(ApiError::new(ErrorKind::BadData, message));
            }
            params.extend(&body)?;
        }
        params.extend(head.uri.query().unwrap_or_default().as_bytes())?;
        Ok(params)
    }

    /// The parameters of a URL alone, for calls whose body is no form.
    pub(crate) fn of_url(url: &Uri) -> Result<Self, ApiError> {
        let mut params = Self::default();
        params.extend(url.query().unwrap_or_default().as_bytes())?;
        Ok(params)
    }

    fn extend(&mut self, form: &[u8]) -> Result<(), ApiError> {
        for pair in form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            if self.pairs.len() == PARAMETERS_MAX {
                let message = format!("a request may have {PARAMETERS_MAX} parameters");
                return Err(ApiError::new(ErrorKind::BadData, message));
            }
            let name_bytes = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..name_bytes], pair.get(name_bytes + 1..).unwrap_or_default());
            let wrong = |reason| ApiError::parameter(&String::from_utf8_lossy(name), reason);
            self.pairs.push((unescape_form(name).map_err(wrong)?, unescape_form(value).map_err(wrong)?));
        }
        Ok(())
    }

    /// The first value of `name`; an empty one counts as absent.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// Every value of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.all(name).map(ToOwned::to_owned).collect()
    }

    /// Every name and value.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of `name`, which the call cannot do without.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.first(name).ok_or_else(|| ApiError::parameter(name, "it is missing"))
    }

    /// An instant in milliseconds, if given.
    pub(crate) fn time_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.parsed(name, parse_time_ms)
    }

    /// An instant in milliseconds that the call cannot do without.
    pub(crate) fn required_time_ms(&self, name: &str) -> Result<i64, ApiError> {
        parse_time_ms(self.required(name)?).map_err(|reason| ApiError::parameter(name, reason))
    }

    /// A duration in milliseconds, if given; may be negative.
    pub(crate) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.parsed(name, parse_duration_ms)
    }

    /// A duration above zero in milliseconds, if given.
    pub(crate) fn positive_duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.duration_ms(name)? {
            Some(ms) if ms <= 0 => Err(ApiError::parameter(name, "it must be at least a millisecond")),
            duration => Ok(duration),
        }
    }

    /// A count where 0, like absence, means no bound.
    pub(crate) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        let parse = |text: &str| match text.parse::<u64>() {
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => Err(format!("cannot parse {text:?} to a number that is not negative")),
        };
        Ok(self.parsed(name, parse)?.filter(|&limit| limit > 0).unwrap_or(usize::MAX))
    }

    /// The range from `start` to `end`, each open when absent.
    pub(crate) fn open_range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.time_ms("start")?.unwrap_or(i64::MIN);
        let end_ms = self.time_ms("end")?.unwrap_or(i64::MAX);
        ordered(start_ms, end_ms)
    }

    /// The selectors of every `match[]`, each with its text.
    pub(crate) fn named_selectors(&self) -> Result<Vec<(String, Vec<Matcher>)>, ApiError> {
        self.all("match[]").map(|text| Ok((text.to_owned(), selector(text)?))).collect()
    }

    /// `true` or `false`; absent is false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        let parse = |text: &str| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{text:?} is neither true nor false")),
        };
        Ok(self.parsed(name, parse)?.unwrap_or(false))
    }

    /// The selectors of every `match[]`.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.all("match[]").map(selector).collect()
    }

    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ApiError> {
        self.first(name).map(|text| parse(text).map_err(|reason| ApiError::parameter(name, reason))).transpose()
    }
}

/// Reads a form's text: `+` is a space, `%41` is a byte. What is not UTF-8 then is refused rather than replaced, so
/// that a query is never another than was meant.
fn unescape_form(escaped: &[u8]) -> Result<String, String> {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let [byte, after @ ..] = rest {
        rest = after;
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    let shown = String::from_utf8_lossy(&after[..after.len().min(2)]);
                    return Err(format!("invalid URL escape {:?}", format!("%{shown}")));
                };
                rest = &after[2..];
                u8::try_from(high * 16 + low).expect("two hexadecimal digits are a byte")
            }
            _ => *byte,
        });
    }
    String::from_utf8(plain).map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))
}

/// The range between two instants, the second not before the first.
pub(crate) fn ordered(start_ms: i64, end_ms: i64) -> Result<TimeRange, ApiError> {
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    Ok(TimeRange::new(start_ms, end_ms))
}

/// Reads a body of up to `body_bytes_max` bytes.
pub(crate) async fn read_body(body: Body, body_bytes_max: usize) -> Result<bytes::Bytes, ApiError> {
    match Limited::new(body, body_bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("the body is longer than {body_bytes_max} bytes, the limit");
            Err(ApiError::new(ErrorKind::TooLarge, message))
        }
        Err(error) => Err(ApiError::new(ErrorKind::BadData, format!("the body cannot be read: {error}"))),
    }
}

/// Reads a series selector: a vector selector without modifiers. That at least one matcher narrows it, the language
/// asks of every selector.
fn selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let wrong = |reason: &dyn std::fmt::Display| ApiError::parameter("match[]", reason);
    let expr = query::parse(text).map_err(|error| wrong(&error))?;
    let ExprKind::Selector(selector) = expr.kind else {
        return Err(wrong(&format!("{text:?} is not a series selector such as up{{job=\"api\"}}")));
    };
    if selector.modifiers != query::ast::Modifiers::default() || selector.extension.is_some() {
        return Err(wrong(&"a series selector takes no modifier; use start and end"));
    }
    Ok(selector.matchers)
}

/// The label name that a path segment stands for. `U__a_2e_b` is the escaped form of `a.b`, for clients whose
/// paths cannot carry every character; a text that is no valid escape stands for itself.
pub(crate) fn unescape_label_name(name: &str) -> String {
    name.strip_prefix("U__").and_then(unescape).unwrap_or_else(|| name.to_owned())
}

fn unescape(escaped: &str) -> Option<String> {
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        let (digits, tail) = after.split_once('_')?;
        if digits.is_empty() {
            plain.push('_');
        } else {
            if digits.len() > 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            plain.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        }
        rest = tail;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(method: Method, url: &str, content_type: &str, body: &str) -> Result<Params, ApiError> {
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, content_type);
        Params::read(request.body(Body::from(body.to_owned())).unwrap(), 64).await
    }

    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    #[tokio::test]
    async fn body_wins_over_url() {
        let params = read(Method::POST, "/?query=url&time=7&query=more", FORM, "query=a%2Bb+c&x=").await.unwrap();
        assert_eq!(params.first("query"), Some("a+b c"));
        assert_eq!(params.time_ms("time"), Ok(Some(7_000)));
        assert_eq!(params.first("x"), None);
        assert_eq!(params.all("query").count(), 3);
        let params = read(Method::GET, "/?query=url", FORM, "query=body").await.unwrap();
        assert_eq!(params.first("query"), Some("url"), "a GET has no body");
    }

    #[tokio::test]
    async fn bodies_are_bounded_forms() {
        let error = read(Method::POST, "/", FORM, &"x".repeat(65)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert!(error.message.contains("64 bytes"), "{}", error.message);
        let error = read(Method::POST, "/", "application/json", "{}").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadData);
        assert!(error.message.contains("application/json"), "{}", error.message);
        assert!(read(Method::POST, "/?query=1", "", "").await.is_ok(), "an empty body needs no type");
        let many = format!("/?{}", "a&".repeat(PARAMETERS_MAX + 1));
        assert_eq!(read(Method::GET, &many, "", "").await.unwrap_err().kind, ErrorKind::BadData);
    }

    fn params(url: &str) -> Params {
        let mut params = Params::default();
        params.extend(url.as_bytes()).unwrap();
        params
    }

    #[track_caller]
    fn check_error<T: std::fmt::Debug>(result: Result<T, ApiError>, want: &str) {
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::BadData, want));
    }

    #[test]
    fn wrong_parameters_are_named() {
        check_error(params("").required("query"), r#"invalid parameter "query": it is missing"#);
        check_error(
            params("time=soon").time_ms("time"),
            r#"invalid parameter "time": cannot parse "soon" to a valid timestamp"#,
        );
        check_error(
            params("timeout=0").positive_duration_ms("timeout"),
            r#"invalid parameter "timeout": it must be at least a millisecond"#,
        );
        check_error(
            params("limit=-1").limit("limit"),
            r#"invalid parameter "limit": cannot parse "-1" to a number that is not negative"#,
        );
        check_error(
            params("start=2&end=1").open_range(),
            r#"invalid parameter "end": end timestamp must not be before start time"#,
        );
        check_error(
            params("match[]=up%5B5m%5D").selectors(),
            r#"invalid parameter "match[]": "up[5m]" is not a series selector such as up{job="api"}"#,
        );
        check_error(
            params("match[]=up+offset+5m").selectors(),
            r#"invalid parameter "match[]": a series selector takes no modifier; use start and end"#,
        );
    }

    #[test]
    fn limits_and_ranges() {
        assert_eq!(params("limit=0").limit("limit"), Ok(usize::MAX));
        assert_eq!(params("").limit("limit"), Ok(usize::MAX));
        assert_eq!(params("limit=3").limit("limit"), Ok(3));
        assert_eq!(params("").open_range(), Ok(TimeRange::ALL));
        assert_eq!(params("start=-1&end=-1").open_range(), Ok(TimeRange::new(-1_000, -1_000)));
        let selectors = params("match[]=up&match[]=%7Bjob%3D~%22a.%2B%22%7D").selectors().unwrap();
        assert_eq!(selectors.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn escapes_of_forms() {
        for (escaped, want) in [
            ("", Ok("")),
            ("a+b%2Bc%20", Ok("a b+c ")),
            ("%e2%82%AC€", Ok("€€")),
            ("%", Err("invalid URL escape \"%\"")),
            ("x%4", Err("invalid URL escape \"%4\"")),
            ("%zz1", Err("invalid URL escape \"%zz\"")),
            ("%+1", Err("invalid URL escape \"%+1\"")),
            ("a%ff", Err("byte 1 is not UTF-8")),
        ] {
            let got = unescape_form(escaped.as_bytes());
            assert_eq!(got.as_deref(), want.map_err(str::to_owned).as_ref().copied(), "for {escaped:?}");
        }
        let error = Params::default().extend(b"&x&a==1&query=%").unwrap_err();
        assert_eq!(error.message, r#"invalid parameter "query": invalid URL escape "%""#);
        let params = params("&x&a==1&&b");
        assert_eq!((params.first("a"), params.first("b"), params.pairs.len()), (Some("=1"), None, 3));
    }

    #[test]
    fn escaped_label_names() {
        for (escaped, want) in [
            ("job", "job"),
            ("U__http_2e_method", "http.method"),
            ("U__a__b", "a_b"),
            ("U___1F600_", "😀"),
            ("U__", ""),
            ("U__a_", "U__a_"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_d800_", "U__a_d800_"),
            ("U__a_1234567_", "U__a_1234567_"),
            ("http_2e_method", "http_2e_method"),
        ] {
            assert_eq!(unescape_label_name(escaped), want, "for {escaped:?}");
        }
    }
}
