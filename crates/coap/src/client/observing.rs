//! The client role's observations: registering, taking notifications in order, ending (RFC 7641 §3).
//!
//! An observation outlives its registrations: it lapses when the server ends it or the session does, and keeps its token
//! until it is cancelled or forgotten.

use core::time::Duration;

use super::{Client, Open, Purpose};
use crate::code::Method;
use crate::event::{Event, Failure, KeptObservation, ObservationEnd, ObservationId, SendError};
use crate::message::{Kind, Message};
use crate::observe::Observation;
use crate::request::{Request, Response};
use crate::transfer::{Mode, Transfer};
use crate::translate::{check_request, read_response};
use crate::wire::Wire;

/// Observe = 0 and Observe = 1 in a request.
const REGISTER: u32 = 0;
const DEREGISTER: u32 = 1;

impl Client {
    pub(crate) fn observations(&self) -> impl Iterator<Item = (ObservationId, &Request)> {
        self.observations.iter().map(|(id, observation)| (*id, &observation.request))
    }

    pub(crate) fn kept_observations(&self) -> impl Iterator<Item = KeptObservation> {
        self.observations.values().filter(|held| held.registered).map(|held| KeptObservation {
            request: held.request.clone(),
            token: held.token,
            newest: held.order.newest(),
        })
    }

    pub(crate) fn keep_observing(&mut self, now: Duration, kept: KeptObservation) -> ObservationId {
        let id = ObservationId(self.next_observation);
        self.next_observation += 1;
        let mut observation = Observation::new(kept.request, kept.token);
        observation.registered = true;
        if let Some(newest) = kept.newest {
            observation.order.restart(now, newest);
        }
        self.observations.insert(id, observation);
        id
    }

    pub(crate) fn observe(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        request: Request,
    ) -> Result<ObservationId, SendError> {
        if !matches!(request.method, Method::Get | Method::Fetch) {
            return Err(SendError::NotObservable);
        }
        let limit = wire.config.max_observations;
        if self.observations.len() >= limit {
            return Err(SendError::Full { limit });
        }
        check_request(&request)?;
        let token = self.fresh_token(wire).ok_or(SendError::Full { limit })?;
        let id = ObservationId(self.next_observation);
        self.observations.insert(id, Observation::new(request, token));
        match self.reregister(wire, now, id) {
            Ok(()) => {
                self.next_observation += 1;
                Ok(id)
            }
            Err(error) => {
                self.observations.remove(&id);
                Err(error)
            }
        }
    }

    pub(crate) fn reregister(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ObservationId,
    ) -> Result<(), SendError> {
        let observation = self.observations.get(&id).ok_or(SendError::Unknown)?;
        if observation.asking.is_some() {
            // A registration, or a cancellation, is on its way already; it decides.
            return Ok(());
        }
        self.ask(wire, now, id, Purpose::Register(id), REGISTER)
    }

    pub(crate) fn cancel_observation(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ObservationId,
    ) -> Result<(), SendError> {
        let observation = self.observations.get_mut(&id).ok_or(SendError::Unknown)?;
        let leaving = |open: &Open| matches!(open.purpose, Purpose::Deregister(_));
        if observation.asking.and_then(|pending| self.open.get(&pending)).is_some_and(leaving) {
            return Ok(());
        }
        let (asking, tail) = (observation.asking.take(), observation.tail.take());
        observation.registered = false;
        for withdrawn in [asking, tail].into_iter().flatten() {
            self.remove(wire, withdrawn);
        }
        self.ask(wire, now, id, Purpose::Deregister(id), DEREGISTER)
    }

    pub(crate) fn forget_observation(&mut self, wire: &mut Wire, now: Duration, id: ObservationId) {
        let Some(observation) = self.observations.remove(&id) else { return };
        for withdrawn in [observation.asking, observation.tail].into_iter().flatten() {
            self.remove(wire, withdrawn);
        }
        self.pump(wire, now);
    }

    /// Sends the registration or cancellation of an observation, under its token.
    fn ask(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ObservationId,
        purpose: Purpose,
        observe: u32,
    ) -> Result<(), SendError> {
        self.check_room(wire)?;
        let observation = self.observations.get_mut(&id).ok_or(SendError::Unknown)?;
        let request = observation.request.clone();
        let token = observation.token;
        let deadline = request.deadline.map(|limit| now.saturating_add(limit));
        let transfer =
            Transfer::new(request, Some(observe), Mode::First, wire.config.block_size, wire.config.max_body)?;
        wire.check_size(&transfer.message(token))?;
        let asking = self.insert(purpose, token, Some(transfer), deadline, false);
        if let Some(observation) = self.observations.get_mut(&id) {
            observation.asking = Some(asking);
        }
        self.pump(wire, now);
        Ok(())
    }

