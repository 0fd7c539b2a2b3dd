//! The gateway's next certificate, as far as a session carries it: the request, the answer, and the end of a session for the sake of
//! a handshake that shows it. When and what is `renewal`'s.

use std::time::Duration;

use fieldgate_coap as coap;

use super::{Live, Waiting};
use crate::clouds::golioth::services::certificate;
use crate::clouds::golioth::session::{DESTINATION, Ended};
use crate::spend::{Cause, Purpose};
use crate::uplink::link::Outcome;

/// When the data plan has no room for asking, or for a handshake, it is asked again between these.
const PLAN_HOLDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

impl Live<'_> {
    /// Asks for the next certificate when it is time to; ends the session, once nothing is under way, when one is to be shown.
    pub(super) fn renew(&mut self, now: Duration) -> Result<(), Ended> {
        if self.keeper.renewal.is_none() || !self.may_ask() {
            return Ok(());
        }
        let (wall, rng) = (self.keeper.wall_time(), self.keeper.rng());
        let (purse, random) = (&self.keeper.purse, &*self.keeper.rim.random);
        let Some(renewal) = &mut self.keeper.renewal else { return Ok(()) };
        let (least, most) = PLAN_HOLDS;
        if renewal.wants_handshake(now) {
            if !self.waiting.is_empty() || self.endpoint.outstanding() > 0 {
                return Ok(());
            }
            let handshake = self.keeper.settings.handshake_bytes;
            return match purse.link_refused(DESTINATION, handshake) {
                None => Err(Ended::Renewing),
                Some((until, _)) => {
                    renewal.handshake_later(until.clamp(now + least, now + most));
                    Ok(())
                }
            };
        }
        if !renewal.is_due(now, wall) {
            return Ok(());
        }
        if let Some((until, why)) = purse.refused(Purpose::Management, certificate::EXPECTED_BYTES) {
            tracing::info!(why = why.words(), "the next certificate is not asked for now");
            renewal.ask_later(until.clamp(now + least, now + most));
            return Ok(());
        }
        let Some(request) = renewal.ask(now, wall, rng, random) else { return Ok(()) };
        tracing::info!("the next certificate is asked for");
        match self.endpoint.request(now, certificate::ask(request)) {
            Ok(id) => {
                self.keeper.pace.leaves(now);
                self.owed_since.get_or_insert(now);
                self.waiting.insert(id, Waiting::Certificate);
                self.sending = Cause::Management;
                self.drain_cores(now)?;
                self.sending = Cause::Session;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a request for a certificate was not taken");
                self.certificate_unanswered(now);
                Ok(())
            }
        }
    }

    /// Nothing new is taken, so that the session can end without anything under way.
    pub(super) fn gives_way(&self, now: Duration) -> bool {
        self.keeper.renewal.as_ref().is_some_and(|renewal| renewal.wants_handshake(now))
    }

    pub(super) fn asks_for_certificate(&self) -> bool {
        self.waiting.values().any(|waiting| matches!(waiting, Waiting::Certificate))
    }

    pub(super) fn certificate_answered(
        &mut self,
        now: Duration,
        response: &coap::Response,
        outcome: &Outcome,
    ) {
        let (wall, random) = (self.keeper.wall_time(), &*self.keeper.rim.random);
        let Some(renewal) = &mut self.keeper.renewal else { return };
        match outcome {
            Outcome::Acknowledged => renewal.answered(now, wall, random, &response.payload),
            Outcome::LinkSick { why, .. } | Outcome::Bad { why } => {
                renewal.refused(now, wall, random, why.clone())
            }
            _ => renewal.refused(now, wall, random, format!("the cloud answers {}", response.code)),
        }
    }

    pub(super) fn certificate_unanswered(&mut self, now: Duration) {
        let (wall, random) = (self.keeper.wall_time(), &*self.keeper.rim.random);
        if let Some(renewal) = &mut self.keeper.renewal {
            renewal.unanswered(now, wall, random);
        }
    }
}
