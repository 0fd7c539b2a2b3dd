//! Finding the one answer that was asked for in whatever a line brings.
//!
//! Modbus RTU numbers nothing: an answer that comes after its time looks like the answer to the next request. So only a
//! frame whose unit, function and length are those of the request under way, and whose checksum is right, passes; echoes,
//! noise before and after it, and frames of others are stepped over (Modbus over Serial Line V1.02, 2.5.1).

use core::ops::Range;

/// CRC-16/MODBUS, as serial line frames carry it, low byte first.
const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);

/// The longest frame: unit, function, 252 bytes of data, checksum.
pub const MOST_FRAME: usize = 256;

/// Set in the function of an answer that is an exception.
const EXCEPTION: u8 = 0x80;
/// Encapsulated interface transport, and its kind that reads a device's identification (6.21).
const ENCAPSULATED: u8 = 0x2b;
const IDENTIFICATION: u8 = 0x0e;

/// What an answer has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    unit: u8,
    function: u8,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// A count of bytes and so many bytes.
    Counted(u8),
    /// A count of bytes that the device chooses.
    CountedByDevice,
    /// The first bytes of the request's data, and how many of them.
    Echo([u8; 6], u8),
    /// Objects of a device's identification, read with this code.
    Objects(u8),
}

impl Expected {
    /// The answer to a read by function 1 to 4 that has so many bytes of data.
    #[must_use]
    pub fn read(unit: u8, function: u8, bytes: u8) -> Self {
        Self { unit, function, body: Body::Counted(bytes) }
    }

    /// The answer to a request: its function and data, without unit and checksum. `None` for a request that is cut short,
    /// asks for more than an answer can hold, or is of a function this gateway does not use: 1 to 6, 8, 15 to 17, 22, 23
    /// and 43/14 it does.
    #[must_use]
    pub fn to(unit: u8, request: &[u8]) -> Option<Self> {
        let (function, data) = request.split_first()?;
        let count = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
        let counted = |bytes: u16| {
            u8::try_from(bytes).ok().filter(|bytes| counted_len(*bytes).is_some()).map(Body::Counted)
        };
        let echo = |len: usize| {
            let mut head = [0; 6];
            head.get_mut(..len)?.copy_from_slice(data.get(..len)?);
            Some(Body::Echo(head, u8::try_from(len).ok()?))
        };
        let body = match function {
            1 | 2 => counted(count(2)?.div_ceil(8))?,
            3 | 4 | 0x17 => counted(count(2)?.checked_mul(2)?)?,
            5 | 6 | 8 | 0x0f | 0x10 => echo(4)?,
            0x16 => echo(6)?,
            0x11 => Body::CountedByDevice,
            &ENCAPSULATED if data.first() == Some(&IDENTIFICATION) => Body::Objects(*data.get(1)?),
            _ => return None,
        };
        Some(Self { unit, function: *function, body })
    }

    /// Where in `heard` the answer, or an exception to the request, stands, once it is complete.
    ///
    /// The answer to a write is the same as its request. Where an adapter hands back what it sends, look behind it:
    /// [`without_echo`].
    #[must_use]
    pub fn find(self, heard: &[u8]) -> Option<Range<usize>> {
        (0..heard.len()).find_map(|start| {
            let rest = heard.get(start..)?;
            let len = match *rest {
                [unit, function, ..] if (unit, function) == (self.unit, self.function) => self.len(rest)?,
                [unit, function, ..] if (unit, function) == (self.unit, self.function | EXCEPTION) => {
                    EXCEPTION_LEN
                }
                _ => return None,
            };
            is_sealed(rest.get(..len)?).then_some(start..start + len)
        })
    }

