//! Prometheus's `alerting:` section: which Alertmanagers elsewhere are told of alerts, how they are reached, and under which labels.
//!
//! The form is <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#alertmanager_config>. The file may be all of
//! `prometheus.yml`: what else is in it is not looked at. What cannot be done, discovery above all, is refused with its place.

pub mod relabel;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use crate::config::check::Checker;
use crate::config::receivers::{Authorization, BasicAuth, HeaderValues, HttpConfig, OAuth2, Secret, TlsConfig};
use crate::yaml::{FileFault, at};
use relabel::{RawStep, Step, relabel, steps};

/// Most Alertmanagers.
pub const TARGETS_MAX: usize = 32;
/// How long a request may take where the file does not say.
const TIMEOUT_MS: i64 = 10_000;
/// The path of alerts in the API.
const ALERTS_PATH: &str = "/api/v2/alerts";
/// Labels of a target before it is relabelled, from which its address is made.
const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

/// An Alertmanager.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Where it takes alerts.
    pub url: String,
    /// How it is reached.
    pub http: HttpConfig,
    /// Longest time of a request.
    pub timeout_ms: i64,
    /// What alerts are changed by on their way to it.
    pub relabel: Vec<Step>,
}

impl Target {
    /// The one at `url`, such as `http://am:9093/prefix`, as nobody says anything else.
    pub fn plain(url: &str) -> Self {
        let url = format!("{}{ALERTS_PATH}", url.trim_end_matches('/'));
        Self { url, http: HttpConfig::default(), timeout_ms: TIMEOUT_MS, relabel: Vec::new() }
    }
}

#[derive(Debug, Deserialize)]
struct RawFile {
    alerting: Option<Spanned<RawAlerting>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAlerting {
    alert_relabel_configs: Option<Vec<Spanned<RawStep>>>,
    alertmanagers: Option<Vec<Spanned<RawAlertmanager>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAlertmanager {
    scheme: Option<Spanned<String>>,
    path_prefix: Option<String>,
    timeout: Option<Spanned<String>>,
    api_version: Option<Spanned<String>>,
    static_configs: Option<Vec<Spanned<RawTargets>>>,
    relabel_configs: Option<Vec<Spanned<RawStep>>>,
    alert_relabel_configs: Option<Vec<Spanned<RawStep>>>,
    // The keys of `http_config`, which stand here by themselves.
    basic_auth: Option<BasicAuth>,
    authorization: Option<Authorization>,
    bearer_token: Option<Secret>,
    bearer_token_file: Option<PathBuf>,
    oauth2: Option<OAuth2>,
    tls_config: Option<TlsConfig>,
    proxy_url: Option<Secret>,
    no_proxy: Option<String>,
    proxy_from_environment: Option<bool>,
    proxy_connect_header: Option<BTreeMap<String, Vec<Secret>>>,
    follow_redirects: Option<bool>,
    enable_http2: Option<bool>,
    http_headers: Option<BTreeMap<String, HeaderValues>>,
    #[serde(alias = "azuread", alias = "google_iam")]
    sigv4: Option<Spanned<IgnoredAny>>,
    #[serde(
        rename = "kubernetes_sd_configs",
        alias = "azure_sd_configs",
        alias = "consul_sd_configs",
        alias = "digitalocean_sd_configs",
        alias = "dns_sd_configs",
        alias = "docker_sd_configs",
        alias = "dockerswarm_sd_configs",
        alias = "ec2_sd_configs",
        alias = "eureka_sd_configs",
        alias = "file_sd_configs",
        alias = "gce_sd_configs",
        alias = "hetzner_sd_configs",
        alias = "http_sd_configs",
        alias = "ionos_sd_configs",
        alias = "kuma_sd_configs",
        alias = "lightsail_sd_configs",
        alias = "linode_sd_configs",
        alias = "marathon_sd_configs",
        alias = "nerve_sd_configs",
        alias = "nomad_sd_configs",
        alias = "openstack_sd_configs",
        alias = "ovhcloud_sd_configs",
        alias = "puppetdb_sd_configs",
        alias = "scaleway_sd_configs",
        alias = "serverset_sd_configs",
        alias = "stackit_sd_configs",
        alias = "triton_sd_configs",
        alias = "uyuni_sd_configs",
        alias = "vultr_sd_configs"
    )]
    discovery: Option<Spanned<IgnoredAny>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTargets {
    targets: Vec<Spanned<String>>,
    labels: BTreeMap<String, String>,
}

/// Reads the `alerting:` section of `text`, whose file is `name`; relative paths in it begin at the file's folder.
///
/// # Errors
///
/// All that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Vec<Target>, Vec<FileFault>> {
    let raw: RawFile = crate::yaml::read(name, text).map_err(|fault| vec![fault])?;
    let mut checker = Checker::new(name);
    let Some(section) = raw.alerting else {
        let message = "there is no section `alerting`, which says where Alertmanagers are".to_owned();
        return Err(vec![FileFault { file: name.to_owned(), line: 1, column: 1, message }]);
    };
    let all = steps(&mut checker, section.value.alert_relabel_configs, "alert_relabel_configs");
    let mut targets = Vec::new();
    for raw in section.value.alertmanagers.unwrap_or_default() {
        let place = at(&raw);
        let entry = entry(&mut checker, raw);
        targets.extend(entry.into_iter().map(|mut target| {
            target.relabel.splice(..0, all.iter().cloned());
            target
        }));
        if targets.len() > TARGETS_MAX {
            checker.wrong(place, format!("more than {TARGETS_MAX} Alertmanagers"));
            break;
        }
    }
    checker.done(targets)
}

