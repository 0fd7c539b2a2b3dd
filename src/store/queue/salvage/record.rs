//! The rows on one page, read without SQLite (its file format, sections 1.6 and 2.1).
//!
//! Any bytes may be given: whatever does not read is not there. Nothing here proves that what reads is true.

use super::pages::PAGE;

/// A row as it stands on its page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'a> {
    /// `None` in tables without row ids.
    pub(super) rowid: Option<i64>,
    /// Bytes of the whole row.
    pub(super) length: usize,
    /// The part of it on this page.
    pub(super) local: &'a [u8],
    /// The page where it goes on, if it does.
    pub(super) overflow: Option<u32>,
}

/// One column of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
    /// None of our tables has any.
    Real,
}

/// No row of ours is longer: a full segment of the longest texts.
const LONGEST: u64 = 2 << 20;
/// No table of ours, nor of the next releases, is wider.
const WIDEST: usize = 32;

/// The rows of a page, as far as they read.
pub(super) fn cells(page: &[u8; PAGE], is_first: bool) -> impl Iterator<Item = Cell<'_>> {
    let at = if is_first { 100 } else { 0 };
    let kind = page.get(at).copied().unwrap_or(0);
    // A leaf of a table, a leaf of an index, an inner page of an index; a table without row ids is an index.
    let (pointers, child) = match kind {
        0x0d | 0x0a => (at + 8, 0),
        0x02 => (at + 12, 4),
        _ => (PAGE, 0),
    };
    let count = short(page, at + 3).filter(|_| pointers < PAGE).unwrap_or(0);
    (0..count).filter_map(move |n| {
        let cell = short(page, pointers + 2 * n)? + child;
        read_cell(page, cell, kind == 0x0d)
    })
}

fn read_cell(page: &[u8; PAGE], mut at: usize, has_rowid: bool) -> Option<Cell<'_>> {
    let length = varint(page, &mut at)?;
    let rowid = if has_rowid { Some(varint(page, &mut at)?.cast_signed()) } else { None };
    if length == 0 || length > LONGEST {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let most = if has_rowid { PAGE - 35 } else { (PAGE - 12) * 64 / 255 - 23 };
    if length <= most {
        return Some(Cell { rowid, length, local: page.get(at..at + length)?, overflow: None });
    }
    let least = (PAGE - 12) * 32 / 255 - 23;
    let wanted = least + (length - least) % (PAGE - 4);
    let local = if wanted <= most { wanted } else { least };
    let next: [u8; 4] = page.get(at + local..at + local + 4)?.try_into().ok()?;
    Some(Cell {
        rowid,
        length,
        local: page.get(at..at + local)?,
        overflow: Some(u32::from_be_bytes(next)).filter(|n| *n > 0),
    })
}

/// The columns of a row; `None` when it does not read to its end.
pub(super) fn fields(row: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut at = 0;
    let header = usize::try_from(varint(row, &mut at)?).ok()?;
    let mut body = header;
    let mut fields = Vec::with_capacity(10);
    while at < header {
        let kind = varint(row, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = row.get(body..body.checked_add(length)?)?;
        body += length;
        if fields.len() >= WIDEST {
            return None;
        }
        fields.push(match kind {
            0 => Field::Null,
            8 => Field::Int(0),
            9 => Field::Int(1),
            7 => Field::Real,
            1..=6 => Field::Int(integer(bytes)),
            even if even % 2 == 0 => Field::Blob(bytes),
            _ => Field::Text(std::str::from_utf8(bytes).ok()?),
        });
    }
    (at == header && body == row.len()).then_some(fields)
}

fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|b| b & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |n, b| n << 8 | i64::from(*b))
}

fn short(page: &[u8; PAGE], at: usize) -> Option<usize> {
    let bytes: [u8; 2] = page.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes).into())
}

/// Section 1.6: big-endian groups of seven bits, the ninth byte whole.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for n in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if n == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_nothing(bytes in prop::collection::vec(any::<u8>(), PAGE), kind in 0usize..4) {
            let mut page: [u8; PAGE] = bytes.try_into().unwrap();
            page[0] = [0x0d, 0x0a, 0x02, page[0]][kind];
            for first in [false, true] {
                for cell in cells(&page, first) {
                    prop_assert!(cell.local.len() <= PAGE && cell.local.len() <= cell.length);
                    let _ = fields(cell.local);
                }
            }
        }
    }

    #[test]
    fn what_sqlite_wrote_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size = 1024;
                 CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c);
                 CREATE TABLE w (k, v, PRIMARY KEY (k)) WITHOUT ROWID;
                 INSERT INTO t VALUES (281474976710657, -1, 'text', x'0102'), (7, 9223372036854775807, NULL, 1);
                 INSERT INTO w VALUES (70000, 0), (-128, -9223372036854775808);",
            )
            .unwrap();
        drop(connection);
        let bytes = std::fs::read(&path).unwrap();
        let page = |n: usize| -> &[u8; PAGE] { bytes[n * PAGE..(n + 1) * PAGE].try_into().unwrap() };
        let rows: Vec<_> = cells(page(1), false).map(|c| (c.rowid, fields(c.local).unwrap())).collect();
        assert_eq!(
            rows,
            [
                (Some(7), vec![Field::Null, Field::Int(i64::MAX), Field::Null, Field::Int(1)]),
                (
                    Some(281_474_976_710_657),
                    vec![Field::Null, Field::Int(-1), Field::Text("text"), Field::Blob(&[1, 2])]
                ),
            ]
        );
        let rows: Vec<_> = cells(page(2), false).map(|c| (c.rowid, fields(c.local).unwrap())).collect();
        assert_eq!(
            rows,
            [
                (None, vec![Field::Int(-128), Field::Int(i64::MIN)]),
                (None, vec![Field::Int(70_000), Field::Int(0)]),
            ]
        );
        assert_eq!(cells(page(0), true).count(), 2, "the schema, behind the file's header");
    }
}
