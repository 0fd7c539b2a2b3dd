//! What the NTP daemon of this machine says of the system clock, in the protocols such daemons answer on loopback. Pure:
//! questions and answers as bytes.
//!
//! The kernel has a flag for all of them, but reading it takes a system call for which there is no safe wrapper that also
//! builds for 32-bit ARM. So the daemons are asked, each in its own words: `chronyd` in its monitoring protocol (candm.h of
//! chrony, version 6), `ntpd`, `ntpsec` and all others that serve time in NTP itself (RFC 5905, section 7.3). `systemd-timesyncd`
//! answers nobody and leaves a file instead, see `machine`.
//!
//! Whoever serves time need not set the system clock by it. So an answer in NTP also tells the time that is served, and counts
//! only where that is the system clock's. `chronyd` in its monitoring protocol tells of the clock it sets.
//!
//! Invariant: an answer that is not to this question, or of a daemon that follows nobody but its own clock, is none.

use std::time::Duration;

use super::Synchronised;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `chronyd`: it serves time only where it is told to, but tells this machine its state.
    Chrony,
    /// Anything that serves time.
    Ntp,
}

/// What a daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The newest synchronisation of its clock.
    pub newest: Synchronised,
    /// What its clock said as it answered, unix milliseconds, where it tells that.
    pub served_unix_ms: Option<i64>,
}

/// An answer that comes later is none.
pub const PATIENCE: Duration = Duration::from_millis(PATIENCE_MS);
const PATIENCE_MS: u64 = 500;

impl Answer {
    /// Whether it is about a clock that says `unix_ms` as the answer comes.
    #[must_use]
    pub fn is_about(&self, unix_ms: i64) -> bool {
        let near = u64::from(self.newest.uncertainty_ms).saturating_add(PATIENCE_MS);
        self.served_unix_ms.is_none_or(|served| served.abs_diff(unix_ms) <= near)
    }
}

/// A reading of the clock and the answer to a question are not of the same instant.
const LEAST_UNCERTAINTY_MS: f64 = 50.0;
/// A clock that may be off by more counts as not synchronised: `MAXDISP` of RFC 5905, the kernel's limit too.
const MOST_UNCERTAINTY_MS: f64 = 16_000.0;
/// Not synchronised, in both protocols.
const LEAP_UNKNOWN: u16 = 3;
/// A server above this is not synchronised.
const STRATUM_MAX: u16 = 15;

const CHRONY_VERSION: u8 = 6;
const CHRONY_TRACKING: u16 = 33;
const CHRONY_TRACKING_REPLY: u16 = 5;
/// Of the answer; a question must not be shorter, so that nobody can be flooded with answers.
const CHRONY_LEN: usize = 104;
/// In the place of the high half, by a `chronyd` that has no high half (`TV_NOHIGHSEC`).
const CHRONY_NO_HIGH_SECONDS: u32 = 0x7fff_ffff;
const NTP_LEN: usize = 48;
/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: i64 = 2_208_988_800;

impl Server {
    /// All of them, in the order they are asked.
    pub const ALL: [Self; 2] = [Self::Chrony, Self::Ntp];
    /// No question or answer is longer.
    pub const LONGEST: usize = CHRONY_LEN;

    /// Its UDP port on loopback.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Chrony => 323,
            Self::Ntp => 123,
        }
    }

    /// The question. `nonce` is drawn anew for each.
    #[must_use]
    pub fn question(self, nonce: u64) -> Vec<u8> {
        match self {
            Self::Chrony => {
                let mut bytes = vec![CHRONY_VERSION, 1, 0, 0];
                bytes.extend(CHRONY_TRACKING.to_be_bytes());
                bytes.extend([0; 2]);
                bytes.extend(sequence(nonce));
                bytes.resize(CHRONY_LEN, 0);
                bytes
            }
            Self::Ntp => {
                // Version 4, client; the daemon repeats the transmit time, which need not be one.
                let mut bytes = vec![0x23];
                bytes.resize(NTP_LEN - 8, 0);
                bytes.extend(nonce.to_be_bytes());
                bytes
            }
        }
    }

    /// The answer to the question with this nonce.
    #[must_use]
    pub fn answer(self, nonce: u64, bytes: &[u8]) -> Option<Answer> {
        match self {
            Self::Chrony => chrony(nonce, bytes),
            Self::Ntp => ntp(nonce, bytes),
        }
    }
}

