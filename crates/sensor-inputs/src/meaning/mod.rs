//! What a number means: what it would be if the sensor were true, whether it can be, whether it is worth telling, and
//! whether somebody is needed.
//!
//! Pure, one evaluator a stream. The order is that of this list: [`Calibration`], then [`Plausible`], then [`Alarm`]s, then
//! [`Deadband`]. Invariant: nothing here drops or changes a value for being implausible; it is judged, and the judgement
//! goes with it.

mod alarm;
mod calibration;
mod deadband;
mod plausible;

pub use alarm::{Alarm, AlarmRefused, AlarmRule, Change, Phase, Side};
pub use calibration::{Calibration, CalibrationRefused};
pub use deadband::{Deadband, DeadbandRefused};
pub use plausible::{Judgement, Plausible, PlausibleRefused};
