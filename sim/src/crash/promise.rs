//! What the queue was handed and what it answered, and at which point: the oracle.
//!
//! Every reading has a number of its own, which is its value; so a reading found in an image says itself which it is.
//!
//! Invariant: a point is written down only after the answer was there, so nothing is demanded that was not promised.

use std::collections::BTreeMap;

use fieldgate::reading::Value;

/// Destinations of the queue, in the order of its configuration.
pub const DESTINATIONS: [&str; 2] = ["near", "far"];

/// What identifies a reading, besides its stream: the epoch and the sequence.
pub type Identity = (u64, u64);

/// The readings that one image holds for each destination, by number.
pub type Found = [BTreeMap<u64, Held>; 2];

/// A reading that an image holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its identity.
    pub identity: Identity,
    /// Its stream's name.
    pub stream: String,
    /// What it says.
    pub value: Value,
}

/// What the store says of readings that it gave up itself: those of one stream between two sequences of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp {
    /// The epoch.
    pub epoch: u64,
    /// The first sequence and the last.
    pub sequences: (u64, u64),
    /// How many; where the range is not whole, fewer than there were in it.
    pub count: u64,
    /// All of the stream in the range.
    pub whole: bool,
}

impl GivenUp {
    fn holds(&self, (epoch, sequence): Identity) -> bool {
        epoch == self.epoch && (self.sequences.0..=self.sequences.1).contains(&sequence)
    }
}

/// By the place of the destination in [`DESTINATIONS`], and by stream.
pub type GivenUpBy = BTreeMap<(usize, String), Vec<GivenUp>>;

/// A stream of the queue.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Its name.
    pub name: &'static str,
    /// It speaks in texts.
    pub texts: bool,
    /// Whether it goes to each of [`DESTINATIONS`].
    pub routes: [bool; 2],
}

#[derive(Debug, Clone, Copy)]
struct Settled {
    sent: usize,
    durable: Option<usize>,
}

#[derive(Debug, Clone)]
struct Reading {
    stream: Stream,
    offered: usize,
    answered: Option<(usize, Identity)>,
    settled: [Option<Settled>; 2],
}

impl Reading {
    fn settled_by(&self, destination: usize, point: usize) -> Option<Settled> {
        self.settled.get(destination).copied().flatten().filter(|settled| settled.sent <= point)
    }
}

/// See the module head.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    readings: Vec<Reading>,
    /// Points at which something was promised, in order.
    points: Vec<usize>,
}

/// What is wrong with an image, as far as readings go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Answered as accepted, and not there.
    pub lost: Vec<String>,
    /// Settled for good, and there again.
    pub returned: Vec<String>,
    /// There, and not what was handed in.
    pub corrupt: Vec<String>,
    /// Settled, not yet for good, and there again: sent twice.
    pub duplicates: u64,
}

/// The value that reading `number` has on a stream.
#[must_use]
pub fn value(number: u64, texts: bool) -> Value {
    if texts {
        // Long enough that some commits are large.
        Value::Text(format!("{number:<60}").into())
    } else {
        Value::Steps(number.cast_signed())
    }
}

/// Which reading has a value.
#[must_use]
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Steps(steps) => u64::try_from(*steps).ok(),
        Value::Text(text) => text.trim_end().parse().ok(),
        _ => None,
    }
}

impl Promises {
    /// A reading is about to be handed in; its number.
    pub fn offer(&mut self, stream: Stream, point: usize) -> u64 {
        self.readings.push(Reading { stream, offered: point, answered: None, settled: [None; 2] });
        self.readings.len() as u64 - 1
    }

    /// It was answered as accepted.
    pub fn answered(&mut self, number: u64, point: usize, identity: Identity) {
        if let Some(reading) = self.reading(number) {
            reading.answered = Some((point, identity));
            self.promised(point);
        }
    }

    /// The queue is about to be told that a destination is done with it.
    pub fn settling(&mut self, number: u64, destination: usize, point: usize) {
        if let Some(settled) = self.reading(number).and_then(|r| r.settled.get_mut(destination)) {
            settled.get_or_insert(Settled { sent: point, durable: None });
        }
    }

    /// That is on disk.
    pub fn settled(&mut self, number: u64, destination: usize, point: usize) {
        if let Some(Some(settled)) = self.reading(number).and_then(|r| r.settled.get_mut(destination)) {
            settled.durable.get_or_insert(point);
            self.promised(point);
        }
    }

