//! From queued readings to the body of a message, in the encoding that the destination is configured for. Pure.
//!
//! Statements are rows in either encoding: they are rare, and stock pipeline steps understand them. So is the message that opens
//! an epoch.

use fieldgate_golioth_proto::columns::{ColumnsPacker, Reading};
use fieldgate_golioth_proto::rows::{
    self, ClockStatement, EpochStatement as WireStatement, LossStatement, PreviousEpoch, Push, Row, RowError,
    RowTime, RowValue, RowsPacker, Salvage,
};

use crate::clock::{BootId, Mono};
use crate::config::Encoding;
use crate::reading::{Quality, Resolution, Value};
use crate::store::queue::reader::EpochInfo;
use crate::store::queue::{LossRecord, Owed, QueuedRow};
use crate::uplink::link::EpochStatement;

/// Packs as many of `queued` as fit `limit` bytes. Returns the body and how many readings are in it; `None` when not even the
/// first fits.
#[must_use]
pub fn pack(
    encoding: Encoding,
    statement: Option<&EpochStatement>,
    queued: &[QueuedRow],
    limit: usize,
) -> Option<(Vec<u8>, usize)> {
    match (encoding, statement) {
        (Encoding::Columns, None) => pack_columns(queued, limit).or_else(|| pack_rows(None, queued, limit)),
        (Encoding::Columns, Some(_)) | (Encoding::Rows, _) => pack_rows(statement, queued, limit),
    }
}

/// Readings of one epoch. What columns cannot carry is for rows to say.
fn pack_columns(queued: &[QueuedRow], limit: usize) -> Option<(Vec<u8>, usize)> {
    let first = queued.first()?;
    let prefix = if crate::sabotage::on("epoch-dropped") { [0; 4] } else { first.epoch.epoch.prefix() };
    let readings: Vec<Reading<'_>> =
        queued.iter().take_while(|row| row.epoch.number == first.epoch.number).map(reading).collect();
    let mut packer = ColumnsPacker::new(limit);
    let taken = packer.pack(prefix, &readings).ok()?;
    (taken > 0).then(|| (packer.message().to_vec(), taken))
}

fn reading(row: &QueuedRow) -> Reading<'_> {
    let RowValue { alias, mut value, mut quality } = value(row);
    match value {
        rows::Value::Float(float) if !float.is_finite() => {
            value = rows::Value::Missing;
            quality = quality.max(Quality::DeviceInvalid as u8);
        }
        rows::Value::Scaled { mantissa, resolution } if crate::sabotage::on("padded-values") => {
            value = rows::Value::Float(resolution.number(mantissa));
        }
        _ => {}
    }
    let time = time(&row.epoch, row.at);
    Reading { group: &row.stream.group, sequence: row.sequence, time, alias, value, quality }
}

/// All values of an instant in one map, as long as they stand together.
fn pack_rows(
    statement: Option<&EpochStatement>,
    queued: &[QueuedRow],
    limit: usize,
) -> Option<(Vec<u8>, usize)> {
    let mut packer = RowsPacker::new(limit);
    if let Some(statement) = statement {
        push_statement(&mut packer, statement)?;
    }
    let mut taken = 0;
    while let Some(first) = queued.get(taken) {
        let instant = queued.get(taken..)?.iter().take_while(|row| same_instant(first, row)).count();
        let (pushed, full) = push_instant(&mut packer, queued.get(taken..taken + instant)?, taken > 0);
        taken += pushed;
        if full || pushed == 0 {
            break;
        }
    }
    (taken > 0).then(|| (packer.finish().to_vec(), taken))
}

