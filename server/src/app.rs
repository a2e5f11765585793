//! The application: what every handler shares, and the table of routes.
//!
//! Owns options and wiring. Handlers live beside what they answer; the write routes are `ingest`'s.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use model::control::{CHECK_IN_PATH, PROFILE_PATH};
use model::{Budget, Clock, SeriesSource, TimestampMs};
use query::QueryOptions;
use tokio::sync::Semaphore;

use crate::admin_guard::{self, AdminAccess};
use crate::agents::{self, AgentBook, ProfileOptions};
use crate::alerting::deliver::Deliveries;
use crate::alerting::notifier::Notifier;
use crate::alerting::{self, Alerting, AlertingOptions, Means, NotifyOptions};
use crate::captures::{self, CaptureOptions, Captures, Pace};
use crate::counters::Counters;
use crate::gate::Gate;
use crate::memory::{self, MemoryWatch};
use crate::reply::Annotations;
use crate::running::Running;
use crate::self_metrics::{SelfMetrics, SelfMetricsOptions};
use crate::slow::SlowLog;
use crate::{
    admin_api, alertmanager_api, backup_api, cardinality_api, compress, deletes_api, exemplars_api, export, federate,
    go_api, graph, metrics_page, pages, query_api, remote_read, retention_api, runbooks, series_api, status_api,
    syntax_api,
};

/// How long the last notifications may take when the server stops.
pub const DELIVERED_WITHIN: Duration = Duration::from_secs(5);
/// Most requests that wait for the notifier at a time.
const NOTIFIER_PLACES: usize = 8;

/// Bounds on the HTTP surface's reading side, and the language's options.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Limits and defaults of every query; a request may ask for less, never for more.
    pub query: QueryOptions,
    /// Most queries that run at once; each keeps a processor busy.
    pub queries_running_max: usize,
    /// Most queries that wait for one of those places.
    pub queries_waiting_max: usize,
    /// Longest form body of a POST query, in bytes.
    pub form_body_bytes_max: usize,
    /// Most series, names or values one listing tells.
    pub listed_max: usize,
    /// Queries that take this long or longer, waiting included, are logged and listed as slow; 0 for none.
    pub slow_log_ms: u64,
    /// Who may use the admin routes.
    pub admin: AdminAccess,
    /// The folder below which backups are taken. Without one they are taken anywhere, but only for programs on this machine.
    pub backup_dir: Option<PathBuf>,
    /// What memory the process may take, and how its parts share it: what is refused beyond it and told of it. The parts
    /// keep to their shares by limits of their own.
    pub memory: Budget,
    /// Most agents whose check-ins wait for news at once; each holds a connection. Others ask again after a while.
    pub agents_waiting_max: usize,
    /// Bounds on captured profiles and stacks, and where they are kept.
    pub captures: CaptureOptions,
    /// What agents are to collect.
    pub profiles: ProfileOptions,
    /// Which rules are evaluated, and how.
    pub alerting: AlertingOptions,
    /// How people are told of alerts.
    pub notify: NotifyOptions,
    /// How the server keeps its own metrics.
    pub self_metrics: SelfMetricsOptions,
    /// Further settings the program runs with, told as they are by `/api/v1/status/flags`. The retention belongs
    /// under `storage.tsdb.retention.time`, where clients look for it.
    pub settings: Vec<(String, String)>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            query: QueryOptions::default(),
            queries_running_max: (2 * processors).max(4),
            queries_waiting_max: 256,
            form_body_bytes_max: 4 << 20,
            listed_max: 1_000_000,
            slow_log_ms: 10_000,
            admin: AdminAccess::default(),
            backup_dir: None,
            memory: Budget::default(),
            agents_waiting_max: 512,
            captures: CaptureOptions::default(),
            profiles: ProfileOptions::default(),
            alerting: AlertingOptions::default(),
            notify: NotifyOptions::default(),
            self_metrics: SelfMetricsOptions::default(),
            settings: Vec::new(),
        }
    }
}

