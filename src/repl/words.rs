//! The words of the language with a sentence each: functions from `query`'s table, aggregations, keywords.

use query::ast::{AggregateOp, ValueType};
use query::functions::{FUNCTIONS, Function, find};

/// A word that is no function: how it is written, and what it does.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) help: &'static str,
}

const fn word(name: &'static str, usage: &'static str, help: &'static str) -> Word {
    Word { name, usage, help }
}

/// The aggregations. Each takes `by (LABEL, …)` or `without (LABEL, …)` before or after its parentheses.
pub(crate) const AGGREGATIONS: [Word; 14] = [
    word("sum", "sum by (LABEL, …) (instant-vector)", "sum of each group, histograms too"),
    word("avg", "avg by (LABEL, …) (instant-vector)", "mean of each group, histograms too"),
    word("min", "min by (LABEL, …) (instant-vector)", "lowest value of each group"),
    word("max", "max by (LABEL, …) (instant-vector)", "highest value of each group"),
    word("count", "count by (LABEL, …) (instant-vector)", "number of series in each group"),
    word("group", "group by (LABEL, …) (instant-vector)", "1 for each group; shows which labels there are"),
    word("stddev", "stddev by (LABEL, …) (instant-vector)", "standard deviation of each group"),
    word("stdvar", "stdvar by (LABEL, …) (instant-vector)", "variance of each group"),
    word("topk", "topk by (LABEL, …) (scalar, instant-vector)", "the k highest series of each group"),
    word("bottomk", "bottomk by (LABEL, …) (scalar, instant-vector)", "the k lowest series of each group"),
    word(
        "quantile",
        "quantile by (LABEL, …) (scalar, instant-vector)",
        "quantile (0 to 1) over the series of each group",
    ),
    word("count_values", "count_values by (LABEL, …) (string, instant-vector)", "number of series with each value"),
    word("limitk", "limitk by (LABEL, …) (scalar, instant-vector)", "any k series of each group"),
    word("limit_ratio", "limit_ratio by (LABEL, …) (scalar, instant-vector)", "the same share of the series each time"),
];

/// Words between expressions.
pub(crate) const KEYWORDS: [Word; 19] = [
    word("by", "sum by (LABEL, …) (vector)", "groups keep these labels"),
    word("without", "sum without (LABEL, …) (vector)", "groups keep all labels but these"),
    word("on", "a / on (LABEL, …) b", "pairs agree on these labels"),
    word("ignoring", "a / ignoring (LABEL, …) b", "pairs agree on all labels but these"),
    word(
        "group_left",
        "a * on (LABEL) group_left (LABEL, …) b",
        "many on the left for one on the right; copies labels",
    ),
    word(
        "group_right",
        "a * on (LABEL) group_right (LABEL, …) b",
        "many on the right for one on the left; copies labels",
    ),
    word("and", "a and b", "series of the left that have a partner on the right"),
    word("or", "a or b", "series of the left, and those of the right without partner"),
    word("unless", "a unless b", "series of the left without partner on the right"),
    word("bool", "a > bool b", "a comparison gives 0 or 1 instead of filtering"),
    word("atan2", "a atan2 b", "angle of the point (b, a), in radians"),
    word("offset", "x offset 1h", "looks that far back"),
    word("anchored", "rate(x[5m] anchored)", "the sample before the range is its start"),
    word("smoothed", "rate(x[5m] smoothed)", "both ends of the range are interpolated"),
    word("fill", "a + fill (0) b", "a value for what has no partner"),
    word("fill_left", "a + fill_left (0) b", "a value for what is missing on the left"),
    word("fill_right", "a + fill_right (0) b", "a value for what is missing on the right"),
    word("inf", "x < inf", "infinity"),
    word("nan", "nan", "no number"),
];

/// How a function is called: `rate(range-vector) → instant-vector`, optional arguments in brackets.
pub(crate) fn signature(function: &Function) -> String {
    format!("{}({}) → {}", function.name, arguments(function), kind(function.returns))
}

