//! The syntax tree of a query. Every node knows its bytes in the query text, for errors and annotations.
//!
//! Owns shape only: `parse` builds it, `check` types it, `print` writes it back, `eval` runs it.

use model::Matcher;
use model::labels::METRIC_NAME;

/// Bytes `start..end` of the query text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// The static type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number a step.
    Scalar,
    /// One value for each of many series.
    InstantVector,
    /// Samples over a range for each of many series.
    RangeVector,
    /// A string literal.
    String,
}

/// An expression and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Its bytes in the query.
    pub span: Span,
    /// What it is.
    pub kind: ExprKind,
}

impl Expr {
    /// The expression without the parentheses around it.
    pub fn without_parens(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}

/// The kinds of expression.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, or a duration in seconds. A sign directly before it belongs to it, as in `-1`.
    Number(NumberLiteral),
    /// A string literal, unescaped.
    String(String),
    /// `name{matchers}` with its modifiers.
    Selector(Selector),
    /// `selector[range]`.
    Range(RangeSelector),
    /// `expr[range:step]`.
    Subquery(Box<Subquery>),
    /// `+expr` or `-expr`.
    Unary(UnaryOp, Box<Expr>),
    /// `left op right`.
    Binary(Box<Binary>),
    /// `function(args)`.
    Call(Call),
    /// `sum by (a) (expr)`.
    Aggregate(Box<Aggregate>),
    /// `(expr)`.
    Paren(Box<Expr>),
}

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub struct NumberLiteral {
    /// The value; of a duration, its seconds.
    pub value: f64,
    /// Whether it was written as a duration, such as `5m`.
    pub is_duration: bool,
}

impl NumberLiteral {
    /// The literal behind a sign.
    pub(crate) fn signed(self, op: UnaryOp) -> Self {
        match op {
            UnaryOp::Plus => self,
            UnaryOp::Minus => Self { value: -self.value, ..self },
        }
    }
}

/// An instant selector.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// All conditions, the one on the metric name included, in the order written (a bare name first).
    pub matchers: Vec<Matcher>,
    /// Whether the name stood before the braces, as in `up{…}`.
    pub bare_name: bool,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
    /// `anchored` or `smoothed`.
    pub extension: Option<RangeExtension>,
    /// Whether counter resets between its histograms must be told where the samples do not tell; the parser says so.
    pub tells_resets: bool,
}

impl Selector {
    /// The metric name asked for with `=`, if any.
    pub fn metric_name(&self) -> Option<&str> {
        model::matcher::metric_name_of(&self.matchers)
    }

    /// The conditions other than those on the metric name.
    pub fn label_matchers(&self) -> impl Iterator<Item = &Matcher> {
        self.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME)
    }
}

/// A range selector: `selector[range]`. Its modifiers are those of the selector.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSelector {
    /// What is selected, with the modifiers that stood after the range.
    pub selector: Selector,
    /// Length of the range.
    pub range: DurationExpr,
}

/// A subquery: `expr[range:step]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated at each inner step.
    pub expr: Expr,
    /// Length of the range.
    pub range: DurationExpr,
    /// Inner step; the server's default when absent.
    pub step: Option<DurationExpr>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
}

/// When to look, relative to the evaluation time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Modifiers {
    /// `offset d`; negative looks ahead.
    pub offset: Option<DurationExpr>,
    /// `@ t`.
    pub at: Option<AtModifier>,
}

/// The instant of an `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtModifier {
    /// Milliseconds since the Unix epoch.
    TimestampMs(i64),
    /// `@ start()`.
    Start,
    /// `@ end()`.
    End,
}

/// How a range treats its boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeExtension {
    /// The newest sample before the range counts as its left end.
    Anchored,
    /// Both ends are interpolated.
    Smoothed,
}

/// A duration, possibly computed: `5m`, `300`, `step() * 2`.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    /// Its bytes in the query.
    pub span: Span,
    /// What it is.
    pub kind: DurationKind,
}

/// The kinds of duration expression; all values are seconds.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// A number or duration literal.
    Literal(NumberLiteral),
    /// `step()`: the query's step, 0 in an instant query.
    Step,
    /// `range()`: the query's end minus its start.
    Range,
    /// `-d` or `+d`.
    Unary(UnaryOp, Box<DurationExpr>),
    /// `a + b`, one of `+ - * / % ^`.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `min_of(a, b)`.
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`.
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `(d)`.
    Paren(Box<DurationExpr>),
}

/// A sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// Whether it is one of `== != < <= > >=`.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }

    /// Whether it is one of `and or unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Power => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// `bool`: a comparison yields 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How elements of two vectors find each other; absent when nothing was written.
    pub matching: Option<Matching>,
    /// The left operand.
    pub left: Expr,
    /// The right operand.
    pub right: Expr,
}

/// How elements of two vectors find each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matching {
    /// `on` (true) or `ignoring` (false, the default with no labels).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Which side may have several elements for one key.
    pub cardinality: Cardinality,
    /// `fill_left`: value for elements missing on the left.
    pub fill_left: Option<f64>,
    /// `fill_right`: value for elements missing on the right.
    pub fill_right: Option<f64>,
}

/// Which side of a binary operation is "many".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// Neither (set operators: both).
    #[default]
    OneToOne,
    /// `group_left(include)`: the left.
    ManyToOne {
        /// Labels copied from the right.
        include: Vec<String>,
    },
    /// `group_right(include)`: the right.
    OneToMany {
        /// Labels copied from the left.
        include: Vec<String>,
    },
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function, which the parser found in the function table.
    pub function: &'static crate::functions::Function,
    /// The arguments as written.
    pub args: Vec<Expr>,
}

/// The aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Every aggregation with its name.
    pub const NAMES: [(&'static str, Self); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("count_values", Self::CountValues),
        ("quantile", Self::Quantile),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
    ];

    /// Whether it takes a parameter before what is aggregated.
    pub fn takes_parameter(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }

    /// The name in lower case.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }
}

/// An aggregation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// `by` or `without` with labels; absent when nothing was written (one group).
    pub grouping: Option<Grouping>,
    /// The parameter of `topk` and the like.
    pub param: Option<Expr>,
    /// What is aggregated.
    pub expr: Expr,
}

/// The grouping clause of an aggregation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// `without` (true) or `by` (false).
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}
