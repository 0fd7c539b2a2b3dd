//! From what a destination is owed to a message: losses and the wall times of boots, as the module head of [`super`] has
//! them. Pure.

use serde_json::{Value, json};

use crate::clock::Mono;
use crate::reading::Class;
use crate::store::queue::{LossRecord, Owed};
use crate::uplink::link::{Message, Packed};

/// Packs as many of the first `owed` as fit `limit` bytes. `None` when not even one fits.
#[must_use]
pub(super) fn pack(gateway: &str, owed: &[Owed], limit: usize) -> Option<Packed> {
    // Records are few and small: halving finds a number that fits soon enough.
    let mut count = owed.len();
    while count > 0 {
        let body = body(gateway, owed.get(..count)?);
        if body.len() <= limit {
            let address = format!("fieldgate/{gateway}/losses");
            // What was lost is an event, also where it was telemetry.
            return Some(Packed {
                message: Message { address, body, class: Class::Event, readings: 0 },
                rows: count,
            });
        }
        count /= 2;
    }
    None
}

fn body(gateway: &str, owed: &[Owed]) -> Vec<u8> {
    let (mut losses, mut clocks) = (Vec::new(), Vec::new());
    for owed in owed {
        match owed {
            Owed::Loss(record) => losses.push(loss(record)),
            Owed::Clock(epoch) => {
                let (offset, uncertainty) = epoch.wall_at(Mono::default()).unwrap_or_default();
                let mut clock = json!({"b": format!("{:?}", epoch.boot), "o": offset, "u": uncertainty});
                if let Some(dated_with) = epoch.dated_with_ms {
                    clock["t"] = Value::from(dated_with);
                }
                clocks.push(clock);
            }
        }
    }
    let mut body = json!({"g": gateway});
    for (key, list) in [("losses", losses), ("clocks", clocks)] {
        if !list.is_empty() {
            body[key] = Value::from(list);
        }
    }
    body.to_string().into_bytes()
}

fn loss(record: &LossRecord) -> Value {
    let mut loss = json!({
        "of": record.of,
        "why": record.why,
        "n": record.count,
        "e": record.epoch.epoch.to_string(),
        "file": format!("{:016x}", record.file_id),
        "id": record.id,
    });
    if let Some(salvaged) = record.salvaged {
        (loss["held"], loss["kept"]) = (Value::from(salvaged.held), Value::from(salvaged.kept));
    }
    if let Some(stream) = &record.stream {
        loss["stream"] = Value::from(stream.name.as_str());
    }
    if let Some((from, to)) = record.sequences {
        (loss["from"], loss["to"]) = (Value::from(from), Value::from(to));
    }
    match record.clock.stated_at(record.at) {
        Some((unix_ms, _)) => loss["t"] = Value::from(unix_ms),
        None => {
            loss["b"] = Value::from(format!("{:?}", record.clock.boot));
            loss["m"] = Value::from(record.at.ms());
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::BootId;
    use crate::store::queue::reader::{EpochInfo, RecordKind, Told};
    use crate::store::queue::{Epoch, Salvaged};

    fn epoch() -> EpochInfo {
        EpochInfo {
            number: 1,
            epoch: Epoch(0x0a),
            boot: BootId([3; 16]),
            wall_offset_ms: Some((1000, 20)),
            known_at: Mono(0),
            dated_with_ms: None,
            revision: 0,
        }
    }

    fn record(id: i64) -> Owed {
        Owed::Loss(Box::new(LossRecord {
            told: Told { kind: RecordKind::Drop, record: id, count: 12 },
            file_id: 0xf11e,
            id: id.cast_unsigned(),
            salvaged: None,
            of: "dropped",
            why: "quota".into(),
            stream: None,
            epoch: epoch(),
            at: Mono(5_000_000_000),
            clock: epoch(),
            sequences: Some((5, 90)),
            count: Some(12),
        }))
    }

    #[test]
    fn losses_and_clocks_stand_in_one_document() {
        let packed = pack("gw-1", &[Owed::Clock(epoch()), record(3)], 4096).unwrap();
        assert_eq!((packed.rows, packed.message.address.as_str()), (2, "fieldgate/gw-1/losses"));
        let body: Value = serde_json::from_slice(&packed.message.body).unwrap();
        assert_eq!(
            body,
            json!({
                "g": "gw-1",
                "losses": [{"of": "dropped", "why": "quota", "n": 12, "e": "000000000000000a", "t": 6000, "from": 5,
                            "to": 90, "file": "000000000000f11e", "id": 3}],
                "clocks": [{"b": format!("{:?}", BootId([3; 16])), "o": 1000, "u": 20}],
            })
        );
    }

    #[test]
    fn of_a_damaged_file_what_is_unknown_is_null_beside_what_was_kept() {
        let Owed::Loss(mut lost) = record(1) else { panic!() };
        (lost.of, lost.why, lost.count, lost.sequences) = ("lost", "queue_damaged".into(), None, None);
        lost.salvaged = Some(Salvaged { held: None, kept: 60 });
        let packed = pack("gw-1", &[Owed::Loss(lost)], 4096).unwrap();
        let body: Value = serde_json::from_slice(&packed.message.body).unwrap();
        let said = &body["losses"][0];
        assert_eq!((&said["n"], &said["held"], &said["kept"]), (&Value::Null, &Value::Null, &json!(60)));
        assert!(said.as_object().unwrap().contains_key("held"));
    }

    #[test]
    fn what_does_not_fit_is_left_for_the_next_message() {
        let owed: Vec<Owed> = (0..50).map(record).collect();
        let packed = pack("gw-1", &owed, 1024).unwrap();
        assert!((1..50).contains(&packed.rows) && packed.message.body.len() <= 1024);
        assert_eq!(pack("gw-1", &owed, 40), None);
    }
}
