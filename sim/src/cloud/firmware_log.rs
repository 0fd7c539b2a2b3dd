//! What arrived of each device's firmware log: its rows, in order, followed from hash to hash.
//!
//! A page is JSON: `rows`, or a `part` of a row that is too long for one. The ledger reads nothing of a row but its number,
//! its kind and its two hashes. Invariant: a row is counted new once, in the order of the numbers; what came before is a copy.

use serde_json::Value;
use std::collections::BTreeMap;

/// The longest row put together from parts.
const LONGEST_ROW: usize = 128 * 1024;

/// The log of one device, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirmwareLogSeen {
    /// Pages that a pipeline took.
    pub pages: u64,
    /// Rows, each once.
    pub rows: u64,
    /// Rows that tell of a version.
    pub versions: u64,
    /// Rows that came again.
    pub copies: u64,
    /// Rows that do not follow the row before by number and hash, and say no reason for it.
    pub breaks: u64,
    /// Pages that are none.
    pub broken: u64,
    /// The newest row: its number and its hash.
    pub newest: Option<(u64, String)>,
    /// A row that is still coming: its number and what is there.
    part: Option<(u64, String)>,
}

/// By device name.
#[derive(Debug, Default)]
pub(super) struct FirmwareLogs(BTreeMap<String, FirmwareLogSeen>);

impl FirmwareLogs {
    pub(super) fn of(&self, device: &str) -> FirmwareLogSeen {
        self.0.get(device).cloned().unwrap_or_default()
    }

    /// Enters a body that a pipeline took.
    pub(super) fn enter(&mut self, device: &str, body: &[u8]) {
        let log = self.0.entry(device.to_owned()).or_default();
        log.pages += 1;
        if log.page(body).is_none() {
            log.broken += 1;
        }
    }
}

impl FirmwareLogSeen {
    fn page(&mut self, body: &[u8]) -> Option<()> {
        let page: Value = serde_json::from_slice(body).ok()?;
        page.get("next")?.as_str()?;
        page.get("more")?.as_bool()?;
        if let Some(rows) = page.get("rows") {
            let skipped = page.get("skipped").and_then(Value::as_u64).unwrap_or(0) > 0;
            return rows.as_array()?.iter().try_for_each(|row| self.row(row, skipped));
        }
        let part = page.get("part")?;
        let (sequence, at) = (part.get("sequence")?.as_u64()?, part.get("at")?.as_u64()?);
        let whole = usize::try_from(part.get("of")?.as_u64()?).ok().filter(|bytes| *bytes <= LONGEST_ROW)?;
        let text = part.get("text")?.as_str()?;
        let mut row = match self.part.take() {
            Some((number, row)) if number == sequence && at > 0 => row,
            _ if at == 0 => String::new(),
            _ => return None,
        };
        // A page that came again: what it says is there already.
        row = row.get(..usize::try_from(at).ok()?)?.to_owned();
        row.push_str(text);
        if row.len() == whole {
            return self.row(&serde_json::from_str(&row).ok()?, true);
        }
        self.part = Some((sequence, row));
        Some(())
    }

    fn row(&mut self, row: &Value, may_skip: bool) -> Option<()> {
        let sequence = row.get("sequence")?.as_u64()?;
        let (before, hash) = (row.get("prev_hash")?.as_str()?, row.get("hash")?.as_str()?);
        let kind = row.get("kind")?.as_str()?;
        if self.newest.as_ref().is_some_and(|(newest, _)| sequence <= *newest) {
            self.copies += 1;
            return Some(());
        }
        let follows = match &self.newest {
            None => sequence == 1,
            Some((newest, newest_hash)) => sequence == newest + 1 && newest_hash == before,
        };
        let skips = may_skip && self.newest.as_ref().is_some_and(|(newest, _)| sequence > newest + 1);
        self.breaks += u64::from(!follows && !skips);
        self.rows += 1;
        self.versions += u64::from(kind == "version");
        self.newest = Some((sequence, hash.to_owned()));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sequence: u64, before: &str, hash: &str) -> String {
        format!(r#"{{"sequence":{sequence},"kind":"version","prev_hash":"{before}","hash":"{hash}"}}"#)
    }

    fn rows(rows: &[String]) -> Vec<u8> {
        format!(r#"{{"rows":[{}],"next":"x","more":false}}"#, rows.join(",")).into_bytes()
    }

    #[test]
    fn rows_are_followed_from_hash_to_hash_and_copies_are_counted_apart() {
        let mut logs = FirmwareLogs::default();
        let (one, two, forged) = (row(1, "g", "a"), row(2, "a", "b"), row(3, "x", "c"));
        logs.enter("gw", &rows(&[one.clone(), two]));
        logs.enter("gw", &rows(&[one]));
        logs.enter("gw", &rows(&[forged]));
        logs.enter("gw", b"{}");
        let seen = logs.of("gw");
        assert_eq!((seen.rows, seen.versions, seen.copies, seen.breaks, seen.broken), (3, 3, 1, 1, 1));
        assert_eq!(logs.of("other"), FirmwareLogSeen::default());
    }

    #[test]
    fn a_row_in_parts_is_put_together_also_when_a_part_comes_again() {
        let mut logs = FirmwareLogs::default();
        let text = row(1, "g", "a");
        let part = |from: usize, to: usize| {
            serde_json::json!({
                "part": { "sequence": 1, "at": from, "of": text.len(), "text": &text[from..to] },
                "next": "x", "more": to < text.len(),
            })
            .to_string()
            .into_bytes()
        };
        for (from, to) in [(0, 20), (20, 40), (20, 40), (40, text.len())] {
            logs.enter("gw", &part(from, to));
        }
        let seen = logs.of("gw");
        assert_eq!((seen.pages, seen.rows, seen.breaks, seen.broken), (4, 1, 0, 0));
    }
}
