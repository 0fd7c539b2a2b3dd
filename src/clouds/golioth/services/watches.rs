//! What is observed, and when each is asked for again. Pure.
//!
//! The desired state is the control document: it is asked for after each keepalive of silence, which is the link's sign of life, and
//! more often for a while where a change was found that no notification told of (`tighten`). Where it names what else changed
//! ([`Announced`]), that is asked for. Where it has changed and names nothing, everything is asked for, so that an operator
//! who writes there reaches a gateway whose other observations were lost. They are asked for daily as well; and all of them
//! once the path was in doubt, because what the cloud said meanwhile may be lost.
//!
//! A session that begins asks for everything, because what is not observed is not told. But settings and manifest that were looked at
//! within the day wait for the control document: where that names what is held, they wait for their time, and the document tells
//! of changes instead of them.

use std::time::Duration;

use fieldgate_coap as coap;
use fieldgate_coap::ObservationId;
use sha2::{Digest, Sha256};

use super::{calls, firmware, settings, state};
use crate::clouds::golioth::announced::{Announced, Rest};
use crate::clouds::golioth::looks::Known;
use crate::clouds::golioth::refresh::Refresh;
use crate::config::Liveness;
use crate::uplink::link::CloudEvent;

/// What the cloud is observed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::clouds::golioth) enum Watched {
    Desired,
    Manifest,
    Calls,
    Settings,
}

/// How many there are.
const WATCHED: usize = 4;

impl Watched {
    /// All of them, in the order in which they are asked for.
    const ALL: [Self; WATCHED] = [Self::Desired, Self::Manifest, Self::Calls, Self::Settings];

    /// Which of the rest it is, if it is.
    fn rest(self) -> Option<Rest> {
        match self {
            Self::Settings => Some(Rest::Settings),
            Self::Manifest => Some(Rest::Manifest),
            Self::Desired | Self::Calls => None,
        }
    }

    /// The request that observes it.
    pub(in crate::clouds::golioth) fn request(self) -> coap::Request {
        let get = match self {
            Self::Desired => state::get(),
            Self::Manifest => firmware::get(),
            Self::Calls => calls::get(),
            Self::Settings => settings::get(),
        };
        coap::Request { max_body: Some(self.most_bytes()), ..get }
    }

    /// What is longer is left at the cloud: whoever writes there must not spend the data plan.
    pub(in crate::clouds::golioth) fn most_bytes(self) -> usize {
        match self {
            Self::Desired | Self::Settings | Self::Manifest => 16 * 1024,
            Self::Calls => 4 * 1024,
        }
    }

    /// How often it is asked for while nothing is heard, and how many times more a day.
    fn declared(self, liveness: Liveness) -> (Duration, u32) {
        match self {
            Self::Desired => (liveness.keepalive, liveness.extra),
            _ => (Refresh::keepalive_for(liveness.seldom), 0),
        }
    }

    /// For people.
    pub(in crate::clouds::golioth) fn words(self) -> &'static str {
        match self {
            Self::Desired => "the desired state",
            Self::Manifest => "the manifest",
            Self::Calls => "remote calls",
            Self::Settings => "the settings",
        }
    }
}

/// The observations that a session begins with.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::clouds::golioth) struct Observed([Option<ObservationId>; WATCHED]);

impl Observed {
    /// What a request observes, if it is one of ours.
    pub(in crate::clouds::golioth) fn watched(request: &coap::Request) -> Option<Watched> {
        Watched::ALL.into_iter().find(|watched| watched.request().path == request.path)
    }

    /// The cloud serves this one already.
    pub(in crate::clouds::golioth) fn set(&mut self, watched: Watched, observation: ObservationId) {
        self.0[watched as usize] = Some(observation);
    }
}

/// So long settings and manifest wait for what the control document says of them.
const CONTROL_SAYS: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Row {
    watched: Watched,
    observation: Option<ObservationId>,
    refresh: Refresh,
    /// It waits for the control document, and where that vouches for what is held, until then.
    waits_until: Option<Duration>,
}

