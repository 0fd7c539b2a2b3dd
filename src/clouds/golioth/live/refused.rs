//! What the cloud refuses now. Pure.
//!
//! A report is told apart by its path: of two packages the cloud may know one. What was refused is not offered again for a while,
//! and after that while nobody knows any more whether it would be. Readings and what is observed are offered again by their
//! owners, at their own pace, so their refusal stands until the cloud takes them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Asked;
use crate::uplink::link::Outcome;

/// A report that the cloud refuses is not offered again before this.
const REPORTS: Duration = Duration::from_secs(600);
/// More paths than this are not remembered: the one that would be forgotten first is.
const MOST: usize = 64;

/// See the module head.
#[derive(Debug, Default)]
pub(super) struct Refused(BTreeMap<(Asked, String), Refusal>);

#[derive(Debug)]
struct Refusal {
    outcome: Outcome,
    /// None: until it is taken.
    until: Option<Duration>,
}

impl Refused {
    /// What is answered to this without asking the cloud.
    pub(super) fn stands(&self, asked: Asked, path: &str, now: Duration) -> Option<Outcome> {
        let refusal = self.0.get(&(asked, path.to_owned()))?;
        refusal.until.is_some_and(|until| now < until).then(|| refusal.outcome.clone())
    }

    /// The cloud answered. Whether that changes what it refuses.
    pub(super) fn answered(&mut self, asked: Asked, path: &str, now: Duration, outcome: &Outcome) -> bool {
        let key = (asked, path.to_owned());
        match outcome {
            Outcome::LinkSick { .. } if asked.concerns_one_thing() => false,
            Outcome::LinkSick { .. } => {
                if self.0.len() >= MOST && !self.0.contains_key(&key) {
                    let first =
                        self.0.iter().min_by_key(|(_, refusal)| refusal.until.unwrap_or(Duration::MAX));
                    if let Some(first) = first.map(|(key, _)| key.clone()) {
                        self.0.remove(&first);
                    }
                }
                let until = matches!(asked, Asked::Report(_)).then_some(now + REPORTS);
                let before = self.0.insert(key, Refusal { outcome: outcome.clone(), until });
                before.is_none_or(|before| before.outcome != *outcome)
            }
            Outcome::Acknowledged => self.0.remove(&key).is_some(),
            _ => false,
        }
    }

    /// Forgets what is over by its age; of each, what was asked.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Asked> {
        let mut over = Vec::new();
        self.0.retain(|(asked, _), refusal| {
            let stands = refusal.until.is_none_or(|until| now < until);
            if !stands {
                over.push(*asked);
            }
            stands
        });
        over
    }

    /// When the next is over by its age.
    pub(super) fn next_over(&self) -> Option<Duration> {
        self.0.values().filter_map(|refusal| refusal.until).min()
    }

    /// Whether any of these is refused.
    pub(super) fn any_of(&self, asked: Asked) -> bool {
        self.0.keys().any(|(other, _)| *other == asked)
    }

    /// For people: the one that matters most.
    pub(super) fn words(&self) -> Option<String> {
        self.0.values().find_map(|refusal| match &refusal.outcome {
            Outcome::LinkSick { why, next_step } => Some(format!("{why}. Next: {next_step}")),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clouds::golioth::services::{Kind, Watched};

    const REPORT: Asked = Asked::Report(Kind::Component);

    fn refused() -> Outcome {
        Outcome::LinkSick { why: "4.04".into(), next_step: "look".into() }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_package_that_is_not_known_keeps_no_other_from_being_reported() {
        let mut known = Refused::default();
        assert!(known.answered(REPORT, ".u/c/fan", at(1), &refused()));
        assert_eq!(known.stands(REPORT, ".u/c/fan", at(2)), Some(refused()));
        assert_eq!(known.stands(REPORT, ".u/c/main", at(2)), None);
        assert!(!known.answered(REPORT, ".u/c/main", at(3), &Outcome::Acknowledged));
        assert!(known.any_of(REPORT), "nor does another's success hide it");
        assert!(known.answered(REPORT, ".u/c/fan", at(4), &Outcome::Acknowledged));
        assert!(!known.any_of(REPORT) && known.words().is_none());
    }

    #[test]
    fn a_refused_report_is_forgotten_after_ten_minutes_and_refused_readings_are_not() {
        let mut known = Refused::default();
        known.answered(REPORT, ".u/c/fan", at(0), &refused());
        known.answered(Asked::Send, "", at(0), &refused());
        known.answered(Asked::Watch(Watched::Calls), "", at(0), &refused());
        assert_eq!((known.next_over(), known.expire(at(599))), (Some(at(600)), Vec::new()));
        assert_eq!((known.expire(at(600)), known.next_over()), (vec![REPORT], None));
        assert!(known.any_of(Asked::Send) && known.any_of(Asked::Watch(Watched::Calls)));
        assert_eq!(known.stands(Asked::Send, "", at(1)), None, "their owners offer them again");
    }

    #[test]
    fn an_answer_that_came_too_late_for_its_call_says_nothing_of_the_next() {
        let mut known = Refused::default();
        let answer = Asked::Report(Kind::Answer);
        assert!(!known.answered(answer, ".rpc/status", at(0), &refused()));
        assert_eq!((known.stands(answer, ".rpc/status", at(1)), known.words()), (None, None));
    }

    #[test]
    fn a_cloud_that_refuses_ever_new_paths_fills_no_memory() {
        let mut known = Refused::default();
        known.answered(Asked::Send, "", at(0), &refused());
        for n in 0..1000 {
            known.answered(REPORT, &format!(".u/c/{n}"), at(n), &refused());
        }
        assert_eq!(known.0.len(), MOST);
        assert!(known.any_of(Asked::Send) && known.stands(REPORT, ".u/c/999", at(999)).is_some());
    }
}
