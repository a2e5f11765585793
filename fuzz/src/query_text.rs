//! Queries out of fuzz bytes: whole, well typed, every function, operator and modifier among them.
//!
//! When the bytes end every choice is the first one, which is the plainest, so that text is finite.

use query::ast::ValueType;
use query::functions::{FUNCTIONS, Function, FunctionId};

use crate::input::Input;

/// How deep expressions nest.
const DEPTH: u8 = 4;

/// Writes queries.
#[derive(Debug)]
pub struct Writer<'i, 'b> {
    input: &'i mut Input<'b>,
    /// Whether what depends on the bounds of the whole query may be used.
    of_the_query: bool,
}

impl<'i, 'b> Writer<'i, 'b> {
    /// Takes choices from `input`.
    pub fn new(input: &'i mut Input<'b>, of_the_query: bool) -> Self {
        Self { input, of_the_query }
    }

    /// A query for a vector or, now and then, a scalar.
    pub fn query(&mut self) -> String {
        if self.one_in(12) { self.scalar(DEPTH) } else { self.vector(DEPTH) }
    }

    fn one_in(&mut self, times: u16) -> bool {
        self.input.below(times) == times - 1
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.input.below(u16::try_from(from.len()).unwrap_or(u16::MAX)))]
    }

    fn vector(&mut self, depth: u8) -> String {
        if depth == 0 {
            return self.selector();
        }
        match self.input.below(12) {
            0 | 1 => self.selector(),
            2..=5 => self.call(depth, ValueType::InstantVector),
            6 | 7 => self.aggregation(depth),
            8 | 9 => self.binary(depth),
            10 => format!("({})", self.vector(depth - 1)),
            _ => format!("{}({})", self.pick(&["-", "+"]), self.vector(depth - 1)),
        }
    }

    fn scalar(&mut self, depth: u8) -> String {
        match self.input.below(if depth == 0 { 2 } else { 6 }) {
            0 => self.pick(&["1", "0.5", "2", "0", "-1", "0.9", "100", "5m"]).to_owned(),
            1 => self.pick(&["3", "1.5", "NaN", "Inf", "-Inf", "1e3", "0x10", "-0.5"]).to_owned(),
            2 => format!("scalar({})", self.vector(depth - 1)),
            3 => {
                let op = self.pick(&["+", "-", "*", "/", "%", "^", "atan2", "== bool", "< bool", ">= bool"]);
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            4 => self.call(depth, ValueType::Scalar),
            _ => "time()".to_owned(),
        }
    }

    /// A call of any function that returns `returns`.
    fn call(&mut self, depth: u8, returns: ValueType) -> String {
        let of_the_query =
            |id| matches!(id, FunctionId::Start | FunctionId::End | FunctionId::Range | FunctionId::Step);
        let fitting: Vec<&Function> = FUNCTIONS
            .iter()
            .filter(|one| one.returns == returns && (self.of_the_query || !of_the_query(one.id)))
            .collect();
        let function = self.pick(&fitting);
        let most = function.args_max().min(function.args.len() + 2);
        let count = function.args_min() + usize::from(self.input.byte()) % (most - function.args_min() + 1);
        let args: Vec<String> = (0..count).map(|at| self.argument(function, at, depth - 1)).collect();
        format!("{}({})", function.name, args.join(", "))
    }

    fn argument(&mut self, function: &Function, at: usize, depth: u8) -> String {
        match function.arg_type(at) {
            Some(ValueType::Scalar) => self.scalar(depth),
            Some(ValueType::RangeVector) => self.range(depth),
            Some(ValueType::String) => self.text(function, at),
            _ if function.id == FunctionId::Info && at == 1 => self
                .pick(&["{}", "{os=~\".*\"}", "{__name__=\"target_info\"}", "{__name__=~\".+_info\", x=\"1\"}"])
                .to_owned(),
            _ => self.vector(depth),
        }
    }

    fn text(&mut self, function: &Function, at: usize) -> String {
        let texts: &[&str] = match (function.id, at) {
            (FunctionId::LabelReplace, 2) => &["\"v-$1\"", "\"\"", "'$$'", "\"${name}\""],
            (FunctionId::LabelReplace, 4) => &["\"(.*)\"", "`(?P<name>\\d)`", "\"\"", "\"(?i:A|1)\""],
            (FunctionId::LabelJoin, 2) => &["\"-\"", "\"\""],
            _ => &["\"x\"", "\"y\"", "\"__name__\"", "\"le\"", "\"job\""],
        };
        self.pick(texts).to_owned()
    }

    fn aggregation(&mut self, depth: u8) -> String {
        let (name, param) = self.pick(&[
            ("sum", ""),
            ("avg", ""),
            ("min", ""),
            ("max", ""),
            ("count", ""),
            ("group", ""),
            ("stddev", ""),
            ("stdvar", ""),
            ("topk", "s"),
            ("bottomk", "s"),
            ("quantile", "s"),
            ("limitk", "s"),
            ("limit_ratio", "s"),
            ("count_values", "t"),
        ]);
        let grouping = match self.input.below(4) {
            0 => String::new(),
            1 => format!(" by ({})", self.labels()),
            2 => format!(" without ({})", self.labels()),
            _ => " by (__name__, x)".to_owned(),
        };
        let param = match param {
            "s" => format!("{}, ", self.scalar(depth - 1)),
            "t" => format!("{}, ", self.pick(&["\"v\"", "\"x\""])),
            _ => String::new(),
        };
        format!("{name}{grouping} ({param}{})", self.vector(depth - 1))
    }

    fn labels(&mut self) -> String {
        self.pick(&["x", "", "job, x", "le", "x, le", "none"]).to_owned()
    }

    fn binary(&mut self, depth: u8) -> String {
        let op = self.pick(&[
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "</", ">/", "and", "or", "unless",
        ]);
        let is_set = matches!(op, "and" | "or" | "unless");
        let is_comparison = matches!(op, "==" | "!=" | "<" | "<=" | ">" | ">=");
        let bool_text = if is_comparison && self.one_in(3) { " bool" } else { "" };
        if !is_set && self.one_in(3) {
            let (vector, scalar) = (self.vector(depth - 1), self.scalar(depth - 1));
            return if self.one_in(2) {
                format!("({scalar} {op}{bool_text} {vector})")
            } else {
                format!("({vector} {op}{bool_text} {scalar})")
            };
        }
        let mut matching = self.pick(&["", "", " on (x)", " ignoring (le)", " on ()", " ignoring (job, y)"]).to_owned();
        if !is_set {
            if !matching.is_empty() {
                matching += self.pick(&["", "", " group_left ()", " group_right (job)", " group_left (os)"]);
            }
            matching += self.pick(&["", "", "", " fill (1)", " fill_left (-2)", " fill_right (NaN) fill_left (0)"]);
        }
        format!("({} {op}{bool_text}{matching} {})", self.vector(depth - 1), self.vector(depth - 1))
    }

    fn selector(&mut self) -> String {
        let matchers = self.matchers();
        let extension = if self.one_in(8) { " smoothed" } else { "" };
        format!("{matchers}{extension}{}", self.modifiers())
    }

    fn matchers(&mut self) -> String {
        self.pick(&[
            "m",
            "c_total",
            "h",
            "n",
            "mixed",
            "b_bucket",
            "m{x=\"1\"}",
            "h{x!=\"2\"}",
            "{__name__=~\"m|h\"}",
            "{__name__=~\".*\", x=\"1\"}",
            "c_total{x=~\"1|3\"}",
            "m{x!~\"[12]\"}",
            "none",
            "target_info",
        ])
        .to_owned()
    }

    fn modifiers(&mut self) -> String {
        let offset = match self.input.below(8) {
            1 => format!(" offset {}", self.duration()),
            2 => format!(" offset -{}", self.duration()),
            3 => " offset (30s + 1m)".to_owned(),
            _ => String::new(),
        };
        let at = match self.input.below(12) {
            1 => " @ 120",
            2 => " @ -1.5",
            3 if self.of_the_query => " @ start()",
            4 if self.of_the_query => " @ end()",
            _ => "",
        };
        if self.one_in(2) { format!("{offset}{at}") } else { format!("{at}{offset}") }
    }

    fn duration(&mut self) -> &'static str {
        self.pick(&["1m", "30s", "15s", "5m", "7s", "1ms", "90", "1m30s500ms"])
    }

    fn range(&mut self, depth: u8) -> String {
        let length = match self.input.below(8) {
            7 => "max_of(15s, 1m) * 2".to_owned(),
            6 if self.of_the_query => "step() + 1s".to_owned(),
            _ => self.duration().to_owned(),
        };
        if depth > 0 && self.one_in(4) {
            let step = self.pick(&["", "1m", "7s", "30", "15s"]);
            let inner = self.vector(depth - 1);
            return format!("({inner})[{length}:{step}]{}", self.modifiers());
        }
        let matchers = self.matchers();
        let extension = self.pick(&["", "", "", "", "", "", " anchored", " smoothed"]);
        format!("{matchers}[{length}]{extension}{}", self.modifiers())
    }
}
