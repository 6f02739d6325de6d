//! The report of a hostile run: a table to read, and JSON for programs.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Value, json};

use super::{
    child::{AllDeeds, PRIORITY},
    good::View,
    options::Phase,
};

/// One part of the run, with its verdict.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) phase: Phase,
    pub(super) view: View,
    pub(super) deeds: AllDeeds,
    /// The node's drops by reason.
    pub(super) drops: BTreeMap<String, u64>,
    /// The node's memory at the end of the part, in bytes.
    pub(super) memory: u64,
    pub(super) findings: Vec<String>,
}

/// The whole run.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The parts; the first one is the calm one.
    pub(super) parts: Vec<Part>,
    /// What was wrong with the whole run: with the node's end, or with good peers.
    pub(super) findings: Vec<String>,
    /// The core of the attackers, and the number of cores.
    pub(super) core: Option<usize>,
    pub(super) cores: usize,
}

/// The share of the viewers' time that was frozen without attackers, above which the report warns of a busy machine.
const BUSY: f64 = 0.02;
/// The number of drop reasons in the report of a part; the most frequent ones are shown.
const MAX_REASONS: usize = 6;

impl Outcome {
    /// Whether nothing was wrong.
    pub(super) fn is_good(&self) -> bool {
        self.findings.is_empty() && self.parts.iter().all(|part| part.findings.is_empty())
    }

    /// The report to read.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let core = self.core.map_or("all cores".to_owned(), |core| format!("core {core} alone"));
        _ = writeln!(
            text,
            "{} cores; the attackers run at priority {PRIORITY} on {core}, each below a rate of its own\n\n\
             {:<12} {:>3} {:>8} {:>8} {:>9} {:>6} {:>8} {:>9} {:>7} {:>8}",
            self.cores,
            "part",
            "s",
            "lost",
            "frozen",
            "pictures",
            "joins",
            "longest",
            "1st frame",
            "failed",
            "memory",
        );
        for part in &self.parts {
            let view = &part.view;
            _ = writeln!(
                text,
                "{:<12} {:>3} {:>6.3} % {:>6.2} s {:>7.1}/s {:>6} {:>5.0} ms {:>6.0} ms {:>7} {:>4} MiB  {}",
                part.phase.name,
                view.seconds as u64,
                view.loss() * 100.0,
                view.frozen(),
                view.pictures(),
                view.joined,
                View::longest(&view.join) * 1e3,
                View::longest(&view.first_frame) * 1e3,
                view.failed,
                part.memory >> 20,
                if part.findings.is_empty() { "good" } else { "HARMED" },
            );
        }
        for part in self.parts.iter().filter(|part| !part.phase.attacks.is_empty()) {
            part.describe(&mut text);
        }
        for finding in &self.findings {
            _ = writeln!(text, "\nwrong: {finding}");
        }
        let calm = self.parts.first().map(|part| &part.view);
        if calm.is_some_and(|calm| calm.frozen() > BUSY * calm.viewer_seconds) {
            _ = writeln!(
                text,
                "\nthe machine was busy: pictures froze without attackers too, so the limits are wide"
            );
        }
        let verdict = if self.is_good() {
            "the good peers were not harmed"
        } else {
            "the good peers were harmed, or the node did not show what it must"
        };
        _ = writeln!(text, "\n{verdict}");
        text
    }

    /// The report for programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "tool": concat!("sfumato-hostile ", env!("CARGO_PKG_VERSION")),
            "good": self.is_good(),
            "cores": self.cores,
            "attackers": { "priority": PRIORITY, "core": self.core },
            "findings": self.findings,
            "parts": self.parts.iter().map(Part::json).collect::<Vec<_>>(),
        })
    }
}