/// See the module head.
#[derive(Debug)]
pub(in crate::clouds::golioth) struct Watches {
    rows: [Row; WATCHED],
    /// The digest of the control document as it was last heard.
    control: Option<[u8; 32]>,
    /// What it says of the rest.
    announced: Announced,
}

impl Watches {
    /// Of a session that begins now, or that was taken up after having heard nothing for `silent`; with what is `known` of the
    /// rest from before.
    pub(in crate::clouds::golioth) fn new(
        now: Duration,
        liveness: Liveness,
        observed: Observed,
        silent: Option<Duration>,
        known: impl Fn(Rest) -> Option<Known>,
    ) -> Self {
        let rows = Watched::ALL.map(|watched| {
            let observation = observed.0[watched as usize];
            let (every, extra) = watched.declared(liveness);
            let refresh = match silent {
                Some(silent) => Refresh::resumed(now, every, silent, observation.is_some()),
                None => Refresh::new(now, every),
            };
            let mut row =
                Row { watched, observation, refresh: refresh.with_extra(now, extra), waits_until: None };
            if let Some(known) = watched.rest().and_then(&known) {
                row.look_again(now, now + known.left);
            }
            row
        });
        Self { rows, control: None, announced: Announced::new(silent.is_none(), known) }
    }

    /// Another profile is declared.
    pub(in crate::clouds::golioth) fn retime(&mut self, now: Duration, liveness: Liveness) {
        for row in &mut self.rows {
            let (every, extra) = row.watched.declared(liveness);
            row.refresh.retime(now, every, extra);
        }
    }

    /// The next to be asked for, and when.
    pub(in crate::clouds::golioth) fn due(&self) -> (Duration, Watched) {
        let dues = self.rows.iter().map(|row| (row.refresh.due(), row.watched));
        dues.min().unwrap_or((Duration::MAX, Watched::Desired))
    }

    /// What this observation observes.
    pub(in crate::clouds::golioth) fn of(&self, observation: ObservationId) -> Option<Watched> {
        self.rows.iter().find(|row| row.observation == Some(observation)).map(|row| row.watched)
    }

    /// Under which it is observed.
    pub(in crate::clouds::golioth) fn observation(&self, watched: Watched) -> Option<ObservationId> {
        self.rows[watched as usize].observation
    }

    /// It is observed under this from now on.
    pub(in crate::clouds::golioth) fn observing(&mut self, watched: Watched, observation: ObservationId) {
        self.rows[watched as usize].observation = Some(observation);
    }

    /// It is asked for.
    pub(in crate::clouds::golioth) fn asked(&mut self, now: Duration, watched: Watched) {
        let row = &mut self.rows[watched as usize];
        row.refresh.asked(now);
        row.waits_until = None;
        if let Some(rest) = watched.rest() {
            self.announced.asked(rest);
        }
    }

    /// When and whether it is asked for again.
    pub(in crate::clouds::golioth) fn refresh(&mut self, watched: Watched) -> &mut Refresh {
        &mut self.rows[watched as usize].refresh
    }

    /// The cloud said something, whatever it was.
    pub(in crate::clouds::golioth) fn heard(&mut self, now: Duration) {
        self.rows.iter_mut().for_each(|row| row.refresh.heard(now));
    }

    /// A request got no answer: the control document is asked for soon, and tells whether the path is still there.
    pub(in crate::clouds::golioth) fn unanswered(&mut self, now: Duration) {
        self.refresh(Watched::Desired).unanswered(now);
    }

    /// The path was in doubt and is not any more.
    pub(in crate::clouds::golioth) fn path_is_back(&mut self, now: Duration) {
        self.rows.iter_mut().for_each(|row| row.refresh.path_is_back(now));
    }

