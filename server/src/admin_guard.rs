//! Who may use the routes under `/api/v1/admin`: they write, merge and delete, and there is no login.
//!
//! Three answers to "may this client": never, anybody who reaches the port, or (the default) programs on this machine.
//! The last is decided by the connection's address, so that two things must not look local: a proxy on this machine,
//! which says for whom it asks, and a web page that a browser on this machine was lured to, which says where it is from.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{FORWARDED, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::reply::{ApiError, ErrorKind};
use crate::running::Client;

/// Headers by which proxies tell for whom they ask.
const PROXY_HEADERS: [HeaderName; 3] =
    [FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Who may use the admin routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdminAccess {
    /// Nobody.
    Off,
    /// Programs on the same machine: connections from a loopback address that no proxy stands behind.
    #[default]
    Local,
    /// Everybody who reaches the port.
    On,
}

/// Lets a request to an admin route pass, or answers 403 and how to change that.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let client = Client::of(request.extensions()).map(|Client(address)| address.ip());
    match refusal(app.options.admin, client, request.headers()) {
        None => next.run(request).await,
        Some(reason) => ApiError::new(ErrorKind::Forbidden, reason).into_response(),
    }
}

/// Whether a request comes from a program on this machine, whoever else may ask too.
pub(crate) fn is_from_here(request: &Request) -> bool {
    let client = Client::of(request.extensions()).map(|Client(address)| address.ip());
    refusal(AdminAccess::Local, client, request.headers()).is_none()
}

/// Why a request is refused, if it is.
fn refusal(access: AdminAccess, client: Option<IpAddr>, headers: &HeaderMap) -> Option<String> {
    let open = "start the server with --admin-api on to let everybody who reaches the port";
    match access {
        AdminAccess::Off => {
            return Some(
                "the admin API is off; start the server with --admin-api local for programs on its machine, \
                 or with --admin-api on for everybody who reaches its port"
                    .to_owned(),
            );
        }
        AdminAccess::Local => {
            let local = |ip: IpAddr| ip.to_canonical().is_loopback();
            if !client.is_some_and(local) {
                let from = client.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string());
                return Some(format!(
                    "the admin API takes requests from the server's own machine only, and this one is from {from}; \
                     ask there, by 127.0.0.1, or {open}"
                ));
            }
            if let Some(header) = PROXY_HEADERS.iter().find(|header| headers.contains_key(*header)) {
                return Some(format!(
                    "the admin API takes requests from the server's own machine only, and header {header} says that \
                     this one came through a proxy; ask without it, or {open}"
                ));
            }
        }
        AdminAccess::On => {}
    }
    page_of_elsewhere(access, headers)
}

/// Why a request that a browser sends for a web page is refused, if it is: pages of this server alone may send.
pub(crate) fn page_of_elsewhere(access: AdminAccess, headers: &HeaderMap) -> Option<String> {
    let origin = headers.get(ORIGIN)?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let authority = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    // A name that an attacker owns can be pointed at this machine; an address cannot.
    let own = authority == Some(host) && (access == AdminAccess::On || names_this_machine(host));
    (!own).then(|| {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        format!("this takes no requests from web pages of elsewhere, and this one is from {origin:?}")
    })
}

/// Whether the host of a URL, perhaps with a port, is a loopback address or `localhost`.
fn names_this_machine(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = without_port.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(access: AdminAccess, client: Option<&str>, headers: &[(&'static str, &str)], want: Option<&str>) {
        let client = client.map(|ip| ip.parse().unwrap());
        let named = |&(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let got = refusal(access, client, &headers.iter().map(named).collect());
        match (&got, want) {
            (Some(got), Some(want)) => assert!(got.contains(want), "{want:?} in {got:?}"),
            _ => assert_eq!(got.as_deref(), want, "{access:?} {client:?} {headers:?}"),
        }
    }

    #[test]
    fn who_may_pass() {
        use AdminAccess::{Local, Off, On};
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            check(Local, Some(local), &[], None);
            check(Off, Some(local), &[], Some("--admin-api local"));
        }
        for remote in [Some("10.0.0.7"), Some("fe80::1"), Some("::ffff:10.0.0.7")] {
            check(Local, remote, &[], Some("--admin-api on"));
            check(On, remote, &[], None);
        }
        check(Local, None, &[], Some("an unknown address"));
        check(Local, Some("::1"), &[("x-forwarded-for", "10.0.0.7")], Some("header x-forwarded-for"));
        check(On, Some("::1"), &[("x-forwarded-for", "10.0.0.7")], None);
    }

    #[test]
    fn pages_of_elsewhere_are_refused() {
        use AdminAccess::{Local, On};
        let page = |access, origin: &str, host: &str, want| {
            check(access, Some("127.0.0.1"), &[("origin", origin), ("host", host)], want);
        };
        for own in ["127.0.0.1:9595", "localhost:9595", "[::1]:9595", "localhost"] {
            page(Local, &format!("http://{own}"), own, None);
            page(On, "http://evil.example", own, Some("http://evil.example"));
            page(Local, "null", own, Some("\"null\""));
        }
        // A name pointed at this machine.
        page(Local, "http://evil.example:9595", "evil.example:9595", Some("evil.example"));
        page(On, "http://metrics.example:9595", "metrics.example:9595", None);
        check(Local, Some("127.0.0.1"), &[("origin", "http://")], Some("pages"));
    }
}
