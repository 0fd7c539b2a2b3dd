//! What becomes of what was asked, and what the cloud says of its own accord.

use std::time::Duration;

use fieldgate_coap::{self as coap, Event, Failure, ObservationEnd};
use fieldgate_dtls as dtls;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::{Asked, LONGEST_SLEEP, Live, Waiting};
use crate::board::{LinkPhase, Trouble, TroubleKind};
use crate::clock::Mono;
use crate::clouds::golioth::fault;
use crate::clouds::golioth::link::Request;
use crate::clouds::golioth::outcome;
use crate::clouds::golioth::refresh::IGNORED;
use crate::clouds::golioth::services::{self, Kind, Watched, Watches};
use crate::clouds::golioth::session::Ended;
use crate::uplink::link::{CloudEvent, Outcome};

/// A silence of this length that ends has cost something: what the cloud said of its own accord meanwhile.
const DOUBTFUL_PATH: Duration = Duration::from_secs(20);
/// So many messages in a row that are none are no accident.
const NONSENSE: u32 = 3;
/// Refused calls are told of so often at most.
const FLOOD_SAID: Duration = Duration::from_secs(600);
/// What may have been missed is asked for so often at most.
const DOUBTED_EVERY: Duration = Duration::from_secs(300);
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
                self.keeper.clear(|kind, _| fault::over_once_connected(kind));
                // There was room for the handshake: the session it made is not ended at once.
                self.afford_at = now + LONGEST_SLEEP;
                let (looks, clock) = (&self.keeper.looks, &*self.keeper.rim.clock);
                let known = |rest| looks.known(rest, clock, self.liveness.seldom);
                self.watches = Watches::new(now, self.liveness, self.observed, self.resumed, known);
                if self.resumed.is_none() {
                    self.keeper.state.handshakes += 1;
                    if let Some(renewal) = &mut self.keeper.renewal {
                        renewal.accepted(now);
                    }
                    self.heard(now);
                }
                self.usable();
            }
            dtls::Event::TimeVerified => {
                tracing::info!("the cloud's certificate holds, now that the time is known");
                self.usable();
            }
            dtls::Event::Received(message) => {
                let malformed = self.endpoint.counters().malformed;
                self.endpoint.handle_datagram(now, &message);
                if self.endpoint.counters().malformed > malformed {
                    self.not_understood();
                } else {
                    if std::mem::take(&mut self.unreadable) > 0
                        || self.last_heard <= self.up_since.unwrap_or(now)
                    {
                        self.keeper.clear(|kind, _| fault::over_once_understood(kind));
                    }
                    self.heard(now);
                }
            }
            dtls::Event::UnauthenticatedAlert(alert) => {
                tracing::info!(%alert, "an alert that anyone could have sent; probing");
                self.probe(now);
            }
            dtls::Event::Closed { why } => {
                let noise = self.received > 0 && self.received == self.session.counters().ignored_datagrams;
                let clock = self.keeper.clock_words();
                return Err(fault::closed(&why, self.connected.is_some(), noise, &clock));
            }
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
        if self.time_unverified() {
            self.keeper.note(fault::time_unverified());
        } else {
            self.keeper.clear(|kind, _| kind == TroubleKind::TimeUnverified);
        }
        self.keeper.ends.up.send_replace(!self.time_unverified());
    }

    /// A message came, authenticated, that is no message of CoAP. One or two may be a fault of the cloud's; it is there.
    fn not_understood(&mut self) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.unreadable == NONSENSE {
            self.note(fault::no_coap());
        }
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
            // Where one request alone is never answered, every pause looks like a doubtful path.
            let at = self.doubted.map_or(now, |doubted| now.max(doubted + DOUBTED_EVERY));
            if at == now {
                self.doubted = Some(now);
            }
            self.watches.path_is_back(at);
        }
        self.last_heard = now;
        self.resumed = None;
        self.owed_since = (self.endpoint.outstanding() > 0).then_some(now);
        self.watches.heard(now);
        self.keeper.state.last_heard = Some(Mono::from(now));
        if std::mem::take(&mut self.reopened) > 0 {
            self.keeper.clear(|kind, _| kind == TroubleKind::Unreachable);
            self.usable();
        }
    }

    pub(super) fn endpoint_event(&mut self, now: Duration, event: Event) -> Result<(), Ended> {
        if let Event::Response { response, .. } = &event
            && response.code == coap::Code::TOO_MANY_REQUESTS
        {
            self.keeper.pace.limited(now);
        }
        match event {
            Event::Response { id, response, retransmissions, .. } if self.is_for_block(id) => {
                self.block_answered(now, id, response, retransmissions);
            }
            Event::Failed { id, why, .. } if self.is_for_block(id) => {
                self.watches.unanswered(now);
                self.block_failed(now, id, why);
            }
            // Of a download that was given up.
            Event::Failed { why: Failure::Cancelled, .. } => {}
            Event::Response { id, response, .. } => {
                let outcome = outcome::of_response(&response);
                match self.waiting.remove(&id) {
                    Some(Waiting::Certificate) => self.certificate_answered(now, &response, &outcome),
                    Some(Waiting::Send(reply)) => {
                        self.judged(Asked::Send, &response, &outcome);
                        self.answered(Asked::Send, &outcome);
                        let _ = reply.send(outcome);
                    }
                    // What an operator tries says nothing to people who look later, nor to the next who tries.
                    Some(Waiting::Report(Kind::Probe, reply)) => {
                        let _ = reply.send(outcome);
                    }
                    Some(Waiting::Report(kind, reply)) => {
                        self.judged(Asked::Report(kind), &response, &outcome);
                        self.answered(Asked::Report(kind), &outcome);
                        if matches!(outcome, Outcome::LinkSick { .. }) {
                            self.reports_refused.insert(kind, (now + REFUSED_REPORTS, outcome.clone()));
                        }
                        let _ = reply.send(outcome);
                    }
                    Some(Waiting::Probe) => self.probe = None,
                    None => {}
                }
            }
            Event::Failed { id, why, .. } => {
                self.watches.unanswered(now);
                match self.waiting.remove(&id) {
                    Some(Waiting::Send(reply)) => self.no_answer(Asked::Send, why, reply),
                    Some(Waiting::Report(Kind::Probe, reply)) => {
                        let _ = reply.send(outcome::of_failure(why));
                    }
                    Some(Waiting::Report(kind, reply)) => self.no_answer(Asked::Report(kind), why, reply),
                    Some(Waiting::Certificate) => self.certificate_unanswered(now),
                    Some(Waiting::Probe) | None => {
                        let begun = self.probe.take().filter(|(probe, _)| *probe == id);
                        // Whatever was heard since says that the peer is there and knows us, a reset included.
                        if begun.is_some_and(|(_, begun)| self.last_heard < begun) {
                            return Err(fault::silent_after_alert());
                        }
                    }
                }
            }
            Event::Notification { observation, response } => {
                if let Some(watched) = self.watches.of(observation) {
                    self.notified(now, watched, &response.payload);
                }
            }
            Event::NotificationLost { observation, why } => {
                if let Some(watched) = self.watches.of(observation) {
                    self.not_shown(now, watched, why);
                }
            }
            Event::ObservationEnded { observation, why } => {
                if let Some(watched) = self.watches.of(observation) {
                    self.observation_ended(now, watched, why);
                }
            }
            Event::Request(request) => {
                let _ =
                    self.endpoint.respond(now, request.exchange, coap::Response::new(coap::Code::NOT_FOUND));
            }
            _ => {}
        }
        Ok(())
    }

    fn observation_ended(&mut self, now: Duration, watched: Watched, why: ObservationEnd) {
        let random = self.keeper.rim.random.u64();
        match why {
            ObservationEnd::Rejected(response) => {
                let outcome = outcome::of_response(&response);
                tracing::warn!(code = %response.code, "the cloud refuses to show {}", watched.words());
                self.judged(Asked::Watch(watched), &response, &outcome);
                self.answered(Asked::Watch(watched), &outcome);
                self.watches.refresh(watched).refused(now, random);
            }
            // It answered; asking at intervals does instead of observing.
            ObservationEnd::NotObservable | ObservationEnd::Cancelled => {
                self.watches.refresh(watched).answered(now);
            }
            ObservationEnd::Failed(why) => self.not_shown(now, watched, why),
        }
    }

    /// What is observed did not come whole. A path that is down is found soon; what the cloud sends and nobody can take is not
    /// asked for over and over, because each time costs its bytes.
    fn not_shown(&mut self, now: Duration, watched: Watched, why: Failure) {
        let random = self.keeper.rim.random.u64();
        let trouble = match why {
            Failure::BodyTooLarge => {
                let again_in = self.watches.refresh(watched).unusable(now, random);
                fault::too_large(watched, again_in)
            }
            Failure::Reset | Failure::BadResponse => {
                self.watches.refresh(watched).refused(now, random);
                fault::no_answer(watched.words(), &why.to_string())
            }
            _ => {
                tracing::debug!(%why, "{} did not come whole; asked for again", watched.words());
                if self.watches.refresh(watched).lost(now) < IGNORED {
                    return;
                }
                fault::ignored(watched.words())
            }
        };
        self.note(trouble);
    }

    /// A request of which no answer tells what became.
    fn no_answer(&mut self, asked: Asked, why: Failure, reply: oneshot::Sender<Outcome>) {
        let outcome = outcome::of_failure(why);
        if outcome != Outcome::Unknown {
            self.note(fault::no_answer(asked.words(), &why.to_string()));
        }
        let _ = reply.send(outcome);
    }

    /// Notes what is wrong, and says so once.
    pub(super) fn note(&mut self, trouble: Trouble) {
        let (state, words) = (trouble.kind.name(), trouble.words.clone());
        if self.keeper.note(trouble) {
            tracing::warn!(state, "{words}");
        }
    }

    /// What an answer says of the cloud.
    fn judged(&mut self, asked: Asked, response: &coap::Response, outcome: &Outcome) {
        match fault::of_answer(asked.words(), response, outcome) {
            Some(trouble) => self.note(trouble),
            None if *outcome == Outcome::Acknowledged => self.in_order(asked),
            None => {}
        }
    }

    /// What was asked is answered as it should be.
    fn in_order(&self, asked: Asked) {
        let words = asked.words();
        self.keeper.clear(|kind, about| about == words && fault::over_once_answered(kind));
    }

    /// What is observed is so now.
    fn notified(&mut self, now: Duration, watched: Watched, payload: &[u8]) {
        if watched != Watched::Desired {
            self.watches.refresh(watched).answered(now);
        } else if self.watches.control(now, payload) {
            tracing::info!(
                "the control document changed and no notification of it came; asking sooner for a while"
            );
        }
        self.answered(Asked::Watch(watched), &Outcome::Acknowledged);
        self.in_order(Asked::Watch(watched));
        let event = match services::read(watched, payload) {
            Ok(Some(event)) => Some(event),
            Ok(None) => None,
            Err(why) => return self.note(fault::unreadable(watched, why)),
        };
        let over = |kind| matches!(kind, TroubleKind::Unreadable | TroubleKind::TooLarge);
        self.keeper.clear(|kind, about| about == watched.words() && over(kind));
        let Some(event) = event else { return };
        let held = self.watches.holds(&event);
        match self.keeper.ends.events.try_send(event) {
            Ok(()) => {
                if let Some((rest, named, version)) = held {
                    self.keeper.looks.seen(rest, named, version, &*self.keeper.rim.clock);
                }
            }
            Err(TrySendError::Full(CloudEvent::Call(call))) => {
                if self.flood_said.is_none_or(|said| now > said + FLOOD_SAID) {
                    self.flood_said = Some(now);
                    tracing::warn!(method = call.method, "too many remote calls at once; some are refused");
                }
                // Nobody waits for what becomes of it; while somebody could, it is taken.
                let (reply, _outcome) = oneshot::channel();
                self.take(Request::Report { report: services::too_many(call), reply });
            }
            // Level-triggered: the next answer says the same again.
            Err(_) => {
                tracing::warn!("nobody takes {}; asked for again", watched.words());
                self.watches.refresh(watched).unanswered(now);
            }
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
}
