//! Both sides of one account, compared identity by identity and value by value. Pure.
//!
//! Two questions, each answered by a set difference and never by a subtraction of totals:
//! - *Identities.* Of each stream and epoch, every sequence up to the newest was either a reading or a gap. One that is not at
//!   the cloud must be held (queued, set aside), counted in a gap record whose range it lies in, or dropped. What is left
//!   over is lost.
//! - *Values.* Each value that a counted point put on the wire carries a counter. Walking a stream in the order of its sequences,
//!   the counters must rise; one that was jumped over must find an explained sequence in the place where it is missing, or
//!   the end of a life that was not a clean stop. What is left over was produced and vanished without a trace: lost too.
//!   Such an end explains only the values said shortly before it ([`AtRisk`]): an older one should have been accepted.
//!   A value at the cloud that no counter explains is corrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::books::{Account, Books, GapRecord, Intake, StreamBooks, prefix};
use crate::bus::PointFunction;

/// As many lost or corrupted things are named; all are counted.
pub const MOST_NAMED: usize = 200;

/// One counted point, as the devices tell it.
#[derive(Debug, Clone, Copy)]
pub struct Produced {
    /// Its values.
    pub function: PointFunction,
    /// The counters `1..=produced` were put on the wire.
    pub produced: u64,
}

/// One identity at the cloud.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FarValue {
    /// First four bytes of the epoch.
    pub epoch: [u8; 4],
    /// Sequence.
    pub sequence: u64,
    /// The number, if it is one.
    pub value: Option<f64>,
    /// How often it came.
    pub copies: u64,
}

/// By stream, the counters that some kill may have taken before they could be accepted.
pub type AtRisk = BTreeMap<String, Vec<Range<u64>>>;

/// Everything that is compared.
#[derive(Debug)]
pub struct Sides<'a> {
    /// Counted points by stream name.
    pub produced: &'a BTreeMap<String, Produced>,
    /// What kills may have taken.
    pub at_risk: &'a AtRisk,
    /// The daemon's books, after it has stopped.
    pub books: &'a Books,
    /// What the cloud has, by alias.
    pub far: &'a BTreeMap<String, Vec<FarValue>>,
    /// The destination's name in the books.
    pub destination: &'a str,
}

/// The result. Sums are over the counted points, `lost` and `corrupted` over all streams.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reckoning {
    /// Values on the wire in complete valid frames.
    pub produced: u64,
    /// The producing side by the books.
    pub intake: Intake,
    /// Values on the wire that became gap records.
    pub missed: u64,
    /// Values on the wire that the end of a killed life took before they were accepted.
    pub unaccepted_at_kill: u64,
    /// Those among them that were said too long before the kill.
    pub overdue: Named,
    /// Gap records without a value on the wire: nobody was asked, or nobody answered.
    pub silent: u64,
    /// The consuming side by the books.
    pub account: Account,
    /// Readings of all streams that were given up. Only their number explains that they are not at the cloud, so a run in which
    /// nothing should be given up has to demand that this is 0.
    pub given_up: u64,
    /// Identities at the cloud.
    pub unique: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Lost.
    pub lost: Named,
    /// Corrupted.
    pub corrupted: Named,
    /// Sums that do not come out.
    pub unbalanced: Vec<String>,
}

/// A count, and the first of what was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// All.
    pub count: u64,
    /// The first [`MOST_NAMED`].
    pub names: Vec<String>,
}

impl Named {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.names.len() < MOST_NAMED {
            self.names.push(name());
        }
    }
}

impl Reckoning {
    /// `produced = accepted + refused + coalesced + missed`, with what a kill took before acceptance where there was one.
    #[must_use]
    pub fn producing_side_closes(&self) -> bool {
        let Intake { accepted, refused, coalesced, .. } = self.intake;
        self.produced == accepted + refused + coalesced + self.missed + self.unaccepted_at_kill
    }

