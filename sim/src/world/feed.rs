//! Readings that no device makes: as many streams as wanted, each value computed from its place, so that whoever received
//! it can be asked whether it is the right one.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use fieldgate::clock::Mono;
use fieldgate::reading::{Capture, Class, Quality, Sample, Value};
use fieldgate::store::queue::{Accepted, Refused};
use tokio::sync::oneshot;

use super::{World, WorldError};
use crate::gateway::reckon::FarValue;

/// Streams that are captured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedGroup {
    /// Its name; unique among the groups, letters only.
    pub name: &'static str,
    /// The class of all of its streams.
    pub class: Class,
    /// How many streams, 1 to 99.
    pub streams: usize,
}

/// What is fed into a world, and how far it has got. Each group has one capture an instant.
#[derive(Debug)]
pub struct Feed {
    groups: Vec<FeedGroup>,
    /// Instants fed.
    fed: u64,
    /// Of each group, which instant went under which sequence, wherever that changed.
    runs: Vec<Vec<Run>>,
    /// Captures that are not yet answered: group, instant. As many as the daemon's writer gathers.
    waiting: VecDeque<(usize, u64, Answer)>,
    /// Captures that were refused.
    refused: u64,
}

type Answer = oneshot::Receiver<Result<Accepted, Refused>>;

/// Under this epoch and from this sequence on, one instant follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    epoch: [u8; 4],
    sequence: u64,
    instant: u64,
}

/// What a destination has of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The stream's alias.
    pub alias: String,
    /// Its class.
    pub class: Class,
    /// Different readings that are there.
    pub there: u64,
    /// Copies beyond the first.
    pub copies: u64,
    /// Readings with another value than was fed, or that were never fed.
    pub wrong: u64,
    /// Runs of instants that are not there, first and last, counted from 0; at most a thousand are told.
    pub missing: Vec<(u64, u64)>,
}

/// As many runs of missing readings are told for each stream.
const MOST_RUNS: usize = 1000;

impl Feed {
    /// A feed of these groups.
    #[must_use]
    pub fn new(groups: &[FeedGroup]) -> Self {
        Self {
            groups: groups.to_vec(),
            fed: 0,
            runs: vec![Vec::new(); groups.len()],
            waiting: VecDeque::new(),
            refused: 0,
        }
    }

    /// The configuration's `[[bus.slave]]` tables: for [`WorldOptions::quiet`](super::WorldOptions::quiet).
    #[must_use]
    pub fn tables(&self) -> String {
        let mut toml = String::new();
        for (unit, group) in self.groups.iter().enumerate() {
            // Writing to a String does not fail.
            let _ = write!(
                toml,
                "[[bus.slave]]\nname = \"{}\"\nunit = {}\nperiod = \"24h\"\n",
                group.name,
                unit + 1
            );
            for stream in 0..group.streams {
                let _ = write!(
                    toml,
                    "[[bus.slave.point]]\nstream = \"s{stream}\"\nalias = \"{}\"\ntable = \"input\"\nregister = {}\n\
                     type = \"int32\"\nclass = \"{}\"\n",
                    alias(group, stream),
                    stream * 2,
                    group.class.name()
                );
            }
        }
        toml
    }

    /// Readings in an instant of all groups.
    #[must_use]
    pub fn readings_an_instant(&self) -> u64 {
        self.groups.iter().map(|group| group.streams as u64).sum()
    }

    /// Instants fed up to now.
    #[must_use]
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// Captures that the daemon refused, among those already answered.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Waits for the answers to everything fed.
    pub async fn answered(&mut self) {
        while let Some((group, instant, answer)) = self.waiting.pop_front() {
            self.note(group, instant, answer.await.unwrap_or(Err(Refused::Stopped)));
        }
    }

    /// The epoch's first bytes and the sequence under which an instant of a group went. What follows an answered one is taken to
    /// follow it.
    pub fn identity(&mut self, group: usize, instant: u64) -> Option<([u8; 4], u64)> {
        self.take_answers();
        let run = self.runs.get(group)?.iter().rev().find(|run| run.instant <= instant)?;
        Some((run.epoch, run.sequence + (instant - run.instant)))
    }

    /// Takes the answers that are there.
    fn take_answers(&mut self) {
        while let Some((_, _, answer)) = self.waiting.front_mut() {
            let Ok(answer) = answer.try_recv() else { return };
            if let Some((group, instant, _)) = self.waiting.pop_front() {
                self.note(group, instant, answer);
            }
        }
    }

    fn note(&mut self, group: usize, instant: u64, answer: Result<Accepted, Refused>) {
        let Some(runs) = self.runs.get_mut(group) else { return };
        match answer {
            Ok(Accepted { epoch, sequence, .. }) => {
                let follows = runs.last().is_some_and(|run| {
                    run.epoch == epoch.prefix() && sequence - run.sequence == instant - run.instant
                });
                if !follows {
                    runs.push(Run { epoch: epoch.prefix(), sequence, instant });
                }
            }
            Err(_) => self.refused += 1,
        }
    }