/// Packs as many of `owed` as fit `limit` bytes. Returns the body and how many are in it; `None` when not even the first fits.
#[must_use]
pub fn pack_owed(owed: &[Owed], limit: usize) -> Option<(Vec<u8>, usize)> {
    let mut packer = RowsPacker::new(limit);
    let mut taken = 0;
    for owed in owed {
        let pushed = match owed {
            Owed::Loss(loss) => packer.push_loss(&loss_statement(loss)),
            Owed::Clock(epoch) => match clock_statement(epoch) {
                Some(statement) => packer.push_clock(&statement),
                None => break,
            },
        };
        if !matches!(pushed, Ok(Push::Pushed)) {
            break;
        }
        taken += 1;
    }
    (taken > 0).then(|| (packer.finish().to_vec(), taken))
}

fn loss_statement(loss: &LossRecord) -> LossStatement<'_> {
    let [a, b, c, d, ..] = loss.file_id.to_be_bytes();
    LossStatement {
        epoch_prefix: loss.epoch.epoch.prefix(),
        time: time(&loss.clock, loss.at),
        of: loss.of,
        why: &loss.why,
        count: loss.count,
        stream: loss.stream.as_deref().map(|stream| stream.alias.as_str()),
        sequences: loss.sequences,
        file: [a, b, c, d],
        id: loss.id,
        salvage: loss.salvaged.map(|s| Salvage { held: s.held, kept: s.kept }),
    }
}

fn clock_statement(epoch: &EpochInfo) -> Option<ClockStatement> {
    let (unix_ms_at_mono_zero, uncertainty_ms) = epoch.wall_at(Mono::default())?;
    Some(ClockStatement {
        epoch_prefix: epoch.epoch.prefix(),
        boot: boot_number(epoch.boot),
        unix_ms_at_mono_zero,
        dated_with_unix_ms_at_mono_zero: epoch.dated_with_ms,
        uncertainty_ms,
    })
}

fn push_statement(packer: &mut RowsPacker, statement: &EpochStatement) -> Option<()> {
    let sequences: Vec<(&str, u64)> = match &statement.previous {
        Some((_, last)) => last.iter().map(|(group, n)| (group.as_str(), *n)).collect(),
        None => Vec::new(),
    };
    let previous = |last_sequences| {
        statement
            .previous
            .as_ref()
            .map(|(epoch, _)| PreviousEpoch { epoch: epoch.0.to_be_bytes(), last_sequences })
    };
    let epoch = statement.epoch.0.to_be_bytes();
    // Very many groups may not fit beside any reading; then the statement goes without them rather than not at all.
    for last_sequences in [sequences.as_slice(), &[]] {
        let whole = WireStatement { epoch, previous: previous(last_sequences) };
        if matches!(packer.push_epoch(&whole), Ok(Push::Pushed))
            && packer.encoded_bytes() * 2 <= packer.limit_bytes()
        {
            return Some(());
        }
        *packer = RowsPacker::new(packer.limit_bytes());
    }
    None
}

/// Pushes an instant, whole if possible; else as many of its first values as fit an otherwise empty message.
fn push_instant(packer: &mut RowsPacker, rows: &[QueuedRow], others: bool) -> (usize, bool) {
    let values: Vec<RowValue<'_>> = rows.iter().map(value).collect();
    let mut count = rows.len();
    while count > 0 {
        let (Some(first), Some(values)) = (rows.first(), values.get(..count)) else { break };
        let row = Row {
            epoch_prefix: first.epoch.epoch.prefix(),
            sequence: first.sequence,
            time: time(&first.epoch, first.at),
            values,
        };
        match packer.push(&row) {
            Ok(Push::Pushed) => return (count, count < rows.len()),
            Ok(Push::Full) if others => return (0, true),
            Ok(Push::Full) | Err(RowError::TooLarge { .. } | RowError::DuplicateAlias { .. }) => count /= 2,
            // A value the encoding cannot carry travels as missing: its quality says why, and nothing is stuck.
            Err(_) => return push_without_bad(packer, rows),
        }
    }
    (0, false)
}

