//! The firmware log in pages of a bounded number of bytes: for a remote call's answer, and for a message to a cloud.
//!
//! A page is JSON, one of:
//!
//! ```text
//! {"rows":[ROW, …],"skipped":N,"next":CURSOR,"more":BOOL}
//! {"part":{"sequence":N,"at":OFFSET,"of":BYTES,"text":"…"},"next":CURSOR,"more":BOOL}
//! ```
//!
//! ROW is a [`LogEntry`] as everywhere else, hashes included, so that the chain is followed over pages of any kind.
//! `skipped`, left out when it is 0, counts rows that were freed before this puller came by. A row that is too long for a
//! page comes in parts: the `text`s in order are the row. A cursor within a row is the one before it, `+`, the row's
//! sequence, `.`, the offset; it is good for the next page and for nothing else: only whole rows are acknowledged.

use super::{CursorError, Head, LogEntry, LogPage, cursor};

/// No page is bounded to less than this: what surrounds a row, and a piece of one, must fit.
pub const MIN_BYTES: usize = 320;

/// See the module head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytePage {
    /// The page as it is sent: at most as many bytes as were asked for.
    pub body: Vec<u8>,
    /// Where the next page begins.
    pub next: String,
    /// What may be acknowledged once this page is safe; `None` where it ends within a row.
    pub whole: Option<String>,
    /// Whether anything is in it.
    pub is_empty: bool,
    /// Whether there is a next page already.
    pub more: bool,
}

/// Where within a row a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Within {
    sequence: u64,
    offset: usize,
}

/// The cursor before the row, and the place within it.
///
/// # Errors
/// [`CursorError::Malformed`].
pub(super) fn split(written: &str) -> Result<(&str, Option<Within>), CursorError> {
    let Some((cursor, within)) = written.split_once('+') else { return Ok((written, None)) };
    let place = within.split_once('.').and_then(|(sequence, offset)| {
        Some(Within { sequence: sequence.parse().ok()?, offset: offset.parse().ok()? })
    });
    place.map(|place| (cursor, Some(place))).ok_or(CursorError::Malformed)
}

/// As much of `page` as fits `limit` bytes ([`MIN_BYTES`] at least), from within its first row where that is asked for.
/// Where that row was freed meanwhile, the page begins with the next one.
///
/// # Errors
/// [`CursorError::Malformed`] for a place that is none in its row.
pub(super) fn fit(page: &LogPage, within: Option<Within>, limit: usize) -> Result<BytePage, CursorError> {
    let limit = limit.max(MIN_BYTES);
    let (Some(first), Some(last)) = (page.rows.first(), page.rows.last()) else {
        let body = rows_body(&[], page.skipped, &page.next, false);
        let (next, whole) = (page.next.clone(), None);
        return Ok(BytePage { body, next, whole, is_empty: true, more: false });
    };
    let begun_after = last.sequence.saturating_sub(page.rows.len() as u64 + page.skipped);
    let within = within.filter(|within| within.sequence == first.sequence);
    if within.is_none() {
        let mut texts = Vec::new();
        let mut fitting = None;
        for (n, row) in page.rows.iter().enumerate() {
            texts.push(text(row));
            let next = after(page, row);
            let skipped = row.sequence.saturating_sub(begun_after + texts.len() as u64);
            let more = page.more || n + 1 < page.rows.len();
            let body = rows_body(&texts, skipped, &next, more);
            if body.len() > limit {
                break;
            }
            fitting = Some(BytePage { body, whole: Some(next.clone()), next, is_empty: false, more });
        }
        if let Some(fitting) = fitting {
            return Ok(fitting);
        }
    }
    part(page, first, within.map_or(0, |within| within.offset), limit)
}

fn part(page: &LogPage, row: &LogEntry, offset: usize, limit: usize) -> Result<BytePage, CursorError> {
    let text = text(row);
    let rest = text.get(offset..).filter(|rest| !rest.is_empty()).ok_or(CursorError::Malformed)?;
    let before =
        cursor::text(page.file, Head { sequence: row.sequence.saturating_sub(1), hash: row.prev_hash });
    let body = |piece: &str, next: &str, more: bool| {
        serde_json::json!({
            "part": { "sequence": row.sequence, "at": offset, "of": text.len(), "text": piece },
            "next": next, "more": more,
        })
        .to_string()
        .into_bytes()
    };
    let rest_of_log = page.more || page.rows.len() > 1;
    let end = after(page, row);
    let whole = body(rest, &end, rest_of_log);
    if whole.len() <= limit {
        return Ok(BytePage {
            body: whole,
            whole: Some(end.clone()),
            next: end,
            is_empty: false,
            more: rest_of_log,
        });
    }
    let next_at = |at: usize| format!("{before}+{}.{at}", row.sequence);
    let mut room = limit.saturating_sub(body("", &next_at(text.len()), true).len());
    let piece: usize = rest
        .chars()
        .take_while(|c| {
            let fits = room >= escaped(*c);
            room = room.saturating_sub(escaped(*c));
            fits
        })
        .map(char::len_utf8)
        .sum();
    let next = next_at(offset + piece);
    let body = body(rest.get(..piece).unwrap_or_default(), &next, true);
    Ok(BytePage { body, next, whole: None, is_empty: false, more: true })
}

fn text(row: &LogEntry) -> String {
    serde_json::to_string(row).unwrap_or_default()
}

fn after(page: &LogPage, row: &LogEntry) -> String {
    cursor::text(page.file, Head { sequence: row.sequence, hash: row.hash })
}

fn rows_body(texts: &[String], skipped: u64, next: &str, more: bool) -> Vec<u8> {
    let skipped = if skipped > 0 { format!("\"skipped\":{skipped},") } else { String::new() };
    format!("{{\"rows\":[{}],{skipped}\"next\":\"{next}\",\"more\":{more}}}", texts.join(",")).into_bytes()
}

/// Bytes a character takes in a JSON text (RFC 8259, section 7), as serde writes it.
fn escaped(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}
