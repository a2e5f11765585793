//! `metrickit collection`: what agents are to collect, by environment.

use serde::Deserialize;

use super::admin::counted;
use crate::UsageError;
use crate::cli::{CheckProfileArgs, CollectionCommand, ShowProfileArgs};
use crate::client::{Client, URL_DEFAULT};
use crate::output::Output;
use crate::render::text::visible;
use crate::render::{append, table};

/// What `/api/v1/agents/profiles` answers.
#[derive(Debug, Deserialize)]
struct Profiles {
    profiles: Vec<Profile>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    environment: String,
    etag: String,
    agents: u64,
    error: String,
    #[serde(default)]
    text: String,
}

/// Does it; whether all is well.
pub(crate) fn run(command: &CollectionCommand, output: &mut Output) -> anyhow::Result<bool> {
    match command {
        CollectionCommand::Check(args) => check(args, output),
        CollectionCommand::Show(args) => show(args, output),
    }
}

fn check(args: &CheckProfileArgs, output: &mut Output) -> anyhow::Result<bool> {
    let mut well = true;
    for file in &args.files {
        let shown = file.display();
        match agent::config::profile::check_file(file) {
            Ok(keys) => output.line(&format!("{shown}: {} set", counted(keys as u64, "option")))?,
            Err(error) => {
                well = false;
                output.line(&format!("{shown}: {error}"))?;
            }
        }
    }
    Ok(well)
}

fn show(args: &ShowProfileArgs, output: &mut Output) -> anyhow::Result<bool> {
    let client = Client::new(args.server.url.as_deref().unwrap_or(URL_DEFAULT));
    let client = client.map_err(|error| UsageError(error.to_string()))?;
    let pairs: Vec<_> = args.environment.iter().map(|name| ("environment", name.as_str())).collect();
    let answer = client.get("/api/v1/agents/profiles", &pairs)?;
    if args.server.json {
        output.line(&answer.to_string())?;
        return Ok(true);
    }
    let Profiles { profiles } = serde_json::from_value(answer)?;
    match (&args.environment, profiles.first()) {
        (Some(_), Some(profile)) => output.text(&profile.text)?,
        (Some(name), None) => anyhow::bail!("the server has no profile for {name:?}, and no default.toml"),
        (None, _) => output.text(&told(&profiles))?,
    }
    Ok(!profiles.is_empty())
}

fn told(profiles: &[Profile]) -> String {
    if profiles.is_empty() {
        return "the server holds no profiles; start it with --profiles-dir DIR and write DIR/ENVIRONMENT.toml\n"
            .to_owned();
    }
    let row = |profile: &Profile| {
        vec![visible(&profile.environment), profile.etag.trim_matches('"').to_owned(), profile.agents.to_string()]
    };
    let rows: Vec<Vec<String>> = profiles.iter().map(row).collect();
    let mut text = table::columns(&["environment", "version", "agents"], &rows, None);
    for profile in profiles.iter().filter(|profile| !profile.error.is_empty()) {
        let (name, error) = (visible(&profile.environment), visible(&profile.error));
        append(&mut text, format_args!("{name}: the newest file is not used: {error}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_a_table_with_what_is_wrong_below() {
        let profile = |name: &str, error: &str| Profile {
            environment: name.to_owned(),
            etag: "\"0a-5\"".to_owned(),
            agents: 3,
            error: error.to_owned(),
            text: String::new(),
        };
        let text = told(&[profile("dev", ""), profile("prod", "line 2: no")]);
        assert!(
            text.contains("dev         ┆ 0a-5    ┆      3")
                && text.contains("prod: the newest file is not used: line 2"),
            "{text}"
        );
        assert!(told(&[]).contains("--profiles-dir"));
    }
}
