//! The signal judged for people: a mean of the last measurements, a grade, what limits it, and what to do about it.
//!
//! One measurement says little: a person walking past moves it by several decibels. The window keeps the last few; a judgement
//! of fewer than three is marked as not settled. What is not known stays unknown, which is not poor.

use std::fmt;

use crate::signal::{Grade, Rsrp, Rsrq, Snr};

/// Measurements a mean is taken of.
const WINDOW: usize = 5;
/// Fewer than these say little.
const SETTLED: usize = 3;

/// The last measurements of one cell. Whoever owns it clears it when the cell changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalWindow {
    rsrp: Ring,
    rsrq: Ring,
    snr: Ring,
}

impl SignalWindow {
    /// A window without measurements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what one measurement knows; what it does not know leaves the mean as it is.
    pub fn push(&mut self, rsrp: Option<Rsrp>, rsrq: Option<Rsrq>, snr: Option<Snr>) {
        self.rsrp.push(rsrp.map(|it| it.dbm));
        self.rsrq.push(rsrq.map(|it| it.half_db));
        self.snr.push(snr.map(|it| it.db));
    }

    /// Forgets everything: the modem is on another cell, or on none.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The judgement of what is in the window.
    #[must_use]
    pub fn quality(&self) -> Quality {
        let rsrp = self.rsrp.mean().map(|dbm| Rsrp { dbm });
        let rsrq = self.rsrq.mean().map(|half_db| Rsrq { half_db });
        let snr = self.snr.mean().map(|db| Snr { db });
        // Each value that is known must have been seen often enough.
        let settled = [&self.rsrp, &self.snr].iter().all(|ring| ring.known == 0 || ring.known >= SETTLED);
        let mut quality = Quality::judge(rsrp, rsrq, snr);
        quality.settled = settled && quality.grade.is_some();
        quality
    }
}

/// A bounded series; the oldest go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ring {
    values: [i16; WINDOW],
    known: usize,
    next: usize,
}

impl Ring {
    fn push(&mut self, value: Option<i16>) {
        let Some(value) = value else { return };
        if let Some(slot) = self.values.get_mut(self.next) {
            *slot = value;
        }
        self.next = (self.next + 1) % WINDOW;
        self.known = (self.known + 1).min(WINDOW);
    }

    /// Rounded to the nearest, halves away from zero.
    fn mean(&self) -> Option<i16> {
        let known = i32::try_from(self.known).ok().filter(|known| *known > 0)?;
        let sum: i32 = self.values.iter().take(self.known).map(|value| i32::from(*value)).sum();
        i16::try_from((2 * sum + sum.signum() * known) / (2 * known)).ok()
    }
}

/// A judged signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality {
    /// How good it is; `None` where neither power nor signal to noise ratio is known.
    pub grade: Option<Grade>,
    /// What keeps it from being better; `None` where nothing does or nothing is known.
    pub limit: Option<Limit>,
    /// Mean power.
    pub rsrp: Option<Rsrp>,
    /// Mean quality; shown, and not counted.
    pub rsrq: Option<Rsrq>,
    /// Mean signal to noise ratio.
    pub snr: Option<Snr>,
    /// It rests on at least three measurements.
    pub settled: bool,
}

/// What a signal lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Power: the cell is far away or hidden.
    Power,
    /// Distance from the noise: other cells or devices are as loud.
    Noise,
}

impl Quality {
    /// Judges one measurement; not settled.
    #[must_use]
    pub fn judge(rsrp: Option<Rsrp>, rsrq: Option<Rsrq>, snr: Option<Snr>) -> Self {
        let grade = Grade::of(rsrp, snr);
        let (power, noise) = (Grade::of(rsrp, None), Grade::of(None, snr));
        let limit = match grade {
            None | Some(Grade::Excellent) => None,
            // Where both are equally bad, more power also helps against noise.
            _ if grade == power => Some(Limit::Power),
            _ if grade == noise => Some(Limit::Noise),
            _ => None,
        };
        Self { grade, limit, rsrp, rsrq, snr, settled: false }
    }

    /// What to do, for whoever stands before the gateway.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match (self.grade, self.limit) {
            (None, _) => "not known: the modem is on no cell, or has not measured yet",
            (Some(Grade::Excellent | Grade::Good), _) => "nothing to do",
            (Some(Grade::Fair), _) => "it works; a better place for the antenna saves energy and time",
            (Some(Grade::Poor | Grade::VeryPoor), Some(Limit::Noise)) => {
                "the cell is heard through much noise: move the antenna away from electronics and cables, or where it sees \
                 one mast better than others"
            }
            (Some(Grade::Poor | Grade::VeryPoor), _) => {
                "the cell is far away or hidden: put the antenna higher, outdoors, and away from metal"
            }
        }
    }
}

