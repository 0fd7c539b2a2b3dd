//! The counted points of the simulator's three slaves: as configuration, and as pairs of names.

/// Every counted point of the three simulated slaves, as a configuration names it.
pub(crate) const POINTS: &str = r#"
[[bus.slave]]
name = "tank"
unit = 17
[[bus.slave.point]]
stream = "level"
alias = "a"
table = "input"
register = 0
type = "int32"
order = "abcd"
[[bus.slave.point]]
stream = "fills"
alias = "c"
table = "input"
register = 3
type = "uint32"
order = "abcd"
[[bus.slave.point]]
stream = "volume"
alias = "d"
table = "input"
register = 5
type = "int32"
order = "abcd"
[[bus.slave.point]]
stream = "temperature"
alias = "v"
table = "input"
register = 2
type = "int16"
scale = 0.1
unit = "Cel"
[[bus.slave]]
name = "pump"
unit = 18
[[bus.slave.point]]
stream = "starts"
alias = "f"
table = "holding"
register = 0
type = "uint32"
order = "cdab"
[[bus.slave.point]]
stream = "flow"
alias = "g"
table = "holding"
register = 2
type = "int32"
order = "cdab"
[[bus.slave.point]]
stream = "power"
alias = "h"
table = "holding"
register = 4
type = "float32"
order = "cdab"
[[bus.slave.point]]
stream = "hours"
alias = "i"
table = "holding"
register = 7
type = "uint32"
order = "cdab"
[[bus.slave]]
name = "weather"
unit = 19
[[bus.slave.point]]
stream = "rain"
alias = "j"
table = "input"
register = 0
type = "uint32"
order = "dcba"
[[bus.slave.point]]
stream = "wind"
alias = "k"
table = "input"
register = 2
type = "uint32"
order = "abcd"
[[bus.slave.point]]
stream = "pressure"
alias = "l"
table = "input"
register = 4
type = "int32"
order = "badc"
[[bus.slave.point]]
stream = "gusts"
alias = "n"
table = "input"
register = 7
type = "uint16"
order = "abcd"
"#;

/// The same: unit, the simulator's name, our alias.
pub(crate) const COUNTED_POINTS: [(u8, &str, &str); 11] = [
    (17, "level", "a"),
    (17, "fills", "c"),
    (17, "volume", "d"),
    (18, "starts", "f"),
    (18, "flow", "g"),
    (18, "power", "h"),
    (18, "hours", "i"),
    (19, "rain", "j"),
    (19, "wind", "k"),
    (19, "pressure", "l"),
    (19, "gusts", "n"),
];

/// Streams that no device feeds: an alarm, and telemetry.
pub(crate) const QUIET_POINTS: &str = r#"
[[bus.slave]]
name = "door"
unit = 1
period = "24h"
[[bus.slave.point]]
stream = "open"
alias = "al"
table = "discrete"
register = 0
class = "alarm"
[[bus.slave.point]]
stream = "q0"
alias = "q0"
table = "input"
register = 0
type = "int16"
[[bus.slave.point]]
stream = "q1"
alias = "q1"
table = "input"
register = 1
type = "int16"
[[bus.slave.point]]
stream = "q2"
alias = "q2"
table = "input"
register = 2
type = "int16"
[[bus.slave.point]]
stream = "q3"
alias = "q3"
table = "input"
register = 3
type = "int16"
"#;
