//! Finding the one answer that was asked for in whatever a line brings.
//!
//! Pure. Modbus RTU numbers nothing: an answer that comes after its time looks like the answer to the next request.
//! So only a frame whose unit, function and length are those of the request under way, and whose checksum is right,
//! passes; echoes, noise before and after it, and frames of others are stepped over (Modbus over Serial Line V1.02,
//! 2.5.1).

use std::ops::Range;

/// CRC-16/MODBUS, as serial line frames carry it, low byte first.
const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);

/// The longest frame: unit, function, 252 bytes of data, checksum.
pub(super) const MOST_BYTES: usize = 256;

/// Set in the function of an answer that is an exception.
const EXCEPTION: u8 = 0x80;

/// What an answer has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) unit: u8,
    /// 1 to 4, the reads.
    pub(super) function: u8,
    /// Bytes of data.
    pub(super) bytes: u8,
}

impl Expected {
    /// Where in `heard` the answer stands, once it is complete.
    pub(super) fn find(self, heard: &[u8]) -> Option<Range<usize>> {
        (0..heard.len()).find_map(|start| {
            let rest = heard.get(start..)?;
            let len = match *rest {
                [unit, function, bytes, ..]
                    if (unit, function, bytes) == (self.unit, self.function, self.bytes) =>
                {
                    answer_len(bytes)
                }
                [unit, function, ..] if (unit, function) == (self.unit, self.function | EXCEPTION) => {
                    EXCEPTION_LEN
                }
                _ => return None,
            };
            is_sealed(rest.get(..len)?).then_some(start..start + len)
        })
    }
}

/// Whether all that was heard is nobody's fault but others': nothing, the echo of what was `sent`, or complete
/// answers of other units.
pub(super) fn is_of_others(mut heard: &[u8], sent: &[u8], unit: u8) -> bool {
    if !sent.is_empty() && heard.starts_with(sent) {
        heard = heard.get(sent.len()..).unwrap_or_default();
    }
    while !heard.is_empty() {
        let len = match *heard {
            [other, 1..=4, bytes, ..] if other != unit => answer_len(bytes),
            [other, function, ..] if other != unit && function & EXCEPTION != 0 => EXCEPTION_LEN,
            _ => return false,
        };
        match heard.split_at_checked(len) {
            Some((frame, rest)) if is_sealed(frame) => heard = rest,
            _ => return false,
        }
    }
    true
}

const EXCEPTION_LEN: usize = 5;

fn answer_len(bytes: u8) -> usize {
    3 + usize::from(bytes) + 2
}

fn is_sealed(frame: &[u8]) -> bool {
    frame
        .split_last_chunk::<2>()
        .is_some_and(|(content, seal)| CRC.checksum(content) == u16::from_le_bytes(*seal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Three input registers of unit 17, as seen on a line.
    const ANSWER: [u8; 11] = [0x11, 0x04, 0x06, 0x00, 0xd7, 0x01, 0xe3, 0xff, 0xc9, 0xa8, 0xed];
    /// Illegal address, unit 17.
    const REFUSAL: [u8; 5] = [0x11, 0x83, 0x02, 0xc1, 0x34];
    const ASKED: Expected = Expected { unit: 0x11, function: 4, bytes: 6 };

    #[test]
    fn an_answer_passes_once_it_is_complete() {
        assert_eq!(ASKED.find(&ANSWER), Some(0..11));
        for len in 0..ANSWER.len() {
            assert_eq!(ASKED.find(&ANSWER[..len]), None);
        }
    }

    #[test]
    fn an_exception_to_the_function_asked_passes() {
        assert_eq!(Expected { function: 3, ..ASKED }.find(&REFUSAL), Some(0..5));
        assert_eq!(ASKED.find(&REFUSAL), None);
    }

    #[test]
    fn a_frame_of_another_unit_function_or_length_does_not_pass() {
        assert_eq!(Expected { unit: 0x12, ..ASKED }.find(&ANSWER), None);
        assert_eq!(Expected { function: 3, ..ASKED }.find(&ANSWER), None);
        assert_eq!(Expected { bytes: 4, ..ASKED }.find(&ANSWER), None);
    }

    #[test]
    fn an_echo_is_not_held_against_the_slave() {
        let sent = [0x11, 0x04, 0x00, 0x00, 0x00, 0x03, 0xb2, 0x9b];
        assert!(is_of_others(&sent, &sent, 0x11));
        assert!(is_of_others(&[], &sent, 0x11));
        assert!(!is_of_others(&sent[..5], &sent, 0x11));
        let echoed: Vec<u8> = sent.iter().chain(&ANSWER).copied().collect();
        assert_eq!(ASKED.find(&echoed), Some(8..19));
    }

    #[test]
    fn anothers_complete_answer_is_not_held_against_the_slave() {
        let late: Vec<u8> = ANSWER.iter().chain(&REFUSAL).copied().collect();
        assert!(is_of_others(&late, &[], 0x12));
        assert!(!is_of_others(&late, &[], 0x11));
        assert!(!is_of_others(&late[..13], &[], 0x12));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_and_an_answer_does_not_pass(bit in 0usize..88) {
            let mut damaged = ANSWER;
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(ASKED.find(&damaged), None);
        }

        #[test]
        fn noise_around_an_answer_is_stepped_over(
            before in prop::collection::vec(any::<u8>(), 0..40),
            after in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            // The unit's own number in the noise could begin a frame of its own.
            prop_assume!(!before.contains(&0x11));
            let heard: Vec<u8> = before.iter().chain(&ANSWER).chain(&after).copied().collect();
            prop_assert_eq!(ASKED.find(&heard), Some(before.len()..before.len() + ANSWER.len()));
        }

        #[test]
        fn any_bytes_are_looked_at_without_a_panic(heard in prop::collection::vec(any::<u8>(), 0..300),
                                                   unit in any::<u8>(), bytes in any::<u8>()) {
            let _ = Expected { unit, function: 3, bytes }.find(&heard);
            let _ = is_of_others(&heard, &[], unit);
        }
    }
}
