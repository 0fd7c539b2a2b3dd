//! What a sentence means.

use super::places::{Date, Position, TimeOfDay, decimal};
use super::sentence::Sentence;

/// A knot in m/s: 1852 m an hour.
const KNOT: f64 = 1852.0 / 3600.0;
/// A kilometre an hour in m/s.
const KM_H: f64 = 1.0 / 3.6;

/// A sentence that was understood, or is kept as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// Fix data.
    Gga(Gga),
    /// The recommended minimum: position, speed, date.
    Rmc(Rmc),
    /// Dilution of precision and satellites used.
    Gsa(Gsa),
    /// Satellites in view.
    Gsv(Gsv),
    /// Course and speed over ground.
    Vtg(Vtg),
    /// Position and time.
    Gll(Gll),
    /// Time and date.
    Zda(Zda),
    /// Fix data of several systems.
    Gns(Gns),
    /// Wind speed and angle.
    Mwv(Mwv),
    /// Transducer measurements.
    Xdr(Xdr<'a>),
    /// A manufacturer's own.
    Proprietary(Sentence<'a>),
    /// Any other.
    Other(Sentence<'a>),
}

/// A field that is not what the sentence promises, although the checksum is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field} of {kind} is not {expected}")]
pub struct Unreadable {
    /// `GGA`.
    pub kind: String,
    /// Counted from 1 behind the address.
    pub field: usize,
    /// "a time".
    pub expected: &'static str,
}

/// How a position was found (GGA field 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixQuality {
    /// There is none.
    Invalid,
    /// From satellites alone.
    Autonomous,
    /// Corrected by a reference (DGPS, SBAS).
    Differential,
    /// Precise positioning service.
    Precise,
    /// Real-time kinematic, whole numbers of waves known.
    RtkFixed,
    /// Real-time kinematic, not yet.
    RtkFloat,
    /// Dead reckoning.
    Estimated,
    /// Typed in.
    Manual,
    /// Played by a simulator.
    Simulated,
}

impl FixQuality {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "0" => Self::Invalid,
            "1" => Self::Autonomous,
            "2" => Self::Differential,
            "3" => Self::Precise,
            "4" => Self::RtkFixed,
            "5" => Self::RtkFloat,
            "6" => Self::Estimated,
            "7" => Self::Manual,
            "8" => Self::Simulated,
            _ => return None,
        })
    }

    /// Whether the position was measured from satellites.
    #[must_use]
    pub fn is_measured(self) -> bool {
        !matches!(self, Self::Invalid | Self::Estimated | Self::Manual | Self::Simulated)
    }
}

/// How a position was found, in one letter (RMC, GLL, VTG, GNS); the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// `N`
    NotValid,
    /// `S`
    Simulated,
    /// `M`
    Manual,
    /// `E`
    Estimated,
    /// `A`
    Autonomous,
    /// `D`
    Differential,
    /// `P`
    Precise,
    /// `F`
    RtkFloat,
    /// `R`
    RtkFixed,
}

impl Mode {
    fn read(letter: char) -> Option<Self> {
        Some(match letter {
            'A' => Self::Autonomous,
            'D' => Self::Differential,
            'P' => Self::Precise,
            'R' => Self::RtkFixed,
            'F' => Self::RtkFloat,
            'E' => Self::Estimated,
            'M' => Self::Manual,
            'S' => Self::Simulated,
            'N' => Self::NotValid,
            _ => return None,
        })
    }

    /// Whether the position was measured from satellites.
    #[must_use]
    pub fn is_measured(self) -> bool {
        self >= Self::Autonomous
    }
}

/// GGA.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Gga {
    pub time: Option<TimeOfDay>,
    pub position: Option<Position>,
    pub quality: FixQuality,
    /// Used for the fix.
    pub satellites: Option<u8>,
    pub hdop: Option<f64>,
    /// Above mean sea level.
    pub altitude_m: Option<f64>,
    /// Of the geoid above the ellipsoid.
    pub geoid_separation_m: Option<f64>,
    /// Since the last differential correction.
    pub correction_age_s: Option<f64>,
}

/// RMC.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Rmc {
    pub time: Option<TimeOfDay>,
    pub date: Option<Date>,
    /// Status `A`; `V` is a warning that nothing else in the sentence is to be believed.
    pub is_valid: bool,
    pub position: Option<Position>,
    pub speed_m_per_s: Option<f64>,
    /// Over ground, from true north.
    pub course_deg: Option<f64>,
    /// East positive.
    pub magnetic_variation_deg: Option<f64>,
    /// Since NMEA 2.3.
    pub mode: Option<Mode>,
}

/// What a receiver has (GSA field 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// No fix.
    None,
    /// Latitude and longitude.
    Two,
    /// Altitude as well.
    Three,
}

