//! The server role: requests owed an answer, block-wise bodies, observers served.
//!
//! Owns every open exchange. A request reaches the application once, whole; duplicates were answered before it gets
//! here. Its answer rides on the acknowledgement while that is unsent and goes separately afterwards (RFC 7252 §5.2).

use core::time::Duration;
use std::collections::BTreeMap;

use crate::assembly::{Assembly, Limits, Progress, Resource, cut_answer};
use crate::block::{Block, Szx};
use crate::code::{Code, Method};
use crate::event::{Delivery, Event, ExchangeId, NotificationId, ObserverGone, ObserverId, SendError};
use crate::exchange::Owner;
use crate::message::{Kind, Message, Token};
use crate::observers::Observers;
use crate::option::number;
use crate::request::{IncomingRequest, ObserveRequest, Response};
use crate::translate::{check_response, read_request, write_response};
use crate::wire::{Wire, blank};

#[derive(Debug, Default)]
pub(crate) struct Server {
    exchanges: BTreeMap<ExchangeId, Exchange>,
    assembly: Assembly,
    observers: Observers,
    next_exchange: u64,
}

#[derive(Clone, Debug)]
struct Exchange {
    reply: ReplyTo,
    about: Resource,
    block1: Option<Block>,
    block2: Option<Block>,
    observe: Option<ObserveRequest>,
    /// When the empty ACK is due; `None` once sent, or for a Non-confirmable request.
    ack_due: Option<Duration>,
    expires: Duration,
}

/// How an answer finds its request.
#[derive(Clone, Copy, Debug)]
struct ReplyTo {
    message_id: u16,
    token: Token,
    confirmable: bool,
    acknowledged: bool,
}

impl Server {
    /// A request that is no duplicate.
    pub(crate) fn on_request(&mut self, wire: &mut Wire, now: Duration, message: &Message) {
        let confirmable = message.kind == Kind::Confirmable;
        let reply = ReplyTo {
            message_id: message.message_id,
            token: message.token,
            confirmable,
            acknowledged: false,
        };
        let options = match read_request(message) {
            Ok(options) => options,
            // A Non-confirmable message with an unknown critical option is dropped (RFC 7252 §5.4.1).
            Err(Code::BAD_OPTION) if !confirmable => {
                wire.counters.ignored += 1;
                return;
            }
            Err(code) => return answer_at_once(wire, now, reply, &Response::new(code)),
        };
        let Some(method) = Method::from_code(message.code) else {
            return answer_at_once(wire, now, reply, &Response::new(Code::METHOD_NOT_ALLOWED));
        };
        if options.observe == Some(ObserveRequest::Deregister)
            && let Some(observer) = self.observers.with_token(message.token)
        {
            self.drop_observer(wire, observer, ObserverGone::Deregistered);
        }
        let about = Resource { method, path: options.path, query: options.query };
        let mut payload = message.payload.clone();
        let mut block1 = None;
        if let Some(block) = options.block1 {
            match self.assembly.take(now, &about, block, &payload, limits(wire)) {
                Progress::More(echo) => {
                    let go_on = Response { block1: Some(echo), ..Response::new(Code::CONTINUE) };
                    return answer_at_once(wire, now, reply, &go_on);
                }
                Progress::Refused(refusal) => return answer_at_once(wire, now, reply, &refusal),
                Progress::Whole(body, last) => {
                    payload = body;
                    block1 = Some(last);
                }
            }
        } else if let Some(wanted) = options.block2.filter(|wanted| wanted.num() > 0 && !repeatable(method)) {
            // A later block of an answer: running a POST again would not do.
            let size = wire.config.block_size;
            let kept = self
                .assembly
                .answer(now, &about, limits(wire))
                .map(|whole| cut_answer(whole, Some(wanted), size).0);
            let part = kept.unwrap_or_else(|| Response::new(Code::REQUEST_ENTITY_INCOMPLETE));
            return answer_at_once(wire, now, reply, &part);
        }
        self.purge(wire, now);
        if self.exchanges.len() >= wire.config.max_exchanges {
            wire.counters.refused_requests += 1;
            return answer_at_once(wire, now, reply, &Response::new(Code::SERVICE_UNAVAILABLE));
        }
        let exchange = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        let (path, query) = (about.path.clone(), about.query.clone());
        self.exchanges.insert(
            exchange,
            Exchange {
                reply,
                about,
                block1,
                block2: options.block2,
                observe: options.observe,
                ack_due: confirmable.then(|| now.saturating_add(wire.config.separate_ack_delay)),
                expires: now.saturating_add(wire.config.exchange_lifetime()),
            },
        );
        wire.raise(Event::Request(IncomingRequest {
            exchange,
            token: message.token,
            confirmable,
            method,
            path,
            query,
            content_format: options.content_format,
            accept: options.accept,
            observe: options.observe,
            block2: options.block2,
            payload,
        }));
    }

