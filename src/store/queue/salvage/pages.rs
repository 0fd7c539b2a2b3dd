//! A damaged file and its log as pages, without SQLite: every version of every page that can still be read.
//!
//! A candidate is a page of the file or a frame of the log. It is *sound* when it is what SQLite would have shown: a page
//! of the file, or a frame up to the last commit of an unbroken chain of checksums. The others (frames behind a break, of
//! an earlier round of the log, or of a log whose header is gone) are looked at too: whatever is taken from any page must
//! prove itself by a checksum of its own.
//!
//! Formats: SQLite file format, sections 1.6 (pages) and 4 (the log).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::schema;
use crate::store::sqlite::suffixed;

/// Bytes of a page; the same for every file this project ever made.
pub(super) const PAGE: usize = schema::KIND.page_size as usize;
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;
const FRAME: usize = FRAME_HEADER + PAGE;
/// So many frames of a log are looked at: sixteen times what its ceiling allows.
const MOST_FRAMES: u64 = 1 << 16;

/// See the module head.
#[derive(Debug)]
pub(super) struct Image {
    file: Option<File>,
    pages: u32,
    log: Option<File>,
    frames: Vec<Frame>,
    /// The newest sound frame of each page, and the newest of any kind.
    newest_sound: BTreeMap<u32, u32>,
    newest: BTreeMap<u32, u32>,
    buffer: Box<[u8; PAGE]>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    page: u32,
    sound: bool,
}

/// One version of one page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Its number, from 1.
    pub(super) number: u32,
    /// See the module head.
    pub(super) sound: bool,
    /// What SQLite would have shown last: no later sound version of the page is there.
    pub(super) current: bool,
    pub(super) bytes: &'a [u8; PAGE],
}

/// Which version of a page another page refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The newest sound frame, or else the file.
    Sound,
    /// The newest frame whatever it is, or else the file.
    Newest,
}

impl Image {
    /// Opens what is there of the file at `path` and its log; what is missing has no pages. Reads the log once.
    ///
    /// # Errors
    /// When something is there and cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, length) = open(path)?;
        let pages = u32::try_from(length.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
        let (log, length) = open(&suffixed(path, "-wal"))?;
        let mut image = Self {
            file,
            pages,
            frames: Vec::new(),
            newest_sound: BTreeMap::new(),
            newest: BTreeMap::new(),
            buffer: Box::new([0; PAGE]),
            log: None,
        };
        if let Some(log) = log {
            image.frames = read_log(&log, length)?.frames;
            for (n, frame) in (0u32..).zip(&image.frames) {
                image.newest.insert(frame.page, n);
                if frame.sound {
                    image.newest_sound.insert(frame.page, n);
                }
            }
            image.log = Some(log);
        }
        Ok(image)
    }

    /// How many candidates there are.
    pub(super) fn candidates(&self) -> u32 {
        self.pages.saturating_add(u32::try_from(self.frames.len()).unwrap_or(0))
    }

    /// The candidate of this number: first the pages of the file, then the frames of the log, as they stand. A page that
    /// the disk does not give is a page of zeros.
    pub(super) fn candidate(&mut self, n: u32) -> Option<Candidate<'_>> {
        if n < self.pages {
            read_page(self.file.as_ref()?, u64::from(n) * PAGE as u64, &mut self.buffer);
            let current = !self.newest_sound.contains_key(&(n + 1));
            return Some(Candidate { number: n + 1, sound: true, current, bytes: &self.buffer });
        }
        let at = n - self.pages;
        let frame = *self.frames.get(at as usize)?;
        read_page(self.log.as_ref()?, frame_at(at) + FRAME_HEADER as u64, &mut self.buffer);
        let current = self.newest_sound.get(&frame.page) == Some(&at);
        Some(Candidate { number: frame.page, sound: frame.sound, current, bytes: &self.buffer })
    }

    /// The page of this number as another page meant it.
    pub(super) fn page(&self, number: u32, view: View, into: &mut [u8; PAGE]) -> bool {
        let newest = match view {
            View::Sound => &self.newest_sound,
            View::Newest => &self.newest,
        };
        match (newest.get(&number), &self.log, &self.file) {
            (Some(frame), Some(log), _) => read_page(log, frame_at(*frame) + FRAME_HEADER as u64, into),
            (_, _, Some(file)) if (1..=self.pages).contains(&number) => {
                read_page(file, u64::from(number - 1) * PAGE as u64, into);
            }
            _ => return false,
        }
        true
    }
}