/// What every handler shares.
#[derive(Debug)]
pub struct App {
    pub(crate) source: Arc<dyn SeriesSource>,
    pub(crate) engine: Arc<storage::Engine>,
    pub(crate) ingest: ingest::IngestState,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: ServerOptions,
    pub(crate) started: TimestampMs,
    pub(crate) gate: Gate,
    pub(crate) memory: Arc<MemoryWatch>,
    pub(crate) agents: Arc<AgentBook>,
    pub(crate) captures: Arc<Captures>,
    pub(crate) alerting: Arc<Alerting>,
    /// Held by whoever reads the rule files and the routing file anew.
    reloading: Mutex<()>,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) deliveries: Arc<Deliveries>,
    /// Whoever holds one waits for the notifier or its disk.
    pub(crate) notifier_places: Arc<Semaphore>,
    /// Room for alerts that are sent.
    pub(crate) posted_alerts: alertmanager_api::alerts::PostedAlerts,
    pub(crate) running: Arc<Running>,
    pub(crate) counters: Counters,
    pub(crate) self_metrics: SelfMetrics,
    pub(crate) slow_log: SlowLog,
    /// Whoever holds it works for an admin request.
    pub(crate) admin_place: Arc<Semaphore>,
    /// Whoever holds it takes a backup, which may take long; other admin requests need not wait for it.
    pub(crate) backup_place: Arc<Semaphore>,
    /// Whoever holds one writes an export.
    pub(crate) export_places: Arc<Semaphore>,
}

impl App {
    /// An application that reads from `engine` and writes through `ingest`.
    pub fn new(
        engine: Arc<storage::Engine>,
        ingest: ingest::IngestState,
        clock: Arc<dyn Clock>,
        options: ServerOptions,
    ) -> Arc<Self> {
        let source = Arc::clone(&engine) as Arc<dyn SeriesSource>;
        Self::over(source, engine, ingest, clock, options)
    }

    /// An application whose queries read from `source`, while status and metrics tell of `engine`.
    pub fn over(
        source: Arc<dyn SeriesSource>,
        engine: Arc<storage::Engine>,
        ingest: ingest::IngestState,
        clock: Arc<dyn Clock>,
        options: ServerOptions,
    ) -> Arc<Self> {
        let memory = Arc::new(MemoryWatch::new(options.memory));
        let agents = AgentBook::new(Arc::clone(&clock), options.agents_waiting_max, options.profiles.clone());
        let agents = Arc::new(agents);
        let (book, time) = (Arc::clone(&agents), Arc::clone(&clock));
        let captures = Captures::open(options.captures.clone(), book, time, Arc::clone(&memory));
        let captures = Arc::new(captures);
        let means = Means {
            engine: Arc::clone(&engine),
            source: Arc::clone(&source),
            clock: Arc::clone(&clock),
            captures: Arc::clone(&captures),
            agents: Arc::clone(&agents),
            bursts: Pace::new(alerting::BURSTS_PER_HOUR_MAX),
            query: options.query.clone(),
        };
        let alerting = Arc::new(Alerting::new(options.alerting.clone(), means));
        let external_url = &options.alerting.external_url;
        let (notifier, deliveries) = alerting::routing::open(&options.notify, external_url, &engine, &clock);
        alerting.connect(Arc::clone(&notifier) as _, Arc::clone(notifier.events()) as _);
        Arc::new(Self {
            source,
            engine,
            ingest,
            started: clock.now(),
            agents,
            captures,
            alerting,
            reloading: Mutex::default(),
            notifier,
            deliveries,
            notifier_places: Arc::new(Semaphore::new(NOTIFIER_PLACES)),
            posted_alerts: alertmanager_api::alerts::PostedAlerts::default(),
            clock,
            gate: Gate::new(options.queries_running_max, options.queries_waiting_max, Arc::clone(&memory)),
            memory,
            slow_log: SlowLog::new(options.slow_log_ms),
            options,
            running: Arc::default(),
            admin_place: Arc::new(Semaphore::new(1)),
            backup_place: Arc::new(Semaphore::new(1)),
            export_places: Arc::new(Semaphore::new(export::EXPORTS_MAX)),
            counters: Counters::default(),
            self_metrics: SelfMetrics::default(),
        })
    }
}

