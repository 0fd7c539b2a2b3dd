//! A message as named values, for whoever maps them to streams.

use std::borrow::Cow;

use super::message::{Dimension, FixQuality, Message};
use super::places::{Date, Position, TimeOfDay};
use crate::datum::Datum;

/// One value of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedValue<'a> {
    /// `latitude`, `speed`; of a transducer what it calls itself. With the sentence's kind it is one stream of a receiver.
    pub name: Cow<'a, str>,
    /// UCUM; empty for what has none. Of a transducer the letter that the device sent.
    pub unit: Cow<'a, str>,
    /// [`Datum::Absent`] where the receiver says that it does not know.
    pub datum: Datum<'a>,
}

impl<'a> Message<'a> {
    /// Hands over every value of the message. What a receiver marks as not valid is absent, so that no stale position
    /// passes for a new one. A kept sentence is one text, `sentence`.
    pub fn values(&self, put: &mut dyn FnMut(NamedValue<'a>)) {
        let mut put = Put(put);
        match self {
            Self::Gga(gga) => {
                put.position(gga.position.filter(|_| gga.quality != FixQuality::Invalid));
                put.number("altitude", "m", gga.altitude_m.filter(|_| gga.quality != FixQuality::Invalid));
                put.whole("quality", gga.quality as u8);
                put.count("satellites", gga.satellites);
                put.number("hdop", "1", gga.hdop);
            }
            Self::Rmc(rmc) => {
                put.flag("valid", rmc.is_valid);
                put.position(rmc.position.filter(|_| rmc.is_valid));
                put.number("speed", "m/s", rmc.speed_m_per_s.filter(|_| rmc.is_valid));
                put.number("course", "deg", rmc.course_deg.filter(|_| rmc.is_valid));
            }
            Self::Gsa(gsa) => {
                put.whole(
                    "dimension",
                    match gsa.dimension {
                        Dimension::None => 0,
                        Dimension::Two => 2,
                        Dimension::Three => 3,
                    },
                );
                put.whole("satellites", gsa.satellites);
                put.number("pdop", "1", gsa.pdop);
                put.number("hdop", "1", gsa.hdop);
                put.number("vdop", "1", gsa.vdop);
            }
            // Every part of a report says the same of this.
            Self::Gsv(gsv) if gsv.part == 1 => put.whole("in_view", gsv.in_view),
            Self::Gsv(_) | Self::Zda(_) => {}
            Self::Vtg(vtg) => {
                let is_known = vtg.mode.is_none_or(|mode| mode != super::Mode::NotValid);
                put.number("course", "deg", vtg.course_deg.filter(|_| is_known));
                put.number("speed", "m/s", vtg.speed_m_per_s.filter(|_| is_known));
            }
            Self::Gll(gll) => {
                put.flag("valid", gll.is_valid);
                put.position(gll.position.filter(|_| gll.is_valid));
            }
            Self::Gns(gns) => {
                let is_known = gns.mode != super::Mode::NotValid;
                put.position(gns.position.filter(|_| is_known));
                put.number("altitude", "m", gns.altitude_m.filter(|_| is_known));
                put.count("satellites", gns.satellites);
                put.number("hdop", "1", gns.hdop);
            }
            Self::Mwv(mwv) => {
                let (angle, speed) = if mwv.is_true {
                    ("true_wind_angle", "true_wind_speed")
                } else {
                    ("wind_angle", "wind_speed")
                };
                put.number(angle, "deg", mwv.angle_deg.filter(|_| mwv.is_valid));
                put.number(speed, "m/s", mwv.speed_m_per_s.filter(|_| mwv.is_valid));
            }
            Self::Xdr(xdr) => {
                for (name, kind, unit, value) in xdr.measurements() {
                    let name = if name.is_empty() { kind } else { name };
                    put.put(Cow::Borrowed(name), Cow::Borrowed(unit), Datum::finite(value));
                }
            }
            Self::Proprietary(sentence) | Self::Other(sentence) => {
                put.put("sentence".into(), "".into(), Datum::Text(Cow::Borrowed(sentence.body())));
            }
        }
    }

    /// The time the message tells, if it tells a whole one and the receiver vouches for it: milliseconds since 1970 in
    /// UTC. A receiver that has lost its satellites may go on telling the time of its own clock, marked as not valid; one
    /// with a defect of the week count is off by 1024 weeks without a mark.
    #[must_use]
    pub fn unix_ms(&self) -> Option<i64> {
        let whole = |date: Option<Date>, time: Option<TimeOfDay>| Some(date?.unix_ms(time?));
        match self {
            Self::Rmc(rmc) if rmc.is_valid => whole(rmc.date, rmc.time),
            Self::Zda(zda) => whole(zda.date, zda.time),
            _ => None,
        }
    }
}

struct Put<'p, 'a>(&'p mut dyn FnMut(NamedValue<'a>));

impl<'a> Put<'_, 'a> {
    fn put(&mut self, name: Cow<'a, str>, unit: Cow<'a, str>, datum: Datum<'a>) {
        (self.0)(NamedValue { name, unit, datum });
    }

    fn number(&mut self, name: &'static str, unit: &'static str, value: Option<f64>) {
        self.put(name.into(), unit.into(), value.map_or(Datum::Absent, Datum::finite));
    }

    fn whole(&mut self, name: &'static str, value: u8) {
        self.put(name.into(), "".into(), Datum::Integer(i64::from(value)));
    }

    fn count(&mut self, name: &'static str, value: Option<u8>) {
        let datum = value.map_or(Datum::Absent, |count| Datum::Integer(i64::from(count)));
        self.put(name.into(), "".into(), datum);
    }

    fn flag(&mut self, name: &'static str, value: bool) {
        self.put(name.into(), "".into(), Datum::Bool(value));
    }

    fn position(&mut self, position: Option<Position>) {
        self.number("latitude", "deg", position.map(|position| position.latitude_deg));
        self.number("longitude", "deg", position.map(|position| position.longitude_deg));
    }
}