    /// `accepted = acknowledged + dropped + set aside + queued`.
    #[must_use]
    pub fn consuming_side_closes(&self) -> bool {
        let Account { accepted, acknowledged, dropped, set_aside, queued } = self.account;
        accepted == acknowledged + dropped + set_aside + queued && self.unbalanced.is_empty()
    }
}

/// Compares.
#[must_use]
pub fn reckon(sides: &Sides<'_>) -> Reckoning {
    let mut result = Reckoning::default();
    let known: BTreeSet<&str> = sides.books.streams.iter().map(|s| s.alias.as_str()).collect();
    for (alias, values) in sides.far {
        if !known.contains(alias.as_str()) {
            for value in values {
                result.corrupted.add(|| format!("{alias} #{}: no such stream", value.sequence));
            }
        }
    }
    for stream in &sides.books.streams {
        let counted = sides.produced.get(&stream.name);
        let account = stream.accounts.get(sides.destination).copied().unwrap_or_default();
        balance(stream, account, &mut result);
        result.given_up += account.dropped;
        if counted.is_some() {
            add_up(stream, account, &mut result);
        }
        let history = History::of(stream, account, sides, &mut result);
        if let Some(counted) = counted {
            result.produced += counted.produced;
            let at_risk = sides.at_risk.get(&stream.name).map_or(&[][..], Vec::as_slice);
            history.walk(&stream.name, *counted, at_risk, &mut result);
        }
    }
    for (name, counted) in sides.produced {
        if counted.produced > 0 && sides.books.streams.iter().all(|s| s.name != *name) {
            result.unbalanced.push(format!("the gateway knows no stream {name}"));
        }
    }
    result
}

fn add_up(stream: &StreamBooks, account: Account, result: &mut Reckoning) {
    let intake = &mut result.intake;
    intake.accepted += stream.intake.accepted;
    intake.refused += stream.intake.refused;
    intake.coalesced += stream.intake.coalesced;
    intake.missed += stream.intake.missed;
    let sum = &mut result.account;
    sum.accepted += account.accepted;
    sum.acknowledged += account.acknowledged;
    sum.dropped += account.dropped;
    sum.set_aside += account.set_aside;
    sum.queued += account.queued;
}

fn balance(stream: &StreamBooks, account: Account, result: &mut Reckoning) {
    let Account { accepted, acknowledged, dropped, set_aside, queued } = account;
    if accepted != acknowledged + dropped + set_aside + queued {
        result.unbalanced.push(format!(
            "{}: accepted {accepted} is not acknowledged {acknowledged} + dropped {dropped} + set aside {set_aside} + \
             queued {queued}",
            stream.name
        ));
    }
}

/// Reasons of gap records under which the devices were not even asked.
const NOT_ASKED: [&str; 3] = ["backed_off", "overrun", "port_down"];

/// Why a sequence is not at the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// It waits, was set aside or dropped, or was refused: there was a value.
    WithValue,
    /// A gap record says that it never became a reading; there may have been a value.
    Missed,
    /// A gap record says that nobody was asked: there was no value.
    NotAsked,
    /// Nothing says why.
    Lost,
}

/// One sequence of a stream.
#[derive(Debug, Clone, Copy)]
enum Instant {
    /// Epoch (by its place in the books), sequence, value.
    There(usize, u64, Option<f64>),
    Absent(Absence),
    /// The daemon was killed here.
    Killed,
}

/// A stream's sequences in order, over all epochs.
struct History(Vec<Instant>);

