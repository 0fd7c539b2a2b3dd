//! The payloads of Golioth's device plane: what comes in, what goes out, and the two encodings of readings.

use fieldgate_golioth_proto::columns::{ColumnsPacker, MAX_CELLS, Reading, decode_columns};
use fieldgate_golioth_proto::logs::{Level, LogRecord, MAX_RECORD_BYTES};
use fieldgate_golioth_proto::manifest::{Desired, MAX_COMPONENTS};
use fieldgate_golioth_proto::rows::{
    ClockStatement, DecodedValue, Element, EpochStatement, LossStatement, MAX_BATCH_BYTES, PreviousEpoch,
    Push, Row, RowTime, RowValue, RowsPacker, UNSTATED_UNCERTAINTY_MS, Value, decode_rows,
};
use fieldgate_golioth_proto::rpc::{MAX_PARAMS, Reply, StatusCode};
use fieldgate_golioth_proto::settings::{ErrorCode, MAX_SETTINGS, SettingFault, StatusReport};
use fieldgate_golioth_proto::state_report::{Reason, State, StateReport};
use fieldgate_golioth_proto::{manifest, paths, rpc, settings};
use serde_json::Map;

use crate::feed::Feed;

/// One document to every decoder of what the cloud says: bounded, fit for a path where it names one, and whole.
pub(crate) fn inbound(data: &[u8]) -> bool {
    let mut longer = data.to_vec();
    longer.push(0);
    let manifest = manifest::decode(data);
    let rpc = rpc::decode(data);
    let settings = settings::decode(data);
    if let Ok(Desired::Deployment(manifest)) = &manifest {
        assert!(manifest.components.len() <= MAX_COMPONENTS);
        for component in &manifest.components {
            assert!(paths::component(&component.package).is_ok(), "{:?}", component.package);
            assert!(paths::artifact(&component.uri).is_ok(), "{:?}", component.uri);
            let twice = manifest.components.iter().filter(|other| other.package == component.package);
            assert_eq!(twice.count(), 1, "a package twice");
        }
    }
    if let Ok(rpc::Notification::Call(call)) = &rpc {
        assert!(call.params.len() <= MAX_PARAMS);
        assert!(call.id.len() <= rpc::MAX_NAME_BYTES && call.method.len() <= rpc::MAX_NAME_BYTES);
    }
    if let Ok(settings::Notification::Settings(settings)) = &settings {
        let values = settings.values.as_deref().unwrap_or_default();
        assert!(values.len() <= MAX_SETTINGS && settings.faults.len() <= MAX_SETTINGS);
        assert!(settings.faults.iter().all(|(key, _)| key.len() <= settings::MAX_KEY_BYTES));
        for (key, _) in values {
            assert_eq!(values.iter().filter(|(other, _)| other == key).count(), 1, "a key twice");
        }
    }
    let taken = [manifest.is_ok(), rpc.is_ok(), settings.is_ok()];
    let with_more =
        [manifest::decode(&longer).is_ok(), rpc::decode(&longer).is_ok(), settings::decode(&longer).is_ok()];
    assert!(!taken.iter().zip(with_more).any(|(short, long)| *short && long), "a remainder was passed over");
    taken.contains(&true)
}

/// Every payload that goes out, with any text in it: one sound CBOR document each.
pub(crate) fn outbound(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let (head, code) = (feed.byte(), feed.byte());
    let (one, two, three) = (feed.text(), feed.text(), feed.text());
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug];
    let long = one.repeat(usize::from(head >> 2));
    let level = levels[usize::from(head & 3)];
    let record = LogRecord { level, module: &two, message: &long }.encode();
    assert!(record.len() <= MAX_RECORD_BYTES, "{} bytes", record.len());
    is_one_document(&record);
    let codes = (State::from_code(code & 3), Reason::from_code(code >> 4), StatusCode::from_code(code));
    if let (Some(state), Some(reason), _) = codes {
        let version = (head & 1 == 0).then_some(two.as_str());
        let target = (head & 2 == 0).then_some(three.as_str());
        is_one_document(&StateReport { state, reason, package: &one, version, target }.encode());
    }
    if let Some(status) = codes.2 {
        let number = i64::from_be_bytes(<[u8; 8]>::try_from(feed.take(8)).unwrap_or_default());
        let mut detail = Map::new();
        detail.insert("a".into(), serde_json::Value::Null);
        detail.insert("b".into(), (head & 1 == 0).into());
        detail.insert("c".into(), number.into());
        detail.insert("d".into(), f64::from_bits(number.cast_unsigned()).into());
        detail.insert(two.clone(), three.as_str().into());
        let detail = (head & 4 == 0).then_some(&detail);
        is_one_document(&Reply { id: &one, status, detail }.encode());
    }
    let errors = [
        SettingFault { key: &one, code: ErrorCode::General },
        SettingFault { key: &two, code: ErrorCode::KeyNotRecognized },
    ];
    let errors = errors.get(..usize::from(head % 3)).unwrap_or_default();
    is_one_document(&StatusReport { version: (head & 8 == 0).then_some(i64::from(code)), errors }.encode());
    !one.is_empty()
}

