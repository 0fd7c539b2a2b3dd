//! The daemon's books as `fieldgate queue verify --json` prints them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::Trouble;

/// One recount of `queue.db`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Books {
    /// Each stream's.
    pub streams: Vec<StreamBooks>,
    /// Every start on this file, oldest first.
    pub epochs: Vec<EpochRecord>,
    /// What was due and is not there.
    pub gap_records: Vec<GapRecord>,
    /// What waits, or was set aside.
    pub held: Vec<HeldRun>,
    /// Disagreements between the books and what is there.
    pub problems: Vec<String>,
}

/// One stream's books.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct StreamBooks {
    /// `slave.point`.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its name on the wire.
    pub alias: String,
    /// The producing side.
    #[serde(flatten)]
    pub intake: Intake,
    /// By destination.
    pub accounts: BTreeMap<String, Account>,
}

/// The producing side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Intake {
    /// On disk at some time.
    pub accepted: u64,
    /// Turned away.
    pub refused: u64,
    /// Replaced by a newer one.
    pub coalesced: u64,
    /// Due, and never came.
    pub missed: u64,
}

/// The consuming side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// For this destination.
    pub accepted: u64,
    /// It has them.
    pub acknowledged: u64,
    /// Given up.
    pub dropped: u64,
    /// Kept for people.
    pub set_aside: u64,
    /// Waiting, as recounted.
    pub queued: u64,
}

/// One start of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct EpochRecord {
    /// 16 hexadecimal digits.
    pub epoch: String,
    /// Whether it ended cleanly.
    pub clean_stop: bool,
    /// The newest accepted sequence of each group.
    pub last_sequences: BTreeMap<String, u64>,
}

/// A gap record.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct GapRecord {
    /// Whose; all streams' if absent.
    pub stream: Option<String>,
    /// `missed`, `refused`, `coalesced`.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// Under which epoch.
    pub epoch: Option<String>,
    /// First and last.
    pub sequences: Option<(u64, u64)>,
    /// How many; absent when nobody knows.
    pub count: Option<u64>,
}

/// A run of sequences not acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct HeldRun {
    /// Which destination has not.
    pub destination: String,
    /// Whose.
    pub stream: String,
    /// Under which epoch.
    pub epoch: Option<String>,
    /// First and last.
    pub sequences: (u64, u64),
    /// Kept for people; otherwise it waits.
    pub set_aside: bool,
}

/// The four bytes an epoch is on the wire.
#[must_use]
pub fn prefix(epoch: &str) -> Option<[u8; 4]> {
    u32::from_str_radix(epoch.get(..8)?, 16).ok().map(u32::to_be_bytes)
}

/// Lets the program recount the queue that `config` names. Disagreements are in the answer, not an error.
///
/// # Errors
/// When it cannot be run or says nothing readable.
pub async fn read(program: &Path, config: &Path) -> Result<Books, Trouble> {
    let output = tokio::process::Command::new(program)
        .args(["queue", "verify", "--json", "--config"])
        .arg(config)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Trouble::system("run fieldgate queue verify"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| Trouble::Unreadable {
        what: "queue verify --json".into(),
        detail: format!("{error}; it said {:?}", String::from_utf8_lossy(&output.stderr)),
    })
}

impl Books {
    /// How many readings each reason kept from being accepted; `None` where somewhere nobody knows.
    #[must_use]
    pub fn gaps(&self) -> BTreeMap<String, Option<u64>> {
        let mut gaps: BTreeMap<String, Option<u64>> = BTreeMap::new();
        for gap in &self.gap_records {
            let total = gaps.entry(gap.reason.clone()).or_insert(Some(0));
            *total = total.zip(gap.count).map(|(a, b)| a + b);
        }
        gaps
    }

    /// The epochs that ended without a clean stop, by the records of it.
    pub fn unclean_stops(&self) -> impl Iterator<Item = &str> {
        self.gap_records
            .iter()
            .filter(|gap| gap.reason == "unclean_stop")
            .filter_map(|gap| gap.epoch.as_deref())
    }
}
