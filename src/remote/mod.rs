//! What a cloud does to this gateway from afar, whichever cloud: calls of methods, settings, and the state they keep in step
//! (requirement D6, "Remote hands").
//!
//! - `methods`: the registry: which methods there are, with what parameters, who may, what it costs. Pure.
//! - [`lane`] takes what the cloud says, one thing at a time; `calls` carries a call out and remembers it; `at` says which
//!   commands the modem may be sent, and hides subscribers in its answers; `status` is what `get_status` says.
//! - `settings`: what becomes of the cloud's settings. Pure. They stand above the configuration until the cloud takes them
//!   back, and are in force after a restart before anything else runs.
//! - [`reported`] keeps the cloud's record of this gateway's state in step with it, and says which cell serves the modem.
//!
//! The promises: every call is answered, once for each time it arrives; none is carried out twice, because it is on disk before
//! its effect; one that is not on disk is not carried out. Nothing set from afar decides where data goes, who may enter, what is run,
//! or how much may be spent. No answer holds a credential or names a subscriber.

mod at;
mod calls;
pub mod lane;
mod methods;
pub mod reported;
mod settings;
mod status;

pub use lane::{Configured, Parts, lane, settings_in_force};
