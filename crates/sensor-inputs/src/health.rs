//! What a line sounds like as a whole: everything that was heard is counted, and the newest part of it is given a name.
//!
//! Pure. A [`LineHealth`] belongs to whoever owns the port. It is told every byte ([`LineHealth::heard`]) and what became
//! of every piece that the bytes were cut into ([`LineHealth::good`], [`LineHealth::fault`]). Two sets of counters are
//! kept: all of them since the beginning for the books, and a fading one for the verdict, so that a line that was
//! repaired is soon called fine. Invariant: counters saturate, and no input is an error.

use core::time::Duration;

/// What a line carries, which decides what its bytes say by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Lines of readable characters: others in number are a sign of a wrong bit rate.
    Text,
    /// Binary frames: any byte is as likely as any other.
    Frames,
}

/// Why a piece of what was heard was no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No end came within the length allowed.
    Overlong,
    /// Its checksum is not that of its bytes.
    Checksum,
    /// It begins as a message of this format and is damaged or does not follow it.
    Malformed,
    /// Readable, but not of this format.
    Foreign,
    /// It broke off in the middle: the sender was restarted, bytes were lost, or we came in late.
    Cut,
}

/// Counts. Those of a [`LineHealth`] only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes heard.
    pub bytes: u64,
    /// Of these, bytes that are no text: control bytes but TAB, CR and LF, and what is not UTF-8.
    pub odd_bytes: u64,
    /// Messages.
    pub good: u64,
    /// Pieces by [`Fault`].
    pub overlong: u64,
    /// See `overlong`.
    pub checksum: u64,
    /// See `overlong`.
    pub malformed: u64,
    /// See `overlong`.
    pub foreign: u64,
    /// See `overlong`.
    pub cut: u64,
}

/// What is the matter with a line, by what was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not a byte was ever heard.
    NeverHeard,
    /// Nothing was heard for this long.
    Silent(Duration),
    /// Too little was heard to say anything.
    Listening,
    /// Messages come whole.
    Fine,
    /// So many percent of what comes is damaged.
    Noisy(u8),
    /// What comes are not characters.
    WrongSpeed,
    /// Readable lines come, but of another format.
    OtherFormat,
    /// Bytes come, but no end of a message.
    NoEnds,
    /// Binary frames were expected, and none is whole.
    Unreadable,
}

impl Verdict {
    /// One word for records and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverHeard => "never_heard",
            Self::Silent(_) => "silent",
            Self::Listening => "listening",
            Self::Fine => "fine",
            Self::Noisy(_) => "noisy",
            Self::WrongSpeed => "wrong_speed",
            Self::OtherFormat => "other_format",
            Self::NoEnds => "no_ends",
            Self::Unreadable => "unreadable",
        }
    }

    /// What it means and what to look at, for a person.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NeverHeard => {
                "nothing was ever heard: check the device's power, the wires (TX to RX) and the port"
            }
            Self::Silent(_) => "nothing is heard any more: check the device's power and the wires",
            Self::Listening => "too little was heard to say anything yet",
            Self::Fine => "messages come whole",
            Self::Noisy(_) => {
                "some of what comes is damaged: check ground, termination and length of the cable, and whether two senders share it"
            }
            Self::WrongSpeed => {
                "bytes come, but few are characters: the baud rate, the parity or the polarity is probably wrong"
            }
            Self::OtherFormat => {
                "readable lines come, but not of the configured format: check the format and the port"
            }
            Self::NoEnds => {
                "bytes come, but no end of a message: check the format, or whether the device sends without pause"
            }
            Self::Unreadable => {
                "bytes come, but no frame is whole: check the baud rate, the framing and the checksum configured"
            }
        }
    }
}

/// See the module head.
#[derive(Clone, Debug)]
pub struct LineHealth {
    carries: Carries,
    silent_after: Duration,
    heard_at: Option<Duration>,
    total: Tally,
    recent: Tally,
}

/// The fading counters are halved when they hold this many bytes…
const RECENT_BYTES: u64 = 4_096;
/// … or this many pieces.
const RECENT_PIECES: u64 = 64;
/// With fewer bytes and no more than [`FEW_PIECES`] pieces there is no verdict but a good one.
const FEW_BYTES: u64 = 48;
const FEW_PIECES: u64 = 2;
/// More damaged pieces than this of a hundred are worth a word.
const TOLERATED_PERCENT: u64 = 5;
/// A line of which so great a part is odd is no text. A text that is sent without a pause and heard at half its speed
/// reads as characters for the most part: an eighth of it is odd.
const ODD_SHARE: u64 = 12;