    /// How many were handed in.
    #[must_use]
    pub fn offered(&self) -> usize {
        self.readings.len()
    }

    /// How many promises were made until a point: images of the same content are alike only between two promises.
    #[must_use]
    pub fn stage(&self, point: usize) -> usize {
        self.points.partition_point(|at| *at <= point)
    }

    /// How many readings were answered as accepted, and how many handed in, until a point.
    #[must_use]
    pub fn counts(&self, point: usize) -> (u64, u64) {
        let answered = self.readings.iter().filter(|r| r.answered.is_some_and(|(at, _)| at <= point));
        let offered = self.readings.iter().filter(|r| r.offered <= point);
        (answered.count() as u64, offered.count() as u64)
    }

    /// Compares with an image of the point. `given_up` is what the image itself has on record: a reading that is missing is lost
    /// where none of these records holds its identity.
    #[must_use]
    pub fn compare(&self, point: usize, found: &Found, given_up: &GivenUpBy) -> Broken {
        let mut broken = Broken::default();
        let mut missing: BTreeMap<(usize, String), Vec<(u64, Identity)>> = BTreeMap::new();
        for (destination, held) in found.iter().enumerate() {
            let name = DESTINATIONS.get(destination).copied().unwrap_or_default();
            for (number, row) in held {
                match self.is_wrong(point, *number, destination, row) {
                    Some(wrong) => broken.corrupt.push(format!("{name}: reading {number}: {wrong}")),
                    None => self.count_return(point, *number, destination, &mut broken),
                }
                // Nothing to look up where nothing is given up, which is the rule.
                let records =
                    if given_up.is_empty() { None } else { given_up.get(&(destination, row.stream.clone())) };
                if records.into_iter().flatten().any(|record| record.whole && record.holds(row.identity)) {
                    broken.corrupt.push(format!("{name}: reading {number}: is on record as given up"));
                }
            }
            for (number, reading) in (0..).zip(&self.readings) {
                let answered = reading.answered.filter(|(at, _)| *at <= point);
                let promised = reading.stream.routes.get(destination).copied().unwrap_or(false)
                    && reading.settled_by(destination, point).is_none();
                if let Some((_, identity)) = answered.filter(|_| promised)
                    && !held.contains_key(&number)
                {
                    let key = (destination, reading.stream.name.to_owned());
                    missing.entry(key).or_default().push((number, identity));
                }
            }
        }
        for (key, readings) in missing {
            let mut records = given_up.get(&key).cloned().unwrap_or_default();
            let name = DESTINATIONS.get(key.0).copied().unwrap_or_default();
            let lost = readings.iter().filter(|(_, identity)| !is_explained(&mut records, *identity));
            broken.lost.extend(lost.map(|(number, _)| format!("{name}: {}, reading {number}", key.1)));
        }
        broken
    }

    /// A reading is there that its destination was done with.
    fn count_return(&self, point: usize, number: u64, destination: usize, broken: &mut Broken) {
        let reading = usize::try_from(number).ok().and_then(|n| self.readings.get(n));
        match reading.and_then(|reading| reading.settled_by(destination, point)) {
            Some(settled) if settled.durable.is_some_and(|at| at <= point) => {
                let name = DESTINATIONS.get(destination).copied().unwrap_or_default();
                broken.returned.push(format!("{name}: reading {number}"));
            }
            Some(_) => broken.duplicates += 1,
            None => {}
        }
    }

    /// What is wrong with a reading that an image holds, if anything.
    fn is_wrong(&self, point: usize, number: u64, destination: usize, held: &Held) -> Option<&'static str> {
        let Some(reading) = usize::try_from(number).ok().and_then(|n| self.readings.get(n)) else {
            return Some("was never handed in");
        };
        if reading.offered > point {
            return Some("was handed in only later");
        }
        if !reading.stream.routes.get(destination).copied().unwrap_or(false) {
            return Some("does not go there");
        }
        if held.stream != reading.stream.name || held.value != value(number, reading.stream.texts) {
            return Some("has another stream or value");
        }
        match reading.answered {
            Some((_, identity)) if identity != held.identity => {
                Some("has another identity than was answered")
            }
            _ => None,
        }
    }

    /// The oracle of a life that begins with an image of this one at `point`: what that holds is so for good.
    #[must_use]
    pub fn after_crash(&self, point: usize, found: &Found) -> Self {
        let mut after = self.clone();
        after.points.clear();
        for (number, reading) in (0..).zip(&mut after.readings) {
            let held: [Option<&Held>; 2] = found.each_ref().map(|held| held.get(&number));
            let identity = held.iter().flatten().next().map(|held| held.identity);
            reading.answered = match (reading.answered, identity) {
                (_, Some(identity)) => Some((0, identity)),
                (Some((at, identity)), None) if at <= point => Some((0, identity)),
                (_, None) => None,
            };
            reading.offered = 0;
            for (settled, held) in reading.settled.iter_mut().zip(held) {
                *settled = if held.is_some() { None } else { Some(Settled { sent: 0, durable: Some(0) }) };
            }
        }
        after
    }

    fn reading(&mut self, number: u64) -> Option<&mut Reading> {
        usize::try_from(number).ok().and_then(|n| self.readings.get_mut(n))
    }

    fn promised(&mut self, point: usize) {
        if self.points.last() != Some(&point) {
            self.points.push(point);
        }
    }
}

