//! What people see in a browser: runbooks and the answers that links in alerts lead to.

use crate::support::{Answer, Server};

#[track_caller]
fn check_page(page: &Answer) {
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{:?}", page.headers);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(page.headers.get_all("vary").iter().any(|value| value == "accept"), "{:?}", page.headers);
}

#[tokio::test]
async fn runbooks_are_pages_for_browsers_and_text_for_others() {
    let server = Server::new();
    let all = server.browse("/runbooks").await;
    check_page(&all);
    for piece in [
        "<title>Runbooks – MetricKit</title>",
        "<a href=\"#GoLeakRunaway\">GoLeakRunaway</a>",
        "<h2 id=\"GoLeakRunaway\">",
    ] {
        assert_eq!(all.body.matches(piece).count(), 1, "{piece}: {}", all.body);
    }
    let one = server.browse("/runbooks/GoLeakStrong").await;
    check_page(&one);
    assert!(one.body.contains("<a href=\"GoLeakProved\">GoLeakProved</a>"), "{}", one.body);
    assert!(one.body.contains("<a href=\"../runbooks#GoLeakStrong\">"), "{}", one.body);
    // Every link of a page leads to one.
    for link in one.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let path = match link.strip_prefix("../") {
            Some(above) => format!("/{}", above.split('#').next().unwrap_or_default()),
            None => format!("/runbooks/{link}"),
        };
        assert_eq!(server.browse(&path).await.status, 200, "{link}");
    }
    for path in ["/runbooks.md", "/runbooks/GoLeakStrong.md"] {
        let text = server.browse(path).await;
        assert!(text.headers["content-type"].to_str().unwrap().starts_with("text/plain"), "{:?}", text.headers);
        assert!(text.body.starts_with('#'), "{}", text.body);
    }
    assert_eq!(server.get("/runbooks").await.body, server.browse("/runbooks.md").await.body);
    let unknown = server.browse("/runbooks/%3Cb%3E").await;
    check_page(&unknown);
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("<p>no shipped rule is called &#34;&lt;b&gt;&#34;"), "{}", unknown.body);
    assert!(unknown.body.contains("<a href=\"../runbooks\">"), "{}", unknown.body);
    let unknown = server.get("/runbooks/%3Cb%3E").await;
    assert_eq!((unknown.status, unknown.json()["errorType"].as_str()), (404, Some("not_found")));
}

/// A table counts among the memory of queries while its answer is read.
#[tokio::test]
async fn tables_are_bounded() {
    let resources = std::sync::Arc::new(query::Resources::new(1 << 20, 0));
    let mut options = server::ServerOptions::default();
    options.query.resources = std::sync::Arc::clone(&resources);
    let server = Server::with(options, None);
    let long = "x".repeat(2000);
    for number in 0..50 {
        server.write(
            &[("__name__", "load"), ("number", &number.to_string()), ("long", &long)],
            &[(1_435_781_430_781, 7.5)],
        );
    }
    let refused = server.browse("/graph?g0.expr=load").await;
    assert!(
        refused.status == 503 && refused.body.contains("(query_all_bytes_max)"),
        "{} {}",
        refused.status,
        refused.body
    );
    let some = server.browse("/graph?g0.expr=load{number%3D%277%27}").await;
    assert!(some.status == 200 && some.body.contains("<td>7.5</td>"), "{}", some.body);
    assert_eq!(resources.all_bytes(), 0);
}

#[tokio::test]
async fn links_in_alerts_lead_to_a_table() {
    let server = Server::new();
    server.write(&[("__name__", "load"), ("host", "<b>&\"a\"")], &[(1_435_781_430_781, 7.5)]);
    let graph = |expr: &str| format!("/graph?g0.expr={}&g0.tab=1", crate::support::escape(expr));
    let page = server.browse(&graph("load > 5")).await;
    check_page(&page);
    assert_eq!(page.status, 200);
    let row = "<tr><td>7.5</td><td><code>load{host=&#34;&lt;b&gt;&amp;\\&#34;a\\&#34;&#34;}</code></td></tr>";
    assert!(page.body.contains(row), "{}", page.body);
    assert!(page.body.contains("<code>load &gt; 5</code>"), "{}", page.body);
    let nothing = server.browse(&graph("load > 1e9")).await;
    assert!(nothing.body.contains("Nothing: no series"), "{}", nothing.body);
    let scalar = server.browse(&graph("1 + 1")).await;
    assert!(scalar.body.contains("<td>2</td>"), "{}", scalar.body);
    let wrong = server.browse(&graph("<script>")).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("It cannot be answered:") && !wrong.body.contains("<script>"), "{}", wrong.body);
    // Programs are sent on, browsers without a query to the start page.
    let sent_on = server.get(&graph("load > 5")).await;
    assert_eq!((sent_on.status, sent_on.headers["location"].to_str().unwrap()), (307, "api/v1/query?query=load+%3E+5"));
    assert_eq!(server.browse("/graph").await.headers["location"], "./");
}
