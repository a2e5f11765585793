//! What to do when a shipped rule fires: the pages that its alerts link to, without the network.
//!
//! They are Markdown in the program. Browsers get pages of it, everybody else and who asks for `….md` the text.

use std::fmt::Write as _;

use axum::extract::Path;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd};

use crate::html;
use crate::reply::{ApiError, ErrorKind};

/// As text, which every browser shows.
const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) async fn all(headers: HeaderMap) -> Response {
    let book = rules::shipped::runbooks();
    if !html::wanted(&headers) {
        return text(book.to_owned());
    }
    let body = rendered(book, &|alert| format!("#{alert}"));
    // The list of what is there stands between the page's own words and the first chapter.
    let at = body.match_indices("<h1").nth(1).map_or(body.len(), |(at, _)| at);
    let (words, chapters) = body.split_at(at);
    page("Runbooks", &format!("{words}{}{chapters}", contents(book)))
}

pub(crate) async fn all_as_text() -> Response {
    text(rules::shipped::runbooks().to_owned())
}

pub(crate) async fn one(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let alert = name.strip_suffix(".md").unwrap_or(&name);
    let Some(book) = rules::shipped::runbook(alert) else {
        let why = format!("no shipped rule is called {alert:?}; /runbooks lists them");
        if html::wanted(&headers) {
            return Ok(html::missing("Runbooks", &why, "../runbooks"));
        }
        return Err(ApiError::new(ErrorKind::NotFound, why));
    };
    if alert != name || !html::wanted(&headers) {
        return Ok(text(format!("{book}\n")));
    }
    let body = format!(
        "<nav><a href=\"../runbooks#{alert}\">All runbooks</a></nav>\n{}\n<p>Why it fires, its value now and what comes \
         next: <code>metrickit rules explain {alert} job=JOB instance=INSTANCE</code>, with the alert's labels in the \
         place of <code>JOB</code> and <code>INSTANCE</code>.</p>\n",
        rendered(book, &str::to_owned),
    );
    Ok(page(alert, &body))
}

fn text(text: String) -> Response {
    html::varies(([(CONTENT_TYPE, TEXT)], text).into_response())
}

fn page(title: &str, body: &str) -> Response {
    html::varies(html::page(&format!("{title} – MetricKit"), body))
}

/// The alerts of `book` by chapter, as links into its page.
fn contents(book: &str) -> String {
    let mut out = String::from("<nav>\n");
    let mut sep = "";
    for line in book.lines() {
        if let Some(alert) = line.strip_prefix("## ") {
            let _ = write!(out, "{sep}<a href=\"#{alert}\">{alert}</a>");
            sep = " · ";
        } else if let Some(chapter) = line.strip_prefix("# ")
            && chapter != "Runbooks"
        {
            let _ = writeln!(out, "<p><b>{}</b><br>", html::escaped(chapter));
            sep = "";
        }
    }
    out.push_str("</nav>\n");
    out
}

/// `markdown` as HTML: sections have the ids of their alerts, links between them lead to what `link` says, HTML in it stays
/// text, and a link to a page that the server does not have becomes that page's name.
fn rendered(markdown: &str, link: &dyn Fn(&str) -> String) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::empty()).collect();
    let names: Vec<CowStr<'_>> = events.windows(2).filter_map(section_name).collect();
    let mut names = names.into_iter();
    // Links do not lie within links.
    let mut left_out: Option<String> = None;
    for event in &mut events {
        match event {
            Event::Html(html) | Event::InlineHtml(html) => *event = Event::Text(html.clone()),
            Event::Start(Tag::Heading { level: HeadingLevel::H2, id, .. }) => *id = names.next(),
            Event::Start(Tag::Link { link_type: LinkType::Inline, dest_url, .. }) => match alert_of(dest_url) {
                Some(alert) => *dest_url = link(alert).into(),
                None if dest_url.starts_with("https://") => {}
                None => {
                    left_out = Some(format!(" (docs/{dest_url})"));
                    *event = Event::Text("".into());
                }
            },
            Event::End(TagEnd::Link) => {
                if let Some(page) = left_out.take() {
                    *event = Event::Text(page.into());
                }
            }
            _ => {}
        }
    }
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut out, events.into_iter());
    out
}

/// The text of a heading of the second level, which is an alert's name.
fn section_name<'a>(pair: &[Event<'a>]) -> Option<CowStr<'a>> {
    match pair {
        [Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }), Event::Text(name)] => Some(name.clone()),
        _ => None,
    }
}

/// The alert that a link `#name-in-small-letters` means.
fn alert_of(link: &str) -> Option<&'static str> {
    let anchor = link.strip_prefix('#')?;
    let mut names = rules::shipped::runbooks().lines().filter_map(|line| line.strip_prefix("## "));
    names.find(|name| name.eq_ignore_ascii_case(anchor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(markdown: &str, want: &str) {
        assert_eq!(rendered(markdown, &str::to_owned).trim_end(), want, "for {markdown:?}");
    }

    #[test]
    fn markdown_as_a_page() {
        check("## GoGcSevere\n", "<h2 id=\"GoGcSevere\">GoGcSevere</h2>");
        check("as [it](#gogcsevere)", "<p>as <a href=\"GoGcSevere\">it</a></p>");
        check("([table](agent.md#budget)).", "<p>(table (docs/agent.md#budget)).</p>");
        check("[x](javascript:alert)", "<p>x (docs/javascript:alert)</p>");
        check("a `<b>` <i>c</i>", "<p>a <code>&lt;b&gt;</code> &lt;i&gt;c&lt;/i&gt;</p>");
    }

    #[test]
    fn every_alert_has_its_place_and_every_link_leads_to_one() {
        let page = rendered(rules::shipped::runbooks(), &|alert| format!("#{alert}"));
        let list = contents(rules::shipped::runbooks());
        for rule in rules::shipped::files().iter().flat_map(|file| &file.groups).flat_map(|group| &group.rules) {
            let name = &rule.name;
            assert_eq!(page.matches(&format!("<h2 id=\"{name}\">")).count(), 1, "{name}");
            assert_eq!(list.matches(&format!("<a href=\"#{name}\">{name}</a>")).count(), 1, "{name}");
        }
        for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(page.contains(&format!("id=\"{target}\"")), "{target} leads nowhere");
        }
        assert!(!page.contains(".md\"") && !page.contains("](#"), "{page}");
    }
}
