//! Which images a crash at one point can leave behind: the choices of what was kept, none of them random but those that say so.

use super::Dice;
use super::disk::{Cut, Piece, Playback, SECTOR_BYTES};

/// Of more pending changes than this, so many are chosen by chance for each kind of image. A commit has about a dozen; a
/// checkpoint of a full log has hundreds.
pub const MOST_OF_A_KIND: usize = 32;

/// The choices: none, all, every prefix, each single change missing, each single write torn at each sector's edge, and
/// `random` seeded subsets in which writes may be torn at either end.
#[must_use]
pub fn at(playback: &Playback<'_>, random: usize, seed: u64) -> Vec<Vec<Piece>> {
    let mut dice = Dice::new(seed);
    let whole: Vec<Piece> = playback.pending().iter().map(|event| (*event, Cut::Whole)).collect();
    let mut choices = vec![Vec::new()];
    if whole.is_empty() {
        return choices;
    }
    choices.push(whole.clone());
    for end in some_of(1..whole.len(), &mut dice) {
        choices.extend(whole.get(..end).map(<[Piece]>::to_vec));
    }
    if whole.len() > 1 {
        for missing in some_of(0..whole.len(), &mut dice) {
            let mut kept = whole.clone();
            kept.remove(missing);
            choices.push(kept);
        }
    }
    let edges: Vec<(usize, usize)> = whole
        .iter()
        .enumerate()
        .flat_map(|(place, (event, _))| edges(playback, *event).into_iter().map(move |edge| (place, edge)))
        .collect();
    for chosen in some_of(0..edges.len(), &mut dice) {
        let Some((place, edge)) = edges.get(chosen) else { continue };
        let mut kept = whole.clone();
        if let Some(piece) = kept.get_mut(*place) {
            piece.1 = Cut::Head(*edge);
        }
        choices.push(kept);
    }
    for _ in 0..random {
        choices.push(subset(playback, &whole, &mut dice));
    }
    choices
}

/// Where a write crosses from one sector into the next: bytes from its beginning.
fn edges(playback: &Playback<'_>, event: usize) -> Vec<usize> {
    let Some((at, len)) = playback.written(event) else { return Vec::new() };
    let first = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
    (first..at + len).step_by(SECTOR_BYTES).map(|edge| edge - at).collect()
}

fn subset(playback: &Playback<'_>, whole: &[Piece], dice: &mut Dice) -> Vec<Piece> {
    let mut kept = Vec::new();
    for (event, _) in whole {
        if dice.one_in(2) {
            continue;
        }
        let edges = edges(playback, *event);
        let cut = match edges.get(dice.place(edges.len())) {
            Some(edge) if dice.one_in(8) => Cut::Head(*edge),
            Some(edge) if dice.one_in(8) => Cut::Tail(*edge),
            _ => Cut::Whole,
        };
        kept.push((*event, cut));
    }
    kept
}

/// All of a range, or as many as there may be of a kind, in order.
fn some_of(range: std::ops::Range<usize>, dice: &mut Dice) -> Vec<usize> {
    let mut all: Vec<usize> = range.collect();
    while all.len() > MOST_OF_A_KIND {
        let unlucky = dice.place(all.len());
        all.swap_remove(unlucky);
    }
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Change, Disk, Event, Log};
    use super::*;

    #[test]
    fn a_point_with_three_writes_gives_every_image_it_can_leave() {
        let write = |at, len| Event::Changed(Change::Write { ino: 1, at, bytes: vec![1; len].into() });
        let log =
            Log { base: Disk::default(), events: vec![write(0, 24), write(500, 24), write(1000, 1024)] };
        let mut playback = Playback::of(&log);
        playback.advance_to(3);
        let choices = at(&playback, 4, 7);
        // None and all; two prefixes; three with one missing; edges at 512 of the second, at 1024, 1536 of the third.
        assert_eq!(choices.len(), 2 + 2 + 3 + 3 + 4);
        assert!(choices.contains(&vec![(0, Cut::Whole), (2, Cut::Whole)]));
        assert!(choices.contains(&vec![(0, Cut::Whole), (1, Cut::Head(12)), (2, Cut::Whole)]));
        assert_eq!(choices, at(&playback, 4, 7), "the same seed gives the same images");
    }
}
