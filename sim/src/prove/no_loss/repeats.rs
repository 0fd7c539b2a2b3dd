//! What came to the cloud twice, traced to what interrupted the daemon. Pure.
//!
//! A reading may come again for two reasons only. It was *in flight*: its message had no answer yet when the daemon was killed
//! or gave the session or the message up; of those there are at most a window of messages each time, none of which had come
//! longer before than a message may wait for its answer. A message is given up within its session only after all its copies had
//! time to be answered. Or the reading was *unsettled*: answered, but so shortly before a kill that the answer was not on disk. When each copy came is the
//! cloud's own record, so both are judged message by message, and what neither explains is named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cloud::{Arrival, Intake};

/// What interrupted the way of a message, by the life and the session it had come in: the kill that ended that life, or what the
/// same life repeated it in.
type Interruption = (usize, Duration, Option<Duration>);

/// Readings that came again, by why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Answered, and not settled on disk before the kill.
    pub(super) unsettled: u64,
    /// In flight at a kill.
    pub(super) in_flight_at_kill: u64,
    /// In flight when a session or a message was given up.
    pub(super) given_up: u64,
    /// None of these.
    pub(super) beyond: u64,
    /// The first message of those, in words.
    pub(super) first_beyond: Option<String>,
}

/// What the handshakes of a new session may take over a link that loses much.
const HANDSHAKE_TAKES: Duration = Duration::from_secs(60);

/// A kill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// When the daemon was dead.
    pub(super) at: Duration,
    /// The machine held things up for so long lately.
    pub(super) stalled: Duration,
}

/// What a daemon may have in hand when it is interrupted.
#[derive(Debug, Clone, Copy)]
pub(super) struct InHand {
    /// Messages in flight at most.
    pub(super) messages: usize,
    /// None waits longer for its answer.
    pub(super) answered_within: Duration,
    /// None is given up earlier after it came, unless its session ends.
    pub(super) given_up_after: Duration,
    /// An answer is on disk so long after the message had come to the cloud.
    pub(super) settled_within: Duration,
}

impl Repeated {
    /// Judges what one cloud heard of one gateway that was killed at `deaths`, in order.
    pub(super) fn of(intake: &Intake, deaths: &[Death], in_hand: InHand) -> Self {
        let mut judged = Self::default();
        // Of each interruption: the messages that came again, and their readings.
        let mut stale: BTreeMap<Interruption, BTreeMap<usize, u64>> = BTreeMap::new();
        let mut known = 0;
        for repeat in intake.repeats() {
            known += repeat.readings;
            let arrival = |place: usize| intake.arrivals().get(place).copied().unwrap_or_default();
            let (earlier, later) = (arrival(repeat.earlier), arrival(repeat.later));
            let life = life_of(earlier, deaths);
            let kill = deaths.get(life).filter(|_| life_of(later, deaths) != life);
            // A message under way at the kill comes after it.
            let unsettled =
                |kill: &Death| kill.at.saturating_sub(earlier.at) <= in_hand.settled_within + kill.stalled;
            if kill.is_some_and(unsettled) {
                judged.unsettled += repeat.readings;
                continue;
            }
            let may_have_been_in_flight = match kill {
                Some(kill) => kill.at.saturating_sub(earlier.at) <= in_hand.answered_within + kill.stalled,
                None if later.session_since == earlier.session_since => {
                    later.at.saturating_sub(earlier.at) >= in_hand.given_up_after
                }
                // It came in the old session; the new one is there as soon as the link is.
                None => {
                    later.session_since.saturating_sub(earlier.at)
                        <= in_hand.answered_within + HANDSHAKE_TAKES
                }
            };
            if !may_have_been_in_flight {
                judged.beyond += repeat.readings;
                judged.first_beyond.get_or_insert_with(|| {
                    format!(
                        "message {} of life {life}, which came at {:?} and again at {:?}",
                        repeat.earlier, earlier.at, later.at
                    )
                });
                continue;
            }
            let repeated_in = kill.is_none().then_some(later.session_since);
            let interruption = (life, earlier.session_since, repeated_in);
            *stale.entry(interruption).or_default().entry(repeat.earlier).or_default() += repeat.readings;
        }
        for (interruption, messages) in stale {
            judged.explain(interruption, &messages, in_hand.messages);
        }
        // More than the cloud keeps a record of: nothing explains those.
        judged.beyond += intake.counts().duplicates.saturating_sub(known);
        judged
    }

    /// Adds another gateway's.
    pub(super) fn add(&mut self, other: &Self) {
        self.unsettled += other.unsettled;
        self.in_flight_at_kill += other.in_flight_at_kill;
        self.given_up += other.given_up;
        self.beyond += other.beyond;
    }

    fn explain(
        &mut self,
        (life, _, repeated_in): Interruption,
        messages: &BTreeMap<usize, u64>,
        window: usize,
    ) {
        let explained = if repeated_in.is_some() { &mut self.given_up } else { &mut self.in_flight_at_kill };
        // Whatever was in flight came last.
        let in_flight: BTreeSet<usize> = messages.keys().rev().take(window).copied().collect();
        for (message, readings) in messages {
            if in_flight.contains(message) {
                *explained += readings;
                continue;
            }
            self.beyond += readings;
            self.first_beyond.get_or_insert_with(|| {
                let cause = if repeated_in.is_some() { "a session was given up" } else { "the kill" };
                format!(
                    "message {message} of life {life}, of which {} messages came again after {cause}",
                    messages.len()
                )
            });
        }
    }
}

