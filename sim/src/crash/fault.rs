//! A disk that fails on command.

use super::disk::Fate;

/// What the disk does to what comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// So many syncs fail.
    pub failing_syncs: u32,
    /// What becomes of what they were to cover; nothing said means lost.
    pub fate: Option<Fate>,
    /// So many bytes fit before the disk is full.
    pub room_bytes: Option<usize>,
}

impl Faults {
    /// Whether the sync that is asked for now fails, and what becomes of the changes.
    pub(super) fn sync(&mut self) -> Option<Fate> {
        self.failing_syncs = self.failing_syncs.checked_sub(1)?;
        Some(self.fate.unwrap_or(Fate::Lost))
    }

    /// How many of `len` bytes are written: fewer than all when the disk is full.
    pub(super) fn write(&mut self, len: usize) -> usize {
        match &mut self.room_bytes {
            None => len,
            Some(room) => {
                let written = len.min(*room);
                *room -= written;
                written
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_room_for_a_part_takes_that_part() {
        let mut faults = Faults { room_bytes: Some(10), ..Faults::default() };
        assert_eq!([faults.write(8), faults.write(8), faults.write(8)], [8, 2, 0]);
    }

    #[test]
    fn as_many_syncs_fail_as_were_told_to() {
        let mut faults = Faults { failing_syncs: 1, ..Faults::default() };
        assert_eq!([faults.sync(), faults.sync()], [Some(Fate::Lost), None]);
    }
}
