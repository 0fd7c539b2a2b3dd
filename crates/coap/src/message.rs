//! One CoAP message and its validation (RFC 7252 §3, §4.1 and §4.2).
//!
//! `coap-lite` parses and serialises; its parser is lenient, so everything the RFC calls a message format error is
//! checked here, once. A [`Message`] that came out of [`Message::parse`] is well-formed.

use core::fmt;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet};

use crate::code::Code;
use crate::option::Options;

/// The four message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Confirmable,
    NonConfirmable,
    Acknowledgement,
    Reset,
}

/// A token of 0 to 8 bytes: how a response finds its request (RFC 7252 §5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token {
    bytes: [u8; 8],
    len: u8,
}

impl Token {
    /// The first `len` bytes (at most 8) of a counter, little-endian.
    pub(crate) fn from_counter(counter: u64, len: u8) -> Token {
        let len = len.min(8);
        let mut bytes = counter.to_le_bytes();
        for spare in bytes.iter_mut().skip(usize::from(len)) {
            *spare = 0;
        }
        Token { bytes, len }
    }

    /// `None` above eight bytes.
    #[must_use]
    pub fn new(value: &[u8]) -> Option<Token> {
        let mut bytes = [0; 8];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Token { bytes, len: value.len() as u8 })
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A well-formed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) code: Code,
    pub(crate) message_id: u16,
    pub(crate) token: Token,
    pub(crate) options: Options,
    pub(crate) payload: Vec<u8>,
}

/// What to do with a datagram that is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Drop it without a word.
    Ignore,
    /// It claims to be Confirmable: reject it with a Reset for this message id.
    Reset(u16),
}

impl Message {
    /// An Empty message: acknowledgement, reset or ping.
    pub(crate) fn empty(kind: Kind, message_id: u16) -> Message {
        Message {
            kind,
            code: Code::EMPTY,
            message_id,
            token: Token::default(),
            options: Options::default(),
            payload: Vec::new(),
        }
    }

    /// Reads one datagram.
    pub(crate) fn parse(datagram: &[u8]) -> Result<Message, Malformed> {
        let [first, code, id_high, id_low, ..] = *datagram else { return Err(Malformed::Ignore) };
        // An unknown version is dropped silently: not even the position of the message id is known.
        if first >> 6 != 1 {
            return Err(Malformed::Ignore);
        }
        let message_id = u16::from_be_bytes([id_high, id_low]);
        let kind = match (first >> 4) & 0x03 {
            0 => Kind::Confirmable,
            1 => Kind::NonConfirmable,
            2 => Kind::Acknowledgement,
            _ => Kind::Reset,
        };
        let malformed = match kind {
            Kind::Confirmable => Malformed::Reset(message_id),
            _ => Malformed::Ignore,
        };
        let code = Code::from_byte(code);
        if code == Code::EMPTY {
            let bare = datagram.len() == 4 && first & 0x0f == 0;
            return if bare { Ok(Message::empty(kind, message_id)) } else { Err(malformed) };
        }
        let fits = match kind {
            Kind::Confirmable | Kind::NonConfirmable => code.is_request() || code.is_response(),
            Kind::Acknowledgement => code.is_response(),
            Kind::Reset => false,
        };
        if !fits {
            return Err(malformed);
        }
        let packet = Packet::from_bytes(datagram).map_err(|_| malformed)?;
        let token = Token::new(packet.get_token()).ok_or(malformed)?;
        let mut options = Options::default();
        for (number, values) in packet.options() {
            for value in values {
                options.add(*number, value.as_slice());
            }
        }
        let message = Message { kind, code, message_id, token, options, payload: packet.payload };
        // Option encodings are unique, so a datagram longer than its content ends in a payload marker with no payload.
        if message.encoded_len() != datagram.len() {
            return Err(malformed);
        }
        Ok(message)
    }

