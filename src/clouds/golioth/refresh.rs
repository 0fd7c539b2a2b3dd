//! When to register for something observed again: a sign of life, and the only way a lost observation is found. Pure.
//!
//! After a silence of one keepalive; while other traffic shows that the path is open, only every fourth; sooner, within an
//! allowance, after notifications were missed (`tighten`), and then whatever the traffic; soon after the path was in doubt, because what
//! the cloud said meanwhile may be lost; ever more seldom while the cloud refuses.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::tighten::Tighten;
use crate::sabotage;
use crate::uplink::policy;

/// With traffic the registration is renewed once in so many keepalives.
const WITH_TRAFFIC: u32 = 4;
/// After a registration without an answer, or once a doubtful path is heard of again.
const SOON: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::from_secs(1);
/// For so long the cloud repeats what nobody has acknowledged (RFC 7252 section 4.8.2: MAX_TRANSMIT_SPAN is 45 s); then it takes
/// an observer for gone.
const DELIVERED_WITHIN: Duration = Duration::from_secs(20);
/// A registration is taken for lost after this, whatever the protocol says of it.
const LOST: Duration = Duration::from_secs(150);
/// Pauses after refusals: the first is below this, the last below the other.
const FIRST_REFUSED: Duration = Duration::from_secs(120);
const LAST_REFUSED: Duration = Duration::from_secs(3600);

/// A registration that alone is not answered so often in a row is ignored.
pub(super) const IGNORED: u32 = 3;
/// Pauses where what comes is of no use and costs its bytes.
const FIRST_UNUSABLE: Duration = Duration::from_secs(1800);
const LAST_UNUSABLE: Duration = Duration::from_secs(6 * 3600);

/// See the module head.
#[derive(Debug)]
pub(super) struct Refresh {
    keepalive: Duration,
    /// From the last registration to the next, where no traffic puts it off.
    interval: Duration,
    tighten: Tighten,
    /// The digest of what the cloud last said, once it has.
    content: Option<[u8; 32]>,
    /// The path was in doubt since: that a notification is missing says nothing of what the network forgets.
    doubted: bool,
    heard: Duration,
    registered: Duration,
    asked: Option<Duration>,
    soon: Option<Duration>,
    refusals: u32,
    /// Registrations in a row that got no answer while something else was heard.
    ignored: u32,
}

impl Refresh {
    /// Of a session that begins now, with a registration to be made at once.
    pub(super) fn new(now: Duration, keepalive: Duration) -> Self {
        Self::with(now, keepalive, now, Some(now))
    }

    /// Of a session of an earlier run, of which nothing was heard for `silent`; whether the cloud serves the registration still.
    pub(super) fn resumed(now: Duration, keepalive: Duration, silent: Duration, registered: bool) -> Self {
        let then = now.saturating_sub(silent);
        let soon = match registered {
            false => Some(now),
            true => (silent > DELIVERED_WITHIN).then_some(now + AT_ONCE),
        };
        Self::with(now, keepalive, then, soon)
    }

    fn with(now: Duration, keepalive: Duration, heard: Duration, soon: Option<Duration>) -> Self {
        let keepalive = if sabotage::on("chatty-keepalive") { keepalive / 4 } else { keepalive };
        Self {
            keepalive,
            interval: keepalive,
            tighten: Tighten::new(now, keepalive, 0),
            content: None,
            doubted: false,
            heard,
            registered: heard,
            asked: None,
            soon,
            refusals: 0,
            ignored: 0,
        }
    }

    /// Missed notifications may make up to so many registrations more in a day.
    pub(super) fn with_extra(self, now: Duration, extra: u32) -> Self {
        Self { tighten: Tighten::new(now, self.keepalive, extra), ..self }
    }

    /// Another keepalive is declared, and another allowance.
    pub(super) fn retime(&mut self, now: Duration, keepalive: Duration, extra: u32) {
        self.keepalive = keepalive;
        self.interval = keepalive;
        self.tighten = Tighten::new(now, keepalive, extra);
    }

    /// The keepalive of what is registered for as often as this while other traffic is heard.
    pub(super) fn keepalive_for(seldom: Duration) -> Duration {
        seldom / WITH_TRAFFIC
    }

