//! The client role: requests on their way, pings, observations held.
//!
//! Owns every open request. Invariant: an open request leaves [`Client::open`] exactly once, in [`Client::complete`],
//! [`Client::fail`] or at the end of the session, and that is where its one outcome is raised.

mod observing;

use core::cmp::Ordering;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::block::{Block, Szx};
use crate::code::Code;
use crate::congestion::RoundTrip;
use crate::event::{Event, Failure, ObservationEnd, ObservationId, RequestId, SendError};
use crate::exchange::Owner;
use crate::message::{Kind, Message, Token};
use crate::observe::Observation;
use crate::option::number;
use crate::request::{Request, Response};
use crate::transfer::{Mode, Step, Transfer};
use crate::translate::{check_request, read_response};
use crate::wire::{Wire, blank};

/// Blocks of transfers on their way that may pass a waiting request.
const MAX_STREAK: u32 = 4;

#[derive(Debug)]
pub(crate) struct Client {
    open: BTreeMap<RequestId, Open>,
    /// Requests not begun, in turn.
    ready: VecDeque<RequestId>,
    /// As `ready`, of those that go before all others; one of them may be in flight beyond the window.
    urgent: VecDeque<RequestId>,
    /// Transfers with their next block to send, in turn.
    begun: VecDeque<RequestId>,
    /// How many of `begun` went in a row while others waited.
    streak: u32,
    /// Messages that may still be sent; `None`: any number.
    credit: Option<u32>,
    observations: BTreeMap<ObservationId, Observation>,
    next_request: u64,
    next_observation: u64,
    next_token: u64,
}

#[derive(Debug)]
struct Open {
    purpose: Purpose,
    /// Empty for a ping.
    token: Token,
    transfer: Option<Transfer>,
    phase: Phase,
    deadline: Option<Duration>,
    first_sent: Option<Duration>,
    retransmissions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Request,
    Ping,
    Register(ObservationId),
    Deregister(ObservationId),
    /// The later blocks of a notification.
    Tail(ObservationId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In [`Client::ready`], [`Client::urgent`] or [`Client::begun`].
    Queued,
    /// A Confirmable message is out; its timer runs in the wire. Takes a place in the window.
    Sent { id: u16 },
    /// A Non-confirmable message is out; takes a place in the window until `counts_until`.
    SentOnce { id: u16, counts_until: Duration, expires: Duration },
    /// Acknowledged, or out for long: the response may take its time until `expires`.
    Waiting { id: u16, expires: Duration },
}

impl Client {
    pub(crate) fn new(first_token: u64) -> Client {
        Client {
            open: BTreeMap::new(),
            ready: VecDeque::new(),
            urgent: VecDeque::new(),
            begun: VecDeque::new(),
            streak: 0,
            credit: None,
            observations: BTreeMap::new(),
            next_request: 0,
            next_observation: 0,
            next_token: first_token,
        }
    }

