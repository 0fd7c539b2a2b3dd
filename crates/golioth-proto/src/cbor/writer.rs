//! Writes CBOR that is definite, shortest, and bounded.
//!
//! Written here and not taken from a library because every call is infallible: a writer that has run out of room goes
//! on counting and stores nothing more, so that callers ask once, at the end, and can say how much was needed.

use minicbor::{Decoder, Encoder};

/// Appends to a buffer it does not own, up to `room` bytes from where it began.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    room: usize,
    written: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self::with_room(out, usize::MAX)
    }

    pub(crate) fn with_room(out: &'a mut Vec<u8>, room: usize) -> Self {
        Self { out, room, written: 0 }
    }

    /// Bytes asked for so far, stored or not. More than the room means that the buffer's tail is incomplete.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    pub(crate) fn map(&mut self, entries: usize) {
        self.head(5, entries as u64);
    }

    pub(crate) fn array(&mut self, items: usize) {
        self.head(4, items as u64);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.head(3, text.len() as u64);
        self.put(text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.head(2, bytes.len() as u64);
        self.put(bytes);
    }

    pub(crate) fn unsigned(&mut self, number: u64) {
        self.head(0, number);
    }

    pub(crate) fn integer(&mut self, number: i64) {
        if number < 0 {
            // RFC 8949 §3.1: major type 1 holds -1 - n, which for two's complement is the complement.
            self.head(1, !number as u64);
        } else {
            self.head(0, number as u64);
        }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.put(&[if value { 0xf5 } else { 0xf4 }]);
    }

    pub(crate) fn null(&mut self) {
        self.put(&[0xf6]);
    }

    pub(crate) fn float16(&mut self, bits: u16) {
        self.put(&[0xf9]);
        self.put(&bits.to_be_bytes());
    }

    pub(crate) fn float32(&mut self, value: f32) {
        self.put(&[0xfa]);
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn float64(&mut self, value: f64) {
        self.put(&[0xfb]);
        self.put(&value.to_be_bytes());
    }

    /// The shortest float that is exactly this number. NaN and infinities are written as they are; callers that must
    /// not send them refuse them first.
    pub(crate) fn shortest_float(&mut self, value: f64) {
        let single = value as f32;
        let half = half_bits(single);
        if half_value(half).to_bits() == value.to_bits() {
            self.float16(half);
        } else if f64::from(single).to_bits() == value.to_bits() {
            self.float32(single);
        } else {
            self.float64(value);
        }
    }

    fn head(&mut self, major: u8, argument: u64) {
        let major = major << 5;
        match argument {
            0..=23 => self.put(&[major | argument as u8]),
            24..=0xff => self.put(&[major | 24, argument as u8]),
            0x100..=0xffff => {
                self.put(&[major | 25]);
                self.put(&(argument as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.put(&[major | 26]);
                self.put(&(argument as u32).to_be_bytes());
            }
            _ => {
                self.put(&[major | 27]);
                self.put(&argument.to_be_bytes());
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len());
        if self.written <= self.room {
            self.out.extend_from_slice(bytes);
        }
    }
}

/// How many bytes the head of an array, map or string of this length takes.
pub(crate) const fn head_bytes(argument: usize) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    }
}

/// The nearest half-precision number (IEEE 754 binary16), ties to even; too large becomes infinite.
pub(crate) fn half_bits(value: f32) -> u16 {
    let mut item = [0u8; 3];
    // The conversion is the library's; three bytes are exactly an item, so that this cannot fail.
    let written = Encoder::new(&mut item[..]).f16(value).is_ok();
    debug_assert!(written, "a half-precision item is three bytes");
    let [_, high, low] = item;
    u16::from_be_bytes([high, low])
}

/// The number that these bits stand for.
pub(crate) fn half_value(bits: u16) -> f64 {
    let [high, low] = bits.to_be_bytes();
    Decoder::new(&[0xf9, high, low]).f16().map_or(f64::NAN, f64::from)
}

#[cfg(test)]
mod tests {
    use super::{Writer, head_bytes};

    #[test]
    fn heads_are_the_shortest_at_every_boundary() {
        let boundaries = [0, 23, 24, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
        for number in boundaries {
            let mut ours = Vec::new();
            Writer::new(&mut ours).unsigned(number);
            assert_eq!(Ok(&ours), minicbor::to_vec(number).as_ref().map_err(|_| ()), "{number}");
            let negative = -1 - i128::from(number);
            if let Ok(negative) = i64::try_from(negative) {
                let mut ours = Vec::new();
                Writer::new(&mut ours).integer(negative);
                assert_eq!(Ok(&ours), minicbor::to_vec(negative).as_ref().map_err(|_| ()), "{negative}");
            }
            if let Ok(length) = usize::try_from(number)
                && number <= 0xffff_ffff
            {
                let mut head = Vec::new();
                Writer::new(&mut head).array(length);
                assert_eq!(head.len(), head_bytes(length));
            }
        }
    }

    #[test]
    fn a_writer_out_of_room_counts_on_and_stores_nothing_more() {
        let mut out = vec![7];
        let mut writer = Writer::with_room(&mut out, 4);
        writer.text("abc");
        writer.text(&"x".repeat(1_000_000));
        writer.null();
        assert_eq!(writer.written(), 4 + 5 + 1_000_000 + 1);
        assert_eq!(out, [7, 0x63, b'a', b'b', b'c']);
    }
}