    /// When to register.
    pub(super) fn due(&self) -> Duration {
        if let Some(asked) = self.asked {
            return asked + LOST;
        }
        if self.interval < self.keepalive {
            return self.soon.unwrap_or(self.registered + self.interval);
        }
        let silence = self.heard.max(self.registered) + self.keepalive;
        self.soon.unwrap_or(silence.min(self.registered + self.keepalive * WITH_TRAFFIC))
    }

    /// Whether it registers soon, whatever the intervals say.
    pub(super) fn is_soon(&self) -> bool {
        self.soon.is_some()
    }

    /// Registers then, whatever the intervals say.
    pub(super) fn at(&mut self, at: Duration) {
        self.soon = Some(at);
    }

    /// A registration has left.
    pub(super) fn asked(&mut self, now: Duration) {
        self.asked = Some(now);
        self.soon = None;
    }

    /// The peer said something, whatever it was.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// The registration, or a notification, came and said this. Whether it tells of a notification that was missed.
    ///
    /// One that comes while a registration is under way is taken for its answer: at worst the interval is halved for nothing.
    pub(super) fn said(&mut self, now: Duration, content: &[u8]) -> bool {
        let digest = Sha256::digest(content).into();
        let before = self.content.replace(digest);
        let missed = match (self.asked.is_some(), before.is_some_and(|before| before != digest)) {
            (true, true) => !std::mem::take(&mut self.doubted),
            (true, false) => {
                self.tighten.nothing_new();
                false
            }
            (false, _) => {
                self.tighten.told();
                false
            }
        };
        if missed {
            self.tighten.missed();
        }
        self.answered(now);
        missed
    }

    /// The registration was answered.
    pub(super) fn answered(&mut self, now: Duration) {
        self.asked = None;
        self.doubted = false;
        self.registered = now;
        self.refusals = 0;
        self.ignored = 0;
        self.interval = self.tighten.interval(now);
    }

    /// The cloud refuses the registration. `random` is any 64 random bits.
    pub(super) fn refused(&mut self, now: Duration, random: u64) {
        self.asked = None;
        self.soon = Some(now + policy::backoff(self.refusals, FIRST_REFUSED, LAST_REFUSED, random));
        self.refusals = self.refusals.saturating_add(1);
    }

    /// What came is of no use, and would come again. After how long it is asked for again.
    pub(super) fn unusable(&mut self, now: Duration, random: u64) -> Duration {
        let most = FIRST_UNUSABLE.saturating_mul(1 << self.refusals.min(8)).min(LAST_UNUSABLE);
        // From the half of it on: the first pauses of many gateways must not be near nothing.
        let pause = most / 2 + policy::backoff(0, most / 2, most / 2, random);
        self.asked = None;
        self.soon = Some(now + pause);
        self.refusals = self.refusals.saturating_add(1);
        pause
    }

    /// The registration, or another request, got no answer.
    pub(super) fn unanswered(&mut self, now: Duration) {
        self.asked = None;
        self.sooner(now + SOON);
    }

    /// The registration itself got no answer. How often in a row that was so although something else was heard: then it is not
    /// the path, and each time costs its repetitions.
    pub(super) fn lost(&mut self, now: Duration) -> u32 {
        if self.asked.is_some_and(|asked| self.heard <= asked) {
            self.ignored = 0;
            self.unanswered(now);
            return 0;
        }
        self.asked = None;
        self.doubted = true;
        let pause = SOON.saturating_mul(1 << self.ignored.min(7)).min(LAST_REFUSED);
        self.ignored = self.ignored.saturating_add(1);
        self.soon = Some(now + pause);
        self.ignored
    }

    /// The path was silent although an answer was due, and is not any more.
    pub(super) fn path_is_back(&mut self, now: Duration) {
        self.sooner(now + AT_ONCE);
    }

