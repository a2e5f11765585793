//! Sites that are never judged by their numbers: loops that live as long as a connection or the program.

use super::ladder::ANY_WAIT;
use crate::go::census::Site;

/// What a goroutine waits for that reads or writes a connection.
pub const IO_WAIT: &str = "IO wait";

/// What reads a connection of an HTTP client. It waits for the network while the connection is idle, too.
pub const IDLE_CLIENT: &str = "net/http.(*persistConn).readLoop";

/// Sites left out unless told otherwise, as [`Pattern`]s. Connections that clients keep to this program are their affair; those that it
/// keeps itself are judged, and so is what handles a request, whatever the protocol.
const ALWAYS: [&str; 13] = [
    "runtime.*",
    "os/signal.loop",
    "os/signal.signal_recv",
    "testing.*",
    "internal/synctest.*",
    "net/http.(*conn).serve@IO wait",
    "net/http.(*connReader).backgroundRead",
    "net/http.(*http2serverConn)*@IO wait",
    "net/http/internal/http2.(*serverConn)*@IO wait",
    "golang.org/x/net/http2.(*serverConn)*@IO wait",
    "google.golang.org/grpc/internal/transport.*@IO wait",
    "google.golang.org/grpc.(*Server).*@IO wait",
    "net.(*Resolver).*@IO wait",
];

/// Sites by the function that their goroutines run, and perhaps what they wait for: `main.poll`, `main.(*hub).*`,
/// `main.read@IO wait`. A star at the end stands for any rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    function: String,
    any_rest: bool,
    wait: Option<String>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When there is no function in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (function, wait) = match text.rsplit_once('@') {
            Some((function, wait)) => (function, Some(wait.trim().to_owned())),
            None => (text, None),
        };
        let function = function.trim();
        let (function, any_rest) = function.strip_suffix('*').map_or((function, false), |rest| (rest, true));
        if function.is_empty() {
            return Err(format!(
                "{text:?} names no function; write `main.poll`, `main.(*hub).*` or `main.read@IO wait`"
            ));
        }
        Ok(Self { function: function.to_owned(), any_rest, wait })
    }

    /// Whether it means `site`. What they wait for does not count where goroutines are counted whatever they wait for.
    pub fn matches(&self, site: &Site) -> bool {
        let named =
            if self.any_rest { site.function.starts_with(&self.function) } else { site.function == self.function };
        named && self.wait.as_ref().is_none_or(|wait| *wait == site.wait || site.wait == ANY_WAIT)
    }
}

/// The sites that are not judged.
#[derive(Debug, Clone)]
pub struct AllowList(Vec<Pattern>);

impl AllowList {
    /// The sites of Go's own library that are known to live long, and those that `more` names.
    pub fn new(more: impl IntoIterator<Item = Pattern>) -> Self {
        let known = ALWAYS.iter().filter_map(|text| Pattern::parse(text).ok());
        Self(known.chain(more).collect())
    }

    /// Whether `site` is one of them.
    pub fn contains(&self, site: &Site) -> bool {
        self.0.iter().any(|pattern| pattern.matches(site))
    }
}

impl Default for AllowList {
    fn default() -> Self {
        Self::new([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(function: &str, wait: &str) -> Site {
        Site { function: function.to_owned(), created_by: String::new(), wait: wait.to_owned() }
    }

    #[test]
    fn patterns_mean_what_they_say() {
        for (text, function, wait, want) in [
            ("main.poll", "main.poll", "select", true),
            ("main.poll", "main.poller", "select", false),
            ("main.(*hub).*", "main.(*hub).run.func1", "select", true),
            ("main.read@IO wait", "main.read", "IO wait", true),
            ("main.read@IO wait", "main.read", "chan send", false),
            ("main.*@sleep", "main.tick", "sleep", true),
        ] {
            let pattern = Pattern::parse(text).expect("a pattern");
            assert_eq!(pattern.matches(&site(function, wait)), want, "{text} and {function}@{wait}");
        }
        assert!(Pattern::parse("*").is_err() && Pattern::parse(" @select").is_err());
    }

    #[test]
    fn connections_are_left_out_while_they_wait_for_the_network_only() {
        let list = AllowList::new([Pattern::parse("main.daemon").expect("a pattern")]);
        assert!(ALWAYS.iter().all(|text| Pattern::parse(text).is_ok()));
        assert!(list.contains(&site("net/http.(*conn).serve", "IO wait")));
        assert!(!list.contains(&site("net/http.(*conn).serve", "sync.Mutex.Lock")), "a handler that hangs is judged");
        assert!(list.contains(&site("net/http.(*http2serverConn).readFrames", "IO wait")));
        for (function, wait) in [
            ("net/http.(*http2serverConn).runHandler", "sync.Mutex.Lock"),
            ("net/http.(*persistConn).readLoop", "select"),
            (IDLE_CLIENT, IO_WAIT),
        ] {
            assert!(!list.contains(&site(function, wait)), "{function} that waits for {wait} is judged");
        }
        assert!(list.contains(&site("main.daemon", "select")) && !list.contains(&site("main.work", "select")));
    }
}