    pub(crate) fn next_token(&self) -> u64 {
        self.next_token
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn allow(&mut self, wire: &mut Wire, now: Duration, messages: u32) {
        self.credit = Some(messages);
        self.pump(wire, now);
    }

    pub(crate) fn request(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        request: Request,
    ) -> Result<RequestId, SendError> {
        self.start(wire, now, request, Mode::Assemble)
    }

    pub(crate) fn get_block(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        request: Request,
        num: u32,
        size: Szx,
    ) -> Result<RequestId, SendError> {
        let block = Block::new(num, false, size).ok_or(SendError::TooManyBlocks)?;
        self.start(wire, now, request, Mode::Single(block))
    }

    pub(crate) fn ping(&mut self, wire: &mut Wire, now: Duration) -> Result<RequestId, SendError> {
        self.check_room(wire)?;
        let id = self.insert(Purpose::Ping, Token::default(), None, None, false);
        self.pump(wire, now);
        Ok(id)
    }

    pub(crate) fn cancel(&mut self, wire: &mut Wire, now: Duration, id: RequestId) {
        if self.open.get(&id).is_some_and(|open| matches!(open.purpose, Purpose::Request | Purpose::Ping)) {
            self.fail(wire, id, Failure::Cancelled);
            self.pump(wire, now);
        }
    }

    /// Ends every request with `SessionLost` and lapses every observation.
    pub(crate) fn reset(&mut self, wire: &mut Wire) -> Vec<ObservationId> {
        self.ready.clear();
        self.urgent.clear();
        self.begun.clear();
        for (id, open) in core::mem::take(&mut self.open) {
            match open.purpose {
                Purpose::Request | Purpose::Ping => wire.raise(Event::Failed {
                    id,
                    why: Failure::SessionLost,
                    retransmissions: open.retransmissions,
                }),
                Purpose::Deregister(observation) => self.end_cancelled(wire, observation),
                Purpose::Register(_) | Purpose::Tail(_) => {}
            }
        }
        for observation in self.observations.values_mut() {
            *observation = Observation::new(observation.request.clone(), observation.token);
        }
        self.observations.keys().copied().collect()
    }

    /// The peer acknowledged a request's message; `retransmissions` were needed.
    pub(crate) fn on_acknowledged(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: RequestId,
        retransmissions: u32,
    ) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.retransmissions += retransmissions;
        if open.purpose == Purpose::Ping {
            // Some stacks acknowledge a ping instead of resetting it; either is a sign of life.
            self.complete_ping(wire, now, id);
        } else if let Phase::Sent { id: message_id } = open.phase {
            open.phase =
                Phase::Waiting { id: message_id, expires: now.saturating_add(wire.config.response_timeout) };
        }
        self.pump(wire, now);
    }

    /// The peer reset a request's message.
    pub(crate) fn on_reset(&mut self, wire: &mut Wire, now: Duration, id: RequestId, retransmissions: u32) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.retransmissions += retransmissions;
        if open.purpose == Purpose::Ping {
            self.complete_ping(wire, now, id);
        } else {
            self.fail(wire, id, Failure::Reset);
        }
        self.pump(wire, now);
    }

    /// A Reset for message `message_id`, which is not a Confirmable one on its way: perhaps a Non-confirmable request.
    pub(crate) fn on_reset_non(&mut self, wire: &mut Wire, now: Duration, message_id: u16) -> bool {
        let sent_as = |open: &Open| match open.phase {
            Phase::SentOnce { id, .. } => id == message_id,
            Phase::Waiting { id, .. } => id == message_id && !is_confirmable(open),
            Phase::Queued | Phase::Sent { .. } => false,
        };
        let Some(id) = self.open.iter().find(|(_, open)| sent_as(open)).map(|(id, _)| *id) else {
            return false;
        };
        self.fail(wire, id, Failure::Reset);
        self.pump(wire, now);
        true
    }

    /// The message of a request was given up.
    pub(crate) fn on_timeout(&mut self, wire: &mut Wire, now: Duration, id: RequestId, retransmissions: u32) {
        if let Some(open) = self.open.get_mut(&id) {
            open.retransmissions += retransmissions;
            self.fail(wire, id, Failure::Timeout);
        }
        self.pump(wire, now);
    }

