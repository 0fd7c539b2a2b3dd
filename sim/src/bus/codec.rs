//! The simulator's own Modbus RTU codec, seen from the slave's side of the wire.
//!
//! Written apart from whatever the gateway uses, so that both cannot be wrong in the same way. Frames are
//! `unit, function, data, CRC low, CRC high` (MODBUS over Serial Line V1.02 §2.5.1); requests and exceptions follow
//! the MODBUS Application Protocol V1.1b3 §6 and §7. No state: bytes in, a [`Request`] out.

use std::time::Duration;

/// Longest frame on the line, unit and CRC included.
pub const MAX_FRAME: usize = 256;
/// Most registers one read may ask for.
pub const MAX_READ_REGISTERS: u16 = 125;
/// Most registers one write may carry.
pub const MAX_WRITE_REGISTERS: u16 = 123;
/// Most coils or discrete inputs one read may ask for.
pub const MAX_READ_BITS: u16 = 2000;
/// Most coils one write may carry.
pub const MAX_WRITE_BITS: u16 = 1968;

/// Why a slave refused a request; the number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExceptionCode {
    /// 1: the slave does not know the function.
    IllegalFunction = 1,
    /// 2: an address of the range does not exist, or may not be written.
    IllegalDataAddress = 2,
    /// 3: a count or value the function does not allow.
    IllegalDataValue = 3,
    /// 4: the slave broke while answering.
    ServerDeviceFailure = 4,
    /// 5: accepted, still working.
    Acknowledge = 5,
    /// 6: busy, ask again later.
    ServerDeviceBusy = 6,
    /// 8: the slave's memory failed its parity check.
    MemoryParityError = 8,
    /// 10: a gateway in between has no path.
    GatewayPathUnavailable = 10,
    /// 11: a gateway in between got no answer from the target.
    GatewayTargetFailed = 11,
}

/// Which of the two register tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Holding registers: functions 3, 6, 16.
    Holding,
    /// Input registers: function 4.
    Input,
}

/// Which of the two bit tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BitTable {
    /// Coils: functions 1, 5, 15.
    Coils,
    /// Discrete inputs: function 2.
    DiscreteInputs,
}

/// What a master asks; addresses count from 0 as on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Functions 1 and 2.
    ReadBits {
        /// Coils or discrete inputs.
        table: BitTable,
        /// First bit.
        address: u16,
        /// How many.
        count: u16,
    },
    /// Functions 3 and 4.
    ReadRegisters {
        /// Holding or input.
        table: Table,
        /// First register.
        address: u16,
        /// How many.
        count: u16,
    },
    /// Functions 5 and 15.
    WriteCoils {
        /// First coil.
        address: u16,
        /// The states, in order.
        values: Vec<bool>,
    },
    /// Functions 6 and 16.
    WriteRegisters {
        /// First register.
        address: u16,
        /// The words, in order.
        values: Vec<u16>,
    },
    /// Function 8, sub-function 0: give the query data back.
    ReturnQueryData,
    /// Function 43, MEI type 14: basic identification from object `first`.
    ReadDeviceIdentification {
        /// 1 basic, 2 regular, 3 extended, 4 one object.
        code: u8,
        /// Object to begin with.
        first: u8,
    },
    /// Understood, and to be refused with this code.
    Refuse(ExceptionCode),
}

/// A complete request with a good CRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Addressed unit; 0 is a broadcast.
    pub unit: u8,
    /// Function code as sent.
    pub function: u8,
    /// The first four data bytes, which answers to writes repeat (short requests are filled with zero).
    pub head: [u8; 4],
    /// What it asks.
    pub ask: Ask,
}

/// How long the frame that begins with some bytes will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// More bytes are needed to tell.
    NotYetKnown,
    /// This many bytes, CRC included.
    Exactly(usize),
    /// The function does not tell: only silence ends the frame.
    UntilSilence,
}

/// Length of a request from its first bytes.
#[must_use]
pub fn request_length(start: &[u8]) -> Length {
    match start.get(1) {
        None => Length::NotYetKnown,
        Some(1..=6 | 8) => Length::Exactly(8),
        Some(15 | 16) => start.get(6).map_or(Length::NotYetKnown, |n| Length::Exactly(usize::from(*n) + 9)),
        Some(_) => Length::UntilSilence,
    }
}

/// CRC-16/MODBUS: reflected polynomial 0xA001, initial value 0xFFFF. Over a frame with its CRC it is 0.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

/// Appends the CRC, low byte first.
#[must_use]
pub fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let crc = crc16(&frame);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame
}