impl History {
    fn of(stream: &StreamBooks, account: Account, sides: &Sides<'_>, result: &mut Reckoning) -> Self {
        let books = sides.books;
        let mut by_epoch: BTreeMap<[u8; 4], BTreeMap<u64, FarValue>> = BTreeMap::new();
        for value in sides.far.get(&stream.alias).into_iter().flatten() {
            by_epoch.entry(value.epoch).or_default().insert(value.sequence, *value);
        }
        let unclean: BTreeSet<&str> = books.unclean_stops().collect();
        let mut drops = account.dropped;
        let mut history = Vec::new();
        for (place, epoch) in books.epochs.iter().enumerate() {
            let there = prefix(&epoch.epoch).and_then(|p| by_epoch.remove(&p)).unwrap_or_default();
            let newest = newest(books, &epoch.epoch, &epoch.last_sequences, &stream.group);
            let mut gaps = Gaps::of(books, stream, &epoch.epoch);
            for sequence in 1..=newest {
                match there.get(&sequence) {
                    Some(value) => history.push(Instant::There(place, sequence, value.value)),
                    None => {
                        let absence = gaps.explain(sequence, sides.destination, &mut drops);
                        if absence == Absence::Lost {
                            result.lost.add(|| format!("{} {}#{sequence}", stream.name, epoch.epoch));
                        }
                        history.push(Instant::Absent(absence));
                    }
                }
            }
            for sequence in there.keys().filter(|s| **s > newest) {
                result.corrupted.add(|| {
                    format!("{} {}#{sequence}: the gateway never accepted it", stream.name, epoch.epoch)
                });
            }
            if unclean.contains(epoch.epoch.as_str()) {
                history.push(Instant::Killed);
            }
        }
        for (epoch, values) in by_epoch {
            for sequence in values.keys() {
                result.corrupted.add(|| {
                    format!("{} {:08x}…#{sequence}: no such epoch", stream.name, u32::from_be_bytes(epoch))
                });
            }
        }
        if sides.produced.contains_key(&stream.name) {
            let values = || sides.far.get(&stream.alias).into_iter().flatten();
            result.unique += values().count() as u64;
            result.duplicates += values().map(|v| v.copies.saturating_sub(1)).sum::<u64>();
        }
        Self(history)
    }

    /// Follows the counters.
    fn walk(&self, stream: &str, point: Produced, at_risk: &[Range<u64>], result: &mut Reckoning) {
        let mut last = 0;
        let mut behind = "the beginning".to_owned();
        let mut passed = Passed::default();
        let at_risk =
            |passed: &Range<u64>| passed.clone().filter(|n| at_risk.iter().any(|r| r.contains(n))).count();
        for instant in &self.0 {
            match *instant {
                Instant::Absent(absence) => passed.add(absence),
                Instant::Killed => passed.killed = true,
                Instant::There(epoch, sequence, value) => match counter_after(point, last, value) {
                    Some(counter) => {
                        passed.account_for(last + 1..counter, at_risk, stream, &behind, result);
                        passed = Passed::default();
                        last = counter;
                        behind = format!("epoch {epoch} #{sequence}");
                    }
                    None => result
                        .corrupted
                        .add(|| format!("{stream} #{sequence}: {value:?} is no value after counter {last}")),
                },
            }
        }
        passed.account_for(last + 1..point.produced + 1, at_risk, stream, &behind, result);
    }
}

/// The counter of `value`, which must be beyond `last` and among those produced.
fn counter_after(point: Produced, last: u64, value: Option<f64>) -> Option<u64> {
    let (value, period) = (value?, point.function.period()?);
    let wire = point.function.wire_counter(value)?;
    let next = last + 1;
    // The first number from `next` on that leaves the remainder `wire`.
    let counter = next + (wire + period - next % period) % period;
    (counter <= point.produced && point.function.value(counter) == value).then_some(counter)
}

/// The sequences without a value between two values.
#[derive(Debug, Default)]
struct Passed {
    with_value: u64,
    missed: u64,
    not_asked: u64,
    lost: u64,
    killed: bool,
}

impl Passed {
    fn add(&mut self, absence: Absence) {
        match absence {
            Absence::WithValue => self.with_value += 1,
            Absence::Missed => self.missed += 1,
            Absence::NotAsked => self.not_asked += 1,
            Absence::Lost => self.lost += 1,
        }
    }

