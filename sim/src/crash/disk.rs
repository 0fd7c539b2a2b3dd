//! What a disk holds, and what it was told: the pure model that crash images are made from.
//!
//! A [`Log`] is everything that was done to the files of one folder, in order. [`Playback`] walks along it and knows at each
//! point what is durable, and which changes are not yet: those a power cut may keep or drop, one by one and in any choice.
//!
//! What makes a change durable, strictly:
//! - A write or a truncation: a sync of that file, after it.
//! - A name that came or went: a sync of the folder. SQLite makes one with the first sync of each log or journal it has
//!   made, and with a deletion where it asks for it. That a file system may make a new name durable with the file's own sync
//!   is not relied on.
//! - A sync that failed covers nothing, and no later one makes up for it: the system reports a failed write once and then
//!   counts the pages as written (fsync(2); "fsyncgate", PostgreSQL, 2018). So a change that was waiting for it is either on the
//!   disk or lost for good, although whoever reads the file on the running machine still sees it, after a restart of the daemon
//!   too. The same bytes written once more are a new change.
//! - What the store does to whole files beside SQLite (a rename with a sync of file and folder) is durable at once.
//!
//! Sectors of 512 bytes are written whole or not at all, and a torn write leaves the bytes around it as they were.

use std::collections::BTreeMap;

use super::Dice;

/// A file, whatever name it has.
pub type Ino = u32;

/// What is written whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// Something done to the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new, empty file came under a name; whatever had the name lost it.
    Create {
        /// The name in its folder.
        name: String,
        /// The file.
        ino: Ino,
    },
    /// A name went.
    Delete {
        /// The name.
        name: String,
    },
    /// Bytes were written; a hole before them reads as zeros.
    Write {
        /// The file.
        ino: Ino,
        /// Offset in bytes.
        at: usize,
        /// What.
        bytes: Box<[u8]>,
    },
    /// The file got another length.
    Truncate {
        /// The file.
        ino: Ino,
        /// Its length in bytes.
        len: usize,
    },
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A change that waits for a sync.
    Changed(Change),
    /// A change that was made durable with it.
    Placed(Change),
    /// A file was synced, and with it the folder or not.
    Synced {
        /// The file.
        ino: Ino,
        /// The folder too.
        folder: bool,
    },
    /// The folder was synced.
    FolderSynced,
    /// A sync failed.
    SyncFailed {
        /// The file.
        ino: Ino,
        /// What became of the changes it was to cover.
        fate: Fate,
    },
}

/// What becomes of changes whose sync failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// None of them ever reaches the disk.
    Lost,
    /// Of each, chance decides with this seed.
    Divided(u64),
    /// They wait on, and the next sync covers them: the system wrote them after all.
    Waiting,
}

/// The files of a folder at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    names: BTreeMap<String, Ino>,
    files: BTreeMap<Ino, Vec<u8>>,
}

/// How much of a change a crash lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// All of it.
    Whole,
    /// Of a write, the bytes before this one.
    Head(usize),
    /// Of a write, this byte and those after it.
    Tail(usize),
}

impl Disk {
    /// The files with names, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.names
            .iter()
            .map(|(name, ino)| (name.as_str(), self.files.get(ino).map_or(&[][..], Vec::as_slice)))
    }

    /// The file that has a name now.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Ino> {
        self.names.get(name).copied()
    }

    /// Puts a whole file there.
    pub fn put(&mut self, name: &str, ino: Ino, bytes: Vec<u8>) {
        self.names.insert(name.to_owned(), ino);
        self.files.insert(ino, bytes);
    }

    /// The highest number a file has.
    #[must_use]
    pub fn last_ino(&self) -> Ino {
        self.names.values().chain(self.files.keys()).copied().max().unwrap_or(0)
    }

    fn apply(&mut self, change: &Change, cut: Cut) {
        match change {
            Change::Create { name, ino } => {
                self.names.insert(name.clone(), *ino);
            }
            Change::Delete { name } => {
                self.names.remove(name);
            }
            Change::Write { ino, at, bytes } => {
                let (from, to) = match cut {
                    Cut::Whole => (0, bytes.len()),
                    Cut::Head(end) => (0, end.min(bytes.len())),
                    Cut::Tail(start) => (start.min(bytes.len()), bytes.len()),
                };
                let file = self.files.entry(*ino).or_default();
                if file.len() < at + to && from < to {
                    file.resize(at + to, 0);
                }
                if let (Some(target), Some(source)) = (file.get_mut(at + from..at + to), bytes.get(from..to))
                {
                    target.copy_from_slice(source);
                }
            }
            Change::Truncate { ino, len } => self.files.entry(*ino).or_default().resize(*len, 0),
        }
    }

    /// Forgets the bytes of files that no name leads to and nothing will give one.
    fn forget_nameless(&mut self, still_to_be_named: impl Fn(Ino) -> bool) {
        let named: Vec<Ino> = self.names.values().copied().collect();
        self.files.retain(|ino, _| named.contains(ino) || still_to_be_named(*ino));
    }
}