    /// How long the answer is that begins here, checksum included; `None` when it is not the one expected, or that cannot
    /// be said yet.
    fn len(self, frame: &[u8]) -> Option<usize> {
        let data = frame.get(2..)?;
        match self.body {
            Body::Counted(bytes) => (data.first() == Some(&bytes)).then(|| counted_len(bytes))?,
            Body::CountedByDevice => counted_len(*data.first()?),
            Body::Echo(head, len) => {
                let len = usize::from(len);
                (data.get(..len)? == head.get(..len)?).then_some(2 + len + 2)
            }
            Body::Objects(code) => (data.get(1) == Some(&code)).then(|| objects_len(frame))?,
        }
    }
}

/// The whole frame that asks a unit for its first holding register: every slave answers it, if only by an exception.
#[must_use]
pub fn read_request(unit: u8) -> [u8; 8] {
    let content = [unit, 3, 0, 0, 0, 1];
    let [low, high] = CRC.checksum(&content).to_le_bytes();
    [unit, 3, 0, 0, 0, 1, low, high]
}

/// What was heard behind the echo of what was sent, if it begins with that.
#[must_use]
pub fn without_echo<'a>(heard: &'a [u8], sent: &[u8]) -> &'a [u8] {
    if sent.is_empty() { heard } else { heard.strip_prefix(sent).unwrap_or(heard) }
}

/// Whether all that was heard is nobody's fault but others': nothing, the echo of what was `sent`, or complete
/// answers of other units.
#[must_use]
pub fn is_of_others(heard: &[u8], sent: &[u8], unit: u8) -> bool {
    let mut heard = without_echo(heard, sent);
    while !heard.is_empty() {
        let len = match *heard {
            [other, ..] if other == unit => None,
            [_, function, ..] if function & EXCEPTION != 0 => Some(EXCEPTION_LEN),
            [_, 1..=4 | 0x11 | 0x17, bytes, ..] => counted_len(bytes),
            [_, 5 | 6 | 8 | 0x0f | 0x10, ..] => Some(8),
            [_, 0x16, ..] => Some(10),
            [_, ENCAPSULATED, ..] => objects_len(heard),
            _ => None,
        };
        match len.and_then(|len| heard.split_at_checked(len)) {
            Some((frame, rest)) if is_sealed(frame) => heard = rest,
            _ => return false,
        }
    }
    true
}

const EXCEPTION_LEN: usize = 5;

/// `None` when it is more than a frame can hold.
fn counted_len(bytes: u8) -> Option<usize> {
    Some(3 + usize::from(bytes) + 2).filter(|len| *len <= MOST_FRAME)
}