fn is_one_document(payload: &[u8]) {
    let mut decoder = minicbor::Decoder::new(payload);
    assert!(decoder.skip().is_ok(), "not CBOR: {payload:02x?}");
    assert_eq!(decoder.position(), payload.len(), "more than one document");
}

/// Rows: what decodes, encodes to what decodes to the same.
pub(crate) fn rows(data: &[u8]) -> bool {
    let Ok(elements) = decode_rows(data) else { return false };
    assert!(elements.len() <= data.len());
    let mut packer = RowsPacker::new(MAX_BATCH_BYTES);
    let mut kept = Vec::new();
    for element in elements {
        let pushed = push(&mut packer, &element);
        match pushed {
            Some(Push::Pushed) => kept.push(element),
            // An order or a name that no message of ours has.
            None => {}
            // It did not fit.
            Some(_) => break,
        }
    }
    let message = packer.finish();
    assert!(message.len() <= MAX_BATCH_BYTES);
    let again = decode_rows(message);
    let same = again.as_ref().is_ok_and(|again| {
        again.len() == kept.len() && again.iter().zip(&kept).all(|(one, other)| is_same(one, other))
    });
    assert!(same, "{kept:?} became {again:?}");
    !kept.is_empty()
}

fn push(packer: &mut RowsPacker, element: &Element) -> Option<Push> {
    match element {
        Element::Row(row) => {
            let values: Vec<_> = row
                .values
                .iter()
                .map(|reading| RowValue {
                    alias: &reading.alias,
                    value: borrowed(&reading.value),
                    quality: reading.quality,
                })
                .collect();
            packer.push(&Row {
                epoch_prefix: row.epoch_prefix,
                sequence: row.sequence,
                time: row.time,
                values: &values,
            })
        }
        Element::Epoch(epoch) => {
            let sequences: Vec<_> = epoch
                .previous
                .iter()
                .flat_map(|previous| {
                    previous.last_sequences.iter().map(|(group, last)| (group.as_str(), *last))
                })
                .collect();
            let previous = epoch
                .previous
                .as_ref()
                .map(|previous| PreviousEpoch { epoch: previous.epoch, last_sequences: &sequences });
            packer.push_epoch(&EpochStatement { epoch: epoch.epoch, previous })
        }
        Element::Clock(statement) => packer.push_clock(statement),
        Element::Loss(lost) => packer.push_loss(&LossStatement {
            epoch_prefix: lost.epoch_prefix,
            time: lost.time,
            of: &lost.loss.of,
            why: &lost.loss.why,
            count: lost.loss.count,
            stream: lost.loss.stream.as_deref(),
            sequences: lost.loss.sequences,
            file: lost.loss.file,
            id: lost.loss.id,
            salvage: lost.loss.salvage,
        }),
    }
    .ok()
}

fn borrowed(value: &DecodedValue) -> Value<'_> {
    match value {
        DecodedValue::Integer(number) => Value::Integer(*number),
        DecodedValue::Float(number) => Value::Float(*number),
        DecodedValue::Bool(flag) => Value::Bool(*flag),
        DecodedValue::Text(text) => Value::Text(text),
        DecodedValue::Missing => Value::Missing,
    }
}

