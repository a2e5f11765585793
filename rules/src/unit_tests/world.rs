//! Series in memory as the world of rules.

use model::{FullSample, Labels, MemorySeries, SampleValue};
use query::ast::Expr;
use query::{CancelToken, QueryOptions, QueryTime, Request, Value, VectorElement};

use crate::evaluate::{RuleSample, World};

/// Series in memory, which rules look at and write to.
#[derive(Debug, Default)]
pub struct SeriesWorld {
    /// The series.
    pub series: MemorySeries,
    /// How queries are answered.
    pub options: QueryOptions,
}

impl World for SeriesWorld {
    fn vector(&self, text: &str, expr: &Expr, at_ms: i64) -> Result<Vec<VectorElement>, String> {
        let request = Request {
            query: text,
            time: QueryTime::Instant { time_ms: at_ms },
            options: &self.options,
            lookback_ms: None,
            timeout_ms: None,
            cancel: &CancelToken::new(),
            explain: false,
        };
        let answer = query::evaluate_expr(&self.series, expr, &request).map_err(|error| error.to_string())?;
        match answer.value {
            Value::Vector(elements) => Ok(elements),
            Value::Scalar { timestamp_ms, value } => {
                Ok(vec![VectorElement { labels: Labels::empty(), timestamp_ms, value: SampleValue::Float(value) }])
            }
            Value::String { .. } | Value::Matrix(_) => Err("the result is neither a vector nor a scalar".to_owned()),
        }
    }

    fn write(&self, samples: Vec<RuleSample>) -> Result<(), String> {
        for RuleSample { labels, timestamp_ms, value } in samples {
            self.series.put(&labels, [FullSample { timestamp_ms, start_ms: 0, value }]);
        }
        Ok(())
    }
}
