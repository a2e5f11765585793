//! `print`, `println` and `printf` as Go's package `fmt` has them.

use super::number::{Style, format_float};
use super::value::Value;

/// Widest field and longest fraction.
const WIDTH_MAX: usize = 1000;

/// The values; with a space between two that are no strings.
pub(super) fn print(args: &[Value], bytes_max: usize) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for (at, arg) in args.iter().enumerate() {
        let is_text = matches!(arg, Value::Text(_));
        if at > 0 && !is_text && !after_text {
            out.push(' ');
        }
        print_value(&mut out, arg, bytes_max);
        after_text = is_text;
    }
    out
}

/// The values with spaces between, and a new line.
pub(super) fn println(args: &[Value], bytes_max: usize) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        print_value(&mut out, arg, bytes_max);
    }
    out.push('\n');
    out
}

/// The values as escaping takes them: nothing is a string then.
pub(super) fn joined(args: &[Value], bytes_max: usize) -> String {
    let told = |arg: &Value| if matches!(arg, Value::Nil) { Value::text(arg.to_string()) } else { arg.clone() };
    print(&args.iter().map(told).collect::<Vec<_>>(), bytes_max)
}

fn print_value(out: &mut String, value: &Value, bytes_max: usize) {
    match value {
        Value::Nil => out.push_str("<nil>"),
        _ => value.print(out, bytes_max),
    }
}

/// A verb's flags, width and precision.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags are that")]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The arguments of a format, and which of them is next.
struct Args<'a> {
    all: &'a [Value],
    next: usize,
    /// Whether the format says itself which ones it takes.
    numbered: bool,
    /// Whether what it says of the verb at hand is right.
    good: bool,
}

impl<'a> Args<'a> {
    fn take(&mut self) -> Option<&'a Value> {
        let arg = self.all.get(self.next);
        self.next += 1;
        arg
    }

    /// `[2]`, which makes the second the next; whether there is such a number.
    fn number<'t>(&mut self, rest: &'t str) -> (bool, &'t str) {
        let Some(behind) = rest.strip_prefix('[') else { return (false, rest) };
        self.numbered = true;
        let Some((digits, behind)) = behind.split_once(']') else {
            self.good = false;
            return (false, behind);
        };
        let number = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|digits| digits.parse::<usize>().ok());
        match number.and_then(|number| number.checked_sub(1)).filter(|next| *next < self.all.len()) {
            Some(next) => self.next = next,
            None => self.good = false,
        }
        (number.is_some(), behind)
    }

    /// A number, or `*` for one of the arguments.
    fn size<'t>(&mut self, rest: &'t str) -> (Option<usize>, &'t str) {
        if let Some(behind) = rest.strip_prefix('*') {
            let given = match self.take() {
                Some(Value::Int(size)) => usize::try_from(*size).ok().filter(|size| *size <= WIDTH_MAX),
                _ => None,
            };
            return (given, behind);
        }
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, behind) = rest.split_at(length);
        (digits.parse().ok().map(|size: usize| size.min(WIDTH_MAX)), behind)
    }

    /// What stands between `%` and the verb. A number of an argument is right before a `*` or the verb.
    fn spec<'t>(&mut self, rest: &'t str) -> (Spec, &'t str) {
        self.good = true;
        let mut spec = Spec::default();
        let (mut is_numbered, mut rest) = self.number(flags(rest, &mut spec));
        let is_star = rest.starts_with('*');
        (spec.width, rest) = self.size(rest);
        self.good &= !(is_numbered && !is_star && spec.width.is_some());
        is_numbered &= !is_star;
        if let Some(behind) = rest.strip_prefix('.') {
            self.good &= !is_numbered;
            (is_numbered, rest) = self.number(behind);
            let is_star = rest.starts_with('*');
            let given;
            (given, rest) = self.size(rest);
            is_numbered &= !is_star;
            spec.precision = given.or(Some(0));
        }
        if !is_numbered {
            (_, rest) = self.number(rest);
        }
        (spec, rest)
    }
}

/// `args` as `format` says. What does not fit is told in the text, as Go does.
pub(super) fn printf(format: &str, args: &[Value], bytes_max: usize) -> String {
    let mut out = String::new();
    let mut rest = format;
    let mut args = Args { all: args, next: 0, numbered: false, good: true };
    while let Some(at) = rest.find('%') {
        if out.len() > bytes_max {
            return out;
        }
        out.push_str(rest.get(..at).unwrap_or_default());
        let mut spec;
        (spec, rest) = args.spec(rest.get(at + 1..).unwrap_or_default());
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = rest.get(verb.len_utf8()..).unwrap_or_default();
        // Of `v` a plus asks for names of fields, not for a sign.
        spec.plus &= verb != 'v';
        if verb == '%' {
            out.push('%');
            continue;
        }
        if let Some(arg) = args.good.then(|| args.take()).flatten() {
            one(&mut out, verb, &spec, arg, bytes_max);
        } else {
            let why = if args.good { "(MISSING)" } else { "(BADINDEX)" };
            out.extend(["%!", verb.encode_utf8(&mut [0; 4]), why]);
        }
    }
    out.push_str(rest);
    let left = args.all.get(args.next..).unwrap_or_default();
    if !left.is_empty() && !args.numbered {
        out.push_str("%!(EXTRA ");
        for (at, arg) in left.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            if !matches!(arg, Value::Nil) {
                out.push_str(arg.kind());
                out.push('=');
            }
            print_value(&mut out, arg, bytes_max);
        }
        out.push(')');
    }
    out
}

