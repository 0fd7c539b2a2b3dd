//! Every image of a life, once each, on as many threads as there are processors.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Dice;
use super::check::{self, Judge, Verdict};
use super::disk::{Log, Piece, Playback};
use super::images;

/// As many broken promises of a kind are told one by one.
const TOLD: usize = 5;

/// Which images.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// As many crash points, chosen by chance where the life has more.
    pub points: usize,
    /// As many random subsets a point.
    pub random: usize,
    /// Chance begins here.
    pub seed: u64,
    /// So many broken promises end the search: a defect breaks thousands.
    pub enough: u64,
}

/// What all images came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Crash points looked at.
    pub points: u64,
    /// Images opened; those alike in content and promises once.
    pub images: u64,
    /// The slowest opening.
    pub slowest: Duration,
    /// Counts of broken promises, and the first of each in words.
    pub unusable: Told,
    /// See [`Verdict::lost`].
    pub lost: Told,
    /// See [`Verdict::returned`].
    pub returned: Told,
    /// See [`Verdict::wrong`].
    pub wrong: Told,
    /// See [`Verdict::duplicates`]; the most in one image.
    pub most_duplicates: u64,
}

/// How many, and the first in words.
#[derive(Debug, Default)]
pub struct Told {
    /// How many.
    pub count: u64,
    /// The first few.
    pub words: Vec<String>,
}

impl Told {
    fn add(&mut self, words: Vec<String>, place: &str) {
        self.count += words.len() as u64;
        let room = TOLD.saturating_sub(self.words.len());
        self.words.extend(words.into_iter().take(room).map(|w| format!("{place}: {w}")));
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        let room = TOLD.saturating_sub(self.words.len());
        self.words.extend(other.words.into_iter().take(room));
    }
}

impl Sum {
    /// How many promises were broken.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.unusable.count + self.lost.count + self.returned.count + self.wrong.count
    }

    /// Adds another life's.
    pub fn merge(&mut self, other: Self) {
        self.points += other.points;
        self.images += other.images;
        self.slowest = self.slowest.max(other.slowest);
        self.unusable.merge(other.unusable);
        self.lost.merge(other.lost);
        self.returned.merge(other.returned);
        self.wrong.merge(other.wrong);
        self.most_duplicates = self.most_duplicates.max(other.most_duplicates);
    }

    fn add(&mut self, verdict: Verdict, place: &str) {
        self.images += 1;
        self.slowest = self.slowest.max(verdict.opened_in);
        self.unusable.add(verdict.unusable, place);
        self.lost.add(verdict.lost, place);
        self.returned.add(verdict.returned, place);
        self.wrong.add(verdict.wrong, place);
        self.most_duplicates = self.most_duplicates.max(verdict.duplicates);
    }
}

/// Opens every image of a life's crash points. `stale_index` lies beside every eighth (see [`check::lay_out`]).
///
/// # Errors
/// When an image cannot be written, which says nothing of the store, and `Interrupted` when `stop` is cancelled.
pub fn examine(
    log: &Log,
    judge: &impl Judge,
    wanted: Wanted,
    stale_index: Option<&[u8]>,
    stop: &CancellationToken,
) -> std::io::Result<Sum> {
    let points = chosen(log, wanted);
    let shared = Shared {
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        seen: Mutex::new(HashSet::new()),
        points,
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
    let sums = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(log, judge, wanted, stale_index, &shared, stop)))
            .collect();
        workers
            .into_iter()
            .map(|worker| {
                worker.join().unwrap_or_else(|_| Err(std::io::Error::other("an examiner panicked")))
            })
            .collect::<Result<Vec<Sum>, _>>()
    })?;
    let mut all = Sum::default();
    for sum in sums {
        all.merge(sum);
    }
    Ok(all)
}

struct Shared {
    points: Vec<usize>,
    next: AtomicUsize,
    stop: AtomicBool,
    seen: Mutex<HashSet<u64>>,
}

