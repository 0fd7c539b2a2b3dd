//! One folder a cloud; each may offer a link (device plane) and a provider (management plane). A cloud's name appears
//! nowhere else but in the configuration and in the factory that builds it.

pub mod golioth;
pub mod mqtt;
