//! The unit on disk: the readings of one class, one commit and one set of destinations, packed.
//!
//! Format, version 1, integers as LEB128 varints, signed ones zigzag:
//!
//! ```text
//! 01
//! instant*    sequence · capture time in µs since boot (signed, relative to the instant before) · n · row × n
//! row         stream · tag (low nibble: type, high nibble: quality) · value
//! value       type 0 absent: nothing   1 steps: signed   2 float: 8 bytes LE   3 false   4 true   5 text: length · UTF-8
//! crc         CRC-32 (ISO-HDLC) of all before, 4 bytes LE
//! ```
//!
//! Rows are numbered from 0 in this order; that number and the segment's are a reading's position in the queue. The
//! epoch, and through it the boot, is a column beside the body. A body is never changed once written.

use crate::clock::Mono;
use crate::reading::{Class, Quality, Sample, StreamId, Value};

const VERSION: u8 = 1;
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
/// A segment holds at most this many rows, so that reading one is a bounded step.
pub const MAX_ROWS: u32 = 4096;

/// One reading as it stands in a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedRow {
    /// Its number in the segment.
    pub index: u32,
    /// Shared by all readings of its instant.
    pub sequence: u64,
    /// When it was captured, in the boot of the segment's epoch.
    pub at: Mono,
    /// The reading.
    pub sample: Sample,
}

/// The body does not decode: damage that SQLite did not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment body is damaged at byte {at}: {what}")]
pub struct Damaged {
    /// Offset in the body.
    pub at: usize,
    /// What was expected there.
    pub what: &'static str,
}

/// Packs captures; reused from commit to commit.
///
/// Invariant: `body` ends with a checksum exactly when `sealed`, so that a commit that failed half way leaves every
/// builder as readable, and as open to more, as one that it never reached.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    body: Vec<u8>,
    sealed: bool,
    rows: u32,
    last_us: u64,
    first: Option<Mono>,
}

impl SegmentBuilder {
    /// Appends `samples`, captured at `at`, under `sequence`. Returns how many there were.
    pub fn push<'a>(
        &mut self,
        at: Mono,
        sequence: u64,
        samples: impl Iterator<Item = &'a Sample> + Clone,
    ) -> u32 {
        let count = samples.clone().count();
        if count == 0 {
            return 0;
        }
        self.unseal();
        if self.body.is_empty() {
            self.body.push(VERSION);
        }
        let at_us = at.0 / 1000;
        put(&mut self.body, sequence);
        put_signed(&mut self.body, at_us.wrapping_sub(self.last_us).cast_signed());
        put(&mut self.body, count as u64);
        for sample in samples {
            put_row(&mut self.body, sample);
        }
        self.last_us = at_us;
        self.first.get_or_insert(at);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.rows += count;
        count
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Closes the body with its checksum and lends it: rows, first capture time, bytes. Without rows there is no body.
    pub fn finish(&mut self) -> (u32, Mono, &[u8]) {
        if !self.sealed && self.rows > 0 {
            let crc = CRC.checksum(&self.body);
            self.body.extend_from_slice(&crc.to_le_bytes());
            self.sealed = true;
        }
        (self.rows, self.first.unwrap_or_default(), &self.body)
    }

    /// Empties it, keeping the allocation.
    pub fn clear(&mut self) {
        self.body.clear();
        (self.sealed, self.rows, self.last_us, self.first) = (false, 0, 0, None);
    }

    fn unseal(&mut self) {
        if self.sealed {
            self.body.truncate(self.body.len().saturating_sub(4));
            self.sealed = false;
        }
    }
}

/// Walks a body's rows. Stops at the first damage.
#[derive(Debug)]
pub struct Rows<'a> {
    body: &'a [u8],
    at: usize,
    left: u64,
    sequence: u64,
    us: u64,
    index: u32,
}