impl LineHealth {
    /// A line that was not heard yet. After `silent_after` without a byte it is called silent.
    #[must_use]
    pub fn new(carries: Carries, silent_after: Duration) -> Self {
        Self { carries, silent_after, heard_at: None, total: Tally::default(), recent: Tally::default() }
    }

    /// These bytes were heard.
    pub fn heard(&mut self, now: Duration, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.heard_at = Some(now);
        let odd = odd_bytes(bytes);
        for tally in [&mut self.total, &mut self.recent] {
            tally.bytes = tally.bytes.saturating_add(bytes.len() as u64);
            tally.odd_bytes = tally.odd_bytes.saturating_add(odd as u64);
        }
        self.fade();
    }

    /// A piece was a message.
    pub fn good(&mut self) {
        self.count(|tally| &mut tally.good);
    }

    /// A piece was none.
    pub fn fault(&mut self, fault: Fault) {
        self.count(|tally| match fault {
            Fault::Overlong => &mut tally.overlong,
            Fault::Checksum => &mut tally.checksum,
            Fault::Malformed => &mut tally.malformed,
            Fault::Foreign => &mut tally.foreign,
            Fault::Cut => &mut tally.cut,
        });
    }

    /// All counts since the beginning.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.total
    }

    /// When a byte was last heard.
    #[must_use]
    pub fn heard_at(&self) -> Option<Duration> {
        self.heard_at
    }

    /// What is the matter at `now`.
    #[must_use]
    pub fn verdict(&self, now: Duration) -> Verdict {
        let Some(heard_at) = self.heard_at else { return Verdict::NeverHeard };
        let silence = now.saturating_sub(heard_at);
        if silence > self.silent_after {
            return Verdict::Silent(silence);
        }
        let Tally { bytes, odd_bytes, good, overlong, malformed, foreign, .. } = self.recent;
        let damaged = self.recent.damaged();
        let pieces = damaged + good + foreign;
        if good > 0 {
            let percent = damaged * 100 / pieces;
            let percent_shown = u8::try_from(percent).unwrap_or(100).max(1);
            return if percent > TOLERATED_PERCENT { Verdict::Noisy(percent_shown) } else { Verdict::Fine };
        }
        let is_text = self.carries == Carries::Text;
        if bytes < FEW_BYTES && pieces <= FEW_PIECES {
            Verdict::Listening
        } else if is_text && odd_bytes * ODD_SHARE >= bytes {
            Verdict::WrongSpeed
        } else if overlong == pieces {
            // Also when no piece came to an end at all.
            Verdict::NoEnds
        } else if !is_text {
            Verdict::Unreadable
        } else if foreign + malformed > damaged - malformed {
            Verdict::OtherFormat
        } else {
            Verdict::Noisy(100)
        }
    }

    fn count(&mut self, which: impl Fn(&mut Tally) -> &mut u64) {
        for tally in [&mut self.total, &mut self.recent] {
            let counter = which(tally);
            *counter = counter.saturating_add(1);
        }
        self.fade();
    }

    fn fade(&mut self) {
        let recent = &mut self.recent;
        if recent.bytes < RECENT_BYTES && recent.damaged() + recent.good + recent.foreign < RECENT_PIECES {
            return;
        }
        for counter in [
            &mut recent.bytes,
            &mut recent.odd_bytes,
            &mut recent.good,
            &mut recent.overlong,
            &mut recent.checksum,
            &mut recent.malformed,
            &mut recent.foreign,
            &mut recent.cut,
        ] {
            *counter /= 2;
        }
    }
}

/// Bytes that no text has. A character that is cut in two by the end of `bytes` counts as odd.
fn odd_bytes(bytes: &[u8]) -> usize {
    let is_odd = |c: &char| c.is_control() && !matches!(c, '\t' | '\r' | '\n');
    bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().chars().filter(is_odd).count() + chunk.invalid().len())
        .sum()
}

impl Tally {
    /// Pieces that were messages before something happened to them.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        [self.checksum, self.malformed, self.overlong, self.cut].into_iter().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests;