    /// A response, piggybacked or not; Confirmable ones are acknowledged or rejected here.
    pub(crate) fn on_response(&mut self, wire: &mut Wire, now: Duration, message: &Message) {
        let Some(id) = self.find_open(wire, message) else {
            return self.on_notification(wire, now, message);
        };
        let certain = message.kind == Kind::Acknowledgement;
        let Some(response) = read_response(message) else {
            self.reject(wire, message);
            self.settle(wire, now, id, certain);
            self.fail(wire, id, Failure::BadResponse);
            return self.pump(wire, now);
        };
        let Some(open) = self.open.get_mut(&id) else { return };
        let Some(transfer) = &mut open.transfer else { return };
        let step = transfer.respond(response, certain);
        if message.kind == Kind::Confirmable {
            wire.send_empty(Kind::Acknowledgement, message.message_id);
        }
        if step == Step::Stale {
            wire.counters.ignored += 1;
            return;
        }
        self.settle(wire, now, id, certain);
        match step {
            Step::Continue => {
                if let Some(open) = self.open.get_mut(&id) {
                    open.phase = Phase::Queued;
                    self.begun.push_back(id);
                }
            }
            Step::Done(response) => self.complete(wire, now, id, *response, certain),
            Step::Failed(why) => self.fail(wire, id, why),
            Step::Stale => {}
        }
        self.pump(wire, now);
    }

    /// Deadlines and waits that are over.
    pub(crate) fn handle_timeout(&mut self, wire: &mut Wire, now: Duration) {
        let mut over = Vec::new();
        for (id, open) in &mut self.open {
            if let Phase::SentOnce { id, counts_until, expires } = open.phase
                && counts_until <= now
            {
                open.phase = Phase::Waiting { id, expires };
            }
            if open.deadline.is_some_and(|at| at <= now) {
                over.push((*id, Failure::DeadlineExceeded));
            } else if matches!(open.phase, Phase::Waiting { expires, .. } if expires <= now) {
                over.push((*id, Failure::Timeout));
            }
        }
        over.into_iter().for_each(|(id, why)| self.fail(wire, id, why));
        self.pump(wire, now);
    }

    pub(crate) fn poll_timeout(&self, wire: &Wire) -> Option<Duration> {
        let of_request = |open: &Open| {
            let phase = match open.phase {
                Phase::Queued | Phase::Sent { .. } => None,
                Phase::SentOnce { counts_until, .. } => Some(counts_until),
                Phase::Waiting { expires, .. } => Some(expires),
            };
            phase.into_iter().chain(open.deadline).min()
        };
        // Without room in the window a queued request waits for another one's end, which has its own timer.
        let idle = self.ready.is_empty() && self.begun.is_empty() && self.urgent.is_empty();
        let blocked_by_ids = (!idle && self.has_window(wire))
            .then(|| wire.ids.free_at(wire.config.exchange_lifetime()))
            .flatten();
        self.open.values().filter_map(of_request).chain(blocked_by_ids).min()
    }

    fn start(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        request: Request,
        mode: Mode,
    ) -> Result<RequestId, SendError> {
        self.check_room(wire)?;
        check_request(&request)?;
        let deadline = request.deadline.map(|limit| now.saturating_add(limit));
        let urgent = request.urgent;
        let transfer = Transfer::new(request, None, mode, wire.config.block_size, wire.config.max_body)?;
        let token = self.fresh_token(wire).ok_or(SendError::Full { limit: wire.config.max_requests })?;
        wire.check_size(&transfer.message(token))?;
        let id = self.insert(Purpose::Request, token, Some(transfer), deadline, urgent);
        self.pump(wire, now);
        Ok(id)
    }

    fn check_room(&self, wire: &Wire) -> Result<(), SendError> {
        let limit = wire.config.max_requests;
        if self.open.len() >= limit { Err(SendError::Full { limit }) } else { Ok(()) }
    }

    /// A token no open request and no observation has. Tokens count up, so one is not soon used again.
    fn fresh_token(&mut self, wire: &Wire) -> Option<Token> {
        let len = wire.config.token_length.clamp(1, 8);
        for _ in 0..=self.open.len() + self.observations.len() {
            let token = Token::from_counter(self.next_token, len);
            self.next_token = self.next_token.wrapping_add(1);
            let taken = self.open.values().any(|open| open.token == token)
                || self.observations.values().any(|observation| observation.token == token);
            if !taken {
                return Some(token);
            }
        }
        None
    }

