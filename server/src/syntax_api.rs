//! What the language says about a query without running it: `/api/v1/parse_query` and `/api/v1/format_query`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use query::ast::Expr;

use crate::app::App;
use crate::params::Params;
use crate::reply::{ApiError, success_json};
use crate::syntax_tree::syntax_tree;

/// The query's syntax tree.
pub(crate) async fn parse(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    Ok(success_json(&syntax_tree(&parsed(&app, request).await?)))
}

/// The query in its canonical spelling.
pub(crate) async fn format(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    Ok(success_json(&parsed(&app, request).await?.to_string()))
}

async fn parsed(app: &App, request: Request) -> Result<Expr, ApiError> {
    let params = Params::read(request, app.options.form_body_bytes_max).await?;
    query::parse(params.required("query")?).map_err(|error| ApiError::parameter("query", error))
}
