//! `metrickit notify`: a notification of one's own making, rendered by the receivers of a file, and sent or only shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use model::Labels;
use rules::config::receivers::{Integration, Receiver};
use rules::config::{self, Config};
use rules::notify::decision::Reason;
use rules::notify::delivery::{Notification, NotifiedAlert};
use rules::posted::fingerprint;
use rules::receivers::{NotificationData, Outgoing, Templates, Verdict, render};
use server::alerting::deliver::{ATTEMPT_TIMEOUT, DiskSecrets, Sender, load_templates};

use crate::UsageError;
use crate::cli::{NotifyArgs, NotifyCommand, PreviewArgs};
use crate::output::Output;
use crate::settings::resolve;

/// How long ago the alert began.
const AGE_MS: i64 = 5 * 60_000;
/// How long the group's next look is away.
const DEADLINE_MS: i64 = 5 * 60_000;

/// Runs it; whether all was rendered, and taken.
pub(crate) fn run(command: &NotifyCommand, output: &mut Output) -> anyhow::Result<bool> {
    match command {
        NotifyCommand::Test(args) => test(args, output),
        NotifyCommand::Preview(args) => preview(args, output),
    }
}

/// Everything that a notification is rendered with.
struct Stage {
    config: Config,
    templates: Templates,
    external_url: String,
    notification: Notification,
}

impl Stage {
    fn new(args: &NotifyArgs) -> anyhow::Result<Self> {
        let (file, external_url) = place(args)?;
        let text = std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let config = config::read(&file.to_string_lossy(), &text).map_err(|faults| {
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            UsageError(told.join("\n"))
        })?;
        let templates = load_templates(&file, &config.templates).map_err(UsageError)?;
        let notification = notification(args)?;
        Ok(Self { config, templates, external_url, notification })
    }

    fn receiver(&self) -> anyhow::Result<&Receiver> {
        let name = &self.notification.receiver;
        let found = self.config.receivers.iter().find(|receiver| receiver.name == *name);
        let known =
            || self.config.receivers.iter().map(|receiver| receiver.name.as_str()).collect::<Vec<_>>().join(", ");
        Ok(found.ok_or_else(|| UsageError(format!("there is no receiver {name:?}; there are: {}", known())))?)
    }

    /// The integrations that are asked for, each rendered.
    fn rendered(&self, only: Option<&str>) -> anyhow::Result<Vec<(String, Result<Outgoing, String>)>> {
        let receiver = self.receiver()?;
        let wanted = |integration: &Integration| {
            only.is_none_or(|only| only == integration.kind() || only == integration.name())
        };
        let mut all = Vec::new();
        for (place, integration) in receiver.integrations.iter().enumerate().filter(|(_, known)| wanted(known)) {
            let notification = Notification { integration: place, ..self.notification.clone() };
            let rendered = render(integration, &notification, &self.external_url, &self.templates, &DiskSecrets);
            all.push((integration.name(), rendered.map_err(|error| error.to_string())));
        }
        if all.is_empty() {
            let names: Vec<String> = receiver.integrations.iter().map(Integration::name).collect();
            let names = if names.is_empty() { "none: nobody is told".to_owned() } else { names.join(", ") };
            let wanted = only.unwrap_or("any integration");
            return Err(
                UsageError(format!("receiver {:?} does not have {wanted}; it has {names}", receiver.name)).into()
            );
        }
        Ok(all)
    }
}

/// Shows what would be sent.
fn preview(args: &PreviewArgs, output: &mut Output) -> anyhow::Result<bool> {
    let stage = Stage::new(&args.about)?;
    if let Some(template) = &args.template {
        stage.receiver()?;
        let mut data = NotificationData::new(&stage.notification, &stage.external_url);
        stage.templates.fill_route_labels(&mut data)?;
        let text = stage.templates.filler(&data).plain("template", template);
        output.line(&text.map_err(|fault| UsageError(fault.to_string()))?)?;
        return Ok(true);
    }
    let mut worked = true;
    for (name, rendered) in stage.rendered(args.about.integration.as_deref())? {
        worked &= rendered.is_ok();
        let told = rendered.map_or_else(|error| format!("cannot be rendered: {error}"), |outgoing| outgoing.shown());
        output.line(&format!("# {name}\n{told}\n"))?;
    }
    Ok(worked)
}