fn flags<'a>(mut rest: &'a str, spec: &mut Spec) -> &'a str {
    loop {
        match rest.chars().next() {
            Some('+') => spec.plus = true,
            Some('-') => spec.minus = true,
            Some('#') => spec.sharp = true,
            Some(' ') => spec.space = true,
            Some('0') => spec.zero = true,
            _ => return rest,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
}

fn one(out: &mut String, verb: char, spec: &Spec, arg: &Value, bytes_max: usize) {
    if out.len() > bytes_max {
        return;
    }
    let plain = match arg {
        Value::Object(object) if object.tells_itself() && "vsqxX".contains(verb) => Some(Value::from(object.print())),
        Value::Object(object) => object.plain(),
        _ => None,
    };
    let text = match (verb, plain.as_ref().unwrap_or(arg)) {
        ('T', _) => arg.kind().to_owned(),
        // A verb is for what is in lists and maps.
        (_, Value::List(items)) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                one(out, verb, spec, item, bytes_max);
            }
            out.push(']');
            return;
        }
        (_, Value::Map(map)) => {
            out.push_str("map[");
            for (at, (name, value)) in map.entries.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                one(out, verb, spec, &Value::from(name.as_str()), bytes_max);
                out.push(':');
                one(out, verb, spec, value, bytes_max);
            }
            out.push(']');
            return;
        }
        (_, arg) => match scalar(verb, spec, arg) {
            Some(text) => text,
            None if matches!(arg, Value::Nil) => format!("%!{verb}(<nil>)"),
            None => {
                out.extend(["%!", verb.encode_utf8(&mut [0; 4]), "(", arg.kind(), "="]);
                one(out, 'v', spec, arg, bytes_max);
                out.push(')');
                return;
            }
        },
    };
    let is_number = matches!(arg, Value::Int(_) | Value::Float(_) | Value::Duration(_));
    pad(out, &text, spec, is_number);
}

/// A value that is no list or map, without padding; `None` where the verb is not for it.
fn scalar(verb: char, spec: &Spec, arg: &Value) -> Option<String> {
    Some(match (verb, arg) {
        ('v' | 'g', Value::Float(value)) => signed_float(*value, Style::General, spec),
        ('v' | 'd', Value::Int(value)) | ('d', Value::Duration(value)) => signed(*value, spec),
        ('v', Value::Nil) => "<nil>".to_owned(),
        ('v' | 't', Value::Bool(value)) => value.to_string(),
        ('v' | 's', Value::Text(_) | Value::Time(_) | Value::Duration(_) | Value::Object(_)) => {
            cut(arg.to_string(), spec)
        }
        ('q', Value::Text(text)) => quote(text),
        ('q' | 'c', Value::Int(value)) => {
            let c = u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            if verb == 'q' { format!("'{c}'") } else { c.to_string() }
        }
        ('U', Value::Int(value)) => format!("U+{value:04X}"),
        ('x' | 'X' | 'o' | 'b', Value::Int(value)) => in_base(verb, *value, spec),
        ('x', Value::Text(text)) => hex(text),
        ('X', Value::Text(text)) => hex(text).to_uppercase(),
        ('f' | 'F', Value::Float(value)) => signed_float(*value, Style::Fixed, &precise(spec, Some(6))),
        ('e', Value::Float(value)) => signed_float(*value, Style::Exponent, &precise(spec, Some(6))),
        ('E', Value::Float(value)) => signed_float(*value, Style::Exponent, &precise(spec, Some(6))).to_uppercase(),
        ('G', Value::Float(value)) => signed_float(*value, Style::General, spec).replace('e', "E"),
        _ => return None,
    })
}

fn precise(spec: &Spec, default: Option<usize>) -> Spec {
    Spec { precision: spec.precision.or(default), ..*spec }
}

/// Sign as asked for.
fn with_sign(text: String, spec: &Spec) -> String {
    match text.chars().next() {
        // An infinity has its sign already.
        Some('-' | '+') => text,
        _ if spec.plus => format!("+{text}"),
        _ if spec.space => format!(" {text}"),
        _ => text,
    }
}

fn signed(value: i64, spec: &Spec) -> String {
    let digits = value.unsigned_abs().to_string();
    let digits = match spec.precision {
        Some(0) if value == 0 => String::new(),
        Some(width) => format!("{digits:0>width$}"),
        None => digits,
    };
    with_sign(if value < 0 { format!("-{digits}") } else { digits }, spec)
}

fn signed_float(value: f64, style: Style, spec: &Spec) -> String {
    with_sign(format_float(value, style, spec.precision), spec)
}

fn in_base(verb: char, value: i64, spec: &Spec) -> String {
    let magnitude = value.unsigned_abs();
    let (prefix, digits) = match verb {
        'x' => ("0x", format!("{magnitude:x}")),
        'X' => ("0X", format!("{magnitude:X}")),
        'o' => ("0", format!("{magnitude:o}")),
        _ => ("0b", format!("{magnitude:b}")),
    };
    let prefix = if spec.sharp { prefix } else { "" };
    with_sign(if value < 0 { format!("-{prefix}{digits}") } else { format!("{prefix}{digits}") }, spec)
}

fn hex(text: &str) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    text.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// As many characters as the precision says.
fn cut(text: String, spec: &Spec) -> String {
    match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text,
    }
}

fn pad(out: &mut String, text: &str, spec: &Spec, is_number: bool) {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if spec.zero && !(is_number && (text.ends_with("Inf") || text == "NaN")) {
        let (sign, digits) = match text.strip_prefix(['+', '-', ' ']) {
            Some(digits) if is_number => text.split_at(text.len() - digits.len()),
            _ => ("", text),
        };
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}

/// A string as Go's source has it.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c.is_ascii_control() => out.extend(["\\x", &hex(c.encode_utf8(&mut [0; 4]))]),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}