/// The first value of an instant of which some value cannot be carried: as it is if it is not that one.
fn push_without_bad(packer: &mut RowsPacker, rows: &[QueuedRow]) -> (usize, bool) {
    let Some(row) = rows.first() else { return (0, false) };
    let mut missing = value(row);
    missing.value = rows::Value::Missing;
    if missing.quality == 0 {
        missing.quality = Quality::DeviceInvalid as u8;
    }
    for value in [value(row), missing] {
        let one = Row {
            epoch_prefix: row.epoch.epoch.prefix(),
            sequence: row.sequence,
            time: time(&row.epoch, row.at),
            values: &[value],
        };
        match packer.push(&one) {
            Ok(Push::Pushed) => return (1, false),
            Ok(Push::Full) => return (0, true),
            Err(_) => {}
        }
    }
    (0, false)
}

fn same_instant(a: &QueuedRow, b: &QueuedRow) -> bool {
    a.sequence == b.sequence
        && a.epoch.number == b.epoch.number
        && a.at == b.at
        && a.stream.group == b.stream.group
}

fn time(epoch: &EpochInfo, at: Mono) -> RowTime {
    match epoch.stated_at(at) {
        Some((unix_ms, uncertainty_ms)) => RowTime::Wall { unix_ms, uncertainty_ms },
        None => RowTime::Boot { boot: boot_number(epoch.boot), mono_ms: at.ms() },
    }
}

/// The first four bytes of a boot's id.
fn boot_number(boot: BootId) -> u64 {
    let [a, b, c, d, ..] = boot.0;
    u64::from(u32::from_be_bytes([a, b, c, d]))
}