/// Sends it.
fn test(args: &NotifyArgs, output: &mut Output) -> anyhow::Result<bool> {
    let stage = Stage::new(args)?;
    let sender = Sender::default();
    let mut worked = true;
    for (name, rendered) in stage.rendered(args.integration.as_deref())? {
        let told = match rendered {
            Err(error) => (false, format!("cannot be rendered: {error}")),
            Ok(outgoing) => {
                output.line(&format!("# {name}\n{}\n", outgoing.shown()))?;
                match sender.send(&outgoing, outgoing.timeout().unwrap_or(ATTEMPT_TIMEOUT)) {
                    Verdict::Taken(answer) => (true, format!("taken: {answer}")),
                    Verdict::Again { why, .. } => (false, format!("not taken, a server would try again: {why}")),
                    Verdict::Refused(why) => (false, format!("refused: {why}")),
                }
            }
        };
        worked &= told.0;
        output.line(&format!("{name} {}\n", told.1))?;
    }
    Ok(worked)
}

/// The file with receivers, and where the server is reached.
fn place(args: &NotifyArgs) -> anyhow::Result<(PathBuf, String)> {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = args.config.clone().or_else(|| variable("METRICKIT_CONFIG").map(PathBuf::from));
    let resolved = resolve(settings.as_deref(), variable, &BTreeMap::new())?;
    let external_url = match resolved.text("external_url") {
        "auto" | "" => crate::client::URL_DEFAULT.to_owned(),
        url => url.to_owned(),
    };
    let file = match &args.file {
        Some(file) => file.clone(),
        None => match crate::settings::find("alerting_config").map_or("", |known| resolved.text(known.key)) {
            "" | "off" => {
                let message = "there is no file with receivers: name it with --file, or set alerting_config";
                return Err(UsageError(message.to_owned()).into());
            }
            file => Path::new(file).to_owned(),
        },
    };
    Ok((file, external_url))
}

fn notification(args: &NotifyArgs) -> anyhow::Result<Notification> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    let now_ms = i64::try_from(now.as_millis()).context("the clock is far ahead")?;
    let mut labels: BTreeMap<String, String> =
        [("alertname", "MetricKitTest"), ("severity", "info")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    labels.extend(pairs(&args.labels, "label")?);
    let mut annotations = BTreeMap::from([(
        "summary".to_owned(),
        "A test: somebody ran `metrickit notify`. Nothing is wrong.".to_owned(),
    )]);
    annotations.extend(pairs(&args.annotations, "annotation")?);
    let labels = Labels::from_pairs(&labels).map_err(|error| UsageError(error.to_string()))?;
    let name = labels.get("alertname").unwrap_or_default().to_owned();
    let group_labels = Labels::from_pairs([("alertname", &name)]).map_err(|error| UsageError(error.to_string()))?;
    let alert = NotifiedAlert {
        fingerprint: fingerprint(labels.as_ref()),
        labels,
        annotations,
        starts_ms: now_ms.saturating_sub(AGE_MS),
        ends_ms: args.resolved.then_some(now_ms),
        generator_url: String::new(),
    };
    Ok(Notification {
        group_key: format!("{{}}:{{alertname={name:?}}}"),
        receiver: args.receiver.clone(),
        integration: 0,
        reason: if args.resolved { Reason::AllResolved } else { Reason::First },
        alerts: vec![alert],
        group_labels,
        route_labels: BTreeMap::new(),
        at_ms: now_ms,
        deadline_ms: now_ms.saturating_add(DEADLINE_MS),
    })
}

fn pairs(texts: &[String], what: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| UsageError(format!("{text:?} is no {what}; write it like name=value")))?;
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}