fn arguments(function: &Function) -> String {
    let needed = function.args_min();
    let arg = |(at, &arg): (usize, &ValueType)| {
        if at < needed { kind(arg).to_owned() } else { format!("[{}]", kind(arg)) }
    };
    let mut args: Vec<String> = function.args.iter().enumerate().map(arg).collect();
    if function.variadic > 0 {
        args.push("…".to_owned());
    }
    args.join(", ")
}

fn kind(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Scalar => "scalar",
        ValueType::InstantVector => "instant-vector",
        ValueType::RangeVector => "range-vector",
        ValueType::String => "string",
    }
}

/// Every word to offer where an expression may stand, with its sentence.
pub(crate) fn offered() -> impl Iterator<Item = (String, Option<String>)> {
    let functions = FUNCTIONS
        .iter()
        .map(|function| (format!("{}(", function.name), Some(format!("({}): {}", arguments(function), function.help))));
    let aggregations = AGGREGATIONS.iter().map(|word| (format!("{}(", word.name), Some(word.help.to_owned())));
    let keywords = KEYWORDS.iter().map(|word| (word.name.to_owned(), Some(word.help.to_owned())));
    functions.chain(aggregations).chain(keywords)
}

/// The usage and the sentence of a function, an aggregation or a keyword.
pub(crate) fn explained(name: &str) -> Option<(String, &'static str)> {
    let bare = name.trim_end_matches(['(', ')']);
    if let Some(function) = find(bare) {
        return Some((signature(function), function.help));
    }
    let lower = bare.to_ascii_lowercase();
    let word = AGGREGATIONS.iter().chain(&KEYWORDS).find(|word| word.name == lower)?;
    Some((word.usage.to_owned(), word.help))
}

/// The word that `name` may have been meant to be.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    const DISTANCE_MAX: usize = 3;
    let names = FUNCTIONS.iter().map(|function| function.name);
    let words = AGGREGATIONS.iter().chain(&KEYWORDS).map(|word| word.name);
    let scored = names.chain(words).map(|known| (strsim::damerau_levenshtein(name, known), known));
    scored.filter(|(distance, _)| *distance <= DISTANCE_MAX).min().map(|(_, known)| known)
}

/// Whether `word` is an aggregation.
pub(crate) fn is_aggregation(word: &str) -> bool {
    AggregateOp::NAMES.iter().any(|(name, _)| *name == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_aggregation_has_its_sentence() {
        for (name, op) in AggregateOp::NAMES {
            let word = AGGREGATIONS.iter().find(|word| word.name == name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(
                word.usage.matches("scalar").count() + word.usage.matches("string").count() > 0,
                op.takes_parameter()
            );
        }
    }

    #[test]
    fn usages_are_in_the_language() {
        for word in KEYWORDS {
            let query = word.usage.replace("LABEL, …", "c").replace("LABEL", "d").replace("(vector)", "(x)");
            assert!(query::parse(&query).is_ok(), "{query}: {:?}", query::parse(&query).err());
        }
    }

    #[test]
    fn words_are_explained() {
        let usage = |name| explained(name).map(|(usage, _)| usage);
        assert_eq!(usage("rate").as_deref(), Some("rate(range-vector) → instant-vector"));
        assert_eq!(usage("rate(").as_deref(), Some("rate(range-vector) → instant-vector"));
        assert_eq!(usage("hour").as_deref(), Some("hour([instant-vector]) → instant-vector"));
        assert!(usage("label_join").is_some_and(|usage| usage.contains(", …)")));
        assert!(usage("SUM").is_some_and(|usage| usage.starts_with("sum by")));
        assert!(usage("unless").is_some());
        assert_eq!(usage("rte"), None);
        assert_eq!(nearest("rte"), Some("rate"));
        assert_eq!(nearest("something_else"), None);
    }
}