/// GSA.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Gsa {
    pub dimension: Dimension,
    /// Used for the fix, of this talker's system.
    pub satellites: u8,
    pub pdop: Option<f64>,
    pub hdop: Option<f64>,
    pub vdop: Option<f64>,
}

/// GSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gsv {
    /// Which of the sentences of one report this is, from 1.
    pub part: u8,
    /// How many there are.
    pub parts: u8,
    /// Satellites in view, of this talker's system.
    pub in_view: u8,
}

/// VTG.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Vtg {
    /// Over ground, from true north.
    pub course_deg: Option<f64>,
    pub speed_m_per_s: Option<f64>,
    /// Since NMEA 2.3.
    pub mode: Option<Mode>,
}

/// GLL.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Gll {
    pub position: Option<Position>,
    pub time: Option<TimeOfDay>,
    /// Status `A`.
    pub is_valid: bool,
    /// Since NMEA 2.3.
    pub mode: Option<Mode>,
}

/// ZDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Zda {
    pub time: Option<TimeOfDay>,
    pub date: Option<Date>,
}

/// GNS.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Gns {
    pub time: Option<TimeOfDay>,
    pub position: Option<Position>,
    /// The best of its systems' modes.
    pub mode: Mode,
    /// Used for the fix, of all systems.
    pub satellites: Option<u8>,
    pub hdop: Option<f64>,
    /// Above mean sea level.
    pub altitude_m: Option<f64>,
    /// Of the geoid above the ellipsoid.
    pub geoid_separation_m: Option<f64>,
}

/// MWV.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say what they are, with their units")]
pub struct Mwv {
    pub angle_deg: Option<f64>,
    /// Reference `T`, theoretical: corrected for the carrier's own motion. Else relative.
    pub is_true: bool,
    pub speed_m_per_s: Option<f64>,
    /// Status `A`.
    pub is_valid: bool,
}

/// XDR: any number of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdr<'a>(Sentence<'a>);

impl<'a> Xdr<'a> {
    /// Name, the transducer's type and unit letters, value. One whose value is empty is left out.
    pub fn measurements(self) -> impl Iterator<Item = (&'a str, &'a str, &'a str, f64)> {
        (0..self.0.fields() / 4).filter_map(move |group| {
            let field = |index| self.0.field(group * 4 + index);
            let value = decimal(field(1)?)?;
            Some((field(3).unwrap_or(""), field(0).unwrap_or(""), field(2).unwrap_or(""), value))
        })
    }
}

impl<'a> Message<'a> {
    /// What the sentence means.
    ///
    /// # Errors
    /// When a field that should be a number, a time or a position is something else.
    pub fn read(sentence: Sentence<'a>) -> Result<Self, Unreadable> {
        if sentence.is_proprietary() {
            return Ok(Self::Proprietary(sentence));
        }
        let from = Fields(sentence);
        Ok(match sentence.kind() {
            "GGA" => Self::Gga(from.gga()?),
            "RMC" => Self::Rmc(from.rmc()?),
            "GSA" => Self::Gsa(from.gsa()?),
            "GSV" => Self::Gsv(from.gsv()?),
            "VTG" => Self::Vtg(from.vtg()?),
            "GLL" => Self::Gll(from.gll()?),
            "ZDA" => Self::Zda(from.zda()?),
            "GNS" => Self::Gns(from.gns()?),
            "MWV" => Self::Mwv(from.mwv()?),
            "XDR" => Self::Xdr(Xdr(sentence)),
            _ => Self::Other(sentence),
        })
    }
}

/// A sentence whose fields are read by type. Indexes count from 0.
#[derive(Clone, Copy)]
struct Fields<'a>(Sentence<'a>);

impl<'a> Fields<'a> {
    /// The field through `read`; an empty one is `None`.
    fn get<T>(
        self,
        index: usize,
        expected: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, Unreadable> {
        let Some(text) = self.0.field(index) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| self.unreadable(index, expected))
    }

    fn unreadable(self, index: usize, expected: &'static str) -> Unreadable {
        Unreadable { kind: self.0.kind().to_owned(), field: index + 1, expected }
    }

    fn number(self, index: usize) -> Result<Option<f64>, Unreadable> {
        self.get(index, "a number", decimal)
    }

    fn count(self, index: usize) -> Result<Option<u8>, Unreadable> {
        self.get(index, "a count", |text| text.parse().ok())
    }

    fn time(self, index: usize) -> Result<Option<TimeOfDay>, Unreadable> {
        self.get(index, "a time", TimeOfDay::read)
    }

    fn mode(self, index: usize) -> Result<Option<Mode>, Unreadable> {
        self.get(index, "a mode", |text| text.chars().next().and_then(Mode::read))
    }

    /// Status `A`. An empty one is not.
    fn is_valid(self, index: usize) -> bool {
        self.0.field(index) == Some("A")
    }