/// In which life a message was sent: that of its session, however late it came.
fn life_of(arrival: Arrival, deaths: &[Death]) -> usize {
    deaths.partition_point(|death| death.at < arrival.session_since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::Repeat;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const KILL: Death = Death { at: Duration::from_secs(100), stalled: Duration::ZERO };
    const IN_HAND: InHand = InHand {
        messages: 8,
        answered_within: Duration::from_secs(60),
        given_up_after: Duration::from_secs(15),
        settled_within: Duration::from_secs(1),
    };

    /// Killed at 100 s; sessions at 1 s, at 50 s and, in the next life, at 101 s. One message a second, each with ten readings.
    fn heard(repeated: impl IntoIterator<Item = (u64, u64)>) -> Repeated {
        let session = |at| {
            if at < 50 {
                S(1)
            } else if at <= 100 {
                S(50)
            } else {
                S(101)
            }
        };
        let arrivals: Vec<Arrival> =
            (0..200).map(|at| Arrival { at: S(at), session_since: session(at) }).collect();
        let repeats = repeated.into_iter().map(|(earlier, later)| Repeat {
            earlier: earlier as usize,
            later: later as usize,
            readings: 10,
        });
        Repeated::of(&Intake::heard(arrivals, repeats), &[KILL], IN_HAND)
    }

    #[test]
    fn what_was_answered_a_moment_before_the_kill_may_come_again() {
        assert_eq!(heard([(99, 102), (100, 102)]), Repeated { unsettled: 20, ..Repeated::default() });
    }

    #[test]
    fn an_answer_that_the_machine_held_up_may_be_unsettled_for_longer() {
        let slow = Death { stalled: S(15), ..KILL };
        let arrivals =
            (0..102).map(|at| Arrival { at: S(at), session_since: S(if at > 100 { 101 } else { 1 }) });
        let repeats = (84..95).map(|earlier| Repeat { earlier, later: 101, readings: 10 });
        let heard = Intake::heard(arrivals.collect(), repeats);
        assert_eq!(
            Repeated::of(&heard, &[slow], IN_HAND),
            Repeated { unsettled: 110, ..Repeated::default() }
        );
        assert_eq!(Repeated::of(&heard, &[KILL], IN_HAND).beyond, 30);
    }

    #[test]
    fn of_what_came_earlier_a_window_of_messages_may_have_been_in_flight() {
        let eight = heard((80..88).map(|at| (at, 110)));
        assert_eq!(eight, Repeated { in_flight_at_kill: 80, ..Repeated::default() });
        let ten = heard((80..90).map(|at| (at, 110)));
        assert_eq!((ten.in_flight_at_kill, ten.beyond), (80, 20));
        assert!(
            ten.first_beyond.unwrap().starts_with("message 80 of life 0, of which 10 messages came again")
        );
    }

    #[test]
    fn within_a_life_only_what_was_in_flight_when_a_session_was_given_up_may_come_again() {
        let two = heard([(48, 51), (49, 51)]);
        assert_eq!(two, Repeated { given_up: 20, ..Repeated::default() });
        let nine = heard((41..50).map(|at| (at, 60)));
        assert_eq!((nine.given_up, nine.beyond), (80, 10));
    }

    #[test]
    fn what_came_longer_before_than_an_answer_is_waited_for_was_not_in_flight() {
        assert_eq!(heard([(40, 110)]), Repeated { in_flight_at_kill: 10, ..Repeated::default() });
        // The session of 1 s was long over at the kill, and this one had been there for a minute.
        let arrivals =
            vec![Arrival { at: S(39), session_since: S(1) }, Arrival { at: S(110), session_since: S(101) }];
        let intake = Intake::heard(arrivals, [Repeat { earlier: 0, later: 1, readings: 10 }]);
        let judged = Repeated::of(&intake, &[KILL], IN_HAND);
        assert_eq!((judged.in_flight_at_kill, judged.beyond), (0, 10));
        assert!(judged.first_beyond.unwrap().contains("came at 39s and again at 110s"));
    }

    #[test]
    fn within_a_session_a_message_is_given_up_only_after_its_copies_could_be_answered() {
        assert_eq!(heard([(60, 75)]), Repeated { given_up: 10, ..Repeated::default() });
        assert_eq!(heard([(60, 74)]).beyond, 10);
    }

    #[test]
    fn a_message_is_of_the_life_that_sent_it_however_late_it_comes() {
        // Session of the killed life, arrival after the kill.
        let late = Arrival { at: S(100) + Duration::from_millis(60), session_since: S(50) };
        assert_eq!(life_of(late, &[KILL]), 0);
        assert_eq!(life_of(Arrival { session_since: S(101), ..late }, &[KILL]), 1);
    }

    #[test]
    fn a_copy_that_is_on_no_record_is_explained_by_nothing() {
        let mut intake = Intake::heard(Vec::new(), []);
        intake.heard_again(7);
        assert_eq!(Repeated::of(&intake, &[], IN_HAND).beyond, 7);
    }
}