    /// Compares what a destination has, alias by alias, with the instants from `first` that were fed.
    #[must_use]
    pub fn compare(&self, first: u64, far: impl Fn(&str) -> Vec<FarValue>) -> Vec<Arrived> {
        let mut result = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            for stream in 0..group.streams {
                let alias = alias(group, stream);
                let arrived = self.compare_stream(first, place, stream, &far(&alias));
                result.push(Arrived { alias, class: group.class, ..arrived });
            }
        }
        result
    }

    fn compare_stream(&self, first: u64, group: usize, stream: usize, far: &[FarValue]) -> Arrived {
        let mut arrived = Arrived {
            alias: String::new(),
            class: Class::Telemetry,
            there: 0,
            copies: 0,
            wrong: 0,
            missing: Vec::new(),
        };
        let mut instants = Vec::with_capacity(far.len());
        for seen in far {
            arrived.copies += seen.copies.saturating_sub(1);
            match self.instant(group, seen).filter(|n| *n < self.fed) {
                Some(n) if seen.value == Some(value(group, stream, n) as f64) => instants.push(n),
                _ => arrived.wrong += 1,
            }
        }
        instants.sort_unstable();
        instants.dedup();
        arrived.there = instants.len() as u64;
        let mut next = first;
        for n in instants.into_iter().filter(|n| *n >= first).chain([self.fed]) {
            if n > next && arrived.missing.len() < MOST_RUNS {
                arrived.missing.push((next, n - 1));
            }
            next = n + 1;
        }
        arrived
    }

    /// Which instant travelled under this identity.
    fn instant(&self, group: usize, seen: &FarValue) -> Option<u64> {
        let runs = self.runs.get(group)?.iter().rev();
        let run = runs.filter(|run| run.epoch == seen.epoch).find(|run| run.sequence <= seen.sequence)?;
        Some(run.instant + (seen.sequence - run.sequence))
    }
}

impl World {
    /// Has the queue take the next instant of a feed, captured at `at`: one capture a group. Answers are not waited for:
    /// see [`Feed::answered`]. The feed's tables must be the world's [`WorldOptions::quiet`](super::WorldOptions::quiet).
    ///
    /// # Errors
    /// [`WorldError::Refused`] when the store has stopped, [`WorldError::NoStream`] with another feed's tables.
    pub async fn feed(&self, feed: &mut Feed, at: Duration) -> Result<(), WorldError> {
        let queue = self.queue();
        feed.take_answers();
        let mut streams = queue.streams();
        for (place, group) in feed.groups.iter().enumerate() {
            let (own, rest) = streams
                .split_at_checked(group.streams)
                .ok_or_else(|| WorldError::NoStream(alias(group, group.streams - 1)))?;
            streams = rest;
            let Some((_, number)) = own.first() else { continue };
            let sample = |(n, (stream, _)): (usize, &(_, _))| Sample {
                stream: *stream,
                value: Value::Steps(value(place, n, feed.fed)),
                quality: Quality::Good,
            };
            let samples = own.iter().enumerate().map(sample).collect();
            let capture = Capture { group: *number, at: Mono::from(at), samples, missing: Vec::new() };
            let answer = queue.offer(capture).await?;
            feed.waiting.push_back((place, feed.fed, answer));
        }
        feed.fed += 1;
        Ok(())
    }
}

fn alias(group: &FeedGroup, stream: usize) -> String {
    format!("{}{stream}", group.name)
}

/// The value of a stream at an instant: a slow wave of its own under a few bits of noise, as a 16-bit measurement has.
fn value(group: usize, stream: usize, instant: u64) -> i64 {
    let stream = group * 100 + stream;
    let wave = (instant / 8 + 400 * stream as u64) % 4000;
    let wave = wave.min(4000 - wave);
    let noise = (instant ^ (stream as u64) << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60;
    wave.cast_signed() * 8 + noise.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        let mut feed = Feed::new(&[FeedGroup { name: "g", class: Class::Telemetry, streams: 1 }]);
        feed.fed = 10;
        let run = |epoch, sequence, instant| Run { epoch: [epoch; 4], sequence, instant };
        feed.runs[0] = vec![run(1, 1, 0), run(2, 2, 6)];
        feed
    }

    fn far(epoch: u8, sequence: u64, value: i64) -> FarValue {
        FarValue { epoch: [epoch; 4], sequence, value: Some(value as f64), copies: 1 }
    }

    #[test]
    fn what_is_missing_is_told_by_its_instants_over_all_epochs() {
        let values = [far(1, 1, value(0, 0, 0)), far(1, 4, value(0, 0, 3)), far(2, 3, value(0, 0, 7))];
        let arrived = feed().compare(0, |_| values.to_vec());
        assert_eq!((arrived[0].there, arrived[0].wrong), (3, 0));
        assert_eq!(arrived[0].missing, [(1, 2), (4, 6), (8, 9)]);
    }

    #[test]
    fn another_value_and_an_instant_that_never_was_are_wrong() {
        let values = [far(1, 1, value(0, 0, 0) + 1), far(2, 6, 0), far(3, 1, 0)];
        let arrived = feed().compare(0, |_| values.to_vec());
        assert_eq!((arrived[0].there, arrived[0].wrong), (0, 3));
    }

    #[test]
    fn what_was_fed_before_the_beginning_is_not_asked_for() {
        let arrived = feed().compare(8, |_| vec![far(2, 4, value(0, 0, 8)), far(2, 5, value(0, 0, 9))]);
        assert_eq!(arrived[0].missing, []);
    }
}
