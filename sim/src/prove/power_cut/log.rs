//! The log of a recording block device, and what a disk holds when the power goes at some point of it. Pure, but
//! for [`Told`], which looks at a log that grows, and [`read`].
//!
//! The format is that of dm-log-writes, as QEMU's `blklogwrites` writes it: a first sector with the count of entries, then for
//! each a sector of head (where, how many sectors, flags) and the sectors written. What was written before a flush is on the disk. Of
//! what came after the last flush a disk keeps what it likes: nothing, all, any part, and of a write any of its sectors.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::gateway::Trouble;
use crate::random::Dice;

/// Bytes a sector, of the log and of the disk.
const SECTOR: usize = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// A log that is being written.
#[derive(Debug)]
pub(super) struct Told(File);

impl Told {
    pub(super) fn open(log: &Path) -> Result<Self, Trouble> {
        File::open(log).map(Self).map_err(Trouble::system("open the device's log"))
    }

    /// How many entries it has now; all, where that cannot be read: then whatever is asked of later ones fails.
    pub(super) fn entries(&self) -> usize {
        let mut count = [0; 8];
        // After the magic number and the version.
        self.0
            .read_exact_at(&mut count, 16)
            .map_or(usize::MAX, |()| usize::try_from(u64::from_le_bytes(count)).unwrap_or(usize::MAX))
    }
}

/// Reads a log as far as it was written: the rest of the file is a hole, and a large one.
pub(super) fn read(log: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(log)?;
    let field = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).map(|()| u64::from_le_bytes(bytes))
    };
    let sector = SECTOR as u64;
    let mut end = sector;
    for _ in 0..field(16)? {
        let sectors = if field(end + 16)? & DISCARD == 0 { field(end + 8)? } else { 0 };
        end = end.saturating_add(sector).saturating_add(sectors.saturating_mul(sector));
    }
    let mut bytes = Vec::new();
    file.take(end).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// One thing the disk was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where on the disk, in bytes.
    at: usize,
    /// Where its bytes stand in the log.
    bytes: std::ops::Range<usize>,
    /// Everything before it is on the disk for good.
    flush: bool,
    /// It is on the disk for good itself.
    durable: bool,
}

/// The log is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLog {
    #[error("the log does not begin as one")]
    Head,
    #[error("the log ends within entry {0}")]
    Short(u64),
}

/// Reads the first `count` entries, or all.
pub(super) fn entries(log: &[u8]) -> Result<Vec<Entry>, BadLog> {
    if number(log, 0) != Some(MAGIC) {
        return Err(BadLog::Head);
    }
    let count = number(log, 16).ok_or(BadLog::Head)?;
    let mut entries = Vec::new();
    let mut place = SECTOR;
    for n in 0..count {
        let field = |at| number(log, place + at).ok_or(BadLog::Short(n));
        let (sector, sectors, flags) = (field(0)?, field(8)?, field(16)?);
        let length = if flags & DISCARD == 0 { usize::try_from(sectors).unwrap_or(usize::MAX) } else { 0 };
        let length = length.checked_mul(SECTOR).ok_or(BadLog::Short(n))?;
        let bytes = place + SECTOR..(place + SECTOR).checked_add(length).ok_or(BadLog::Short(n))?;
        if bytes.end > log.len() {
            return Err(BadLog::Short(n));
        }
        place = bytes.end;
        let at = usize::try_from(sector).unwrap_or(usize::MAX).saturating_mul(SECTOR);
        entries.push(Entry { at, bytes, flush: flags & FLUSH != 0, durable: flags & FUA != 0 });
    }
    Ok(entries)
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A disk that is brought forward from cut to cut.
#[derive(Debug)]
pub(super) struct Disk<'a> {
    log: &'a [u8],
    entries: &'a [Entry],
    /// What is on it for good after the first `flushed` entries.
    flushed_image: Vec<u8>,
    flushed: usize,
}

impl<'a> Disk<'a> {
    /// A disk that held `image` before the first entry.
    pub(super) fn new(image: Vec<u8>, log: &'a [u8], entries: &'a [Entry]) -> Self {
        Self { log, entries, flushed_image: image, flushed: 0 }
    }