    fn insert(
        &mut self,
        purpose: Purpose,
        token: Token,
        transfer: Option<Transfer>,
        deadline: Option<Duration>,
        urgent: bool,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let phase = Phase::Queued;
        let open = Open { purpose, token, transfer, phase, deadline, first_sent: None, retransmissions: 0 };
        self.open.insert(id, open);
        if urgent {
            self.urgent.push_back(id)
        } else {
            self.ready.push_back(id)
        }
        id
    }

    fn has_window(&self, wire: &Wire) -> bool {
        self.in_flight() < wire.congestion.window() as usize
    }

    fn in_flight(&self) -> usize {
        self.open
            .values()
            .filter(|open| matches!(open.phase, Phase::Sent { .. } | Phase::SentOnce { .. }))
            .count()
    }

    /// Sends what the window allows, in turn. A loss closes the window for as long as the timeout of what was lost, which
    /// doubles; one urgent request does not wait for that. One more message is no burst.
    fn pump(&mut self, wire: &mut Wire, now: Duration) {
        while wire.has_id(now) && self.credit != Some(0) {
            let window = wire.congestion.window() as usize;
            let next = match self.in_flight().cmp(&window) {
                Ordering::Less => self.next_in_turn(),
                Ordering::Equal => self.urgent.pop_front(),
                Ordering::Greater => None,
            };
            let Some(id) = next else { return };
            let Some(open) = self.open.get_mut(&id) else { continue };
            let message = match &open.transfer {
                Some(transfer) => transfer.message(open.token),
                None => blank(Kind::Confirmable, Code::EMPTY),
            };
            let once = message.kind == Kind::NonConfirmable;
            let counts_until = now.saturating_add(wire.congestion.timeout(now, &wire.config));
            let Some(message_id) = wire.send_new(now, message, Owner::Request(id)) else { return };
            wire.counters.requests += 1;
            self.credit = self.credit.map(|left| left.saturating_sub(1));
            open.first_sent.get_or_insert(now);
            let expires = now.saturating_add(wire.config.response_timeout);
            open.phase = if once {
                Phase::SentOnce { id: message_id, counts_until, expires }
            } else {
                Phase::Sent { id: message_id }
            };
        }
    }

    /// What is urgent goes first. Then transfers that have begun, because the peer does not keep half a body for ever; but a long one does not
    /// starve the others.
    fn next_in_turn(&mut self) -> Option<RequestId> {
        if let Some(id) = self.urgent.pop_front() {
            return Some(id);
        }
        let others_turn = self.streak >= MAX_STREAK && !self.ready.is_empty();
        if let Some(id) = (!others_turn).then(|| self.begun.pop_front()).flatten() {
            self.streak += 1;
            return Some(id);
        }
        self.streak = 0;
        self.ready.pop_front()
    }

    /// The open request a response answers: by message id and token when piggybacked, else by token.
    fn find_open(&self, wire: &Wire, message: &Message) -> Option<RequestId> {
        if message.kind == Kind::Acknowledgement {
            let Owner::Request(id) = wire.confirmables.get(message.message_id)?.owner else { return None };
            let open = self.open.get(&id)?;
            return (open.token == message.token && open.purpose != Purpose::Ping).then_some(id);
        }
        let answers = |open: &Open| {
            open.purpose != Purpose::Ping
                && open.token == message.token
                && open.phase != Phase::Queued
                // A notification that crossed the cancellation is not its answer.
                && !(matches!(open.purpose, Purpose::Deregister(_)) && has_observe(message))
        };
        self.open.iter().find(|(_, open)| answers(open)).map(|(id, _)| *id)
    }