/// Whether the log beside the file at `path` lost something that was committed and synced: SQLite passes over that in
/// silence, and takes what comes before for all there is.
///
/// A power cut leaves a broken end too, and that is no damage: what was not yet synced was not accepted. But a commit is
/// synced before the next begins; so where a commit stands behind the break, and frames that were written after it go on
/// from its checksum, what is broken had been whole. Frames that do not go on from it tell nothing: a commit whose sync failed is
/// written over, and its tail stays where the next one is shorter. A log without its header is damaged when `is_readable`
/// knows one of its pages.
pub(super) fn log_is_damaged(path: &Path, mut is_readable: impl FnMut(&[u8; PAGE]) -> bool) -> bool {
    let Ok((Some(log), length)) = open(&suffixed(path, "-wal")) else { return false };
    let Ok(read) = read_log(&log, length) else { return false };
    if read.has_header {
        return read.synced_behind_break;
    }
    let mut page = Box::new([0; PAGE]);
    (0u32..).zip(&read.frames).any(|(n, _)| {
        read_page(&log, frame_at(n) + FRAME_HEADER as u64, &mut page);
        is_readable(&page)
    })
}

struct Log {
    frames: Vec<Frame>,
    has_header: bool,
    synced_behind_break: bool,
}

fn read_log(log: &File, length: u64) -> io::Result<Log> {
    let mut header = [0u8; LOG_HEADER as usize];
    let mut read = Log { frames: Vec::new(), has_header: false, synced_behind_break: false };
    if length < LOG_HEADER {
        return Ok(read);
    }
    log.read_exact_at(&mut header, 0)?;
    let magic = word(&header, 0, true);
    let big_endian = magic & 1 == 1;
    let sum = checksum(big_endian, (0, 0), header.get(..24).unwrap_or(&[]));
    read.has_header = magic & !1 == 0x377f_0682
        && word(&header, 8, true) == schema::KIND.page_size
        && sum == (word(&header, 24, true), word(&header, 28, true));
    let count = ((length - LOG_HEADER) / FRAME as u64).min(MOST_FRAMES);
    let mut frame = vec![0u8; FRAME];
    let (mut whole, mut committed, mut behind_commit) = (read.has_header, 0, false);
    // What the frame before says of itself: the frame after it begins there.
    let mut before = sum;
    for n in 0..u32::try_from(count).unwrap_or(0) {
        if log.read_exact_at(&mut frame, frame_at(n)).is_err() {
            // A block the disk does not give: nothing can be said of it, and the chain ends here.
            frame.fill(0);
        }
        let of_this_round = read.has_header && frame.get(8..16) == header.get(16..24);
        let page = word(&frame, 0, true);
        let says = (word(&frame, 16, true), word(&frame, 20, true));
        let goes_on = of_this_round && {
            let head = checksum(big_endian, before, frame.get(..8).unwrap_or(&[]));
            checksum(big_endian, head, frame.get(FRAME_HEADER..).unwrap_or(&[])) == says
        };
        before = says;
        whole &= goes_on;
        let commits = word(&frame, 4, true) != 0;
        read.frames.push(Frame { page, sound: false });
        if whole && commits {
            committed = read.frames.len();
        }
        if !whole {
            // Behind a commit that stands behind the break.
            read.synced_behind_break |= behind_commit && goes_on;
            behind_commit = of_this_round && (commits || behind_commit && goes_on);
        }
    }
    for frame in read.frames.iter_mut().take(committed) {
        frame.sound = true;
    }
    Ok(read)
}

fn frame_at(n: u32) -> u64 {
    LOG_HEADER + u64::from(n) * FRAME as u64
}