/// Reads a whole frame as a request. `None` when it is no frame: too short, too long, or a bad CRC. A sound frame
/// with impossible contents is [`Ask::Refuse`].
#[must_use]
pub fn parse_request(frame: &[u8]) -> Option<Request> {
    if frame.len() < 4 || frame.len() > MAX_FRAME || crc16(frame) != 0 {
        return None;
    }
    let (body, _crc) = frame.split_at_checked(frame.len().checked_sub(2)?)?;
    let (&unit, pdu) = body.split_first()?;
    let (&function, data) = pdu.split_first()?;
    let mut head = [0; 4];
    for (to, from) in head.iter_mut().zip(data) {
        *to = *from;
    }
    Some(Request { unit, function, head, ask: parse_ask(function, head, data) })
}

fn parse_ask(function: u8, head: [u8; 4], data: &[u8]) -> Ask {
    let [a, b, c, d] = head;
    let (address, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let rest = data.get(5..).unwrap_or_default();
    let counted = |count: u16, most: u16, bytes: usize| {
        (1..=most).contains(&count)
            && data.get(4).is_some_and(|n| usize::from(*n) == bytes)
            && rest.len() == bytes
    };
    let read_count = |most: u16| data.len() == 4 && (1..=most).contains(&second);
    let refuse = Ask::Refuse(ExceptionCode::IllegalDataValue);
    match function {
        1 | 2 if read_count(MAX_READ_BITS) => {
            let table = if function == 1 { BitTable::Coils } else { BitTable::DiscreteInputs };
            Ask::ReadBits { table, address, count: second }
        }
        3 | 4 if read_count(MAX_READ_REGISTERS) => {
            let table = if function == 3 { Table::Holding } else { Table::Input };
            Ask::ReadRegisters { table, address, count: second }
        }
        5 if data.len() == 4 && matches!(second, 0xFF00 | 0) => {
            Ask::WriteCoils { address, values: vec![second == 0xFF00] }
        }
        6 if data.len() == 4 => Ask::WriteRegisters { address, values: vec![second] },
        8 if data.len() == 4 && address == 0 => Ask::ReturnQueryData,
        8 if data.len() == 4 => Ask::Refuse(ExceptionCode::IllegalFunction),
        15 if counted(second, MAX_WRITE_BITS, usize::from(second).div_ceil(8)) => {
            let bit = |i: usize| rest.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1);
            Ask::WriteCoils { address, values: (0..usize::from(second)).map(bit).collect() }
        }
        16 if counted(second, MAX_WRITE_REGISTERS, usize::from(second) * 2) => {
            let words = rest.chunks_exact(2).map(|w| w.iter().fold(0, |n, b| n << 8 | u16::from(*b)));
            Ask::WriteRegisters { address, values: words.collect() }
        }
        43 if data.len() == 3 && a == 14 && (1..=4).contains(&b) => {
            Ask::ReadDeviceIdentification { code: b, first: c }
        }
        43 if a != 14 => Ask::Refuse(ExceptionCode::IllegalFunction),
        1..=6 | 8 | 15 | 16 | 43 => refuse,
        _ => Ask::Refuse(ExceptionCode::IllegalFunction),
    }
}

/// The answer to a register read.
#[must_use]
pub fn registers_reply(unit: u8, function: u8, words: &[u16]) -> Vec<u8> {
    let data: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
    counted_reply(unit, function, &data)
}

/// The answer to a bit read: bits packed from the least significant of the first byte.
#[must_use]
pub fn bits_reply(unit: u8, function: u8, bits: &[bool]) -> Vec<u8> {
    let pack = |chunk: &[bool]| chunk.iter().rev().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit));
    let data: Vec<u8> = bits.chunks(8).map(pack).collect();
    counted_reply(unit, function, &data)
}

/// The answer to a write or an echo: the request's first four data bytes again.
#[must_use]
pub fn echo_reply(request: &Request) -> Vec<u8> {
    let [a, b, c, d] = request.head;
    seal(vec![request.unit, request.function, a, b, c, d])
}

/// A refusal.
#[must_use]
pub fn exception_reply(unit: u8, function: u8, code: ExceptionCode) -> Vec<u8> {
    seal(vec![unit, function | 0x80, code as u8])
}

/// The answer to a basic device identification: vendor, product code, revision, those from `first` on.
#[must_use]
pub fn identification_reply(unit: u8, code: u8, first: u8, texts: &[&str]) -> Vec<u8> {
    // Conformity 0x83: every level, by stream and by object. Nothing more follows, no next object.
    let mut frame = vec![unit, 43, 14, code, 0x83, 0, 0];
    let objects: Vec<(u8, &[u8])> = (0_u8..)
        .zip(texts)
        .filter(|(id, _)| if code == 4 { *id == first } else { *id >= first })
        .map(|(id, text)| (id, text.as_bytes()))
        .collect();
    frame.push(u8::try_from(objects.len()).unwrap_or(u8::MAX));
    for (id, text) in objects {
        // 60 bytes a text keeps three of them within one frame.
        let text = text.get(..60).unwrap_or(text);
        frame.extend([id, u8::try_from(text.len()).unwrap_or(0)]);
        frame.extend_from_slice(text);
    }
    seal(frame)
}