    pub(crate) fn respond(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ExchangeId,
        response: Response,
    ) -> Result<(), SendError> {
        self.answer(wire, now, id, Response { observe: None, ..response })
    }

    pub(crate) fn accept_observer(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ExchangeId,
        response: Response,
    ) -> Result<ObserverId, SendError> {
        let exchange = self.exchanges.get(&id).ok_or(SendError::Unknown)?;
        if exchange.observe != Some(ObserveRequest::Register) || !response.code.is_success() {
            return Err(SendError::NotAnObserver);
        }
        let token = exchange.reply.token;
        let size = exchange.block2.map_or(Szx::B1024, Block::szx);
        let limit = wire.config.max_observers;
        if self.observers.with_token(token).is_none() && self.observers.len() >= limit {
            return Err(SendError::Full { limit });
        }
        let observe = Some(self.observers.next_sequence());
        self.answer(wire, now, id, Response { observe, ..response })?;
        Ok(self.observers.add(token, size))
    }

    pub(crate) fn notify(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ObserverId,
        response: Response,
        delivery: Delivery,
    ) -> Result<NotificationId, SendError> {
        check_response(&response)?;
        let observer = self.observers.get(id).ok_or(SendError::Unknown)?;
        let kind = match delivery {
            Delivery::NonConfirmable => Kind::NonConfirmable,
            Delivery::Latest | Delivery::Every => Kind::Confirmable,
        };
        let ends = !response.code.is_success();
        let size = observer.size.min(wire.config.block_size);
        let response = Response { observe: None, ..response };
        let mut message = build(kind, observer.token, &cut_answer(&response, None, size).0);
        check_notification_size(wire, &message)?;
        let notification = self.observers.next_notification();
        let owner = Owner::Notification(id, notification);
        if ends {
            wire.send_new(now, message, owner).ok_or(SendError::MessageIdsExhausted)?;
            self.observers.remove(id);
        } else if kind == Kind::NonConfirmable {
            message.options.add_uint(number::OBSERVE, self.observers.next_sequence());
            let message_id = wire.send_new(now, message, owner).ok_or(SendError::MessageIdsExhausted)?;
            self.observers.remember_non(id, message_id);
            self.observers.drop_replaceable(id);
        } else {
            let limit = wire.config.max_queued_notifications;
            let replaceable = delivery == Delivery::Latest;
            if !self.observers.enqueue(id, notification, message, replaceable, limit) {
                return Err(SendError::Full { limit });
            }
            self.pump(wire, now);
        }
        Ok(notification)
    }

    /// A Confirmable notification arrived.
    pub(crate) fn on_delivered(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        observer: ObserverId,
        notification: NotificationId,
    ) {
        if self.observers.settle(observer) {
            wire.raise(Event::NotificationDelivered { observer, notification });
            self.pump(wire, now);
        }
    }

    /// An observer reset a notification, did not acknowledge one, or left.
    pub(crate) fn drop_observer(&mut self, wire: &mut Wire, observer: ObserverId, why: ObserverGone) {
        if self.observers.remove(observer).is_some() {
            wire.confirmables
                .stop_where(|owner| matches!(owner, Owner::Notification(other, _) if other == observer));
            wire.raise(Event::ObserverGone { observer, why });
        }
    }

    /// A Reset that matches no Confirmable message: perhaps a Non-confirmable notification.
    pub(crate) fn on_reset_non(&mut self, wire: &mut Wire, message_id: u16) -> bool {
        let Some(observer) = self.observers.by_recent_non(message_id) else { return false };
        self.drop_observer(wire, observer, ObserverGone::Reset);
        true
    }