    /// What the control document says now, asked for or told. Whether a notification of it must have been missed.
    pub(in crate::clouds::golioth) fn control(&mut self, now: Duration, payload: &[u8]) -> bool {
        let missed = self.refresh(Watched::Desired).said(now, payload);
        if missed {
            // Nor would a call have come; a cloud that got no answer to one has given the observer up.
            self.refresh(Watched::Calls).path_is_back(now);
        }
        self.announced.control(payload);
        let digest = Sha256::digest(payload).into();
        let changed = self.control.replace(digest).is_some_and(|before| before != digest);
        for row in &mut self.rows {
            let Some(rest) = row.watched.rest() else { continue };
            let waited = row.waits_until.take();
            if self.announced.wants(rest) || (waited.is_some() && !self.announced.names(rest)) {
                self.announced.asked(rest);
                row.refresh.path_is_back(now);
            } else if let Some(until) = waited {
                row.refresh.at(until);
            }
        }
        if changed && !self.announced.names_any() {
            let others = self.rows.iter_mut().filter(|row| row.watched != Watched::Desired);
            others.for_each(|row| row.refresh.path_is_back(now));
        }
        missed
    }

    /// This was said: what is held already need not be asked for when it is announced. Which of the rest it is, its version,
    /// and what the control document called it when it was asked for.
    pub(in crate::clouds::golioth) fn holds(
        &mut self,
        event: &CloudEvent,
    ) -> Option<(Rest, Option<u64>, u64)> {
        let (rest, version) = match event {
            CloudEvent::Manifest(manifest) => (Rest::Manifest, manifest.sequence_number),
            CloudEvent::Settings(settings) => (Rest::Settings, u64::try_from(settings.version?).ok()?),
            CloudEvent::Call(_) | CloudEvent::Desired(_) => return None,
        };
        self.announced.holds(rest, version);
        Some((rest, self.announced.tried(rest), version))
    }
}

