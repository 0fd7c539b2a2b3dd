//! What becomes of what was asked, and what the cloud says of its own accord.

use std::time::Duration;

use fieldgate_coap::{self as coap, Event, ObservationEnd};
use fieldgate_dtls as dtls;
use fieldgate_golioth_proto::manifest;

use super::control::Control;
use super::{Asked, LONGEST_SLEEP, Live, Waiting};
use crate::board::LinkPhase;
use crate::clock::Mono;
use crate::clouds::golioth::announced::Rest;
use crate::clouds::golioth::refresh::Refresh;
use crate::clouds::golioth::session::{Ended, ended};
use crate::clouds::golioth::{outcome, translate};
use crate::uplink::link::Outcome;

/// A silence of this length that ends has cost something: what the cloud said of its own accord meanwhile.
const DOUBTFUL_PATH: Duration = Duration::from_secs(20);
/// A component report that the cloud refuses is not offered again before this.
const REFUSED_REPORTS: Duration = Duration::from_secs(600);

impl Live<'_> {
    pub(super) fn session_event(&mut self, now: Duration, event: dtls::Event) -> Result<(), Ended> {
        match event {
            dtls::Event::Connected(connection) => {
                let cid = connection.peer_cid.is_some();
                tracing::info!(
                    suite = connection.suite.name(),
                    cid,
                    connection.restored,
                    "connected to Golioth"
                );
                let with = if cid { " with Connection ID" } else { "" };
                self.connected = Some(format!("connected, {}{with}", connection.suite.name()));
                self.up_since = Some(now);
                // There was room for the handshake: the session it made is not ended at once.
                self.afford_at = now + LONGEST_SLEEP;
                let liveness = self.keeper.settings.liveness();
                self.control = Control::new(now, liveness, self.control.observation, self.resumed);
                let keepalive = Refresh::keepalive_for(liveness.seldom);
                match self.resumed {
                    Some(silent) => {
                        self.refresh = Refresh::resumed(now, keepalive, silent, self.manifest.is_some());
                    }
                    None => {
                        self.refresh = Refresh::new(now, keepalive);
                        self.keeper.state.handshakes += 1;
                        self.heard(now);
                    }
                }
                self.usable();
            }
            dtls::Event::TimeVerified => {
                tracing::info!("the cloud's certificate holds, now that the time is known");
                self.usable();
            }
            dtls::Event::Received(message) => {
                self.endpoint.handle_datagram(now, &message);
                self.heard(now);
            }
            dtls::Event::UnauthenticatedAlert(alert) => {
                tracing::info!(%alert, "an alert that anyone could have sent; probing");
                self.probe(now);
            }
            dtls::Event::Closed { why } => return Err(ended(&why, self.connected.is_some())),
            // A later event of the core that this lane has no use for.
            _ => {}
        }
        Ok(())
    }

    /// Says what the session may be used for: nothing, while the cloud's certificate could not be held against the time.
    fn usable(&mut self) {
        if self.socket.is_none() {
            // Said already, and said again once there is one.
            return;
        }
        self.say_how_it_is();
        self.keeper.ends.up.send_replace(!self.time_unverified());
    }

    /// The cloud's certificate was checked against no more than a floor.
    pub(super) fn time_unverified(&self) -> bool {
        self.session.connection().is_some_and(|connection| connection.time_unverified)
    }

    /// Tells the session the time once somebody vouches for it, if it waits for that.
    pub(super) fn settle_time(&mut self, now: Duration) {
        if self.time_unverified() {
            self.session.set_wall_clock(now, Some(self.keeper.wall_time()));
        }
    }

    /// The cloud said something, authenticated.
    pub(super) fn heard(&mut self, now: Duration) {
        let silent = self.owed_since.map(|since| now.saturating_sub(since.max(self.last_heard)));
        if silent.is_some_and(|silent| silent > DOUBTFUL_PATH) {
            self.refresh.path_is_back(now);
            self.control.refresh.path_is_back(now);
        }
        self.last_heard = now;
        self.resumed = None;
        self.owed_since = (self.endpoint.outstanding() > 0).then_some(now);
        self.refresh.heard(now);
        self.control.refresh.heard(now);
        self.keeper.state.last_heard = Some(Mono::from(now));
        if std::mem::take(&mut self.reopened) > 0 {
            self.usable();
        }
    }

    pub(super) fn endpoint_event(&mut self, now: Duration, event: Event) -> Result<(), Ended> {
        match event {
            Event::Response { id, response, .. } => {
                let outcome = outcome::of_response(&response);
                match self.waiting.remove(&id) {
                    Some(Waiting::Send(reply)) => {
                        self.answered(Asked::Send, &outcome);
                        let _ = reply.send(outcome);
                    }
                    Some(Waiting::Report(reply)) => {
                        self.answered(Asked::Report, &outcome);
                        if matches!(outcome, Outcome::LinkSick { .. }) {
                            self.reports_refused = Some((now + REFUSED_REPORTS, outcome.clone()));
                        }
                        let _ = reply.send(outcome);
                    }
                    Some(Waiting::Probe) | None => self.probe = None,
                }
            }
            Event::Failed { id, why, .. } => {
                self.control.refresh.unanswered(now);
                match self.waiting.remove(&id) {
                    Some(Waiting::Send(reply) | Waiting::Report(reply)) => {
                        let _ = reply.send(outcome::of_failure(why));
                    }
                    Some(Waiting::Probe) | None => {
                        let begun = self.probe.take().filter(|(probe, _)| *probe == id);
                        // Whatever was heard since says that the peer is there and knows us, a reset included.
                        if begun.is_some_and(|(_, begun)| self.last_heard < begun) {
                            return Err(Ended::Lost("an alert came and the cloud no longer answers".into()));
                        }
                    }
                }
            }
            Event::Notification { observation, response }
                if Some(observation) == self.control.observation =>
            {
                self.control_said(now, &response.payload);
            }
            Event::NotificationLost { observation, .. } if Some(observation) == self.control.observation => {
                self.control.refresh.unanswered(now);
            }
            Event::ObservationEnded { observation, why } if Some(observation) == self.control.observation => {
                self.control_ended(now, why);
            }
            Event::Notification { observation, response } if Some(observation) == self.manifest => {
                self.refresh.said(now, &response.payload);
                self.answered(Asked::Manifest, &Outcome::Acknowledged);
                self.manifest_arrived(&response.payload);
            }
            Event::NotificationLost { observation, why } if Some(observation) == self.manifest => {
                tracing::info!(%why, "the manifest came, but not whole; it is asked for again");
                self.refresh.unanswered(now);
            }
            Event::ObservationEnded { observation, why } if Some(observation) == self.manifest => {
                self.observation_ended(now, why);
            }
            Event::Request(request) => {
                let _ =
                    self.endpoint.respond(now, request.exchange, coap::Response::new(coap::Code::NOT_FOUND));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn observation_ended(&mut self, now: Duration, why: ObservationEnd) {
        match why {
            ObservationEnd::Rejected(response) => {
                let outcome = outcome::of_response(&response);
                tracing::warn!(code = %response.code, "the cloud refuses to show the manifest");
                self.answered(Asked::Manifest, &outcome);
                self.refresh.refused(now, self.keeper.rim.random.u64());
            }
            // It answered; asking at intervals does instead of observing.
            ObservationEnd::NotObservable | ObservationEnd::Cancelled => self.refresh.answered(now),
            ObservationEnd::Failed(_) => self.refresh.unanswered(now),
        }
    }

    /// Keeps what people are told in step with what the cloud answers to each kind of request.
    pub(super) fn answered(&mut self, asked: Asked, outcome: &Outcome) {
        let changed = match outcome {
            Outcome::LinkSick { why, next_step } => {
                let words = format!("{why}. Next: {next_step}");
                self.refusals.insert(asked, words.clone()) != Some(words)
            }
            Outcome::Acknowledged => self.refusals.remove(&asked).is_some(),
            _ => false,
        };
        if changed {
            self.say_how_it_is();
        }
    }

    pub(super) fn say_how_it_is(&mut self) {
        let connected = self.connected.clone().unwrap_or_default();
        match self.refusals.values().next() {
            _ if self.time_unverified() => self.keeper.say(
                LinkPhase::Waiting,
                format!(
                    "{connected}; time unverified: the cloud's certificate could not be held against a clock, so nothing is sent \
                     until the time is known. Next: let a time server or the cellular network be reached"
                ),
            ),
            Some(words) => self.keeper.say(LinkPhase::Sick, words.clone()),
            None => self.keeper.say(LinkPhase::Up, connected),
        }
    }

    pub(super) fn manifest_arrived(&mut self, payload: &[u8]) {
        match manifest::decode(payload) {
            Ok(desired) => {
                if let manifest::Desired::Deployment(deployment) = &desired {
                    self.control.announced.holds(Rest::Manifest, deployment.sequence_number);
                }
                if self.keeper.ends.manifests.try_send(translate::manifest(desired)).is_err() {
                    // Level-triggered: the next answer to the observation says the same again.
                    tracing::warn!("nobody takes manifests; it will come again");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the cloud's manifest is not one; nothing is deployed from it");
            }
        }
    }
}
