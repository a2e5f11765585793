//! What the agent and a MetricKit server say to each other beside samples: the agent checks in and tells how it is, the server
//! answers what to do.
//!
//! `thread` checks in, `teller` puts together what is said, `errands` has tasks carried out, `burst` is one of them. `reload` takes up changes of the
//! configuration, those of the server's profile among them, which `kept` keeps; `live` tells the threads. All of it goes to the server that samples
//! are pushed to; a receiver of another kind does not know what a check-in is, and is left in peace.

pub mod burst;
pub mod errands;
pub mod kept;
pub mod live;
pub mod reload;
mod teller;
mod thread;

pub use errands::{Errands, Lanes, Orderly};
pub use live::{Follower, Live};
pub use reload::{Loaded, Reloader, Source};
pub use teller::Teller;
pub use thread::{Control, start};

/// What follows the server's address where remote writes go.
const WRITE_PATH: &str = "/api/v1/write";

/// Address of the server to check in at: `said`, or what `push_url` begins with where it is that of a server like ours.
pub(crate) fn server_of(said: &str, push_url: &str) -> Option<String> {
    if !said.is_empty() {
        return Some(said.trim_end_matches('/').to_owned());
    }
    let path = push_url.split(['?', '#']).next().unwrap_or_default();
    path.strip_suffix(WRITE_PATH).filter(|server| !server.ends_with('/')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_receivers() {
        for (said, push_url, want) in [
            ("", "http://h:9595/api/v1/write", Some("http://h:9595")),
            ("", "https://u:p@h/metrics/api/v1/write?x=1", Some("https://u:p@h/metrics")),
            ("", "http://h:8428/api/v1/push", None),
            ("", "http:///api/v1/write", None),
            ("http://m:1/", "http://h:8428/api/v1/push", Some("http://m:1")),
        ] {
            assert_eq!(server_of(said, push_url).as_deref(), want, "{said} {push_url}");
        }
    }
}
