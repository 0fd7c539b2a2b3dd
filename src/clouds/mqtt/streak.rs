//! What a row of connections tells: how long to pause, whether somebody must act, what to think of unanswered messages. Pure.
//!
//! One lost connection means nothing. Three in a row that each came up and were ended by the broker within a minute mean
//! something, as long as the broker could be reached each time: a broker that restarts or a path that fails is unreachable
//! in between. MQTT 3.1.1 gives no reason when it closes, so the pattern is all there is.

use std::time::Duration;

use crate::uplink::link::Outcome;
use crate::uplink::policy;

/// A connection that lived this long proves the broker, and lets the pauses begin anew.
pub(super) const STABLE: Duration = Duration::from_secs(60);
/// So many alike are a pattern.
const PATTERN: u32 = 3;
/// A message no longer than this is not refused for its length: one reading never fills it, so shortening could lose one.
const SURELY_SHORT_BYTES: usize = 4096;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Where waiting alone mends nothing, it is slower.
const FIRST_SICK_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_SICK_PAUSE: Duration = Duration::from_secs(3600);

/// What is so, and what a person should do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sick {
    pub(super) why: String,
    pub(super) next_step: String,
}

/// How an attempt to have a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The daemon stops.
    Stopped,
    /// It never came up, for a reason that may pass.
    Unreachable(String),
    /// It never came up, for a reason that somebody must mend.
    Refused(Sick),
    /// It was up.
    Lost(Lost),
}

/// How a connection went that was up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) lived: Duration,
    /// Messages that left on it, and those that were acknowledged.
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    /// The other side ended it, not silence or a mistake on the wire.
    pub(super) by_peer: bool,
    pub(super) why: String,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What people are told.
    pub(super) words: String,
    /// Somebody must act.
    pub(super) sick: Option<Sick>,
    /// Until the next attempt.
    pub(super) pause: Duration,
    /// The broker is suspected of refusing the messages themselves.
    pub(super) messages_suspected: bool,
}

impl Verdict {
    /// What became of a message of `body_bytes` that had no answer when the connection ended.
    pub(super) fn unanswered(&self, body_bytes: usize) -> Outcome {
        match &self.sick {
            Some(_) if self.messages_suspected && body_bytes > SURELY_SHORT_BYTES => {
                Outcome::TooLarge { limit: Some(body_bytes / 2) }
            }
            Some(Sick { why, next_step }) if self.messages_suspected => {
                Outcome::LinkSick { why: why.clone(), next_step: next_step.clone() }
            }
            _ => Outcome::Unknown,
        }
    }
}

/// The row so far.
#[derive(Debug, Default)]
pub(super) struct Streak {
    /// Attempts since the last stable connection.
    attempts: u32,
    /// Of the kind that somebody must mend, in a row.
    refused: u32,
    /// Ended by the broker soon after it was up, in a row, with every message acknowledged.
    taken_over: u32,
    /// Ended by the broker with messages sent and none acknowledged, in a row.
    unheard: u32,
}

impl Streak {
    /// Takes the newest end into account. `random`: 64 random bits, for the pause.
    pub(super) fn after(&mut self, end: &End, client_id: &str, random: u64) -> Verdict {
        let (words, sick) = match end {
            End::Stopped => (String::new(), None),
            End::Unreachable(why) => {
                (self.refused, self.taken_over, self.unheard) = (0, 0, 0);
                (why.clone(), None)
            }
            End::Refused(sick) => {
                (self.taken_over, self.unheard) = (0, 0);
                (sick.why.clone(), Some(sick.clone()))
            }
            End::Lost(lost) => (lost.why.clone(), self.pattern(lost, client_id)),
        };
        let pause = if sick.is_some() {
            self.refused += 1;
            policy::backoff(self.refused - 1, FIRST_SICK_PAUSE, LONGEST_SICK_PAUSE, random)
        } else {
            self.refused = 0;
            self.attempts += 1;
            policy::backoff(self.attempts - 1, FIRST_PAUSE, LONGEST_PAUSE, random)
        };
        let words = sick.as_ref().map_or(words, |sick| format!("{}. {}", sick.why, sick.next_step));
        Verdict { words, sick, pause, messages_suspected: self.unheard >= PATTERN }
    }

    /// Whether another client with the same client id is suspected: worth saying even while the connection is up.
    pub(super) fn suspects_another_client(&self) -> bool {
        self.taken_over >= PATTERN
    }

