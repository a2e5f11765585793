//! The page of an order, which is what notifications link to: whether the capture is there, and what to do with it.

use std::fmt::Write as _;

use axum::response::Response;
use serde_json::Value;

use crate::html::{self, escaped};

/// The page that says that there is none, and why.
pub(super) fn no_order(message: &str) -> Response {
    html::missing("Capture", message, "../../../../runbooks")
}

/// The page of the order that `record` tells of; it lies in `/api/v1/captures/orders/`.
pub(super) fn order(record: &Value) -> Response {
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let title = format!("Capture: {} of {} on {}", text("what"), text("job"), text("instance"));
    let mut body = format!("<h1>{}</h1>\n<p>Why it was taken: {}.</p>\n", escaped(&title), escaped(text("reason")));
    let done = match record["capture"].as_str() {
        Some(id) => {
            let id = escaped(id);
            format!(
                "<p><a href=\"../{id}\">Download it</a> (<code>go tool pprof</code> opens profiles), or in a terminal: \
                 <code>metrickit captures get {id}</code></p>\n"
            )
        }
        None => match record["error"].as_str() {
            Some(error) => format!("<p><b>There is none:</b> {}.</p>\n", escaped(error)),
            None => {
                format!("<p>It is not there yet ({}). Load this page again in a moment.</p>\n", escaped(text("state")))
            }
        },
    };
    let _ = write!(body, "{done}<p><a href=\"../../../../runbooks\">Runbooks</a></p>");
    html::varies(html::page(&title, &body))
}
