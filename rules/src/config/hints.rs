//! What a routing file may say and its author hardly means.

use model::time::ShowDuration;

use super::Config;
use super::receivers::{Integration, Settings};
use crate::route::Route;

/// Shortest time that a delivery has, however short the `group_interval`.
pub(crate) const DELIVERY_MS_MIN: i64 = 10_000;

impl Config {
    /// What is allowed and does not do what it says: a `timeout` that is longer than the group waits for it.
    pub fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        self.hints_of(&self.route, &mut hints);
        hints
    }

    fn hints_of(&self, route: &Route, hints: &mut Vec<String>) {
        let options = &route.options;
        let within_ms = options.interval_ms.max(DELIVERY_MS_MIN);
        let escalation = options.escalation.iter().map(|step| &step.receiver);
        for name in std::iter::once(&options.receiver).chain(escalation) {
            let integrations = self.receiver(name).map_or(&[][..], |receiver| &receiver.integrations);
            for integration in integrations.iter().filter(|integration| timeout_ms(integration) > within_ms) {
                hints.push(format!(
                    "{} of receiver {name:?} has a timeout of {}, and route {:?} cuts it to {}: its group is looked at again then",
                    integration.name(),
                    ShowDuration(timeout_ms(integration)),
                    route.key,
                    ShowDuration(within_ms),
                ));
            }
        }
        for child in &route.routes {
            self.hints_of(child, hints);
        }
    }
}

/// The time that an attempt was given; 0 where nothing is said.
fn timeout_ms(integration: &Integration) -> i64 {
    match &integration.settings {
        Settings::Webhook(settings) => settings.timeout_ms,
        Settings::Slack(settings) => settings.timeout_ms,
        Settings::PagerDuty(settings) => settings.timeout_ms,
        Settings::Exec(settings) => settings.timeout_ms,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::read;

    #[test]
    fn timeouts_that_are_cut_are_told() {
        let text = "
route:
  receiver: slow
  group_interval: 5m
  routes:
  - {matchers: [a=b], receiver: fast, group_interval: 1m, escalate: [{after: 10m, receiver: slow}]}
  - {matchers: [a=c], receiver: fast, group_interval: 1s}
receivers:
- {name: slow, exec_configs: [{command: [x], timeout: 5m}, {command: [x], timeout: 301s}]}
- {name: fast, webhook_configs: [{url: 'http://x/', timeout: 10s}]}
";
        let hints = read("am.yml", text).expect("a file").hints();
        let of = |number: usize, timeout: &str, route: &str, within: &str| {
            format!(
                "exec[{number}] of receiver \"slow\" has a timeout of {timeout}, and route {route} cuts it to {within}: \
                 its group is looked at again then"
            )
        };
        let child = r#""{}/{a=\"b\"}""#;
        let want = [of(1, "5m1s", "\"{}\"", "5m"), of(0, "5m", child, "1m"), of(1, "5m1s", child, "1m")];
        assert_eq!(hints, want);
    }
}