    /// Finds a reason for each counter that was jumped over. Those that were lost as identities are counted there already.
    fn account_for(
        &self,
        counters: Range<u64>,
        at_risk: impl Fn(&Range<u64>) -> usize,
        stream: &str,
        behind: &str,
        result: &mut Reckoning,
    ) {
        let mut jumped = counters.end.saturating_sub(counters.start);
        for explained in [self.with_value, self.lost] {
            jumped -= explained.min(jumped);
        }
        let missed = self.missed.min(jumped);
        result.missed += missed;
        result.silent += self.missed - missed + self.not_asked;
        jumped -= missed;
        if self.killed {
            result.unaccepted_at_kill += jumped;
            for _ in at_risk(&counters) as u64..jumped {
                result.overdue.add(|| {
                    format!(
                        "{stream}, one of the values {} to {}, said after {behind}",
                        counters.start,
                        counters.end - 1
                    )
                });
            }
            return;
        }
        for n in 0..jumped {
            result
                .lost
                .add(|| format!("{stream} value number {}, said after {behind}", counters.end - 1 - n));
        }
    }
}

/// The newest sequence of a group in an epoch that is on record at all.
fn newest(books: &Books, epoch: &str, last: &BTreeMap<String, u64>, group: &str) -> u64 {
    let streams: BTreeSet<&str> =
        books.streams.iter().filter(|s| s.group == group).map(|s| s.name.as_str()).collect();
    let of_group = |gap: &&GapRecord| {
        gap.epoch.as_deref() == Some(epoch) && gap.stream.as_deref().is_some_and(|s| streams.contains(s))
    };
    let gaps = books.gap_records.iter().filter(of_group).filter_map(|gap| Some(gap.sequences?.1)).max();
    last.get(group).copied().max(gaps).unwrap_or(0)
}

/// What is on record of a stream's absent sequences in one epoch.
struct Gaps<'a> {
    held: Vec<(&'a str, (u64, u64))>,
    /// Range, how many of it, whether there was a value.
    ranges: Vec<((u64, u64), u64, Absence)>,
}

impl<'a> Gaps<'a> {
    fn of(books: &'a Books, stream: &StreamBooks, epoch: &str) -> Self {
        let held = books
            .held
            .iter()
            .filter(|run| run.stream == stream.name && run.epoch.as_deref() == Some(epoch))
            .map(|run| (run.destination.as_str(), run.sequences))
            .collect();
        let mut ranges: Vec<_> = books
            .gap_records
            .iter()
            .filter(|gap| gap.stream.as_ref() == Some(&stream.name) && gap.epoch.as_deref() == Some(epoch))
            .filter_map(|gap| {
                let absence = match gap.kind.as_str() {
                    "missed" if NOT_ASKED.contains(&gap.reason.as_str()) => Absence::NotAsked,
                    "missed" => Absence::Missed,
                    _ => Absence::WithValue,
                };
                Some((gap.sequences?, gap.count?, absence))
            })
            .collect();
        // The range that ends first is used up first: then as many as possible find one.
        ranges.sort_by_key(|((_, last), ..)| *last);
        Self { held, ranges }
    }

    /// Called once for each absent sequence, in order.
    fn explain(&mut self, sequence: u64, destination: &str, drops: &mut u64) -> Absence {
        let within = |(first, last): (u64, u64)| (first..=last).contains(&sequence);
        if self.held.iter().any(|(whose, run)| *whose == destination && within(*run)) {
            return Absence::WithValue;
        }
        let range = self.ranges.iter_mut().find(|(range, left, _)| *left > 0 && within(*range));
        if let Some((_, left, absence)) = range {
            *left -= 1;
            return *absence;
        }
        if *drops > 0 {
            *drops -= 1;
            return Absence::WithValue;
        }
        Absence::Lost
    }
}

#[cfg(test)]
mod tests;