impl App {
    /// The agents that check in, and their tasks.
    pub fn agents(&self) -> &Arc<AgentBook> {
        &self.agents
    }

    /// The evaluation of rules, which whoever serves the application starts and stops.
    pub fn alerting(&self) -> &Arc<Alerting> {
        &self.alerting
    }

    /// The thread that tells people, which whoever serves the application starts and stops.
    pub fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// Reads the rule files and the routing file anew. Where anything is wrong, all stays as it is.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn reload(&self) -> Result<(), String> {
        // Two at once would leave what each of them took last.
        let _place = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let reloaded = self.load_and_apply();
        match &reloaded {
            Ok(()) => self.alerting.taken(),
            Err(error) => self.alerting.refused(error, true),
        }
        reloaded
    }

    fn load_and_apply(&self) -> Result<(), String> {
        let rules = self.options.alerting.load().map_err(|error| error.to_string());
        let routing = self.options.notify.load().map_err(|error| format!("alerting_config: {error}"));
        let is_right = routing.is_ok();
        let applied = match (rules, routing) {
            (Ok(read), Ok((config, templates))) => {
                self.alerting.apply(read).map_err(|error| error.to_string()).map(|_| {
                    self.deliveries.configure(&config, templates, &self.options.alerting.external_url);
                    self.options.notify.log_taken(&config);
                    self.notifier.set_config(Arc::new(config));
                })
            }
            (Err(first), Err(second)) => Err(format!("{first}\n{second}")),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        };
        self.counters.routing_read(is_right, applied.is_ok());
        applied
    }

    /// Ends alerting: rules are evaluated no more, then what is due is told, at most for [`DELIVERED_WITHIN`].
    pub fn stop_alerting(&self) {
        self.alerting.stop();
        self.notifier.stop();
        self.deliveries.stop(DELIVERED_WITHIN);
        self.notifier.finish();
    }

    /// What is to be said beside answers until the log is replayed. Asked before reading, so that an answer which lacks
    /// something always says so.
    pub(crate) fn replay_note(&self) -> Annotations {
        let warnings = self.engine.replaying().map(|progress| format!("results may be incomplete: {progress}"));
        Annotations { warnings: warnings.into_iter().collect(), infos: Vec::new() }
    }
}

