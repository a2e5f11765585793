//! Finds the pages of Go processes: each listening port of each process is tried once, `/metrics` first and
//! `/debug/vars` where no port has that, and the answer is remembered for as long as the process listens there. A port that
//! offered nothing is tried again after a long pause only, since every try shows in somebody's log. `/debug/pprof/` is
//! looked for in the same way by those who read profiles.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::target::{OwnProcess, Target};
use crate::config::GoConfig;
use crate::go::GoProcess;
use crate::go::identity::Life;
use crate::go::ways::{ProcessKey, Taken};

/// Longest time between two looks at the ports of a process without a page.
const LOOK_AGAIN_MS: u64 = 60_000;
/// The part of a process's age that passes between two looks: a young one may still open its ports.
const LOOK_AGE_PART: u64 = 4;
/// Longest time between two looks at the ports of a process that closed the one of its page.
const CLOSED_AGAIN_MS: u64 = 15_000;

/// Which page is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// Text at `/metrics`.
    Metrics,
    /// JSON at `/debug/vars`.
    Expvar,
    /// The list of profiles at `/debug/pprof/`.
    Profiles,
}

impl PageKind {
    /// The page's path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/metrics",
            Self::Expvar => "/debug/vars",
            Self::Profiles => "/debug/pprof/",
        }
    }
}

/// What a try tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// The page is there.
    Offered,
    /// It is not.
    Nothing,
    /// No try was made: this round's time is used up.
    Later,
}

/// How ports are listed and tried; tests put a table here.
pub trait Ports {
    /// Addresses of the listeners of process `pid`.
    fn addresses(&mut self, pid: i32) -> Vec<SocketAddr>;
    /// Tries the page `kind` at `address`.
    fn probe(&mut self, address: SocketAddr, kind: PageKind) -> Probed;
}

/// When something is looked for at a process that does not have it yet: often while it is young, then more seldom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    first_seen_ms: i64,
    looked_ms: i64,
}

impl Looks {
    /// The first one is due at once.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self { first_seen_ms: now_ms, looked_ms: i64::MIN }
    }

    /// Whether one is due at `now_ms`, of which `again_ms` at most pass between two.
    pub(crate) fn is_due(&self, now_ms: i64, again_ms: u64) -> bool {
        // Differences, so that a clock set back delays nothing.
        let age_ms = now_ms.abs_diff(self.first_seen_ms);
        now_ms.abs_diff(self.looked_ms) >= (age_ms / LOOK_AGE_PART).min(again_ms)
    }

    /// One was made.
    pub(crate) fn looked(&mut self, now_ms: i64) {
        self.looked_ms = now_ms;
    }
}

/// What is known of the pages of processes.
#[derive(Debug)]
pub struct Prober {
    kinds: Vec<PageKind>,
    ignore_names: Vec<String>,
    runtime_only_names: Vec<String>,
    ignore_ports: HashSet<u16>,
    probe_again_ms: i64,
    known: HashMap<Life, Known>,
}

/// A page that was found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Whose it is.
    pub process: &'a GoProcess,
    /// The address it is served at.
    pub address: SocketAddr,
    /// Which it is.
    pub kind: PageKind,
    /// Whether the process no longer listens there. Whoever answers now is another.
    pub is_closed: bool,
}

impl Found<'_> {
    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.kind.path())
    }
}

#[derive(Debug)]
struct Known {
    looks: Looks,
    page: Option<(SocketAddr, PageKind)>,
    /// Whether the page could not be read: the program may have closed the port.
    in_doubt: bool,
    /// Whether it did: the page is known still, and comes back or is found elsewhere.
    is_closed: bool,
    tried: HashMap<(u16, PageKind), i64>,
}

impl Prober {
    /// Looks for the pages to scrape that `config` allows, never at one of `ports_taken`, which are read or written to
    /// otherwise.
    pub fn new(config: &GoConfig, ports_taken: impl IntoIterator<Item = u16>) -> Self {
        let kinds = [(PageKind::Metrics, config.metrics), (PageKind::Expvar, config.expvar)];
        Self::looking_for(&kinds, config, ports_taken)
    }