/// Whether one of the records says what became of a reading. One that is not whole speaks for as many as it counts.
fn is_explained(records: &mut [GivenUp], identity: Identity) -> bool {
    if records.iter().any(|record| record.whole && record.holds(identity)) {
        return true;
    }
    let wide = records.iter_mut().find(|record| !record.whole && record.count > 0 && record.holds(identity));
    wide.is_some_and(|record| {
        record.count -= 1;
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream { name: "a", texts: false, routes: [true, false] };

    fn held(number: u64, identity: Identity) -> Held {
        Held { identity, stream: "a".into(), value: value(number, false) }
    }

    fn found(held: impl IntoIterator<Item = (u64, Held)>) -> Found {
        [held.into_iter().collect(), BTreeMap::new()]
    }

    #[test]
    fn a_reading_is_lost_only_from_the_point_at_which_it_was_answered() {
        let mut promises = Promises::default();
        let number = promises.offer(STREAM, 3);
        promises.answered(number, 10, (1, 1));
        let none = BTreeMap::new();
        assert_eq!(promises.compare(9, &found([]), &none), Broken::default());
        assert_eq!(promises.compare(10, &found([]), &none).lost.len(), 1);
        let here = found([(number, held(number, (1, 1)))]);
        assert_eq!(promises.compare(10, &here, &none), Broken::default());
        let other = found([(number, held(number, (1, 2)))]);
        assert_eq!(promises.compare(10, &other, &none).corrupt.len(), 1);
        assert_eq!(promises.compare(2, &here, &none).corrupt.len(), 1, "it was not there yet");
    }

    #[test]
    fn a_missing_reading_is_explained_only_by_a_record_that_holds_its_identity() {
        let mut promises = Promises::default();
        for n in 1..=3 {
            let number = promises.offer(STREAM, 3);
            promises.answered(number, 10, (1, n));
        }
        let given_up = |epoch, sequences: (u64, u64), count, whole| {
            BTreeMap::from([((0, "a".to_owned()), vec![GivenUp { epoch, sequences, count, whole }])])
        };
        let lost = |given_up: &GivenUpBy| promises.compare(10, &found([]), given_up).lost.len();
        assert_eq!(lost(&given_up(1, (1, 3), 3, true)), 0);
        assert_eq!(lost(&given_up(1, (1, 2), 3, true)), 1, "a count is no explanation");
        assert_eq!(lost(&given_up(2, (1, 3), 3, true)), 3, "another epoch's neither");
        assert_eq!(
            lost(&given_up(1, (1, 3), 2, false)),
            1,
            "one that is not whole speaks for what it counts"
        );
        let there = found([(2, held(2, (1, 3)))]);
        assert_eq!(promises.compare(10, &there, &given_up(1, (1, 2), 2, true)), Broken::default());
        let corrupt = promises.compare(10, &there, &given_up(1, (1, 3), 3, true)).corrupt;
        assert_eq!(corrupt.len(), 1, "given up, and there");
    }

    #[test]
    fn a_settled_reading_may_return_until_the_settlement_is_on_disk() {
        let mut promises = Promises::default();
        let number = promises.offer(STREAM, 0);
        promises.answered(number, 1, (1, 1));
        promises.settling(number, 0, 5);
        promises.settled(number, 0, 8);
        let here = found([(number, held(number, (1, 1)))]);
        let none = BTreeMap::new();
        assert_eq!(promises.compare(7, &here, &none).duplicates, 1);
        assert_eq!(promises.compare(8, &here, &none).returned.len(), 1);
        assert_eq!(promises.compare(5, &found([]), &none), Broken::default());
    }
}
