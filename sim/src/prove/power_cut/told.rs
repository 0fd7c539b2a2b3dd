//! What the program that worked on the disk was told, and what of it must be true after a cut. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A reading's identity here: epoch, sequence and value. The value names the stream as well.
pub(super) type Reading = (String, u64, i64);

/// One line of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Accepted(String, u64, i64),
    Settling(Vec<Reading>),
    Settled(Vec<Reading>),
    Recorded(String),
}

/// Everything it said, in order, with the log's position each time.
#[derive(Debug, Default)]
pub(super) struct Told {
    lines: Vec<(usize, Line)>,
    streams: i64,
    /// Where it had the files open.
    pub(super) begins: usize,
}

/// What a cut must leave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Accepted, and nothing said yet that would let them go.
    pub(super) must_be: BTreeSet<Reading>,
    /// Settled for good: they must not wait any more.
    pub(super) must_be_gone: BTreeSet<Reading>,
    /// The newest version the history was said to hold.
    pub(super) version: Option<String>,
}

impl Told {
    /// Reads the program's output; `streams` readings are in each capture. `None` when it is not that.
    pub(super) fn read(output: &str, streams: i64) -> Option<Self> {
        let mut told = Self { streams, ..Self::default() };
        for line in output.lines() {
            let mut words = line.split_ascii_whitespace();
            let (word, position) = (words.next()?, words.next()?.parse().ok()?);
            let rest: Vec<&str> = words.collect();
            let line = match (word, rest.as_slice()) {
                ("begins", _) => {
                    told.begins = position;
                    continue;
                }
                ("accepted", [epoch, sequence, count]) => {
                    Line::Accepted((*epoch).into(), sequence.parse().ok()?, count.parse().ok()?)
                }
                ("settling", rest) => Line::Settling(readings(rest)?),
                ("settled", rest) => Line::Settled(readings(rest)?),
                ("recorded", [version]) => Line::Recorded((*version).into()),
                _ => return None,
            };
            told.lines.push((position, line));
        }
        Some(told)
    }

    /// What must hold when the power goes after `cut` entries of the log.
    pub(super) fn due(&self, cut: usize) -> Due {
        let mut due = Due::default();
        for (_, line) in self.lines.iter().take_while(|(position, _)| *position <= cut) {
            match line {
                Line::Accepted(epoch, sequence, count) => {
                    due.must_be
                        .extend((0..self.streams).map(|place| (epoch.clone(), *sequence, count + place)));
                }
                Line::Settling(readings) => readings.iter().for_each(|reading| {
                    due.must_be.remove(reading);
                }),
                Line::Settled(readings) => due.must_be_gone.extend(readings.iter().cloned()),
                Line::Recorded(version) => due.version = Some(version.clone()),
            }
        }
        due
    }

    /// Every value ever handed in, by epoch and sequence, for readings that are there beyond what must be.
    pub(super) fn values(&self) -> BTreeMap<(&str, u64), i64> {
        let accepted = self.lines.iter().filter_map(|(_, line)| match line {
            Line::Accepted(epoch, sequence, count) => Some(((epoch.as_str(), *sequence), *count)),
            _ => None,
        });
        accepted.collect()
    }

    /// How many readings it was told are accepted.
    pub(super) fn accepted(&self) -> usize {
        self.values().len() * usize::try_from(self.streams).unwrap_or(0)
    }
}

fn readings(words: &[&str]) -> Option<Vec<Reading>> {
    let reading = |word: &&str| {
        let mut parts = word.split(':');
        Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    words.iter().map(reading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_due_from_its_answer_until_it_may_go() {
        let output =
            "begins 5\naccepted 9 e 1 16\nsettling 20 e:1:16\nsettled 25 e:1:16\nrecorded 30 1.0.7\n";
        let told = Told::read(output, 2).unwrap();
        let reading = |value| ("e".to_owned(), 1, value);
        assert_eq!((told.begins, told.accepted()), (5, 2));
        assert_eq!(told.due(8), Due::default());
        assert_eq!(told.due(9).must_be, [reading(16), reading(17)].into());
        assert_eq!(told.due(24).must_be, [reading(17)].into());
        assert!(told.due(24).must_be_gone.is_empty());
        assert_eq!(told.due(25).must_be_gone, [reading(16)].into());
        assert_eq!((told.due(29).version, told.due(30).version), (None, Some("1.0.7".into())));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(Told::read("accepted x e 1 16", 1).is_none());
        assert!(Told::read("settling 1 e:1", 1).is_none());
        assert!(Told::read("hello", 1).is_none());
    }
}