    pub(crate) fn handle_timeout(&mut self, wire: &mut Wire, now: Duration) {
        for exchange in self.exchanges.values_mut() {
            if exchange.ack_due.is_some_and(|due| due <= now) {
                exchange.ack_due = None;
                exchange.reply.acknowledged = true;
                wire.send_empty(Kind::Acknowledgement, exchange.reply.message_id);
            }
        }
        self.purge(wire, now);
        self.pump(wire, now);
    }

    /// Only the empty ACK needs to be on time. Expired exchanges go when something else happens.
    pub(crate) fn poll_timeout(&self, wire: &Wire) -> Option<Duration> {
        let blocked_by_ids =
            self.observers.any_ready().then(|| wire.ids.free_at(wire.config.exchange_lifetime())).flatten();
        self.exchanges.values().filter_map(|exchange| exchange.ack_due).chain(blocked_by_ids).min()
    }

    pub(crate) fn reset(&mut self, wire: &mut Wire) {
        self.exchanges.clear();
        self.assembly.clear();
        for observer in self.observers.remove_all() {
            wire.raise(Event::ObserverGone { observer, why: ObserverGone::SessionLost });
        }
    }

    fn answer(
        &mut self,
        wire: &mut Wire,
        now: Duration,
        id: ExchangeId,
        response: Response,
    ) -> Result<(), SendError> {
        check_response(&response)?;
        let exchange = self.exchanges.get(&id).ok_or(SendError::Unknown)?;
        let (mut part, more) = cut_answer(&response, exchange.block2, wire.config.block_size);
        part.block1 = exchange.block1.or(part.block1);
        send_answer(wire, now, exchange.reply, &part)?;
        if let Some(exchange) = self.exchanges.remove(&id)
            && more
            && !repeatable(exchange.about.method)
        {
            self.assembly.keep_answer(
                now,
                exchange.about,
                Response { observe: None, ..response },
                limits(wire),
            );
        }
        Ok(())
    }

    fn pump(&mut self, wire: &mut Wire, now: Duration) {
        while wire.has_id(now) {
            let Some((observer, notification, message)) = self.observers.next_ready() else { return };
            wire.send_new(now, message, Owner::Notification(observer, notification));
        }
    }

    fn purge(&mut self, wire: &mut Wire, now: Duration) {
        let before = self.exchanges.len();
        self.exchanges.retain(|_, exchange| now < exchange.expires);
        wire.counters.unanswered_requests += (before - self.exchanges.len()) as u64;
    }
}

/// Methods whose answer may be asked for again block by block without keeping it here.
fn repeatable(method: Method) -> bool {
    matches!(method, Method::Get | Method::Fetch)
}

fn limits(wire: &Wire) -> Limits {
    Limits {
        transfers: wire.config.max_transfers,
        body: wire.config.max_body,
        size: wire.config.block_size,
        lifetime: wire.config.exchange_lifetime(),
    }
}

fn build(kind: Kind, token: Token, response: &Response) -> Message {
    Message {
        token,
        options: write_response(response),
        payload: response.payload.clone(),
        ..blank(kind, response.code)
    }
}

/// Observe, numbered when the notification leaves, takes at most four bytes.
fn check_notification_size(wire: &Wire, message: &Message) -> Result<(), SendError> {
    let (len, limit) = (message.encoded_len() + 4, wire.config.max_datagram);
    if len > limit { Err(SendError::TooLarge { len, limit }) } else { Ok(()) }
}

/// An answer the endpoint gives by itself. One that finds no message id is lost, as on the way.
fn answer_at_once(wire: &mut Wire, now: Duration, reply: ReplyTo, response: &Response) {
    if send_answer(wire, now, reply, response).is_err() {
        wire.counters.outbox_dropped += 1;
    }
}

fn send_answer(wire: &mut Wire, now: Duration, reply: ReplyTo, response: &Response) -> Result<(), SendError> {
    let kind = match (reply.confirmable, reply.acknowledged) {
        (true, false) => Kind::Acknowledgement,
        (true, true) => Kind::Confirmable,
        (false, _) => Kind::NonConfirmable,
    };
    let mut message = build(kind, reply.token, response);
    wire.check_size(&message)?;
    if kind == Kind::Acknowledgement {
        message.message_id = reply.message_id;
        wire.send_piggybacked(&message);
        return Ok(());
    }
    wire.send_new(now, message, Owner::Response).map(|_| ()).ok_or(SendError::MessageIdsExhausted)
}
