//! COBS (Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999): frames without a zero byte, each ended by one.
//!
//! A code byte says how many bytes follow until the next zero of the frame, plus one; 255 says that 254 bytes follow and
//! no zero. The last block may be one of 254 bytes, with or without an empty block behind it: both forms are sent by
//! encoders in use and mean the same. Invariant: at most one frame of the given length is kept; after any damage the next
//! zero byte begins anew.

use crc::{CRC_16_XMODEM, CRC_32_ISO_HDLC, Crc, NoTable};

/// What stands behind the content of a frame, inside the stuffing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Nothing: damage that keeps the stuffing whole goes unnoticed.
    None,
    /// CRC-16/XMODEM, most significant byte first.
    Crc16,
    /// CRC-16/XMODEM, least significant byte first.
    Crc16Little,
    /// CRC-32 (ISO-HDLC, as in Ethernet), most significant byte first.
    Crc32,
    /// CRC-32 (ISO-HDLC), least significant byte first.
    Crc32Little,
}

/// What came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CobsPiece<'a> {
    /// The content of a frame, without its checksum; never empty.
    Frame(&'a [u8]),
    /// A frame ended before the bytes that its last code byte announced.
    Cut,
    /// A frame was whole, but its checksum is not that of its content, or too short for one.
    Checksum,
    /// A frame was longer than allowed and is left out up to its end.
    Overlong,
}

/// Takes a byte stream apart into frames. The buffer is reused: a frame lives until the next call.
#[derive(Debug)]
pub struct CobsFrames {
    frame: Vec<u8>,
    most: usize,
    check: Check,
    /// Bytes until the next code byte.
    left: u8,
    /// The last block stands for a zero, which belongs to the frame if another block follows.
    owes_zero: bool,
    skipping: bool,
    done: bool,
}

impl CobsFrames {
    /// For frames of at most `most` bytes of content, checksum included; at least 1.
    #[must_use]
    pub fn new(most: usize, check: Check) -> Self {
        Self {
            frame: Vec::new(),
            most: most.max(1),
            check,
            left: 0,
            owes_zero: false,
            skipping: false,
            done: false,
        }
    }

    /// Takes from `rest` up to the end of the next frame; `None` when all of `rest` is taken.
    pub fn next(&mut self, rest: &mut &[u8]) -> Option<CobsPiece<'_>> {
        if self.done {
            self.forget();
        }
        while let Some((&byte, behind)) = rest.split_first() {
            *rest = behind;
            match byte {
                0 if self.skipping || self.is_empty() => {
                    self.forget();
                }
                0 => return Some(self.end()),
                _ if self.skipping => {}
                _ if !self.take(byte) => {
                    self.frame.clear();
                    self.skipping = true;
                    return Some(CobsPiece::Overlong);
                }
                _ => {}
            }
        }
        None
    }

    /// Forgets an unfinished frame, for instance when the port was opened again. Whether there was one.
    pub fn forget(&mut self) -> bool {
        let had = !self.done && (self.skipping || !self.is_empty());
        self.frame.clear();
        (self.left, self.owes_zero) = (0, false);
        (self.skipping, self.done) = (false, false);
        had
    }

    /// Nothing between two zeros, or a code byte that says so: no frame.
    fn is_empty(&self) -> bool {
        self.frame.is_empty() && self.left == 0
    }

    /// Takes a byte that is not zero; `false` when there is no room for it.
    fn take(&mut self, byte: u8) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return self.push(byte);
        }
        let fits = !self.owes_zero || self.push(0);
        self.left = byte - 1;
        self.owes_zero = byte != 0xff;
        fits
    }

    fn push(&mut self, byte: u8) -> bool {
        let fits = self.frame.len() < self.most;
        if fits {
            self.frame.push(byte);
        }
        fits
    }

    fn end(&mut self) -> CobsPiece<'_> {
        self.done = true;
        if self.left > 0 {
            return CobsPiece::Cut;
        }
        match self.check.content(&self.frame) {
            Some(content) if !content.is_empty() => CobsPiece::Frame(content),
            _ => CobsPiece::Checksum,
        }
    }
}