/// The grade with its numbers, for instance `fair: -108 dBm, -12.5 dB, 7 dB above noise`.
impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.grade {
            Some(grade) => write!(f, "{grade}")?,
            None => f.write_str("unknown")?,
        }
        let mut separator = ": ";
        if let Some(rsrp) = self.rsrp {
            write!(f, "{separator}{rsrp}")?;
            separator = ", ";
        }
        if let Some(rsrq) = self.rsrq {
            write!(f, "{separator}{rsrq}")?;
            separator = ", ";
        }
        if let Some(snr) = self.snr {
            write!(f, "{separator}{snr} above noise")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn power(dbm: i16) -> Option<Rsrp> {
        Some(Rsrp { dbm })
    }

    fn noise(db: i16) -> Option<Snr> {
        Some(Snr { db })
    }

    #[test]
    fn a_judgement_of_three_measurements_is_settled() {
        let mut window = SignalWindow::new();
        assert_eq!((window.quality().grade, window.quality().settled), (None, false));
        for (count, dbm) in [(1, -100), (2, -104), (3, -108)] {
            window.push(power(dbm), None, None);
            assert_eq!(window.quality().settled, count >= 3);
        }
        let quality = window.quality();
        assert_eq!(
            (quality.rsrp, quality.grade, quality.limit),
            (power(-104), Some(Grade::Good), Some(Limit::Power))
        );
        // A ratio that has just appeared is not settled yet.
        window.push(None, None, noise(7));
        assert!(!window.quality().settled);
        window.clear();
        assert_eq!(window, SignalWindow::new());
    }

    #[test]
    fn what_a_measurement_does_not_know_does_not_count() {
        let mut window = SignalWindow::new();
        (0..4).for_each(|_| window.push(power(-90), None, None));
        (0..9).for_each(|_| window.push(None, None, None));
        assert_eq!(window.quality().rsrp, power(-90));
        assert!(window.quality().settled);
    }

    #[test]
    fn one_bad_moment_does_not_change_the_grade() {
        let mut window = SignalWindow::new();
        (0..4).for_each(|_| window.push(power(-88), Some(Rsrq { half_db: -20 }), noise(15)));
        window.push(power(-94), Some(Rsrq { half_db: -24 }), noise(13));
        let quality = window.quality();
        assert_eq!(quality.grade, Some(Grade::Excellent));
        assert_eq!(quality.to_string(), "excellent: -89 dBm, -10.5 dB, 15 dB above noise");
        (0..5).for_each(|_| window.push(power(-112), None, None));
        assert_eq!(window.quality().rsrp, power(-112), "the oldest go first");
    }

    #[test]
    fn what_limits_decides_what_to_do() {
        let far = Quality::judge(power(-120), None, noise(9));
        assert_eq!((far.grade, far.limit), (Some(Grade::Poor), Some(Limit::Power)));
        assert!(far.advice().contains("higher"));
        let loud = Quality::judge(power(-80), None, noise(-3));
        assert_eq!((loud.grade, loud.limit), (Some(Grade::Poor), Some(Limit::Noise)));
        assert!(loud.advice().contains("noise"));
        let unknown = Quality::judge(None, Some(Rsrq { half_db: -20 }), None);
        assert_eq!(
            (unknown.grade, unknown.limit, unknown.to_string().as_str()),
            (None, None, "unknown: -10.0 dB")
        );
        assert!(unknown.advice().starts_with("not known"));
        assert_eq!(Quality::judge(power(-95), None, noise(20)).advice(), "nothing to do");
        assert!(Quality::judge(power(-110), None, None).advice().starts_with("it works"));
    }

    #[test]
    fn the_vendors_worst_example_is_as_bad_here() {
        // RSRP -132 dBm and SNR -10 dB had the modem's own worst estimate of energy.
        assert_eq!(Quality::judge(power(-132), None, noise(-10)).grade, Some(Grade::VeryPoor));
        assert_eq!(crate::Energy::Excessive.grade(), Grade::VeryPoor);
    }

    proptest! {
        #[test]
        fn a_mean_lies_between_the_last_measurements(values in prop::collection::vec(-156i16..=-43, 1..12)) {
            let mut window = SignalWindow::new();
            values.iter().for_each(|dbm| window.push(power(*dbm), None, None));
            let last: Vec<i16> = values.iter().rev().take(WINDOW).copied().collect();
            let mean = window.quality().rsrp.unwrap().dbm;
            prop_assert!(last.iter().min().unwrap() <= &mean && &mean <= last.iter().max().unwrap());
            let exact = last.iter().map(|value| f64::from(*value)).sum::<f64>() / last.len() as f64;
            prop_assert!((exact - f64::from(mean)).abs() <= 0.5);
        }
    }
}