/// Unit, function, kind, code, conformity, more, next, count, objects, checksum. `None` while the objects are not all
/// there, or when they are more than a frame can hold.
fn objects_len(frame: &[u8]) -> Option<usize> {
    if *frame.get(2)? != IDENTIFICATION {
        return None;
    }
    let mut end = 8;
    for _ in 0..*frame.get(7)? {
        end += 2 + usize::from(*frame.get(end + 1)?);
    }
    (end + 2 <= MOST_FRAME).then_some(end + 2)
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
    const ASKED: Expected = Expected { unit: 0x11, function: 4, body: Body::Counted(6) };

    fn sealed(content: &[u8]) -> Vec<u8> {
        [content, &CRC.checksum(content).to_le_bytes()].concat()
    }

    #[test]
    fn an_answer_passes_once_it_is_complete() {
        assert_eq!(Expected::read(0x11, 4, 6), ASKED);
        assert_eq!(ASKED.find(&ANSWER), Some(0..11));
        for len in 0..ANSWER.len() {
            assert_eq!(ASKED.find(&ANSWER[..len]), None);
        }
    }

    #[test]
    fn the_answers_of_real_frames_are_those_to_their_requests() {
        let identity = sealed(b"\x11\x2b\x0e\x01\x83\x00\x00\x03\x00\x04Acme\x01\x04TH-1\x02\x051.2.3");
        assert_eq!(identity[identity.len() - 2..], [0xb1, 0x93], "as seen on a line");
        for (request, answer) in [
            (&[4, 0, 0, 0, 3][..], &ANSWER[..]),
            (&[3, 0, 10, 0, 2], &[0x11, 3, 4, 0x41, 0xbc, 0, 0, 0x3e, 0x2a]),
            (&[6, 0, 1, 0, 0xff], &[0x11, 6, 0, 1, 0, 0xff, 0x9a, 0xda]),
            (&[0x10, 0, 0, 0, 2, 4, 0, 10, 1, 2], &[0x11, 0x10, 0, 0, 0, 2, 0x43, 0x58]),
            (&[1, 0, 0, 0, 8], &[0x11, 1, 1, 0xdd, 0x95, 0x11]),
            (&[8, 0, 0, 0xa5, 0x37], &[0x11, 8, 0, 0, 0xa5, 0x37, 0xd8, 0x1d]),
            (&[0x2b, 0x0e, 1, 0], &identity),
        ] {
            let expected = Expected::to(0x11, request).unwrap();
            assert_eq!(expected.find(answer), Some(0..answer.len()), "{request:x?}");
            assert_eq!(expected.find(&answer[..answer.len() - 1]), None, "{request:x?}");
            assert!(is_of_others(answer, &[], 0x12), "{request:x?}");
        }
        let masked = sealed(&[0x11, 0x16, 0, 4, 0, 0xf2, 0, 0x25]);
        assert_eq!(Expected::to(0x11, &[0x16, 0, 4, 0, 0xf2, 0, 0x25]).unwrap().find(&masked), Some(0..10));
        let server = sealed(&[0x11, 0x11, 3, b'x', 1, 0xff]);
        assert_eq!(Expected::to(0x11, &[0x11]).unwrap().find(&server), Some(0..8));
        let both = sealed(&[0x11, 0x17, 2, 0, 0xfe]);
        let request = [0x17, 0, 3, 0, 1, 0, 14, 0, 1, 2, 0, 0xff];
        assert_eq!(Expected::to(0x11, &request).unwrap().find(&both), Some(0..7));
    }

    #[test]
    fn a_request_that_no_answer_can_fit_is_none() {
        for request in
            [&[][..], &[3, 0, 0], &[3, 0, 0, 0, 128], &[1, 0, 0, 8, 1], &[0x63], &[0x2b, 0x0d, 0], &[6, 0, 1]]
        {
            assert_eq!(Expected::to(1, request), None, "{request:x?}");
        }
    }

    #[test]
    fn a_write_is_acknowledged_by_its_own_echo_only() {
        let expected = Expected::to(0x11, &[6, 0, 1, 0, 0xff]).unwrap();
        let own = sealed(&[0x11, 6, 0, 1, 0, 0xff]);
        assert_eq!(expected.find(&sealed(&[0x11, 6, 0, 1, 0, 0xfe])), None, "another value");
        assert_eq!(expected.find(without_echo(&own, &own)), None, "an adapter's echo is no answer");
        let twice = [own.clone(), own.clone()].concat();
        assert_eq!(expected.find(without_echo(&twice, &own)), Some(0..8));
    }

    #[test]
    fn an_exception_to_the_function_asked_passes() {
        assert_eq!(Expected::read(0x11, 3, 6).find(&REFUSAL), Some(0..5));
        assert_eq!(ASKED.find(&REFUSAL), None);
    }

    #[test]
    fn a_frame_of_another_unit_function_or_length_does_not_pass() {
        assert_eq!(Expected::read(0x12, 4, 6).find(&ANSWER), None);
        assert_eq!(Expected::read(0x11, 3, 6).find(&ANSWER), None);
        assert_eq!(Expected::read(0x11, 4, 4).find(&ANSWER), None);
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
        fn any_bytes_are_looked_at_without_a_panic(
            heard in prop::collection::vec(any::<u8>(), 0..300),
            request in prop::collection::vec(any::<u8>(), 0..12), unit in any::<u8>(),
        ) {
            if let Some(found) = Expected::to(unit, &request).and_then(|expected| expected.find(&heard)) {
                prop_assert!(is_sealed(&heard[found]));
            }
            let _ = is_of_others(&heard, &request, unit);
        }
    }
}