/// Opens a body: version and checksum are checked at once, rows as they are read.
///
/// # Errors
/// [`Damaged`] for a body that is too short, of another version, or whose checksum does not match.
pub fn rows(body: &[u8]) -> Result<Rows<'_>, Damaged> {
    let end = body.len().checked_sub(4).ok_or(Damaged { at: 0, what: "a checksum" })?;
    let (content, crc) = body.split_at(end);
    if CRC.checksum(content).to_le_bytes() != crc {
        return Err(Damaged { at: end, what: "a matching checksum" });
    }
    match content.first() {
        Some(&VERSION) => Ok(Rows { body: content, at: 1, left: 0, sequence: 0, us: 0, index: 0 }),
        _ => Err(Damaged { at: 0, what: "version 1" }),
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<PackedRow, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 && self.at >= self.body.len() {
            return None;
        }
        let row = self.row();
        if row.is_err() {
            (self.at, self.left) = (self.body.len(), 0);
        }
        Some(row)
    }
}

impl Rows<'_> {
    fn row(&mut self) -> Result<PackedRow, Damaged> {
        while self.left == 0 {
            self.sequence = self.varint("a sequence")?;
            self.us = self.us.wrapping_add(self.signed("a capture time")?.cast_unsigned());
            self.left = self.varint("a row count")?;
        }
        let stream = u32::try_from(self.varint("a stream")?).map_err(|_| self.damaged("a stream"))?;
        let tag = self.byte("a tag")?;
        let value = self.value(tag & 0x0f)?;
        let quality = Quality::from_number(tag >> 4).ok_or_else(|| self.damaged("a known quality"))?;
        let row = PackedRow {
            index: self.index,
            sequence: self.sequence,
            at: Mono(self.us.saturating_mul(1000)),
            sample: Sample { stream: StreamId(stream), value, quality },
        };
        self.left -= 1;
        self.index += 1;
        Ok(row)
    }

    fn value(&mut self, kind: u8) -> Result<Value, Damaged> {
        Ok(match kind {
            0 => Value::Absent,
            1 => Value::Steps(self.signed("steps")?),
            2 => {
                let bytes = self.take(8, "a float")?;
                Value::Float(f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            3 => Value::Bool(false),
            4 => Value::Bool(true),
            5 => {
                let len = usize::try_from(self.varint("a text length")?).unwrap_or(usize::MAX);
                if len > Value::MAX_TEXT {
                    return Err(self.damaged("a text within bounds"));
                }
                let at = self.at;
                let text = std::str::from_utf8(self.take(len, "a text")?);
                Value::Text(text.map_err(|_| Damaged { at, what: "UTF-8" })?.into())
            }
            _ => return Err(self.damaged("a known type")),
        })
    }

    fn damaged(&self, what: &'static str) -> Damaged {
        Damaged { at: self.at, what }
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, Damaged> {
        let byte = *self.body.get(self.at).ok_or(Damaged { at: self.at, what })?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&[u8], Damaged> {
        let end = self.at.checked_add(len).ok_or(Damaged { at: self.at, what })?;
        let bytes = self.body.get(self.at..end).ok_or(Damaged { at: self.at, what })?;
        self.at = end;
        Ok(bytes)
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged(what))
    }

    fn signed(&mut self, what: &'static str) -> Result<i64, Damaged> {
        let zigzag = self.varint(what)?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }
}

fn put_row(body: &mut Vec<u8>, sample: &Sample) {
    put(body, u64::from(sample.stream.0));
    let quality = (sample.quality as u8) << 4;
    match &sample.value {
        Value::Absent => body.push(quality),
        Value::Steps(steps) => {
            body.push(quality | 1);
            put_signed(body, *steps);
        }
        Value::Float(float) => {
            body.push(quality | 2);
            body.extend_from_slice(&float.to_le_bytes());
        }
        Value::Bool(false) => body.push(quality | 3),
        Value::Bool(true) => body.push(quality | 4),
        Value::Text(text) => {
            body.push(quality | 5);
            put(body, text.len() as u64);
            body.extend_from_slice(text.as_bytes());
        }
    }
}

fn put(body: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        body.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn put_signed(body: &mut Vec<u8>, value: i64) {
    put(body, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Where a reading stands in the queue of its class: the segment's number, which carries the class, and the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The segment's row id in the file.
    pub segment: i64,
    /// The row in it. One past the last means the same as the first of the next segment.
    pub row: u32,
}

impl Position {
    /// The first place a reading of `class` can stand at. Segment numbers of different classes never mix: the class is
    /// their top bits, so that one table needs no index to read a class in order.
    #[must_use]
    pub fn first_of(class: Class) -> Self {
        Self { segment: ((class as i64) << CLASS_SHIFT) + 1, row: 0 }
    }

    /// The class whose queue this is a place in.
    #[must_use]
    pub fn class(self) -> Option<Class> {
        Class::from_number(self.segment >> CLASS_SHIFT)
    }

    /// The start of the segment after this one.
    #[must_use]
    pub fn next_segment(self) -> Self {
        Self { segment: self.segment + 1, row: 0 }
    }
}

const CLASS_SHIFT: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> impl Strategy<Value = Sample> {
        let value = prop_oneof![
            Just(Value::Absent),
            any::<i64>().prop_map(Value::Steps),
            any::<f64>().prop_filter("NaN is not equal to itself", |f| !f.is_nan()).prop_map(Value::Float),
            any::<bool>().prop_map(Value::Bool),
            "\\PC{0,40}".prop_map(|t| Value::Text(t.into())),
        ];
        (any::<u32>(), value, 0u8..4).prop_map(|(stream, value, quality)| Sample {
            stream: StreamId(stream),
            value,
            quality: Quality::from_number(quality).unwrap(),
        })
    }

    fn instant() -> impl Strategy<Value = (Mono, Vec<Sample>)> {
        (0u64..1 << 62, prop::collection::vec(sample(), 0..12))
            .prop_map(|(at, samples)| (Mono(at / 1000 * 1000), samples))
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_is_read(instants in prop::collection::vec((instant(), any::<u64>()), 1..8),
            looked_at in any::<u8>(),
        ) {
            let mut builder = SegmentBuilder::default();
            let mut expected = Vec::new();
            for (n, ((at, samples), sequence)) in instants.iter().enumerate() {
                builder.push(*at, *sequence, samples.iter());
                for sample in samples {
                    expected.push((*sequence, *at, sample.clone()));
                }
                // A commit that failed: the builder is finished, and then more arrives.
                if looked_at >> (n % 8) & 1 == 1 {
                    builder.finish();
                }
            }
            if builder.rows() > 0 {
                let (count, _, body) = builder.finish();
                prop_assert_eq!(count as usize, expected.len());
                let read: Result<Vec<_>, _> =
                    rows(body).unwrap().map(|r| r.map(|r| (r.sequence, r.at, r.sample))).collect();
                prop_assert_eq!(read.unwrap(), expected);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut body in prop::collection::vec(any::<u8>(), 0..200)) {
            // With a valid checksum, so that the rows behind it are reached.
            let crc = CRC.checksum(&body);
            body.extend_from_slice(&crc.to_le_bytes());
            if let Ok(rows) = rows(&body) {
                prop_assert!(rows.count() <= 200);
            }
        }

        #[test]
        fn one_flipped_bit_is_noticed(bit in 0usize..64) {
            let mut builder = SegmentBuilder::default();
            let sample = Sample { stream: StreamId(3), value: Value::Steps(-217), quality: Quality::Good };
            builder.push(Mono(5_000_000), 1, [sample].iter());
            let mut body = builder.finish().2.to_vec();
            let byte = (bit / 8) % body.len();
            body[byte] ^= 1 << (bit % 8);
            prop_assert!(rows(&body).is_err());
        }
    }

    #[test]
    fn without_rows_there_is_no_body_and_no_stray_checksum() {
        let mut builder = SegmentBuilder::default();
        assert_eq!(builder.finish(), (0, Mono::default(), &[][..]));
        let sample = Sample { stream: StreamId(1), value: Value::Bool(true), quality: Quality::Good };
        builder.push(Mono(0), 1, [sample].iter());
        let once = builder.finish().2.to_vec();
        assert_eq!(builder.finish().2, once, "finished again, it is the same");
        assert_eq!(rows(&once).unwrap().count(), 1);
    }

    #[test]
    fn a_thermometer_at_one_hertz_costs_few_bytes() {
        let mut builder = SegmentBuilder::default();
        for second in 0..100u64 {
            let sample = Sample { stream: StreamId(1), value: Value::Steps(215), quality: Quality::Good };
            let at = Mono(1_000_000_000 + second * 1_000_000_000);
            builder.push(at, second, [sample].iter());
        }
        let (_, _, body) = builder.finish();
        assert!(body.len() <= 1100, "{} bytes", body.len());
    }
}