    /// The message that is out was answered: its timer stops.
    fn settle(&mut self, wire: &mut Wire, now: Duration, id: RequestId, certain: bool) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let Phase::Sent { id: message_id } = open.phase else { return };
        let retransmissions = if certain {
            wire.acknowledged(now, message_id).map_or(0, |(_, retransmissions)| retransmissions)
        } else {
            // The response overtook the acknowledgement: arrived, but no measure of the round trip.
            let out = wire.confirmables.len();
            wire.congestion.acknowledged(now, RoundTrip::Unknown, out, &wire.config);
            wire.confirmables.stop(message_id).map_or(0, |entry| entry.retransmissions)
        };
        open.retransmissions += retransmissions;
    }

    fn complete_ping(&mut self, wire: &mut Wire, now: Duration, id: RequestId) {
        if let Some(open) = self.remove(wire, id) {
            let round_trip = now.saturating_sub(open.first_sent.unwrap_or(now));
            wire.raise(Event::Pong { id, retransmissions: open.retransmissions, round_trip });
        }
    }

    fn complete(&mut self, wire: &mut Wire, now: Duration, id: RequestId, response: Response, certain: bool) {
        let Some(open) = self.remove(wire, id) else { return };
        match open.purpose {
            Purpose::Request | Purpose::Ping => wire.raise(Event::Response {
                id,
                response,
                retransmissions: open.retransmissions,
                round_trip: now.saturating_sub(open.first_sent.unwrap_or(now)),
            }),
            Purpose::Register(observation) => self.registered(wire, now, observation, response, certain),
            Purpose::Deregister(observation) => self.end_cancelled(wire, observation),
            Purpose::Tail(observation) => {
                if let Some(held) = self.observations.get_mut(&observation) {
                    held.tail = None;
                }
                wire.raise(if response.code.is_success() {
                    Event::Notification { observation, response }
                } else {
                    Event::NotificationLost { observation, why: Failure::BodyChanged }
                });
            }
        }
    }

    fn fail(&mut self, wire: &mut Wire, id: RequestId, why: Failure) {
        let Some(open) = self.remove(wire, id) else { return };
        match open.purpose {
            Purpose::Request | Purpose::Ping => {
                wire.raise(Event::Failed { id, why, retransmissions: open.retransmissions });
            }
            Purpose::Register(observation) => self.lapse(wire, observation, ObservationEnd::Failed(why)),
            Purpose::Deregister(observation) => self.end_cancelled(wire, observation),
            Purpose::Tail(observation) => {
                if let Some(held) = self.observations.get_mut(&observation) {
                    held.tail = None;
                }
                wire.raise(Event::NotificationLost { observation, why });
            }
        }
    }

    /// Closes a request without an outcome, counting the copies sent of a message still out.
    fn remove(&mut self, wire: &mut Wire, id: RequestId) -> Option<Open> {
        let mut open = self.open.remove(&id)?;
        match open.phase {
            Phase::Sent { id: message_id } => {
                let out = wire.confirmables.stop(message_id);
                open.retransmissions += out.map_or(0, |entry| entry.retransmissions);
            }
            Phase::Queued => {
                self.ready.retain(|other| *other != id);
                self.urgent.retain(|other| *other != id);
                self.begun.retain(|other| *other != id);
            }
            Phase::SentOnce { .. } | Phase::Waiting { .. } => {}
        }
        Some(open)
    }

    /// Rejects what nothing waits for (RFC 7252 §4.2, RFC 7641 §3.6). A Non-confirmable one is worth a Reset only when
    /// that stops the next.
    fn reject(&self, wire: &mut Wire, message: &Message) {
        let worth_it = match message.kind {
            Kind::Confirmable => true,
            Kind::NonConfirmable => has_observe(message),
            Kind::Acknowledgement | Kind::Reset => false,
        };
        if worth_it {
            wire.send_empty(Kind::Reset, message.message_id);
        }
    }
}

fn is_confirmable(open: &Open) -> bool {
    open.transfer.as_ref().is_none_or(Transfer::confirmable)
}

fn has_observe(message: &Message) -> bool {
    message.options.iter().any(|(number, _)| number == number::OBSERVE)
}