impl Part {
    fn describe(&self, text: &mut String) {
        _ = writeln!(text, "\n{}", self.phase.name);
        for attack in &self.phase.attacks {
            let Some(deeds) = self.deeds.get(attack.name) else { continue };
            let mut done = counts(deeds.did.iter().map(|(what, n)| (what.clone(), *n)));
            if !deeds.answers.is_empty() {
                let answers = deeds.answers.iter().map(|(status, n)| (status.to_string(), *n));
                done += &format!("; answers {}", counts(answers));
                done += &format!(", the slowest after {} ms", deeds.slowest_answer_ms);
            }
            if let Some(gap) = deeds.victim_gap_ms {
                done += &format!("; its victim waited for {gap} ms at most");
            }
            if !deeds.troubles.is_empty() {
                let troubles = deeds.troubles.iter().map(|(what, n)| (what.clone(), *n));
                done += &format!("; in vain: {}", counts(troubles));
            }
            _ = writeln!(text, "  {:<12} {}\n  {:<12} {done}", attack.name, attack.what, "");
        }
        let mut drops: Vec<_> = self.drops.iter().map(|(r, n)| (r.clone(), *n)).collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if !drops.is_empty() {
            let drops = counts(drops.into_iter().take(MAX_REASONS));
            _ = writeln!(text, "  {:<12} {drops}", "drops");
        }
        for finding in &self.findings {
            _ = writeln!(text, "  {:<12} {finding}", "HARMED");
        }
    }

    fn json(&self) -> Value {
        let view = &self.view;
        let attacks = self.phase.attacks.iter().map(|attack| {
            json!({ "name": attack.name, "threats": attack.threats, "deeds": self.deeds.get(attack.name) })
        });
        json!({
            "name": self.phase.name,
            "seconds": self.phase.seconds,
            "good": self.findings.is_empty(),
            "findings": self.findings,
            "loss": view.loss(),
            "frozen_s": view.frozen(),
            "pictures_per_second": view.pictures(),
            "joined": view.joined,
            "failed": view.failed,
            "longest_join_ms": View::longest(&view.join) * 1e3,
            "longest_first_frame_ms": View::longest(&view.first_frame) * 1e3,
            "longest_delay_ms": View::longest(&view.delay) * 1e3,
            "longest_lag_ms": View::longest(&view.lag) * 1e3,
            "counters": view.counters,
            "node_memory": self.memory,
            "node_drops": self.drops,
            "attacks": attacks.collect::<Vec<_>>(),
        })
    }
}

fn counts(all: impl Iterator<Item = (String, u64)>) -> String {
    let all: Vec<String> = all.map(|(what, count)| format!("{what} {count}")).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::{attacks::by_name, deeds::Deeds};

    fn outcome(findings: &[&str]) -> Outcome {
        let attacks = vec![by_name("pool").unwrap()];
        let phase = Phase { name: "pool".into(), seconds: 3, attacks };
        let mut deeds = Deeds::default();
        deeds.did("packets", 70_000);
        let part = Part {
            phase,
            view: View::default(),
            deeds: AllDeeds::from([("pool".to_owned(), deeds)]),
            drops: BTreeMap::from([("pool_exhausted".to_owned(), 12)]),
            memory: 3 << 20,
            findings: findings.iter().map(ToString::to_string).collect(),
        };
        Outcome { parts: vec![part], findings: Vec::new(), core: Some(1), cores: 2 }
    }

    #[test]
    fn a_harm_stands_in_the_table_and_in_the_json() {
        let (good, bad) = (outcome(&[]), outcome(&["packets lost: 9 %"]));
        assert!(good.is_good() && !bad.is_good());
        assert!(good.text().contains("packets 70000") && good.text().contains("were not harmed"));
        assert!(bad.text().contains("HARMED       packets lost: 9 %"));
        assert!(bad.text().contains("pool_exhausted 12"));
        assert_eq!(good.json()["good"], true);
        assert_eq!(bad.json()["parts"][0]["findings"][0], "packets lost: 9 %");
        assert_eq!(bad.json()["parts"][0]["attacks"][0]["deeds"]["did"]["packets"], 70_000);
        let wrong = Outcome { findings: vec!["the node panicked".into()], ..good };
        assert!(!wrong.is_good() && wrong.text().contains("panicked"));
    }
}