/// The Alertmanagers of one entry: how it is to be done is the same for all of them.
fn entry(checker: &mut Checker<'_>, raw: Spanned<RawAlertmanager>) -> Vec<Target> {
    let place = at(&raw);
    let mut raw = raw.value;
    let http = http(&mut raw);
    let RawAlertmanager { scheme, path_prefix, timeout, api_version, static_configs, discovery, sigv4, .. } = raw;
    if let Some(discovery) = discovery {
        checker.wrong(at(&discovery), "discovery is not supported: name the addresses in static_configs");
    }
    if let Some(signed) = sigv4 {
        checker.wrong(at(&signed), "authentication by a cloud's keys is not supported");
    }
    if let Some(version) = api_version.filter(|version| version.value != "v2") {
        checker.wrong(at(&version), format!("api_version: {:?} is not supported; there is v2", version.value));
    }
    if let Some(scheme) = scheme.as_ref().filter(|scheme| !matches!(scheme.value.as_str(), "http" | "https")) {
        checker.wrong(at(scheme), format!("scheme: {:?} is neither http nor https", scheme.value));
    }
    let timeout_ms = checker.some_time(timeout.as_ref(), "timeout").unwrap_or(TIMEOUT_MS);
    let find = steps(checker, raw.relabel_configs, "relabel_configs");
    let change = steps(checker, raw.alert_relabel_configs, "alert_relabel_configs");
    let mut http = http;
    if let Err(wrong) = http.settle(checker.folder()) {
        checker.wrong(place, wrong);
    }
    let scheme = scheme.map_or_else(|| "http".to_owned(), |scheme| scheme.value);
    let prefix = path_prefix.unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    let path = if prefix.is_empty() { ALERTS_PATH.to_owned() } else { format!("/{prefix}{ALERTS_PATH}") };
    let mut targets = Vec::new();
    for group in static_configs.unwrap_or_default() {
        for address in group.value.targets {
            let mut labels = group.value.labels.clone();
            for (name, value) in [(ADDRESS, address.value.as_str()), (SCHEME, &scheme), (PATH, &path)] {
                labels.insert(name.to_owned(), value.to_owned());
            }
            let Some(labels) = relabel(&find, labels) else { continue };
            let get = |name: &str| labels.get(name).map_or("", String::as_str);
            let url = format!("{}://{}{}", get(SCHEME), get(ADDRESS), get(PATH));
            let is_way = matches!(get(SCHEME), "http" | "https") && get(PATH).starts_with('/');
            if !is_address(get(ADDRESS)) {
                checker.wrong(at(&address), format!("{:?} is no address such as alertmanager:9093", address.value));
            } else if !is_way {
                checker.wrong(at(&address), format!("relabel_configs make {url:?} of it, which is no address"));
            }
            targets.push(Target { url, http: http.clone(), timeout_ms, relabel: change.clone() });
        }
    }
    targets
}

/// Whether `text` is a host, with or without a port: it is shown, so it must not have a user and a password.
fn is_address(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c))
}