/// The same but for what the format does not say: an uncertainty up to the unstated one, and whether a whole number was a float.
fn is_same(one: &Element, other: &Element) -> bool {
    let (one, other) = match (one, other) {
        (Element::Row(one), Element::Row(other)) => (one, other),
        (Element::Clock(one), Element::Clock(other)) => {
            let stated = |clock: &ClockStatement| ClockStatement {
                uncertainty_ms: clock.uncertainty_ms.max(UNSTATED_UNCERTAINTY_MS),
                ..*clock
            };
            return stated(one) == stated(other);
        }
        (Element::Loss(one), Element::Loss(other)) => {
            return one.epoch_prefix == other.epoch_prefix
                && as_stated(one.time) == as_stated(other.time)
                && one.loss == other.loss;
        }
        (one, other) => return one == other,
    };
    let value = |one: &DecodedValue, other: &DecodedValue| match (one, other) {
        (DecodedValue::Integer(one), DecodedValue::Float(other)) => *one as f64 == *other,
        (one, other) => one == other,
    };
    one.epoch_prefix == other.epoch_prefix
        && one.sequence == other.sequence
        && as_stated(one.time) == as_stated(other.time)
        && one.values.len() == other.values.len()
        && one.values.iter().zip(&other.values).all(|(one, other)| {
            one.alias == other.alias && one.quality == other.quality && value(&one.value, &other.value)
        })
}

fn as_stated(time: RowTime) -> RowTime {
    match time {
        RowTime::Wall { unix_ms, uncertainty_ms } => {
            RowTime::Wall { unix_ms, uncertainty_ms: uncertainty_ms.max(UNSTATED_UNCERTAINTY_MS) }
        }
        boot @ RowTime::Boot { .. } => boot,
    }
}

/// Columns: bounded whatever the bytes say, and what decodes and fits a message encodes to what decodes to the same.
pub(crate) fn columns(data: &[u8]) -> bool {
    let Ok(batch) = decode_columns(data) else { return false };
    let values = batch.instants.iter().map(|instant| instant.values.len()).sum::<usize>();
    assert!(batch.instants.len() <= MAX_CELLS && values <= MAX_CELLS, "beyond the bounds of the format");
    // The groups are not said. With one for all, two instants that differ in nothing but their table would become one.
    let mut instants: Vec<_> =
        batch.instants.iter().map(|instant| (instant.sequence, order(instant.time))).collect();
    instants.sort_unstable();
    if !instants.is_sorted_by(|one, next| one < next) {
        return true;
    }
    let readings: Vec<_> = batch
        .instants
        .iter()
        .flat_map(|instant| {
            instant.values.iter().map(|value| Reading {
                group: "g",
                sequence: instant.sequence,
                time: instant.time,
                alias: value.alias,
                value: value.value,
                quality: value.quality,
            })
        })
        .collect();
    let mut packer = ColumnsPacker::new(MAX_BATCH_BYTES);
    let packed = packer.pack(batch.epoch_prefix, &readings);
    assert!(packed.is_ok(), "{packed:?}");
    let packed = packed.unwrap_or(0);
    if packed == 0 {
        // Nothing to send, or a text longer than a message.
        return true;
    }
    assert!(packer.message().len() <= MAX_BATCH_BYTES);
    let again = decode_columns(packer.message());
    assert!(again.is_ok(), "{again:?}");
    let Ok(again) = again else { return false };
    let mut was: Vec<_> = readings.iter().take(packed).map(shown).collect();
    let mut is: Vec<_> = again
        .instants
        .iter()
        .flat_map(|instant| {
            instant.values.iter().map(|value| {
                shown(&Reading {
                    group: "g",
                    sequence: instant.sequence,
                    time: instant.time,
                    alias: value.alias,
                    value: value.value,
                    quality: value.quality,
                })
            })
        })
        .collect();
    was.sort_unstable();
    is.sort_unstable();
    assert_eq!(was, is);
    true
}

/// A time as something that sorts.
fn order(time: RowTime) -> (u64, i128) {
    match time {
        RowTime::Wall { unix_ms, .. } => (u64::MAX, unix_ms.into()),
        RowTime::Boot { boot, mono_ms } => (boot, mono_ms.into()),
    }
}

/// A reading to the last bit, but for an uncertainty that is not stated.
fn shown(reading: &Reading<'_>) -> String {
    let value = match reading.value {
        Value::Float(number) => format!("{:016x}", number.to_bits()),
        other => format!("{other:?}"),
    };
    let time = as_stated(reading.time);
    format!("{} {time:?} {} {value} {}", reading.sequence, reading.alias, reading.quality)
}
