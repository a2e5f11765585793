//! The function table: name, signature and one line of help for every PromQL function.
//!
//! Owns what the parser, the checker and completion need. How each is computed lives in `eval`.

use crate::ast::ValueType;

/// One function of the language.
#[derive(Debug, PartialEq)]
pub struct Function {
    /// The name, case-sensitive.
    pub name: &'static str,
    /// Which computation it is.
    pub id: FunctionId,
    /// The types of its arguments in order.
    pub args: &'static [ValueType],
    /// How many of `args`, counted from the end, may be left out.
    pub optional: usize,
    /// How often the last argument may be repeated beyond once; `usize::MAX` means any number.
    pub variadic: usize,
    /// The type of its result.
    pub returns: ValueType,
    /// One line for people.
    pub help: &'static str,
}

impl Function {
    /// The fewest arguments a call may have.
    pub fn args_min(&self) -> usize {
        self.args.len() - self.optional
    }

    /// The most arguments a call may have.
    pub fn args_max(&self) -> usize {
        self.args.len().saturating_add(self.variadic)
    }

    /// The type of the argument at `index`, counted from 0; the last one stands for all its repetitions.
    pub fn arg_type(&self, index: usize) -> Option<ValueType> {
        if index >= self.args_max() { None } else { self.args.get(index).or(self.args.last()).copied() }
    }
}

/// The function named `name`.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|at| &FUNCTIONS[at])
}

/// Writes [`FunctionId`] and [`FUNCTIONS`] from one table, so that they cannot disagree.
macro_rules! functions {
    ($($id:ident $name:literal ($($arg:ident),*) $(optional $optional:literal)? $(repeat $variadic:literal)? $(any $last:ident)?
        -> $returns:ident: $help:literal;)*) => {
        /// Names a computation; see [`Function`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the function of the same name")]
        pub enum FunctionId {
            $($id,)*
        }

        /// Every function, ordered by name.
        pub static FUNCTIONS: &[Function] = &[$(Function {
            name: $name,
            id: FunctionId::$id,
            args: &[$(ValueType::$arg),*],
            optional: 0 $(+ $optional)?,
            variadic: 0 $(+ $variadic)? $(+ repetitions::$last)?,
            returns: ValueType::$returns,
            help: $help,
        },)*];
    };
}

/// What may follow `any` in the table.
mod repetitions {
    /// The last argument may be repeated without bound.
    #[expect(non_upper_case_globals, reason = "a word of the table below, not a name of the program")]
    pub(super) const number: usize = usize::MAX;
}