/// A reply has 28 bytes of header; then the reference: id 28, stratum 52, leap 54, time 56; the correction under way 68; delay
/// 92 and dispersion 96 to the root.
fn chrony(nonce: u64, bytes: &[u8]) -> Option<Answer> {
    let ours = bytes.len() >= CHRONY_LEN
        && bytes.starts_with(&[CHRONY_VERSION, 2])
        && u16_at(bytes, 4)? == CHRONY_TRACKING
        && u16_at(bytes, 6)? == CHRONY_TRACKING_REPLY
        && u16_at(bytes, 8)? == 0
        && array::<4>(bytes, 16)? == sequence(nonce);
    let (stratum, leap) = (u16_at(bytes, 52)?, u16_at(bytes, 54)?);
    if !ours || leap == LEAP_UNKNOWN || stratum > STRATUM_MAX || follows_itself(array(bytes, 28)?) {
        return None;
    }
    let high = Some(u32_at(bytes, 56)?).filter(|high| *high != CHRONY_NO_HIGH_SECONDS).unwrap_or(0);
    let seconds = (i64::from(high) << 32) | i64::from(u32_at(bytes, 60)?);
    let at_unix_ms = seconds.checked_mul(1000)?.checked_add(i64::from(u32_at(bytes, 64)? / 1_000_000))?;
    let float = |at| Some(chrony_float(u32_at(bytes, at)?));
    let newest = synchronised(at_unix_ms, float(68)?.abs() + float(92)? / 2.0 + float(96)?)?;
    Some(Answer { newest, served_unix_ms: None })
}

/// Flags 0, stratum 1, delay 4 and dispersion 8 to the root, reference 12; then times: of the last correction 16, the question's
/// own 24, of its arrival 32, of the answer 40.
fn ntp(nonce: u64, bytes: &[u8]) -> Option<Answer> {
    let [flags, stratum] = array(bytes, 0)?;
    let ours = bytes.len() >= NTP_LEN && flags & 7 == 4 && array::<8>(bytes, 24)? == nonce.to_be_bytes();
    let stratum_tells = (1..=STRATUM_MAX).contains(&u16::from(stratum));
    if !ours || u16::from(flags >> 6) == LEAP_UNKNOWN || !stratum_tells || follows_itself(array(bytes, 12)?) {
        return None;
    }
    // Seconds with 16 bits of fraction.
    let short = |at| Some(f64::from(u32_at(bytes, at)?) / 65_536.0);
    let newest = synchronised(ntp_time(bytes, 16)?, short(4)? / 2.0 + short(8)?)?;
    Some(Answer { newest, served_unix_ms: Some(ntp_time(bytes, 40)?) })
}

/// Unix milliseconds.
fn ntp_time(bytes: &[u8], at: usize) -> Option<i64> {
    let seconds = i64::from(u32_at(bytes, at)?);
    // The count began anew in 2036; the earlier half of it cannot be meant.
    let era = if seconds < 1 << 31 { 1 << 32 } else { 0 };
    let fraction_ms = (i64::from(u32_at(bytes, at + 4)?) * 1000) >> 32;
    Some((seconds + era - NTP_TO_UNIX) * 1000 + fraction_ms)
}

fn synchronised(at_unix_ms: i64, within_s: f64) -> Option<Synchronised> {
    let within_ms = (within_s * 1000.0).ceil();
    // Not a number is refused too.
    (within_ms <= MOST_UNCERTAINTY_MS).then_some(Synchronised {
        at_unix_ms,
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between the least and the most, both of which fit"
        )]
        uncertainty_ms: within_ms.max(LEAST_UNCERTAINTY_MS) as u32,
    })
}

/// `chronyd` with `local`, `ntpd` with its local clock: served as if it were true, and nobody keeps it right.
fn follows_itself(reference: [u8; 4]) -> bool {
    reference.starts_with(&[127, 127, 1]) || reference == *b"LOCL"
}

/// Seven bits of exponent and 25 of mantissa, both with sign.
fn chrony_float(bits: u32) -> f64 {
    let signed = bits.cast_signed();
    let (exponent, mantissa) = (signed >> 25, (signed << 7) >> 7);
    f64::from(mantissa) * 2f64.powi(exponent - 25)
}

/// Low half first, as good as any.
fn sequence(nonce: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = nonce.to_le_bytes();
    [a, b, c, d]
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
