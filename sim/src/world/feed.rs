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
    /// Captured in one instant of so many, from the first on.
    pub every: u64,
    /// Bits of noise in each value, 1 to 30: the more, the less any encoding saves.
    pub noise_bits: u32,
}

/// What is fed into a world, and how far it has got.
#[derive(Debug)]
pub struct Feed {
    groups: Vec<FeedGroup>,
    /// Instants fed.
    fed: u64,
    /// Of each group, which capture went under which sequence, wherever that changed.
    runs: Vec<Vec<Run>>,
    /// Captures that are not yet answered: group and number. As many as the daemon's writer gathers.
    waiting: VecDeque<(usize, u64, Answer)>,
    /// Captures that were refused.
    refused: u64,
}

type Answer = oneshot::Receiver<Result<Accepted, Refused>>;

/// Under this epoch and from this sequence on, one capture of the feed follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    epoch: [u8; 4],
    sequence: u64,
    capture: u64,
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
    /// Captures of its group that were fed.
    pub fed: u64,
    /// Runs of captures that are not there, first and last, counted from 0; at most a thousand are told.
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

    /// Readings fed up to now.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.groups.iter().map(|group| group.streams as u64 * self.fed.div_ceil(group.every)).sum()
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
        while let Some((group, capture, answer)) = self.waiting.pop_front() {
            self.note(group, capture, answer.await.unwrap_or(Err(Refused::Stopped)));
        }
    }

    /// The epoch's first bytes and the sequence under which a capture of a group went, counted from 0. What follows an answered one is taken to
    /// follow it.
    pub fn identity(&mut self, group: usize, capture: u64) -> Option<([u8; 4], u64)> {
        self.take_answers();
        let run = self.runs.get(group)?.iter().rev().find(|run| run.capture <= capture)?;
        Some((run.epoch, run.sequence + (capture - run.capture)))
    }

    /// Takes the answers that are there.
    fn take_answers(&mut self) {
        while let Some((_, _, answer)) = self.waiting.front_mut() {
            let Ok(answer) = answer.try_recv() else { return };
            if let Some((group, capture, _)) = self.waiting.pop_front() {
                self.note(group, capture, answer);
            }
        }
    }

    fn note(&mut self, group: usize, capture: u64, answer: Result<Accepted, Refused>) {
        let Some(runs) = self.runs.get_mut(group) else { return };
        match answer {
            Ok(Accepted { epoch, sequence, .. }) => {
                let follows = runs.last().is_some_and(|run| {
                    run.epoch == epoch.prefix() && sequence - run.sequence == capture - run.capture
                });
                if !follows {
                    runs.push(Run { epoch: epoch.prefix(), sequence, capture });
                }
            }
            Err(_) => self.refused += 1,
        }
    }

    /// Compares what a destination has, alias by alias, with what was fed.
    #[must_use]
    pub fn compare(&self, far: impl Fn(&str) -> Vec<FarValue>) -> Vec<Arrived> {
        let mut result = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            for stream in 0..group.streams {
                let alias = alias(group, stream);
                let arrived = self.compare_stream(place, group, stream, &far(&alias));
                result.push(Arrived { alias, ..arrived });
            }
        }
        result
    }

    fn compare_stream(&self, place: usize, group: &FeedGroup, stream: usize, far: &[FarValue]) -> Arrived {
        let mut arrived = Arrived {
            alias: String::new(),
            class: group.class,
            there: 0,
            copies: 0,
            wrong: 0,
            fed: self.fed.div_ceil(group.every),
            missing: Vec::new(),
        };
        let mut captures = Vec::with_capacity(far.len());
        for seen in far {
            arrived.copies += seen.copies.saturating_sub(1);
            match self.capture(place, seen).filter(|n| *n < arrived.fed) {
                Some(n) if seen.value == Some(value(place, group, stream, n) as f64) => captures.push(n),
                _ => arrived.wrong += 1,
            }
        }
        captures.sort_unstable();
        captures.dedup();
        arrived.there = captures.len() as u64;
        let mut next = 0;
        for n in captures.into_iter().chain([arrived.fed]) {
            if n > next && arrived.missing.len() < MOST_RUNS {
                arrived.missing.push((next, n - 1));
            }
            next = n + 1;
        }
        arrived
    }

    /// Which capture travelled under this identity.
    fn capture(&self, group: usize, seen: &FarValue) -> Option<u64> {
        let runs = self.runs.get(group)?.iter().rev();
        let run = runs.filter(|run| run.epoch == seen.epoch).find(|run| run.sequence <= seen.sequence)?;
        Some(run.capture + (seen.sequence - run.sequence))
    }
}

