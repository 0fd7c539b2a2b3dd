//! The endpoint: one peer, one session, both roles.
//!
//! Sorts what arrives by type and code (RFC 7252 §4.2, §4.3) and hands it to the role it belongs to. State lives in the
//! roles and in the wire they share.

use core::time::Duration;

use crate::block::Szx;
use crate::client::Client;
use crate::code::Code;
use crate::config::{Config, Counters, Seed};
use crate::dedup::Seen;
use crate::event::{
    Delivery, Event, ExchangeId, KeptObservation, NotificationId, ObservationId, ObserverGone, ObserverId,
    RequestId, SendError,
};
use crate::exchange::Owner;
use crate::message::{Kind, Malformed, Message, Token};
use crate::request::{Request, Response};
use crate::server::Server;
use crate::transfer::message_of;
use crate::wire::Wire;

/// A CoAP endpoint for one peer. After every call drain [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event), then ask [`poll_timeout`](Self::poll_timeout) when to come back.
#[derive(Debug)]
pub struct Endpoint {
    wire: Wire,
    client: Client,
    server: Server,
}

impl Endpoint {
    /// An endpoint at the start of a session.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Endpoint {
        Endpoint { wire: Wire::new(config, seed), client: Client::new(seed.token), server: Server::default() }
    }

    /// Takes one datagram the session delivered.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        self.wire.counters.datagrams_in += 1;
        self.wire.counters.bytes_in += datagram.len() as u64;
        if datagram.len() > self.wire.config.max_datagram {
            self.wire.counters.oversize += 1;
            return;
        }
        if self.wire.events_full() {
            self.wire.counters.ignored += 1;
            return;
        }
        match Message::parse(datagram) {
            Ok(message) => self.handle_message(now, &message),
            Err(malformed) => {
                self.wire.counters.malformed += 1;
                if let Malformed::Reset(id) = malformed {
                    self.wire.push(Message::empty(Kind::Reset, id).to_bytes());
                }
            }
        }
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(lost) = self.wire.expire(now) {
            match lost {
                Some((Owner::Request(id), copies)) => self.client.on_timeout(&mut self.wire, now, id, copies),
                Some((Owner::Notification(id, _), _)) => {
                    self.server.drop_observer(&mut self.wire, id, ObserverGone::Timeout);
                }
                Some((Owner::Response, _)) | None => {}
            }
        }
        self.client.handle_timeout(&mut self.wire, now);
        self.server.handle_timeout(&mut self.wire, now);
    }

    /// The next datagram for the session.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.wire.next_datagram()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due; `None` while nothing waits for time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        [
            self.wire.confirmables.next_due(),
            self.client.poll_timeout(&self.wire),
            self.server.poll_timeout(&self.wire),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.wire.next_event()
    }

    /// The observations the peer serves now, for a session that is to go on in another endpoint.
    pub fn kept_observations(&self) -> impl Iterator<Item = KeptObservation> {
        self.client.kept_observations()
    }

    /// Goes on with an observation of an earlier endpoint of the same session: without a registration, because the peer serves
    /// it still. For an endpoint that has not sent anything; its [`Seed`] must go on where that one stopped.
    pub fn keep_observing(&mut self, now: Duration, kept: KeptObservation) -> ObservationId {
        self.client.keep_observing(now, kept)
    }

    /// Sends a request; a body beyond one block goes up block-wise, an answer beyond one block is assembled.
    ///
    /// # Errors
    /// [`SendError`]: `Full`, `OptionTooLong`, `TooLarge`, `TooManyBlocks`.
    pub fn request(&mut self, now: Duration, request: Request) -> Result<RequestId, SendError> {
        self.client.request(&mut self.wire, now, request)
    }

    /// Asks for one block of a resource and nothing else: the answer is that block (`response.block2`; `None` when the
    /// server answered block 0 with the whole body), not assembled. Several may be in flight, in any order.
    ///
    /// # Errors
    /// As [`request`](Self::request); `TooManyBlocks` when `num` exceeds 2^20 - 1.
    pub fn get_block(
        &mut self,
        now: Duration,
        request: Request,
        num: u32,
        size: Szx,
    ) -> Result<RequestId, SendError> {
        self.client.get_block(&mut self.wire, now, request, num, size)
    }

    /// Has so many messages of requests leave from now on and no more, until it is called again: for a peer that counts them.
    /// Each block of a body is one. Repetitions are due when they are due. Without this, any number may leave.
    pub fn allow(&mut self, now: Duration, messages: u32) {
        self.client.allow(&mut self.wire, now, messages);
    }

    /// Gives a request or ping up: its outcome is `Failed` with `Cancelled`, unless it ended already.
    pub fn cancel(&mut self, now: Duration, id: RequestId) {
        self.client.cancel(&mut self.wire, now, id);
    }

    /// Asks the peer for a sign of life with an Empty Confirmable message (RFC 7252 §4.3).
    ///
    /// # Errors
    /// `Full`.
    pub fn ping(&mut self, now: Duration) -> Result<RequestId, SendError> {
        self.client.ping(&mut self.wire, now)
    }

    /// Registers as an observer (RFC 7641 §3). The first state comes as a notification.
    ///
    /// # Errors
    /// As [`request`](Self::request), and `NotObservable` for methods other than GET and FETCH.
    pub fn observe(&mut self, now: Duration, request: Request) -> Result<ObservationId, SendError> {
        self.client.observe(&mut self.wire, now, request)
    }

    /// Registers again with the same token: after a new session, a lapse, or to refresh. Does nothing while a
    /// registration or cancellation is on its way.
    ///
    /// # Errors
    /// `Unknown` for a forgotten observation; otherwise as [`request`](Self::request).
    pub fn reregister(&mut self, now: Duration, observation: ObservationId) -> Result<(), SendError> {
        self.client.reregister(&mut self.wire, now, observation)
    }

    /// Ends an observation with Observe = 1; `ObservationEnded` with `Cancelled` follows when it was answered or failed.
    ///
    /// # Errors
    /// `Unknown`, `Full`.
    pub fn cancel_observation(&mut self, now: Duration, observation: ObservationId) -> Result<(), SendError> {
        self.client.cancel_observation(&mut self.wire, now, observation)
    }

    /// Forgets an observation without a word; a later notification is reset, which ends it at the server too.
    pub fn forget_observation(&mut self, now: Duration, observation: ObservationId) {
        self.client.forget_observation(&mut self.wire, now, observation);
    }

    /// The observations held, registered or lapsed, with their requests.
    pub fn observations(&self) -> impl Iterator<Item = (ObservationId, &Request)> {
        self.client.observations()
    }

    /// Answers a request: on its ACK while that is unsent, separately afterwards.
    ///
    /// # Errors
    /// `Unknown` when it was answered before or its lifetime passed; `NotAResponse`; `TooLarge`; `OptionTooLong`;
    /// `MessageIdsExhausted`. After all but `Unknown` it may be answered again.
    pub fn respond(
        &mut self,
        now: Duration,
        exchange: ExchangeId,
        response: Response,
    ) -> Result<(), SendError> {
        self.server.respond(&mut self.wire, now, exchange, response)
    }

    /// Answers a GET or FETCH with Observe = 0 and takes its sender on as an observer. The same token gives the same
    /// observer.
    ///
    /// # Errors
    /// As [`respond`](Self::respond); `NotAnObserver`; `Full` (answer it with [`respond`](Self::respond) instead).
    pub fn accept_observer(
        &mut self,
        now: Duration,
        exchange: ExchangeId,
        response: Response,
    ) -> Result<ObserverId, SendError> {
        self.server.accept_observer(&mut self.wire, now, exchange, response)
    }

    /// Sends an observer a new state, or queues it. A response other than 2.xx ends the observation.
    /// A body beyond one block goes out as its first block; the observer fetches the rest with GET.
    ///
    /// # Errors
    /// `Unknown`; `Full` when its queue is; `NotAResponse`; `TooLarge`; `OptionTooLong`; `MessageIdsExhausted`.
    pub fn notify(
        &mut self,
        now: Duration,
        observer: ObserverId,
        response: Response,
        delivery: Delivery,
    ) -> Result<NotificationId, SendError> {
        self.server.notify(&mut self.wire, now, observer, response, delivery)
    }

    /// A new session under the same endpoint: every open request fails with `SessionLost`, observers are gone, what was
    /// queued for transmission is dropped. Message ids and tokens count on. Returns the observations, to be registered
    /// again.
    pub fn reset_session(&mut self) -> Vec<ObservationId> {
        self.wire.reset();
        self.server.reset(&mut self.wire);
        self.client.reset(&mut self.wire)
    }

    /// How many more requests would be taken now.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.wire.config.max_requests.saturating_sub(self.client.outstanding())
    }

    /// Requests, pings and observation requests taken and not yet ended.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.client.outstanding()
    }

    /// Length of the datagram a request would make, in bytes, if it were sent in one piece.
    #[must_use]
    pub fn datagram_len(&self, request: &Request) -> usize {
        message_of(request, Token::from_counter(0, self.wire.config.token_length.clamp(1, 8))).encoded_len()
    }

    /// The message id the next message will carry.
    #[must_use]
    pub fn next_message_id(&self) -> u16 {
        self.wire.ids.peek()
    }

    /// The counter the next token will be made of.
    #[must_use]
    pub fn next_token(&self) -> u64 {
        self.client.next_token()
    }

    /// What passed through so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { forgotten_ids: self.wire.dedup.forgotten(), ..self.wire.counters }
    }

    /// The retransmission timeout a message sent at `now` would start from, before jitter.
    #[must_use]
    pub fn retransmission_timeout(&self, now: Duration) -> Duration {
        self.wire.congestion.timeout(now, &self.wire.config)
    }

    /// The congestion window: requests that may be in flight now.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.wire.congestion.window()
    }

    fn handle_message(&mut self, now: Duration, message: &Message) {
        match (message.kind, message.code) {
            (Kind::Acknowledgement, Code::EMPTY) => self.on_acknowledged(now, message.message_id),
            (Kind::Acknowledgement, _) => self.client.on_response(&mut self.wire, now, message),
            (Kind::Reset, _) => self.on_reset(now, message.message_id),
            // A ping. The Non-confirmable kind is no RFC's, but some devices send it and wait for a sign of life.
            (Kind::Confirmable | Kind::NonConfirmable, Code::EMPTY) => {
                self.wire.push(Message::empty(Kind::Reset, message.message_id).to_bytes());
            }
            (Kind::Confirmable | Kind::NonConfirmable, code) => {
                if !self.is_first_copy(now, message) {
                    return;
                }
                if code.is_request() {
                    self.server.on_request(&mut self.wire, now, message);
                } else {
                    self.client.on_response(&mut self.wire, now, message);
                }
            }
        }
    }

    /// Answers a duplicate as the first copy was answered, or not at all while it has no answer yet.
    fn is_first_copy(&mut self, now: Duration, message: &Message) -> bool {
        let lifetime = match message.kind {
            Kind::Confirmable => self.wire.config.exchange_lifetime(),
            _ => self.wire.config.non_lifetime(),
        };
        match self.wire.dedup.check(now, message.message_id, lifetime) {
            Seen::New => true,
            Seen::Before(answer) => {
                let again = answer.map(<[u8]>::to_vec);
                self.wire.counters.duplicates += 1;
                if let (Some(again), Kind::Confirmable) = (again, message.kind) {
                    self.wire.push(again);
                }
                false
            }
        }
    }

    fn on_acknowledged(&mut self, now: Duration, message_id: u16) {
        match self.wire.acknowledged(now, message_id) {
            Some((Owner::Request(id), copies)) => {
                self.client.on_acknowledged(&mut self.wire, now, id, copies)
            }
            Some((Owner::Notification(id, notification), _)) => {
                self.server.on_delivered(&mut self.wire, now, id, notification);
            }
            Some((Owner::Response, _)) => {}
            None => self.wire.counters.ignored += 1,
        }
    }

    fn on_reset(&mut self, now: Duration, message_id: u16) {
        match self.wire.acknowledged(now, message_id) {
            Some((Owner::Request(id), copies)) => self.client.on_reset(&mut self.wire, now, id, copies),
            Some((Owner::Notification(id, _), _)) => {
                self.server.drop_observer(&mut self.wire, id, ObserverGone::Reset);
            }
            Some((Owner::Response, _)) => {}
            None => {
                let known = self.server.on_reset_non(&mut self.wire, message_id)
                    || self.client.on_reset_non(&mut self.wire, now, message_id);
                if !known {
                    self.wire.counters.ignored += 1;
                }
            }
        }
    }
}