fn counted_reply(unit: u8, function: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![unit, function, u8::try_from(data.len()).unwrap_or(u8::MAX)];
    frame.extend_from_slice(data);
    seal(frame)
}

/// The times of a line, from its speed.
///
/// A character is 11 bits (start, 8 data, parity or a second stop, stop: Serial Line V1.02 §2.5.1.1); the silence
/// between frames is 3.5 characters, and 1.75 ms above 19200 baud (same section).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTimes {
    /// Time of one character.
    pub character: Duration,
    /// Least silence that ends a frame.
    pub silence: Duration,
}

impl LineTimes {
    /// `None` for 0 baud.
    #[must_use]
    pub fn at(baud: u32) -> Option<Self> {
        let character = Duration::from_nanos(11_000_000_000_u64.checked_div(u64::from(baud))?);
        let silence = if baud > 19_200 { Duration::from_micros(1_750) } else { character * 7 / 2 };
        Some(Self { character, silence })
    }

    /// Time of `n` characters.
    #[must_use]
    pub fn characters(&self, n: usize) -> Duration {
        self.character.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(body: &[u8]) -> Vec<u8> {
        seal(body.to_vec())
    }

    #[test]
    fn the_crc_is_the_catalogued_one_and_closes_to_zero() {
        assert_eq!(crc16(b"123456789"), 0x4B37);
        assert_eq!(crc16(&sealed(&[0x11, 0x04, 0, 0, 0, 3])), 0);
        assert_eq!(sealed(&[0x11, 0x04, 0, 0, 0, 3]), [0x11, 0x04, 0, 0, 0, 3, 0xB2, 0x9B]);
    }

    #[test]
    fn a_write_with_a_byte_count_that_disagrees_is_refused_not_ignored() {
        let request = parse_request(&sealed(&[1, 16, 0, 0, 0, 2, 2, 0, 1])).unwrap();
        assert_eq!(request.ask, Ask::Refuse(ExceptionCode::IllegalDataValue));
        let request = parse_request(&sealed(&[1, 15, 0, 0, 0, 9, 1, 0xFF])).unwrap();
        assert_eq!(request.ask, Ask::Refuse(ExceptionCode::IllegalDataValue));
    }

    #[test]
    fn coils_are_written_from_the_least_significant_bit() {
        let request = parse_request(&sealed(&[1, 15, 0, 4, 0, 10, 2, 0b0000_0101, 0b10])).unwrap();
        let values = vec![true, false, true, false, false, false, false, false, false, true];
        assert_eq!(request.ask, Ask::WriteCoils { address: 4, values: values.clone() });
        assert_eq!(bits_reply(1, 1, &values), sealed(&[1, 1, 2, 0b0000_0101, 0b10]));
    }

    #[test]
    fn counts_at_the_limit_pass_and_one_more_is_an_illegal_value() {
        for (function, most) in [(1, 2000_u16), (2, 2000), (3, 125), (4, 125)] {
            let ask = |n: u16| {
                let [high, low] = n.to_be_bytes();
                parse_request(&sealed(&[1, function, 0, 0, high, low])).unwrap().ask
            };
            assert!(!matches!(ask(most), Ask::Refuse(_)), "function {function}");
            assert_eq!(ask(most + 1), Ask::Refuse(ExceptionCode::IllegalDataValue), "function {function}");
            assert_eq!(ask(0), Ask::Refuse(ExceptionCode::IllegalDataValue), "function {function}");
        }
    }

    #[test]
    fn line_times_follow_the_serial_line_guide() {
        let slow = LineTimes::at(9600).unwrap();
        assert_eq!(slow.character.as_micros(), 1145);
        assert_eq!(slow.silence.as_micros(), 4010);
        assert_eq!(LineTimes::at(19_200).unwrap().silence.as_micros(), 2005);
        assert_eq!(LineTimes::at(115_200).unwrap().silence.as_micros(), 1750);
        assert_eq!(LineTimes::at(0), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(mut bytes: Vec<u8>, close: bool) {
            if close {
                bytes = seal(bytes);
            }
            let _ = request_length(&bytes);
            let parsed = parse_request(&bytes);
            proptest::prop_assert_eq!(parsed.is_some(), bytes.len() >= 4 && bytes.len() <= 256 && crc16(&bytes) == 0);
        }
    }
}