impl World {
    /// Has the queue take the next instant of a feed, captured at `at`. Answers are not waited for:
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
            if !feed.fed.is_multiple_of(group.every) {
                continue;
            }
            let capture = feed.fed / group.every;
            let Some((_, number)) = own.first() else { continue };
            let sample = |(n, (stream, _)): (usize, &(_, _))| Sample {
                stream: *stream,
                value: Value::Steps(value(place, group, n, capture)),
                quality: Quality::Good,
            };
            let samples = own.iter().enumerate().map(sample).collect();
            let captured = Capture { group: *number, at: Mono::from(at), samples, missing: Vec::new() };
            let answer = queue.offer(captured).await?;
            feed.waiting.push_back((place, capture, answer));
        }
        feed.fed += 1;
        Ok(())
    }
}

fn alias(group: &FeedGroup, stream: usize) -> String {
    format!("{}{stream}", group.name)
}

/// The value of a stream in a capture: a slow wave of its own under noise. With four bits it is what a 16-bit
/// measurement looks like.
fn value(place: usize, group: &FeedGroup, stream: usize, capture: u64) -> i64 {
    let stream = place * 100 + stream;
    let wave = (capture / 8 + 400 * stream as u64) % 4000;
    let wave = wave.min(4000 - wave);
    let noise =
        (capture ^ (stream as u64) << 40).wrapping_mul(crate::random::STEP) >> (64 - group.noise_bits);
    wave.cast_signed() * 8 + noise.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        let mut feed = Feed::new(&[FeedGroup {
            name: "g",
            class: Class::Telemetry,
            streams: 1,
            every: 1,
            noise_bits: 4,
        }]);
        feed.fed = 10;
        let run = |epoch, sequence, capture| Run { epoch: [epoch; 4], sequence, capture };
        feed.runs[0] = vec![run(1, 1, 0), run(2, 2, 6)];
        feed
    }

    fn fed(capture: u64) -> i64 {
        value(0, &feed().groups[0], 0, capture)
    }

    fn far(epoch: u8, sequence: u64, value: i64) -> FarValue {
        FarValue { epoch: [epoch; 4], sequence, value: Some(value as f64), copies: 1 }
    }

    #[test]
    fn what_is_missing_is_told_by_its_instants_over_all_epochs() {
        let values = [far(1, 1, fed(0)), far(1, 4, fed(3)), far(2, 3, fed(7))];
        let arrived = feed().compare(|_| values.to_vec());
        assert_eq!((arrived[0].there, arrived[0].wrong), (3, 0));
        assert_eq!(arrived[0].missing, [(1, 2), (4, 6), (8, 9)]);
    }

    #[test]
    fn another_value_and_an_instant_that_never_was_are_wrong() {
        let values = [far(1, 1, fed(0) + 1), far(2, 6, 0), far(3, 1, 0)];
        let arrived = feed().compare(|_| values.to_vec());
        assert_eq!((arrived[0].there, arrived[0].wrong), (0, 3));
    }

    #[test]
    fn a_group_that_is_captured_seldom_is_asked_for_what_it_had() {
        let mut feed = feed();
        feed.groups[0].every = 4;
        let arrived = feed.compare(|_| vec![far(1, 1, fed(0)), far(1, 3, fed(2))]);
        assert_eq!((arrived[0].fed, arrived[0].wrong, arrived[0].missing.clone()), (3, 0, vec![(1, 1)]));
    }
}