    /// Looks for profiles where `config` allows it, as [`new`](Self::new) otherwise.
    pub fn of_profiles(config: &GoConfig, ports_taken: impl IntoIterator<Item = u16>) -> Self {
        Self::looking_for(&[(PageKind::Profiles, config.pprof)], config, ports_taken)
    }

    fn looking_for(kinds: &[(PageKind, bool)], config: &GoConfig, ports_taken: impl IntoIterator<Item = u16>) -> Self {
        Self {
            kinds: kinds.iter().filter(|(_, on)| *on).map(|(kind, _)| *kind).collect(),
            ignore_names: config.scrape_ignore.clone(),
            runtime_only_names: config.scrape_runtime_only.clone(),
            ignore_ports: config.scrape_ignore_ports.iter().copied().chain(ports_taken).collect(),
            probe_again_ms: config.probe_again_ms,
            known: HashMap::new(),
        }
    }

    /// Takes note that the page of `process` could not be read. If the process no longer listens there, it is closed, and looked for elsewhere.
    pub fn doubt(&mut self, process: ProcessKey) {
        let known = self.known.iter_mut().filter(|(life, _)| ProcessKey::from(*life) == process);
        known.for_each(|(_, known)| known.in_doubt = true);
    }

    /// The pages of `processes` as targets, after trying what is due.
    pub fn targets(&mut self, processes: &[GoProcess], now_ms: i64, ports: &mut dyn Ports) -> Vec<Target> {
        let found = self.found(processes, now_ms, ports);
        let runtime_only = |process: &GoProcess| self.runtime_only_names.contains(&process.life.name);
        found.iter().map(|found| target(found, runtime_only(found.process))).collect()
    }

    /// Whether a look at one of the processes of the last round is due.
    pub fn is_due(&self, now_ms: i64) -> bool {
        self.known.values().any(|known| known.look_is_due(now_ms))
    }

    /// The pages of `processes`, at most one of each, after trying what is due.
    pub fn found<'a>(&mut self, processes: &'a [GoProcess], now_ms: i64, ports: &mut dyn Ports) -> Vec<Found<'a>> {
        let alive: HashSet<&Life> = processes.iter().map(|process| &process.life).collect();
        self.known.retain(|life, _| alive.contains(life));
        if self.kinds.is_empty() {
            return Vec::new();
        }
        let mut all = Vec::new();
        for process in processes {
            if !process.same_network || self.ignore_names.contains(&process.life.name) {
                continue;
            }
            let known = self.known.entry(process.life.clone()).or_insert_with(|| Known {
                looks: Looks::new(now_ms),
                page: None,
                in_doubt: false,
                is_closed: false,
                tried: HashMap::new(),
            });
            if known.look_is_due(now_ms) {
                known.looks.looked(now_ms);
                let mut addresses = ports.addresses(process.life.pid);
                addresses.retain(|address| !self.ignore_ports.contains(&address.port()));
                known.check_page(&addresses);
                known.look(&addresses, &self.kinds, now_ms, self.probe_again_ms, ports);
            }
            if let Some((address, kind)) = known.page {
                all.push(Found { process, address, kind, is_closed: known.is_closed });
            }
        }
        all
    }
}

impl Known {
    fn look_is_due(&self, now_ms: i64) -> bool {
        let again_ms = if self.is_closed { CLOSED_AGAIN_MS } else { LOOK_AGAIN_MS };
        (self.page.is_none() || self.in_doubt || self.is_closed) && self.looks.is_due(now_ms, again_ms)
    }

    /// Finds out whether the process, which listens at `addresses`, has closed the port of its page.
    fn check_page(&mut self, addresses: &[SocketAddr]) {
        self.is_closed = self.page.is_some_and(|(address, _)| !addresses.contains(&address));
        self.in_doubt = false;
    }

