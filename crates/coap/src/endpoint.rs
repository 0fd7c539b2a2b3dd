//! The endpoint: one peer, one session, both roles.

use core::time::Duration;

use crate::block::Szx;
use crate::config::{Config, Counters, Seed};
use crate::event::{Delivery, Event, ExchangeId, ObservationId, ObserverId, RequestId, SendError};
use crate::request::{Request, Response};

/// A CoAP endpoint for one peer. After every call drain [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event), then ask [`poll_timeout`](Self::poll_timeout) when to come back.
#[derive(Debug)]
pub struct Endpoint {
    config: Config,
    seed: Seed,
    counters: Counters,
}

#[expect(unused_variables, clippy::unused_self, reason = "skeleton: bodies follow in the next commits")]
impl Endpoint {
    /// An endpoint at the start of a session.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Endpoint {
        Endpoint { config, seed, counters: Counters::default() }
    }

    /// Takes one datagram the session delivered.
    pub fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {}

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Duration) {}

    /// The next datagram for the session.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next due; `None` while nothing waits for time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Sends a request; a body beyond one block goes up block-wise, an answer beyond one block is assembled.
    ///
    /// # Errors
    /// [`SendError`]: `Full`, `OptionTooLong`, `TooLarge`, `TooManyBlocks`.
    pub fn request(&mut self, now: Duration, request: Request) -> Result<RequestId, SendError> {
        Err(SendError::Full { limit: 0 })
    }

    /// Asks for one block of a resource and nothing else: the answer is that block (`response.block2`), not assembled.
    /// Several may be in flight, in any order.
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
        Err(SendError::Full { limit: 0 })
    }

    /// Gives a request up: its outcome is `Failed` with `Cancelled`, unless it ended already.
    pub fn cancel(&mut self, now: Duration, id: RequestId) {}

    /// Asks the peer for a sign of life with an Empty Confirmable message (RFC 7252 §4.3).
    ///
    /// # Errors
    /// `Full`.
    pub fn ping(&mut self, now: Duration) -> Result<RequestId, SendError> {
        Err(SendError::Full { limit: 0 })
    }

    /// Registers as an observer (RFC 7641 §3). The first state comes as a notification.
    ///
    /// # Errors
    /// As [`request`](Self::request), and `NotObservable` for methods other than GET and FETCH.
    pub fn observe(&mut self, now: Duration, request: Request) -> Result<ObservationId, SendError> {
        Err(SendError::Full { limit: 0 })
    }

    /// Registers again with the same token: after a new session, a lapse, or to refresh.
    ///
    /// # Errors
    /// `Unknown` for a forgotten observation; otherwise as [`request`](Self::request).
    pub fn reregister(&mut self, now: Duration, observation: ObservationId) -> Result<(), SendError> {
        Err(SendError::Unknown)
    }

    /// Ends an observation with Observe = 1; `ObservationEnded` with `Cancelled` follows when it was answered or failed.
    ///
    /// # Errors
    /// `Unknown`, `Full`.
    pub fn cancel_observation(&mut self, now: Duration, observation: ObservationId) -> Result<(), SendError> {
        Err(SendError::Unknown)
    }

    /// Forgets an observation without a word; a later notification is reset, which ends it at the server too.
    pub fn forget_observation(&mut self, now: Duration, observation: ObservationId) {}

    /// The observations held, registered or lapsed, with their requests.
    pub fn observations(&self) -> impl Iterator<Item = (ObservationId, &Request)> {
        core::iter::empty()
    }

    /// Answers a request: on its ACK while that is unsent, separately afterwards.
    ///
    /// # Errors
    /// `Unknown` when it was answered before or its lifetime passed; `TooLarge`; `OptionTooLong`;
    /// `MessageIdsExhausted`, after which it may be answered again.
    pub fn respond(
        &mut self,
        now: Duration,
        exchange: ExchangeId,
        response: Response,
    ) -> Result<(), SendError> {
        Err(SendError::Unknown)
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
        Err(SendError::Unknown)
    }

    /// Sends an observer a new state and returns its Observe value. A response other than 2.xx ends the observation.
    ///
    /// # Errors
    /// `Unknown`; `Full` when its queue is; `TooLarge`; `OptionTooLong`; `MessageIdsExhausted`.
    pub fn notify(
        &mut self,
        now: Duration,
        observer: ObserverId,
        response: Response,
        delivery: Delivery,
    ) -> Result<u32, SendError> {
        Err(SendError::Unknown)
    }

    /// A new session under the same endpoint: every open request fails with `SessionLost`, observers are gone, what was
    /// queued for transmission is dropped. Returns the observations, to be registered again.
    pub fn reset_session(&mut self, now: Duration) -> Vec<ObservationId> {
        Vec::new()
    }

    /// How many more requests would be taken now.
    #[must_use]
    pub fn capacity(&self) -> usize {
        0
    }

    /// Requests taken and not yet ended.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        0
    }

    /// Length of the datagram a request would make, in bytes, if it were sent in one piece.
    #[must_use]
    pub fn datagram_len(&self, request: &Request) -> usize {
        0
    }

    /// The message id the next message will carry.
    #[must_use]
    pub fn next_message_id(&self) -> u16 {
        self.seed.message_id
    }

    /// The counter the next token will be made of.
    #[must_use]
    pub fn next_token(&self) -> u64 {
        self.seed.token
    }

    /// What passed through so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The retransmission timeout a new message would start from, before jitter.
    #[must_use]
    pub fn retransmission_timeout(&self) -> Duration {
        self.config.ack_timeout
    }

    /// The congestion window: requests that may be in flight now.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.config.initial_window
    }
}
