//! What is observed, and when each is asked for again. Pure.
//!
//! The desired state is the control document: it is asked for after each keepalive of silence, which is the link's sign of life, and
//! more often for a while where a change was found that no notification told of (`tighten`). Where it names what else changed
//! ([`Announced`]), that is asked for. Where it has changed and names nothing, everything is asked for, so that an operator
//! who writes there reaches a gateway whose other observations were lost. They are asked for daily as well; and all of them
//! once the path was in doubt, because what the cloud said meanwhile may be lost.

use std::time::Duration;

use fieldgate_coap as coap;
use fieldgate_coap::ObservationId;
use sha2::{Digest, Sha256};

use super::{calls, firmware, settings, state};
use crate::clouds::golioth::announced::{Announced, Rest};
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

#[derive(Debug)]
struct Row {
    watched: Watched,
    observation: Option<ObservationId>,
    refresh: Refresh,
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
    /// Of a session that begins now, or that was taken up after having heard nothing for `silent`.
    pub(in crate::clouds::golioth) fn new(
        now: Duration,
        liveness: Liveness,
        observed: Observed,
        silent: Option<Duration>,
    ) -> Self {
        let rows = Watched::ALL.map(|watched| {
            let observation = observed.0[watched as usize];
            let (every, extra) = watched.declared(liveness);
            let refresh = match silent {
                Some(silent) => Refresh::resumed(now, every, silent, observation.is_some()),
                None => Refresh::new(now, every),
            };
            Row { watched, observation, refresh: refresh.with_extra(now, extra) }
        });
        Self { rows, control: None, announced: Announced::new(silent.is_none()) }
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
        for (watched, rest) in [(Watched::Settings, Rest::Settings), (Watched::Manifest, Rest::Manifest)] {
            if self.announced.wants(rest) {
                self.announced.asked(rest);
                self.refresh(watched).path_is_back(now);
            }
        }
        if changed && !self.announced.names_any() {
            let others = self.rows.iter_mut().filter(|row| row.watched != Watched::Desired);
            others.for_each(|row| row.refresh.path_is_back(now));
        }
        missed
    }

    /// This was said: what is held already need not be asked for when it is announced.
    pub(in crate::clouds::golioth) fn holds(&mut self, event: &CloudEvent) {
        match event {
            CloudEvent::Manifest(manifest) => self.announced.holds(Rest::Manifest, manifest.sequence_number),
            CloudEvent::Settings(settings) => {
                if let Some(version) = settings.version.and_then(|version| u64::try_from(version).ok()) {
                    self.announced.holds(Rest::Settings, version);
                }
            }
            CloudEvent::Call(_) | CloudEvent::Desired(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::link::Settings;

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
            watches.refresh(watched).asked(at);
            watches.refresh(watched).answered(at);
            watches.heard(at);
        }
    }

    fn begun() -> Watches {
        let liveness =
            Liveness { keepalive: 15 * MINUTE, seldom: 24 * HOUR, extra: 4, dead_path: 3 * MINUTE };
        let mut watches = Watches::new(Duration::ZERO, liveness, Observed::default(), None);
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
