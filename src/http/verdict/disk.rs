//! What is wrong with the disk and the two files on it.

use super::{Findings, Level, Snapshot, sentence};
use crate::board::{WriterPhase, in_words};
use crate::http::words::{count, millis};
use crate::store::gateway::GatewayHealth;
use crate::store::queue::Health;

pub(super) fn judge(snapshot: &Snapshot, found: &mut Findings) {
    store(snapshot, found);
    salvage(snapshot, found);
    gateway_db(snapshot, found);
    writers(snapshot, found);
}

fn store(snapshot: &Snapshot, found: &mut Findings) {
    let kept = "New readings are refused and lost until then; what was accepted is safe.";
    match &snapshot.queue.health {
        Health::Good => {}
        Health::DiskFull => found.add(
            Level::Broken,
            "The disk is full",
            kept,
            "Let the queue drain (is the cloud connected?) or make room on the disk. It recovers by itself.",
        ),
        Health::ReadOnly => found.add(
            Level::Broken,
            "The disk is read-only",
            kept,
            "Restart the gateway once. If this comes back, its storage is worn out: replace it.",
        ),
        Health::Faulty(detail) => found.add(
            Level::Broken,
            "The disk refuses writes",
            format!("{kept} The disk says: {detail}"),
            "Restart the gateway once. If this comes back, its storage is damaged: replace it.",
        ),
    }
    let (used, max) = (snapshot.queue.used_bytes, snapshot.queue.max_bytes);
    let percent = used.saturating_mul(100).checked_div(max).unwrap_or(0);
    if percent >= 90 && snapshot.queue.health == Health::Good {
        found.add(
            Level::Attention,
            format!("The queue is {percent} % full"),
            "When it is full, the least important readings are given up first.",
            "Bring the connection back, so that the queue drains.",
        );
    }
}

fn salvage(snapshot: &Snapshot, found: &mut Findings) {
    let Some(salvage) = &snapshot.queue.salvage else { return };
    found.add(
        Level::Attention,
        "The queue's file was damaged",
        format!(
            "{} % of it is looked at, {} saved so far. How many are lost is unknown until it ends. New readings are accepted.",
            salvage.thousandths / 10,
            count(salvage.readings, "reading is", "readings are"),
        ),
        "Wait: it goes on by itself. If files are damaged again, the storage is worn: replace it.",
    );
}

fn gateway_db(snapshot: &Snapshot, found: &mut Findings) {
    if let GatewayHealth::Faulty(detail) = &snapshot.gateway_db {
        found.add(
            Level::Broken,
            "gateway.db takes no writes",
            format!(
                "Firmware versions, devices and the time are not recorded until it does; readings have a file of their \
                 own. {}",
                sentence(detail)
            ),
            "Make room on the disk, then restart the gateway once. If this comes back, its storage is damaged: replace it.",
        );
    }
}

fn writers(snapshot: &Snapshot, found: &mut Findings) {
    for (name, writer) in &snapshot.writers {
        let words = format!("{name}: {}.", writer.value.words);
        match writer.value.phase {
            WriterPhase::Working => {}
            WriterPhase::SlowFsync => found.add(
                Level::Attention,
                "The disk is slow (slow_fsync)",
                format!("{words} What comes in meanwhile waits in memory."),
                "Wait. If this comes back often, the storage is worn: replace it.",
            ),
            WriterPhase::Stuck => found.add(
                Level::Broken,
                "The disk hangs",
                format!("{words} What was accepted is safe; nothing new is."),
                "The daemon is restarted by itself. If this comes back, the storage is damaged: replace it.",
            ),
        }
    }
    let told = snapshot.writers.values().any(|writer| writer.value.phase != WriterPhase::Working);
    if let Some(took) = snapshot.queue.slow_fsync.filter(|_| !told) {
        let took = if took.as_secs() < 60 { millis(took) } else { in_words(took) };
        found.add(
            Level::Attention,
            "The disk is slow (slow_fsync)",
            format!("The last commit took {took}. Readings are accepted all the same."),
            "Wait. If this comes back often, the storage is worn: replace it.",
        );
    }
}
