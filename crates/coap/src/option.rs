//! Option numbers, option lists and the small integer codec (RFC 7252 §3.1, §3.2 and §5.10).
//!
//! [`Options`] keeps options sorted by number, equal numbers in the order added, which is the order on the wire.

/// Option numbers this crate gives a meaning to.
pub mod number {
    /// Uri-Host, critical; accepted and ignored: one session has one host.
    pub const URI_HOST: u16 = 3;
    /// ETag.
    pub const ETAG: u16 = 4;
    /// Observe (RFC 7641).
    pub const OBSERVE: u16 = 6;
    /// Uri-Port, critical; accepted and ignored.
    pub const URI_PORT: u16 = 7;
    /// Location-Path.
    pub const LOCATION_PATH: u16 = 8;
    /// Uri-Path, critical, repeatable: one option a segment.
    pub const URI_PATH: u16 = 11;
    /// Content-Format.
    pub const CONTENT_FORMAT: u16 = 12;
    /// Max-Age, seconds.
    pub const MAX_AGE: u16 = 14;
    /// Uri-Query, critical, repeatable.
    pub const URI_QUERY: u16 = 15;
    /// Accept, critical.
    pub const ACCEPT: u16 = 17;
    /// Block2 (RFC 7959), critical.
    pub const BLOCK2: u16 = 23;
    /// Block1 (RFC 7959), critical.
    pub const BLOCK1: u16 = 27;
    /// Size2 (RFC 7959).
    pub const SIZE2: u16 = 28;
    /// Proxy-Uri, critical; refused with 5.05.
    pub const PROXY_URI: u16 = 35;
    /// Proxy-Scheme, critical; refused with 5.05.
    pub const PROXY_SCHEME: u16 = 39;
    /// Size1 (RFC 7252 §5.10.9).
    pub const SIZE1: u16 = 60;
}

/// Content-Format numbers used with Golioth.
pub mod format {
    /// text/plain; charset=utf-8.
    pub const TEXT: u16 = 0;
    /// application/octet-stream.
    pub const OCTET_STREAM: u16 = 42;
    /// application/json.
    pub const JSON: u16 = 50;
    /// application/cbor.
    pub const CBOR: u16 = 60;
}

/// A list of options in wire order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    sorted: Vec<(u16, Vec<u8>)>,
}

impl Options {
    /// Adds one option after those with the same or a smaller number.
    pub(crate) fn add(&mut self, number: u16, value: impl Into<Vec<u8>>) {
        let at = self.sorted.partition_point(|(have, _)| *have <= number);
        self.sorted.insert(at, (number, value.into()));
    }

    /// Adds an unsigned integer in its shortest form: zero is zero bytes.
    pub(crate) fn add_uint(&mut self, number: u16, value: u32) {
        self.add(number, encode_uint(value));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.sorted.iter().map(|(number, value)| (*number, value.as_slice()))
    }

    /// Length of the encoded options in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        let mut previous = 0;
        let mut total = 0;
        for (number, value) in self.iter() {
            let delta = usize::from(number - previous);
            total += 1 + extended_len(delta) + extended_len(value.len()) + value.len();
            previous = number;
        }
        total
    }
}

/// Whether an endpoint that does not know the option must refuse the message (RFC 7252 §5.4.6).
pub(crate) const fn is_critical(number: u16) -> bool {
    number & 1 == 1
}

/// Big-endian without leading zeros.
pub(crate) fn encode_uint(value: u32) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// Reads an unsigned integer of at most `max_len` (and four) bytes; leading zeros are legal.
pub(crate) fn decode_uint(value: &[u8], max_len: usize) -> Option<u32> {
    if value.len() > max_len.min(4) {
        return None;
    }
    Some(value.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// Bytes after the option's first byte that a delta or length needs.
const fn extended_len(value: usize) -> usize {
    match value {
        0..=12 => 0,
        13..=268 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn observe_register_is_a_zero_length_option() {
        assert!(encode_uint(0).is_empty());
        assert_eq!(decode_uint(&[], 3), Some(0));
        assert_eq!(encode_uint(50), [50]);
        assert_eq!(encode_uint(0x01_00_00), [1, 0, 0]);
    }

    #[test]
    fn too_long_integers_are_refused_and_leading_zeros_are_not() {
        assert_eq!(decode_uint(&[0, 0, 0, 1], 3), None);
        assert_eq!(decode_uint(&[0, 0, 1], 3), Some(1));
        assert_eq!(decode_uint(&[1, 2, 3, 4, 5], 8), None);
    }

    #[test]
    fn options_come_out_sorted_and_equal_numbers_keep_their_order() {
        let mut options = Options::default();
        options.add(number::ACCEPT, [60]);
        options.add(number::URI_PATH, *b"a");
        options.add(number::OBSERVE, []);
        options.add(number::URI_PATH, *b"b");
        let seen: Vec<_> = options.iter().collect();
        assert_eq!(seen, [(6, &b""[..]), (11, b"a"), (11, b"b"), (17, &[60][..])]);
        assert_eq!(options.encoded_len(), 1 + 2 + 2 + 2);
    }

    proptest! {
        #[test]
        fn integers_survive_a_round_trip(value: u32) {
            prop_assert_eq!(decode_uint(&encode_uint(value), 4), Some(value));
        }
    }
}
