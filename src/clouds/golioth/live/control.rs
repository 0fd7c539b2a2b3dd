//! The control document, `.d/desired`: what is asked for in place of everything else.
//!
//! It is observed, and asked for again after each keepalive of silence: the link's sign of life. Where it announces a change, that is
//! asked for at once; everything else is asked for seldom.

use std::time::Duration;

use fieldgate_coap::{self as coap, ObservationEnd, ObservationId};
use fieldgate_golioth_proto::{content_format::ContentFormat, paths};

use super::{Asked, Live};
use crate::clouds::golioth::announced::{Announced, Rest};
use crate::clouds::golioth::outcome;
use crate::clouds::golioth::refresh::Refresh;
use crate::config::Liveness;
use crate::uplink::link::Outcome;

/// See the module head.
pub(super) struct Control {
    pub(super) observation: Option<ObservationId>,
    pub(super) refresh: Refresh,
    pub(super) announced: Announced,
}

impl Control {
    /// Of a session that begins now, or that was taken up after having heard nothing for `silent`.
    pub(super) fn new(
        now: Duration,
        liveness: Liveness,
        observation: Option<ObservationId>,
        silent: Option<Duration>,
    ) -> Self {
        let refresh = match silent {
            Some(silent) => Refresh::resumed(now, liveness.keepalive, silent, observation.is_some()),
            None => Refresh::new(now, liveness.keepalive),
        };
        let refresh = refresh.with_extra(now, liveness.extra);
        Self { observation, refresh, announced: Announced::new(silent.is_none()) }
    }
}

impl Live<'_> {
    /// When something observed is asked for next.
    pub(super) fn observation_due(&self) -> Duration {
        self.control.refresh.due().min(self.manifest_due())
    }

    fn manifest_due(&self) -> Duration {
        match self.control.announced.wants(Rest::Manifest) && !self.refresh.is_asked() {
            true => Duration::ZERO,
            false => self.refresh.due(),
        }
    }

    /// The control document first: it tells what else is worth asking for.
    pub(super) fn ask_for_what_is_due(&mut self, now: Duration) {
        if now >= self.control.refresh.due() {
            self.register_control(now);
        } else if now >= self.manifest_due() {
            self.control.announced.asked(Rest::Manifest);
            self.register(now);
        }
    }

    fn register_control(&mut self, now: Duration) {
        let registered = match self.control.observation {
            Some(observation) => self.endpoint.reregister(now, observation),
            None => {
                let get = coap::Request::get(paths::DESIRED).accept(ContentFormat::Json.number());
                self.endpoint
                    .observe(now, get)
                    .map(|observation| self.control.observation = Some(observation))
            }
        };
        self.control.refresh.asked(now);
        match registered {
            Ok(()) => {
                self.keeper.pace.leaves(now);
                self.owed_since.get_or_insert(now);
            }
            Err(error) => {
                tracing::warn!(%error, "the control document cannot be observed now");
                self.control.refresh.unanswered(now);
            }
        }
    }

    pub(super) fn control_said(&mut self, now: Duration, payload: &[u8]) {
        if self.control.refresh.said(now, payload) {
            tracing::info!(
                "the control document changed and no notification of it came; asking sooner for a while"
            );
        }
        self.control.announced.control(payload);
        self.answered(Asked::Control, &Outcome::Acknowledged);
    }

    pub(super) fn control_ended(&mut self, now: Duration, why: ObservationEnd) {
        match why {
            ObservationEnd::Rejected(response) => {
                tracing::warn!(code = %response.code, "the cloud refuses to show the control document");
                self.answered(Asked::Control, &outcome::of_response(&response));
                self.control.refresh.refused(now, self.keeper.rim.random.u64());
            }
            // It answered; asking at intervals does instead of observing.
            ObservationEnd::NotObservable | ObservationEnd::Cancelled => self.control.refresh.answered(now),
            ObservationEnd::Failed(_) => self.control.refresh.unanswered(now),
        }
    }
}