functions! {
    Abs "abs" (InstantVector) -> InstantVector: "absolute value";
    Absent "absent" (InstantVector) -> InstantVector: "1 if the vector is empty, else nothing; for alerts on vanished series";
    AbsentOverTime "absent_over_time" (RangeVector) -> InstantVector: "1 if no series has a sample in the range, else nothing";
    Acos "acos" (InstantVector) -> InstantVector: "arc cosine, in radians";
    Acosh "acosh" (InstantVector) -> InstantVector: "inverse hyperbolic cosine";
    Asin "asin" (InstantVector) -> InstantVector: "arc sine, in radians";
    Asinh "asinh" (InstantVector) -> InstantVector: "inverse hyperbolic sine";
    Atan "atan" (InstantVector) -> InstantVector: "arc tangent, in radians";
    Atanh "atanh" (InstantVector) -> InstantVector: "inverse hyperbolic tangent";
    AvgOverTime "avg_over_time" (RangeVector) -> InstantVector: "mean of the samples in the range";
    Ceil "ceil" (InstantVector) -> InstantVector: "rounded up to a whole number";
    Changes "changes" (RangeVector) -> InstantVector: "how often the value changed within the range";
    Clamp "clamp" (InstantVector, Scalar, Scalar) -> InstantVector: "values forced between a minimum and a maximum";
    ClampMax "clamp_max" (InstantVector, Scalar) -> InstantVector: "values above the maximum become the maximum";
    ClampMin "clamp_min" (InstantVector, Scalar) -> InstantVector: "values below the minimum become the minimum";
    Cos "cos" (InstantVector) -> InstantVector: "cosine of an angle in radians";
    Cosh "cosh" (InstantVector) -> InstantVector: "hyperbolic cosine";
    CountOverTime "count_over_time" (RangeVector) -> InstantVector: "number of samples in the range";
    DayOfMonth "day_of_month" (InstantVector) optional 1 -> InstantVector: "day of the month, 1 to 31, of a Unix time; of now without argument";
    DayOfWeek "day_of_week" (InstantVector) optional 1 -> InstantVector: "day of the week, 0 (Sunday) to 6, of a Unix time; of now without argument";
    DayOfYear "day_of_year" (InstantVector) optional 1 -> InstantVector: "day of the year, 1 to 366, of a Unix time; of now without argument";
    DaysInMonth "days_in_month" (InstantVector) optional 1 -> InstantVector: "length in days of the month of a Unix time; of now without argument";
    Deg "deg" (InstantVector) -> InstantVector: "radians to degrees";
    Delta "delta" (RangeVector) -> InstantVector: "last minus first value of a gauge, extrapolated to the ends of the range";
    Deriv "deriv" (RangeVector) -> InstantVector: "slope per second of a gauge by least squares";
    DoubleExponentialSmoothing "double_exponential_smoothing" (RangeVector, Scalar, Scalar) -> InstantVector: "Holt's linear smoothing by a smoothing and a trend factor between 0 and 1";
    End "end" () -> Scalar: "end of the query's time range, Unix seconds";
    Exp "exp" (InstantVector) -> InstantVector: "e to the power of the value";
    FirstOverTime "first_over_time" (RangeVector) -> InstantVector: "oldest sample in the range; keeps the metric name";
    Floor "floor" (InstantVector) -> InstantVector: "rounded down to a whole number";
    HistogramAvg "histogram_avg" (InstantVector) -> InstantVector: "mean observation of native histograms";
    HistogramCount "histogram_count" (InstantVector) -> InstantVector: "number of observations of native histograms";
    HistogramFraction "histogram_fraction" (Scalar, Scalar, InstantVector) -> InstantVector: "share of the observations between two bounds";
    HistogramQuantile "histogram_quantile" (Scalar, InstantVector) -> InstantVector: "quantile (0 to 1) estimated from histogram buckets, native or by `le`";
    HistogramQuantiles "histogram_quantiles" (InstantVector, String, Scalar) repeat 9 -> InstantVector: "up to ten quantiles at once, told apart by the label named second";
    HistogramStddev "histogram_stddev" (InstantVector) -> InstantVector: "estimated standard deviation of native histograms";
    HistogramStdvar "histogram_stdvar" (InstantVector) -> InstantVector: "estimated variance of native histograms";
    HistogramSum "histogram_sum" (InstantVector) -> InstantVector: "sum of the observations of native histograms";
    Hour "hour" (InstantVector) optional 1 -> InstantVector: "hour, 0 to 23 UTC, of a Unix time; of now without argument";
    Idelta "idelta" (RangeVector) -> InstantVector: "difference of the last two samples of a gauge";
    Increase "increase" (RangeVector) -> InstantVector: "increase of a counter over the range, resets handled, extrapolated to its ends";
    IncreasePure "increase_pure" (RangeVector) -> InstantVector: "increase of a counter between the samples at the ends of the range, exact: windows side by side add up";
    Info "info" (InstantVector, InstantVector) optional 1 -> InstantVector: "adds labels of matching info series such as target_info; the second argument, in braces, picks them";
    Irate "irate" (RangeVector) -> InstantVector: "per-second increase of a counter between its last two samples";
    LabelJoin "label_join" (InstantVector, String, String, String) optional 1 any number -> InstantVector: "sets a label to the values of others joined by a separator: v, target, separator, sources";
    LabelReplace "label_replace" (InstantVector, String, String, String, String) -> InstantVector: "sets a label where a regex matches another: v, target, replacement, source, regex";
    LastOverTime "last_over_time" (RangeVector) -> InstantVector: "newest sample in the range; keeps the metric name";
    Ln "ln" (InstantVector) -> InstantVector: "natural logarithm";
    Log10 "log10" (InstantVector) -> InstantVector: "logarithm to base 10";
    Log2 "log2" (InstantVector) -> InstantVector: "logarithm to base 2";
    MadOverTime "mad_over_time" (RangeVector) -> InstantVector: "median absolute deviation of the samples in the range";
    MaxOf "max_of" (Scalar, Scalar) -> Scalar: "the larger of two numbers";
    MaxOverTime "max_over_time" (RangeVector) -> InstantVector: "largest value in the range";
    MinOf "min_of" (Scalar, Scalar) -> Scalar: "the smaller of two numbers";
    MinOverTime "min_over_time" (RangeVector) -> InstantVector: "smallest value in the range";
    Minute "minute" (InstantVector) optional 1 -> InstantVector: "minute, 0 to 59, of a Unix time; of now without argument";
    Month "month" (InstantVector) optional 1 -> InstantVector: "month, 1 to 12, of a Unix time; of now without argument";
    Pi "pi" () -> Scalar: "the circle constant, 3.14159…";
    PredictLinear "predict_linear" (RangeVector, Scalar) -> InstantVector: "value of a gauge that many seconds ahead, by least squares";
    PresentOverTime "present_over_time" (RangeVector) -> InstantVector: "1 for every series with a sample in the range";
    QuantileOverTime "quantile_over_time" (Scalar, RangeVector) -> InstantVector: "quantile (0 to 1) of the samples in the range";
    Rad "rad" (InstantVector) -> InstantVector: "degrees to radians";
    Range "range" () -> Scalar: "length of the query's time range in seconds, 0 in an instant query";
    Rate "rate" (RangeVector) -> InstantVector: "per-second increase of a counter over the range, resets handled, extrapolated to its ends";
    RatePure "rate_pure" (RangeVector) -> InstantVector: "increase_pure per second of the range";
    Resets "resets" (RangeVector) -> InstantVector: "how often a counter restarted within the range";
    Round "round" (InstantVector, Scalar) optional 1 -> InstantVector: "rounded to the nearest multiple of the second argument, 1 by default; ties go up";
    Scalar "scalar" (InstantVector) -> Scalar: "the value of the only element, NaN if there is not exactly one";
    Sgn "sgn" (InstantVector) -> InstantVector: "sign: 1, 0 or -1";
    Sin "sin" (InstantVector) -> InstantVector: "sine of an angle in radians";
    Sinh "sinh" (InstantVector) -> InstantVector: "hyperbolic sine";
    Sort "sort" (InstantVector) -> InstantVector: "ordered by value, smallest first; instant queries only";
    SortByLabel "sort_by_label" (InstantVector, String) optional 1 any number -> InstantVector: "ordered by the named labels, numbers within them as numbers; instant queries only";
    SortByLabelDesc "sort_by_label_desc" (InstantVector, String) optional 1 any number -> InstantVector: "ordered by the named labels, reversed; instant queries only";
    SortDesc "sort_desc" (InstantVector) -> InstantVector: "ordered by value, largest first; instant queries only";
    Sqrt "sqrt" (InstantVector) -> InstantVector: "square root";
    Start "start" () -> Scalar: "start of the query's time range, Unix seconds";
    StartTimestamp "start_timestamp" (InstantVector) -> InstantVector: "when the counting of the selected samples began, Unix seconds, 0 if unknown";
    StddevOverTime "stddev_over_time" (RangeVector) -> InstantVector: "population standard deviation of the samples in the range";
    StdvarOverTime "stdvar_over_time" (RangeVector) -> InstantVector: "population variance of the samples in the range";
    Step "step" () -> Scalar: "step of the query in seconds, 0 in an instant query";
    SumOverTime "sum_over_time" (RangeVector) -> InstantVector: "sum of the samples in the range";
    Tan "tan" (InstantVector) -> InstantVector: "tangent of an angle in radians";
    Tanh "tanh" (InstantVector) -> InstantVector: "hyperbolic tangent";
    Time "time" () -> Scalar: "evaluation time, Unix seconds";
    Timestamp "timestamp" (InstantVector) -> InstantVector: "when the selected samples were taken, Unix seconds";
    TsOfFirstOverTime "ts_of_first_over_time" (RangeVector) -> InstantVector: "when the oldest sample in the range was taken, Unix seconds";
    TsOfLastOverTime "ts_of_last_over_time" (RangeVector) -> InstantVector: "when the newest sample in the range was taken, Unix seconds";
    TsOfMaxOverTime "ts_of_max_over_time" (RangeVector) -> InstantVector: "when the largest value in the range last occurred, Unix seconds";
    TsOfMinOverTime "ts_of_min_over_time" (RangeVector) -> InstantVector: "when the smallest value in the range last occurred, Unix seconds";
    Vector "vector" (Scalar) -> InstantVector: "a vector of one element without labels";
    Year "year" (InstantVector) optional 1 -> InstantVector: "year of a Unix time; of now without argument";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_name_is_found() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        for function in FUNCTIONS {
            assert_eq!(find(function.name), Some(function));
            assert!(function.optional <= function.args.len(), "{}", function.name);
            let id = format!("{:?}", function.id).to_lowercase();
            assert_eq!(id, function.name.replace('_', ""), "row {} holds the wrong id", function.name);
            assert!(!function.help.is_empty() && !function.help.ends_with('.'), "{}", function.name);
        }
        assert_eq!(find("Rate"), None);
    }

    #[track_caller]
    fn check(name: &str, min: usize, max: usize) {
        let function = find(name).expect("known function");
        assert_eq!((function.args_min(), function.args_max()), (min, max), "{name}");
        assert_eq!(function.arg_type(max.saturating_sub(1)), function.args.last().copied(), "{name}");
        assert_eq!(function.arg_type(max), None, "{name}");
    }

    #[test]
    fn argument_counts() {
        check("time", 0, 0);
        check("rate", 1, 1);
        check("round", 1, 2);
        check("hour", 0, 1);
        check("clamp", 3, 3);
        check("label_replace", 5, 5);
        check("label_join", 3, usize::MAX);
        check("sort_by_label", 1, usize::MAX);
        check("histogram_quantiles", 3, 12);
        check("info", 1, 2);
    }
}