    fn look(
        &mut self,
        addresses: &[SocketAddr],
        kinds: &[PageKind],
        now_ms: i64,
        again_ms: i64,
        ports: &mut dyn Ports,
    ) {
        let before = self.page.filter(|_| self.is_closed);
        if self.page.is_some() && before.is_none() {
            return;
        }
        // Nothing of a lesser kind takes the place of a page that was closed.
        let is_last = |kind: &PageKind| before.is_some_and(|(_, own)| own == *kind);
        for &kind in kinds.split_inclusive(is_last).next().unwrap_or_default() {
            for &address in addresses {
                let tried = self.tried.get(&(address.port(), kind));
                if tried.is_some_and(|&tried_ms| now_ms.abs_diff(tried_ms) < again_ms.unsigned_abs()) {
                    continue;
                }
                match ports.probe(address, kind) {
                    Probed::Offered => {
                        (self.page, self.is_closed) = (Some((address, kind)), false);
                        return;
                    }
                    Probed::Nothing => {
                        self.tried.insert((address.port(), kind), now_ms);
                    }
                    Probed::Later => {
                        self.looks.looked(i64::MIN);
                        return;
                    }
                }
            }
        }
    }
}

fn target(found: &Found<'_>, runtime_only: bool) -> Target {
    let process = found.process;
    Target {
        url: found.url(),
        labels: vec![("job".to_owned(), process.job.clone()), ("instance".to_owned(), process.instance.clone())],
        process: Some(OwnProcess {
            go_version: process.build.go_version.clone(),
            runtime_only,
            is_closed: found.is_closed,
            key: (&process.life).into(),
            taken: Taken::default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;

    /// Listening ports with what each offers, and a record of the tries.
    #[derive(Default)]
    struct Table {
        ports: Vec<(u16, Option<PageKind>)>,
        tries: Vec<String>,
        busy: bool,
    }

    impl Ports for Table {
        fn addresses(&mut self, _: i32) -> Vec<SocketAddr> {
            self.ports.iter().map(|(port, _)| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
        }

        fn probe(&mut self, address: SocketAddr, kind: PageKind) -> Probed {
            if self.busy {
                return Probed::Later;
            }
            self.tries.push(format!("{}{}", address.port(), kind.path()));
            let offered = self.ports.contains(&(address.port(), Some(kind)));
            if offered { Probed::Offered } else { Probed::Nothing }
        }
    }

    fn process(pid: i32, name: &str) -> GoProcess {
        GoProcess {
            life: Life { start_ticks: 1, pid, name: name.into() },
            job: name.into(),
            instance: "h/0".into(),
            build: Arc::default(),
            same_network: true,
        }
    }

    /// Runs one round; returns the URLs of targets and the tries.
    fn round(
        prober: &mut Prober,
        processes: &[GoProcess],
        now_ms: i64,
        table: &mut Table,
    ) -> (Vec<String>, Vec<String>) {
        let targets = prober.targets(processes, now_ms, table);
        (targets.into_iter().map(|target| target.url).collect(), std::mem::take(&mut table.tries))
    }

    fn prober() -> Prober {
        let mut config = Config::default().go;
        config.scrape_ignore_ports = vec![13];
        config.scrape_ignore = vec!["quiet".to_owned()];
        Prober::new(&config, [14])
    }

    #[test]
    fn metrics_first_then_expvar_and_each_port_once() {
        let (mut prober, api) = (prober(), [process(1, "api")]);
        let mut table =
            Table { ports: vec![(13, None), (14, None), (80, None), (81, Some(PageKind::Expvar))], ..Table::default() };
        let (targets, tries) = round(&mut prober, &api, 0, &mut table);
        assert_eq!(targets, ["http://127.0.0.1:81/debug/vars"]);
        assert_eq!(tries, ["80/metrics", "81/metrics", "80/debug/vars", "81/debug/vars"]);
        let (targets, tries) = round(&mut prober, &api, 10, &mut table);
        assert_eq!((targets.len(), tries.len()), (1, 0), "what was found is kept");
        assert!(!prober.is_due(1_000_000), "and nothing more looked for");
    }

    #[test]
    fn a_page_is_followed_to_another_port_when_its_own_is_closed() {
        let (mut prober, api) = (prober(), [process(1, "api")]);
        let key = ProcessKey::from(&api[0].life);
        let (old, new) = ((80, Some(PageKind::Metrics)), (81, Some(PageKind::Metrics)));
        let mut table = Table { ports: vec![old], ..Table::default() };
        assert_eq!(round(&mut prober, &api, 0, &mut table).0, ["http://127.0.0.1:80/metrics"]);
        // It fails, but the process listens there still.
        prober.doubt(key);
        let (targets, tries) = round(&mut prober, &api, 100_000, &mut table);
        assert_eq!((targets.as_slice(), tries.len()), (&["http://127.0.0.1:80/metrics".to_owned()][..], 0));
        table.ports = vec![new];
        assert_eq!(round(&mut prober, &api, 200_000, &mut table).0, ["http://127.0.0.1:80/metrics"], "nobody said so");
        prober.doubt(ProcessKey { start_ticks: 9, ..key });
        assert!(!prober.is_due(300_000), "another process");
        prober.doubt(key);
        assert!(prober.is_due(300_000));
        let (targets, tries) = round(&mut prober, &api, 300_000, &mut table);
        assert_eq!((targets, tries), (vec!["http://127.0.0.1:81/metrics".to_owned()], vec!["81/metrics".to_owned()]));
        assert!(!prober.is_due(400_000), "and kept");
    }

    #[test]
    fn a_page_whose_port_is_closed_stays_a_target_that_is_down() {
        let (mut prober, api) = (prober(), [process(1, "api")]);
        let key = ProcessKey::from(&api[0].life);
        let (page, other) = ((80, Some(PageKind::Metrics)), (81, Some(PageKind::Expvar)));
        let mut table = Table { ports: vec![page, other], ..Table::default() };
        let mut shown = |now_ms: i64, doubted: bool, ports: Vec<(u16, Option<PageKind>)>, busy: bool| {
            (table.ports, table.busy) = (ports, busy);
            if doubted {
                prober.doubt(key);
            }
            let due = prober.is_due(now_ms);
            let targets = prober.targets(&api, now_ms, &mut table).into_iter();
            let shown = targets.filter_map(|target| Some((target.url, target.process?.is_closed)));
            (due, shown.collect::<Vec<_>>(), std::mem::take(&mut table.tries).len())
        };
        let at = |port: u16, is_closed: bool| vec![(format!("http://127.0.0.1:{port}/metrics"), is_closed)];
        assert_eq!(shown(0, false, vec![page, other], false), (false, at(80, false), 1));
        assert_eq!(
            shown(100_000, true, vec![], false),
            (true, at(80, true), 0),
            "no port is open, or none could be listed"
        );
        assert_eq!(shown(114_000, true, vec![other], false), (false, at(80, true), 0), "looked at just now");
        assert_eq!(shown(115_000, false, vec![other], false), (true, at(80, true), 1), "a lesser page is none for it");
        assert_eq!(shown(130_000, false, vec![page, other], false), (true, at(80, false), 0), "it is back");
        assert_eq!(shown(900_000, false, vec![other], false), (false, at(80, false), 0), "and looked at when it fails");
        let next = (82, Some(PageKind::Metrics));
        assert_eq!(shown(1_000_000, true, vec![next], true), (true, at(80, true), 0), "no time is left for a try");
        assert_eq!(shown(1_000_001, false, vec![next], false), (true, at(82, false), 1), "the next round has it");
    }

    #[test]
    fn profiles_are_looked_for_apart_and_where_they_may() {
        let mut config = Config::default().go;
        let (api, mut table) = (
            [process(1, "api")],
            Table { ports: vec![(80, None), (81, Some(PageKind::Profiles))], ..Table::default() },
        );
        let mut prober = Prober::of_profiles(&config, []);
        let found: Vec<String> = prober.found(&api, 0, &mut table).iter().map(Found::url).collect();
        assert_eq!(found, ["http://127.0.0.1:81/debug/pprof/"]);
        assert_eq!(std::mem::take(&mut table.tries), ["80/debug/pprof/", "81/debug/pprof/"]);
        config.pprof = false;
        assert!(Prober::of_profiles(&config, []).found(&api, 0, &mut table).is_empty() && table.tries.is_empty());
    }

    #[test]
    fn failures_are_tried_again_after_an_hour_and_new_ports_at_once() {
        let (mut prober, api) = (prober(), [process(1, "api")]);
        let mut table = Table { ports: vec![(80, None)], ..Table::default() };
        assert_eq!(round(&mut prober, &api, 0, &mut table).1.len(), 2);
        assert_eq!(round(&mut prober, &api, 1_000, &mut table).1.len(), 0);
        table.ports.push((90, None));
        assert_eq!(round(&mut prober, &api, 2_000, &mut table).1, ["90/metrics", "90/debug/vars"]);
        assert_eq!(round(&mut prober, &api, 3_599_000, &mut table).1.len(), 0);
        assert_eq!(round(&mut prober, &api, 3_700_000, &mut table).1.len(), 4);
    }

    #[test]
    fn a_new_life_with_the_same_id_is_tried_anew() {
        let mut prober = prober();
        let mut table = Table { ports: vec![(80, Some(PageKind::Metrics))], ..Table::default() };
        assert_eq!(round(&mut prober, &[process(1, "api")], 0, &mut table).1.len(), 1);
        let mut successor = process(1, "api");
        successor.life.start_ticks = 2;
        assert_eq!(round(&mut prober, &[successor], 1, &mut table).1.len(), 1);
    }

    #[test]
    fn what_is_never_tried() {
        let mut prober = prober();
        let mut table = Table { ports: vec![(80, Some(PageKind::Metrics))], ..Table::default() };
        let mut elsewhere = process(2, "api");
        elsewhere.same_network = false;
        let (targets, tries) = round(&mut prober, &[process(1, "quiet"), elsewhere], 0, &mut table);
        assert!(targets.is_empty() && tries.is_empty());
    }

    #[test]
    fn other_agents_are_read_for_their_runtime_alone() {
        let mut prober = prober();
        let mut table = Table { ports: vec![(80, Some(PageKind::Metrics))], ..Table::default() };
        let targets = prober.targets(&[process(1, "node_exporter"), process(2, "api")], 0, &mut table);
        let told: Vec<_> = targets.into_iter().filter_map(|target| Some(target.process?.runtime_only)).collect();
        assert_eq!(told, [true, false]);
    }

    #[test]
    fn a_process_that_listens_late_is_soon_found_and_an_old_one_looked_at_seldom() {
        let (mut prober, api) = (prober(), [process(1, "api")]);
        let mut looks = Vec::new();
        for second in 0..=600 {
            // A port that opens at this look, if there is one.
            let mut table = Table { ports: vec![(1000 + second, None)], ..Table::default() };
            let now_ms = i64::from(second) * 1000;
            let due = second == 0 || prober.is_due(now_ms);
            let looked = !round(&mut prober, &api, now_ms, &mut table).1.is_empty();
            assert_eq!(looked, due, "second {second}");
            if looked {
                looks.push(second);
            }
        }
        assert_eq!(looks[..5], [0, 1, 2, 3, 4], "at every chance");
        assert!(looks.len() < 40, "{looks:?}");
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] <= 60), "{looks:?}");
        let mut table = Table { ports: vec![(80, None)], ..Table::default() };
        assert_eq!(round(&mut prober, &api, -1_000_000, &mut table).1.len(), 2, "a clock set back delays nothing");
    }

    #[test]
    fn a_busy_round_leaves_the_rest_for_the_next() {
        let (mut prober, api) = (prober(), [process(1, "api")]);
        let mut table = Table { ports: vec![(80, Some(PageKind::Metrics))], busy: true, ..Table::default() };
        assert!(round(&mut prober, &api, 0, &mut table).0.is_empty());
        table.busy = false;
        assert_eq!(round(&mut prober, &api, 70_000, &mut table).0.len(), 1);
    }
}