/// Everything that was done to the files of one folder, in order, and what stood there before.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Before the first event; durable.
    pub base: Disk,
    /// What was done.
    pub events: Vec<Event>,
}

impl Log {
    /// How often the file that has this name at the end was synced: for a database with a log, how often the log was brought home.
    #[must_use]
    pub fn syncs_of(&self, name: &str) -> usize {
        let named = |event: &Event| match event {
            Event::Changed(Change::Create { name: n, ino })
            | Event::Placed(Change::Create { name: n, ino })
                if n == name =>
            {
                Some(*ino)
            }
            _ => None,
        };
        let ino = self.events.iter().rev().find_map(named).or_else(|| self.base.named(name));
        self.events
            .iter()
            .filter(|event| matches!(event, Event::Synced { ino: of, .. } if Some(*of) == ino))
            .count()
    }
}

/// One change as a crash lets it through: the place of its event in the log, and how much of it.
pub type Piece = (usize, Cut);

/// Walks along a log.
#[derive(Debug, Clone)]
pub struct Playback<'a> {
    events: &'a [Event],
    at: usize,
    durable: Disk,
    /// Places in `events`.
    pending: Vec<usize>,
    /// The point at which `durable` changed last.
    since: usize,
    /// What only reads as if it were there: the file, and from where to where. Its sync failed, and nobody wrote it again.
    only_read: Vec<(Ino, std::ops::Range<usize>)>,
}

impl<'a> Playback<'a> {
    /// At the beginning, before the first event.
    #[must_use]
    pub fn of(log: &'a Log) -> Self {
        Self {
            events: &log.events,
            at: 0,
            durable: log.base.clone(),
            pending: Vec::new(),
            since: 0,
            only_read: Vec::new(),
        }
    }

    /// Goes on until `point` events have happened; never back.
    pub fn advance_to(&mut self, point: usize) {
        while self.at < point.min(self.events.len()) {
            self.step();
        }
    }

    /// The changes that a crash here may keep or drop, in order.
    #[must_use]
    pub fn pending(&self) -> &[usize] {
        &self.pending
    }

    /// Of a pending write: its offset and length in bytes.
    #[must_use]
    pub fn written(&self, event: usize) -> Option<(usize, usize)> {
        match self.events.get(event) {
            Some(Event::Changed(Change::Write { at, bytes, .. })) => Some((*at, bytes.len())),
            _ => None,
        }
    }

    /// Whether changes of more than one file wait, or of a name or a length, or something only reads as if it were there.
    #[must_use]
    pub fn is_unusual(&self) -> bool {
        let mut written = None;
        !self.only_read.is_empty()
            || self.pending.iter().any(|event| match self.events.get(*event) {
                Some(Event::Changed(Change::Write { ino, .. })) => *written.get_or_insert(*ino) != *ino,
                _ => true,
            })
    }

    /// Since which point nothing more became durable.
    #[must_use]
    pub fn durable_since(&self) -> usize {
        self.since
    }

    /// What the disk holds after a crash here that kept these changes, in order.
    #[must_use]
    pub fn image(&self, kept: &[Piece]) -> Disk {
        let mut disk = self.durable.clone();
        for (event, cut) in kept {
            if let Some(Event::Changed(change)) = self.events.get(*event) {
                disk.apply(change, *cut);
            }
        }
        disk
    }

    fn step(&mut self) {
        let Some(event) = self.events.get(self.at) else { return };
        match event {
            Event::Changed(change) => {
                self.pending.push(self.at);
                self.only_read.retain(|(of, range)| match change {
                    Change::Write { ino, at, bytes } => {
                        ino != of || *at > range.start || at + bytes.len() < range.end
                    }
                    Change::Truncate { ino, len } => ino != of || *len >= range.end,
                    Change::Create { .. } | Change::Delete { .. } => true,
                });
            }
            Event::Placed(change) => {
                self.durable.apply(change, Cut::Whole);
                self.since = self.at + 1;
            }
            Event::Synced { ino, folder } => {
                self.make_durable(|change| match change {
                    Change::Write { ino: of, .. } | Change::Truncate { ino: of, .. } => of == ino,
                    Change::Create { .. } | Change::Delete { .. } => *folder,
                });
            }
            Event::FolderSynced => {
                self.make_durable(|change| matches!(change, Change::Create { .. } | Change::Delete { .. }));
            }
            Event::SyncFailed { ino, fate } => self.lose(*ino, *fate),
        }
        self.at += 1;
    }

    fn make_durable(&mut self, covers: impl Fn(&Change) -> bool) {
        let mut deleted = false;
        let (events, durable) = (self.events, &mut self.durable);
        let before = self.pending.len();
        self.pending.retain(|place| match events.get(*place) {
            Some(Event::Changed(change)) if covers(change) => {
                deleted |= matches!(change, Change::Delete { .. });
                durable.apply(change, Cut::Whole);
                false
            }
            _ => true,
        });
        if self.pending.len() != before {
            self.since = self.at + 1;
        }
        if deleted {
            let pending = &self.pending;
            self.durable.forget_nameless(|ino| {
                pending.iter().any(|place| {
                    matches!(events.get(*place), Some(Event::Changed(Change::Create { ino: new, .. })) if *new == ino)
                })
            });
        }
    }