/// The keys of `http_config`.
fn http(raw: &mut RawAlertmanager) -> HttpConfig {
    let default = HttpConfig::default();
    HttpConfig {
        basic_auth: raw.basic_auth.take(),
        authorization: raw.authorization.take(),
        bearer_token: raw.bearer_token.take(),
        bearer_token_file: raw.bearer_token_file.take(),
        oauth2: raw.oauth2.take(),
        tls_config: raw.tls_config.take().unwrap_or_default(),
        proxy_url: raw.proxy_url.take(),
        no_proxy: raw.no_proxy.take(),
        proxy_from_environment: raw.proxy_from_environment.unwrap_or_default(),
        proxy_connect_header: raw.proxy_connect_header.take(),
        follow_redirects: raw.follow_redirects.unwrap_or(default.follow_redirects),
        enable_http2: raw.enable_http2.unwrap_or(default.enable_http2),
        http_headers: raw.http_headers.take().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<String> {
        let targets = read("etc/prometheus.yml", text).unwrap_or_else(|faults| panic!("{faults:?}"));
        targets.into_iter().map(|target| target.url).collect()
    }

    #[track_caller]
    fn check_refused(text: &str, want: &[&str]) {
        let faults: Vec<String> = read("p.yml", text).expect_err("refused").iter().map(ToString::to_string).collect();
        assert_eq!(faults, want, "{text}");
    }

    #[test]
    fn a_whole_file_of_prometheus_is_taken() {
        let text = r"
global: {scrape_interval: 15s, external_labels: {cluster: eu1}}
scrape_configs: [{job_name: x, kubernetes_sd_configs: [{role: pod}]}]
alerting:
  alert_relabel_configs: [{regex: replica, action: labeldrop}]
  alertmanagers:
  - static_configs: [{targets: ['am1:9093', '[::1]:9093']}]
  - scheme: https
    path_prefix: /am/
    timeout: 3s
    api_version: v2
    static_configs: [{targets: [am3], labels: {zone: b}}, {targets: [gone], labels: {zone: c}}]
    relabel_configs:
    - {source_labels: [zone], regex: c, action: drop}
    - {source_labels: [__address__], target_label: __address__, replacement: '$1:9443'}
    alert_relabel_configs: [{target_label: via, replacement: am3}]
    basic_auth: {username: me, password_file: pass}
    tls_config: {ca_file: /ca.pem, insecure_skip_verify: true}
";
        let want =
            ["http://am1:9093/api/v2/alerts", "http://[::1]:9093/api/v2/alerts", "https://am3:9443/am/api/v2/alerts"];
        assert_eq!(urls(text), want);
        let targets = read("etc/prometheus.yml", text).expect("it was read before");
        let last = &targets[2];
        assert_eq!((last.timeout_ms, last.relabel.len(), targets[0].relabel.len()), (3000, 2, 1));
        let basic = last.http.basic_auth.as_ref().expect("a name and a password");
        assert_eq!(basic.password_file.as_deref(), Some(std::path::Path::new("etc/pass")));
        assert!(last.http.tls_config.insecure_skip_verify && targets[0].http == HttpConfig::default());
        assert_eq!(urls("alerting: {}"), Vec::<String>::new());
        assert_eq!(Target::plain("http://am:9093/x/").url, "http://am:9093/x/api/v2/alerts");
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_place() {
        check_refused("global: {}", &["p.yml:1:1: there is no section `alerting`, which says where Alertmanagers are"]);
        check_refused(
            "alerting:\n  alertmanagers:\n  - dns_sd_configs: [{names: [am]}]\n    scheme: ftp\n    api_version: v1\n",
            &[
                "p.yml:3:21: discovery is not supported: name the addresses in static_configs",
                "p.yml:4:13: scheme: \"ftp\" is neither http nor https",
                "p.yml:5:18: api_version: \"v1\" is not supported; there is v2",
            ],
        );
        check_refused(
            "alerting:\n  alertmanagers:\n  - static_configs: [{targets: ['http://am:9093']}]\n    basic_auth: {username: a, password: b, password_file: c}\n",
            &[
                "p.yml:3:5: password and password_file exclude each other",
                "p.yml:3:33: \"http://am:9093\" is no address such as alertmanager:9093",
            ],
        );
        check_refused(
            "alerting:\n  alertmanagers:\n  - static_configs: [{targets: [am]}]\n    relabel_configs: [{target_label: __scheme__, replacement: ftp}]\n",
            &["p.yml:3:33: relabel_configs make \"ftp://am/api/v2/alerts\" of it, which is no address"],
        );
        check_refused(
            "alerting:\n  alert_relabel_configs:\n  - {action: hashmod, modulus: 2}\n  - {action: replace}\n  - {regex: '('}\n  - {action: labeldrop, target_label: x}\n",
            &[
                "p.yml:3:14: alert_relabel_configs: action \"hashmod\" is not supported",
                "p.yml:4:5: alert_relabel_configs: action replace needs target_label",
                "p.yml:5:5: alert_relabel_configs: action replace needs target_label",
                "p.yml:5:13: alert_relabel_configs: error parsing regexp: missing closing ): `(`",
                "p.yml:6:5: alert_relabel_configs: action labeldrop takes regex alone",
            ],
        );
    }
}