/// SQLite file format, section 4.2. All of a log goes through here at each opening, so it is kept plain: unoptimised
/// builds open thousands of them.
fn checksum(big_endian: bool, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for [a0, a1, a2, a3, b0, b1, b2, b3] in bytes.as_chunks::<8>().0 {
        let (mut x, mut y) =
            (u32::from_ne_bytes([*a0, *a1, *a2, *a3]), u32::from_ne_bytes([*b0, *b1, *b2, *b3]));
        if big_endian != cfg!(target_endian = "big") {
            (x, y) = (x.swap_bytes(), y.swap_bytes());
        }
        a = a.wrapping_add(x).wrapping_add(b);
        b = b.wrapping_add(y).wrapping_add(a);
    }
    (a, b)
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word: [u8; 4] = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

fn open(path: &Path) -> io::Result<(Option<File>, u64)> {
    match File::open(path) {
        Ok(file) => {
            let length = file.metadata()?.len();
            Ok((Some(file), length))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((None, 0)),
        Err(e) => Err(e),
    }
}

/// The last page of a file that was cut short is filled up with zeros.
fn read_page(file: &File, at: u64, into: &mut [u8; PAGE]) {
    into.fill(0);
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => return,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log made by hand, as section 4 of the format has it.
    struct Made {
        folder: tempfile::TempDir,
        log: File,
        sums: Vec<(u32, u32)>,
    }

    impl Made {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log = File::create_new(suffixed(&folder.path().join("q"), "-wal")).unwrap();
            let mut header = Vec::new();
            for word in [0x377f_0682u32, 3_007_000, schema::KIND.page_size, 0, 17, 18] {
                header.extend(word.to_be_bytes());
            }
            let sum = checksum(false, (0, 0), &header);
            header.extend(sum.0.to_be_bytes().into_iter().chain(sum.1.to_be_bytes()));
            log.write_all_at(&header, 0).unwrap();
            Self { folder, log, sums: vec![sum] }
        }

        /// One commit of so many frames, its first one at this place: whatever stood there is written over, what stands
        /// behind it stays.
        fn commit(&mut self, at: u32, frames: u32, says: u8) {
            self.sums.truncate(at as usize + 1);
            for n in at..at + frames {
                let size = if n + 1 == at + frames { 9u32 } else { 0 };
                let mut frame: Vec<u8> =
                    [n + 2, size, 17, 18].into_iter().flat_map(u32::to_be_bytes).collect();
                let page = [says; PAGE];
                let head = checksum(false, self.sums[n as usize], &frame[..8]);
                let sum = checksum(false, head, &page);
                frame.extend(sum.0.to_be_bytes().into_iter().chain(sum.1.to_be_bytes()).chain(page));
                self.log.write_all_at(&frame, frame_at(n)).unwrap();
                self.sums.push(sum);
            }
        }

        fn damage(&self, frame: u32) {
            self.log.write_all_at(&[0xa5; 100], frame_at(frame) + 500).unwrap();
        }

        fn is_damaged(&self) -> bool {
            log_is_damaged(&self.folder.path().join("q"), |_| panic!("its header reads"))
        }

        fn sound(&self) -> usize {
            let log = File::open(suffixed(&self.folder.path().join("q"), "-wal")).unwrap();
            let length = log.metadata().unwrap().len();
            read_log(&log, length).unwrap().frames.iter().filter(|frame| frame.sound).count()
        }
    }

    #[test]
    fn a_commit_that_broke_before_others_is_damage_whichever_of_its_frames_it_was() {
        for frame in [1, 2] {
            let mut made = Made::new();
            for (at, frames) in [(0, 1), (1, 2), (3, 1), (4, 3)] {
                made.commit(at, frames, 1);
            }
            assert!(!made.is_damaged());
            assert_eq!(made.sound(), 7);
            made.damage(frame);
            assert!(made.is_damaged(), "frame {frame}");
            assert_eq!(made.sound(), 1, "frame {frame}");
        }
    }

    #[test]
    fn the_tails_of_longer_commits_that_failed_are_no_damage_behind_a_shorter_one() {
        let mut made = Made::new();
        made.commit(0, 2, 1);
        for (frames, says) in [(6, 2), (4, 3), (1, 4)] {
            made.commit(2, frames, says);
            assert!(!made.is_damaged(), "a commit of {frames} frames");
            assert_eq!(made.sound() as u32, 2 + frames);
        }
        // What comes next writes over one tail as far as it reaches.
        made.commit(3, 2, 5);
        assert!(!made.is_damaged());
        assert_eq!(made.sound(), 5);
    }

    #[test]
    fn a_last_commit_that_is_torn_was_never_answered_whatever_stands_behind_it() {
        for failed in [0, 6] {
            for torn in 2..5 {
                let mut made = Made::new();
                made.commit(0, 2, 1);
                if failed > 0 {
                    made.commit(2, failed, 2);
                }
                made.commit(2, 3, 3);
                made.damage(torn);
                assert!(!made.is_damaged(), "frame {torn}, {failed} of an older commit");
                assert_eq!(made.sound(), 2);
            }
        }
    }
}