/// The points in order: after each event, and before the first. Where there are more than wanted, half of them are chosen
/// among those at which more is under way than one commit: a checkpoint, a new log, a file that is made, a disk that failed.
fn chosen(log: &Log, wanted: Wanted) -> Vec<usize> {
    let mut playback = Playback::of(log);
    let (mut rare, mut common) = (Vec::new(), Vec::new());
    for point in 0..=log.events.len() {
        playback.advance_to(point);
        if playback.is_unusual() { rare.push(point) } else { common.push(point) }
    }
    let mut dice = Dice::new(wanted.seed);
    let wanted = wanted.points.max(1);
    let most_rare = (wanted / 2).max(wanted.saturating_sub(common.len()));
    thin(&mut rare, most_rare, &mut dice);
    thin(&mut common, wanted - rare.len(), &mut dice);
    rare.extend(common);
    rare.sort_unstable();
    rare
}

fn thin(points: &mut Vec<usize>, wanted: usize, dice: &mut Dice) {
    while points.len() > wanted {
        let unlucky = dice.place(points.len());
        points.swap_remove(unlucky);
    }
}

fn work(
    log: &Log,
    judge: &impl Judge,
    wanted: Wanted,
    stale_index: Option<&[u8]>,
    shared: &Shared,
    stop: &CancellationToken,
) -> std::io::Result<Sum> {
    let folder = super::folder()?;
    let mut sum = Sum::default();
    let mut playback = Playback::of(log);
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(point) = shared.points.get(shared.next.fetch_add(1, Ordering::Relaxed)).copied() else {
            break;
        };
        playback.advance_to(point);
        sum.points += 1;
        let seed = wanted.seed ^ (point as u64).wrapping_mul(crate::random::STEP);
        for kept in images::at(&playback, wanted.random, seed) {
            if stop.is_cancelled() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let key = key(&playback, judge.stage(point), &kept);
            if !shared.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
                continue;
            }
            let index = stale_index.filter(|_| key.is_multiple_of(8));
            check::lay_out(folder.path(), &playback.image(&kept), index)?;
            let verdict = judge.judge(folder.path(), point, key);
            sum.add(verdict, &format!("point {point}, {} of {} kept", kept.len(), playback.pending().len()));
            if sum.broken() >= wanted.enough {
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
    }
    Ok(sum)
}

/// Alike for images of the same content under the same promises; different otherwise, but for one chance in 2^64.
fn key(playback: &Playback<'_>, stage: usize, kept: &[Piece]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (playback.durable_since(), stage, kept).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::disk::{Change, Disk, Event};
    use super::*;

    /// Demands that a file holds what was synced.
    struct Held;

    impl Judge for Held {
        fn stage(&self, point: usize) -> usize {
            usize::from(point >= 2)
        }

        fn judge(&self, folder: &Path, point: usize, _: u64) -> Verdict {
            let bytes = std::fs::read(folder.join("a")).unwrap_or_default();
            let kept = point < 2 || bytes.starts_with(b"one");
            Verdict { lost: if kept { vec![] } else { vec!["one".into()] }, ..Verdict::default() }
        }
    }

    fn log(sync: bool) -> Log {
        let mut base = Disk::default();
        base.put("a", 1, Vec::new());
        let write = |at, bytes: &[u8]| Event::Changed(Change::Write { ino: 1, at, bytes: bytes.into() });
        let synced = if sync { Event::Synced { ino: 1, folder: false } } else { Event::FolderSynced };
        Log { base, events: vec![write(0, b"one"), synced, write(3, b"two")] }
    }

    const ALL: Wanted = Wanted { points: 100, random: 2, seed: 1, enough: 100 };

    #[test]
    fn who_is_stopped_examines_no_further_image() {
        let stop = CancellationToken::new();
        stop.cancel();
        let error = examine(&log(true), &Held, ALL, None, &stop).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
    }

    #[test]
    fn a_sync_that_is_missing_shows_in_an_image() {
        let kept = examine(&log(true), &Held, ALL, None, &CancellationToken::new()).unwrap();
        assert_eq!((kept.points, kept.lost.count), (4, 0));
        assert_eq!(kept.images, 4, "the empty file, the one write, what was synced, and the other: {kept:?}");
        let lost = examine(&log(false), &Held, ALL, None, &CancellationToken::new()).unwrap();
        assert!(lost.lost.count > 0 && !lost.lost.words.is_empty(), "{lost:?}");
    }
}