    fn pattern(&mut self, lost: &Lost, client_id: &str) -> Option<Sick> {
        if lost.lived >= STABLE {
            self.attempts = 0;
        }
        let cut_short = lost.by_peer && lost.lived < STABLE;
        match (cut_short, lost.published, lost.acknowledged) {
            (false, ..) => (self.taken_over, self.unheard) = (0, 0),
            (true, published, acknowledged) if published == acknowledged => {
                (self.taken_over, self.unheard) = (self.taken_over.saturating_add(1), 0);
            }
            (true, _, 0) => {
                (self.taken_over, self.unheard) = (0, self.unheard.saturating_add(1));
            }
            // Some were acknowledged and some were not: that fits both, and proves neither.
            (true, ..) => {}
        }
        if self.unheard >= PATTERN {
            return Some(Sick {
                why: "the broker accepts the connection and closes it each time a message arrives, without \
                      acknowledging one"
                    .into(),
                next_step:
                    "Check at the broker that this client may publish to the configured topic and how long a \
                            message may be; its log says more"
                        .into(),
            });
        }
        self.suspects_another_client().then(|| Sick {
            why: format!(
                "the broker ends each connection soon after it is up: another client seems to use the client id \
                 \"{client_id}\""
            ),
            next_step: "Give each client its own client_id; stop the other gateway if this one replaces it".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn lost(lived: Duration, published: u64, acknowledged: u64) -> End {
        End::Lost(Lost { lived, published, acknowledged, by_peer: true, why: "closed by the broker".into() })
    }

    fn unreachable() -> End {
        End::Unreachable("connection refused".into())
    }

    fn refused() -> End {
        End::Refused(Sick { why: "wrong password".into(), next_step: "Mend it".into() })
    }

    #[test]
    fn pauses_grow_with_each_attempt_and_a_stable_connection_starts_them_over() {
        let mut streak = Streak::default();
        let pauses: Vec<Duration> =
            (0..12).map(|_| streak.after(&unreachable(), "gw", u64::MAX - 1).pause).collect();
        assert!(
            pauses.iter().all(|pause| *pause >= FIRST_PAUSE / 10 && *pause <= LONGEST_PAUSE),
            "{pauses:?}"
        );
        assert!(pauses[11] > FIRST_PAUSE, "{pauses:?}");
        assert!(streak.after(&lost(STABLE, 5, 5), "gw", u64::MAX).pause <= FIRST_PAUSE);
    }

    #[test]
    fn a_client_that_is_taken_over_again_and_again_is_slowed_and_told_why() {
        let mut streak = Streak::default();
        for (published, acknowledged) in [(0, 0), (3, 2), (3, 3)] {
            let verdict = streak.after(&lost(S, published, acknowledged), "gw-7", 0);
            assert_eq!(verdict.sick, None, "once or twice happens");
        }
        let verdict = streak.after(&lost(S, 0, 0), "gw-7", 0);
        assert!(verdict.words.contains("\"gw-7\"") && verdict.words.contains("client_id"), "{verdict:?}");
        assert!(verdict.pause >= FIRST_SICK_PAUSE / 10);
        assert!(streak.suspects_another_client());
        assert_eq!(verdict.unanswered(9000), Outcome::Unknown, "the messages are not to blame");
        streak.after(&lost(STABLE, 1, 1), "gw-7", 0);
        assert!(!streak.suspects_another_client(), "a stable connection clears the suspicion");
    }

    #[test]
    fn a_broker_that_restarts_is_not_mistaken_for_another_client() {
        let mut streak = Streak::default();
        for _ in 0..10 {
            assert_eq!(streak.after(&lost(S, 3, 1), "gw", 0).sick, None);
            assert_eq!(streak.after(&unreachable(), "gw", 0).sick, None);
        }
    }

    #[test]
    fn a_broker_that_closes_on_every_message_gets_shorter_ones_and_then_a_person() {
        let mut streak = Streak::default();
        assert_eq!(streak.after(&lost(S, 1, 0), "gw", 0).unanswered(16_000), Outcome::Unknown);
        assert_eq!(streak.after(&lost(S, 1, 0), "gw", 0).unanswered(16_000), Outcome::Unknown);
        let verdict = streak.after(&lost(S, 1, 0), "gw", 0);
        assert_eq!(verdict.unanswered(16_000), Outcome::TooLarge { limit: Some(8000) });
        let Outcome::LinkSick { why, next_step } = verdict.unanswered(4096) else { panic!("{verdict:?}") };
        assert!(why.contains("closes it each time") && next_step.contains("may publish"));
        assert!(!streak.suspects_another_client());
    }

    #[test]
    fn a_path_that_dies_in_silence_blames_nobody() {
        let mut streak = Streak::default();
        for _ in 0..10 {
            let End::Lost(mut silent) = lost(S, 1, 0) else { panic!() };
            silent.by_peer = false;
            let verdict = streak.after(&End::Lost(silent), "gw", 0);
            assert_eq!((verdict.sick.as_ref(), verdict.unanswered(16_000)), (None, Outcome::Unknown));
        }
    }

    #[test]
    fn a_refusal_is_tried_again_seldom_and_ever_more_seldom() {
        let mut streak = Streak::default();
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            let verdict = streak.after(&refused(), "gw", u64::MAX / 2);
            assert_eq!(verdict.words, "wrong password. Mend it");
            assert!(verdict.pause >= FIRST_SICK_PAUSE / 10 && verdict.pause <= LONGEST_SICK_PAUSE);
            assert_eq!(verdict.unanswered(9000), Outcome::Unknown);
            longest = longest.max(verdict.pause);
        }
        assert!(longest > FIRST_SICK_PAUSE);
    }
}
