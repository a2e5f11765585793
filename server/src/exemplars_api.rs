//! `/api/v1/query_exemplars`: the exemplars of every series that a query selects.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use model::matcher::is_selective;
use model::{Exemplar, Labels, Matcher};
use query::ast::{Expr, ExprKind};

use crate::app::App;
use crate::json::{write_labels, write_timestamp, write_value};
use crate::params::Params;
use crate::reply::ApiError;
use crate::series_api::{list, listed, reading};

/// A series and its exemplars in order of time.
type SeriesExemplars = (Labels, Vec<Exemplar>);

pub(crate) async fn exemplars(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    let expr = query::parse(params.required("query")?).map_err(|error| ApiError::parameter("query", error))?;
    let (range, limit) = (params.open_range()?, listed(&app, &params)?);
    let mut selectors = Vec::new();
    gather(&expr, &mut selectors);
    reading(app, move |app, notes| {
        // What several selectors find is told once.
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for matchers in selectors {
            found.extend(app.source.exemplars(&matchers, range)?);
        }
        Ok(list(found.into_iter().collect(), limit, notes, write_series))
    })
    .await
}

/// The conditions of every selector in `expr`. Recurses as deep as the tree, which the parser bounds.
fn gather(expr: &Expr, into: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Selector(selector) => add(&selector.matchers, into),
        ExprKind::Range(range) => add(&range.selector.matchers, into),
        ExprKind::Subquery(subquery) => gather(&subquery.expr, into),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => gather(inner, into),
        ExprKind::Binary(binary) => {
            gather(&binary.left, into);
            gather(&binary.right, into);
        }
        ExprKind::Call(call) => call.args.iter().for_each(|arg| gather(arg, into)),
        ExprKind::Aggregate(aggregate) => {
            if let Some(param) = &aggregate.param {
                gather(param, into);
            }
            gather(&aggregate.expr, into);
        }
    }
}

fn add(matchers: &[Matcher], into: &mut Vec<Vec<Matcher>>) {
    // The conditions that `info` takes may be empty, and select nothing by themselves.
    if is_selective(matchers) && !into.iter().any(|known| known == matchers) {
        into.push(matchers.to_vec());
    }
}

fn write_series(out: &mut Vec<u8>, (labels, exemplars): &SeriesExemplars) {
    out.extend_from_slice(br#"{"seriesLabels":"#);
    write_labels(out, labels.as_ref());
    out.extend_from_slice(br#","exemplars":["#);
    for (at, exemplar) in exemplars.iter().enumerate() {
        out.extend_from_slice(if at > 0 { br#",{"labels":"# } else { br#"{"labels":"# });
        write_labels(out, exemplar.labels.as_ref());
        out.extend_from_slice(br#","value":"#);
        write_value(out, exemplar.value);
        out.extend_from_slice(br#","timestamp":"#);
        write_timestamp(out, exemplar.timestamp_ms);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}
