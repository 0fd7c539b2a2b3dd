//! What is wrong with the sensors: silent, refusing, in doubt.

use super::{Findings, Level, NAMED, Snapshot, listed, sentence};
use crate::board::SlaveRefusal;
use crate::http::words::count;
use crate::reading::Quality;

pub(super) fn judge(snapshot: &Snapshot, found: &mut Findings) {
    silent(snapshot, found);
    refusing(snapshot, found);
    doubtful(snapshot, found);
}

fn silent(snapshot: &Snapshot, found: &mut Findings) {
    let mut buses: Vec<&str> = snapshot.slaves.values().map(|slave| slave.value.bus.as_str()).collect();
    buses.sort_unstable();
    buses.dedup();
    for bus in buses {
        let on_bus = || snapshot.slaves.iter().filter(|(_, slave)| slave.value.bus == bus);
        let silent: Vec<_> = on_bus().filter(|(_, slave)| !slave.value.answering).collect();
        let names: Vec<_> = silent.iter().map(|(name, _)| name.as_str()).collect();
        match silent.as_slice() {
            [] => {}
            all if all.len() > 1 && all.len() == on_bus().count() => found.add(
                Level::Broken,
                format!("Nothing answers on bus {bus}"),
                format!("Silent: {}. Their readings are missing.", listed(&names)),
                "Check the bus cable, its A/B wires and the sensors' power.",
            ),
            [(name, slave)] => found.add(
                Level::Attention,
                format!("{name} does not answer"),
                format!("{} Its readings are missing.", sentence(&slave.value.words)),
                "Check its power, its A/B wires and its unit address.",
            ),
            several => found.add(
                Level::Attention,
                format!("{} sensors do not answer", several.len()),
                format!("Silent on bus {bus}: {}. Their readings are missing.", listed(&names)),
                "Check their power, their A/B wires and their unit addresses.",
            ),
        }
    }
}

/// A slave that answers with an exception is wired well: what it is asked for is wrong, or it is not well itself.
fn refusing(snapshot: &Snapshot, found: &mut Findings) {
    let refusing =
        snapshot.slaves.iter().filter_map(|(name, slave)| Some((name, slave.value.refusal.as_ref()?)));
    let refusing: Vec<_> = refusing.collect();
    for (name, refusal) in refusing.iter().take(NAMED) {
        let SlaveRefusal { streams, asked, exception, .. } = refusal;
        found.add(
            Level::Attention,
            format!("{name} refuses to tell {streams}"),
            format!("It answers, but {}. The wiring is fine; these readings are missing.", refusal.words()),
            match exception {
                1..=3 => format!(
                    "In the configuration, compare the table, register and type of {streams} with the device's manual: \
                     it was asked for {asked}."
                ),
                5 | 6 => format!("Let it be read less often (its period). If this stays, ask its maker about {asked}."),
                10 | 11 => "Check the device behind the gateway that answers, and its unit address.".to_owned(),
                _ => format!("Look what the device itself shows, then switch it off and on; it was asked for {asked}."),
            },
        );
    }
    if let Some(more) = refusing.get(NAMED..).filter(|more| !more.is_empty()) {
        let names: Vec<_> = more.iter().map(|(name, _)| name.as_str()).collect();
        found.add(
            Level::Attention,
            count(more.len() as u64, "further sensor refuses a read", "further sensors refuse a read"),
            format!("They answer with an exception: {}.", listed(&names)),
            "See the section Sensors for each, and compare registers with the devices' manuals.",
        );
    }
}

fn doubtful(snapshot: &Snapshot, found: &mut Findings) {
    let doubtful: Vec<_> = snapshot
        .latest
        .iter()
        .filter(|(_, latest)| matches!(latest.value.quality, Quality::OutOfRange | Quality::DeviceInvalid))
        .map(|(name, _)| name.as_str())
        .collect();
    if !doubtful.is_empty() {
        found.add(
            Level::Attention,
            format!("{} in doubt", count(doubtful.len() as u64, "value is", "values are")),
            format!("Out of range, or the device says it has none: {}.", listed(&doubtful)),
            "Check the probe and its cable.",
        );
    }
}
