//! What a message costs on the wire: known parts, and what is learned.
//!
//! Pure.

use std::net::IpAddr;

/// IPv4 and UDP headers of a datagram (RFC 791 without options, RFC 768).
pub const UDP_OVER_IPV4: u64 = 28;
/// IPv6 and UDP headers of a datagram (RFC 8200 without extensions, RFC 768).
pub const UDP_OVER_IPV6: u64 = 48;
/// IPv4 and TCP headers of a segment with timestamps (RFC 9293, RFC 7323), and the same again for its acknowledgement.
pub const TCP_SEGMENT: u64 = 104;
/// Payload of a segment at the most, about: 1400 bytes of a cellular link less the headers.
const SEGMENT_PAYLOAD: u64 = 1348;
/// Opening and closing a TCP connection: seven segments, about.
pub const TCP_CONNECTION: u64 = 7 * 52;
/// A full TLS handshake with a server's chain of two or three certificates, both ways, about; with its TCP segments.
pub const TLS_HANDSHAKE: u64 = 5_500;
/// Asking for a name and its answer, for both kinds of address, about.
const NAME_LOOKUP: u64 = 320;

/// What a datagram takes on the wire: its payload and the headers before it.
#[must_use]
pub fn datagram(payload: usize, headers: u64) -> u64 {
    let payload = payload as u64;
    if crate::sabotage::on("charge-payload-only") { payload } else { payload + headers }
}

/// What so many bytes in a stream of their own take: each segment has its headers and is acknowledged.
#[must_use]
pub fn stream(bytes: u64) -> u64 {
    bytes.saturating_add(bytes.div_ceil(SEGMENT_PAYLOAD).max(1).saturating_mul(TCP_SEGMENT))
}

/// What resolving a name costs; an address is not asked for.
#[must_use]
pub fn lookup(host: &str) -> u64 {
    if host.parse::<IpAddr>().is_ok() { 0 } else { NAME_LOOKUP }
}

/// What one destination's messages were seen to cost. Old messages fade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    wire: u64,
    body: u64,
    rows: u64,
}

/// What is taken for granted of a destination nothing is known of: a reading is 12 bytes of a message, a byte of a message
/// 1.4 on the wire, answer included.
const FIRST: Learned = Learned { wire: 14_336, body: 10_240, rows: 853 };
/// What is known fades by half when so many bytes of messages are in it.
const MEMORY: u64 = 64 * 1024;
/// What one more message costs at the least, both ways: headers, DTLS, CoAP and the answer.
const LEAST: u64 = 150;

impl Learned {
    /// A message of `rows` readings and `body` bytes was packed.
    pub fn packed(&mut self, rows: u64, body: u64) {
        self.begin();
        // Before it is added: what it costs is charged in a moment, whole.
        if self.body + body > MEMORY {
            (self.wire, self.body, self.rows) = (self.wire / 2, self.body / 2, self.rows / 2);
        }
        self.rows += rows;
        self.body += body;
    }

    /// Bytes went over the wire for messages.
    pub fn charged(&mut self, wire: u64) {
        self.begin();
        self.wire += wire;
    }

    /// What a message of so many readings will cost, if messages hold at most `most` bytes; and whether it would be full.
    #[must_use]
    pub fn message(&self, rows: u64, most: u64) -> (u64, bool) {
        let body = self.body_of(rows);
        (self.wire_of(body.min(most)), body >= most)
    }

    /// What a message of so many bytes will cost, that goes to an address of so many: what such messages were seen to cost, and
    /// no less than its bytes and their headers.
    #[must_use]
    pub fn carried(&self, body: u64, address: u64) -> u64 {
        self.wire_of(body).max(least(body.saturating_add(address)))
    }

    /// What so many readings will cost in messages of at most `most` bytes.
    #[must_use]
    pub fn all(&self, rows: u64, most: u64) -> u64 {
        let body = self.body_of(rows);
        let messages = body.div_ceil(most.max(1)).max(1);
        self.wire_of(body).max(messages.saturating_mul(LEAST))
    }

    /// Hundredths of a byte on the wire for a byte of a message.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let known = self.known();
        known.wire.saturating_mul(100) / known.body.max(1)
    }

    fn body_of(&self, rows: u64) -> u64 {
        let known = self.known();
        rows.saturating_mul(known.body) / known.rows.max(1)
    }

    fn wire_of(&self, body: u64) -> u64 {
        let known = self.known();
        (body.saturating_mul(known.wire) / known.body.max(1)).max(least(body))
    }

    fn known(&self) -> Self {
        if self.body == 0 { FIRST } else { *self }
    }

    fn begin(&mut self) {
        *self = self.known();
    }
}

/// What a message cannot cost less than: long ones travel in several segments.
fn least(body: u64) -> u64 {
    body.saturating_add(LEAST).saturating_add(body / SEGMENT_PAYLOAD * TCP_SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_what_messages_were_seen_to_cost() {
        let mut learned = Learned::default();
        let before = learned.message(100, 1024).0;
        for _ in 0..200 {
            learned.packed(100, 500);
            learned.charged(1000);
        }
        let (after, full) = learned.message(100, 1024);
        assert!(before > 1200 && (950..1050).contains(&after), "{before} then {after}");
        assert!(!full && learned.message(300, 1024).1);
        assert!((195..205).contains(&learned.percent()));
    }

    #[test]
    fn a_small_message_never_seems_cheaper_than_its_headers() {
        assert!(Learned::default().message(1, 1024).0 > LEAST);
        assert!(Learned::default().all(1, 1024) >= LEAST);
    }

    #[test]
    fn only_a_name_has_to_be_asked_for() {
        assert_eq!(
            (lookup("192.0.2.7"), lookup("2001:db8::1"), lookup("coap.golioth.io")),
            (0, 0, NAME_LOOKUP)
        );
    }
}
