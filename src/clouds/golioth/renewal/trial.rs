//! Which of two certificates a handshake shows, and what its end says of them. Pure.
//!
//! Invariant: the one in use is given up only for one with which a handshake succeeded.

use std::time::Duration;

/// A handshake with the new one that nobody answered proves little. It is tried so often before it is given up, each time only
/// if one with the certificate in use succeeded after it.
const SILENCES: u32 = 3;
/// Between those.
const AGAIN: Duration = Duration::from_secs(3600);

/// A certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::clouds::golioth) enum Shown {
    /// The one in use.
    Current,
    /// The one that is to replace it.
    Fresh,
}

/// How a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::clouds::golioth) enum NotAccepted<'a> {
    /// The cloud refused, in these words.
    Refused(&'a str),
    /// So it seems; but anyone could have sent that.
    Hinted(&'a str),
    /// Nothing was heard.
    Silent,
}

/// What a handshake that succeeded says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing new.
    Goes,
    /// The new one does: it is the one in use from now on.
    FreshHolds,
    /// The new one does not, and the one in use does; why, in words.
    FreshFails(String),
}

/// How a new certificate fares. A fresh one for each.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// The one in use is shown next, to tell whether it fares better.
    compare: bool,
    refused: Option<String>,
    /// What anyone could have said in the cloud's name: no more than silence, but worth telling.
    hinted: Option<String>,
    silent: bool,
    silences: u32,
    not_before: Duration,
}

impl Trial {
    /// What the next handshake shows.
    pub(super) fn shows(&self, now: Duration) -> Shown {
        if self.compare || now < self.not_before { Shown::Current } else { Shown::Fresh }
    }

    /// The new one is not shown before then, if the one in use still serves.
    pub(super) fn later(&mut self, until: Duration) {
        self.not_before = self.not_before.max(until);
    }

    /// A handshake failed.
    pub(super) fn failed(&mut self, shown: Shown, why: NotAccepted<'_>) {
        match shown {
            Shown::Fresh => {
                self.compare = true;
                match why {
                    NotAccepted::Refused(words) => self.refused = Some(words.to_owned()),
                    NotAccepted::Hinted(words) => {
                        self.silent = true;
                        self.hinted = Some(words.to_owned());
                    }
                    NotAccepted::Silent => self.silent = true,
                }
            }
            // Neither goes, so it says nothing of either. The one in use may have ended: the new one is tried in turn.
            Shown::Current => {
                self.compare = false;
                self.not_before = Duration::ZERO;
            }
        }
    }

    /// A handshake succeeded.
    pub(super) fn succeeded(&mut self, now: Duration, shown: Shown) -> Verdict {
        let (refused, silent) = (self.refused.take(), std::mem::take(&mut self.silent));
        self.compare = false;
        match (shown, refused) {
            (Shown::Fresh, _) => Verdict::FreshHolds,
            (Shown::Current, Some(words)) => Verdict::FreshFails(format!("the cloud refuses it: {words}")),
            (Shown::Current, None) if silent => {
                self.silences += 1;
                self.not_before = now + AGAIN;
                if self.silences < SILENCES {
                    return Verdict::Goes;
                }
                Verdict::FreshFails(match self.hinted.take() {
                    Some(words) => format!("the cloud refuses it: {words}"),
                    None => "the cloud does not answer when it is shown".to_owned(),
                })
            }
            (Shown::Current, None) => Verdict::Goes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: Duration = Duration::from_secs(1000);

    #[test]
    fn a_new_certificate_is_shown_first_and_in_use_once_a_handshake_with_it_succeeds() {
        let mut trial = Trial::default();
        assert_eq!(trial.shows(T), Shown::Fresh);
        assert_eq!(trial.succeeded(T, Shown::Fresh), Verdict::FreshHolds);
    }

    #[test]
    fn one_that_is_refused_is_given_up_when_the_one_in_use_is_taken_and_not_before() {
        let mut trial = Trial::default();
        trial.failed(Shown::Fresh, NotAccepted::Refused("unknown_ca"));
        assert_eq!(trial.shows(T), Shown::Current);
        // Nor does that one go: who knows who is at the other end.
        trial.failed(Shown::Current, NotAccepted::Refused("access_denied"));
        assert_eq!(trial.shows(T), Shown::Fresh);
        trial.failed(Shown::Fresh, NotAccepted::Refused("unknown_ca"));
        let verdict = trial.succeeded(T, Shown::Current);
        assert!(matches!(&verdict, Verdict::FreshFails(why) if why.contains("unknown_ca")), "{verdict:?}");
    }

    #[test]
    fn one_that_nobody_answers_is_tried_three_times_an_hour_apart() {
        let mut trial = Trial::default();
        let mut now = T;
        for _ in 0..2 {
            assert_eq!(trial.shows(now), Shown::Fresh);
            trial.failed(Shown::Fresh, NotAccepted::Silent);
            assert_eq!(trial.succeeded(now, Shown::Current), Verdict::Goes);
            assert_eq!(trial.shows(now + AGAIN / 2), Shown::Current);
            now += AGAIN;
        }
        trial.failed(Shown::Fresh, NotAccepted::Silent);
        assert!(matches!(trial.succeeded(now, Shown::Current), Verdict::FreshFails(_)));
    }

    #[test]
    fn a_refusal_that_anyone_could_have_sent_is_worth_as_much_as_silence_and_is_told_in_the_end() {
        let mut trial = Trial::default();
        for time in 0..3 {
            assert_eq!(trial.shows(T + AGAIN * time), Shown::Fresh);
            trial.failed(Shown::Fresh, NotAccepted::Hinted("unknown_ca"));
            let verdict = trial.succeeded(T + AGAIN * time, Shown::Current);
            match time {
                2 => assert!(
                    matches!(&verdict, Verdict::FreshFails(why) if why.contains("unknown_ca")),
                    "{verdict:?}"
                ),
                _ => assert_eq!(verdict, Verdict::Goes),
            }
        }
    }

    #[test]
    fn where_the_one_in_use_has_ended_the_new_one_is_tried_again_at_once() {
        let mut trial = Trial::default();
        trial.failed(Shown::Fresh, NotAccepted::Silent);
        trial.failed(Shown::Current, NotAccepted::Refused("certificate_expired"));
        assert_eq!(trial.shows(T), Shown::Fresh);
    }

    proptest! {
        /// Whatever the cloud does: the new one is in use only after a handshake with it, and given up only after one without it
        /// that followed a failure of it. It is shown again and again until one of the two.
        #[test]
        fn neither_certificate_is_given_up_without_a_handshake(fates in prop::collection::vec(0..3u8, 1..64)) {
            let mut trial = Trial::default();
            let mut now = T;
            let (mut failed, mut shown_fresh) = (false, 0);
            for fate in fates {
                let shown = trial.shows(now);
                shown_fresh += u32::from(shown == Shown::Fresh);
                match fate {
                    0 => {
                        let verdict = trial.succeeded(now, shown);
                        match verdict {
                            Verdict::FreshHolds => prop_assert_eq!(shown, Shown::Fresh),
                            Verdict::FreshFails(_) => prop_assert!(shown == Shown::Current && failed),
                            Verdict::Goes => prop_assert_eq!(shown, Shown::Current),
                        }
                        if verdict != Verdict::Goes {
                            return Ok(());
                        }
                    }
                    refused => {
                        failed |= shown == Shown::Fresh;
                        trial.failed(shown, if refused == 1 { NotAccepted::Refused("no") } else { NotAccepted::Silent });
                    }
                }
                now += AGAIN;
            }
            prop_assert!(shown_fresh > 0);
        }
    }
}