    /// Length on the wire, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let payload = if self.payload.is_empty() { 0 } else { 1 + self.payload.len() };
        4 + usize::from(self.token.len) + self.options.encoded_len() + payload
    }

    /// The datagram.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut packet = Packet::new();
        packet.header.set_type(match self.kind {
            Kind::Confirmable => MessageType::Confirmable,
            Kind::NonConfirmable => MessageType::NonConfirmable,
            Kind::Acknowledgement => MessageType::Acknowledgement,
            Kind::Reset => MessageType::Reset,
        });
        packet.header.code = MessageClass::from(self.code.to_byte());
        packet.header.message_id = self.message_id;
        packet.set_token(self.token.as_bytes().to_vec());
        for (number, value) in self.options.iter() {
            packet.add_option(CoapOption::from(number), value.to_vec());
        }
        packet.payload.clone_from(&self.payload);
        // Without a size limit the serialiser has no way to fail: its header buffer always holds the header.
        packet.to_bytes_unlimited().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Method;
    use crate::option::number;
    use proptest::prelude::*;

    fn get(token: &[u8]) -> Message {
        Message {
            code: Method::Get.code(),
            token: Token::new(token).unwrap(),
            ..Message::empty(Kind::Confirmable, 0x1234)
        }
    }

    #[test]
    fn an_observe_registration_has_the_bytes_of_rfc_7641() {
        let mut message = get(&[0x4a]);
        message.options.add(number::URI_PATH, *b"temperature");
        message.options.add_uint(number::OBSERVE, 0);
        let bytes = message.to_bytes();
        assert_eq!(bytes, [&[0x41, 0x01, 0x12, 0x34, 0x4a, 0x60, 0x5b][..], b"temperature"].concat());
        assert_eq!(Message::parse(&bytes), Ok(message));
    }

    #[test]
    fn a_keepalive_without_a_path_is_well_formed() {
        let bytes = [0x48, 0x04, 0x00, 0x07, 0, 0, 0, 0, 0, 0, 0, 0];
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.code, message.token.as_bytes().len()), (Method::Delete.code(), 8));
        assert_eq!(message.to_bytes(), bytes);
    }

    #[test]
    fn format_errors_in_a_confirmable_message_are_rejected_by_its_id() {
        let reset = Err(Malformed::Reset(7));
        assert_eq!(Message::parse(&[0x40, 0x01, 0, 7, 0xff]), reset, "marker without payload");
        assert_eq!(Message::parse(&[0x49, 0x01, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9]), reset, "TKL 9");
        assert_eq!(Message::parse(&[0x42, 0x01, 0, 7, 1]), reset, "token cut short");
        assert_eq!(Message::parse(&[0x41, 0x00, 0, 7, 1]), reset, "Empty with token");
        assert_eq!(Message::parse(&[0x40, 0x00, 0, 7, 0xff, 1]), reset, "Empty with payload");
        assert_eq!(Message::parse(&[0x40, 0x00, 0, 7, 0x10]), reset, "Empty with option");
        assert_eq!(Message::parse(&[0x40, 0x01, 0, 7, 0xf0]), reset, "option delta 15");
        assert_eq!(Message::parse(&[0x40, 0x01, 0, 7, 0xb5, b'a']), reset, "option cut short");
        for class in [1, 3, 6, 7] {
            assert_eq!(Message::parse(&[0x40, class << 5 | 1, 0, 7]), reset, "reserved class {class}");
        }
    }

    #[test]
    fn format_errors_elsewhere_and_other_versions_are_ignored() {
        let ignored = Err(Malformed::Ignore);
        for short in [&[][..], &[0x40], &[0x40, 1, 0]] {
            assert_eq!(Message::parse(short), ignored);
        }
        for version in [0x00, 0x80, 0xc0] {
            assert_eq!(Message::parse(&[version, 0x01, 0, 7]), ignored);
        }
        assert_eq!(Message::parse(&[0x50, 0x01, 0, 7, 0xff]), ignored, "NON");
        assert_eq!(Message::parse(&[0x60, 0x01, 0, 7]), ignored, "ACK with a request");
        assert_eq!(Message::parse(&[0x70, 0x45, 0, 7]), ignored, "RST with a response");
        assert_eq!(Message::parse(&[0x71, 0x00, 0, 7, 1]), ignored, "RST with a token");
    }

    #[test]
    fn a_value_that_ends_in_the_marker_byte_is_no_marker() {
        let mut message = get(&[]);
        message.options.add(number::URI_PATH, *b"a");
        message.options.add(number::ETAG, [0xff]);
        message.options.add(2048, [0xff; 300]);
        assert_eq!(Message::parse(&message.to_bytes()), Ok(message));
    }

    proptest! {
        #[test]
        fn whatever_parses_serialises_to_the_same_bytes(
            first in 0x40u8..0x80, rest in prop::collection::vec(any::<u8>(), 3..80),
        ) {
            let bytes = [&[first][..], &rest].concat();
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert_eq!(message.encoded_len(), bytes.len());
                prop_assert_eq!(message.to_bytes(), bytes);
            }
        }

        #[test]
        fn every_well_formed_message_survives_a_round_trip(
            token in prop::collection::vec(any::<u8>(), 0..=8),
            options in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..400)), 0..6),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            id: u16,
        ) {
            let mut message = Message { message_id: id, payload, ..get(&token) };
            options.into_iter().for_each(|(number, value)| message.options.add(number, value));
            let bytes = message.to_bytes();
            prop_assert_eq!(message.encoded_len(), bytes.len());
            prop_assert_eq!(Message::parse(&bytes), Ok(message));
        }
    }
}
