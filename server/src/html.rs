//! The frame of pages for people: one style, no scripts, nothing from elsewhere.

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
pub(crate) use rules::template::escape_html as escaped;

/// What a page may load: its own style. No script runs and no other page shows it, whatever a text in it says.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FRAME: &str = include_str!("frame.html");

/// The page `title` with `body`, which is HTML.
pub(crate) fn page(title: &str, body: &str) -> Response {
    // Cut before anything is put in: what a title or a body says of `{body}` stays as it is.
    let (head, rest) = FRAME.split_once("{title}").unwrap_or_default();
    let (middle, tail) = rest.split_once("{body}").unwrap_or_default();
    let text = [head, &escaped(title), middle, body, tail].concat();
    ([(CONTENT_SECURITY_POLICY, POLICY), (X_CONTENT_TYPE_OPTIONS, "nosniff")], Html(text)).into_response()
}

/// The page that says that there is no such thing and why, with a link to the runbooks at `runbooks`.
pub(crate) fn missing(title: &str, message: &str, runbooks: &str) -> Response {
    let message = escaped(message);
    let body = format!(
        "<h1>{title}</h1>\n<p>{message}.</p>\n<p><a href=\"{runbooks}\">Runbooks</a></p>",
        title = escaped(title)
    );
    varies((StatusCode::NOT_FOUND, page(title, &body)).into_response())
}

/// A moment for people, to the second; empty where it is none that a calendar has.
pub(crate) fn moment(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map(|at| at.strftime("%F %T UTC").to_string()).unwrap_or_default()
}

/// `response`, which is another one for browsers: caches have to know.
pub(crate) fn varies(mut response: Response) -> Response {
    response.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    response
}

/// Whether a client names HTML among what it takes, as browsers do; programs such as curl do not.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    kinds
        .map(|kind| kind.split(';').map(str::trim))
        .any(|mut kind| kind.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html")) && !kind.any(is_refusal))
}

/// Whether a parameter of a kind says that it is not taken: a weight of 0.
fn is_refusal(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, weight)| weight.trim().parse() == Ok(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_for_those_who_name_it() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            wanted(&headers)
        };
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8") && wants("TEXT/HTML;q=0.5"));
        assert!(!wants("text/html;q=0") && !wants("text/html; level=1; Q=0.000, */*") && wants("text/html;q=0.001"));
        assert!(!wants("*/*") && !wants("text/plain") && !wants("text/html5") && !wanted(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn what_a_title_or_a_body_says_stays_as_it_is() {
        let response = page("up{body}", "<p>{title} {body}</p>");
        let page = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a page");
        let page = String::from_utf8_lossy(&page);
        assert!(page.contains("<title>up{body}</title>\n<style>"), "{page}");
        assert!(page.ends_with("<body>\n<p>{title} {body}</p>\n</body>\n</html>\n"), "{page}");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a<b>&\"c\"'"), "a&lt;b&gt;&amp;&#34;c&#34;&#39;");
    }
}