    fn lose(&mut self, ino: Ino, fate: Fate) {
        let mut dice = match fate {
            Fate::Waiting => return,
            Fate::Lost => None,
            Fate::Divided(seed) => Some(Dice::new(seed)),
        };
        let events = self.events;
        let only_read = &mut self.only_read;
        self.pending.retain(|place| {
            let lost = match events.get(*place) {
                Some(Event::Changed(Change::Write { ino: of, at, bytes })) if *of == ino => {
                    Some(*at..at + bytes.len())
                }
                Some(Event::Changed(Change::Truncate { ino: of, .. })) if *of == ino => None,
                _ => return true,
            };
            let stays = dice.as_mut().is_some_and(|dice| dice.one_in(2));
            if !stays {
                only_read.extend(lost.map(|range| (ino, range)));
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(ino: Ino, at: usize, bytes: &[u8]) -> Event {
        Event::Changed(Change::Write { ino, at, bytes: bytes.into() })
    }

    fn create(name: &str, ino: Ino) -> Event {
        Event::Changed(Change::Create { name: name.into(), ino })
    }

    fn held(disk: &Disk, name: &str) -> Option<Vec<u8>> {
        disk.files().find(|(n, _)| *n == name).map(|(_, bytes)| bytes.to_vec())
    }

    fn at<'a>(log: &'a Log, point: usize) -> Playback<'a> {
        let mut playback = Playback::of(log);
        playback.advance_to(point);
        playback
    }

    fn log(events: Vec<Event>) -> Log {
        Log { base: Disk::default(), events }
    }

    #[test]
    fn what_was_not_synced_may_be_lost_or_kept_and_what_was_is_there() {
        let log = log(vec![
            create("a", 1),
            write(1, 0, b"one"),
            Event::Synced { ino: 1, folder: true },
            write(1, 3, b"two"),
        ]);
        let playback = at(&log, 4);
        assert_eq!(playback.pending(), [3]);
        assert_eq!(held(&playback.image(&[]), "a").unwrap(), b"one");
        assert_eq!(held(&playback.image(&[(3, Cut::Whole)]), "a").unwrap(), b"onetwo");
        assert_eq!(held(&playback.image(&[(3, Cut::Head(1))]), "a").unwrap(), b"onet");
        assert_eq!(held(&playback.image(&[(3, Cut::Tail(2))]), "a").unwrap(), b"one\0\0o");
    }

    #[test]
    fn a_sync_of_the_file_alone_does_not_make_its_name_durable() {
        let log = log(vec![create("a", 1), write(1, 0, b"x"), Event::Synced { ino: 1, folder: false }]);
        let playback = at(&log, 3);
        assert_eq!(held(&playback.image(&[]), "a"), None);
        assert_eq!(held(&playback.image(&[(0, Cut::Whole)]), "a").unwrap(), b"x");
    }

    #[test]
    fn a_sync_that_failed_is_not_made_up_for_by_the_next() {
        let log = log(vec![
            create("a", 1),
            Event::FolderSynced,
            write(1, 0, b"lost"),
            Event::SyncFailed { ino: 1, fate: Fate::Lost },
            write(1, 4, b"kept"),
            Event::Synced { ino: 1, folder: false },
        ]);
        let playback = at(&log, 6);
        assert!(playback.pending().is_empty());
        assert_eq!(held(&playback.image(&[]), "a").unwrap(), b"\0\0\0\0kept");
    }

    #[test]
    fn what_a_failed_sync_lost_is_there_once_it_was_written_again_and_synced() {
        let log = log(vec![
            create("a", 1),
            Event::FolderSynced,
            write(1, 0, b"lost"),
            Event::SyncFailed { ino: 1, fate: Fate::Lost },
            write(1, 4, b"kept"),
            Event::Synced { ino: 1, folder: false },
            write(1, 0, b"lostkept"),
            Event::Synced { ino: 1, folder: false },
        ]);
        assert!(at(&log, 6).is_unusual() && !at(&log, 8).is_unusual());
        assert_eq!(held(&at(&log, 7).image(&[]), "a").unwrap(), b"\0\0\0\0kept");
        assert_eq!(held(&at(&log, 8).image(&[]), "a").unwrap(), b"lostkept");
    }

    #[test]
    fn a_file_made_anew_under_an_old_name_is_another_file() {
        let mut log = log(vec![
            Event::Changed(Change::Delete { name: "a".into() }),
            create("a", 2),
            write(2, 0, b"new"),
            Event::Synced { ino: 2, folder: true },
        ]);
        log.base.put("a", 1, b"old".to_vec());
        let playback = at(&log, 3);
        assert_eq!(held(&playback.image(&[]), "a").unwrap(), b"old");
        assert_eq!(held(&playback.image(&[(0, Cut::Whole)]), "a"), None);
        assert_eq!(held(&playback.image(&[(0, Cut::Whole), (1, Cut::Whole)]), "a").unwrap(), b"");
        assert_eq!(held(&at(&log, 4).image(&[]), "a").unwrap(), b"new");
    }
}