impl Check {
    /// Everything before a checksum that is right.
    fn content(self, frame: &[u8]) -> Option<&[u8]> {
        const CRC_16: Crc<u16, NoTable> = Crc::<u16, NoTable>::new(&CRC_16_XMODEM);
        const CRC_32: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
        match self {
            Self::None => Some(frame),
            Self::Crc16 | Self::Crc16Little => {
                let (content, check) = frame.split_last_chunk()?;
                let said =
                    if self == Self::Crc16 { u16::from_be_bytes(*check) } else { u16::from_le_bytes(*check) };
                (CRC_16.checksum(content) == said).then_some(content)
            }
            Self::Crc32 | Self::Crc32Little => {
                let (content, check) = frame.split_last_chunk()?;
                let said =
                    if self == Self::Crc32 { u32::from_be_bytes(*check) } else { u32::from_le_bytes(*check) };
                (CRC_32.checksum(content) == said).then_some(content)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    enum Heard {
        Frame(Vec<u8>),
        Cut,
        Checksum,
        Overlong,
    }

    fn frames(decoder: &mut CobsFrames, mut bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Some(piece) = decoder.next(&mut bytes) {
            heard.push(match piece {
                CobsPiece::Frame(content) => Heard::Frame(content.to_vec()),
                CobsPiece::Cut => Heard::Cut,
                CobsPiece::Checksum => Heard::Checksum,
                CobsPiece::Overlong => Heard::Overlong,
            });
        }
        heard
    }

    fn plain(bytes: &[u8]) -> Vec<Heard> {
        frames(&mut CobsFrames::new(600, Check::None), bytes)
    }

    /// By the paper; `short` leaves out the empty block behind a last one of 254 bytes.
    fn stuffed(content: &[u8], short: bool) -> Vec<u8> {
        let mut wire = Vec::new();
        let blocks: Vec<&[u8]> = content.split(|byte| *byte == 0).collect();
        for (index, block) in blocks.iter().enumerate() {
            let mut rest = *block;
            while rest.len() >= 254 {
                wire.push(0xff);
                wire.extend(&rest[..254]);
                rest = &rest[254..];
            }
            let is_last = index + 1 == blocks.len();
            if !(short && is_last && rest.is_empty() && block.len() >= 254) {
                wire.push(rest.len() as u8 + 1);
                wire.extend(rest);
            }
        }
        wire.push(0);
        wire
    }

    #[test]
    fn frames_of_an_independent_encoder_are_read() {
        let body = [0xa2, 0x61, 0x74, 0xfb, 0x40, 0x37, 0x80, 0, 0, 0, 0, 0, 0x61, 0x68, 0x00];
        let wire = [0x08, 0xa2, 0x61, 0x74, 0xfb, 0x40, 0x37, 0x80, 1, 1, 1, 1, 3, 0x61, 0x68, 0x01, 0];
        assert_eq!(plain(&wire), [Heard::Frame(body.to_vec())]);
        assert_eq!(plain(&[3, 0x11, 0x22, 2, 0x33, 0]), [Heard::Frame(vec![0x11, 0x22, 0, 0x33])]);
        assert_eq!(plain(&[1, 1, 1, 1, 1, 1, 0]), [Heard::Frame(vec![0; 5])]);
    }

    #[test]
    fn both_forms_of_a_last_full_block_mean_the_same() {
        let content: Vec<u8> = (1..=254).collect();
        assert_eq!(stuffed(&content, true).len(), 256);
        assert_eq!(stuffed(&content, false).len(), 257);
        for short in [true, false] {
            assert_eq!(plain(&stuffed(&content, short)), [Heard::Frame(content.clone())]);
        }
    }

    #[test]
    fn after_damage_the_next_zero_begins_anew() {
        assert_eq!(plain(&[9, 1, 2, 0, 2, 7, 0]), [Heard::Cut, Heard::Frame(vec![7])]);
        let mut small = CobsFrames::new(3, Check::None);
        let heard = frames(&mut small, &[9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 4, 1, 2, 3, 0]);
        assert_eq!(heard, [Heard::Overlong, Heard::Frame(vec![1, 2, 3])]);
    }

    #[test]
    fn empty_frames_are_no_frames() {
        assert_eq!(plain(&[0, 0, 1, 0, 2, 7, 0, 0]), [Heard::Frame(vec![7])]);
    }

    #[test]
    fn checksums_are_those_of_their_catalogue() {
        let check = |kind, crc: &[u8]| {
            let wire = stuffed(&[b"123456789", crc].concat(), true);
            frames(&mut CobsFrames::new(64, kind), &wire)
        };
        let whole = [Heard::Frame(b"123456789".to_vec())];
        assert_eq!(check(Check::Crc16, &[0x31, 0xc3]), whole);
        assert_eq!(check(Check::Crc16Little, &[0xc3, 0x31]), whole);
        assert_eq!(check(Check::Crc32, &[0xcb, 0xf4, 0x39, 0x26]), whole);
        assert_eq!(check(Check::Crc32Little, &[0x26, 0x39, 0xf4, 0xcb]), whole);
        assert_eq!(check(Check::Crc16, &[0xc3, 0x31]), [Heard::Checksum]);
        assert_eq!(frames(&mut CobsFrames::new(64, Check::Crc32), &[2, 7, 0]), [Heard::Checksum]);
    }

    proptest! {
        #[test]
        fn every_content_survives_stuffing_however_the_bytes_are_cut(
            contents in prop::collection::vec(
                prop::collection::vec(prop_oneof![2 => Just(0u8), 9 => any::<u8>()], 1..600), 1..4),
            short in any::<bool>(), cut in 1usize..80,
        ) {
            let wire: Vec<u8> = contents.iter().flat_map(|content| stuffed(content, short)).collect();
            let mut decoder = CobsFrames::new(600, Check::None);
            let heard: Vec<_> = wire.chunks(cut).flat_map(|chunk| frames(&mut decoder, chunk)).collect();
            let expected: Vec<_> = contents.into_iter().map(Heard::Frame).collect();
            prop_assert_eq!(heard, expected);
        }

        #[test]
        fn whatever_came_before_a_frame_behind_a_zero_is_read(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let wire = [noise.as_slice(), &[0], &stuffed(b"whole", true)].concat();
            let heard = plain(&wire);
            prop_assert_eq!(heard.last(), Some(&Heard::Frame(b"whole".to_vec())));
        }

        #[test]
        fn a_flipped_bit_does_not_pass_a_checksum(bit in 0usize..88) {
            let mut wire = stuffed(&[b"123456789", &[0x31, 0xc3][..]].concat(), true);
            wire[1 + bit / 8] ^= 1 << (bit % 8);
            let heard = frames(&mut CobsFrames::new(64, Check::Crc16), &wire);
            prop_assert!(!heard.contains(&Heard::Frame(b"123456789".to_vec())));
            prop_assert!(!heard.iter().any(|heard| matches!(heard, Heard::Frame(_))), "{:?}", heard);
        }
    }
}
