//! Connections of a client: addresses that are written out are not looked up, names are for a while, and a connection
//! that was kept is told from a new one.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};

/// How long the addresses of a name are used, unless a request fails meanwhile.
const NAME_VALID: Duration = Duration::from_mins(1);
/// Most names whose addresses are kept.
const NAMES_MAX: usize = 64;

thread_local! {
    static OPENED: Cell<u64> = const { Cell::new(0) };
}

/// How many connections this thread has opened: a request that does not add to it went over one that was kept.
pub(super) fn opened() -> u64 {
    OPENED.get()
}

/// Whether `error` is what a request over a kept connection meets when the other side closed it at that moment.
pub(super) fn is_closed(error: &Error) -> bool {
    let kinds = [
        ErrorKind::UnexpectedEof,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::BrokenPipe,
        ErrorKind::NotConnected,
    ];
    matches!(error, Error::Io(error) if kinds.contains(&error.kind()))
}

/// Opens connections as usual, and counts them.
#[derive(Debug, Default)]
pub(super) struct Opener(DefaultConnector);

impl Connector for Opener {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        OPENED.set(OPENED.get() + 1);
        self.0.connect(details, chained)
    }
}

/// Looks names up. That takes a thread, since nothing else ends a look-up in time, so it is done for names alone and
/// not at each request. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    lookup: Arc<DefaultResolver>,
    known: Arc<Mutex<HashMap<String, Found>>>,
    /// Whether what is looked up is not the host of a request but that of the proxy.
    is_proxied: bool,
}

/// The addresses of a name, and when they were looked up.
type Found = (Instant, ResolvedSocketAddrs);

impl Names {
    /// No names yet, of requests that go to a proxy, or to their hosts themselves.
    pub(super) fn new(is_proxied: bool) -> Self {
        Self { is_proxied, ..Self::default() }
    }

    /// Looks the host of `url` up anew: a request to it failed, and its address may be why. So may be that of the proxy.
    pub(super) fn forget(&self, url: &str) {
        let mut known = self.known.lock();
        if self.is_proxied {
            known.clear();
        } else if let Some(name) = url.parse().ok().as_ref().and_then(name_of) {
            known.remove(&name);
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        if let Some(address) = written_out(uri) {
            let mut found = self.empty();
            found.push(address);
            return Ok(found);
        }
        let Some(name) = name_of(uri) else { return self.lookup.resolve(uri, config, timeout) };
        if let Some((since, found)) = self.known.lock().get(&name)
            && since.elapsed() < NAME_VALID
        {
            return Ok(found.clone());
        }
        let found = self.lookup.resolve(uri, config, timeout)?;
        let mut known = self.known.lock();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(name, (Instant::now(), found.clone()));
        Ok(found)
    }
}

/// What is looked up for `uri`: its host, with the port.
fn name_of(uri: &Uri) -> Option<String> {
    let (scheme, authority) = uri.scheme().zip(uri.authority())?;
    DefaultResolver::host_and_port(scheme, authority)
}

/// Where `uri` leads, when its host is an address.
fn written_out(uri: &Uri) -> Option<SocketAddr> {
    let authority = uri.authority()?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let usual = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, authority.port_u16().unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, want: Option<&str>) {
        let found = written_out(&url.parse().expect("a URL"));
        assert_eq!(found, want.map(|address| address.parse().expect("an address")), "{url}");
    }

    #[test]
    fn addresses_that_are_written_out() {
        check("http://127.0.0.1:90/metrics", Some("127.0.0.1:90"));
        check("http://u:p@10.0.0.1/", Some("10.0.0.1:80"));
        check("https://[::1]/x", Some("[::1]:443"));
        check("http://[2001:db8::1]:91", Some("[2001:db8::1]:91"));
        check("http://localhost:90/", None);
        check("http://127.0.0.1.example/", None);
        check("ftp://127.0.0.1/", None);
    }

    fn resolve(names: &Names, url: &str, after: Duration) -> Result<ResolvedSocketAddrs, Error> {
        let timeout = NextTimeout { after: after.into(), ..NextTimeout::default() };
        names.resolve(&url.parse().expect("a URL"), &Config::default(), timeout)
    }

    #[test]
    fn a_name_is_looked_up_once_until_something_fails() {
        let names = Names::default();
        let found = resolve(&names, "http://localhost:90/", Duration::from_mins(1)).expect("every host knows it");
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 90));
        assert_eq!(names.known.lock().len(), 1);
        // There is no time for another look-up.
        let again = resolve(&names, "http://localhost:90/other", Duration::ZERO).expect("known");
        assert_eq!(again[..], found[..]);
        names.forget("http://localhost:90/more");
        assert!(names.known.lock().is_empty());
        let address = resolve(&names, "http://127.0.0.1:90/", Duration::ZERO).expect("no look-up");
        assert_eq!((address[..].len(), names.known.lock().len()), (1, 0));
    }

    #[test]
    fn what_fails_is_looked_up_anew_and_others_are_not() {
        for (is_proxied, left) in [(false, 1), (true, 0)] {
            let names = Names::new(is_proxied);
            for url in ["http://localhost:90/", "http://localhost:91/"] {
                resolve(&names, url, Duration::from_mins(1)).expect("every host knows it");
            }
            names.clone().forget("http://localhost:91/metrics");
            assert_eq!(names.known.lock().len(), left, "proxied: {is_proxied}");
        }
        let names = Names::default();
        resolve(&names, "http://localhost:90/", Duration::from_mins(1)).expect("every host knows it");
        for other in ["http://elsewhere:90/", "http://127.0.0.1:90/", "no URL"] {
            names.forget(other);
        }
        resolve(&names, "http://localhost:90/", Duration::ZERO).expect("still known");
    }

    #[test]
    fn names_are_bounded() {
        let names = Names::default();
        for port in 1..=NAMES_MAX + 1 {
            resolve(&names, &format!("http://localhost:{port}/"), Duration::from_mins(1)).expect("found");
        }
        assert!(names.known.lock().len() <= NAMES_MAX);
    }
}