    fn sooner(&mut self, at: Duration) {
        self.doubted = true;
        // The pause after refusals, or after having been ignored, is not shortened by a bad path.
        if self.refusals == 0 && self.ignored < IGNORED {
            self.soon = Some(self.soon.map_or(at, |soon| soon.min(at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn registered() -> Refresh {
        let mut refresh = Refresh::new(Duration::ZERO, 15 * MINUTE);
        assert_eq!(refresh.due(), Duration::ZERO);
        refresh.asked(Duration::ZERO);
        refresh.answered(Duration::ZERO);
        refresh
    }

    #[test]
    fn a_registration_that_alone_is_not_answered_is_made_ever_more_seldom() {
        let mut refresh = registered();
        let (mut now, mut pauses) = (MINUTE, Vec::new());
        for _ in 0..9 {
            refresh.asked(now);
            refresh.heard(now + MINUTE);
            now += 2 * MINUTE;
            refresh.lost(now);
            pauses.push((refresh.due() - now).as_secs());
            now = refresh.due();
        }
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        refresh.asked(now);
        assert_eq!(refresh.lost(now + MINUTE), 0, "nothing else was heard either");
        assert_eq!(refresh.due(), now + MINUTE + SOON);
        refresh.asked(now);
        refresh.answered(now);
        refresh.asked(now);
        refresh.heard(now + MINUTE);
        assert_eq!(refresh.lost(now + 2 * MINUTE), 1, "an answer ends it");
    }

    #[test]
    fn silence_is_broken_once_a_keepalive() {
        assert_eq!(registered().due(), 15 * MINUTE);
    }

    #[test]
    fn traffic_puts_it_off_but_not_for_ever() {
        let mut refresh = registered();
        for minute in 0..59 {
            refresh.heard(minute * MINUTE);
            assert!(refresh.due() > minute * MINUTE, "{minute}");
        }
        assert_eq!(refresh.due(), 60 * MINUTE);
    }

    /// Registered with leave for four more a day, and something heard.
    fn watching() -> Refresh {
        let mut refresh = registered().with_extra(Duration::ZERO, 4);
        refresh.asked(Duration::ZERO);
        assert!(!refresh.said(Duration::ZERO, b"1"), "the first says nothing of a change");
        refresh
    }

    fn ask(refresh: &mut Refresh, now: Duration, content: &[u8]) -> bool {
        refresh.asked(now);
        refresh.said(now, content)
    }

    #[test]
    fn a_change_that_only_asking_finds_has_it_asked_for_sooner_whatever_the_traffic() {
        let mut refresh = watching();
        assert!(ask(&mut refresh, 15 * MINUTE, b"2"));
        refresh.heard(20 * MINUTE);
        assert_eq!(refresh.due(), 15 * MINUTE + 15 * MINUTE / 2);
    }

    #[test]
    fn a_change_that_a_notification_tells_of_changes_no_interval() {
        let mut refresh = watching();
        assert!(!refresh.said(MINUTE, b"2"));
        assert!(!ask(&mut refresh, 15 * MINUTE, b"2"));
        assert_eq!(refresh.due(), 30 * MINUTE);
    }

    #[test]
    fn what_an_outage_explains_is_no_missed_notification() {
        let mut refresh = watching();
        refresh.path_is_back(MINUTE);
        assert!(!ask(&mut refresh, MINUTE + AT_ONCE, b"2"));
        assert_eq!(refresh.due(), MINUTE + AT_ONCE + 15 * MINUTE);
        assert!(ask(&mut refresh, 20 * MINUTE, b"3"), "and the next one is again");
    }

    #[test]
    fn a_path_that_was_in_doubt_is_asked_soon() {
        let mut refresh = registered();
        refresh.unanswered(MINUTE);
        assert_eq!(refresh.due(), MINUTE + SOON);
        refresh.path_is_back(MINUTE + AT_ONCE);
        assert_eq!(refresh.due(), MINUTE + 2 * AT_ONCE);
    }

    #[test]
    fn a_session_taken_up_soon_goes_on_as_it_was_and_later_asks_what_it_missed() {
        let now = 60 * MINUTE;
        let due = |silent, registered| Refresh::resumed(now, 15 * MINUTE, silent, registered).due();
        assert_eq!(due(5 * AT_ONCE, true), now - 5 * AT_ONCE + 15 * MINUTE);
        assert_eq!(due(MINUTE, true), now + AT_ONCE);
        assert_eq!(due(5 * AT_ONCE, false), now);
    }

    #[test]
    fn refusals_make_it_seldom_and_doubt_does_not_change_that() {
        let mut refresh = registered();
        let mut now = Duration::ZERO;
        let mut asked = 0;
        while now < 24 * 60 * MINUTE {
            now = refresh.due();
            refresh.asked(now);
            refresh.refused(now, u64::MAX / 2);
            refresh.unanswered(now);
            refresh.path_is_back(now);
            asked += 1;
        }
        assert!(asked < 60, "{asked} a day");
    }

    #[test]
    fn a_registration_whose_end_nobody_reports_is_repeated() {
        let mut refresh = registered();
        refresh.asked(MINUTE);
        assert_eq!(refresh.due(), MINUTE + LOST);
    }
}