    /// What it holds when the power goes after `cut` entries. Cuts must not go back. Also how many writes were in doubt.
    pub(super) fn cut(&mut self, cut: usize, dice: &mut Dice) -> (Vec<u8>, usize) {
        let told = self.entries.get(..cut).unwrap_or(self.entries);
        // An entry that flushes counts as done: whoever was told so was told after it.
        let last_flush = told.iter().rposition(|entry| entry.flush).map_or(0, |at| at + 1);
        for entry in self.entries.get(self.flushed..last_flush).unwrap_or_default() {
            apply(&mut self.flushed_image, entry, self.log, |_| true);
        }
        self.flushed = self.flushed.max(last_flush);
        let mut image = self.flushed_image.clone();
        let in_doubt = self.entries.get(last_flush..cut).unwrap_or_default();
        // One cut in four loses everything that was in doubt; the others keep and tear as they like.
        let nothing = dice.between(0, 3) == 0;
        for entry in in_doubt {
            match dice.between(0, 2) {
                _ if entry.durable => apply(&mut image, entry, self.log, |_| true),
                0 if !nothing => apply(&mut image, entry, self.log, |_| true),
                1 if !nothing => {
                    let sectors = dice.number();
                    apply(&mut image, entry, self.log, |n| sectors >> (n % 64) & 1 == 1);
                }
                _ => {}
            }
        }
        (image, in_doubt.iter().filter(|entry| !entry.bytes.is_empty()).count())
    }
}

/// Writes the sectors of `entry` that `keep` names.
fn apply(image: &mut [u8], entry: &Entry, log: &[u8], keep: impl Fn(usize) -> bool) {
    let bytes = log.get(entry.bytes.clone()).unwrap_or_default();
    for (n, sector) in bytes.chunks(SECTOR).enumerate().filter(|(n, _)| keep(*n)) {
        let at = entry.at.saturating_add(n * SECTOR);
        if let Some(place) = image.get_mut(at..at.saturating_add(sector.len())) {
            place.copy_from_slice(sector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of writes (sector, byte, sectors) and flushes (`None`).
    fn log(of: &[Option<(u64, u8, u64)>]) -> Vec<u8> {
        let mut log = vec![0; SECTOR];
        log[..8].copy_from_slice(&MAGIC.to_le_bytes());
        log[16..24].copy_from_slice(&(of.len() as u64).to_le_bytes());
        for entry in of {
            let (sector, byte, sectors) = entry.unwrap_or((0, 0, 0));
            let mut head = vec![0; SECTOR];
            head[..8].copy_from_slice(&sector.to_le_bytes());
            head[8..16].copy_from_slice(&sectors.to_le_bytes());
            head[16] = u8::from(entry.is_none());
            log.extend(head);
            log.extend(vec![byte; SECTOR * sectors as usize]);
        }
        log
    }

    fn sectors(image: &[u8]) -> Vec<u8> {
        image.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_what_was_not_may_be() {
        let log = log(&[Some((0, 1, 2)), None, Some((1, 2, 1)), Some((2, 3, 2))]);
        let entries = entries(&log).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = Disk::new(vec![9; 4 * SECTOR], &log, &entries);
            let (image, in_doubt) = disk.cut(4, &mut Dice::new(seed));
            assert_eq!((sectors(&image)[0], in_doubt), (1, 2));
            seen.insert(sectors(&image)[1..].to_vec());
        }
        // Each of the two writes there or not, and of the longer one either sector alone.
        assert_eq!(seen.len(), 8, "{seen:?}");
        assert!(seen.contains(&vec![1, 9, 9]) && seen.contains(&vec![2, 3, 3]));
    }

    #[test]
    fn a_cut_at_a_flush_comes_after_it_and_one_before_it_does_not() {
        let log = log(&[Some((0, 1, 1)), None]);
        let entries = entries(&log).unwrap();
        let images = |cut| {
            let image = |seed| {
                let mut disk = Disk::new(vec![9; SECTOR], &log, &entries);
                sectors(&disk.cut(cut, &mut Dice::new(seed)).0)[0]
            };
            (0..50).map(image).collect::<std::collections::BTreeSet<u8>>()
        };
        assert_eq!(images(2), [1].into());
        assert_eq!(images(1), [1, 9].into());
        assert_eq!(images(0), [9].into());
    }

    #[test]
    fn a_log_is_read_to_its_end_and_not_what_lies_behind() {
        let log = log(&[Some((0, 1, 2)), None, Some((1, 2, 1))]);
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&log, 0).unwrap();
        file.as_file().set_len(1 << 30).unwrap();
        assert_eq!(read(file.path()).unwrap(), log);
    }

    #[test]
    fn anything_else_is_no_log() {
        assert_eq!(entries(b"something"), Err(BadLog::Head));
        let mut cut_off = log(&[Some((0, 1, 4))]);
        cut_off.truncate(3 * SECTOR);
        assert_eq!(entries(&cut_off), Err(BadLog::Short(0)));
    }
}
