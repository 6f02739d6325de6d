//! What an attack did and which answers it got: counted by the attackers, and passed to the parent process as JSON.

use std::{collections::BTreeMap, io, time::Duration};

use serde::{Deserialize, Serialize};

use super::http::Reply;

/// Different failures that are counted separately.
const MAX_TROUBLES: usize = 16;

/// Counts of one attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Deeds {
    /// What was done, with counts.
    pub(super) did: BTreeMap<String, u64>,
    /// HTTP answers by status; 0: no answer.
    pub(super) answers: BTreeMap<u16, u64>,
    /// The slowest answer, in milliseconds.
    pub(super) slowest_answer_ms: u64,
    /// Failures of the attackers, with counts.
    pub(super) troubles: BTreeMap<String, u64>,
    /// For attacks with a victim of their own: the longest time, in milliseconds, in which it received nothing.
    pub(super) victim_gap_ms: Option<u64>,
}

impl Deeds {
    /// Counts that something was done.
    pub(super) fn did(&mut self, what: &str, times: u64) {
        if times > 0 {
            *self.did.entry(what.to_owned()).or_default() += times;
        }
    }

    /// How often something was done.
    pub(super) fn count(&self, what: &str) -> u64 {
        self.did.get(what).copied().unwrap_or(0)
    }

    /// Counts an answer, or a missing one.
    pub(super) fn answered(&mut self, reply: &io::Result<Reply>) {
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        *self.answers.entry(status).or_default() += 1;
        if let Ok(reply) = reply {
            self.slowest_answer_ms = self.slowest_answer_ms.max(reply.took.as_millis() as u64);
        }
    }

    /// Counts a failure.
    pub(super) fn trouble(&mut self, what: &str) {
        let is_new = !self.troubles.contains_key(what);
        let key = if is_new && self.troubles.len() >= MAX_TROUBLES { "other" } else { what };
        *self.troubles.entry(key.to_owned()).or_default() += 1;
    }

    /// Notes how long the victim received nothing.
    pub(super) fn victim_waited(&mut self, gap: Duration) {
        let gap = gap.as_millis() as u64;
        self.victim_gap_ms = Some(self.victim_gap_ms.unwrap_or(0).max(gap));
    }

    /// Adds the counts of another attacker.
    pub(super) fn add(&mut self, other: &Deeds) {
        other.did.iter().for_each(|(what, times)| self.did(what, *times));
        for (status, times) in &other.answers {
            *self.answers.entry(*status).or_default() += times;
        }
        for (what, times) in &other.troubles {
            *self.troubles.entry(what.clone()).or_default() += times;
        }
        self.slowest_answer_ms = self.slowest_answer_ms.max(other.slowest_answer_ms);
        self.victim_gap_ms = self.victim_gap_ms.max(other.victim_gap_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_add_up_and_survive_the_way_to_the_parent() {
        let mut one = Deeds::default();
        one.did("packets", 3);
        one.trouble("http 403");
        one.answered(&Err(io::ErrorKind::TimedOut.into()));
        let mut two = one.clone();
        two.victim_waited(Duration::from_millis(40));
        two.add(&one);
        assert_eq!((two.count("packets"), two.answers[&0]), (6, 2));
        assert_eq!((two.victim_gap_ms, two.troubles["http 403"]), (Some(40), 2));
        let text = serde_json::to_string(&two).unwrap();
        assert_eq!(serde_json::from_str::<Deeds>(&text).unwrap(), two);
    }
}