    pub(super) fn registered(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ObservationId,
        response: Response,
        certain: bool,
    ) {
        let Some(observation) = self.observations.get_mut(&id) else { return };
        observation.asking = None;
        if !response.code.is_success() {
            return self.lapse(wire, id, ObservationEnd::Rejected(response));
        }
        let observable = response.observe.is_some();
        observation.registered = observable;
        // An answer on the acknowledgement cannot be an older notification, whatever its number.
        if let (Some(value), true) = (response.observe, certain || observation.order.is_empty()) {
            observation.order.restart(now, value);
            self.deliver(wire, now, id, response);
        } else {
            self.deliver_in_order(wire, now, id, response);
        }
        if !observable {
            self.lapse(wire, id, ObservationEnd::NotObservable);
        }
    }

    /// A response no open request waits for: a notification, or something to reject.
    pub(super) fn on_notification(&mut self, wire: &mut Wire, now: Duration, message: &Message) {
        if message.kind == Kind::Acknowledgement {
            wire.counters.ignored += 1;
            return;
        }
        let known =
            |held: &Observation| held.token == message.token && (held.registered || held.asking.is_some());
        let Some(id) = self.observations.iter().find(|(_, held)| known(held)).map(|(id, _)| *id) else {
            wire.counters.ignored += 1;
            return self.reject(wire, message);
        };
        let Some(response) = read_response(message) else {
            self.reject(wire, message);
            // The Reset ends it at the server too.
            return self.lapse(wire, id, ObservationEnd::Failed(Failure::BadResponse));
        };
        if message.kind == Kind::Confirmable {
            wire.send_empty(Kind::Acknowledgement, message.message_id);
        }
        if !self.observations.get(&id).is_some_and(|held| held.registered) {
            // Crossed the first registration, which brings the state itself and no event, or a cancellation.
            if self.is_registering(id) && response.code.is_success() {
                return self.deliver_event(wire, now, id, response);
            }
            wire.counters.stale_notifications += 1;
            return;
        }
        if !response.code.is_success() {
            return self.lapse(wire, id, ObservationEnd::Rejected(response));
        }
        let ended = response.observe.is_none();
        self.deliver_in_order(wire, now, id, response);
        if ended {
            self.lapse(wire, id, ObservationEnd::NotObservable);
        }
    }

    /// Whether the registration, not a cancellation, is on its way.
    fn is_registering(&self, id: ObservationId) -> bool {
        let asking = self.observations.get(&id).and_then(|held| held.asking);
        asking
            .and_then(|asking| self.open.get(&asking))
            .is_some_and(|open| open.purpose == Purpose::Register(id))
    }

    /// Hands it over if it is an event.
    fn deliver_event(&mut self, wire: &mut Wire, now: Duration, id: ObservationId, response: Response) {
        if self.observations.get(&id).is_some_and(|held| held.request.events) {
            self.deliver(wire, now, id, response);
        } else {
            wire.counters.stale_notifications += 1;
        }
    }

    fn deliver_in_order(&mut self, wire: &mut Wire, now: Duration, id: ObservationId, response: Response) {
        let Some(observation) = self.observations.get_mut(&id) else { return };
        if response.observe.is_some_and(|value| !observation.order.admit(now, value)) {
            return self.deliver_event(wire, now, id, response);
        }
        self.deliver(wire, now, id, response);
    }

    /// Hands a new state over, after fetching its later blocks when there are any.
    fn deliver(&mut self, wire: &mut Wire, now: Duration, id: ObservationId, mut response: Response) {
        let Some(observation) = self.observations.get_mut(&id) else { return };
        let request = observation.request.clone();
        if let Some(outdated) = observation.tail.take() {
            self.remove(wire, outdated);
        }
        let (size, max_body) = (wire.config.block_size, wire.config.max_body);
        match Transfer::after(request, &response, size, max_body) {
            None => {
                response.block2 = None;
                wire.raise(Event::Notification { observation: id, response });
            }
            Some(Err(why)) => wire.raise(Event::NotificationLost { observation: id, why }),
            Some(Ok(transfer)) => match self.fresh_token(wire) {
                Some(token) => {
                    // One an observation, so the bound on requests is exceeded by the bound on observations at most.
                    let tail = self.insert(Purpose::Tail(id), token, Some(transfer), None, false);
                    if let Some(observation) = self.observations.get_mut(&id) {
                        observation.tail = Some(tail);
                    }
                    self.pump(wire, now);
                }
                None => wire.raise(Event::NotificationLost { observation: id, why: Failure::Cancelled }),
            },
        }
    }

    pub(super) fn lapse(&mut self, wire: &mut Wire, id: ObservationId, why: ObservationEnd) {
        if let Some(observation) = self.observations.get_mut(&id) {
            observation.registered = false;
            observation.asking = None;
            wire.raise(Event::ObservationEnded { observation: id, why });
        }
    }

    pub(super) fn end_cancelled(&mut self, wire: &mut Wire, id: ObservationId) {
        if self.observations.remove(&id).is_some() {
            wire.raise(Event::ObservationEnded { observation: id, why: ObservationEnd::Cancelled });
        }
    }
}