impl Row {
    /// It was looked at before, and is due again at `due`: where it would be asked for now, the control document is waited for.
    fn look_again(&mut self, now: Duration, due: Duration) {
        if self.refresh.is_soon() {
            self.waits_until = Some(due);
            self.refresh.at(now + CONTROL_SAYS);
        } else {
            self.refresh.at(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::link::Settings;

    const AT_ONCE: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Asks for everything that is due until `until`, and is answered at once. What was asked, by kind.
    fn idle(watches: &mut Watches, until: Duration) -> [u32; WATCHED] {
        let mut asked = [0; WATCHED];
        loop {
            let (at, watched) = watches.due();
            if at > until {
                return asked;
            }
            asked[watched as usize] += 1;
            watches.asked(at, watched);
            watches.refresh(watched).answered(at);
            watches.heard(at);
        }
    }

    fn liveness() -> Liveness {
        Liveness { keepalive: 15 * MINUTE, seldom: 24 * HOUR, extra: 4, dead_path: 3 * MINUTE }
    }

    /// Of a session that begins now, the settings and the manifest having been looked at 14 hours ago.
    fn begun_knowing() -> Watches {
        let known = |rest| Some(Known { named: Some(7), version: rest as u64 + 100, left: 10 * HOUR });
        Watches::new(Duration::ZERO, liveness(), Observed::default(), None, known)
    }

    fn begun() -> Watches {
        let mut watches = Watches::new(Duration::ZERO, liveness(), Observed::default(), None, |_| None);
        assert_eq!(idle(&mut watches, Duration::ZERO), [1; WATCHED], "everything, at once");
        watches
    }

    #[test]
    fn an_idle_day_asks_for_the_control_document_each_keepalive_and_for_the_rest_once() {
        assert_eq!(idle(&mut begun(), 24 * HOUR), [96, 1, 1, 1]);
    }

    #[test]
    fn a_control_document_that_changed_has_everything_else_asked_for_and_the_same_has_not() {
        let mut watches = begun();
        watches.control(MINUTE, b"null");
        assert_eq!(idle(&mut watches, 5 * MINUTE), [0; WATCHED], "the first says nothing new");
        watches.control(5 * MINUTE, b"null");
        assert_eq!(idle(&mut watches, 10 * MINUTE), [0; WATCHED]);
        watches.control(10 * MINUTE, b"{\"settings\":2}");
        assert_eq!(idle(&mut watches, 11 * MINUTE), [0, 1, 1, 1]);
    }

    #[test]
    fn another_profile_holds_from_the_last_sign_of_life_on() {
        let mut watches = begun();
        let prompt = Liveness { keepalive: MINUTE, seldom: 6 * HOUR, extra: 48, dead_path: MINUTE };
        watches.retime(10 * MINUTE, prompt);
        assert_eq!(watches.due(), (MINUTE, Watched::Desired), "it is overdue by the new one");
        assert_eq!(idle(&mut watches, 20 * MINUTE), [20, 0, 0, 0]);
        assert_eq!(idle(&mut watches, 6 * HOUR + MINUTE)[1..], [1; 3]);
    }

    #[test]
    fn what_the_control_document_names_is_asked_for_and_nothing_else() {
        let mut watches = begun();
        watches.control(MINUTE, b"{\"changed\":{\"settings\":1}}");
        watches.control(2 * MINUTE, b"{\"changed\":{\"settings\":2}}");
        assert_eq!(idle(&mut watches, 3 * MINUTE), [0, 0, 0, 1]);
        let settings = Settings { version: Some(3), values: None };
        watches.holds(&CloudEvent::Settings(settings));
        watches.control(4 * MINUTE, b"{\"changed\":{\"settings\":3}}");
        assert_eq!(idle(&mut watches, 5 * MINUTE), [0; WATCHED], "it is held already");
    }

    #[test]
    fn what_was_looked_at_within_the_day_waits_for_its_time_where_the_control_document_vouches_for_it() {
        for vouches in ["{\"changed\":7}", "{\"changed\":{\"settings\":100,\"manifest\":101}}"] {
            let mut watches = begun_knowing();
            assert_eq!(idle(&mut watches, Duration::ZERO), [1, 0, 1, 0], "what is observed only");
            watches.control(AT_ONCE, vouches.as_bytes());
            let [_, manifest, _, settings] = idle(&mut watches, 10 * HOUR - MINUTE);
            assert_eq!((manifest, settings), (0, 0), "{vouches}");
            let [_, manifest, _, settings] = idle(&mut watches, 33 * HOUR);
            assert_eq!((manifest, settings), (1, 1), "{vouches}: when it was due, and a day from then");
        }
    }

    #[test]
    fn what_the_control_document_does_not_vouch_for_is_asked_for_as_ever() {
        for (document, asked) in [
            ("{\"changed\":8}", [0, 1, 0, 1]),
            ("{\"changed\":{\"settings\":101,\"manifest\":101}}", [0, 0, 0, 1]),
            ("{\"changed\":{\"settings\":100}}", [0, 1, 0, 0]),
            ("null", [0, 1, 0, 1]),
        ] {
            let mut watches = begun_knowing();
            idle(&mut watches, Duration::ZERO);
            watches.control(AT_ONCE, document.as_bytes());
            assert_eq!(idle(&mut watches, MINUTE), asked, "{document}");
        }
        let mut watches = begun_knowing();
        idle(&mut watches, Duration::ZERO);
        assert_eq!(idle(&mut watches, MINUTE), [0, 1, 0, 1], "it never comes");
    }

    #[test]
    fn a_session_taken_up_at_once_keeps_to_the_time_of_the_last_look() {
        let mut observed = Observed::default();
        let mut endpoint = coap::Endpoint::new(coap::Config::default(), coap::Seed::default());
        for watched in Watched::ALL {
            observed.set(watched, endpoint.observe(Duration::ZERO, watched.request()).unwrap());
        }
        let known = |_| Some(Known { named: None, version: 1, left: HOUR });
        let mut watches = Watches::new(HOUR, liveness(), observed, Some(5 * AT_ONCE), known);
        assert_eq!(idle(&mut watches, 2 * HOUR - AT_ONCE), [4, 0, 0, 0]);
        assert_eq!(idle(&mut watches, 2 * HOUR + AT_ONCE), [0, 1, 0, 1]);
    }

    #[test]
    fn a_path_that_was_in_doubt_has_everything_asked_for() {
        let mut watches = begun();
        watches.path_is_back(MINUTE);
        assert_eq!(idle(&mut watches, 2 * MINUTE), [1; WATCHED]);
    }

    #[test]
    fn each_request_names_what_it_observes() {
        for watched in Watched::ALL {
            assert_eq!(Observed::watched(&watched.request()), Some(watched));
        }
        assert_eq!(Observed::watched(&coap::Request::get(".d/else")), None);
    }
}
