//! What can go wrong with a slave's answer, and when.

use super::codec::ExceptionCode;
use crate::random::mix;
use std::time::Duration;

/// A disturbance of one slave's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer. The request is still heard, and counted as unanswered.
    Silent,
    /// The answer begins only this long after the request; valid, and so produced.
    Late(Duration),
    /// The answer's CRC is wrong.
    BadCrc,
    /// One bit somewhere in the answer is flipped.
    FlippedBit,
    /// Only this many bytes of the answer are sent (at least one, at most all but one).
    Truncated(usize),
    /// This many bytes of noise (at most 64), silence between frames, then the whole answer: valid, and so produced.
    NoiseBefore(usize),
    /// This many bytes of noise (at most 64) that run into the answer and take the place of its first byte. What
    /// follows is no frame, however hard a reader looks for one.
    NoiseInto(usize),
    /// An exception instead of the answer. A write is not carried out.
    Exception(ExceptionCode),
}

/// Which of a slave's answers a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Each, until cleared.
    Always,
    /// The next so many, then none.
    Next(u32),
    /// One in so many on average, drawn from the bus's seed; 0 is never.
    OneIn(u32),
}

/// A slave's faults: the first that befalls an answer is the only one.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<(Fault, When)>,
}

impl Faults {
    pub(super) const MOST: usize = 8;

    /// `false` when there are too many already.
    pub(super) fn add(&mut self, fault: Fault, when: When) -> bool {
        let room = self.rules.len() < Self::MOST;
        if room {
            self.rules.push((fault, when));
        }
        room
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault of the answer whose dice are `key`.
    pub(super) fn draw(&mut self, key: u64) -> Option<Fault> {
        let mut drawn = None;
        for (index, (fault, when)) in self.rules.iter_mut().enumerate() {
            let befalls = match when {
                When::Always => true,
                When::Next(left) => {
                    let any = *left > 0;
                    *left = left.saturating_sub(1);
                    any
                }
                When::OneIn(n) => mix(key ^ mix(index as u64)).checked_rem(u64::from(*n)) == Some(0),
            };
            if befalls {
                drawn = Some(*fault);
                break;
            }
        }
        self.rules.retain(|(_, when)| *when != When::Next(0));
        drawn
    }
}

/// What a frame looks like after something happened to it on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    BadCrc,
    FlippedBit,
    Truncated(usize),
    NoiseInto(usize),
}

impl Damage {
    /// Length of what is left of a frame of this length; also the number of character times it takes.
    pub(super) fn length(self, frame: usize) -> usize {
        match self {
            Self::BadCrc | Self::FlippedBit => frame,
            Self::Truncated(kept) => kept.max(1).min(frame.saturating_sub(1)),
            Self::NoiseInto(n) => bounded_noise(n) + frame.saturating_sub(1),
        }
    }

    /// Damages a sound frame; it is never sound afterwards. `key` is the dice.
    pub(super) fn apply(self, mut frame: Vec<u8>, key: u64) -> Vec<u8> {
        match self {
            Self::BadCrc => {
                if let Some(last) = frame.last_mut() {
                    *last ^= (mix(key) as u8).max(1);
                }
                frame
            }
            Self::FlippedBit => {
                let bits = frame.len() as u64 * 8;
                let bit = mix(key).checked_rem(bits).unwrap_or(0);
                if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|i| frame.get_mut(i)) {
                    *byte ^= 1 << (bit % 8);
                }
                frame
            }
            Self::Truncated(_) => {
                frame.truncate(self.length(frame.len()));
                frame
            }
            Self::NoiseInto(n) => {
                let first = frame.first().copied().unwrap_or(0);
                let mut out = noise(n, key);
                // The last noise byte stands where the unit was, and is not the unit.
                if let Some(last) = out.last_mut().filter(|last| **last == first) {
                    *last = !first;
                }
                out.extend(frame.into_iter().skip(1));
                out
            }
        }
    }
}

/// Noise of 1..=64 bytes.
pub(super) fn noise(length: usize, key: u64) -> Vec<u8> {
    (0..bounded_noise(length) as u64).map(|i| mix(key ^ mix(!i)) as u8).collect()
}

pub(super) fn bounded_noise(length: usize) -> usize {
    length.clamp(1, 64)
}