fn value(row: &QueuedRow) -> RowValue<'_> {
    let resolution = row.stream.resolution.unwrap_or(Resolution::ONE);
    let value = match &row.sample.value {
        Value::Steps(mantissa) => {
            match rows::Resolution::rational(resolution.numerator, resolution.denominator) {
                Some(resolution) => rows::Value::Scaled { mantissa: *mantissa, resolution },
                None => rows::Value::Float(resolution.value(*mantissa)),
            }
        }
        Value::Float(float) => rows::Value::Float(*float),
        Value::Bool(bool) => rows::Value::Bool(*bool),
        Value::Text(text) => rows::Value::Text(text),
        Value::Absent => rows::Value::Missing,
    };
    RowValue { alias: &row.stream.alias, value, quality: row.sample.quality as u8 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fieldgate_golioth_proto::columns::{decode_columns, is_columns};
    use fieldgate_golioth_proto::rows::{DecodedValue, Element, decode_rows};

    use super::*;
    use crate::reading::{Class, Sample, StreamId};
    use crate::store::queue::reader::StreamInfo;
    use crate::store::queue::{Epoch, Position};

    fn row(n: u32, sequence: u64, alias: &str, value: Value) -> QueuedRow {
        QueuedRow {
            position: Position { segment: 1, row: n },
            epoch: EpochInfo {
                number: 1,
                epoch: Epoch(0x0102_0304_0506_0708),
                boot: BootId([9; 16]),
                wall_offset_ms: Some((1_795_000_000_000, 20)),
                known_at: Mono(0),
                dated_with_ms: None,
                revision: 0,
            },
            sequence,
            at: Mono(sequence * 1_000_000_000),
            sample: Sample { stream: StreamId(n), value, quality: Quality::Good },
            stream: Arc::new(StreamInfo {
                name: format!("tank.{alias}"),
                group: "bus/tank".into(),
                device: "d".into(),
                class: Class::Telemetry,
                unit: String::new(),
                resolution: Some(Resolution { numerator: 1, denominator: 10 }),
                alias: alias.into(),
            }),
        }
    }

    #[test]
    fn the_values_of_an_instant_share_one_map_and_come_back_exactly() {
        let rows = [
            row(0, 1, "a", Value::Steps(215)),
            row(1, 1, "c", Value::Steps(-3)),
            row(2, 2, "a", Value::Absent),
        ];
        let (body, count) = pack(Encoding::Rows, None, &rows, 1024).unwrap();
        assert_eq!(count, 3);
        let elements = decode_rows(&body).unwrap();
        let [Element::Row(first), Element::Row(second)] = elements.as_slice() else { panic!("{elements:?}") };
        assert_eq!((first.sequence, first.epoch_prefix, first.values.len()), (1, [1, 2, 3, 4], 2));
        assert!(matches!(first.time, RowTime::Wall { unix_ms: 1_795_000_001_000, .. }));
        let tenth = rows::Resolution::rational(1, 10).unwrap();
        assert_eq!(first.values[0].value.mantissa(tenth), Some(215));
        assert_eq!(first.values[1].value.mantissa(tenth), Some(-3));
        assert_eq!(second.values[0].value, DecodedValue::Missing);
    }

    #[test]
    fn what_does_not_fit_is_left_for_the_next_message() {
        let rows: Vec<_> =
            (0..400).map(|n| row(n, u64::from(n) + 1, "a", Value::Steps(i64::from(n)))).collect();
        let mut at = 0;
        let mut seen = Vec::new();
        while at < rows.len() {
            let (body, count) = pack(Encoding::Rows, None, &rows[at..], 300).unwrap();
            assert!(body.len() <= 300 && count > 0);
            for element in decode_rows(&body).unwrap() {
                if let Element::Row(row) = element {
                    seen.push(row.sequence);
                }
            }
            at += count;
        }
        assert_eq!(seen, (1..=400).collect::<Vec<u64>>());
    }

    #[test]
    fn an_instant_longer_than_a_message_is_divided_under_its_sequence() {
        let rows: Vec<_> = (0..64)
            .map(|n| row(n, 7, &format!("alias_{n:02}"), Value::Text("x".repeat(40).into())))
            .collect();
        let mut at = 0;
        let mut aliases = 0;
        while at < rows.len() {
            let (body, count) = pack(Encoding::Rows, None, &rows[at..], 512).unwrap();
            for element in decode_rows(&body).unwrap() {
                let Element::Row(row) = element else { panic!() };
                assert_eq!(row.sequence, 7);
                aliases += row.values.len();
            }
            at += count;
        }
        assert_eq!(aliases, 64);
    }

    #[test]
    fn a_reading_too_long_for_any_message_is_said_to_be() {
        let rows = [row(0, 1, "a", Value::Text("y".repeat(250).into()))];
        assert_eq!(pack(Encoding::Rows, None, &rows, 64), None);
    }

    #[test]
    fn the_statement_of_an_epoch_comes_first_and_with_readings() {
        let statement = EpochStatement {
            epoch: Epoch(0x0102_0304_0506_0708),
            previous: Some((Epoch(5), vec![("bus/tank".into(), 99)])),
        };
        let (body, count) =
            pack(Encoding::Rows, Some(&statement), &[row(0, 1, "a", Value::Steps(1))], 1024).unwrap();
        assert_eq!(count, 1);
        let elements = decode_rows(&body).unwrap();
        assert!(matches!(elements.first(), Some(Element::Epoch(_))), "{elements:?}");
    }

    #[test]
    fn a_value_that_cannot_travel_leaves_its_neighbours_as_they_are() {
        let rows = [
            row(0, 1, "a", Value::Steps(1)),
            row(1, 1, "b2", Value::Steps(i64::MAX - 1)),
            row(2, 1, "c", Value::Steps(3)),
        ];
        let (mut at, mut seen) = (0, Vec::new());
        while at < rows.len() {
            let (body, count) = pack(Encoding::Rows, None, &rows[at..], 1024).unwrap();
            at += count;
            for element in decode_rows(&body).unwrap() {
                let Element::Row(row) = element else { panic!() };
                seen.extend(
                    row.values.iter().map(|v| (v.alias.to_owned(), v.value == DecodedValue::Missing)),
                );
            }
        }
        let expected = [("a", false), ("b2", true), ("c", false)].map(|(a, m)| (a.to_owned(), m));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_loss_goes_with_the_epoch_and_the_sequences_it_is_about() {
        let of = row(0, 1, "a", Value::Absent);
        let found_out = EpochInfo { number: 2, epoch: Epoch(5), boot: BootId([1; 16]), ..of.epoch };
        let loss = LossRecord {
            told: crate::store::queue::Told {
                kind: crate::store::queue::RecordKind::Drop,
                record: 3,
                count: 40,
            },
            file_id: 0x0908_0706_0504_0302,
            id: 3,
            salvaged: None,
            of: "dropped",
            why: "age".into(),
            stream: Some(of.stream),
            epoch: of.epoch,
            at: Mono(7_000_000_000),
            clock: found_out,
            sequences: Some((11, 50)),
            count: Some(40),
        };
        let (body, count) = pack_owed(&[Owed::Loss(Box::new(loss))], 1024).unwrap();
        let elements = decode_rows(&body).unwrap();
        let [Element::Loss(told)] = elements.as_slice() else { panic!("{elements:?}") };
        assert_eq!((count, told.epoch_prefix), (1, [1, 2, 3, 4]));
        assert_eq!((told.loss.sequences, told.loss.count), (Some((11, 50)), Some(40)));
        assert_eq!((told.loss.stream.as_deref(), told.loss.why.as_str()), (Some("a"), "age"));
    }

    #[test]
    fn a_number_beyond_the_encoding_travels_as_missing_and_blocks_nothing() {
        let rows = [row(0, 1, "a", Value::Steps(i64::MAX - 1)), row(1, 2, "a", Value::Steps(1))];
        let (_, count) = pack(Encoding::Rows, None, &rows, 1024).unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn columns_carry_what_rows_cannot_and_keep_every_identity() {
        let mut rows: Vec<_> =
            (0..300).map(|n| row(n, u64::from(n) + 1, "a", Value::Steps(i64::MAX - i64::from(n)))).collect();
        rows[7].sample.value = Value::Float(f64::NAN);
        let (mut at, mut seen) = (0, Vec::new());
        while at < rows.len() {
            let (body, count) = pack(Encoding::Columns, None, &rows[at..], 400).unwrap();
            assert!(body.len() <= 400 && count > 0);
            let batch = decode_columns(&body).unwrap();
            assert_eq!(batch.epoch_prefix, [1, 2, 3, 4]);
            for instant in &batch.instants {
                let value = &instant.values[0];
                seen.push((instant.sequence, value.value == rows::Value::Missing, value.quality));
                assert_eq!(
                    instant.time,
                    RowTime::Wall {
                        unix_ms: 1_795_000_000_000 + instant.sequence as i64 * 1000,
                        uncertainty_ms: 1000,
                    }
                );
            }
            at += count;
        }
        assert_eq!(seen.remove(7), (8, true, Quality::DeviceInvalid as u8));
        assert!(seen.iter().all(|(_, missing, quality)| !missing && *quality == 0));
        assert_eq!(seen.len(), 299);
    }

    #[test]
    fn columns_of_two_epochs_are_two_messages_and_statements_stay_rows() {
        let mut rows = [
            row(0, 1, "a", Value::Steps(1)),
            row(1, 2, "a", Value::Steps(2)),
            row(2, 1, "a", Value::Steps(3)),
        ];
        rows[2].epoch.number = 2;
        let (body, count) = pack(Encoding::Columns, None, &rows, 1024).unwrap();
        assert_eq!((count, is_columns(&body)), (2, true));
        let statement = EpochStatement { epoch: Epoch(0x0102_0304_0506_0708), previous: None };
        let (body, count) = pack(Encoding::Columns, Some(&statement), &rows, 1024).unwrap();
        assert_eq!(count, 3);
        assert!(matches!(decode_rows(&body).unwrap().first(), Some(Element::Epoch(_))));
    }
}
