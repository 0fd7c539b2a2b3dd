//! What the owner of an endpoint chooses, and what the endpoint counts.

use core::time::Duration;

use crate::block::Szx;

/// Timing, sizes and bounds of one endpoint. The defaults are RFC 7252 §4.8 and a metered cellular link.
#[derive(Clone, Debug)]
pub struct Config {
    /// ACK_TIMEOUT: the retransmission timeout before any round trip was measured.
    pub ack_timeout: Duration,
    /// ACK_RANDOM_FACTOR in percent, 100 or more: the first timeout is drawn between 100 % and this.
    pub ack_random_factor_percent: u32,
    /// MAX_RETRANSMIT.
    pub max_retransmit: u32,
    /// Lower bound of the measured retransmission timeout.
    pub min_rto: Duration,
    /// Upper bound of every retransmission timeout, backed off ones included.
    pub max_rto: Duration,
    /// MAX_LATENCY, part of the lifetimes of RFC 7252 §4.8.2.
    pub max_latency: Duration,
    /// How long a request that was acknowledged, or that is non-confirmable, waits for its response. In a block-wise
    /// transfer it starts anew with every block.
    pub response_timeout: Duration,
    /// How long a server may think before its empty ACK is sent. Keep it below the peer's smallest timeout.
    pub separate_ack_delay: Duration,
    /// Length of our tokens in bytes, 1..=8; values outside are brought inside.
    pub token_length: u8,
    /// NSTART: requests in flight at once, at most. The congestion window moves between 1 and this.
    pub max_in_flight: u32,
    /// The congestion window at the start of a session.
    pub initial_window: u32,
    /// Requests not yet ended, queued ones included.
    pub max_requests: usize,
    /// Observations we hold as a client, lapsed ones included.
    pub max_observations: usize,
    /// Incoming requests waiting for our answer; more are answered 5.03.
    pub max_exchanges: usize,
    /// Observers we serve.
    pub max_observers: usize,
    /// Notifications waiting for one observer.
    pub max_queued_notifications: usize,
    /// Largest body assembled from blocks, in bytes, both roles, unless a request says otherwise.
    pub max_body: usize,
    /// Block-wise uploads a peer may have open with us, and block-wise answers kept for it. The least recently continued
    /// makes room for a new one, so choose no fewer than the peer's requests in flight.
    pub max_transfers: usize,
    /// Block size we use for uploads and large answers.
    pub block_size: Szx,
    /// Largest datagram taken from or given to the session, in bytes.
    pub max_datagram: usize,
    /// Message ids of the peer remembered for duplicate suppression.
    pub max_remembered_ids: usize,
    /// Bytes of answers remembered for replay to duplicates.
    pub max_remembered_bytes: usize,
    /// Events not yet polled. At this bound incoming datagrams are dropped, as if lost on the way.
    pub max_events: usize,
    /// Datagrams not yet polled. At this bound new ones are dropped, as if lost on the way.
    pub max_outbox: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ack_timeout: Duration::from_secs(2),
            ack_random_factor_percent: 150,
            max_retransmit: 4,
            min_rto: Duration::from_secs(1),
            max_rto: Duration::from_secs(32),
            max_latency: Duration::from_secs(100),
            response_timeout: Duration::from_secs(93),
            separate_ack_delay: Duration::from_millis(400),
            token_length: 3,
            max_in_flight: 8,
            initial_window: 4,
            max_requests: 64,
            max_observations: 8,
            max_exchanges: 32,
            max_observers: 16,
            max_queued_notifications: 16,
            max_body: 64 * 1024,
            max_transfers: 8,
            block_size: Szx::B1024,
            max_datagram: 1500,
            max_remembered_ids: 8192,
            max_remembered_bytes: 64 * 1024,
            max_events: 256,
            max_outbox: 256,
        }
    }
}

impl Config {
    /// MAX_TRANSMIT_SPAN: no copy of a message leaves later than this after its first.
    #[must_use]
    pub fn max_transmit_span(&self) -> Duration {
        let doublings = 2u32.saturating_pow(self.max_retransmit).saturating_sub(1);
        self.scaled(doublings)
    }

    /// EXCHANGE_LIFETIME: how long a message id of a Confirmable message may not be reused.
    #[must_use]
    pub fn exchange_lifetime(&self) -> Duration {
        self.max_transmit_span()
            .saturating_add(self.max_latency.saturating_mul(2))
            .saturating_add(self.ack_timeout)
    }

    /// NON_LIFETIME: the same for Non-confirmable messages.
    #[must_use]
    pub fn non_lifetime(&self) -> Duration {
        self.max_transmit_span().saturating_add(self.max_latency)
    }

    fn scaled(&self, times: u32) -> Duration {
        self.ack_timeout.saturating_mul(times).saturating_mul(self.ack_random_factor_percent.max(100)) / 100
    }
}

/// Where an endpoint starts counting. Save the counters at a clean stop and give them back at the next start, so that
/// no message id or token repeats within a session that outlives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// The first message id.
    pub message_id: u16,
    /// The first token, as a counter.
    pub token: u64,
    /// Source of the jitter: same seed, same inputs, same outputs.
    pub random: u64,
}

/// What passed through an endpoint since it was made. Nothing here is reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams handed in.
    pub datagrams_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Datagrams handed out.
    pub datagrams_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Datagrams that were no CoAP message.
    pub malformed: u64,
    /// Datagrams longer than the configured bound.
    pub oversize: u64,
    /// Messages seen before.
    pub duplicates: u64,
    /// Messages of our own requests, each block of a body one; what was sent again is not among them.
    pub requests: u64,
    /// Confirmable messages we sent again.
    pub retransmissions: u64,
    /// Confirmable messages given up.
    pub timeouts: u64,
    /// Well-formed messages that matched nothing, or came while the event queue was full.
    pub ignored: u64,
    /// Notifications older than one already delivered.
    pub stale_notifications: u64,
    /// Datagrams dropped because nobody polled for them.
    pub outbox_dropped: u64,
    /// Remembered message ids dropped before their lifetime because the memory was full.
    pub forgotten_ids: u64,
    /// Incoming requests answered 5.03 or dropped because too many were open.
    pub refused_requests: u64,
    /// Incoming requests the application never answered.
    pub unanswered_requests: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_lifetimes_are_those_of_rfc_7252() {
        let config = Config::default();
        assert_eq!(config.max_transmit_span(), Duration::from_secs(45));
        assert_eq!(config.exchange_lifetime(), Duration::from_secs(247));
        assert_eq!(config.non_lifetime(), Duration::from_secs(145));
    }
}