    /// Four fields from `index` on; unknown when any is empty.
    fn position(self, index: usize) -> Result<Option<Position>, Unreadable> {
        let part = |offset| self.0.field(index + offset);
        let (Some(latitude), Some(north), Some(longitude), Some(east)) = (part(0), part(1), part(2), part(3))
        else {
            return Ok(None);
        };
        let position = Position::read(latitude, north, longitude, east);
        position.map(Some).ok_or_else(|| self.unreadable(index, "a position"))
    }

    fn gga(self) -> Result<Gga, Unreadable> {
        let quality = self.get(5, "a quality from 0 to 8", FixQuality::read)?;
        Ok(Gga {
            time: self.time(0)?,
            position: self.position(1)?,
            quality: quality.unwrap_or(FixQuality::Invalid),
            satellites: self.count(6)?,
            hdop: self.number(7)?,
            altitude_m: self.number(8)?,
            geoid_separation_m: self.number(10)?,
            correction_age_s: self.number(12)?,
        })
    }

    fn rmc(self) -> Result<Rmc, Unreadable> {
        let variation = self.number(9)?;
        let is_west = self.0.field(10) == Some("W");
        Ok(Rmc {
            time: self.time(0)?,
            date: self.get(8, "a date", Date::read)?,
            is_valid: self.is_valid(1),
            position: self.position(2)?,
            speed_m_per_s: self.number(6)?.map(|knots| knots * KNOT),
            course_deg: self.number(7)?,
            magnetic_variation_deg: variation.map(|degrees| if is_west { -degrees } else { degrees }),
            mode: self.mode(11)?,
        })
    }

    fn gsa(self) -> Result<Gsa, Unreadable> {
        let dimension = self.get(1, "1, 2 or 3", |text| match text {
            "1" => Some(Dimension::None),
            "2" => Some(Dimension::Two),
            "3" => Some(Dimension::Three),
            _ => None,
        })?;
        let satellites = (2..14).filter(|index| self.0.field(*index).is_some()).count();
        Ok(Gsa {
            dimension: dimension.unwrap_or(Dimension::None),
            satellites: u8::try_from(satellites).unwrap_or(u8::MAX),
            pdop: self.number(14)?,
            hdop: self.number(15)?,
            vdop: self.number(16)?,
        })
    }

    fn gsv(self) -> Result<Gsv, Unreadable> {
        let ordinal = |index| self.0.ordinal(index).ok_or_else(|| self.unreadable(index, "a count"));
        Ok(Gsv { parts: ordinal(0)?.get(), part: ordinal(1)?.get(), in_view: self.count(2)?.unwrap_or(0) })
    }

    fn vtg(self) -> Result<Vtg, Unreadable> {
        let knots = self.number(4)?.map(|knots| knots * KNOT);
        let km_h = self.number(6)?.map(|km_h| km_h * KM_H);
        Ok(Vtg { course_deg: self.number(0)?, speed_m_per_s: knots.or(km_h), mode: self.mode(8)? })
    }

    fn gll(self) -> Result<Gll, Unreadable> {
        Ok(Gll {
            position: self.position(0)?,
            time: self.time(4)?,
            is_valid: self.is_valid(5),
            mode: self.mode(6)?,
        })
    }

    fn zda(self) -> Result<Zda, Unreadable> {
        let (day, month) = (self.count(1)?, self.count(2)?);
        let year = self.get(3, "a year", |text| text.parse::<u16>().ok())?;
        let date = match (year, month, day) {
            (Some(year), Some(month), Some(day)) => {
                Some(Date::new(year, month, day).ok_or_else(|| self.unreadable(1, "a day there is"))?)
            }
            _ => None,
        };
        Ok(Zda { time: self.time(0)?, date })
    }

    fn gns(self) -> Result<Gns, Unreadable> {
        let modes = self.get(5, "a mode for each system", |letters| {
            letters.chars().map(Mode::read).try_fold(Mode::NotValid, |best, mode| Some(best.max(mode?)))
        })?;
        Ok(Gns {
            time: self.time(0)?,
            position: self.position(1)?,
            mode: modes.unwrap_or(Mode::NotValid),
            satellites: self.count(6)?,
            hdop: self.number(7)?,
            altitude_m: self.number(8)?,
            geoid_separation_m: self.number(9)?,
        })
    }

    fn mwv(self) -> Result<Mwv, Unreadable> {
        let factor = self.get(3, "a unit of speed: K, M, N or S", |unit| match unit {
            "K" => Some(KM_H),
            "M" => Some(1.0),
            "N" => Some(KNOT),
            // Statute miles an hour.
            "S" => Some(0.447_04),
            _ => None,
        })?;
        let speed = self.number(2)?;
        Ok(Mwv {
            angle_deg: self.number(0)?,
            is_true: self.0.field(1) == Some("T"),
            speed_m_per_s: speed.zip(factor).map(|(speed, factor)| speed * factor),
            is_valid: self.is_valid(4),
        })
    }
}
