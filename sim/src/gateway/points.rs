//! Which register of the simulated bus is which stream of the gateway and which name at the cloud.
//!
//! The one place where the three meet. Every value carries a counter. Three points have a scale, as in a real installation; what
//! arrives of them is taken back to what was on the wire by [`Wired::as_said`].

use std::fmt::Write as _;
use std::time::Duration;

/// The bus, as the configuration names it.
pub const BUS: &str = "field";

/// One point, on the bus and at the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wired {
    /// Modbus unit.
    pub unit: u8,
    /// The slave's name, in the configuration and on the bus.
    pub slave: &'static str,
    /// The point's name on the simulated bus, and the second part of the stream's name.
    pub point: &'static str,
    /// Its name at the cloud.
    pub alias: &'static str,
    /// Whether its values carry a counter.
    pub counted: bool,
    table: &'static str,
    register: u16,
    kind: &'static str,
    order: &'static str,
    scale: &'static str,
    ucum: &'static str,
}

impl Wired {
    /// The Modbus function code that reads it.
    #[must_use]
    pub fn function(&self) -> u8 {
        if self.table == "input" { 4 } else { 3 }
    }

    /// What the device said, from the value at the cloud.
    #[must_use]
    pub fn as_said(&self, value: f64) -> f64 {
        match self.scale.parse::<f64>() {
            // On the wire it stands as exactly as its resolution, which is the scale.
            Ok(scale) if scale != 1.0 => (value / scale).round(),
            _ => value,
        }
    }

    /// The stream's name at the gateway.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("{}.{}", self.slave, self.point)
    }
}

/// Every point of [`three_slaves`](crate::bus::three_slaves) that the gateway reads.
pub const POINTS: [Wired; 15] = [
    at(17, "tank", "level", "l", "input", 0, "int32", "abcd", "mm").counts(),
    at(17, "tank", "temperature", "a", "input", 2, "int16", "abcd", "Cel").scaled("0.1").counts(),
    at(17, "tank", "fills", "f", "input", 3, "uint32", "abcd", "").counts(),
    at(17, "tank", "volume", "v", "input", 5, "int32", "abcd", "L").counts(),
    at(17, "tank", "span", "n", "holding", 10, "float32", "abcd", "m").counts(),
    at(18, "pump", "starts", "c", "holding", 0, "uint32", "cdab", "").counts(),
    at(18, "pump", "flow", "d", "holding", 2, "int32", "cdab", "L/h").counts(),
    at(18, "pump", "power", "p", "holding", 4, "float32", "cdab", "W").counts(),
    at(18, "pump", "winding", "i", "holding", 6, "uint16", "abcd", "Cel").scaled("0.1").counts(),
    at(18, "pump", "hours", "h", "holding", 7, "uint32", "cdab", "h").counts(),
    at(19, "weather", "rain", "r", "input", 0, "uint32", "dcba", "").counts(),
    at(19, "weather", "wind", "w", "input", 2, "uint32", "abcd", "mm/s").counts(),
    at(19, "weather", "pressure", "x", "input", 4, "int32", "badc", "Pa").counts(),
    at(19, "weather", "humidity", "y", "input", 6, "uint16", "abcd", "%").scaled("0.1").counts(),
    at(19, "weather", "gusts", "g", "input", 7, "uint16", "abcd", "").counts(),
];

#[allow(clippy::too_many_arguments, reason = "one line a point is a table; names would hide it")]
const fn at(
    unit: u8,
    slave: &'static str,
    point: &'static str,
    alias: &'static str,
    table: &'static str,
    register: u16,
    kind: &'static str,
    order: &'static str,
    ucum: &'static str,
) -> Wired {
    Wired { unit, slave, point, alias, counted: false, table, register, kind, order, scale: "1", ucum }
}

impl Wired {
    const fn counts(self) -> Self {
        Self { counted: true, ..self }
    }

    const fn scaled(self, scale: &'static str) -> Self {
        Self { scale, ..self }
    }
}

/// The `[[bus.slave]]` tables of the configuration, every point read once a `period`.
#[must_use]
pub fn slave_tables(period: Duration) -> String {
    let mut toml = String::new();
    let mut last = 0;
    for wired in &POINTS {
        if wired.unit != last {
            last = wired.unit;
            let (slave, unit, ms) = (wired.slave, wired.unit, period.as_millis());
            // Writing to a String does not fail.
            let _ = write!(toml, "\n[[bus.slave]]\nname = \"{slave}\"\nunit = {unit}\nperiod = \"{ms}ms\"\n");
        }
        let Wired { point, alias, table, register, kind, order, scale, ucum, .. } = wired;
        let _ = write!(
            toml,
            "\n[[bus.slave.point]]\nstream = \"{point}\"\nalias = \"{alias}\"\ntable = \"{table}\"\n\
             register = {register}\ntype = \"{kind}\"\norder = \"{order}\"\nscale = {scale}\nunit = \"{ucum}\"\n"
        );
    }
    toml
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{SimBus, three_slaves};
    use std::collections::BTreeSet;

    #[test]
    fn every_counted_point_of_the_bus_is_wired_as_counted_under_an_alias_of_its_own() {
        let ledger = SimBus::new(three_slaves(), 19_200, 1).unwrap().ledger();
        for slave in &ledger.slaves {
            for point in &slave.points {
                let wired = POINTS.iter().find(|w| w.unit == slave.unit && w.point == point.name);
                let wired = wired.unwrap_or_else(|| panic!("{} is not read", point.name));
                assert_eq!(
                    (wired.counted, wired.slave),
                    (point.counted, slave.name.as_str()),
                    "{}",
                    point.name
                );
                let said = point.function.value(12_345);
                let arrived = said * wired.scale.parse::<f64>().unwrap();
                assert_eq!(wired.as_said(arrived), said, "{} would lose its counter", point.name);
                assert_ne!(wired.as_said(arrived + 0.1), said, "{} hides a changed value", point.name);
            }
        }
        let aliases: BTreeSet<&str> = POINTS.iter().map(|w| w.alias).collect();
        assert_eq!(aliases.len(), POINTS.len());
        assert!(aliases.iter().all(|a| a.len() == 1 && !"tbmesquo".contains(a)));
    }

    #[test]
    fn the_points_of_a_slave_stand_together() {
        let units: Vec<u8> = POINTS.iter().map(|w| w.unit).collect();
        assert!(units.is_sorted());
    }
}