/// Every route of the server.
pub fn router(app: Arc<App>) -> Router {
    let writes = ingest::router(app.ingest.clone());
    Router::new()
        .route("/", get(pages::start))
        .route("/runbooks", get(runbooks::all))
        .route("/runbooks.md", get(runbooks::all_as_text))
        .route("/runbooks/{alert}", get(runbooks::one))
        .route("/graph", get(graph::graph))
        .route("/alerts", get(alerting::page::alerts))
        .route("/-/healthy", get(pages::healthy))
        .route("/-/ready", get(pages::ready))
        .route("/federate", get(federate::federate))
        .route("/metrics", get(metrics_page::metrics))
        .route("/api/v1/query", get(query_api::instant).post(query_api::instant))
        .route("/api/v1/query_range", get(query_api::range).post(query_api::range))
        .route("/api/v1/format_query", get(syntax_api::format).post(syntax_api::format))
        .route("/api/v1/parse_query", get(syntax_api::parse).post(syntax_api::parse))
        .route("/api/v1/queries", get(query_api::list))
        .route("/api/v1/queries/slow", get(query_api::slow))
        .route("/api/v1/queries/{id}", delete(query_api::cancel))
        .route("/api/v1/series", get(series_api::series).post(series_api::series))
        .route("/api/v1/labels", get(series_api::label_names).post(series_api::label_names))
        .route("/api/v1/label/{name}/values", get(series_api::label_values))
        .route("/api/v1/metadata", get(series_api::metadata))
        .route("/api/v1/query_exemplars", get(exemplars_api::exemplars).post(exemplars_api::exemplars))
        .route("/api/v1/read", post(remote_read::read))
        .route("/api/v1/export", get(export::export).post(export::export))
        .route("/api/v1/go/leaks", get(go_api::leaks))
        .route(CHECK_IN_PATH, post(agents::check_in))
        .route("/api/v1/agents", get(agents::list))
        .route(PROFILE_PATH, get(agents::profile))
        .route("/api/v1/agents/profiles", get(agents::profiles))
        .route("/api/v1/agents/tasks/{id}", get(agents::task))
        .route("/api/v1/captures", get(captures::list).post(captures::upload))
        .route("/api/v1/captures/{id}", get(captures::get))
        .route("/api/v1/captures/orders/{id}", get(captures::order_state))
        .route("/api/v1/rules", get(alerting::rules_api::rules).post(alerting::rules_api::rules))
        .route("/api/v1/rules/explain", get(alerting::explain_api::explain))
        .route("/api/v1/alerts", get(alerting::rules_api::alerts))
        .route("/api/v1/alertmanagers", get(status_api::alertmanagers))
        .route("/api/v1/targets", get(status_api::targets))
        .route("/api/v1/scrape_pools", get(status_api::scrape_pools))
        .route("/api/v1/status/buildinfo", get(status_api::build_info))
        .route("/api/v1/status/runtimeinfo", get(status_api::runtime_info))
        .route("/api/v1/status/config", get(status_api::config))
        .route("/api/v1/status/flags", get(status_api::flags))
        .route("/api/v1/status/tsdb", get(status_api::tsdb))
        .route("/api/v1/status/cardinality", get(cardinality_api::cardinality))
        .route("/api/v1/status/memory", get(memory::status))
        .route("/api/v1/status/retention", get(retention_api::retention))
        .route("/api/v1/alerting/events", get(alerting::notify_api::events))
        .route("/api/v1/alerting/alerts", get(alerting::notify_api::alerts))
        .route("/api/v1/alerting/route", get(alerting::notify_api::route))
        .route("/api/v1/alerting/silences", get(alerting::notify_api::silences))
        .merge(admin_routes(&app))
        .merge(alertmanager_api::routes(&app))
        .with_state(Arc::clone(&app))
        .merge(writes)
        .fallback(pages::not_found)
        .method_not_allowed_fallback(pages::method_not_allowed)
        .layer(compress::compressed())
        .layer(middleware::from_fn_with_state(app, count_requests))
}

/// What changes stored data by hand, or makes agents work, behind its guard.
fn admin_routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/-/reload", post(alerting::rules_api::reload).put(alerting::rules_api::reload))
        .route("/api/v1/alerting/ack", post(alerting::notify_api::acknowledge))
        .route("/api/v1/alerting/unack", post(alerting::notify_api::unacknowledge))
        .route("/api/v1/alerting/silences", post(alerting::notify_api::silence))
        .route("/api/v1/alerting/silences/{id}/expire", post(alerting::notify_api::expire))
        .route("/api/v1/admin/flush", post(admin_api::flush))
        .route("/api/v1/admin/merge", post(admin_api::merge))
        .route("/api/v1/admin/backup", post(backup_api::backup))
        .route("/api/v1/go/burst", post(agents::burst))
        .route("/api/v1/captures/order", post(captures::order))
        .route("/api/v1/captures/{id}", delete(captures::delete))
        .route("/api/v1/admin/deletes", get(deletes_api::list))
        .route("/api/v1/admin/deletes/{id}/undo", post(deletes_api::undo))
        .route("/api/v1/admin/tsdb/delete_series", post(deletes_api::delete_series).put(deletes_api::delete_series))
        .route(
            "/api/v1/admin/tsdb/clean_tombstones",
            post(deletes_api::clean_tombstones).put(deletes_api::clean_tombstones),
        )
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), admin_guard::guard))
}

async fn count_requests(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.counters.request_answered(route, response.status().as_u16());
    response
}
