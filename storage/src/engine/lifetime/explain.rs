//! What is kept of which series, for people who write rules.

use model::Matcher;
use roaring::RoaringBitmap;

use super::rules::{Life, LifetimeRule};
use crate::engine::{Core, Engine};

/// What is kept of the series that some matchers select.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionReport {
    /// When it was found out, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// How many rules there are, without the retention of the engine.
    pub rules: usize,
    /// Series that were selected.
    pub series: u64,
    /// They by the rule that they fall under, in the order of the rules; rules without any are left out.
    pub kept: Vec<KeptSeries>,
}

/// What is kept of the series that fall under one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSeries {
    /// The place of the rule, from 0; `None` for the retention of the engine.
    pub rule: Option<usize>,
    /// What the rule was written as.
    pub text: String,
    /// Series.
    pub series: u64,
    /// Samples one by one.
    pub raw: KeptStep,
    /// Summaries, by window, which ascends. Also those that the rule does not name but an earlier one did.
    pub steps: Vec<KeptStep>,
}

/// Samples or summaries that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptStep {
    /// Length of the window in milliseconds; 0 for samples.
    pub window_ms: i64,
    /// How long they are kept, in milliseconds; `None` for ever.
    pub keep_ms: Option<i64>,
    /// The first instant that is shown, in milliseconds since the Unix epoch; `None` if all are.
    pub from_ms: Option<i64>,
    /// From when on blocks hold any, as far as blocks tell; `None` if no block does.
    pub held_from_ms: Option<i64>,
    /// Bytes they take in blocks, about: a block's series count as equally large.
    pub about_bytes: u64,
}

impl Engine {
    /// What is kept of the series that fulfil `matchers`, and under which rules they fall.
    pub fn retention(&self, matchers: &[Matcher]) -> RetentionReport {
        self.core.explain_retention(matchers)
    }
}

impl Core {
    fn explain_retention(&self, matchers: &[Matcher]) -> RetentionReport {
        let told = |damage| self.damage.add(damage);
        let ids = self.series.select(matchers).map_err(told).unwrap_or_default();
        let by_rule = self.lifetimes.split(&ids, &self.series).map_err(told).unwrap_or_default();
        let now_ms = self.clock.now().0;
        let rules = self.lifetimes.rules();
        let kept = by_rule.iter().zip(rules).enumerate().filter(|(_, (ids, _))| !ids.is_empty());
        RetentionReport {
            now_ms,
            rules: rules.len() - 1,
            series: ids.len(),
            kept: kept.map(|(at, (ids, rule))| self.kept(at, rule, ids, &rule.at(now_ms))).collect(),
        }
    }

    fn kept(&self, at: usize, rule: &LifetimeRule, ids: &RoaringBitmap, life: &Life) -> KeptSeries {
        let view = self.view();
        let mut windows: Vec<i64> = rule.steps.iter().map(|step| step.window_ms).collect();
        let held = view.blocks.iter().filter(|block| block.record.window_ms > 0 && !block.ids().is_disjoint(ids));
        windows.extend(held.map(|block| block.record.window_ms));
        windows.sort_unstable();
        windows.dedup();
        let column = |window_ms: i64, keep_ms: Option<i64>, start_ms: i64| {
            let (mut held_from_ms, mut about_bytes) = (None::<i64>, 0);
            for block in view.blocks.iter().filter(|block| block.record.window_ms == window_ms) {
                let (here, all) = (block.ids().intersection_len(ids), block.ids().len().max(1));
                if here > 0 && block.record.max_ms >= start_ms {
                    let from_ms = block.record.min_ms.max(start_ms);
                    held_from_ms = Some(held_from_ms.map_or(from_ms, |known| known.min(from_ms)));
                }
                let share = u128::from(block.record.bytes) * u128::from(here) / u128::from(all);
                about_bytes += u64::try_from(share).unwrap_or(u64::MAX);
            }
            let from_ms = (start_ms > i64::MIN).then_some(start_ms);
            KeptStep { window_ms, keep_ms, from_ms, held_from_ms, about_bytes }
        };
        let step = |&window_ms: &i64| {
            let named = rule.steps.iter().find(|step| step.window_ms == window_ms);
            let keep_ms = named.map_or_else(|| rule.longest_ms(), |step| step.keep_ms);
            column(window_ms, keep_ms, life.summaries_start_ms(window_ms))
        };
        KeptSeries {
            rule: (at + 1 < self.lifetimes.rules().len()).then_some(at),
            text: rule.text.clone(),
            series: ids.len(),
            raw: column(0, rule.raw_ms, life.raw_start_ms),
            steps: windows.iter().map(step).collect(),
        }
    }
}
