//! From what a sensor says to what is.

/// Most points of a table.
const MOST_POINTS: usize = 64;

/// A correction, found with a reference instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Linear {
        gain: f64,
        offset: f64,
    },
    /// (said, is), by ascending `said`.
    Table(Vec<(f64, f64)>),
}

/// Why numbers are no calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationRefused {
    /// Not a finite number.
    #[error("a calibration is made of finite numbers")]
    NotFinite,
    /// Every value would become the same.
    #[error("a gain of 0 makes every value the same")]
    NoGain,
    /// Fewer than two points, or more than a table may have.
    #[error("a table has 2 to {MOST_POINTS} points")]
    Points(usize),
    /// This point's first number is not above that of the point before it.
    #[error("the first numbers of a table ascend")]
    NotAscending(usize),
}

impl Calibration {
    /// `value × gain + offset`; both in the unit of the stream.
    ///
    /// # Errors
    /// See [`CalibrationRefused`].
    pub fn linear(gain: f64, offset: f64) -> Result<Self, CalibrationRefused> {
        if !gain.is_finite() || !offset.is_finite() {
            Err(CalibrationRefused::NotFinite)
        } else if gain == 0.0 {
            Err(CalibrationRefused::NoGain)
        } else {
            Ok(Self(Kind::Linear { gain, offset }))
        }
    }

    /// Straight lines between points of (what the sensor said, what it was). Outside the table its first and last line
    /// go on.
    ///
    /// # Errors
    /// See [`CalibrationRefused`].
    pub fn table(points: Vec<(f64, f64)>) -> Result<Self, CalibrationRefused> {
        if !(2..=MOST_POINTS).contains(&points.len()) {
            return Err(CalibrationRefused::Points(points.len()));
        }
        if points.iter().any(|(said, is)| !said.is_finite() || !is.is_finite()) {
            return Err(CalibrationRefused::NotFinite);
        }
        let ascends = |pair: &[(f64, f64)]| matches!(pair, [(before, _), (said, _)] if before < said);
        match points.windows(2).position(|pair| !ascends(pair)) {
            Some(before) => Err(CalibrationRefused::NotAscending(before + 1)),
            None => Ok(Self(Kind::Table(points))),
        }
    }

    /// The corrected value. May be infinite where a number grew beyond every other.
    #[must_use]
    pub fn apply(&self, value: f64) -> f64 {
        match &self.0 {
            Kind::Linear { gain, offset } => value * gain + offset,
            Kind::Table(points) => {
                let above = points.partition_point(|(said, _)| *said <= value);
                let line = above.clamp(1, points.len() - 1);
                match points.get(line - 1..=line) {
                    Some([(x0, y0), (x1, y1)]) => y0 + (value - x0) * ((y1 - y0) / (x1 - x0)),
                    _ => value,
                }
            }
        }
    }

    /// Whether it was measured there: outside a table it is a guess.
    #[must_use]
    pub fn covers(&self, value: f64) -> bool {
        match &self.0 {
            Kind::Linear { .. } => true,
            Kind::Table(points) => match (points.first(), points.last()) {
                (Some((first, _)), Some((last, _))) => (*first..=*last).contains(&value),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_gain_and_offset() {
        let corrected = Calibration::linear(1.02, -0.5).unwrap();
        assert!((corrected.apply(100.0) - 101.5).abs() < 1e-12);
        assert!(corrected.covers(1e9));
    }

    #[test]
    fn a_table_goes_through_its_points_and_on_beyond_them() {
        let tank = Calibration::table(vec![(4.0, 0.0), (12.0, 500.0), (20.0, 600.0)]).unwrap();
        for (said, is) in [
            (4.0, 0.0),
            (8.0, 250.0),
            (12.0, 500.0),
            (16.0, 550.0),
            (20.0, 600.0),
            (2.0, -125.0),
            (24.0, 650.0),
        ] {
            assert!((tank.apply(said) - is).abs() < 1e-9, "{said}");
        }
        assert!(tank.covers(4.0) && tank.covers(20.0) && !tank.covers(3.9) && !tank.covers(20.1));
    }

    #[test]
    fn what_is_no_calibration_is_refused() {
        assert_eq!(Calibration::linear(0.0, 1.0), Err(CalibrationRefused::NoGain));
        assert_eq!(Calibration::linear(f64::INFINITY, 1.0), Err(CalibrationRefused::NotFinite));
        assert_eq!(Calibration::table(vec![(1.0, 1.0)]), Err(CalibrationRefused::Points(1)));
        assert_eq!(Calibration::table(vec![(0.0, 0.0); 65]), Err(CalibrationRefused::Points(65)));
        let twice = vec![(0.0, 0.0), (1.0, 1.0), (1.0, 2.0)];
        assert_eq!(Calibration::table(twice), Err(CalibrationRefused::NotAscending(2)));
        assert_eq!(Calibration::table(vec![(0.0, 0.0), (f64::NAN, 1.0)]), Err(CalibrationRefused::NotFinite));
    }

    proptest! {
        #[test]
        fn a_rising_table_keeps_the_order_of_values(
            steps in prop::collection::vec((0.1f64..10.0, 0.0f64..10.0), 2..20), a in -50.0f64..250.0, b in -50.0f64..250.0,
        ) {
            let (mut x, mut y) = (0.0, 0.0);
            let points: Vec<_> = steps.into_iter().map(|(dx, dy)| { x += dx; y += dy; (x, y) }).collect();
            let table = Calibration::table(points).unwrap();
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(table.apply(low) <= table.apply(high) + 1e-9);
        }
    }
}
